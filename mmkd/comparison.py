"""The comparison itself: records as groups of rows that may stand beside each other. Needs neither torch nor mlflow.

A group is one data set, one student and one way to train it; units that differ in any of these never meet. Its rows are
the teachers, the mean of their probabilities, the student alone and the methods, each with one unit a seed; units of
one method that differ in their options, or in how their teachers were made, are rows of their own.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import statistics as st
from .errors import DamageWarning, MmkdError, unknown
from .identity import (
    Settings,
    as_key,
    flat,
    group_settings,
    making_settings,
    method_names,
    most_usual,
    row_settings,
    shortened,
    student_title,
    teacher_name,
    teacher_settings,
)
from .predictions import Said, read_predictions, together
from .record import Record, Records
from .table import variant_names

ALONE = "student"  # the method that is the student without a teacher
SCORE = "macro_f1"  # what is compared
MACHINE = ("platform", "processor", "device", "threads", "processes")  # times of another one are not compared
DEPLOYED = ("macs", "latency_ms", "latency_p95_ms")  # of `deployment.json` beside a record, where it was measured


@dataclass(frozen=True)
class Unit:
    """One trained network, or the mean of several, under one seed; `metrics` are of the test windows."""

    key: str
    seed: int
    metrics: Mapping[str, float]
    record: Record | None = None


@dataclass
class Row:
    """One line of a group.

    Attributes:
        kind: "teacher", "mean" (of the teachers' probabilities), "oracle" (for each test window the best teacher: an
            upper bound for choosing among them, no method) or "student".
        base: the method, or the modality and network of a teacher.
        everywhere: of a student its method and options, the same on every data set; `name` may say more.
        settings: what the row's units have in common beyond the group's settings.
        units: seed -> unit.
        teachers: the numbers, in the group, of the rows that taught it.
        control: the row that `change` is measured against, None of that row itself.
        change: of macro-F1, paired by seed; gap: share closed; time: training time over that of the student alone.
    """

    kind: str
    base: str
    name: str
    settings: Settings
    units: dict[int, Unit]
    teachers: tuple[int, ...] = ()
    everywhere: str = ""
    control: str | None = None
    change: st.Paired | st.Refusal | None = None
    gap: float | st.Refusal | None = None
    time: float | st.Refusal | None = None

    def values(self, metric: str) -> list[float]:
        """One value a seed that has it."""
        return [unit.metrics[metric] for _, unit in sorted(self.units.items()) if metric in unit.metrics]


@dataclass
class Group:
    """Rows that may be compared; `settings` is what all its students share."""

    title: str
    task: str
    dataset: str
    student: str
    settings: Settings
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for row in self.rows for seed in row.units})


@dataclass
class Comparison:
    """Groups, and what was left out with the reason."""

    groups: list[Group]
    control: str
    left_out: list[str]
    records: list[Record]


def read_records(records: Records) -> tuple[list[Record], list[str]]:
    """All records of a folder that are whole, and a line for each that is not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list(records)
    return found, [str(w.message) for w in caught if issubclass(w.category, DamageWarning)]


def compare(records: Iterable[Record], control: str = ALONE, left_out: Sequence[str] = ()) -> Comparison:
    """Groups of comparable rows of these records.

    Args:
        control: the method that each row's change is measured against.
        left_out: lines on records that could not be read.

    Raises:
        MmkdError: no unit is among them, or no unit of the control.
    """
    bad = list(left_out)
    units: dict[str, Record] = {}
    teachers: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: (str(r.result.get("key")), r.folder)):
        why = _unusable(record)
        if why:
            bad.append(f"record {record.folder.name}: {why}; left out")
        else:
            (teachers if record.kind == "teacher" else units).setdefault(record.key, record)
    if not units:
        raise MmkdError("no unit is on record here" + (f" ({len(bad)} left out: {bad[0]})" if bad else ""))
    students = sorted(units.values(), key=_place)
    methods = {str(record.spec["method"]) for record in students}
    if control not in methods and control != ALONE:
        raise unknown("method", control, methods)
    names = method_names(students)
    by_group: dict[str, list[Record]] = {}
    for record in students:
        by_group.setdefault(as_key(group_settings(record)), []).append(record)
    maker = _Maker(teachers, names, control)
    groups = [maker.group(members) for members in by_group.values()]
    _distinguish(groups)
    groups.sort(key=lambda g: (g.task, g.dataset, g.student, g.title))
    used = {unit.key for group in groups for row in group.rows for unit in row.units.values()}
    idle = len(set(teachers) - used)
    if idle:
        bad.append(f"{idle} teacher{'s' if idle > 1 else ''} on record taught none of these units; left out")
    return Comparison(groups, control, bad, [r for r in [*students, *teachers.values()] if r.key in used])


def _unusable(record: Record) -> str:
    """Why a record that is whole cannot stand in a table; empty where it can."""
    try:
        spec, test = record.spec, record.metrics["test"]
        if spec["task"] == "anomaly":
            return "it is of --task anomaly, whose table mmkd.bench prints"
        if record.kind not in ("student", "teacher"):
            return f"it is of an unknown kind, {record.kind!r}"
        if record.kind == "teacher":
            as_key([teacher_name(record), teacher_settings(record)])
        else:
            as_key([group_settings(record), row_settings(record), making_settings(record)])
            dict(record.result.get("teachers") or {})
        texts = [spec["task"], spec["data"]["name"], spec["method"] if record.kind == "student" else ""]
        if not all(isinstance(text, str) for text in texts) or not isinstance(spec["seed"], int):
            raise TypeError("task, data set, method or seed")
        if not {"accuracy", SCORE} <= set(test) or not np.isfinite([*_metrics(record).values()]).all():
            raise ValueError("scores")
        machine(Unit(record.key, 0, {}, record))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"its values are not those of a unit ({type(error).__name__}: {error})"
    return ""


def _place(record: Record) -> tuple[Any, ...]:
    """Where a unit stands in the order of all."""
    spec = record.spec
    return spec["task"], spec["data"]["name"], spec["method"], spec["seed"], record.key


def _distinguish(groups: Sequence[Group]) -> None:
    """Say in the titles of groups in what else they differ."""
    given = [(group.title, flat(group.settings)) for group in groups]
    for group, title in zip(groups, variant_names(given, most_usual(given)), strict=True):
        group.title = shortened(title)


# Rows -----------------------------------------------------------------------------------------------------------------


class _Maker:
    """Makes the groups; keeps what each set of networks says."""

    def __init__(self, teachers: Mapping[str, Record], names: Mapping[str, str], control: str) -> None:
        self.teachers, self.names, self.control = teachers, names, control
        self.said: dict[tuple[str, ...], Said | str] = {}

    def group(self, members: Sequence[Record]) -> Group:
        shared = group_settings(members[0])
        task, dataset = str(shared["task"]), shortened(str(shared["data"]["name"]))
        student = shortened(student_title(shared))
        notes: dict[str, None] = {}
        teachers = self._teachers(members, notes)
        students = self._students(members, teachers, notes)
        taught = Counter(row.teachers for row in students if row.teachers)
        means = [row for some in taught if len(some) > 1 for row in self._mean(some, teachers, notes)]
        usual = taught.most_common(1)[0][0] if taught else ()
        for row in students:
            self._agree(row, [teachers[n] for n in row.teachers or usual], notes)
        self._measure(students, teachers, notes)
        if len({record.measurement("deployment.json").get("processor") for record in members} - {None}) > 1:
            notes["latency was not measured on one kind of processor; do not compare it"] = None
        rows = [*teachers, *means, *students]
        return Group(f"{dataset}, {student}", task, dataset, student, shared, rows, list(notes))

    def _teachers(self, members: Sequence[Record], notes: dict[str, None]) -> list[Row]:
        keys = dict.fromkeys(k for record in members for k in (record.result.get("teachers") or {}).values())
        missing = [key for key in keys if key not in self.teachers]
        if missing:
            notes[f"{len(missing)} of {len(keys)} teachers are not on record"] = None
        rows: dict[str, list[Record]] = {}
        for key in keys:
            if key in self.teachers:
                record = self.teachers[key]
                rows.setdefault(as_key([teacher_name(record), teacher_settings(record)]), []).append(record)
        found = []
        for each in rows.values():
            base = teacher_name(each[0])
            found.append(Row("teacher", base, base, teacher_settings(each[0]), self._by_seed(each, notes)))
        _name(found, [row.settings for row in found])
        return found

    def _students(self, members: Sequence[Record], teachers: Sequence[Row], notes: dict[str, None]) -> list[Row]:
        numbers = {unit.key: n for n, row in enumerate(teachers) for unit in row.units.values()}
        rows: dict[str, list[Record]] = {}
        for record in members:
            identity = [record.spec["method"], row_settings(record), making_settings(record)]
            rows.setdefault(as_key(identity), []).append(record)
        found = []
        for each in rows.values():
            taught = {numbers[key] for r in each for key in (r.result.get("teachers") or {}).values() if key in numbers}
            settings = {**row_settings(each[0]), **making_settings(each[0])}
            name, method = self.names[each[0].key], str(each[0].spec["method"])
            units = self._by_seed(each, notes)
            found.append(Row("student", method, name, settings, units, tuple(sorted(taught)), shortened(name)))
        _name(found, [making_settings(each[0]) for each in rows.values()])
        return sorted(found, key=lambda row: (row.base != ALONE, -np.mean(row.values(SCORE)), row.name))

    def _by_seed(self, records: Sequence[Record], notes: dict[str, None]) -> dict[int, Unit]:
        found: dict[int, Unit] = {}
        for record in records:
            seed = int(record.spec["seed"])
            if seed in found:
                notes[f"unit {record.key} is a second one of seed {seed}; left out"] = None
                continue
            found[seed] = Unit(record.key, seed, _metrics(record), record)
        return found

    def _said(self, records: Sequence[Record]) -> "Said | str":
        """What these teachers say together, or why that cannot be known."""
        keys = tuple(sorted(record.key for record in records))
        if keys not in self.said:
            self.said[keys] = together([read_predictions(record) for record in records])
        return self.said[keys]

    def _mean(self, some: Sequence[int], teachers: Sequence[Row], notes: dict[str, None]) -> list[Row]:
        """The rows of the mean of these teachers' probabilities and of the best of them, unless there are none."""
        rows = [teachers[n] for n in some]
        units: dict[int, Unit] = {}
        bounds: dict[int, Unit] = {}
        for seed in sorted(set.intersection(*[set(row.units) for row in rows])):
            records = [record for row in rows if (record := row.units[seed].record) is not None]
            said = self._said(records)
            if isinstance(said, str):
                notes[f"mean of the teachers: {said}"] = None
            elif not said.scores:
                notes["mean of the teachers: only where a window has one label"] = None
            else:
                key = "+".join(sorted(r.key for r in records))
                units[seed], bounds[seed] = Unit(key, seed, said.scores), Unit(f"best of {key}", seed, said.bound)
        if not units:
            return []
        short = [row.base.split()[0] for row in rows]
        names = short if len(set(short)) == len({row.base.split()[0] for row in teachers}) == len(teachers) else None
        of = ", ".join(names or [row.name for row in rows])
        oracle = shortened(f"oracle-teacher of {of} (bound)")
        return [
            Row("mean", "mean", shortened(f"mean of {of}"), {}, units, tuple(some)),
            Row("oracle", "oracle-teacher", oracle, {}, bounds, tuple(some)),
        ]

    def _agree(self, row: Row, teachers: Sequence[Row], notes: dict[str, None]) -> None:
        """Enter how often a student says what its teachers say together."""
        for seed, unit in row.units.items():
            records = [teacher.units[seed].record for teacher in teachers if seed in teacher.units]
            if unit.record is None or not records or len(records) < len(teachers):
                continue
            own, said = self._said([unit.record]), self._said([r for r in records if r is not None])
            if isinstance(own, str) or isinstance(said, str):
                notes[f"agreement: {own if isinstance(own, str) else said}"] = None
                continue
            agreement = own.agreement(said)
            if agreement is None:
                notes[f"agreement: unit {unit.key} and its teachers were not tested on the same windows"] = None
            else:
                row.units[seed] = replace(unit, metrics={**unit.metrics, "agreement": agreement})

    def _measure(self, students: Sequence[Row], teachers: Sequence[Row], notes: dict[str, None]) -> None:
        """Enter change, gap and time of each student."""
        alone = [row for row in students if row.base == ALONE]
        controls = [row for row in students if row.base == self.control]
        if not controls:
            notes[f"no unit of {self.control!r} here: no change is shown"] = None
        if not alone and self.control != ALONE:
            notes["no student alone here: neither gap nor training time is shown"] = None
        for row in students:
            control, base = _nearest(row, controls), _nearest(row, alone)
            if control is not None and control is not row:
                row.control, row.change = control.name, change(row, control)
            if base is not None and base is not row:
                row.gap = _gap(row, base, [teachers[n] for n in row.teachers])
                row.time = _time(row, base)
        if len(controls) > 1:
            notes[
                f"{len(controls)} rows of {self.control!r}: each other row against the one nearest in its options"
            ] = None


def _name(rows: Sequence[Row], settings: Sequence[Settings]) -> None:
    """Add to the names of rows in what their settings differ."""
    given = [(row.name, each) for row, each in zip(rows, settings, strict=True)]
    for row, name in zip(rows, variant_names(given, most_usual(given)), strict=True):
        row.name = shortened(name)


def _metrics(record: Record) -> dict[str, float]:
    """What is known of a unit: its test scores, costs, and what was measured of the deployed student."""
    result = record.result
    found = {name: float(value) for name, value in record.metrics["test"].items()}
    found |= {"parameters": float(result["parameters"]), "seconds": float(result["seconds"])}
    deployed = record.measurement("deployment.json")
    found |= {name: float(deployed[name]) for name in DEPLOYED if name in deployed}
    weights = (result.get("files") or {}).get("student.safetensors")
    return found | ({"bytes": float(weights["bytes"])} if weights else {})


def _nearest(row: Row, controls: Sequence[Row]) -> Row | None:
    """The control whose settings agree in most with the row's; the row itself where it is one."""
    if any(row is control for control in controls):
        return row

    def alike(control: Row) -> int:
        return sum(row.settings.get(name) == value for name, value in control.settings.items())

    return max(controls, key=alike, default=None)


def common_seeds(*rows: Row) -> list[int]:
    """The seeds that all these rows have."""
    return sorted(set.intersection(*[set(row.units) for row in rows]))


def change(row: Row, control: Row) -> st.Paired | st.Refusal:
    """Macro-F1 of a row minus that of another, paired by seed."""
    seeds = common_seeds(row, control)
    return st.paired([row.units[s].metrics[SCORE] - control.units[s].metrics[SCORE] for s in seeds])


def _gap(row: Row, alone: Row, teachers: Sequence[Row]) -> float | st.Refusal:
    """Share of the gap to the best of a row's own teachers, by its mean over the seeds that all have."""
    if not teachers:
        return st.Refusal("it has no teacher on record")
    seeds = common_seeds(row, alone, *teachers)
    scores = [[each.units[s].metrics[SCORE] for s in seeds] for each in (alone, row, *teachers)]
    best = max(scores[2:], key=lambda values: sum(values))
    return st.gap_closed(scores[0], best, scores[1])


def _time(row: Row, alone: Row) -> float | st.Refusal:
    """Training time over that of the student alone, of the seeds that both did on one kind of machine."""
    pairs = [(row.units[s], alone.units[s]) for s in common_seeds(row, alone)]
    there = [pair for pair in pairs if machine(pair[0]) and machine(pair[0]) == machine(pair[1])]
    sums = [sum(pair[side].metrics["seconds"] for pair in there) for side in (0, 1)]
    if not sums[1]:
        return st.Refusal("not trained on the same machine with the same threads as the student alone")
    return sums[0] / sums[1]


def machine(unit: Unit) -> tuple[Any, ...]:
    """What a training time hangs on besides the work; empty where it is not known."""
    where = {} if unit.record is None else unit.record.result.get("environment") or {}
    return tuple(where.get(name) for name in MACHINE) if "threads" in where else ()
