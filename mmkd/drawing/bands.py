"""What controls reach, behind what is compared with them: a band from the lowest to the highest, and a bound."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from mmkd.core.text import printable
from mmkd.drawing.scales import Scale, format_number
from mmkd.drawing.style import series_class
from mmkd.drawing.svg import add_element, add_text, add_tooltip
from mmkd.drawing.text import fit_text, text_width

GREY = 7
"""The series whose colour the band has where there is one."""
LEAST = 2.0
"""Pixels that a band has at least."""


@dataclass(frozen=True)
class Band:
    """The means of controls.

    Attributes:
        means: name of a control -> its mean.
        bounds: name of what is a bound and no part of the band -> its mean.
        number: of the series whose colour it has.
        name: in the legend.
    """

    means: Sequence[tuple[str, float]]
    bounds: Sequence[tuple[str, float]] = ()
    number: int = GREY
    name: str = "controls, lowest to highest mean"

    @property
    def values(self) -> list[float]:
        """What an axis must hold."""
        return [value for _, value in (*self.means, *self.bounds)]

    @property
    def text(self) -> str:
        """Every control with its mean, the highest first."""
        means = sorted(self.means, key=lambda each: -each[1])
        return f"controls: {', '.join(f'{name} {format_number(value)}' for name, value in means)}"


def add_band(parent: ET.Element, band: Band, along: Scale, across: Scale, vertical: bool = False) -> None:
    """The band over the whole of the other axis, and its bounds as dotted lines.

    Args:
        along: the axis of the means; `across`: the other one.
        vertical: whether the means are along x.
    """
    a, b = sorted((across.start, across.end))

    def place(low: float, high: float) -> dict[str, float]:
        if vertical:
            return {"x": low, "y": a, "width": high - low, "height": b - a}
        return {"x": a, "y": low, "width": b - a, "height": high - low}

    if band.means:
        ends = sorted(along(value) for value in (min(v for _, v in band.means), max(v for _, v in band.means)))
        more = max(0.0, LEAST - (ends[1] - ends[0])) / 2
        drawn = add_element(
            parent, "rect", f"band {series_class(band.number)}", **place(ends[0] - more, ends[1] + more)
        )
        add_tooltip(drawn, band.text)
    for name, value in band.bounds:
        at = along(value)
        ends_of_line = {"x1": at, "x2": at, "y1": a, "y2": b} if vertical else {"x1": a, "x2": b, "y1": at, "y2": at}
        line = add_element(parent, "line", f"thin {series_class(band.number)}", stroke_dasharray="2 3", **ends_of_line)
        add_tooltip(line, f"{name}: {format_number(value)}")


def add_band_legend(parent: ET.Element, bands: Iterable[Band], top: float, width: float) -> float:
    """A line each for band and bound; returns the height that they take."""
    y = top
    for band in bands:
        colour = series_class(band.number)
        entries = [(band.name, False)] * bool(band.means)
        entries += [(f"{name}, a bound for averaging", True) for name, _ in band.bounds]
        x = 8.0
        for name, is_bound in entries:
            shown = fit_text(printable(name), width - 60)
            room = 36 + text_width(shown)
            if x > 8 and x + room > width:
                x = 8.0
                y += 18
            if is_bound:
                add_element(parent, "line", f"thin {colour}", x1=x, x2=x + 22, y1=y, y2=y, stroke_dasharray="2 3")
            else:
                add_element(parent, "rect", f"band {colour}", x=x, y=y - 6, width=22.0, height=12.0)
            add_text(parent, x + 28, y + 4, shown)
            x += room + 8
        y += 18 if entries else 0
    return y - top


def band_legend_height(bands: Iterable[Band], width: float) -> float:
    """Pixels that the legend takes."""
    return add_band_legend(ET.Element("g"), bands, 0.0, width)
