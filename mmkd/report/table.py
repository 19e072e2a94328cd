"""The table at the end of a run, printed. Needs neither torch nor mlflow.

Its columns are the metrics of the task; see `mmkd.metrics.registry`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mmkd.comparison.identity import student_spec
from mmkd.core.progress import duration
from mmkd.metrics.registry import METRICS, score_columns
from mmkd.report.phrases import CONTROLS, mean_and_deviation
from mmkd.report.run_rows import TableRow
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.units.methods import status_line
from mmkd.units.result import paths_of

LEAST_NAME = 8  # characters of a name that a narrow terminal shows


def headline(record: Record) -> str:
    """The scores of a unit that has just ended, in a few words."""
    metrics = [METRICS.get(name) for name in TASKS.get(record.spec.task).metrics[:2]]
    return ", ".join(f"{metric.label} {record.metrics.test[metric.name]:.3f}" for metric in metrics)


def print_tables(table: Sequence[TableRow], stream: Any, width: int | None = None) -> None:
    """Print one table a group, under the gaps of its teachers.

    A terminal that is narrow cuts names, never figures; a file has what the names need.
    """
    from rich.console import Console

    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    limit = console.width if width or stream.isatty() else None
    for group in dict.fromkeys(row.group for row in table):
        members = [row for row in table if row.group == group]
        seeds = max(len(row.score) for row in members)
        console.print(f"{group}, {seeds} {members[0].of}{'' if seeds == 1 else 's'}", style="bold")
        for line in dict.fromkeys(line for row in members for line in row.before):
            console.print(line)
        for part in _layout(sorted(members, key=_place), seeds, limit):
            console.print(part)
    for line in _footnotes(table):
        console.print(line)


def _place(row: TableRow) -> int:
    """Where a row stands: teachers first, controls last."""
    return {"teacher": 0, "control": 2}.get(row.kind, 1)


def _layout(members: Sequence[TableRow], seeds: int, limit: int | None) -> list[Any]:
    """A table of `rich`, and below a heading that of the controls, in the same columns.

    In a narrow terminal names are cut, and if that is not enough some scores are means alone.
    """
    from rich.table import Table

    lines = cells(members, seeds)
    if limit and _room_for_names(lines, limit) < LEAST_NAME:
        lines = cells(members, seeds, brief=True)
    widths = _widths(lines)
    if limit:
        widths[0] = max(LEAST_NAME, min(widths[0], _room_for_names(lines, limit)))
    tables: list[Any] = []
    for of_controls in (False, True):
        part = [each for each in zip(members, lines[1:], strict=True) if (each[0].kind == "control") == of_controls]
        width = sum(size + 2 for size in widths) - 2
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=width, show_header=not of_controls)
        for head, size in zip(lines[0], widths, strict=True):
            side: Literal["left", "right"] = "right" if head else "left"
            table.add_column(head, justify=side, no_wrap=True, overflow="ellipsis", min_width=size, max_width=size)
        for row, line in part:
            table.add_row(*line, end_section=row.kind == "teacher")
        if part or not of_controls:
            tables += [CONTROLS, table] if of_controls else [table]
    return tables


def _room_for_names(lines: Sequence[Sequence[str]], limit: int) -> int:
    return limit - sum(size + 2 for size in _widths(lines)[1:])


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def cells(members: Sequence[TableRow], seeds: int, brief: bool = False) -> list[list[str]]:
    """The heads, then the texts of each row; columns without a value are left out."""
    metrics = [m for m in score_columns(TASKS.get(members[0].task)) if any(row.values.get(m.name) for row in members)]
    has_change = any(row.change for row in members)
    lines = [["", *(metric.head for metric in metrics), *(["vs alone"] if has_change else []), "params", "time"]]
    for row in members:
        name = {"teacher": "teacher ", "reference": "peer "}.get(row.kind, "") + row.name
        count = len(row.score)
        line = [name + (f" ({count} of {seeds})" if count < seeds else "")]
        for metric in metrics:
            values = row.values.get(metric.name, ())
            mean_only = brief and metric.brief and values
            line.append(metric.format(float(np.mean(values))) if mean_only else mean_and_deviation(values))
        if has_change:
            line.append(mean_and_deviation(row.change, 100, "+"))
        size = f"{row.parameters:,}" if row.parameters else ""  # peers and simple detectors are no networks
        lines.append([*line, size, duration(row.seconds)])
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
    if any(row.of == "seed" and len(row.score) > 1 for row in table):
        lines.append("±: standard deviation over the seeds; intervals: mmkd.compare")
    if any(row.of == "fold" for row in table):
        lines.append("one seed in folds: ± is over the folds, which share training data, and says nothing of seeds")
    statuses = status_line([(row.name, row.status) for row in table])
    lines += [statuses] if statuses else []
    lines += dict.fromkeys(note for row in table for note in row.test_part)
    notes = [note for name in dict.fromkeys(row.task for row in table) for note in TASKS.get(name).notes]
    return [*lines, *dict.fromkeys(note for row in table for note in row.notes), *notes]


def reference_as_json(record: Record) -> dict[str, Any]:
    """A reference as `--json` prints it."""
    spec = student_spec(record)
    return {
        "key": record.key,
        "method": spec.method,
        "dataset": spec.data.name,
        "seed": spec.seed,
        "kind": record.kind,
        "status": record.status,
        "metrics": {part: dict(scores) for part, scores in record.metrics.items()},
        "paths": paths_of(record),
    }
