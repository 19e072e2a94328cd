"""Critical-difference diagram."""

import math
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from mmkd.core.text import printable
from mmkd.drawing.scales import Scale
from mmkd.drawing.svg import NARROW, add_element, add_text, canvas, coordinate
from mmkd.drawing.text import fit_text


def rank_chart(
    title: str,
    description: str,
    *,
    ranks: Mapping[str, float],
    difference: float,
    cliques: Sequence[Sequence[str]],
) -> ET.Element:
    """A critical-difference diagram: mean ranks on a line, and bars over methods that do not differ. Demsar 2006.

    Args:
        ranks: method -> mean rank, from best to worst; 1 is best.
        difference: the critical difference of mean ranks.
        cliques: methods of each bar, best first.
    """
    half = math.ceil(len(ranks) / 2)
    left = 118.0
    right = NARROW - 118
    line = 62.0
    step = 20.0
    below = line + 16 + 9 * len(cliques)
    root = canvas(below + step * half + 10, title, description, NARROW)
    x = Scale(1, max(len(ranks), 2), left, right)
    add_element(root, "line", "axis", x1=left, x2=right, y1=line, y2=line)
    for rank in range(1, len(ranks) + 1):
        add_element(root, "line", "axis", x1=x(rank), x2=x(rank), y1=line - 5, y2=line)
        add_text(root, x(rank), line - 9, str(rank), "middle", "faint")
    end = x(1 + difference)
    path = f"M{coordinate(left)} 20V30M{coordinate(left)} 25H{coordinate(end)}M{coordinate(end)} 20V30"
    add_element(root, "path", "line s1", d=path)
    add_text(root, left, 13, f"critical difference {difference:.2f}")
    for n, (name, mean) in enumerate(ranks.items()):
        is_left = n < half
        y = below + step * (n if is_left else len(ranks) - 1 - n) + 8
        edge = left - 8 if is_left else right + 8
        path = f"M{coordinate(x(mean))} {coordinate(line)}V{coordinate(y)}H{coordinate(edge)}"
        add_element(root, "path", "axis", d=path)
        text = f"{fit_text(printable(name), 80)} {mean:.2f}"
        add_text(root, edge - 4 if is_left else edge + 4, y + 4, text, "end" if is_left else "start")
    for n, clique in enumerate(cliques):
        y = line + 10 + 9 * n
        add_element(root, "line", "thick s0", x1=x(ranks[clique[0]]) - 3, x2=x(ranks[clique[-1]]) + 3, y1=y, y2=y)
    return root
