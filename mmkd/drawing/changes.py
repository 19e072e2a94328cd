"""Differences against a control, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from mmkd.drawing.scales import format_number, scale_over
from mmkd.drawing.svg import WIDTH, add_element, add_marker, add_text, add_tooltip, canvas


@dataclass(frozen=True)
class Change:
    """A mean difference, the ends of its interval, and the differences of the single seeds."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    values: Sequence[float] = field(default_factory=tuple)


def change_chart(title: str, description: str, changes: Sequence[Change], x_label: str) -> ET.Element:
    """A row per method: the mean (diamond), its interval (line) and the seeds (rings); the control is at zero."""
    step = 22.0
    left = 150.0
    right = WIDTH - 14
    top = 12.0
    bottom = top + step * len(changes) + 4
    root = canvas(bottom + 42, title, description)
    ends = [v for change in changes for v in (change.mean, change.low, change.high, *change.values) if v is not None]
    x = scale_over([0.0, *ends], left, right)
    for value in x.ticks():
        add_element(root, "line", "grid", x1=x(value), x2=x(value), y1=top, y2=bottom)
        add_text(root, x(value), bottom + 16, format_number(value), "middle", "faint")
    add_element(root, "line", "axis", x1=x(0), x2=x(0), y1=top, y2=bottom)
    add_text(root, (left + right) / 2, bottom + 34, x_label, "middle", room=right - left + 100)
    for n, change in enumerate(changes):
        y = top + step * (n + 0.5)
        add_text(root, left - 10, y + 4, change.name, "end", room=left - 14)
        text = f"{change.name}: {change.mean:+.2f}"
        if change.low is not None and change.high is not None:
            add_element(root, "line", "line s0", x1=x(change.low), x2=x(change.high), y1=y, y2=y)
            text += f" [{change.low:+.2f}, {change.high:+.2f}]"
        for value in change.values:
            add_marker(root, "circle", x(value), y, "hollow s1", 2.6)
        add_tooltip(add_marker(root, "diamond", x(change.mean), y, "solid s0", 4.5), text)
    return root
