"""Groups: rows that may stand beside each other in one table.

A group is one data set, one student and one way to train it; units that differ in any of these never meet. Its rows are
the teachers, the mean of their probabilities, the student alone, the methods and the controls, one unit a seed each;
units of one method that differ in their options, or in how their teachers were made, are rows of their own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmkd.comparison.changes import enter_changes
from mmkd.comparison.controls import enter_verdicts
from mmkd.comparison.equal import enter_equals
from mmkd.comparison.fidelity import enter_fidelity
from mmkd.comparison.gap import Gap, row_gaps
from mmkd.comparison.identity import (
    OLDER,
    Settings,
    as_key,
    data_warnings,
    group_settings,
    making_settings,
    row_settings,
    student_spec,
    student_title,
    test_part_notes,
)
from mmkd.comparison.repeats import Repeats
from mmkd.comparison.rows import Row, best_first, name_by_difference
from mmkd.comparison.teachers import JointPredictions, Numbers, mean_rows, teacher_rows
from mmkd.comparison.units import Unit
from mmkd.core.text import shorten
from mmkd.metrics.registry import METRICS, Metric
from mmkd.specs.data import fold_count
from mmkd.store.record import Record
from mmkd.tasks import TASKS, Task
from mmkd.units.costs import latency_notes
from mmkd.units.methods import kind_of_row, status_of
from mmkd.units.names import data_title


@dataclass
class Group:
    """Rows that may be compared; `settings` is what all its students share.

    Attributes:
        task: its name.
        folds: the names of the folds on record, in order; empty where the test part is the data set's own.
        all_folds: how many there are.
        by: what a row has one value of: each seed, or of a single seed each fold.
        gaps: of each teacher to the student alone, the largest first; empty where one of the two is not here.
        functional: key of a record -> what was computed from its predictions and may travel with it.
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
    gaps: list[Gap] = field(default_factory=list)
    functional: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def task_object(self) -> Task:
        """The task itself."""
        return TASKS.get(self.task)

    @property
    def data(self) -> str:
        """The data set in words: its name, and its rate where it was resampled."""
        return data_title(self.dataset, self.settings["data"]["rate"], self.settings["data"])

    @property
    def score(self) -> Metric:
        """The metric that is compared."""
        return METRICS.get(self.task_object.headline)

    @property
    def shown_rows(self) -> list[Row]:
        """The rows as tables show them: of those that are equal to the bit one, with the names of all."""
        return [row for row in self.rows if row.folded_into is None]

    @property
    def seeds(self) -> list[int]:
        return sorted({unit.seed for row in self.rows for unit in row.units.values()})

    @property
    def repeats(self) -> list[int]:
        """The seeds, or the numbers of the folds, that rows have values of."""
        return sorted({repeat for row in self.rows for repeat in row.units})

    def label(self, unit: Unit) -> str:
        """A unit's seed and fold."""
        return f"seed {unit.seed}" + (f", {shorten(self.folds[unit.fold - 1], 60)}" if unit.fold else "")


def build_group(
    members: Sequence[Record],
    teachers: Mapping[str, Record],
    names: Mapping[str, str],
    control: str,
    references: Sequence[Record] = (),
) -> Group:
    """The group of these units.

    Args:
        members: records of students, and of detectors beside them, that may be compared.
        teachers: key -> record of all teachers.
        names: key of a unit -> its method with the options in which the units of the method differ, here and on the
            other data sets that the student is compared over.
        control: the method that changes are measured against.
        references: records of peers on the same windows.
    """
    settings = group_settings(members[0])
    task = TASKS.get(str(settings["task"]))
    repeats = Repeats(members)
    joint = JointPredictions()
    notes: dict[str, None] = dict.fromkeys([*_series_counts(members), *task.notes])
    taught_by, numbers = teacher_rows(members if task.teachers_share_metrics else [], teachers, repeats, notes)
    names = {**names, **{record.key: student_spec(record).method for record in references}}
    students = _student_rows([*members, *references], names, numbers, repeats, notes)
    taught = Counter(row.teachers for row in students if row.teachers)
    means = [row for several in taught if len(several) > 1 for row in mean_rows(several, taught_by, joint, notes)]
    usual = taught.most_common(1)[0][0] if taught else ()
    enter_fidelity(students, taught_by, usual, joint, repeats, notes)
    if repeats.folds:
        repeats.merge_folds([*taught_by, *means, *students], notes)
        students = best_first([row for row in students if row.units])
    enter_changes(students, taught_by, control, task.teachers_share_metrics, notes)
    few_labels = ("labelled_subjects", "labelled_windows", "unlabelled_sha256")
    enter_verdicts(students, repeats.by, any(settings["data"].get(name) for name in few_labels))
    if len({record.measurement("deployment.json").get("processor") for record in members} - {None}) > 1:
        notes["latency was not measured on one kind of processor; do not compare it"] = None
    notes |= dict.fromkeys(latency_notes(members))
    notes |= dict.fromkeys(test_part_notes(members))
    notes |= dict.fromkeys(f"warning: {line}" for line in data_warnings(members))
    gaps = row_gaps(taught_by, students, repeats.by) if task.teachers_share_metrics else []
    notes |= dict.fromkeys(str(line) for record in references for line in record.result.get("notes") or ())
    rows = [row for row in (*taught_by, *means, *students) if row.units]
    enter_equals(rows, notes)
    dataset = shorten(str(settings["data"]["name"]))
    data = data_title(dataset, settings["data"]["rate"], settings["data"])
    student = shorten(student_title(members[0]))
    count = _count_folds(members, repeats, str(settings["data"]["fold"]))
    return Group(
        title=f"{data}{_in_folds(len(repeats.folds), count)}, {student}",
        task=task.name,
        dataset=dataset,
        student=student,
        settings=settings,
        rows=rows,
        notes=list(notes),
        folds=tuple(repeats.folds.values()),
        all_folds=count,
        by=repeats.by,
        gaps=gaps,
        functional=joint.functional(),
    )


def _count_folds(members: Sequence[Record], repeats: Repeats, kind: str) -> int:
    """How many folds the cut has; 0 where there are none."""
    subjects = [number for record in members if isinstance(number := record.data.get("subjects"), int)]
    return fold_count(kind, len(repeats.folds), max(subjects, default=None)) if repeats.folds else 0


def _in_folds(on_record: int, count: int) -> str:
    """` in 5 folds`, ` in 3 of 5 folds`; empty of the data set's own split."""
    if not on_record:
        return ""
    return f" in {on_record}{f' of {count}' * (on_record < count)} fold{'s' * (count > 1)}"


def _series_counts(members: Sequence[Record]) -> list[str]:
    """How many series were scored and left out, where units are of series."""
    series = [record.result.get("series") or {} for record in members]
    counts = dict.fromkeys((part.get("scored"), len(part.get("left_out") or {})) for part in series if part)
    return [f"{scored} series scored, {left_out} left out" for scored, left_out in counts]


def _student_rows(
    members: Sequence[Record],
    names: Mapping[str, str],
    numbers: Numbers,
    repeats: Repeats,
    notes: dict[str, None],
) -> list[Row]:
    by_settings: dict[str, list[Record]] = {}
    for record in members:
        identity = [student_spec(record).method, row_settings(record), making_settings(record)]
        by_settings.setdefault(as_key(identity), []).append(record)
    rows = []
    for records in by_settings.values():
        first = records[0]
        taught = [(key, record.teacher_epoch) for record in records for key in record.teachers.values()]
        taught_by = {numbers[pair] for pair in taught if pair in numbers}
        base = student_spec(first).method
        status = status_of(base, first.result)
        row = Row(
            kind=kind_of_row(first.kind, base, status),
            base=base,
            name=names[first.key],
            settings={**row_settings(first), **making_settings(first)},
            units=repeats.units(records, notes),
            teachers=tuple(sorted(taught_by)),
            variant=shorten(names[first.key]),
            status=status,
            score=TASKS.get(first.spec.task).headline,
        )
        rows.append(row)
    if any(OLDER in row.variant.split() for row in rows):
        notes[f"{OLDER}: made by an older form of the method, with fewer options or another computation"] = None
    name_by_difference(rows, [making_settings(records[0]) for records in by_settings.values()])
    return best_first(rows)
