"""The teachers of a group together: the mean of their probabilities, their upper bound, and who agrees with them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmkd.comparison.identity import as_key, teacher_name, teacher_settings
from mmkd.comparison.network_pairs import NetworkPair, pair_of, teachers_id
from mmkd.comparison.predictions import NOT_TRAVELLED, JointPrediction, combine, read_predictions
from mmkd.comparison.repeats import Repeats
from mmkd.comparison.rows import Row, common_repeats, name_by_difference
from mmkd.comparison.taught import by_epoch, epoch_notes, validation_notes
from mmkd.comparison.units import Unit
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.store.record import Record
from mmkd.store.travelling import TravellingRecord

KEPT = 32
"""Networks whose predictions are kept in memory, besides those of teachers."""
Numbers = dict[tuple[str, str], int]
"""Key of a teacher and the epoch with which it taught -> the number of its row."""


def teacher_rows(
    members: Sequence[Record], teachers: Mapping[str, Record], repeats: Repeats, notes: dict[str, None]
) -> tuple[list[Row], Numbers]:
    """The rows of the teachers of these units, one for each epoch with which they taught; and their numbers."""
    taught = dict.fromkeys((key, record.teacher_epoch) for record in members for key in record.teachers.values())
    keys = {key for key, _ in taught}
    missing = keys - set(teachers)
    if missing:
        others = "; gaps are of the others" if missing < keys else ""
        notes[f"{len(missing)} of {len(keys)} teachers are not on record{others}"] = None
    known = [(_identity(teachers[key]), teachers[key], epoch) for key, epoch in taught if key in teachers]
    rows: list[Row] = []
    numbers: Numbers = {}
    for row in by_epoch(known):
        name = teacher_name(row.records[0])
        units = repeats.units(row.records, notes)
        numbers |= {(unit.key, epoch): len(rows) for unit in units.values() for epoch in row.asked}
        rows.append(Row("teacher", name, name, {**teacher_settings(row.records[0]), "epoch": row.epoch}, units))
    name_by_difference(rows, [row.settings for row in rows])
    notes |= dict.fromkeys(epoch_notes(str(row.settings["epoch"]) for row in rows))
    notes |= dict.fromkeys(validation_notes((record.spec for record in members), teachers))
    return rows, numbers


def _identity(record: Record) -> str:
    """What all teachers of a row have in common."""
    return as_key([teacher_name(record), teacher_settings(record)])


class JointPredictions:
    """Reads the joint prediction of each set of records once, and knows what of it travelled with records."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, str], ...], JointPrediction | Refusal] = {}
        self._pairs: dict[tuple[str, str], NetworkPair | Refusal] = {}
        self._scores: dict[tuple[str, ...], tuple[Mapping[str, float], Mapping[str, float]]] = {}
        self._recent: dict[str, JointPrediction | Refusal] = {}

    def of(self, records: Sequence[Record]) -> JointPrediction | Refusal:
        """What these networks predict together, or why that is not known."""
        keys = tuple(sorted((record.key, record.epoch) for record in records))
        if keys not in self._known:
            self._known[keys] = self.read(records)
        return self._known[keys]

    @staticmethod
    def read(records: Sequence[Record]) -> JointPrediction | Refusal:
        """The same, not kept: of networks that are asked for once."""
        return combine([read_predictions(record) for record in records])

    def pair(self, network: Record, teachers: Sequence[Record]) -> NetworkPair | Refusal:
        """What a network has of these teachers together, or why that is not known."""
        name = network.key, teachers_id(teachers)
        if name not in self._pairs:
            self._pairs[name] = self._pair(network, teachers)
        return self._pairs[name]

    def _pair(self, network: Record, teachers: Sequence[Record]) -> NetworkPair | Refusal:
        if isinstance(network, TravellingRecord):
            return _travelled_pair(network, teachers)
        taught = self.of(teachers)
        own = self._network(network)
        if isinstance(own, Refusal) or isinstance(taught, Refusal):
            return own if isinstance(own, Refusal) else taught if isinstance(taught, Refusal) else Refusal("")
        if (agreement := own.agreement(taught)) is None:
            return Refusal(f"unit {network.key} and its teachers were not tested on the same windows")
        return pair_of(own, taught, agreement)

    def _network(self, record: Record) -> JointPrediction | Refusal:
        """What one network predicts; the last `KEPT` are kept."""
        if (found := self._recent.pop(record.key, None)) is None:
            found = self.read([record])
        self._recent[record.key] = found
        if len(self._recent) > KEPT:
            del self._recent[next(iter(self._recent))]
        return found

    def scores(self, teachers: Sequence[Record]) -> tuple[Mapping[str, float], Mapping[str, float]] | Refusal:
        """The scores of the mean of these teachers' probabilities, and of the best of them for each window."""
        travelled = [record for record in teachers if isinstance(record, TravellingRecord)]
        found = _travelled_scores(travelled, teachers_id(teachers)) if travelled else None
        if found is None:
            prediction = self.of(teachers)
            if isinstance(prediction, Refusal):
                return prediction
            if not prediction.scores:
                return Refusal("only where a window has one label")
            found = prediction.scores, prediction.bound
        self._scores[tuple(sorted(f"{record.key}@{record.epoch}" for record in teachers))] = found
        return found

    def functional(self) -> dict[str, dict[str, Any]]:
        """Key of a record -> what travels with it of all that was asked for here."""
        facts: dict[str, dict[str, Any]] = {}
        for (key, teachers), pair in self._pairs.items():
            if isinstance(pair, NetworkPair):
                facts.setdefault(key, {}).setdefault(FIDELITY, {})[teachers] = pair.to_json()
        for names, (mean, best) in self._scores.items():
            key = names[0].partition("@")[0]
            facts.setdefault(key, {}).setdefault(TOGETHER, {})["+".join(names)] = {
                "mean": dict(mean),
                "best": dict(best),
            }
        return facts


FIDELITY = "fidelity"
"""In what travels with the record of a student: set of teachers -> what the student has of them."""
TOGETHER = "together"
"""With the record of one of several teachers: set of teachers -> scores of their mean, and of the best of them."""


def _travelled_pair(network: TravellingRecord, teachers: Sequence[Record]) -> NetworkPair | Refusal:
    try:
        values = (network.functional.get(FIDELITY) or {}).get(teachers_id(teachers))
        return Refusal(NOT_TRAVELLED) if values is None else NetworkPair.from_json(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Refusal(f"line of {network.key} in {network.source}: what it has of its teachers is malformed ({error})")


def _travelled_scores(
    records: Sequence[TravellingRecord], teachers: str
) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
    """The scores of teachers together that travelled with one of their records; None where none has them."""
    for record in records:
        try:
            values = (record.functional.get(TOGETHER) or {})[teachers]
            mean, best = (
                {str(name): float(score) for name, score in values[part].items()} for part in ("mean", "best")
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if all(map(math.isfinite, (*mean.values(), *best.values()))):
            return mean, best
    return None


def mean_rows(
    numbers: Sequence[int], teachers: Sequence[Row], joint: JointPredictions, notes: dict[str, None]
) -> list[Row]:
    """The rows of the mean of these teachers' probabilities and of the best of them, unless there are none."""
    rows = [teachers[number] for number in numbers]
    units: dict[int, Unit] = {}
    bounds: dict[int, Unit] = {}
    for repeat in common_repeats(*rows):
        records = [record for row in rows if (record := row.units[repeat].record) is not None]
        scores = joint.scores(records)
        if isinstance(scores, Refusal):
            notes[f"mean of the teachers: {scores.why}"] = None
        else:
            key = "+".join(sorted(record.key for record in records))
            unit = rows[0].units[repeat]
            units[repeat] = Unit(key, unit.seed, scores[0], fold=unit.fold)
            bounds[repeat] = Unit(f"best of {key}", unit.seed, scores[1], fold=unit.fold)
    if not units:
        return []
    names = joint_names(rows, teachers)
    oracle = shorten(f"oracle-teacher of {names} (bound)")
    return [
        Row("mean", "mean", shorten(f"mean of {names}"), {}, units, teachers=tuple(numbers)),
        Row("oracle", "oracle-teacher", oracle, {}, bounds, teachers=tuple(numbers)),
    ]


def joint_names(rows: Sequence[Row], teachers: Sequence[Row]) -> str:
    """The names of several teachers: their modalities, where these tell all teachers of the group apart."""
    modalities = [row.base.split()[0] for row in rows]
    all_modalities = {row.base.split()[0] for row in teachers}
    distinct = len(set(modalities)) == len(all_modalities) == len(teachers)
    return ", ".join(modalities if distinct else [row.name for row in rows])
