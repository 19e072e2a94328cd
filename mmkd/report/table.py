"""The table at the end of a run: teachers, the student alone, methods and references. Needs neither torch nor mlflow.

Its columns are the metrics of the task; see `mmkd.metrics.registry`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mmkd.comparison.identity import student_spec
from mmkd.core.progress import duration
from mmkd.metrics.registry import METRICS, score_columns
from mmkd.report.phrases import mean_and_deviation
from mmkd.specs.data import DataSpec, fold_count, fold_kind
from mmkd.store.record import Record
from mmkd.tasks import TASKS, Task
from mmkd.units.names import option_names
from mmkd.units.result import UnitResult

LEAST_NAME = 8  # characters of a name that a narrow terminal shows


@dataclass(frozen=True)
class TableRow:
    """One line: the scores of one teacher, method or reference over its seeds.

    In folds the value of a seed is the mean over all of them, and a seed that lacks one has none; of a single seed each
    fold has a value.

    Attributes:
        task: its name.
        values: metric -> one value a seed, or fold, on the test windows.
        change: the task's headline score minus that of the student alone under the same seed, for the seeds where that
            is on record.
        seconds: mean training time.
        of: what each value is of, "seed" or "fold"; folds: how many there are, 0 of the data set's own split.
    """

    group: str
    kind: str
    name: str
    task: str
    values: Mapping[str, tuple[float, ...]]
    change: tuple[float, ...]
    parameters: int
    seconds: float
    of: str = "seed"
    folds: int = 0

    @property
    def score(self) -> tuple[float, ...]:
        """The values of the task's headline score."""
        return self.values[TASKS.get(self.task).headline]


@dataclass
class _Repeats:
    """Seed and fold of each record of a group, by its key; `folds` are all that the units have."""

    folds: frozenset[str]
    of: str
    by_key: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, record: Record, result: UnitResult) -> None:
        self.by_key[record.key] = result.spec.seed, result.spec.data.fold

    def values(self, scores: Iterable[tuple[str, float]]) -> tuple[float, ...]:
        """One value a seed, or fold, of (key, score) of each record."""
        if not self.folds or self.of == "fold":
            return tuple(score for _, score in scores)
        by_seed: dict[int, list[float]] = {}
        for key, score in scores:
            by_seed.setdefault(self.by_key[key][0], []).append(score)
        return tuple(float(np.mean(values)) for values in by_seed.values() if len(values) == len(self.folds))


def rows(
    results: Sequence[UnitResult],
    teachers: Iterable[Record] = (),
    alone: Mapping[str, Record] | None = None,
    references: Iterable[Record] = (),
) -> list[TableRow]:
    """Rows of a sweep, grouped by data set and, where the task compares methods on one student, by student.

    Args:
        teachers: the records of all teachers of these units.
        alone: key of a unit -> the record of the student alone under the same seed.
        references: records of detectors or classifiers that are no network.
    """
    by_key = {record.key: record for record in teachers}
    references = list(references)
    groups: dict[tuple[str, str, str], list[UnitResult]] = {}
    for result in results:
        spec = result.spec
        kind = fold_kind(spec.data.fold) if spec.data.fold else ""
        student = spec.student_title if TASKS.get(spec.task).groups_by_student else ""
        groups.setdefault((_data_name(spec.data), kind, student), []).append(result)
    for record in references:
        groups.setdefault((_data_name(record.spec.data), "", ""), [])
    table = []
    for (data, kind, student), members in groups.items():
        own = [record for record in references if _data_name(record.spec.data) == data and not student]
        if student:
            table += _student_group(data, kind, student, members, by_key, alone or {})
        else:
            table += _detector_group(data, members, own)
    return table


def _data_name(data: DataSpec) -> str:
    return f"{data.name} at {data.rate:g} Hz" if data.rate else data.name


def _student_group(
    data: str,
    kind: str,
    student: str,
    members: Sequence[UnitResult],
    teachers: Mapping[str, Record],
    alone: Mapping[str, Record],
) -> list[TableRow]:
    """Teachers, the student alone and the methods, in the order of the sweep."""
    repeats = _repeats_of(members)
    group = f"{data}{_in_folds(members, kind, len(repeats.folds))}, {student}"
    task = TASKS.get(members[0].spec.task)
    by_teacher: dict[str, dict[str, Record]] = {}
    for result in members:
        for modality, net_name in result.spec.teachers.items():
            key = result.spec.teacher(modality).key
            if key in teachers and task.teachers_share_metrics:
                by_teacher.setdefault(f"{modality} {net_name}", {})[key] = teachers[key]
                repeats.add(teachers[key], result)
    by_name: dict[str, list[Record]] = {}
    base: dict[str, Record] = {}
    for result, name in zip(members, option_names([result.spec for result in members]), strict=True):
        if result.record is not None:
            by_name.setdefault(name, []).append(result.record)
            repeats.add(result.record, result)
            if result.spec.key in alone:
                base[result.spec.key] = alone[result.spec.key]
                repeats.add(alone[result.spec.key], result)
    table = [_row(group, "teacher", name, list(r.values()), {}, repeats, task) for name, r in by_teacher.items()]
    alone_by_key = {record.key: record for record in base.values()}
    shown = {record.key for records in by_name.values() for record in records}
    if alone_by_key and not shown & set(alone_by_key):
        table.append(_row(group, "student", "student", list(alone_by_key.values()), {}, repeats, task))
    table += [_row(group, "student", name, records, base, repeats, task) for name, records in by_name.items()]
    return table


def _detector_group(data: str, members: Sequence[UnitResult], references: Sequence[Record]) -> list[TableRow]:
    """Methods of any student and the references, the best first."""
    by_name: dict[str, list[Record]] = {}
    for result, name in zip(members, option_names([result.spec for result in members]), strict=True):
        if result.record is not None:
            title = f"{name} ({result.spec.student_name} {result.spec.student_net})"
            by_name.setdefault(title, []).append(result.record)
    for record in references:
        by_name.setdefault(student_spec(record).method, []).append(record)
    records = [record for group in by_name.values() for record in group]
    if not records:
        return []
    task = TASKS.get(records[0].spec.task)
    series = records[0].result.get("series")
    counts = f", {series['scored']} series, {len(series['left_out'])} left out" if series else ""
    repeats = _Repeats(frozenset(), "seed")
    table = [_row(f"{data}{counts}", "student", name, r, {}, repeats, task) for name, r in by_name.items()]
    sign = METRICS.get(task.headline).sign
    return sorted(table, key=lambda row: -sign * float(np.mean(row.score)))


def _repeats_of(members: Sequence[UnitResult]) -> _Repeats:
    folds = frozenset(result.spec.data.fold for result in members) - {""}
    single_seed = folds and len({result.spec.seed for result in members}) == 1
    return _Repeats(folds, "fold" if single_seed else "seed")


def _in_folds(members: Sequence[UnitResult], kind: str, on_record: int) -> str:
    """` in 5 folds`, ` in 3 of 5 folds`; empty of the data set's own split."""
    if not kind:
        return ""
    subjects = [result.record.data.get("subjects") for result in members if result.record is not None]
    count = fold_count(kind, on_record, max((number for number in subjects if number), default=None))
    return f" in {on_record}{f' of {count}' * (on_record < count)} fold{'s' * (count > 1)}"


def _row(
    group: str,
    kind: str,
    name: str,
    records: Sequence[Record],
    base: Mapping[str, Record],
    repeats: _Repeats,
    task: Task,
) -> TableRow:
    tests = [(record.key, record.metrics.test) for record in records]
    values = {}
    for metric in score_columns(task):
        known = [(key, test[metric.name]) for key, test in tests if metric.name in test]
        values[metric.name] = repeats.values(known) if len(known) == len(tests) else ()  # some are older than it
    score = task.headline
    change = [
        (key, test[score] - base[key].metrics.test[score])
        for key, test in tests
        if key in base and base[key].key != key
    ]
    return TableRow(
        group=group,
        kind=kind,
        name=name,
        task=task.name,
        values=values,
        change=repeats.values(change),
        parameters=records[0].parameters,
        seconds=float(np.mean([record.seconds for record in records])),
        of=repeats.of,
        folds=len(repeats.folds),
    )


def headline(record: Record) -> str:
    """The scores of a unit that has just ended, in a few words."""
    metrics = [METRICS.get(name) for name in TASKS.get(record.spec.task).metrics[:2]]
    return ", ".join(f"{metric.label} {record.metrics.test[metric.name]:.3f}" for metric in metrics)


def print_tables(table: Sequence[TableRow], stream: Any, width: int | None = None) -> None:
    """Print one table a group. A terminal that is narrow cuts names, never figures; a file has what the names need."""
    from rich.console import Console

    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    limit = console.width if width or stream.isatty() else None
    for group in dict.fromkeys(row.group for row in table):
        members = [row for row in table if row.group == group]
        seeds = max(len(row.score) for row in members)
        console.print(f"{group}, {seeds} {members[0].of}{'' if seeds == 1 else 's'}", style="bold")
        console.print(_layout(sorted(members, key=lambda row: row.kind != "teacher"), seeds, limit))
    for line in _footnotes(table):
        console.print(line)


def _layout(members: Sequence[TableRow], seeds: int, limit: int | None) -> Any:
    """A table of `rich`; in a narrow terminal names are cut, and if that is not enough some scores are means alone."""
    from rich.table import Table

    lines = cells(members, seeds)
    if limit and _room_for_names(lines, limit) < LEAST_NAME:
        lines = cells(members, seeds, brief=True)
    widths = _widths(lines)
    if limit:
        widths[0] = max(LEAST_NAME, min(widths[0], _room_for_names(lines, limit)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=sum(size + 2 for size in widths) - 2)
    for head, size in zip(lines[0], widths, strict=True):
        side: Literal["left", "right"] = "right" if head else "left"
        table.add_column(head, justify=side, no_wrap=True, overflow="ellipsis", min_width=size, max_width=size)
    for row, line in zip(members, lines[1:], strict=True):
        table.add_row(*line, end_section=row.kind == "teacher")
    return table


def _room_for_names(lines: Sequence[Sequence[str]], limit: int) -> int:
    return limit - sum(size + 2 for size in _widths(lines)[1:])


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def cells(members: Sequence[TableRow], seeds: int, brief: bool = False) -> list[list[str]]:
    """The heads, then the texts of each row; columns without a value are left out."""
    metrics = [m for m in score_columns(TASKS.get(members[0].task)) if any(row.values[m.name] for row in members)]
    has_change = any(row.change for row in members)
    lines = [["", *(metric.head for metric in metrics), *(["vs alone"] if has_change else []), "params", "time"]]
    for row in members:
        name = f"teacher {row.name}" if row.kind == "teacher" else row.name
        count = len(row.score)
        line = [name + (f" ({count} of {seeds})" if count < seeds else "")]
        for metric in metrics:
            values = row.values[metric.name]
            mean_only = brief and metric.brief and values
            line.append(metric.format(float(np.mean(values))) if mean_only else mean_and_deviation(values))
        if has_change:
            line.append(mean_and_deviation(row.change, 100, "+"))
        lines.append([*line, f"{row.parameters:,}", duration(row.seconds)])
    return lines


def _footnotes(table: Sequence[TableRow]) -> list[str]:
    lines = []
    changed = [row for row in table if row.change]
    if changed:
        pairs = "same seeds and folds" if any(row.folds for row in table) else "same seeds"
        score = METRICS.get(TASKS.get(changed[0].task).headline).label
        lines.append(f"vs alone: {score} in points against the student without a teacher, {pairs}")
    if any(row.folds and row.of == "seed" for row in table):
        lines.append("in folds: the value of a seed is the mean over its folds; a seed that lacks one has none")
    if any(row.of == "fold" for row in table):
        lines.append("one seed in folds: ± is over the folds, which share training data, and says nothing of seeds")
    notes = [note for name in dict.fromkeys(row.task for row in table) for note in TASKS.get(name).notes]
    return [*lines, *notes]


def reference_as_json(record: Record) -> dict[str, Any]:
    """A reference as `--json` prints it."""
    spec = student_spec(record)
    return {
        "key": record.key,
        "method": spec.method,
        "dataset": spec.data.name,
        "seed": spec.seed,
        "kind": record.kind,
        "metrics": record.result["metrics"],
        "paths": {"record": str(record.folder)},
    }
