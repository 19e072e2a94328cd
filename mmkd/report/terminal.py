"""The comparison as tables for a terminal."""

from collections.abc import Sequence
from typing import Any, Literal

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.ranking import Ranking
from mmkd.report.columns import columns
from mmkd.report.phrases import group_notes, legend, name_repeats, row_name
from mmkd.report.statistics import ranking_lines

WIDTH = 118  # columns of the terminal's table


def print_comparison(comparison: Comparison, rankings: Sequence[Ranking], stream: Any) -> None:
    """Print the tables; a name that is too long continues in the next line, no figure is cut."""
    from rich.console import Console

    console = Console(file=stream, width=WIDTH, highlight=False, markup=False, emoji=False)
    for group in comparison.groups:
        console.print(f"{group.title}, {name_repeats(group)}", style="bold")
        console.print(_table(group, comparison.control))
        for note in group_notes(group):
            console.print(f"  {note}")
        console.print()
    for ranking in rankings:
        for line in ranking_lines(ranking):
            console.print(line)
    console.print(legend(comparison))


def _table(group: Group, control: str) -> Any:
    from rich.table import Table

    shown = [column for column in columns([group], control) if not column.wide]
    lines = [[(column.brief or column.text)(row) for column in shown] for row in group.rows]
    names = [row_name(row, group) for row in group.rows]
    sizes = [max(map(len, texts)) for texts in zip([column.head for column in shown], *lines, strict=True)]
    room = max(12, min(max(map(len, names)), WIDTH - sum(size + 1 for size in sizes)))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", width=room, overflow="fold")
    for column, size in zip(shown, sizes, strict=True):
        side: Literal["right"] = "right"
        table.add_column(column.head, justify=side, no_wrap=True, width=size)
    following = [*(row.kind for row in group.rows[1:]), None]
    for row, name, line, kind in zip(group.rows, names, lines, following, strict=True):
        table.add_row(name, *line, end_section=row.kind != kind)
    return table
