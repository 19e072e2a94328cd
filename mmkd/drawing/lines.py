"""Plots of lines with intervals and markers: robustness and learning curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from mmkd.drawing.axes import add_axes, add_legend, legend_height, tilted_height
from mmkd.drawing.bands import Band, add_band_legend, band_legend_height
from mmkd.drawing.ends import NAMES, STEP, End, add_ends
from mmkd.drawing.scales import Scale, format_number, scale_over
from mmkd.drawing.style import series_class, series_dash, series_shape
from mmkd.drawing.svg import WIDE, WIDTH, add_element, add_marker, add_text, add_tooltip, canvas, coordinate, path_data

MOST_EPOCHS = 150
"""Points of a learning curve, about."""
VALIDATION = (("val_accuracy", "accuracy"), ("val_macro_f1", "macro-F1"))


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        number: of the series; it decides on colour, dash and marker.
        low, high: ends of the interval at each point.
        marks: indices of the points that get a marker; None: all.
        range_only: whether only the interval is drawn, and `y` is not.
    """

    name: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marks: Sequence[int] | None = None
    range_only: bool = False


@dataclass(frozen=True)
class Plot:
    """A plot of lines.

    Attributes:
        categories: names at x = 0, 1, ...; points of categories are not joined by a line.
        integer: put ticks of x at whole numbers only.
        y_range: of the y axis; None: that of the values.
        guide: a value of x at which a vertical line is drawn.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    categories: Sequence[str] | None = None
    integer: bool = False
    y_range: tuple[float, float] | None = None
    guide: float | None = None


def line_chart(
    title: str,
    description: str,
    plots: Sequence[Plot],
    *,
    columns: int = 2,
    height: float = 130.0,
    width: float = WIDTH,
    named: bool = False,
) -> ET.Element:
    """Plots side by side, above one legend; a plot of categories has a row of its own.

    Args:
        columns: plots in a row.
        height: of the area of a plot; `width`: of the whole figure. Both in pixels.
        named: write the names of curves at their ends, where they fit; only what is no curve is then in the legend.

    Example:
        >>> line = Line("kd", number=0, x=[1, 2, 3], y=[0.5, 0.7, 0.8])
        >>> chart = line_chart("Scores", "Macro-F1", [Plot("validation", "epoch", "macro-F1", [line], integer=True)])
        >>> chart.get("role")
        'img'
    """
    every = [line for plot in plots for line in plot.lines]
    in_legend = [line for plot in plots for line in plot.lines if not named or plot.categories is not None]
    height = max(height, STEP * max(len(plot.lines) for plot in plots)) if named else height
    names = list(dict.fromkeys((line.name, line.number) for line in in_legend if not line.range_only))
    ranges = dict.fromkeys((line.name, line.number) for line in every if line.range_only)
    bands = [Band([("", 0.0)], (), number, name) for name, number in ranges]
    cell_width = width / columns
    cell_height = height + 98
    cells: list[tuple[float, float, float]] = []  # left, top, width
    column = 0
    top = 0.0
    bottom = cell_height
    for plot in plots:
        has_own_row = plot.categories is not None
        if column and (has_own_row or column == columns):
            column = 0
            top = bottom
        cells.append((column * cell_width, top, width if has_own_row else cell_width))
        column = columns if has_own_row else column + 1
        bottom = top + cell_height + tilted_height(plot.categories or (), width - 62)
    height_of_names = legend_height(names, width)
    root = canvas(bottom + height_of_names + band_legend_height(bands, width), title, description, width)
    for plot, (left, top, room) in zip(plots, cells, strict=True):
        ends = named and plot.categories is None
        _add_plot(root, plot, left + 50, left + room - (NAMES if ends else 12), top + 42, top + 42 + height, ends)
    add_legend(root, names, bottom + 4, width, any(plot.categories is None for plot in plots))
    add_band_legend(root, bands, bottom + 4 + height_of_names, width)
    return root


def _add_plot(root: ET.Element, plot: Plot, left: float, right: float, top: float, bottom: float, named: bool) -> None:
    all_x = [v for line in plot.lines for v in line.x]
    all_y = [
        v for line in plot.lines for v in (*(() if line.range_only else line.y), *(line.low or ()), *(line.high or ()))
    ]
    y = Scale(*plot.y_range, bottom, top) if plot.y_range else scale_over(all_y, bottom, top)
    if plot.categories is not None:
        x = Scale(-0.5, len(plot.categories) - 0.5, left, right)
    else:
        x = scale_over(all_x, left, right, margin=0.04)
    add_text(root, left - 44, top - 27, plot.title, style="text", room=right - left + 44)
    add_axes(root, x, y, plot.x_label, plot.y_label, plot.categories, plot.integer)
    if plot.guide is not None:
        add_element(root, "line", "guide", x1=x(plot.guide), x2=x(plot.guide), y1=top, y2=bottom)
    step = 0.0 if plot.categories is None else min(8.0, 0.8 * (x(1) - x(0)) / len(plot.lines))
    for n, line in enumerate(plot.lines):
        _add_line(root, line, x, y, plot.categories, step * (n - (len(plot.lines) - 1) / 2))
    if named:
        curves = [line for line in plot.lines if not line.range_only]
        add_ends(
            root, [End(line.name, line.number, x(line.x[-1]), y(line.y[-1])) for line in curves], right, top, bottom
        )


def _add_line(
    root: ET.Element, line: Line, x: Scale, y: Scale, categories: Sequence[str] | None, offset: float
) -> None:
    joined = categories is None
    positions = [x(v) + offset for v in line.x]
    colour = series_class(line.number)
    if line.low is not None and line.high is not None:
        if joined:
            edge = [*zip(positions, line.high, strict=True), *reversed([*zip(positions, line.low, strict=True)])]
            points = " ".join(f"{coordinate(a)},{coordinate(y(b))}" for a, b in edge)
            add_element(root, "polygon", f"band {colour}", points=points)
        else:
            for a, low, high in zip(positions, line.low, line.high, strict=True):
                add_element(root, "line", f"thin {colour}", x1=a, x2=a, y1=y(low), y2=y(high))
    if line.range_only:
        return
    heights = [y(v) for v in line.y]
    if joined:
        path = path_data(positions, heights)
        add_element(root, "path", f"line {colour}", d=path, stroke_dasharray=series_dash(line.number))
    for n in range(len(positions)) if line.marks is None else line.marks:
        if math.isfinite(heights[n]):
            marker = add_marker(root, series_shape(line.number), positions[n], heights[n], f"solid {colour}", 3.6)
            where = f", {categories[int(line.x[n])]}" if categories is not None else ""
            add_tooltip(marker, f"{line.name}{where}: {format_number(line.y[n])}")


def learning_curves(
    title: str, description: str, history: Sequence[Mapping[str, float]], best_epoch: int
) -> ET.Element:
    """All loss terms and, if there are any, the validation scores of one training; a vertical line at the kept epoch.

    Args:
        history: a row per epoch with `epoch`, `loss`, `loss/TERM` and `val_*`; a term may be missing in some epochs.
    """
    rows = thin_epochs(history, best_epoch)
    names = list(dict.fromkeys(["loss", *(name for row in history for name in row if name.startswith("loss/"))]))
    labels = ["sum" if name == "loss" else name.removeprefix("loss/") for name in names]
    losses = [_epoch_line(label, n, rows, name) for n, (name, label) in enumerate(zip(names, labels, strict=True))]
    scores = [
        _epoch_line(label, len(names) + n, rows, name) for n, (name, label) in enumerate(VALIDATION) if name in rows[0]
    ]
    guide = float(best_epoch) if scores else None
    plots = [Plot("training loss", "epoch", "mean over batches", losses, integer=True, guide=guide)]
    if scores:
        heading = f"validation, epoch {best_epoch} is kept"
        plots.append(Plot(heading, "epoch", "score", scores, integer=True, guide=guide))
    width = WIDE if scores else WIDTH
    return line_chart(title, description, plots, columns=len(plots), height=180, width=width)


def thin_epochs(
    history: Sequence[Mapping[str, float]], best_epoch: float | None, most: int = MOST_EPOCHS
) -> list[Mapping[str, float]]:
    """Rows of a history, about `most` and evenly spaced, with those of the best and the last epoch."""
    step = math.ceil(len(history) / most)
    last = len(history) - 1
    return [row for n, row in enumerate(history) if n % step == 0 or n == last or row["epoch"] == best_epoch]


def _epoch_line(label: str, number: int, rows: Sequence[Mapping[str, float]], name: str) -> Line:
    """A line over epochs; points without a neighbour get a marker, as no line shows them."""
    y = [row.get(name, math.nan) for row in rows]
    known = [False, *(math.isfinite(value) for value in y), False]
    lonely = [n for n in range(len(y)) if not known[n] and known[n + 1] and not known[n + 2]]
    return Line(label, number, [row["epoch"] for row in rows], y, marks=range(len(y)) if len(y) < 3 else lonely)
