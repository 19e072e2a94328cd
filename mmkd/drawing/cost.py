"""Score against cost, with the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree import ElementTree as ET

from mmkd.core.text import printable
from mmkd.drawing.axes import add_axes, add_legend, legend_height
from mmkd.drawing.bands import Band, add_band, add_band_legend, band_legend_height
from mmkd.drawing.scales import Scale, format_number, scale_over
from mmkd.drawing.style import series_class, series_shape
from mmkd.drawing.svg import NARROW, add_element, add_marker, add_text, add_tooltip, canvas, path_data
from mmkd.drawing.text import fit_text, text_width

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Point:
    """A network.

    Attributes:
        score: mean over seeds; `spread`: its standard deviation.
        number: of the group of networks it belongs to.
        labelled: write its name beside it even if it is not on the front. A name that finds no free place is in the
            tooltip only.
    """

    name: str
    cost: float
    score: float
    number: int
    spread: float = 0.0
    hollow: bool = False
    labelled: bool = False


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Indices of the points that no other dominates: none costs as little and scores more, or less and as much."""
    front: list[int] = []
    for n in sorted(range(len(costs)), key=lambda n: (costs[n], -scores[n])):
        if not front or scores[n] > scores[front[-1]]:
            front.append(n)
    return front


def cost_chart(
    title: str,
    description: str,
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    groups: Sequence[str] | Mapping[int, str],
    bands: Sequence[Band] = (),
    width: float = NARROW,
) -> ET.Element:
    """Score against cost, with the Pareto front of the means as steps and the names of its points.

    Args:
        groups: their names, by `Point.number`.
        bands: of the scores of controls, drawn behind the points.
    """
    left = 56.0
    right = width - 16
    top = 40.0
    bottom = 290.0
    numbered = groups.items() if isinstance(groups, Mapping) else enumerate(groups)
    names = [(name, n) for n, name in numbered]
    height = legend_height(names, width)
    root = canvas(bottom + 56 + height + band_legend_height(bands, width), title, description, width)
    x = scale_over([p.cost for p in points], left, right, log=True, margin=0.12)
    scores = [v for p in points for v in (p.score - p.spread, p.score + p.spread)]
    y = scale_over([*scores, *(value for band in bands for value in band.values)], bottom, top)
    for band in bands:
        add_band(root, band, y, x)
    add_axes(root, x, y, x_label + (" (logarithmic)" if x.log else ""), y_label)
    front = pareto_front([p.cost for p in points], [p.score for p in points])
    steps: list[tuple[float, float]] = []
    for n in front:
        corner = x(points[n].cost), y(points[n].score)
        steps += [(corner[0], steps[-1][1]), corner] if steps else [corner]
    steps.append((right, steps[-1][1]))
    add_element(root, "path", "guide", d=path_data([a for a, _ in steps], [b for _, b in steps]))
    _add_spreads(root, points, x, y)
    _add_points(root, points, front, x, y)
    named = [points[n] for n in front] + [p for n, p in enumerate(points) if p.labelled and n not in front]
    _add_names(root, named, points, _occupied(points, steps, x, y), x, y)
    add_legend(root, names, bottom + 60, width, False)
    add_band_legend(root, bands, bottom + 60 + height, width)
    return root


def _add_spreads(root: ET.Element, points: Sequence[Point], x: Scale, y: Scale) -> None:
    for p in points:
        if p.spread:
            style = f"thin {series_class(p.number)}"
            low = y(p.score - p.spread)
            high = y(p.score + p.spread)
            add_element(root, "line", style, x1=x(p.cost), x2=x(p.cost), y1=low, y2=high, opacity="0.45")


def _add_points(root: ET.Element, points: Sequence[Point], front: Sequence[int], x: Scale, y: Scale) -> None:
    """Markers with tooltips; those on the front and the labelled ones are drawn last, above the others."""
    for n in sorted(range(len(points)), key=lambda n: n in front or points[n].labelled):
        p = points[n]
        style = f"{'hollow' if p.hollow else 'solid'} {series_class(p.number)}"
        size = 5.5 if n in front else 4.5
        marker = add_marker(root, series_shape(p.number), x(p.cost), y(p.score), style, size)
        where = ", on the front" if n in front else ""
        add_tooltip(marker, f"{p.name}: {format_number(p.score)} at {format_number(p.cost)}{where}")


def _occupied(points: Sequence[Point], steps: Sequence[tuple[float, float]], x: Scale, y: Scale) -> list[Box]:
    """Boxes that no name may cover: markers, spreads and the front."""
    boxes = [(a - 1, min(b, d) - 1, c + 1, max(b, d) + 1) for (a, b), (c, d) in pairwise(steps)]
    for p in points:
        a = x(p.cost)
        b = y(p.score)
        boxes.append((a - 7, b - 7, a + 7, b + 7))
        boxes.append((a - 1, y(p.score + p.spread), a + 1, y(p.score - p.spread)))
    return boxes


def _add_names(
    root: ET.Element, points: Sequence[Point], every: Sequence[Point], occupied: list[Box], x: Scale, y: Scale
) -> None:
    """Names beside points, in order, each at the first place where it covers nothing, or nowhere.

    A name that stands nearer to the mark of another point has a line to its own, which crosses nothing but what
    its mark lies on.
    """
    for p in points:
        text = fit_text(printable(p.name), 190)
        width = text_width(text)
        mark = x(p.cost), y(p.score)
        others = [(x(other.cost), y(other.score)) for other in every if other is not p]
        free = []
        for start, base in _places(*mark, width):
            box = (start, base - 10, start + width, base + 3)
            inside = x.start + 2 <= box[0] and box[2] <= x.end + 12 and y.end - 8 <= box[1] and box[3] <= y.start - 2
            if inside and not any(_overlap(box, other) for other in occupied):
                free.append((start, base, box))
        own = [each for each in free if all(_distance(each[2], mark) < _distance(each[2], other) for other in others)]
        clear = [each for each in free if not _crossed(mark, _end(each[2], mark), occupied)]
        for start, base, box in (own or clear)[:1]:
            occupied.append(box)
            add_text(root, start, base, text)
            if not own:
                end = _end(box, mark)
                occupied += [(a - 1, b - 1, a + 1, b + 1) for a, b in _along(mark, end)]
                add_element(root, "line", "axis", x1=mark[0], y1=mark[1], x2=end[0], y2=end[1])


def _places(x: float, y: float, width: float) -> list[tuple[float, float]]:
    """Where the name of the point (x, y) may begin, best first."""
    return [
        (x + 9 if right else x - 9 - width, y + offset)
        for offset in (-9, 4, 16, -16, 24, -24, 32, -32, 42, -42, 54, -54)
        for right in (offset < 0, offset >= 0)
    ]


def _end(box: Box, mark: tuple[float, float]) -> tuple[float, float]:
    """Where the line of a name to its mark ends."""
    return min(max(mark[0], box[0]), box[2]), box[1] if box[1] > mark[1] else box[3]


def _crossed(mark: tuple[float, float], end: tuple[float, float], occupied: Sequence[Box]) -> bool:
    """Whether a line from a mark leads over what is drawn already; over what the mark itself lies on it may."""
    boxes = [box for box in occupied if _distance(box, mark) > 0]
    return any(_distance(box, place) == 0 for box in boxes for place in _along(mark, end))


def _along(mark: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Places on a line, close to each other."""
    number = max(1, math.ceil(math.hypot(end[0] - mark[0], end[1] - mark[1])))
    steps = [n / number for n in range(number + 1)]
    return [(mark[0] + n * (end[0] - mark[0]), mark[1] + n * (end[1] - mark[1])) for n in steps]


def _distance(box: Box, point: tuple[float, float]) -> float:
    """From the nearest place of a box to a point."""
    return math.hypot(
        max(box[0] - point[0], point[0] - box[2], 0.0),
        max(box[1] - point[1], point[1] - box[3], 0.0),
    )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
