"""Axes with ticks and labels, names below them, and legends."""

import math
import textwrap
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from mmkd.core.text import printable
from mmkd.drawing.scales import Scale, format_number
from mmkd.drawing.style import class_colour, series_class, series_dash, series_shape
from mmkd.drawing.svg import add_element, add_marker, add_text, add_tooltip, coordinate
from mmkd.drawing.text import MEAN_WIDTH, fit_names, fit_text, text_width

TILT = 60.0
"""Degrees by which names are turned that are too wide to stand side by side."""
TILTED_WIDTH = 84.0
"""Pixels that a tilted name may take."""


def add_axes(
    parent: ET.Element,
    x: Scale,
    y: Scale,
    x_label: str,
    y_label: str,
    categories: Sequence[str] | None = None,
    integer: bool = False,
) -> None:
    """Grid, ticks and labels of a plot.

    Args:
        categories: names at x = 0, 1, ..., in place of numbers.
        integer: put ticks of x at whole numbers only.
    """
    add_y_axis(parent, x, y, y_label)
    add_x_axis(parent, x, y.start, x_label, categories, integer)


def add_y_axis(parent: ET.Element, x: Scale, y: Scale, label: str) -> None:
    """Grid lines over the width of `x`, their values to the left, and the label above."""
    for value in y.ticks(max(2, min(5, int((y.start - y.end) / 22)))):
        add_element(parent, "line", "grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        add_text(parent, x.start - 6, y(value) + 4, format_number(value), "end", "faint")
    add_text(parent, max(4.0, x.start - 44), y.end - 11, label, style="small", room=x.end - x.start)


def add_x_axis(
    parent: ET.Element,
    x: Scale,
    bottom: float,
    label: str,
    categories: Sequence[str] | None = None,
    integer: bool = False,
    ticks: Sequence[float] | None = None,
) -> None:
    """The line at the height `bottom`, with ticks or names below it, and the label in at most two lines.

    Args:
        ticks: where they stand; None: at round values.
    """
    add_element(parent, "line", "axis", x1=x.start, x2=x.end, y1=bottom, y2=bottom)
    below = bottom + 32
    if categories is not None:
        _add_categories(parent, x, bottom, categories)
        below += tilted_height(categories, x.end - x.start)
    else:
        for value in ticks if ticks is not None else x.ticks(max(4, int((x.end - x.start) / 100))):
            if not integer or abs(value - round(value)) < 1e-9:
                add_element(parent, "line", "axis", x1=x(value), x2=x(value), y1=bottom, y2=bottom + 4)
                add_text(parent, x(value), bottom + 16, format_number(value), "middle", "faint")
    room = x.end - x.start + 40
    lines = textwrap.wrap(printable(label), max(10, int(room / MEAN_WIDTH)))
    for n, text in enumerate(lines[:2]):
        add_text(parent, (x.start + x.end) / 2, below + 14 * n, text, "middle", "small", room)


def tilted_height(names: Sequence[str], width: float) -> float:
    """Pixels that names below an axis need beyond one line; 0 if all of them stand side by side."""
    longest = max((text_width(printable(name)) for name in names), default=0.0)
    if longest <= width / max(1, len(names)) - 3:
        return 0.0
    return min(longest, TILTED_WIDTH) * math.sin(math.radians(TILT))


def _add_categories(parent: ET.Element, x: Scale, bottom: float, names: Sequence[str]) -> None:
    """Names at x = 0, 1, ...: tilted if they are too wide, and only every n-th if there are too many."""
    slot = (x.end - x.start) / max(1, len(names))
    tilted = tilted_height(names, x.end - x.start) > 0
    shown = fit_names(names, TILTED_WIDTH) if tilted else [printable(name) for name in names]
    for n in range(0, len(names), math.ceil(14 / slot) if tilted else 1):
        if tilted:
            add_tilted_text(parent, x(n) + 4, bottom + 12, shown[n], names[n], "faint")
        else:
            add_text(parent, x(n), bottom + 16, shown[n], "middle", "faint")


def add_tilted_text(parent: ET.Element, x: float, y: float, shown: str, full: str, style: str = "small") -> None:
    """A name that rises from the lower left and ends at (x, y); its tooltip has the full name if it is cut."""
    element = add_text(parent, x, y, shown, "end", style)
    element.set("transform", f"rotate({coordinate(-TILT)} {coordinate(x)} {coordinate(y)})")
    if shown != printable(full):
        add_tooltip(element, full)


def add_legend(
    parent: ET.Element, entries: Sequence[tuple[str, int]], top: float, width: float, with_lines: bool
) -> float:
    """Entries (name, number of the series) in rows; returns the height that they take."""
    x = 8.0
    y = top
    for name, number in entries:
        shown = fit_text(printable(name), width - 60)
        room = 36 + text_width(shown)
        if x > 8 and x + room > width:
            x = 8.0
            y += 18
        colour = series_class(number)
        if with_lines:
            path = f"M{coordinate(x)} {coordinate(y)}h22"
            add_element(parent, "path", f"line {colour}", d=path, stroke_dasharray=series_dash(number))
        add_marker(parent, series_shape(number), x + 11, y, f"solid {colour}", 4.0)
        add_text(parent, x + 28, y + 4, shown)
        x += room + 8
    return y - top + 18


def legend_height(entries: Sequence[tuple[str, int]], width: float) -> float:
    return add_legend(ET.Element("g"), entries, 0.0, width, True) if entries else 0.0


def add_class_legend(parent: ET.Element, classes: Sequence[tuple[str, int]], top: float, width: float) -> float:
    """Entries (name, number of the class) as coloured squares in rows; returns the height that they take."""
    x = 8.0
    y = top
    for name, number in classes:
        shown = fit_text(printable(name), 180)
        room = 20 + text_width(shown)
        if x > 8 and x + room > width:
            x = 8.0
            y += 18
        add_element(parent, "rect", x=x, y=y - 6, width=12, height=12, fill=class_colour(number))
        add_text(parent, x + 17, y + 4, shown)
        x += room + 12
    return y - top + 18
