"""The teachers of a group together: the mean of their probabilities, their upper bound, and who agrees with them."""

from collections.abc import Mapping, Sequence

from mmkd.comparison.identity import as_key, teacher_name, teacher_settings
from mmkd.comparison.predictions import JointPrediction, combine, read_predictions
from mmkd.comparison.repeats import Repeats
from mmkd.comparison.rows import Row, common_repeats, name_by_difference
from mmkd.comparison.taught import by_epoch, epoch_notes, validation_notes
from mmkd.comparison.units import Unit
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.store.record import Record

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
        notes[f"{len(missing)} of {len(keys)} teachers are not on record"] = None
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
    """Reads the joint prediction of each set of records once."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, str], ...], JointPrediction | Refusal] = {}

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


def mean_rows(
    numbers: Sequence[int], teachers: Sequence[Row], joint: JointPredictions, notes: dict[str, None]
) -> list[Row]:
    """The rows of the mean of these teachers' probabilities and of the best of them, unless there are none."""
    rows = [teachers[number] for number in numbers]
    units: dict[int, Unit] = {}
    bounds: dict[int, Unit] = {}
    for repeat in common_repeats(*rows):
        records = [record for row in rows if (record := row.units[repeat].record) is not None]
        prediction = joint.of(records)
        if isinstance(prediction, Refusal):
            notes[f"mean of the teachers: {prediction.why}"] = None
        elif not prediction.scores:
            notes["mean of the teachers: only where a window has one label"] = None
        else:
            key = "+".join(sorted(record.key for record in records))
            unit = rows[0].units[repeat]
            units[repeat] = Unit(key, unit.seed, prediction.scores, fold=unit.fold)
            bounds[repeat] = Unit(f"best of {key}", unit.seed, prediction.bound, fold=unit.fold)
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
