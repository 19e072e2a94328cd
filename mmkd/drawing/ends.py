"""Names at the ends of curves, in the order of the ends, so that no reader has to match colours with a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from mmkd.drawing.style import series_class, series_shape
from mmkd.drawing.svg import add_element, add_marker, add_text, add_tooltip, path_data
from mmkd.drawing.text import fit_names

NAMES = 124.0
"""Pixels for the names, right of a plot."""
LEADER = 24.0
"""Pixels of these for the lines that lead to them."""
STEP = 16.0
"""Between the names of two curves."""


@dataclass(frozen=True)
class End:
    """Where the curve of a series ends, in pixels."""

    name: str
    number: int
    x: float
    y: float


def add_ends(root: ET.Element, ends: Sequence[End], right: float, top: float, bottom: float) -> None:
    """The names of curves at the right of a plot that ends at `right`, each with its marker and a line from its end."""
    names = fit_names([end.name for end in ends], NAMES - LEADER - 15)
    places = spread([end.y for end in ends], STEP, top, bottom)
    for end, name, place in zip(ends, names, places, strict=True):
        colour = series_class(end.number)
        leader = path_data([end.x, right + LEADER], [end.y, place])
        add_element(root, "path", f"thin {colour}", d=leader, opacity="0.6")
        add_marker(root, series_shape(end.number), right + LEADER + 5, place, f"solid {colour}", 3.8)
        text = add_text(root, right + LEADER + 13, place + 4, name)
        if name != end.name:
            add_tooltip(text, end.name)


def spread(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, in the same order, at least `step` apart and between `low` and `high`.

    Neighbours that are too close become one block, centred on the mean of what they want; the sum of squared
    distances is then the least that there is. Where all of them do not fit they stand evenly.

    >>> spread([10.0, 10.0, 50.0], 4.0, 0.0, 100.0)
    [8.0, 12.0, 50.0]
    """
    if not wanted:
        return []
    step = min(step, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    blocks: list[tuple[float, int]] = []  # first place of a block by the mean of its members, and their count
    for rank, n in enumerate(order):
        start, size = wanted[n] - step * rank, 1
        while blocks and blocks[-1][0] >= start:
            before, count = blocks.pop()
            start, size = (before * count + start * size) / (count + size), count + size
        blocks.append((start, size))
    firsts = [start for start, size in blocks for _ in range(size)]
    last = high - step * (len(wanted) - 1)
    places = [0.0] * len(wanted)
    for rank, (n, first) in enumerate(zip(order, firsts, strict=True)):
        places[n] = min(max(first, low), last) + step * rank
    return places
