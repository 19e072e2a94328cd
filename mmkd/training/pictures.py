"""The pictures of a record, as SVG files: learning curves, confusion matrix, and an example of the test data.

They are drawn from the numbers and predictions of the record, with the figures of `drawing/`. If a picture fails,
callers log the error and still write the record.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mmkd.core.registry import group_of, kind_of
from mmkd.core.text import shorten
from mmkd.data import Dataset
from mmkd.drawing.confusion import confusion_chart
from mmkd.drawing.labels import labelled_image, labelled_recording
from mmkd.drawing.lines import learning_curves
from mmkd.drawing.series import scored_series
from mmkd.drawing.spectra import FilterSpectra, spectra_chart
from mmkd.drawing.svg import WIDE, add_heading, standalone
from mmkd.drawing.views import views_chart
from mmkd.metrics.detections import SeriesResult
from mmkd.metrics.recordings import stitch

if TYPE_CHECKING:
    from mmkd.training.loop import TrainingResult
    from mmkd.training.preparation import PreparedUnit

History = Sequence[Mapping[str, float]]
Predictions = Mapping[str, NDArray[Any]]


def save_pictures(folder: Path, unit: "PreparedUnit", result: "TrainingResult", predictions: Predictions) -> None:
    """Write `curves.svg`, `confusion.svg`, and one of `views.svg`, `recording.svg` and `image.svg`.

    `views.svg` shows the views of the first test window. If every sample has a label, `recording.svg` shows a test
    recording with its true and predicted labels; if every pixel has one, `image.svg` shows a test image.

    Args:
        folder: the folder of the record.
        predictions: the arrays of its `predictions.npz`.
    """
    data = unit.data
    name = _unit_name(unit)
    if not predictions:
        _save_curves(folder, name, result.history, result.best_epoch + 1)
        return
    save_score_pictures(folder, name, data, predictions, result.history, result.best_epoch + 1)
    if data.form == "step":
        (_save_image if data.grid else _save_recording)(folder, name, data, predictions)
    else:
        _save_views(folder, unit)


def save_score_pictures(
    folder: Path, name: str, data: Dataset, predictions: Predictions, history: History, best_epoch: int
) -> None:
    """Write `curves.svg`, if there is a history, and `confusion.svg`.

    Args:
        name: the name of the network, for headings.
        best_epoch: counted from 1.
    """
    if history:
        _save_curves(folder, name, history, best_epoch)
    true = predictions["true"]
    predicted = predictions["predicted"]
    unit = ("windows", "samples", "pixels")[true.ndim - 1]
    known = true >= 0
    k = len(data.classes)
    counts = np.bincount(true[known] * k + predicted[known], minlength=k * k).reshape(k, k)
    heading = f"{name}: test {unit}"
    description = f"Test {unit} of {name} by true and predicted class"
    chart = confusion_chart("Confusion", description, counts, data.classes, large=True)
    note = "Shade: share of the true class"
    _save(folder / "confusion.svg", chart, heading, note)


def save_series_pictures(
    folder: Path, unit: "PreparedUnit", training_result: "TrainingResult", results: Sequence[SeriesResult]
) -> None:
    """Write `curves.svg`, and `series.svg`: values, events and scores of the series with the median VUS-PR."""
    name = _unit_name(unit)
    if training_result.history:
        _save_curves(folder, name, training_result.history, training_result.best_epoch + 1)
    median = sorted(results, key=lambda result: result.metrics["vus_pr"])[len(results) // 2]
    series = median.series
    heading = f"{name}: {series.name}, VUS-PR {median.metrics['vus_pr']:.3f} (the median series)"
    chart = scored_series(
        "Scored series",
        heading,
        series.x,
        series.labels,
        borders=(series.validation_end, series.prefix_end),
        score=median.score,
        threshold=median.threshold,
    )
    _save(folder / "series.svg", chart, heading)


def save_spectra_picture(folder: Path, unit: "PreparedUnit", filters: Sequence[FilterSpectra]) -> None:
    """Write `spectra.svg`: the spectral filters of the method, and the maps before and after them."""
    heading = f"{_unit_name(unit)}: spectra of its filters"
    note = f"{filters[0].windows} training windows, weights of the last epoch"
    if any(one.kept is not None for one in filters):
        note += "; dashed: where the mask keeps half"
    if any(len(one.size) == 2 for one in filters):
        note += "; heat maps: mean in the middle"
    chart = spectra_chart("Spectra of filters", heading, filters, WIDE)
    _save(folder / "spectra.svg", chart, heading, note)


def _unit_name(unit: "PreparedUnit") -> str:
    return f"{unit.spec.method} on {unit.data.name}, seed {unit.spec.seed}"


def _save(path: Path, chart: ET.Element, heading: str, note: str = "") -> None:
    path.write_text(standalone(add_heading(chart, shorten(heading), note)), encoding="utf-8")


def _save_curves(folder: Path, name: str, history: History, best_epoch: int) -> None:
    chart = learning_curves("Learning curves", f"Loss terms and validation scores of {name}", history, best_epoch)
    _save(folder / "curves.svg", chart, name)


def _save_views(folder: Path, unit: "PreparedUnit") -> None:
    """Write `views.svg`: every view of the first test window or image."""
    data = unit.data
    window = int(np.flatnonzero(data.test)[0])
    heading = f"{data.name}: test {'image' if data.grid else 'window'} {window}, {data.classes[data.y[window]]}"
    views = {name: view.array[window] for name, view in unit.views.items()}
    channels = {name: view_channels(name, unit.spec.views[name], data.channels) for name in views}
    note = "pi: birth to the right, persistence up" if any(kind_of(name) == "pi" for name in views) else ""
    _save(folder / "views.svg", views_chart("Views", heading, views, channels), heading, note)


def view_channels(name: str, config: Mapping[str, Any], channels: Sequence[str]) -> list[str]:
    """Names of the channels of a view: those of its channel group, or all."""
    return [channels[n] for n in config["channels"]] if group_of(name) else list(channels)


def _save_recording(folder: Path, name: str, data: Dataset, predictions: Predictions) -> None:
    """Write `recording.svg`: the first test recording with its true and predicted labels."""
    number = predictions["recording"][0].item()
    first = predictions["recording"] == number
    windows = predictions["window"][first]
    starts = predictions["start"][first]
    true = predictions["true"][first]
    probabilities = predictions["probabilities"][first].astype(np.float32)
    length = int(starts.max()) + data.window
    signal = np.zeros((data.x.shape[1], length), np.float32)
    labels = np.full(length, -1)
    for window, start, y in zip(windows, starts, true, strict=True):
        signal[:, start : start + data.window] = data.x[window]
        labels[start : start + data.window] = y
    (predicted,) = stitch(probabilities.transpose(0, 2, 1), np.zeros_like(starts), starts).values()
    rows = {"true": labels, "predicted": np.where(labels < 0, -1, predicted)}  # only where the true label is known
    heading = f"{name}: test recording {number}"
    chart = labelled_recording("Labelled recording", heading, signal, rows, data.classes, data.rate_hz)
    _save(folder / "recording.svg", chart, heading)


def _save_image(folder: Path, name: str, data: Dataset, predictions: Predictions) -> None:
    """Write `image.svg`: the first test image that has labels, with its true and predicted labels."""
    first = int((predictions["true"] >= 0).any(axis=(1, 2)).argmax())
    window = int(predictions["window"][first])
    maps = {key: predictions[key][first] for key in ("true", "predicted")}
    assert data.grid is not None
    heading = f"{name}: test image {window}"
    image = data.x[window].reshape(-1, *data.grid)
    chart = labelled_image("Labelled image", heading, image, maps, data.classes)
    _save(folder / "image.svg", chart, heading)
