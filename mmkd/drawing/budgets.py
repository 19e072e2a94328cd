"""Curves over a budget, each with its name at its end."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from mmkd.drawing.axes import add_x_axis, add_y_axis
from mmkd.drawing.ends import NAMES, STEP, End, add_ends
from mmkd.drawing.lines import Line
from mmkd.drawing.scales import Scale, format_number, scale_over
from mmkd.drawing.style import series_class, series_dash, series_shape
from mmkd.drawing.svg import NARROW, add_element, add_marker, add_tooltip, canvas, path_data


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
    for line in lines:
        colour = series_class(line.number)
        positions = [x(v) for v in line.x]
        heights = [y(v) for v in line.y]
        path = path_data(positions, heights)
        add_element(root, "path", f"line {colour}", d=path, stroke_dasharray=series_dash(line.number))
        for n in range(len(positions)) if line.marks is None else line.marks:
            marker = add_marker(root, series_shape(line.number), positions[n], heights[n], f"solid {colour}", 3.4)
            add_tooltip(marker, f"{line.name}: {format_number(line.y[n])} at {format_number(line.x[n])}")
    ends = [End(line.name, line.number, x(line.x[-1]), y(line.y[-1])) for line in lines]
    add_ends(root, ends, right, top, bottom)
    return root


def apart(ticks: Sequence[float], x: Scale, least: float = 22.0) -> list[float]:
    """Those ticks whose numbers do not touch; of two that are too close the higher is kept."""
    kept: list[float] = []
    for value in sorted(ticks, reverse=True):
        if not kept or x(kept[-1]) - x(value) >= least:
            kept.append(value)
    return kept[::-1]
