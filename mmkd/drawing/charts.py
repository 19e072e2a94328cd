"""Charts as SVG: numbers in, an element out.

Colours hang on classes: the page's style sheet (`css`) gives them in its light and its dark scheme, a file of its own
(`alone`) has the light ones written into it. Every text passes through ElementTree, which escapes it.
"""

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.text import printable, shorten
from mmkd.metrics.classes import Reliability
from mmkd.metrics.pairs import Diagram

WIDTH = 480.0  # of most charts; a page draws them at this size, and lets them scroll where it has less room
TILT, TILTED = 60.0, 84.0  # of names too long to stand side by side: degrees, and pixels that they may take
LETTER = 6.6  # pixels that a letter of a chart takes on average
NARROW, WIDE = "iljtfI.,:;|!'()[] ", "mwMW@%"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# Eight series that colour-blind readers tell apart; dash and marker say the same again.
LIGHT = {
    "ink": "#1c1f23",
    "muted": "#5a6068",
    "grid": "#dfe2e6",
    "paper": "#ffffff",
    "s0": "#0072b2",
    "s1": "#c24e00",
    "s2": "#117733",
    "s3": "#aa4499",
    "s4": "#8a6a00",
    "s5": "#332288",
    "s6": "#882255",
    "s7": "#555555",
}
DARK = {
    "ink": "#e6e8eb",
    "muted": "#a3aab3",
    "grid": "#363c44",
    "paper": "#14171b",
    "s0": "#56b4e9",
    "s1": "#ff9452",
    "s2": "#4dc18a",
    "s3": "#e08fc6",
    "s4": "#d9b23c",
    "s5": "#a79bf0",
    "s6": "#f07b9b",
    "s7": "#b8b8b8",
}
SERIES = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "plus")

STYLES: dict[str, dict[str, str]] = {
    "text": {"fill": "@ink", "font-size": "13px"},
    "small": {"fill": "@ink", "font-size": "12px"},
    "faint": {"fill": "@muted", "font-size": "12px"},
    "grid": {"stroke": "@grid", "stroke-width": "1", "fill": "none"},
    "axis": {"stroke": "@muted", "stroke-width": "1", "fill": "none"},
    "line": {"stroke": "currentColor", "stroke-width": "1.8", "fill": "none", "stroke-linejoin": "round"},
    "thick": {"stroke": "currentColor", "stroke-width": "4.5", "fill": "none"},
    "thin": {"stroke": "currentColor", "stroke-width": "1.1", "fill": "none"},
    "guide": {"stroke": "@muted", "stroke-width": "1.2", "stroke-dasharray": "4 3", "fill": "none"},
    "band": {"fill": "currentColor", "fill-opacity": "0.18", "stroke": "none"},
    "bar": {"fill": "currentColor", "fill-opacity": "0.45", "stroke": "currentColor", "stroke-width": "1"},
    "cell": {"fill": "currentColor", "stroke": "none"},
    "solid": {"fill": "currentColor", "stroke": "@paper", "stroke-width": "0.8"},
    "hollow": {"fill": "@paper", "stroke": "currentColor", "stroke-width": "1.6"},
    **{f"s{n}": {"color": f"@s{n}"} for n in range(SERIES)},
}


def css() -> str:
    """The style sheet of charts, for a page that defines the colours as `--ink` and so on."""
    rules = []
    for name, style in STYLES.items():
        said = ";".join(f"{key}:{f'var(--{v[1:]})' if v[:1] == '@' else v}" for key, v in style.items())
        rules.append(f".chart .{name}{{{said}}}")
    return "\n".join([f".chart{{font-family:{FONT}}}", *rules])


def alone(chart: ET.Element) -> str:
    """A file of its own, with the light colours in every element, so that any program draws it."""
    root = ET.fromstring(ET.tostring(chart, encoding="unicode"))
    for each in root.iter():
        said: dict[str, str] = {}
        for name in each.attrib.pop("class", "").split():
            said |= STYLES.get(name, {})
        colour = said.pop("color", "@ink")
        for key, value in said.items():
            shown = colour if value == "currentColor" else value
            each.set(key, LIGHT[shown[1:]] if shown[:1] == "@" else shown)
    root.set("font-family", FONT)
    namespace = "{http://www.w3.org/2000/svg}"
    back = ET.Element(f"{namespace}rect", {"width": "100%", "height": "100%", "fill": LIGHT["paper"]})
    root.insert(2, back)
    ET.register_namespace("", namespace[1:-1])
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def inline(chart: ET.Element) -> str:
    """The chart as it stands in a page."""
    return ET.tostring(chart, encoding="unicode")


# Elements -------------------------------------------------------------------------------------------------------------


def canvas(height: float, title: str, about: str, width: float = WIDTH) -> ET.Element:
    """An empty chart with its name and what it shows, for those who do not see it."""
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_n(width)} {_n(height)}",
            "width": _n(width),
            "height": _n(height),
            "class": "chart",
            "role": "img",
            "aria-label": printable(f"{title}. {about}"),
        },
    )
    ET.SubElement(root, "title").text = printable(title)
    ET.SubElement(root, "desc").text = printable(about)
    return root


def put(parent: ET.Element, tag: str, style: str = "", **attributes: Any) -> ET.Element:
    """A new element; `stroke_width=2` becomes `stroke-width="2"`."""
    found = {"class": style} if style else {}
    found |= {k.rstrip("_").replace("_", "-"): _n(v) if isinstance(v, float) else str(v) for k, v in attributes.items()}
    return ET.SubElement(parent, tag, found)


def write(
    parent: ET.Element, x: float, y: float, text: str, anchor: str = "start", style: str = "small", room: float = 0.0
) -> ET.Element:
    """A text; one that is longer than its room (in pixels) is cut, and whole in its tooltip."""
    found = put(parent, "text", style, x=float(x), y=float(y))
    if anchor != "start":
        found.set("text-anchor", anchor)
    whole = printable(text)
    shown = fit(whole, room) if room else whole
    found.text = shown
    if shown != whole:
        tip = ET.SubElement(found, "title")
        tip.text = shorten(whole)
    return found


def length(text: str) -> float:
    """About the pixels that a text takes, rather too many."""
    return sum(
        4.2 if c in NARROW else 12.5 if c in WIDE or ord(c) > 0x2E7F else 8.9 if _broad(c) else 7.2 for c in text
    )


def _broad(letter: str) -> bool:
    return letter.isupper() or ord(letter) > 0x7F or letter in "<>=+"


def fit(text: str, room: float) -> str:
    """A text cut to some pixels."""
    if length(text) <= room:
        return text
    cut = 3
    while cut < len(text) and length(text[: cut + 1]) + length("…") <= room:
        cut += 1
    return text[:cut] + "…"


def told_apart(names: Sequence[str], room: float) -> list[str]:
    """Names cut to some pixels: in their middle where names that differ would else look the same."""
    whole = [printable(name) for name in names]
    cut = [fit(name, room) for name in whole]
    if len(set(cut)) == len(set(whole)):
        return cut
    return [name if shown == name else _ends(name, room) for name, shown in zip(whole, cut, strict=True)]


def _ends(name: str, room: float) -> str:
    """The two ends of a name."""
    kept = len(name) - 1
    while kept > 4 and length(name[: kept - kept // 2]) + length(name[-(kept // 2) :]) + length("…") > room:
        kept -= 1
    return f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def tip(parent: ET.Element, text: str) -> None:
    """What is shown when the pointer rests on an element."""
    ET.SubElement(parent, "title").text = shorten(text)


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def marker(parent: ET.Element, shape: str, x: float, y: float, style: str, size: float = 4.5) -> ET.Element:
    """A marker around (x, y)."""
    r = size
    if shape == "circle":
        return put(parent, "circle", style, cx=float(x), cy=float(y), r=float(r))
    outlines = {
        "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
        "triangle": [(0, -1.2 * r), (1.15 * r, 0.9 * r), (-1.15 * r, 0.9 * r)],
        "diamond": [(0, -1.35 * r), (1.35 * r, 0), (0, 1.35 * r), (-1.35 * r, 0)],
        "cross": [(-1, -0.35), (-0.35, -1), (0, -0.65), (0.35, -1), (1, -0.35), (0.65, 0), (1, 0.35), (0.35, 1),
                  (0, 0.65), (-0.35, 1), (-1, 0.35), (-0.65, 0)],
        "plus": [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
                 (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)],
    }  # fmt: skip
    scale = r if shape in ("cross", "plus") else 1.0
    points = " ".join(f"{_n(x + scale * dx)},{_n(y + scale * dy)}" for dx, dy in outlines[shape])
    return put(parent, "polygon", style, points=points)


def path_of(x: Sequence[float], y: Sequence[float]) -> str:
    """A path through points; a gap where one is not finite."""
    parts, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            pen = "M"
            continue
        parts.append(f"{pen}{_n(a)} {_n(b)}")
        pen = "L"
    return "".join(parts)


def thinned(values: NDArray[Any], most: int = 240) -> tuple[list[float], list[float]]:
    """Places and values of a curve (W,), of a long one the least and the greatest of each stretch."""
    flat = np.asarray(values, np.float64)
    if len(flat) <= most:
        return list(range(len(flat))), flat.tolist()
    edges = np.linspace(0, len(flat), most // 2 + 1).astype(int)
    picks = (np.argmin, np.argmax)
    places = sorted({int(a + pick(flat[a:b])) for a, b in pairwise(edges) for pick in picks})
    return [float(n) for n in places], flat[places].tolist()


# Scales ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """From values `low` to `high` to pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (
            (math.log(self.low), math.log(self.high), math.log(max(value, 1e-300)))
            if self.log
            else (self.low, self.high, value)
        )
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5)):
                round_ones = [s * 10.0**d for d in decades for s in steps if self.low <= s * 10.0**d <= self.high]
                if len(round_ones) >= 3:
                    return round_ones
        found: list[float] = []
        while len(found) < 3 and about < 50:
            step = _round_step((self.high - self.low) / about)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            found, about = [n * step for n in range(first, last + 1)], about + 1
        return found


def _round_step(raw: float) -> float:
    if raw <= 0 or not math.isfinite(raw):
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(step for step in (1, 2, 5, 10) if step >= raw / power - 1e-9)


def scale_over(values: Sequence[float], start: float, end: float, log: bool = False, margin: float = 0.06) -> Scale:
    """A scale with some room around all finite values; logarithmic where asked for and the values span a decade."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if log and low > 0 and high / low >= 8:
        room = (high / low) ** margin
        return Scale(low / room, high * room, start, end, True)
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def short(value: float) -> str:
    """`0.93`, `28.3k`, `1.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{round(value, 6):.4g}"


def axes(
    parent: ET.Element,
    x: Scale,
    y: Scale,
    x_label: str,
    y_label: str,
    categories: Sequence[str] | None = None,
    whole: bool = False,
) -> None:
    """Grid, ticks and labels of a plot; `categories` stand at x = 0, 1, ..., `whole` wants whole numbers on x."""
    for value in y.ticks():
        put(parent, "line", "grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        write(parent, x.start - 6, y(value) + 4, short(value), "end", "faint")
    put(parent, "line", "axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start)
    below = y.start + 32
    if categories is not None:
        _names(parent, x, y.start, categories)
        below += _foot(categories, x.end - x.start)
    else:
        for value in x.ticks(4):
            if not whole or abs(value - round(value)) < 1e-9:
                put(parent, "line", "axis", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4)
                write(parent, x(value), y.start + 16, short(value), "middle", "faint")
    room = x.end - x.start + 40
    first = textwrap.wrap(printable(x_label), max(10, int(room / LETTER)))
    for n, text in enumerate(first[:2]):
        write(parent, (x.start + x.end) / 2, below + 14 * n, text, "middle", "small", room)
    write(parent, max(4.0, x.start - 44), y.end - 11, y_label, style="small", room=x.end - x.start)


def _foot(names: Sequence[str], width: float) -> float:
    """Pixels that names below an axis need beside those of one line: none where all stand side by side."""
    longest = max((length(printable(name)) for name in names), default=0.0)
    if longest <= width / max(1, len(names)) - 3:
        return 0.0
    return min(longest, TILTED) * math.sin(math.radians(TILT))


def _names(parent: ET.Element, x: Scale, bottom: float, names: Sequence[str]) -> None:
    """Names below an axis at x = 0, 1, ...: tilted where they are too long, and not all where they are too many."""
    slot = (x.end - x.start) / max(1, len(names))
    tilted = _foot(names, x.end - x.start) > 0
    shown = told_apart(names, TILTED) if tilted else [printable(name) for name in names]
    for n in range(0, len(names), math.ceil(14 / slot) if tilted else 1):
        if tilted:
            _tilted(parent, x(n) + 4, bottom + 12, shown[n], names[n], "faint")
        else:
            write(parent, x(n), bottom + 16, shown[n], "middle", "faint")


def _tilted(parent: ET.Element, x: float, y: float, shown: str, whole: str, style: str = "small") -> None:
    """A name that ends at (x, y) and comes up to it from below; the whole of it in its tooltip."""
    found = write(parent, x, y, shown, "end", style)
    found.set("transform", f"rotate({_n(-TILT)} {_n(x)} {_n(y)})")
    if shown != printable(whole):
        tip(found, whole)


def legend(parent: ET.Element, entries: Sequence[tuple[str, int]], top: float, width: float, lines: bool) -> float:
    """Entries (name, number of the series) in rows; returns the height that they took."""
    x, y = 8.0, top
    for name, number in entries:
        shown = fit(printable(name), width - 60)
        room = 36 + length(shown)
        if x > 8 and x + room > width:
            x, y = 8.0, y + 18
        if lines:
            put(parent, "path", f"line {series(number)}", d=f"M{_n(x)} {_n(y)}h22", stroke_dasharray=dash(number))
        marker(parent, shape_of(number), x + 11, y, f"solid {series(number)}", 4.0)
        write(parent, x + 28, y + 4, shown)
        x += room + 8
    return y - top + 18


def legend_height(entries: Sequence[tuple[str, int]], width: float) -> float:
    return legend(ET.Element("g"), entries, 0.0, width, True) if entries else 0.0


def series(number: int) -> str:
    """The class of a series' colour."""
    return f"s{number % SERIES}"


def dash(number: int) -> str:
    """The dash of a series: another one for those that share a colour, and for neighbours."""
    return DASHES[(number + number // SERIES) % len(DASHES)] or "none"


def shape_of(number: int) -> str:
    return SHAPES[number % len(SHAPES)]


# Lines ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One curve; `low` and `high` are the ends of its interval, `marks` the points that get a marker."""

    name: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marks: Sequence[int] | None = None


@dataclass(frozen=True)
class Plot:
    """A plot of lines; `categories` stand at x = 0, 1, ... and are not joined by a line."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    categories: Sequence[str] | None = None
    whole: bool = False
    span: tuple[float, float] | None = None


def plots(title: str, about: str, given: Sequence[Plot], columns: int = 2, height: float = 130.0) -> ET.Element:
    """Plots beside each other with one legend under them."""
    names = list(dict.fromkeys((line.name, line.number) for plot in given for line in plot.lines))
    each, tall = WIDTH / columns, height + 98
    places: list[tuple[float, float, float]] = []  # left, top, width; a plot of categories has a row for itself
    column, top, bottom = 0, 0.0, tall
    for plot in given:
        wide = plot.categories is not None
        if column and (wide or column == columns):
            column, top = 0, bottom
        places.append((column * each, top, WIDTH if wide else each))
        column = columns if wide else column + 1
        bottom = top + tall + _foot(plot.categories or (), WIDTH - 62)
    root = canvas(bottom + legend_height(names, WIDTH), title, about)
    for plot, (left, top, width) in zip(given, places, strict=True):
        _plot(root, plot, left + 50, left + width - 12, top + 42, top + 42 + height)
    legend(root, names, bottom + 4, WIDTH, any(plot.categories is None for plot in given))
    return root


def _plot(root: ET.Element, plot: Plot, left: float, right: float, top: float, bottom: float) -> None:
    all_x = [v for line in plot.lines for v in line.x]
    all_y = [v for line in plot.lines for v in (*line.y, *(line.low or ()), *(line.high or ()))]
    y = Scale(*plot.span, bottom, top) if plot.span else scale_over(all_y, bottom, top)
    if plot.categories is not None:
        x = Scale(-0.5, len(plot.categories) - 0.5, left, right)
    else:
        x = scale_over(all_x, left, right, margin=0.04)
    write(root, left - 44, top - 27, plot.title, style="text", room=right - left + 44)
    axes(root, x, y, plot.x_label, plot.y_label, plot.categories, plot.whole)
    apart = 0.0 if plot.categories is None else min(8.0, 0.8 * (x(1) - x(0)) / len(plot.lines))
    for n, line in enumerate(plot.lines):
        _line(root, line, x, y, plot.categories, apart * (n - (len(plot.lines) - 1) / 2))


def _line(root: ET.Element, line: Line, x: Scale, y: Scale, categories: Sequence[str] | None, aside: float) -> None:
    joined = categories is None
    at = [x(v) + aside for v in line.x]
    colour = series(line.number)
    if line.low is not None and line.high is not None:
        if joined:
            edge = [*zip(at, line.high, strict=True), *reversed([*zip(at, line.low, strict=True)])]
            points = " ".join(f"{_n(a)},{_n(y(b))}" for a, b in edge)
            put(root, "polygon", f"band {colour}", points=points)
        else:
            for a, low, high in zip(at, line.low, line.high, strict=True):
                put(root, "line", f"thin {colour}", x1=a, x2=a, y1=y(low), y2=y(high))
    heights = [y(v) for v in line.y]
    if joined:
        put(root, "path", f"line {colour}", d=path_of(at, heights), stroke_dasharray=dash(line.number))
    for n in range(len(at)) if line.marks is None else line.marks:
        if math.isfinite(heights[n]):
            dot = marker(root, shape_of(line.number), at[n], heights[n], f"solid {colour}", 3.6)
            where = f", {categories[int(line.x[n])]}" if categories is not None else ""
            tip(dot, f"{line.name}{where}: {short(line.y[n])}")


# Accuracy against cost ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A network: its cost, its score (mean over seeds), its spread; `number` is that of its group.

    One that is `labelled` has its name beside it wherever it stands; others have it if they are on the front. A name
    that finds no free place is left to the tooltip.
    """

    name: str
    cost: float
    score: float
    number: int
    spread: float = 0.0
    hollow: bool = False
    labelled: bool = False


def front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The numbers of the points that none other beats: none costs as little and scores more, or less and as much."""
    found: list[int] = []
    for n in sorted(range(len(costs)), key=lambda n: (costs[n], -scores[n])):
        if not found or scores[n] > scores[found[-1]]:
            found.append(n)
    return found


def cost_chart(
    title: str, about: str, points: Sequence[Point], x_label: str, y_label: str, groups: Sequence[str]
) -> ET.Element:
    """Score against cost, with the Pareto front of the means as a stair and its points named."""
    left, right, top, bottom = 56.0, WIDTH - 16, 40.0, 290.0
    names = [(name, n) for n, name in enumerate(groups)]
    root = canvas(bottom + 46 + legend_height(names, WIDTH), title, about)
    x = scale_over([p.cost for p in points], left, right, log=True, margin=0.12)
    y = scale_over([v for p in points for v in (p.score - p.spread, p.score + p.spread)], bottom, top)
    axes(root, x, y, x_label + (" (logarithmic)" if x.log else ""), y_label)
    best = front([p.cost for p in points], [p.score for p in points])
    stair: list[tuple[float, float]] = []
    for n in best:
        here = x(points[n].cost), y(points[n].score)
        stair += [(here[0], stair[-1][1]), here] if stair else [here]
    stair.append((right, stair[-1][1]))
    put(root, "path", "guide", d=path_of([a for a, _ in stair], [b for _, b in stair]))
    for p in points:
        if p.spread:
            at, ends = x(p.cost), (y(p.score - p.spread), y(p.score + p.spread))
            put(root, "line", f"thin {series(p.number)}", x1=at, x2=at, y1=ends[0], y2=ends[1], opacity="0.45")
    for n in sorted(range(len(points)), key=lambda n: n in best or points[n].labelled):
        p = points[n]
        style = f"{'hollow' if p.hollow else 'solid'} {series(p.number)}"
        dot = marker(root, shape_of(p.number), x(p.cost), y(p.score), style, 5.5 if n in best else 4.5)
        tip(dot, f"{p.name}: {short(p.score)} at {short(p.cost)}{', on the front' if n in best else ''}")
    named = [points[n] for n in best] + [p for n, p in enumerate(points) if p.labelled and n not in best]
    _labels(root, named, _taken(points, stair, x, y), x, y)
    legend(root, names, bottom + 50, WIDTH, False)
    return root


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _taken(points: Sequence[Point], stair: Sequence[tuple[float, float]], x: Scale, y: Scale) -> list[Box]:
    """Where no name may stand: markers, bars and the front."""
    found = [(a - 1, min(b, d) - 1, c + 1, max(b, d) + 1) for (a, b), (c, d) in pairwise(stair)]
    for p in points:
        at, here = x(p.cost), y(p.score)
        found.append((at - 7, here - 7, at + 7, here + 7))
        found.append((at - 1, y(p.score + p.spread), at + 1, y(p.score - p.spread)))
    return found


def _labels(root: ET.Element, points: Sequence[Point], taken: list[Box], x: Scale, y: Scale) -> None:
    """Names beside points, the first ones first, each at the first place where it covers nothing, or nowhere."""
    for p in points:
        text = fit(printable(p.name), 150)
        room, at, here = length(text), x(p.cost), y(p.score)
        for start, base in (
            (at + 9 if right else at - 9 - room, here + aside)
            for aside in (-9, 4, 16, -16, 24, -24, 32, -32)
            for right in (aside < 0, aside >= 0)
        ):
            box = (start, base - 10, start + room, base + 3)
            inside = x.start + 2 <= box[0] and box[2] <= x.end + 12 and y.end - 8 <= box[1] and box[3] <= y.start - 2
            if inside and not any(_over(box, other) for other in taken):
                taken.append(box)
                write(root, start, base, text)
                break


def _over(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# Changes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A difference with its interval and the values of the single seeds."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    each: Sequence[float] = field(default_factory=tuple)


def change_chart(title: str, about: str, changes: Sequence[Change], x_label: str) -> ET.Element:
    """A line a method: mean difference, its interval, and the seeds as small rings; zero is the control."""
    step, left, right, top = 22.0, 150.0, WIDTH - 14, 12.0
    bottom = top + step * len(changes) + 4
    root = canvas(bottom + 42, title, about)
    ends = [v for c in changes for v in (c.mean, c.low, c.high, *c.each) if v is not None]
    x = scale_over([0.0, *ends], left, right)
    for value in x.ticks():
        put(root, "line", "grid", x1=x(value), x2=x(value), y1=top, y2=bottom)
        write(root, x(value), bottom + 16, short(value), "middle", "faint")
    put(root, "line", "axis", x1=x(0), x2=x(0), y1=top, y2=bottom)
    write(root, (left + right) / 2, bottom + 34, x_label, "middle", room=right - left + 100)
    for n, c in enumerate(changes):
        at = top + step * (n + 0.5)
        write(root, left - 10, at + 4, c.name, "end", room=left - 14)
        if c.low is not None and c.high is not None:
            put(root, "line", "line s0", x1=x(c.low), x2=x(c.high), y1=at, y2=at)
        for value in c.each:
            marker(root, "circle", x(value), at, "hollow s1", 2.6)
        dot = marker(root, "diamond", x(c.mean), at, "solid s0", 4.5)
        tip(dot, f"{c.name}: {c.mean:+.2f}" + (f" [{c.low:+.2f}, {c.high:+.2f}]" if c.low is not None else ""))
    return root


# Tested windows -------------------------------------------------------------------------------------------------------


def confusion_chart(title: str, about: str, counts: NDArray[np.int64], classes: Sequence[str]) -> ET.Element:
    """True (rows) against predicted (columns) classes (K, K), shaded by share of the row."""
    k = len(classes)
    few = k <= 14  # of more, numbers stand for names, and a cell says what it is when the pointer rests on it
    side = min(46.0, 330.0 / k)
    label = min(170.0, 10 + max(length(printable(name)) for name in classes)) if few else 40.0
    tilted = few and label - 10 > side - 4
    names = told_apart(classes, label - 8) if few else [str(n) for n in range(k)]
    left, top = max(label, 60.0), 24.0
    foot = 16.0 + (0.9 * label if tilted else 20.0)
    root = canvas(top + side * k + foot, title, about, max(left + side * k + 16, left + 180))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    write(root, left, 14, "predicted across, true down", style="faint")
    for i, j in zip(*np.nonzero(counts), strict=True):
        box = put(
            root, "rect", "cell s0", x=left + side * float(j), y=top + side * float(i), width=side, height=side,
            fill_opacity=f"{0.5 * share[i, j]:.2f}",
        )  # fmt: skip
        if few:
            size = "small" if counts[i, j] < 10_000 and side > 24 else "faint"
            said = str(counts[i, j]) if side > 24 else f"{100 * share[i, j]:.0f}"
            write(root, left + side * (j + 0.5), top + side * (i + 0.5) + 4, said, "middle", size)
        if k <= 30:
            tip(box, f"{classes[i]} taken for {classes[j]}: {counts[i, j]} ({100 * share[i, j]:.1f} %)")
    put(root, "rect", "axis", x=left, y=top, width=side * k, height=side * k)
    for n in range(0, k, 1 if few else math.ceil(k / 12)):
        at = side * (n + 0.5)
        text = write(root, left - 6, top + at + 4, names[n], "end")
        if few and names[n] != printable(classes[n]):
            tip(text, classes[n])
        if tilted:
            _tilted(root, left + at + 4, top + side * k + 12, names[n], classes[n])
        else:
            write(root, left + at, top + side * k + 16, names[n], "middle")
    return root


def reliability_chart(title: str, about: str, found: Reliability) -> ET.Element:
    """Accuracy in bins of confidence against the diagonal, and below the share of windows in each bin."""
    left, right, top, bottom, under = 56.0, 344.0, 30.0, 260.0, 340.0
    root = canvas(under + 42, title, about, 360.0)
    x, y = Scale(0, 1, left, right), Scale(0, 1, bottom, top)
    share = Scale(0, max(*found.share, 0.01), under, bottom + 26)
    for value in y.ticks():
        put(root, "line", "grid", x1=left, x2=right, y1=y(value), y2=y(value))
        write(root, left - 6, y(value) + 4, short(value), "end", "faint")
        write(root, x(value), under + 16, short(value), "middle", "faint")
    write(root, 6, 16, "accuracy")
    bins = len(found.share)
    for n in range(bins):
        if not found.share[n]:
            continue
        ends = x(n / bins) + 1, x((n + 1) / bins) - 1
        bar = put(root, "rect", "bar s0", x=ends[0], width=ends[1] - ends[0], y=y(found.accuracy[n]),
                  height=bottom - y(found.accuracy[n]))  # fmt: skip
        tip(
            bar, f"confidence {found.confidence[n]:.3f}, accuracy {found.accuracy[n]:.3f}, {100 * found.share[n]:.1f} %"
        )
        at = y(found.confidence[n])
        put(root, "line", "line s1", x1=ends[0], x2=ends[1], y1=at, y2=at)
        put(root, "rect", "bar s7", x=ends[0], width=ends[1] - ends[0], y=share(found.share[n]),
            height=under - share(found.share[n]))  # fmt: skip
    put(root, "line", "guide", x1=x(0), y1=y(0), x2=x(1), y2=y(1))
    put(root, "line", "axis", x1=left, x2=right, y1=bottom, y2=bottom)
    put(root, "line", "axis", x1=left, x2=right, y1=under, y2=under)
    write(root, left - 50, bottom + 22, f"share of windows, up to {100 * share.high:.0f} %", style="faint")
    write(root, (left + right) / 2, under + 34, "confidence", "middle")
    return root


# Pictures -------------------------------------------------------------------------------------------------------------

VIRIDIS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")


def picture(values: ArrayLike, low: float, high: float) -> str:
    """An array (H, W) as a PNG in a data URI, `low` dark to `high` bright."""
    from PIL import Image

    array = np.nan_to_num(np.asarray(values, np.float64), nan=low, posinf=high, neginf=low)
    levels = np.clip((array - low) / ((high - low) or 1.0), 0, 1) * 63  # 64 levels: small, and no eye sees more
    image = Image.frombytes("P", array.shape[::-1], np.rint(levels).astype(np.uint8).tobytes())
    anchors = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in VIRIDIS], np.float64)
    places = np.linspace(0, len(anchors) - 1, 64)
    colours = np.stack([np.interp(places, np.arange(len(anchors)), anchors[:, i]) for i in range(3)], 1)
    image.putpalette(np.rint(colours).astype(np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def draw_picture(
    root: ET.Element, values: ArrayLike, x: float, y: float, width: float, height: float, low: float, high: float
) -> ET.Element:
    return put(
        root,
        "image",
        href=picture(values, low, high),
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        preserveAspectRatio="none",
        image_rendering="pixelated",
    )


def _curve(values: NDArray[Any], x: Scale, y: Scale) -> str:
    places, heights = thinned(values)
    return path_of([x(place) for place in places], [y(height) for height in heights])


def range_of(values: ArrayLike) -> tuple[float, float]:
    array = np.asarray(values, np.float64)
    known = array[np.isfinite(array)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def pictures(
    title: str,
    about: str,
    panels: Sequence[tuple[str, ArrayLike]],
    span: tuple[float, float],
    columns: int = 4,
) -> ET.Element:
    """Arrays (H, W) side by side with one colour scale, which is drawn under them."""
    gap, head = 10.0, 20.0
    side = (WIDTH - gap * (columns - 1)) / columns
    rows = math.ceil(len(panels) / columns)
    bottom = rows * (side + head + 6)
    root = canvas(bottom + 34, title, about)
    for n, (name, values) in enumerate(panels):
        x, y = (n % columns) * (side + gap), (n // columns) * (side + head + 6)
        write(root, x, y + 14, name, room=side)
        tip(draw_picture(root, values, x, y + head, side, side, *span), name)
    draw_picture(root, np.linspace(0, 1, 64)[None], 0, bottom + 4, 160, 10, 0, 1)
    write(root, 0, bottom + 30, f"{span[0]:.2g}", style="faint")
    write(root, 160, bottom + 30, f"{span[1]:.2g}", "end", "faint")
    return root


def strips(
    title: str,
    about: str,
    signal: NDArray[Any] | None,
    rows: Sequence[tuple[str, ArrayLike]],
    span: tuple[float, float],
) -> ET.Element:
    """A signal (C, W), unless it is not to be shown, and under it a strip a row of values (W,), over the same time."""
    left, right, high, step = 130.0, WIDTH - 6, 0.0 if signal is None else 110.0, 22.0
    root = canvas(high + 12 + step * len(rows) + 30, title, about)
    if signal is not None:
        write(root, left - 8, 20, "signal", "end")
        y = scale_over(range_of(signal), high, 8.0)
        x = Scale(0, signal.shape[1] - 1, left, right)
        for channel in signal[:SERIES]:
            put(root, "path", "thin s0", d=_curve(channel, x, y), opacity="0.75")
    for n, (name, values) in enumerate(rows):
        top = high + 10 + step * n
        write(root, left - 8, top + 13, name, "end", room=left - 12)
        tip(draw_picture(root, np.asarray(values)[None], left, top, right - left, step - 4, *span), name)
    bottom = high + 10 + step * len(rows) + 6
    draw_picture(root, np.linspace(0, 1, 64)[None], left, bottom, 120, 8, 0, 1)
    write(root, left - 8, bottom + 9, short(span[0]), "end", "faint")
    write(root, left + 128, bottom + 9, short(span[1]), style="faint")
    return root


def views_chart(title: str, about: str, views: Mapping[str, NDArray[Any]], channels: Sequence[str]) -> ET.Element:
    """A line a channel of one window: a signal (C, W) as a curve, images (P, S, S) beside it.

    A modality with a multiple of C planes has as many in each line. `pi` is drawn with birth to the right and
    persistence upwards.
    """
    shown = min(len(channels), 8)
    per = {name: max(1, len(view) // len(channels)) for name, view in views.items() if view.ndim == 3}
    side, head, gap = 74.0, 40.0, 8.0
    images = sum(per.values()) * (side + gap)
    left = 66.0
    right = max(WIDTH - images - gap, 180.0) if any(view.ndim == 2 for view in views.values()) else left - gap
    step = side + 10
    root = canvas(head + step * shown, title, about, max(WIDTH, right + images + gap))
    for n in range(shown):
        write(root, 0, head + step * n + side / 2 + 4, channels[n], room=left - 6)
    for view in (view for view in views.values() if view.ndim == 2):
        write(root, left, 14, "sig", style="text")
        write(root, left, 30, f"{view.shape[1]} samples", style="faint")
        x = Scale(0, view.shape[1] - 1, left, right)
        for n, channel in enumerate(view[:shown]):
            top = head + step * n
            y = scale_over(range_of(channel), top + side, top)
            put(root, "rect", "grid", x=left, y=top, width=right - left, height=side)
            put(root, "path", "thin s0", d=_curve(channel, x, y))
    at = right + gap
    for name, number in per.items():
        span = range_of(views[name])
        write(root, at, 14, name, style="text")
        write(root, at, 30, f"{span[0]:.2g} to {span[1]:.2g}", style="faint")
        for n, plane in enumerate(views[name][: shown * number]):
            image = plane.T[::-1] if name == "pi" else plane
            place = at + (n % number) * (side + gap), head + step * (n // number)
            tip(draw_picture(root, image, *place, side, side, *span), f"{name}, {channels[n // number]}")
        at += number * (side + gap)
    return root


# Ranks ----------------------------------------------------------------------------------------------------------------


def rank_chart(title: str, about: str, found: Diagram) -> ET.Element:
    """A critical-difference diagram: mean ranks on a line, and bars over methods that do not differ. Demsar 2006."""
    names = list(found.ranks)
    half = math.ceil(len(names) / 2)
    left, right, line, step = 130.0, WIDTH - 130, 56.0, 20.0
    below = line + 16 + 9 * len(found.cliques)
    root = canvas(below + step * half + 10, title, about)
    x = Scale(1, max(len(names), 2), left, right)
    put(root, "line", "axis", x1=left, x2=right, y1=line, y2=line)
    for rank in range(1, len(names) + 1):
        put(root, "line", "axis", x1=x(rank), x2=x(rank), y1=line - 5, y2=line)
        write(root, x(rank), line - 9, str(rank), "middle", "faint")
    end = x(1 + found.difference)
    put(root, "path", "line s1", d=f"M{_n(left)} 10V20M{_n(left)} 15H{_n(end)}M{_n(end)} 10V20")
    write(root, end + 8, 19, f"critical difference {found.difference:.2f}")
    for n, name in enumerate(names):
        at, best = x(found.ranks[name]), n < half
        y = below + step * (n if best else len(names) - 1 - n) + 8
        edge = left - 8 if best else right + 8
        put(root, "path", "axis", d=f"M{_n(at)} {_n(line)}V{_n(y)}H{_n(edge)}")
        text = f"{fit(printable(name), 80)} {found.ranks[name]:.2f}"
        write(root, edge - 4 if best else edge + 4, y + 4, text, "end" if best else "start")
    for n, clique in enumerate(found.cliques):
        ends = [x(found.ranks[name]) for name in (clique[0], clique[-1])]
        y = line + 10 + 9 * n
        put(root, "line", "thick s0", x1=ends[0] - 3, x2=ends[1] + 3, y1=y, y2=y)
    return root
