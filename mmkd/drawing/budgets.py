"""Curves over a budget, each with its name at its end."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from mmkd.drawing.axes import add_x_axis, add_y_axis
from mmkd.drawing.lines import Line
from mmkd.drawing.scales import Scale, format_number, scale_over
from mmkd.drawing.style import series_class, series_dash, series_shape
from mmkd.drawing.svg import add_element, add_marker, add_text, add_tooltip, canvas, path_data
from mmkd.drawing.text import fit_names

NARROW = 360.0
"""Width of the figure: names at the ends of curves are of no use beyond the edge of a telephone."""
NAMES = 124.0
"""Pixels of it for the names."""
LEADER = 24.0
"""Pixels of these for the lines that lead to them."""
STEP = 16.0
"""Between the names of two curves."""


def budget_chart(
    title: str,
    description: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    ticks: Sequence[float] | None = None,
) -> ET.Element:
    """Curves whose names stand at their right, in the order of their ends; the x axis is logarithmic if it is long.

    Args:
        lines: at least one, each of at least one point, from small budgets to large ones.
        ticks: budgets that the axis names; None: round ones.
    """
    left = 46.0
    right = NARROW - NAMES
    top = 34.0
    bottom = top + max(190.0, STEP * len(lines))
    root = canvas(bottom + 58, title, description, NARROW)
    x = scale_over([v for line in lines for v in line.x], left + 4, right - 4, log=True, margin=0.03)
    y = scale_over([v for line in lines for v in line.y], bottom, top)
    add_y_axis(root, x, y, y_label)
    kept = None if ticks is None else apart(ticks, x)
    add_x_axis(root, x, bottom, x_label + (" (logarithmic)" if x.log else ""), ticks=kept)
    ends = [y(line.y[-1]) for line in lines]
    names = fit_names([line.name for line in lines], NAMES - LEADER - 15)
    for line, name, end, place in zip(lines, names, ends, spread(ends, STEP, top, bottom), strict=True):
        colour = series_class(line.number)
        positions = [x(v) for v in line.x]
        heights = [y(v) for v in line.y]
        path = path_data(positions, heights)
        add_element(root, "path", f"line {colour}", d=path, stroke_dasharray=series_dash(line.number))
        add_element(
            root, "path", f"thin {colour}", d=path_data([positions[-1], right + LEADER], [end, place]), opacity="0.6"
        )
        for n in range(len(positions)) if line.marks is None else line.marks:
            marker = add_marker(root, series_shape(line.number), positions[n], heights[n], f"solid {colour}", 3.4)
            add_tooltip(marker, f"{line.name}: {format_number(line.y[n])} at {format_number(line.x[n])}")
        add_marker(root, series_shape(line.number), right + LEADER + 5, place, f"solid {colour}", 3.8)
        text = add_text(root, right + LEADER + 13, place + 4, name)
        if name != line.name:
            add_tooltip(text, line.name)
    return root


def apart(ticks: Sequence[float], x: Scale, least: float = 22.0) -> list[float]:
    """Those ticks whose numbers do not touch; of two that are too close the higher is kept."""
    kept: list[float] = []
    for value in sorted(ticks, reverse=True):
        if not kept or x(kept[-1]) - x(value) >= least:
            kept.append(value)
    return kept[::-1]


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
