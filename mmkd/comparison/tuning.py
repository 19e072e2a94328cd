"""The tuning phase: what each method's configurations scored in the inner fold, and what fewer of them would have.

Its units are trained and scored in a fold of the training part, and are no rows of tables. A score here is that of the
fold in which the choice is made, so that the best of many is too good; what a choice is worth say the rows `tuned` on
the test windows. Needs no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mmkd.comparison.identity import as_key, fold_of, making_settings, row_settings
from mmkd.comparison.selection import phase_settings, phase_titles
from mmkd.comparison.units import Unit, different_machines, machine
from mmkd.core.errors import MmkdError
from mmkd.metrics.budgets import best_of, best_of_range, budgets_up_to
from mmkd.metrics.registry import METRICS, Metric
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.units.names import data_title, variant_names

USUAL = (1, 5, 10, 25)
"""Budgets that are told, in student trainings; those beyond what was tried are left out."""


@dataclass(frozen=True)
class Tried:
    """One configuration of a table.

    Attributes:
        number: in the table; 0 is the published default.
        score: of the compared metric in the inner fold, mean over seeds.
        seconds: that its trainings took.
        options: all options of the method.
    """

    number: int
    score: float
    seconds: float
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Budget:
    """What so many configurations would have found, the default among them.

    Attributes:
        trainings: how many configurations are trained.
        seconds: that they take, on average over what is left out.
        score: expected score in the inner fold of the best, over all orders in which the others are tried.
        low, high: 90 % of these orders end between them.
    """

    trainings: int
    seconds: float
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Tuning:
    """The configurations of one method's table in one inner fold.

    Attributes:
        name: the method, and in what its tables differ where there are several.
        table: digest of the table that they are of.
        tried: by number; the first is the default.
        metric: the name of the compared metric.
    """

    name: str
    method: str
    table: str
    tried: Sequence[Tried]
    metric: str

    @property
    def sign(self) -> int:
        """1 where a higher score is better, else -1."""
        return METRICS.get(self.metric).sign

    @property
    def default(self) -> Tried:
        """The published default, configuration 0."""
        return self.tried[0]

    @property
    def best(self) -> Tried:
        """The configuration of the best score; of equal ones the lowest number."""
        return max(self.tried, key=lambda tried: (self.sign * tried.score, -tried.number))

    @property
    def better_than_default(self) -> int:
        """How many configurations have a better score than the default."""
        return sum(self.sign * tried.score > self.sign * self.default.score for tried in self.tried)

    @property
    def seconds(self) -> float:
        """Of all trainings."""
        return sum(tried.seconds for tried in self.tried)

    @property
    def chosen(self) -> dict[str, Any]:
        """The options in which the best configuration differs from the default."""
        return changed_options(self.default.options, self.best.options)

    def budget(self, trainings: int) -> Budget:
        """What so many trainings would have found; 1 is the default alone."""
        own, *others = (self.sign * tried.score for tried in self.tried)
        ends = (self.sign * end for end in best_of_range(own, others, trainings))
        spent = [tried.seconds for tried in self.tried[1:]]
        seconds = self.default.seconds + (trainings - 1) * (float(np.mean(spent)) if spent else 0.0)
        return Budget(trainings, seconds, self.sign * best_of(own, others, trainings), *sorted(ends))

    @cached_property
    def curve(self) -> list[Budget]:
        """Every budget up to all that was tried."""
        return [self.budget(count) for count in range(1, len(self.tried) + 1)]

    @property
    def usual(self) -> list[Budget]:
        """Those budgets of `USUAL` that were tried, and all."""
        return [self.curve[count - 1] for count in budgets_up_to(len(self.tried), USUAL)]


@dataclass(frozen=True)
class TuningPhase:
    """The tuning of all methods of one data set and student; where the test part is a fold, of that fold.

    Attributes:
        dataset, student: in words.
        part: which part of the training part is the inner fold, such as "1 of 3".
        tunings: of each method, the best score first.
        teachers: how many teachers were trained in the fold, which all methods share; `teacher_seconds`: how long.
        notes: what else is to be known.
    """

    task: str
    dataset: str
    student: str
    part: str
    tunings: Sequence[Tuning]
    teachers: int
    teacher_seconds: float
    notes: Sequence[str]

    @property
    def metric(self) -> Metric:
        """What is compared."""
        return METRICS.get(self.tunings[0].metric)

    @property
    def title(self) -> str:
        """The data set and the student."""
        return f"{self.dataset}, {self.student}"

    @property
    def trainings(self) -> int:
        """Of students, in all."""
        return sum(len(tuning.tried) for tuning in self.tunings)

    @property
    def seconds(self) -> float:
        """Of the trainings of students, in all."""
        return sum(tuning.seconds for tuning in self.tunings)

    @property
    def budgets(self) -> list[int]:
        """The budgets that are told of these methods."""
        most = max(len(tuning.tried) for tuning in self.tunings)
        return budgets_up_to(most, USUAL)


def changed_options(default: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from those of the default."""
    return {name: value for name, value in options.items() if name not in default or value != default[name]}


def is_of_tuning(record: Record) -> bool:
    """Whether a record is a unit of the tuning phase."""
    try:
        return record.kind == "student" and bool(record.unit.tuning)
    except (MmkdError, KeyError, TypeError, ValueError, AttributeError):  # of another version, or damaged
        return False


def tuning_phases(records: Iterable[Record]) -> list[TuningPhase]:
    """The tunings among these records, by data set and student; other records but their teachers are passed over."""
    records = list(records)
    teachers = {record.key: record for record in records if record.kind == "teacher"}
    settings: dict[str, list[Record]] = {}
    for record in filter(is_of_tuning, records):
        settings.setdefault(as_key([phase_settings(record), fold_of(record)]), []).append(record)
    titles = phase_titles([members[0] for members in settings.values()])
    phases = []
    for members, student in zip(settings.values(), titles, strict=True):
        notes: list[str] = []
        found = _tunings(members, notes)
        if not found:
            continue
        spec = members[0].unit
        title = data_title(spec.data.name, spec.data.rate, spec.data)
        taught_by = {key for record in members for key in record.teachers.values() if key in teachers}
        if len(different_machines(machine(Unit(record.key, 0, {}, record)) for record in members)) > 1:
            notes.append("trained on several kinds of machine, so that seconds are not those of one")
        phases.append(
            TuningPhase(
                task=spec.task,
                dataset=f"{title}, {spec.data.fold}" if spec.data.fold else title,
                student=student,
                part=_parts(members),
                tunings=sorted(found, key=lambda tuning: (-tuning.sign * tuning.best.score, tuning.name)),
                teachers=len(taught_by),
                teacher_seconds=sum(teachers[key].seconds for key in taught_by),
                notes=notes,
            )
        )
    return sorted(phases, key=lambda phase: (phase.task, phase.dataset, phase.student))


def _parts(members: Sequence[Record]) -> str:
    """`1 of 3`, `1-3 of 3`: which folds of the training part were scored."""
    numbers = sorted({record.spec.data.inner_fold[0] for record in members})
    folds = members[0].spec.data.inner_fold[1]
    return f"{numbers[0]}{f'-{numbers[-1]}' if len(numbers) > 1 else ''} of {folds}"


def _tunings(members: Sequence[Record], notes: list[str]) -> list[Tuning]:
    """The tables among the records of one data set and student."""
    tables: dict[str, list[Record]] = {}
    for record in members:
        tables.setdefault(as_key([record.unit.method, _table_settings(record)]), []).append(record)
    named = [(records[0].unit.method, _table_settings(records[0])) for records in tables.values()]
    names = variant_names(named, lambda method: {})
    found = []
    for name, records in zip(names, tables.values(), strict=True):
        tried = _tried(name, records, notes)
        if tried:
            spec = records[0].unit
            metric = TASKS.get(spec.task).headline
            found.append(Tuning(name, spec.method, str(spec.tuning["table"]), tried, metric))
    return found


def _table_settings(record: Record) -> dict[str, Any]:
    """What the configurations of one table have in common: all but the options."""
    own = {name: value for name, value in row_settings(record).items() if name not in record.unit.options}
    return {**own, **making_settings(record), "table": str(record.unit.tuning["table"])[:8]}


def _tried(name: str, records: Sequence[Record], notes: list[str]) -> list[Tried]:
    """The configurations of a table by number, of the seeds and folds that the default has."""
    by_number: dict[int, dict[str, Record]] = {}
    metric = TASKS.get(records[0].spec.task).headline
    for record in records:
        if metric in record.metrics.test:
            place = as_key([record.spec.seed, record.spec.data.inner_fold])
            by_number.setdefault(int(record.unit.tuning["number"]), {}).setdefault(place, record)
    if 0 not in by_number:
        notes.append(f"{name}: its default, configuration 0, is not on record in the inner fold; left out")
        return []
    places = by_number[0].keys()
    lacking = [number for number, own in sorted(by_number.items()) if not places <= own.keys()]
    if lacking:
        notes.append(f"{name}: without all seeds of its default, left out: {', '.join(map(str, lacking))}")
    missing = sorted(set(range(max(by_number) + 1)) - by_number.keys())
    if missing:
        notes.append(f"{name}: configurations that are not on record: {', '.join(map(str, missing))}")
    tried = []
    for number, own in sorted(by_number.items()):
        if number not in lacking:
            kept = [own[place] for place in places]
            score = float(np.mean([record.metrics.test[metric] for record in kept]))
            seconds = sum(record.seconds for record in kept)
            tried.append(Tried(number, score, seconds, dict(kept[0].unit.options)))
    return tried
