"""Confusion matrix and reliability diagram."""

import math
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mmkd.core.text import printable
from mmkd.drawing.axes import add_tilted_text
from mmkd.drawing.images import add_image, shade_uri
from mmkd.drawing.scales import Scale, format_number
from mmkd.drawing.svg import add_element, add_text, add_tooltip, canvas
from mmkd.drawing.text import fit_names, text_width

MOST_NAMES = 14
"""Classes whose names stand in a figure of a page; of more, numbers stand for names."""
MOST_TEXTS = 30
"""Classes whose cells have a tooltip and, in a large figure, a number."""
MOST_CELLS = 900
"""Cells that are elements of their own; more of them become one image."""


def confusion_chart(
    title: str, description: str, counts: NDArray[np.int64], classes: Sequence[str], *, large: bool = False
) -> ET.Element:
    """True (rows) against predicted (columns) classes, shaded by the share of the true class.

    Cells hold counts or, if those do not fit, percent of the true class.

    Args:
        counts: (K, K).
        classes: K names.
        large: as large as the names and numbers need, for a file of its own: there are no tooltips where a file is
            shown as an image. More than `MOST_TEXTS` classes have no numbers, and only every n-th has its name.
    """
    k = len(classes)
    side = _cell_side(k, large)
    named = large or k <= MOST_NAMES
    step = 1
    if large or not named:
        step = math.ceil(14 / side) if large else math.ceil(k / 12)
    label = min(170.0, 10 + max(text_width(printable(name)) for name in classes)) if named else 40.0
    tilted = named and label - 10 > side * step - 4
    names = fit_names(classes, label - 8) if named else [str(n) for n in range(k)]
    left = max(label, 60.0)
    top = 24.0
    foot = 16.0 + (0.9 * label if tilted else 20.0)
    root = canvas(top + side * k + foot, title, description, max(left + side * k + 16, left + 180))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    texts, in_percent = (
        _cell_texts(counts, share, side) if k <= (MOST_TEXTS if large else MOST_NAMES) else (None, False)
    )
    add_text(root, left, 14, f"predicted across, true down{', in percent' * in_percent}", style="faint")
    if np.count_nonzero(counts) > MOST_CELLS:
        add_image(root, shade_uri(share), left, top, side * k, side * k)
    else:
        _add_cells(root, counts, share, classes, texts, left=left, top=top, side=side)
    add_element(root, "rect", "axis", x=left, y=top, width=side * k, height=side * k)
    for n in range(0, k, step):
        middle = side * (n + 0.5)
        text = add_text(root, left - 6, top + middle + 4, names[n], "end")
        if named and names[n] != printable(classes[n]):
            add_tooltip(text, classes[n])
        if tilted:
            add_tilted_text(root, left + middle + 4, top + side * k + 12, names[n], classes[n])
        else:
            add_text(root, left + middle, top + side * k + 16, names[n], "middle")
    return root


def _add_cells(
    root: ET.Element,
    counts: NDArray[np.int64],
    share: NDArray[np.float64],
    classes: Sequence[str],
    texts: list[list[str]] | None,
    *,
    left: float,
    top: float,
    side: float,
) -> None:
    """A rectangle for each cell that is not empty, with its text and, of few classes, a tooltip."""
    few = len(classes) <= MOST_TEXTS
    for i, j in zip(*np.nonzero(counts), strict=True):
        x = left + side * float(j)
        y = top + side * float(i)
        opacity = f"{(0.5 if few else 1.0) * share[i, j]:.2f}"  # texts must stay legible on the darkest cell
        cell = add_element(root, "rect", "cell s0", x=x, y=y, width=side, height=side, fill_opacity=opacity)
        if texts is not None:
            add_text(root, x + side / 2, y + side / 2 + 4, texts[i][j], "middle")
        if few:
            words = f"{classes[i]} taken for {classes[j]}"
            add_tooltip(cell, f"{words}: {counts[i, j]} ({100 * share[i, j]:.1f} %)")


def _cell_side(k: int, large: bool) -> float:
    """Pixels of a cell of K classes."""
    if large:
        return min(46.0, max(330.0 / k, 24.0)) if k <= MOST_TEXTS else max(1.0, 700.0 / k)
    return min(46.0, 330.0 / k)


def _cell_texts(
    counts: NDArray[np.int64], share: NDArray[np.float64], side: float
) -> tuple[list[list[str]] | None, bool]:
    """The texts of all cells, None if neither counts nor percent fit; and whether they are percent."""
    numbers = [[str(count) for count in row] for row in counts]
    percents = [[f"{100 * value:.0f}" for value in row] for row in share]
    for texts, gap, in_percent in ((numbers, 5.0, False), (percents, 1.9, True)):
        if max(text_width(text) for row in texts for text in row) <= side - gap:
            return texts, in_percent
    return None, False


def reliability_chart(
    title: str, description: str, *, share: Sequence[float], confidence: Sequence[float], accuracy: Sequence[float]
) -> ET.Element:
    """Accuracy in bins of confidence against the diagonal, and below the share of windows in each bin.

    Args:
        share, confidence, accuracy: of each bin, of equal width over [0, 1]; bins without windows are left out.
    """
    left = 56.0
    right = 344.0
    top = 30.0
    bottom = 260.0
    under = 340.0
    root = canvas(under + 42, title, description, 360.0)
    x = Scale(0, 1, left, right)
    y = Scale(0, 1, bottom, top)
    below = Scale(0, max(*share, 0.01), under, bottom + 26)
    for value in y.ticks():
        add_element(root, "line", "grid", x1=left, x2=right, y1=y(value), y2=y(value))
        add_text(root, left - 6, y(value) + 4, format_number(value), "end", "faint")
        add_text(root, x(value), under + 16, format_number(value), "middle", "faint")
    add_text(root, 6, 16, "accuracy")
    bins = len(share)
    for n in range(bins):
        if not share[n]:
            continue
        start = x(n / bins) + 1
        end = x((n + 1) / bins) - 1
        high = y(accuracy[n])
        bar = add_element(root, "rect", "bar s0", x=start, width=end - start, y=high, height=bottom - high)
        add_tooltip(bar, f"confidence {confidence[n]:.3f}, accuracy {accuracy[n]:.3f}, {100 * share[n]:.1f} %")
        level = y(confidence[n])
        add_element(root, "line", "line s1", x1=start, x2=end, y1=level, y2=level)
        high = below(share[n])
        add_element(root, "rect", "bar s7", x=start, width=end - start, y=high, height=under - high)
    add_element(root, "line", "guide", x1=x(0), y1=y(0), x2=x(1), y2=y(1))
    add_element(root, "line", "axis", x1=left, x2=right, y1=bottom, y2=bottom)
    add_element(root, "line", "axis", x1=left, x2=right, y1=under, y2=under)
    add_text(root, left - 50, bottom + 22, f"share of windows, up to {100 * below.high:.0f} %", style="faint")
    add_text(root, (left + right) / 2, under + 34, "confidence", "middle")
    return root
