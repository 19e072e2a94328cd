"""Pictures that go with a record: learning curves, confusion matrix, the views of one window."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINES = 9  # channels of a series that can still be told apart


def _figure(width: float, height: float, margins: Mapping[str, float] | None = None) -> Any:
    """A figure that needs no display and touches no global state.

    Args:
        margins: of `subplots_adjust`, where labels need the same room always; else room is made for them, which takes
            as long as drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=None if margins else "constrained", dpi=120)
    if margins:
        figure.subplots_adjust(**margins)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is drawn as a box
        figure.savefig(path)


def plain(text: str, longest: int = 60) -> str:
    """A name as it is: no formula, and not longer than a title holds."""
    text = text.replace("$", r"\$")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def learning_curves(path: Path, history: Sequence[Mapping[str, float]], best_epoch: int, title: str) -> None:
    """Each loss term, and the validation scores, over the epochs."""
    figure = _figure(9, 3.6, {"left": 0.09, "right": 0.985, "bottom": 0.145, "top": 0.915, "wspace": 0.2})
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    names = dict.fromkeys(n for row in history for n in row if n == "loss" or n.startswith("loss/"))
    for name in names:
        label = "sum" if name == "loss" else name.removeprefix("loss/")
        style: dict[str, Any] = {"color": "black", "lw": 2} if name == "loss" else {"lw": 1.4}
        left.plot(
            epochs,
            [row.get(name, math.nan) for row in history],  # a term may be there in some epochs only
            label=plain(label),
            marker="o" if len(epochs) < 3 else None,
            **style,
        )
    left.set(xlabel="epoch", ylabel="training loss (mean a batch)", title=plain(title))
    left.legend(frameon=False)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    for name, label in (("val_accuracy", "accuracy"), ("val_macro_f1", "macro-F1")):
        if name in history[0]:
            right.plot(epochs, [row[name] for row in history], label=label, marker="o" if len(epochs) < 3 else None)
    if "val_macro_f1" in history[0]:
        right.axvline(best_epoch, color="0.6", ls=":", label=f"kept: epoch {best_epoch}")
        right.legend(frameon=False, loc="lower right")
    right.set(xlabel="epoch", ylabel="score", title="validation" if "val_accuracy" in history[0] else "no validation")
    _save(figure, path)


def scored_series(
    path: Path,
    x: NDArray[np.float32],
    labels: NDArray[np.int8],
    borders: tuple[int, int],
    score: NDArray[np.float64],
    threshold: float,
    title: str,
) -> None:
    """A series and its score over time, events shaded, with the threshold and where it comes from.

    Args:
        x: (C, n), as detectors read it; of more than `LINES` channels the first is drawn alone.
        labels: (n,) 1 inside an event.
        borders: the part of the prefix that the threshold is set on; the score begins with it.
        score: of the steps from there on.
    """
    figure = _figure(10, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    edges = np.diff(np.concatenate([[0], labels, [0]]))
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        for axes in (above, below):
            axes.axvspan(start - 0.5, stop - 0.5, color="tab:red", alpha=0.2, lw=0)
    shown = x if len(x) <= LINES else x[:1]
    for channel in shown:
        above.plot(channel, lw=0.7)
    below.plot(np.arange(borders[0], borders[0] + len(score)), score, color="black", lw=0.7)
    below.axhline(threshold, color="tab:blue", lw=1, ls="--", label="threshold: highest score of the blue part")
    below.axvspan(*borders, color="tab:blue", alpha=0.15, lw=0)
    below.legend(frameon=False, loc="upper left", fontsize="small")
    what = "value" if len(shown) == len(x) else f"value (first of {len(x)} channels)"
    above.set(title=plain(title, 110), ylabel=what)
    below.set(xlabel="step (labelled events in red)", ylabel="score", xlim=(0, x.shape[1]))
    _save(figure, path)


def confusion(
    path: Path, true: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str], title: str
) -> None:
    """Counts of true (rows) against predicted (columns) classes, shaded by share of the row.

    Where counts are too long for a cell the share is written in its place, in percent.
    """
    k = len(classes)
    counts = np.zeros((k, k), int)
    np.add.at(counts, (true, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(4.0, 1.6 + 0.42 * k), 12.0)
    few, step = k <= 30, max(1, k // 20)
    figure = _figure(side + 1.5, side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size = 9 if k <= 12 else 7
    ticks = range(0, k, 1 if few else step)
    labels = [plain(classes[i]) for i in ticks]
    axes.set_xticks(ticks, labels, rotation=90 if k > 4 else 0, fontsize=size)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true", title=plain(title))
    for i, j in zip(*np.nonzero(counts), strict=True) if few else ():
        text = f"{100 * share[i, j]:.0f}" if counts.max() > 9999 else str(counts[i, j])
        axes.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if share[i, j] > 0.5 else "black")
    _save(figure, path)


def labelled_recording(
    path: Path,
    signal: NDArray[np.float32],
    rows: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    rate_hz: float | None,
    title: str,
) -> None:
    """A recording, and under it a bar a row of labels ("true", "predicted"), a colour a class.

    Args:
        signal: (C, T).
        rows: name -> (T,) class numbers, -1 (left white) where there is none.
    """
    time = np.arange(signal.shape[1]) / (rate_hz or 1)
    limits = _class_colours(classes)
    figure = _figure(11, 4.2 + 0.2 * len(rows))
    axes = figure.subplots(1 + len(rows), 1, sharex=True, height_ratios=[4, *[0.5] * len(rows)])
    for channel in signal[:6]:
        axes[0].plot(time, channel, lw=0.6)
    axes[0].set(title=plain(title, 110), ylabel="signal")
    axes[0].margins(x=0)
    for axis, (name, labels) in zip(axes[1:], rows.items(), strict=True):
        image = np.ma.masked_less(labels[None], 0)
        axis.imshow(image, aspect="auto", interpolation="nearest", extent=(0, time[-1], 0, 1), **limits)
        axis.set_yticks([0.5], [plain(name, 20)])
    axes[-1].set_xlabel("time in seconds" if rate_hz else "sample")
    _class_legend(figure, rows, classes)
    _save(figure, path)


def labelled_image(
    path: Path, image: NDArray[np.float32], maps: Mapping[str, NDArray[Any]], classes: Sequence[str], title: str
) -> None:
    """An image, and beside it maps of labels ("true", "predicted"), a colour a class.

    Args:
        image: (C, H, W); three channels are shown as colours, of others the first in grey.
        maps: name -> (H, W) class numbers, -1 (left white) where there is none.
    """
    planes = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    low, high = float(planes.min()), float(planes.max())
    figure = _figure(3.2 * (1 + len(maps)), 4.0)
    axes = figure.subplots(1, 1 + len(maps))
    axes[0].imshow((planes - low) / (high - low or 1.0), cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("image", fontsize=10)
    for axis, (name, labels) in zip(axes[1:], maps.items(), strict=True):
        axis.imshow(np.ma.masked_less(labels, 0), interpolation="nearest", **_class_colours(classes))
        axis.set_title(plain(name, 20), fontsize=10)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    figure.suptitle(plain(title, 110), fontsize=10)
    _class_legend(figure, maps, classes)
    _save(figure, path)


def _class_colours(classes: Sequence[str]) -> dict[str, Any]:
    """What `imshow` needs to draw class numbers, a colour a class; the null class is grey."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colours = colormaps["tab20" if len(classes) > 10 else "tab10"](np.arange(len(classes)) % 20)
    colours[0] = (0.85, 0.85, 0.85, 1)
    return {"vmin": -0.5, "vmax": len(classes) - 0.5, "cmap": ListedColormap(colours)}


def _class_legend(figure: Any, labels: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> None:
    """Under the figure the colours of the classes that are in any of the labels."""
    from matplotlib.patches import Patch

    colours = _class_colours(classes)["cmap"].colors
    shown = [k for k in range(len(classes)) if any((each == k).any() for each in labels.values())]
    patches = [Patch(color=colours[k], label=plain(classes[k], 30)) for k in shown]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(7, len(patches)), frameon=False, fontsize=8)


def example_views(path: Path, views: Mapping[str, NDArray[np.float32]], channels: Sequence[str], title: str) -> None:
    """One window as the networks see it: a row a modality, a column a plane (at most six)."""
    columns = min(6, max(v.shape[0] for v in views.values()))
    figure = _figure(1.7 * columns + 0.8, 1.75 * len(views) + 0.5)
    axes = figure.subplots(len(views), columns, squeeze=False)
    for row, (name, planes) in zip(axes, views.items(), strict=True):
        for i, axis in enumerate(row):
            if i >= planes.shape[0]:
                axis.axis("off")
                continue
            if planes.ndim == 2:
                axis.plot(planes[i], lw=0.9)
                axis.margins(x=0)
            else:
                if name == "pi":  # stored [birth, persistence]; drawn as usual, birth to the right
                    axis.imshow(planes[i].T, origin="lower", cmap="viridis")
                    axis.set_xlabel("birth", fontsize=7)
                else:
                    axis.imshow(planes[i], cmap="viridis")
                axis.set(xticks=[], yticks=[])
            axis.tick_params(labelsize=6)
            each = planes.shape[0] // len(channels)
            axis.set_title(plain(channels[i // each]) if each else "", fontsize=8)
        row[0].set_ylabel("pi: persistence" if name == "pi" else name, fontsize=10)
    more = max(v.shape[0] for v in views.values()) - columns
    figure.suptitle(plain(title) + (f" ({more} more planes)" if more > 0 else ""), fontsize=10)
    _save(figure, path)
