"""The comparison as tables for a terminal."""

from collections.abc import Sequence
from typing import Any, Literal

from mmkd.comparison.compare import Comparison
from mmkd.comparison.gap import gap_lines
from mmkd.comparison.groups import Group
from mmkd.comparison.ranking import Ranking
from mmkd.comparison.rows import Row
from mmkd.comparison.tuned import tuned_changes
from mmkd.comparison.tuning import TuningPhase
from mmkd.comparison.verdicts import QUESTIONS
from mmkd.report.columns import Column, columns
from mmkd.report.fidelity import (
    HEADS,
    asked_rows,
    fidelity_cells,
    fidelity_notes,
    meanings,
    named_lines,
    taught_rows,
    verdict_cells,
    verdict_heads,
    verdict_notes,
)
from mmkd.report.phrases import CONTROLS, group_notes, legend, name_repeats, row_name
from mmkd.report.statistics import ranking_lines
from mmkd.report.tuning import (
    MEANING,
    TUNED_HEADS,
    choice_line,
    phase_lead,
    phase_notes,
    table_cells,
    table_heads,
    tuned_cells,
    tuned_title,
)
from mmkd.units.methods import status_line

WIDTH = 118
"""Letters of a line of the table."""
LEAST_ROOM = 20
"""Letters for names under which spare columns are left out."""


def print_comparison(comparison: Comparison, rankings: Sequence[Ranking], stream: Any) -> None:
    """Print the tables; a name that is too long continues in the next line, no figure is cut."""
    from rich.console import Console

    console = Console(file=stream, width=WIDTH, highlight=False, markup=False, emoji=False)
    for selection in comparison.selections:
        for line in selection.lines:
            console.print(line)
    for phase in comparison.tunings:
        _print_tuning(phase, console)
    for group in comparison.groups:
        console.print(f"{group.title}, {name_repeats(group)}", style="bold")
        for line in gap_lines(group.gaps):
            console.print(f"  {line}")
        for part in _tables(group, comparison.control):
            console.print(part)
        statuses = status_line([(row.name, row.status) for row in group.shown_rows])
        for note in (*group_notes(group), *([statuses] if statuses else [])):
            console.print(f"  {note}")
        _print_fidelity(group, console)
        _print_tuned(group, console)
        console.print()
    for ranking in rankings:
        for line in ranking_lines(ranking):
            console.print(line)
    for line in (legend(comparison), *meanings(comparison), *([MEANING] if comparison.tunings else [])):
        console.print(line)


def _print_tuning(phase: TuningPhase, console: Any) -> None:
    """What each method's configurations scored in the inner fold, and which was the best."""
    console.print(f"tuning: {phase.title}", style="bold")
    for line in (*phase_lead(phase), f"{phase.metric.label} in the inner fold, by budget:"):
        console.print(f"  {line}")
    lines = [(tuning.name, table_cells(tuning, phase)) for tuning in phase.tunings]
    console.print(_plain_table(table_heads(phase), lines))
    for line in (*map(choice_line, phase.tunings), *phase_notes(phase)):
        console.print(f"  {line}")
    console.print()


def _print_tuned(group: Group, console: Any) -> None:
    """Tuned rows beside those of their defaults."""
    tuned = [(found.tuned.name, tuned_cells(found)) for found in tuned_changes(group)]
    if tuned:
        console.print(f"  {tuned_title(group)}")
        console.print(_plain_table(TUNED_HEADS[:-1], [(name, cells[:-1]) for name, cells in tuned]))
    for name, cells in tuned:
        console.print(f"  {name}: {cells[-1]}")


def _tables(group: Group, control: str) -> list[Any]:
    """The table of a group, and below a heading that of its controls, in the same columns."""
    from rich.table import Table

    names = [row_name(row, group) for row in group.shown_rows]
    longest = max(map(len, names))
    shown = [column for column in columns([group], control) if not column.wide]
    spare = [column for column in shown if column.spare]
    while spare and WIDTH - _total_width(shown, group) < min(longest, LEAST_ROOM):
        shown.remove(spare.pop())
    lines = [[_cell(column, row) for column in shown] for row in group.shown_rows]
    sizes = [_width(column, group) for column in shown]
    room = max(12, min(longest, WIDTH - _total_width(shown, group)))
    tables: list[Any] = []
    following = [*(row.kind for row in group.shown_rows[1:]), None]
    every = [*zip(group.shown_rows, names, lines, following, strict=True)]
    for of_controls in (False, True):
        part = [each for each in every if (each[0].kind == "control") == of_controls]
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=not of_controls)
        table.add_column("", width=room, overflow="fold")
        for column, size in zip(shown, sizes, strict=True):
            side: Literal["right"] = "right"
            table.add_column(column.head, justify=side, no_wrap=True, width=size)
        for row, name, line, kind in part:
            table.add_row(name, *line, end_section=row.kind != kind)
        if part or not of_controls:
            tables += [CONTROLS, table] if of_controls else [table]
    return tables


def _print_fidelity(group: Group, console: Any) -> None:
    """What students have of their teachers, and the answers whether methods are better than their controls."""
    taught = taught_rows(group)
    if taught:
        heads = [head for head, _, _ in HEADS]
        console.print(_plain_table(heads, named_lines(taught, group, lambda row: fidelity_cells(row.fidelity[0]))))
    for note in fidelity_notes(group):
        console.print(f"  {note}")
    asked = asked_rows(group)
    heads = verdict_heads(asked)
    if heads:
        for part in _columns_that_fit(asked, heads):
            console.print(
                _plain_table(
                    [_question(head) for head in part],
                    named_lines(asked, group, lambda row: verdict_cells(row, part, brief=True)),  # noqa: B023
                )
            )
    for note in verdict_notes(group):
        console.print(f"  {note}")


def _question(head: str) -> str:
    """`> label smoothing?`, above a column of answers."""
    return f"> {QUESTIONS[head].head}?"


def _columns_that_fit(rows: Sequence[Row], heads: Sequence[str]) -> list[list[str]]:
    """The questions in parts, each as wide as a table may be."""
    parts: list[list[str]] = []
    room = 0
    for head in heads:
        cells = [verdict_cells(row, [head], brief=True)[0] for row in rows]
        width = max(len(_question(head)), *map(len, cells)) + 1
        if width > room or not parts:
            parts.append([])
            room = WIDTH - max(12, min(LEAST_ROOM, *(len(row.title) for row in rows)))
        parts[-1].append(head)
        room -= width
    return parts


def _plain_table(heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> Any:
    """A table whose names take what room the cells leave; columns without a value are left out.

    A line without cells is a heading.
    """
    from rich.table import Table

    kept = [number for number in range(len(heads)) if any(cells and cells[number] for _, cells in lines)]
    widths = [max(len(heads[number]), *(len(cells[number]) for _, cells in lines if cells)) for number in kept]
    room = max(12, min(max(len(name) for name, _ in lines), WIDTH - sum(width + 1 for width in widths)))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", width=room, overflow="fold")
    for number, width in zip(kept, widths, strict=True):
        table.add_column(heads[number], justify="right", no_wrap=True, width=width)
    for name, cells in lines:
        table.add_row(name, *(cells[number] if cells else "" for number in kept))
    return table


def _cell(column: Column, row: Row) -> str:
    return (column.brief or column.text)(row)


def _width(column: Column, group: Group) -> int:
    return max(len(column.head), *(len(_cell(column, row)) for row in group.shown_rows))


def _total_width(shown: Sequence[Column], group: Group) -> int:
    """Letters that the columns take, with a space before each."""
    return sum(_width(column, group) + 1 for column in shown)
