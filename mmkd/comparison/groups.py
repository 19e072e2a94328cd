"""The comparison itself: records as groups of rows that may stand beside each other. Needs neither torch nor mlflow.

A group is one data set, one student and one way to train it; units that differ in any of these never meet. Its rows are
the teachers, the mean of their probabilities, the student alone and the methods, each with one unit a seed; units of
one method that differ in their options, or in how their teachers were made, are rows of their own.

Folds of one cut are one group. What counts is then, of each seed, the mean over its folds (macro over folds); where
there is one seed only, the folds themselves are the values.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mmkd.comparison.identity import (
    Settings,
    as_key,
    flat,
    fold_of,
    group_settings,
    making_settings,
    method_names,
    most_usual,
    row_settings,
    student_spec,
    student_title,
    teacher_name,
    teacher_settings,
)
from mmkd.comparison.predictions import JointPrediction, read_predictions, together
from mmkd.core.errors import DamageWarning, MmkdError, unknown_name
from mmkd.core.text import shorten
from mmkd.metrics import pairs as st
from mmkd.metrics.series import NOTES
from mmkd.specs.data import fold_count
from mmkd.specs.unit import TeacherSpec
from mmkd.store.record import Record, Records
from mmkd.tasks import TASKS
from mmkd.units.names import variant_names

STUDENT_ONLY = "student"  # the method that is the student without a teacher
SCORE = "macro_f1"  # what is compared, where the task has no score of its own
SCORES = {"anomaly": "vus_pr"}
WORDS = {SCORE: "macro-F1", "vus_pr": "VUS-PR"}
MACHINE = ("platform", "processor", "device", "threads", "processes")  # times of another one are not compared
FOLDS_SHARE = "folds share training data, so their values are not independent"
DEPLOYED = ("macs", "latency_ms", "latency_p95_ms")  # of `deployment.json` beside a record, where it was measured


@dataclass(frozen=True)
class Unit:
    """One trained network, or the mean of several, under one seed; `metrics` are of the test windows.

    Attributes:
        fold: the number of its fold in the group, from 1; 0 where there are none.
        parts: the units of the folds, where this is a seed's mean over them.
    """

    key: str
    seed: int
    metrics: Mapping[str, float]
    record: Record | None = None
    fold: int = 0
    parts: "tuple[Unit, ...]" = ()


@dataclass
class Row:
    """One line of a group.

    Attributes:
        kind: "teacher", "mean" (of the teachers' probabilities), "oracle" (for each test window the best teacher: an
            upper bound for choosing among them, no method), "student", or "simple" (a detector of anomalies that is no
            network).
        base: the method, or the modality and network of a teacher.
        everywhere: of a student its method and options, the same on every data set; `name` may say more.
        settings: what the row's units have in common beyond the group's settings.
        units: seed -> unit, or number of the fold -> unit in a group that goes by folds.
        lacks: of a row without all folds of its group what it has of them, a line a seed.
        teachers: the numbers, in the group, of the rows that taught it.
        control: the row that `change` is measured against, None of that row itself.
        change: of the score, paired by seed; gap: share closed; time: training time over that of the student alone.
        score: the metric that is compared.
    """

    kind: str
    base: str
    name: str
    settings: Settings
    units: dict[int, Unit]
    lacks: tuple[str, ...] = ()
    teachers: tuple[int, ...] = ()
    everywhere: str = ""
    control: str | None = None
    change: st.Paired | st.Refusal | None = None
    gap: float | st.Refusal | None = None
    time: float | st.Refusal | None = None
    score: str = SCORE

    def values(self, metric: str) -> list[float]:
        """One value a seed, or fold, that has it."""
        return [unit.metrics[metric] for _, unit in sorted(self.units.items()) if metric in unit.metrics]

    @property
    def members(self) -> list[Unit]:
        """What was trained, one by one: of a seed's mean over folds the units of the folds."""
        return [part for _, unit in sorted(self.units.items()) for part in unit.parts or (unit,)]


@dataclass
class Group:
    """Rows that may be compared; `settings` is what all its students share.

    Attributes:
        folds: the names of the folds on record, in order; empty where the test part is the data set's own.
        all_folds: how many there are.
        by: what a row has one value of: each seed, or of a single seed each fold.
    """

    title: str
    task: str
    dataset: str
    student: str
    settings: Settings
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    folds: tuple[str, ...] = ()
    all_folds: int = 0
    by: Literal["seed", "fold"] = "seed"

    @property
    def score(self) -> str:
        """The metric that is compared."""
        return SCORES.get(self.task, SCORE)

    @property
    def seeds(self) -> list[int]:
        return sorted({unit.seed for row in self.rows for unit in row.units.values()})

    @property
    def places(self) -> list[int]:
        """The seeds, or the numbers of the folds, that rows have values of."""
        return sorted({place for row in self.rows for place in row.units})

    def label(self, unit: Unit) -> str:
        """A unit's seed and fold."""
        return f"seed {unit.seed}" + (f", {shorten(self.folds[unit.fold - 1], 60)}" if unit.fold else "")


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


def compare(records: Iterable[Record], control: str = STUDENT_ONLY, left_out: Sequence[str] = ()) -> Comparison:
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
    methods = {student_spec(record).method for record in students}
    if control not in methods and control != STUDENT_ONLY:
        raise unknown_name("method", control, methods)
    names = method_names(students)
    by_group: dict[str, list[Record]] = {}
    for record in students:
        by_group.setdefault(as_key(group_settings(record)), []).append(record)
    made = [GroupBuilder(members, teachers, names, control).group() for members in by_group.values()]
    groups = [group for group in made if any(row.kind == "student" for row in group.rows)]
    bad += [f"{group.title}: {'; '.join(group.notes)}" for group in made if group not in groups]
    if not groups:
        raise MmkdError(f"no unit here has all its folds on record ({bad[-1]})")
    _distinguish(groups)
    groups.sort(key=lambda g: (g.task, g.dataset, g.student, g.title))
    used = {unit.key for group in groups for row in group.rows for unit in row.members}
    used |= {key for r in students if not TASKS.get(r.spec.task).teachers_share_metrics for key in r.teachers.values()}
    idle = len(set(teachers) - used)
    if idle:
        bad.append(f"{idle} teacher{'s' if idle > 1 else ''} on record taught none of these units; left out")
    return Comparison(groups, control, bad, [r for r in [*students, *teachers.values()] if r.key in used])


def _unusable(record: Record) -> str:
    """Why a record that is whole cannot stand in a table; empty where it can."""
    try:
        spec = record.spec
        test = record.metrics.test
        anomaly = TASKS.get(spec.task).of_series
        if record.kind not in ("student", "teacher", *["simple"] * anomaly):
            return f"it is of an unknown kind, {record.kind!r}"
        if record.kind == "teacher":
            as_key([teacher_name(record), teacher_settings(record)])
        else:
            as_key([group_settings(record), row_settings(record), making_settings(record)])
            dict(record.result.get("teachers") or {})
        texts = [spec.task, spec.data.name, "" if isinstance(spec, TeacherSpec) else spec.method]
        if not all(isinstance(text, str) for text in texts) or not isinstance(spec.seed, int):
            raise TypeError("task, data set, method or seed")
        needed = {SCORES["anomaly"]} if anomaly and record.kind != "teacher" else {"accuracy", SCORE}
        if not needed <= set(test) or not np.isfinite([*_metrics(record).values()]).all():
            raise ValueError("scores")
        machine(Unit(record.key, 0, {}, record))
    except (KeyError, TypeError, ValueError, AttributeError, MmkdError) as error:
        return f"its values are not those of a unit ({type(error).__name__}: {error})"
    return ""


def _place(record: Record) -> tuple[Any, ...]:
    """Where a unit stands in the order of all."""
    spec = student_spec(record)
    return spec.task, spec.data.name, spec.method, spec.seed, record.key


def _distinguish(groups: Sequence[Group]) -> None:
    """Say in the titles of groups in what else they differ."""
    given = [(group.title, flat(group.settings)) for group in groups]
    for group, title in zip(groups, variant_names(given, most_usual(given)), strict=True):
        group.title = shorten(title)


# Rows -----------------------------------------------------------------------------------------------------------------


class GroupBuilder:
    """Makes a group; keeps what each set of networks says."""

    def __init__(
        self, members: Sequence[Record], teachers: Mapping[str, Record], names: Mapping[str, str], control: str
    ) -> None:
        self.members, self.teachers, self.names, self.control = members, teachers, names, control
        self.said: dict[tuple[str, ...], JointPrediction | str] = {}
        self.seeds = sorted({record.spec.seed for record in members})
        folds = dict(sorted((fold_of(record) for record in members), key=lambda fold: _natural(fold[1])))
        self.folds = {subjects: name for subjects, name in folds.items() if subjects}

    def group(self) -> Group:
        members = self.members
        shared = group_settings(members[0])
        task, dataset = str(shared["task"]), shorten(str(shared["data"]["name"]))
        student = shorten(student_title(shared))
        notes: dict[str, None] = dict.fromkeys(_series_notes(members) if task == "anomaly" else ())
        teachers = [] if task == "anomaly" else self._teachers(members, notes)  # their scores are of the pretext task
        students = self._students(members, teachers, notes)
        taught = Counter(row.teachers for row in students if row.teachers)
        means = [row for some in taught if len(some) > 1 for row in self._mean(some, teachers, notes)]
        usual = taught.most_common(1)[0][0] if taught else ()
        for row in students:
            self._agree(row, [teachers[n] for n in row.teachers or usual], notes)
        if self.folds:
            self._over_folds([*teachers, *means, *students], notes)
            students = _best_first([row for row in students if row.units])
        self._measure(students, teachers, notes)
        if len({record.measurement("deployment.json").get("processor") for record in members} - {None}) > 1:
            notes["latency was not measured on one kind of processor; do not compare it"] = None
        rows = [row for row in (*teachers, *means, *students) if row.units]
        names, there = tuple(self.folds.values()), len(self.folds)
        known = [(record.result.get("data") or {}).get("subjects") for record in members]
        subjects = max((number for number in known if isinstance(number, int)), default=None)
        every = fold_count(str(shared["data"]["fold"]), there, subjects) if names else 0
        cut = f" in {there}{f' of {every}' * (there < every)} fold{'s' * (every > 1)}" if names else ""
        by: Literal["seed", "fold"] = "fold" if self._by_fold else "seed"
        title = f"{dataset}{cut}, {student}"
        return Group(title, task, dataset, student, shared, rows, list(notes), names, every, by)

    @property
    def _by_fold(self) -> bool:
        return bool(self.folds) and len(self.seeds) == 1

    def _over_folds(self, rows: Sequence[Row], notes: dict[str, None]) -> None:
        """Of each seed the mean over its folds in the place of its units; of a single seed the folds by number.

        A seed that lacks folds has no mean.
        """
        names = list(self.folds.values())
        if self._by_fold:
            notes["one seed: n and ± are over its folds, and changes are paired by fold"] = None
            notes[f"{FOLDS_SHARE}: spread and intervals are too narrow, tests are optimistic"] = None
        else:
            notes["the value of a seed is the mean over its folds; n and ± are over seeds"] = None
        for row in rows:
            by_seed: dict[int, list[Unit]] = {}
            for _, unit in sorted(row.units.items()):
                by_seed.setdefault(unit.seed, []).append(unit)
            short = {seed: units for seed, units in by_seed.items() if len(units) < len(names)}
            row.lacks = tuple(f"seed {seed}: {len(units)} of {len(names)} folds" for seed, units in short.items())
            if self._by_fold:
                row.units = {unit.fold: unit for units in by_seed.values() for unit in units}
            else:
                row.units = {seed: _mean_of(units) for seed, units in by_seed.items() if seed not in short}
            for seed, units in short.items():
                there = {unit.fold for unit in units}
                lost = ", ".join(name for n, name in enumerate(names, 1) if n not in there)
                what = "its mean is of these alone" if self._by_fold else "left out"
                name = f"teacher {row.name}" if row.kind == "teacher" else row.name
                of = f"{name}, seed {seed}: {len(there)} of {len(names)} folds"
                notes[f"incomplete: {of}, without {shorten(lost, 100)}; {what}"] = None

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
            found.append(Row("teacher", base, base, teacher_settings(each[0]), self._by_place(each, notes)))
        _name(found, [row.settings for row in found])
        return found

    def _students(self, members: Sequence[Record], teachers: Sequence[Row], notes: dict[str, None]) -> list[Row]:
        numbers = {unit.key: n for n, row in enumerate(teachers) for unit in row.units.values()}
        rows: dict[str, list[Record]] = {}
        for record in members:
            identity = [student_spec(record).method, row_settings(record), making_settings(record)]
            rows.setdefault(as_key(identity), []).append(record)
        found = []
        for each in rows.values():
            taught = {numbers[key] for r in each for key in r.teachers.values() if key in numbers}
            settings = {**row_settings(each[0]), **making_settings(each[0])}
            name, method = self.names[each[0].key], student_spec(each[0]).method
            units, some = self._by_place(each, notes), tuple(sorted(taught))
            row = Row(each[0].kind, method, name, settings, units, teachers=some, everywhere=shorten(name))
            found.append(replace(row, score=SCORES.get(each[0].spec.task, SCORE)))
        _name(found, [making_settings(each[0]) for each in rows.values()])
        return _best_first(found)

    def _by_place(self, records: Sequence[Record], notes: dict[str, None]) -> dict[int, Unit]:
        """Units by seed, or each seed's by its folds, one place after the other."""
        found: dict[int, Unit] = {}
        for record in records:
            place = seed = record.spec.seed
            number, (fold, name) = 0, fold_of(record)
            if seed not in self.seeds or (self.folds and fold not in self.folds):
                notes[f"{record.key} has another seed or fold than the unit that it taught; left out"] = None
                continue
            if self.folds:
                number = list(self.folds).index(fold) + 1
                place = self.seeds.index(seed) * len(self.folds) + number
            if place in found:
                notes[f"unit {record.key} is a second one of seed {seed}{', ' * bool(name)}{name}; left out"] = None
                continue
            found[place] = Unit(record.key, seed, _metrics(record), record, number)
        return found

    def _said(self, records: Sequence[Record]) -> "JointPrediction | str":
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
        for place in sorted(set.intersection(*[set(row.units) for row in rows])):
            records = [record for row in rows if (record := row.units[place].record) is not None]
            said = self._said(records)
            if isinstance(said, str):
                notes[f"mean of the teachers: {said}"] = None
            elif not said.scores:
                notes["mean of the teachers: only where a window has one label"] = None
            else:
                key, one = "+".join(sorted(r.key for r in records)), rows[0].units[place]
                units[place] = Unit(key, one.seed, said.scores, fold=one.fold)
                bounds[place] = Unit(f"best of {key}", one.seed, said.bound, fold=one.fold)
        if not units:
            return []
        short = [row.base.split()[0] for row in rows]
        names = short if len(set(short)) == len({row.base.split()[0] for row in teachers}) == len(teachers) else None
        of = ", ".join(names or [row.name for row in rows])
        oracle = shorten(f"oracle-teacher of {of} (bound)")
        return [
            Row("mean", "mean", shorten(f"mean of {of}"), {}, units, teachers=tuple(some)),
            Row("oracle", "oracle-teacher", oracle, {}, bounds, teachers=tuple(some)),
        ]

    def _agree(self, row: Row, teachers: Sequence[Row], notes: dict[str, None]) -> None:
        """Enter how often a student says what its teachers say together."""
        for place, unit in row.units.items():
            records = [teacher.units[place].record for teacher in teachers if place in teacher.units]
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
                row.units[place] = replace(unit, metrics={**unit.metrics, "agreement": agreement})

    def _measure(self, students: Sequence[Row], teachers: Sequence[Row], notes: dict[str, None]) -> None:
        """Enter change, gap and time of each student."""
        alone = [row for row in students if row.base == STUDENT_ONLY]
        controls = [row for row in students if row.base == self.control]
        if not controls:
            notes[f"no unit of {self.control!r} here: no change is shown"] = None
        if not alone and self.control != STUDENT_ONLY:
            notes["no student alone here: neither gap nor training time is shown"] = None
        for row in students:
            control, base = _nearest(row, controls), _nearest(row, alone)
            if control is not None and control is not row:
                row.control, row.change = control.name, change(row, control)
            if base is not None and base is not row and row.score == SCORE:
                row.gap = _gap(row, base, [teachers[n] for n in row.teachers])
            if base is not None and base is not row and row.kind == "student":
                row.time = _time(row, base)
        if len(controls) > 1:
            notes[
                f"{len(controls)} rows of {self.control!r}: each other row against the one nearest in its options"
            ] = None


def _best_first(students: Iterable[Row]) -> list[Row]:
    """The student alone, then the others by their mean score, then what is no student."""
    return sorted(
        students,
        key=lambda row: (row.kind != "student", row.base != STUDENT_ONLY, -np.mean(row.values(row.score)), row.name),
    )


def _series_notes(members: Sequence[Record]) -> list[str]:
    """What is to be known of a table of detectors."""
    each = [record.result.get("series") or {} for record in members]
    counts = dict.fromkeys((found.get("scored"), len(found.get("left_out") or {})) for found in each if found)
    said = [f"{scored} series scored, {left} left out" for scored, left in counts]
    return [*said, *NOTES]


def _mean_of(units: Sequence[Unit]) -> Unit:
    """The mean over the folds of one seed, of what all of them know."""
    shared = [name for name in units[0].metrics if all(name in unit.metrics for unit in units)]
    metrics = {name: float(np.mean([unit.metrics[name] for unit in units])) for name in shared}
    return Unit("+".join(unit.key for unit in units), units[0].seed, metrics, parts=tuple(units))


def _natural(name: str) -> list[tuple[str, int]]:
    """What sorts names by the numbers in them."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _name(rows: Sequence[Row], settings: Sequence[Settings]) -> None:
    """Add to the names of rows in what their settings differ."""
    given = [(row.name, each) for row, each in zip(rows, settings, strict=True)]
    for row, name in zip(rows, variant_names(given, most_usual(given)), strict=True):
        row.name = shorten(name)


def _metrics(record: Record) -> dict[str, float]:
    """What is known of a unit: its test scores, costs, and what was measured of the deployed student."""
    result = record.result
    found = {name: float(value) for name, value in record.metrics.test.items()}
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

    def whole(control: Row) -> bool:  # of detectors, some of which are no networks: the one that reads all channels
        return "@" not in str(control.settings.get("student", ""))

    return max(controls, key=lambda control: (alike(control), whole(control)), default=None)


def common_places(*rows: Row) -> list[int]:
    """The seeds, or the numbers of the folds, that all these rows have."""
    return sorted(set.intersection(*[set(row.units) for row in rows]))


def change(row: Row, control: Row) -> st.Paired | st.Refusal:
    """Score of a row minus that of another, paired by seed, or fold."""
    places = common_places(row, control)
    return st.paired([row.units[p].metrics[row.score] - control.units[p].metrics[row.score] for p in places])


def _gap(row: Row, alone: Row, teachers: Sequence[Row]) -> float | st.Refusal:
    """Share of the gap to the best of a row's own teachers, by its mean over the seeds, or folds, that all have."""
    if not teachers:
        return st.Refusal("it has no teacher on record")
    places = common_places(row, alone, *teachers)
    scores = [[each.units[p].metrics[SCORE] for p in places] for each in (alone, row, *teachers)]
    best = max(scores[2:], key=lambda values: sum(values))
    return st.gap_closed(scores[0], best, scores[1])


def _time(row: Row, alone: Row) -> float | st.Refusal:
    """Training time over that of the student alone, of the units that both did on one kind of machine."""
    pairs = [(row.units[p], alone.units[p]) for p in common_places(row, alone)]
    there = [pair for pair in pairs if machine(pair[0]) and machine(pair[0]) == machine(pair[1])]
    sums = [sum(pair[side].metrics["seconds"] for pair in there) for side in (0, 1)]
    if not sums[1]:
        return st.Refusal("not trained on the same machine with the same threads as the student alone")
    return sums[0] / sums[1]


def machine(unit: Unit) -> tuple[Any, ...]:
    """What a training time hangs on besides the work; empty where it is not known, or not the same for all folds."""
    if unit.parts:
        first, *others = {machine(part) for part in unit.parts}
        return () if others else first
    where = {} if unit.record is None else unit.record.result.get("environment") or {}
    return tuple(where.get(name) for name in MACHINE) if "threads" in where else ()
