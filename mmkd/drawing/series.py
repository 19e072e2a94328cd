"""A series with its labelled events, and the score of a detector over the same time."""

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mmkd.drawing.axes import add_x_axis, add_y_axis
from mmkd.drawing.scales import Scale, curve_path, scale_over, value_range
from mmkd.drawing.style import series_class
from mmkd.drawing.svg import WIDE, add_element, add_text, canvas, coordinate
from mmkd.drawing.text import text_width

MOST_CHANNELS = 9
"""Channels whose curves can still be distinguished; of more, only the first is drawn."""
MOST_SAMPLES = 1400


def scored_series(
    title: str,
    description: str,
    x: NDArray[Any],
    labels: NDArray[Any],
    *,
    borders: tuple[int, int],
    score: NDArray[np.float64],
    threshold: float,
) -> ET.Element:
    """A series and its score over time, with events, threshold, and the part of the prefix that sets the threshold.

    Args:
        x: (C, n), as detectors read it.
        labels: (n,) 1 inside an event.
        borders: first and last step of the part that sets the threshold; the score begins with it.
        score: of the steps from `borders[0]` on.
    """
    left = 62.0
    upper = (190.0, 28.0)
    lower = (330.0, 230.0)
    root = canvas(lower[0] + 70, title, description, WIDE)
    time = Scale(0, x.shape[1], left, WIDE - 12)
    events = _event_spans(labels, time)
    shown = x if len(x) <= MOST_CHANNELS else x[:1]
    values = scale_over(value_range(shown), *upper)
    scores = scale_over((*value_range(score), threshold), *lower)
    part = (time(borders[0]), time(borders[1]))
    for bottom, top in (upper, lower):
        add_element(root, "path", "band s1", d=_rectangles(events, top, bottom))
    add_element(root, "path", "band s0", d=_rectangles([part], lower[1], lower[0]))
    add_y_axis(root, time, values, "value" if len(shown) == len(x) else f"value (first of {len(x)} channels)")
    add_y_axis(root, time, scores, "score")
    add_element(root, "line", "axis", x1=left, x2=time.end, y1=upper[0], y2=upper[0])
    for n, channel in enumerate(shown):
        add_element(root, "path", f"thin {series_class(n)}", d=curve_path(channel, time, values, MOST_SAMPLES))
    offset = Scale(0, len(score), time(borders[0]), time(borders[0] + len(score)))
    add_element(root, "path", "thin s5", d=curve_path(score, offset, scores, MOST_SAMPLES))
    add_element(root, "line", "guide", x1=left, x2=time.end, y1=scores(threshold), y2=scores(threshold))
    add_x_axis(root, time, lower[0], "step")
    _add_key(root, lower[0] + 56)
    return root


def _event_spans(labels: NDArray[Any], time: Scale) -> list[tuple[float, float]]:
    """Start and end of each event in pixels, at least one wide; events closer than a pixel become one."""
    edges = np.diff(np.concatenate([[0], np.asarray(labels, np.int8), [0]]))
    spans: list[tuple[float, float]] = []
    for first, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        start = time(float(first))
        end = max(time(float(stop)), start + 1)
        if spans and start - spans[-1][1] < 1:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def _rectangles(spans: list[tuple[float, float]], top: float, bottom: float) -> str:
    """The attribute `d` of a path around rectangles from `top` to `bottom`."""
    return "".join(
        f"M{coordinate(start)} {coordinate(top)}H{coordinate(end)}V{coordinate(bottom)}H{coordinate(start)}Z"
        for start, end in spans
    )


def _add_key(root: ET.Element, y: float) -> None:
    x = 8.0
    entries = (
        ("band s1", "labelled event"),
        ("band s0", "part that sets the threshold"),
        ("guide", "threshold: the highest score of that part"),
    )
    for style, text in entries:
        if style == "guide":
            add_element(root, "line", style, x1=x, x2=x + 22, y1=y, y2=y)
        else:
            add_element(root, "rect", style, x=x, y=y - 6, width=22, height=12)
        add_text(root, x + 28, y + 4, text)
        x += 28 + text_width(text) + 16
