"""Mean ranks as rows, narrow enough for a telephone: the best on top, bars beside rows that do not differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from mmkd.drawing.bands import GREY
from mmkd.drawing.budgets import apart
from mmkd.drawing.scales import Scale
from mmkd.drawing.svg import NARROW, add_element, add_marker, add_text, add_tooltip, canvas

LEFT = 142.0
STEP = 20.0
BAR = 7.0
"""Between two bars of groups."""


@dataclass(frozen=True)
class RankRow:
    """A mean rank with its interval; `reference`: no method, but what methods are held against, drawn grey."""

    name: str
    mean: float
    low: float
    high: float
    reference: bool = False


def rank_rows_chart(
    title: str, description: str, rows: Sequence[RankRow], cliques: Sequence[Sequence[str]], width: float = NARROW
) -> ET.Element:
    """A row for each mean rank, from best to worst, with its interval; bars at the right join rows that do not differ.

    Args:
        rows: from best to worst.
        cliques: names of the rows of each bar; each is a run of neighbours, as Nemenyi's groups are.
    """
    top = 34.0
    bottom = top + STEP * len(rows)
    right = width - 14 - BAR * len(cliques)
    root = canvas(bottom + 12, title, description, width)
    x = Scale(1, max(len(rows), 2), LEFT, right)
    add_text(root, 6, 12, "mean rank, 1 is best", style="faint")
    whole = {tick for tick in x.ticks(4) if tick >= 1 and tick == round(tick)}
    for value in apart(sorted({1.0, *whole, float(max(len(rows), 2))}), x):
        add_element(root, "line", "grid", x1=x(value), x2=x(value), y1=top - 4, y2=bottom)
        add_text(root, x(value), top - 8, str(round(value)), "middle", "faint")
    places = {row.name: top + STEP * (n + 0.5) for n, row in enumerate(rows)}
    for row in rows:
        y = places[row.name]
        number = GREY if row.reference else 0
        add_text(root, LEFT - 10, y + 4, row.name, "end", "faint" if row.reference else "small", room=LEFT - 14)
        add_element(root, "line", f"line s{number}", x1=x(row.low), x2=x(row.high), y1=y, y2=y)
        mark = add_marker(root, "diamond", x(row.mean), y, f"solid s{number}", 4.5)
        add_tooltip(mark, f"{row.name}: {row.mean:.2f} [{row.low:.2f}, {row.high:.2f}]")
    for n, clique in enumerate(cliques):
        at = right + 10 + BAR * n
        bar = add_element(root, "line", "thick s0", x1=at, x2=at, y1=places[clique[0]] - 7, y2=places[clique[-1]] + 7)
        add_tooltip(bar, f"not told apart: {', '.join(clique)}")
    return root
