"""Differences against a control, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from mmkd.drawing.bands import GREY, Band, add_band, add_band_legend, band_legend_height
from mmkd.drawing.scales import Scale, format_number, scale_over
from mmkd.drawing.svg import NARROW, add_element, add_marker, add_text, add_tooltip, canvas
from mmkd.drawing.text import text_width

MOST_NAME = 170.0
"""Pixels that names take at most, of a figure of usual width."""


@dataclass(frozen=True)
class Change:
    """A mean difference, the ends of its interval, and the differences of the single seeds or sets.

    `reference` is a row that others are held against, such as a control: it is drawn lighter. `hollow`: of fewer seeds
    than others.
    """

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    values: Sequence[float] = field(default_factory=tuple)
    reference: bool = False
    hollow: bool = False


def change_chart(
    title: str,
    description: str,
    changes: Sequence[Change],
    x_label: str,
    band: Band | None = None,
    width: float = NARROW,
) -> ET.Element:
    """A row per method: the mean (diamond), its interval (line) and the single values (rings); the control is at zero.

    Args:
        band: of the changes of controls, drawn behind the rows.
    """
    step = 22.0
    left = min(
        MOST_NAME * max(1.0, width / NARROW), max([120.0, *(text_width(change.name) + 16 for change in changes)])
    )
    right = width - 14
    top = 12.0
    bottom = top + step * len(changes) + 4
    bands = [band] if band is not None else []
    below = band_legend_height(bands, width)
    root = canvas(bottom + 42 + below + (6 if below else 0), title, description, width)
    ends = [v for change in changes for v in (change.mean, change.low, change.high, *change.values) if v is not None]
    x = scale_over([0.0, *ends, *(value for each in bands for value in each.values)], left, right)
    for each in bands:
        add_band(root, each, x, Scale(0, 1, top, bottom), vertical=True)
    add_band_legend(root, bands, bottom + 54, width)
    for value in x.ticks(4):
        add_element(root, "line", "grid", x1=x(value), x2=x(value), y1=top, y2=bottom)
        add_text(root, x(value), bottom + 16, format_number(value), "middle", "faint")
    add_element(root, "line", "axis", x1=x(0), x2=x(0), y1=top, y2=bottom)
    add_text(root, (left + right) / 2, bottom + 34, x_label, "middle", room=right - left + 20)
    for n, change in enumerate(changes):
        y = top + step * (n + 0.5)
        number = GREY if change.reference else 0
        add_text(root, left - 10, y + 4, change.name, "end", "faint" if change.reference else "small", room=left - 14)
        text = f"{change.name}: {change.mean:+.2f}"
        for value in change.values:
            add_marker(root, "circle", x(value), y + 6, f"hollow s{number}", 2.6)
        if change.low is not None and change.high is not None:
            add_element(root, "line", f"line s{number}", x1=x(change.low), x2=x(change.high), y1=y - 2, y2=y - 2)
            text += f" [{change.low:+.2f}, {change.high:+.2f}]"
        style = f"{'hollow' if change.hollow else 'solid'} s{number}"
        add_tooltip(add_marker(root, "diamond", x(change.mean), y - 2, style, 4.5), text)
    return root
