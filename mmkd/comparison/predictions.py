"""Predictions of records: read, averaged, and compared with each other. Needs neither torch nor mlflow."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, ScoreWarning
from mmkd.core.refusal import Refusal
from mmkd.metrics.classes import accuracy, mean_of
from mmkd.metrics.fidelity import Answers
from mmkd.metrics.recordings import StepScores
from mmkd.metrics.registry import METRICS, checksum_field, count_metrics
from mmkd.metrics.reproduction import joined_recordings
from mmkd.metrics.scores import window_scores
from mmkd.metrics.steps import Recording, confusion_matrix
from mmkd.store.record import Record
from mmkd.tasks import TASKS

NOT_TRAVELLED = "records from elsewhere (--records, --with) came without predictions"
"""Why nothing is shown that needs the predictions of a record that travelled."""
SMALL_BYTES, KEPT_FILES = 32 << 10, 1024
"""Files of predictions up to this size are kept in memory once they are read, and so many of them."""
MOST_GROUPS = 200
"""Groups of windows that a bootstrap draws at most, where neither subjects nor recordings are known."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of a record for the test windows; `probabilities` (n, K) where a window has one label.

    Attributes:
        drawn: "subject" and the subjects (n,) of the windows; or "recording", or "window" where these are not known.
    """

    window: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    drawn: tuple[str, NDArray[Any]] | None = None


@dataclass(frozen=True)
class WindowGroups:
    """The test windows by subject, or by recording where subjects are not known, or each window by itself.

    Attributes:
        of: "subject", "recording" or "window"; of over 200 windows each of 200 random groups counts as one, which
            costs less and gives intervals of the same width.
        names: (S,) in order; number: (n,) which of them a window belongs to.
    """

    of: str
    names: NDArray[Any]
    number: NDArray[np.int64]


@dataclass(frozen=True)
class JointPrediction:
    """The prediction of one or several networks together for the test windows.

    Attributes:
        predicted: the classes that the mean of their probabilities predicts; of labels of steps, those of each network.
        scores: of the mean; empty where every step has a label.
        bound: of the best of the networks, window by window: an upper bound for whoever chooses among them.
        probabilities: (n, K), the mean; None where every step has a label.
        drawn: of the windows, as the first network has them.
    """

    window: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: tuple[NDArray[np.int64], ...]
    scores: Mapping[str, float]
    bound: Mapping[str, float] = field(default_factory=dict)
    probabilities: NDArray[np.float64] | None = None
    drawn: tuple[str, NDArray[Any]] | None = None

    @cached_property
    def answers(self) -> Answers:
        """The answers of one network, or of the mean of several, to the labelled samples."""
        known = self.true >= 0
        probabilities = self.probabilities if self.probabilities is None else self.probabilities[known]
        return Answers(self.predicted[0][known], probabilities)

    @cached_property
    def groups(self) -> WindowGroups | None:
        """The windows by what a bootstrap draws together."""
        if self.drawn is None:
            return None
        of, values = self.drawn
        if of != "window":
            names, number = np.unique(values.astype(str), return_inverse=True)
            return WindowGroups(of, names, number)
        if len(values) <= MOST_GROUPS:
            names, number = np.unique(values, return_inverse=True)
        else:  # neighbours come into groups far apart, by the golden ratio; which one depends on the window alone
            spread = (values.astype(np.uint64) * np.uint64(2654435769)) % np.uint64(1 << 32)
            names, number = np.unique((spread * np.uint64(MOST_GROUPS)) >> np.uint64(32), return_inverse=True)
        return WindowGroups("window", names, number)

    def agreement(self, other: "JointPrediction") -> float | None:
        """Share of windows, or labelled steps, where both predict the same class; None if their windows differ."""
        if not same_windows(self, other):
            return None
        known = self.true >= 0
        return float(np.mean([accuracy(self.predicted[0][known], classes[known]) for classes in other.predicted]))


def same_windows(one: Predictions | JointPrediction, other: Predictions | JointPrediction) -> bool:
    """Whether both are of the same test windows, with the same labels."""
    return np.array_equal(one.window, other.window) and np.array_equal(one.true, other.true)


def one_class_note(name: str, records: Sequence[Record]) -> list[str]:
    """A line for networks that predict one class for all test windows, as after a training that diverged; else none.

    Args:
        name: of the row.
        records: its units; those without predictions of windows are left out.
    """
    found = [read_predictions(record) for record in records if (record.folder / "predictions.npz").exists()]
    windows = [read for read in found if isinstance(read, Predictions) and read.true.ndim == 1]
    single = [read for read in windows if len(np.unique(read.predicted)) == 1 < len(np.unique(read.true))]
    if not single:
        return []
    units = "" if len(windows) == 1 else f" in {len(single)} of {len(windows)} units"
    return [f"{name}: one class is predicted for all test windows{units}; did the training diverge, or hardly begin?"]


def read_predictions(record: Record) -> Predictions | Refusal:
    """The predictions of a record, or why they cannot be read; their arrays are read-only.

    A comparison asks for them several times: those of small files are kept.
    """
    if not record.has_files:
        return Refusal(NOT_TRAVELLED)
    try:
        path = record.file("predictions.npz")  # its checksum is looked at each time
        facts = path.stat()
    except MmkdError as error:
        return Refusal(str(error))
    except OSError as error:
        return _unreadable(record.key, error)
    read = _read_file if facts.st_size <= SMALL_BYTES else _read_file.__wrapped__
    return read(record.key, path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=KEPT_FILES)
def _read_file(key: str, path: Path, size: int, changed_ns: int) -> Predictions | Refusal:
    """The predictions in a file of a record; its size and time are there for what is kept of it alone."""
    try:
        with np.load(path, allow_pickle=False) as z:
            window, true, predicted = (z[name].astype(np.int64) for name in ("window", "true", "predicted"))
            single = true.ndim == 1 and "probabilities" in z.files
            probabilities = z["probabilities"].astype(np.float64) if single else None
            drawn = _drawn_by(z, window)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        return _unreadable(key, error)
    n = len(window)
    fits = true.shape == predicted.shape and len(true) == n > 0
    if probabilities is not None:
        fits = fits and probabilities.ndim == 2 and len(probabilities) == n and int(true.max()) < probabilities.shape[1]
    if not fits:
        return Refusal(f"predictions of {key}: wrong shapes")
    for array in (window, true, predicted, probabilities, drawn[1]):
        if array is not None:
            array.flags.writeable = False
    return Predictions(window, true, predicted, probabilities, drawn)


def _unreadable(key: str, error: Exception) -> Refusal:
    return Refusal(f"predictions of {key}: {type(error).__name__}: {error}")


def _drawn_by(arrays: Mapping[str, NDArray[Any]], window: NDArray[np.int64]) -> tuple[str, NDArray[Any]]:
    """What the test windows of `predictions.npz` are drawn by: their subjects, or recordings, or numbers."""
    for name in ("subject", "recording"):
        if name in arrays and arrays[name].shape == window.shape:
            return name, arrays[name]
    return "window", window


def missing_scores(record: Record) -> dict[str, float]:
    """The metrics of classes that a record does not have because it is older than they are, from its predictions.

    Empty where nothing is missing, or the predictions cannot be read. Of a task with labels of steps they are means
    over recordings, as in `metrics.recordings`.
    """
    form = TASKS.get(record.spec.task).form
    missing = [metric.name for metric in count_metrics(form) if metric.name not in record.metrics.test]
    return _computed_scores(record, missing)


def with_current_scores(record: Record) -> Record:
    """The record with the scores of plugins' metrics as their present code computes them from its predictions.

    A metric is no part of keys, so a record may hold the score of an older text. A score that cannot be computed again
    is left out, with a `ScoreWarning`.
    """
    recorded = record.result.get("metric_sha256") or {}
    checksums = checksum_field().get("metric_sha256", {})
    test = record.metrics.test
    edited = [name for name, checksum in checksums.items() if name in test and recorded.get(name) != checksum]
    if not edited:
        return record
    metrics = {part: {name: s[name] for name in s if name not in edited} for part, s in record.metrics.items()}
    metrics["test"] |= _computed_scores(record, edited)
    for name in (name for name in edited if name not in metrics["test"]):
        line = f"metric {name!r}: its text has changed, and predictions on record are missing or it fails on them"
        warnings.warn(
            f"{line}; left out there", ScoreWarning, stacklevel=1
        )  # always from this line, so that it is shown once
    return replace(record, result={**record.result, "metrics": metrics})


def _computed_scores(record: Record, missing: Sequence[str]) -> dict[str, float]:
    """These metrics of classes from the predictions of a record; empty if they cannot be read."""
    task = TASKS.get(record.spec.task)
    if not missing or not task.has_predictions:
        return {}
    try:
        if task.per_window and any(METRICS.get(name).of_probabilities for name in missing):
            predictions = read_predictions(record)
            if isinstance(predictions, Refusal) or predictions.probabilities is None:
                return {}
            known = window_scores(predictions.true, predictions.probabilities, strict=False)
            return {name: known[name] for name in missing if name in known}
        scores = StepScores(_count_classes(record), task.form, strict=False)
        for true, predicted in _recordings(record):
            scores.add(confusion_matrix(true, predicted, len(scores.names)))
        means = scores.means()
    except (MmkdError, OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}
    return {name: means[name] for name in missing if name in means}


def _count_classes(record: Record) -> int:
    with np.load(record.file("predictions.npz"), allow_pickle=False) as z:
        return int(max(z["true"].max(initial=0), z["predicted"].max(initial=0))) + 1


def _recordings(record: Record) -> list[Recording]:
    """True and predicted classes (T,): all windows as one, or each recording or image with a label a step."""
    with np.load(record.file("predictions.npz"), allow_pickle=False) as z:
        true = z["true"].astype(np.int64)
        predicted = z["predicted"].astype(np.int64)
        if true.ndim == 1:
            return [(true, predicted)]
        if "recording" not in z.files:
            return [(one.ravel(), other.ravel()) for one, other in zip(true, predicted, strict=True)]
        return joined_recordings({name: z[name] for name in z.files})


def combine(members: Sequence[Predictions | Refusal]) -> JointPrediction | Refusal:
    """Several networks as one, by the mean of their probabilities; the first refusal where there is one.

    `scores` and `bound` are of several networks alone.
    """
    predictions = []
    for member in members:
        if isinstance(member, Refusal):
            return member
        predictions.append(member)
    first = predictions[0]
    if not all(same_windows(first, other) for other in predictions):
        return Refusal("its teachers were not tested on the same windows")
    probabilities = [other.probabilities for other in predictions if other.probabilities is not None]
    if len(probabilities) < len(predictions) or len({p.shape for p in probabilities}) > 1:
        each = tuple(other.predicted for other in predictions)
        return JointPrediction(first.window, first.true, each, {}, drawn=first.drawn)
    mean = mean_of(probabilities)
    own, bound = {}, {}
    if len(predictions) > 1:  # of one they are in its record
        own = window_scores(first.true, mean, strict=False)
        bound = window_scores(first.true, best_of(first.true, probabilities), strict=False)
    return JointPrediction(first.window, first.true, (mean.argmax(1),), own, bound, mean, first.drawn)


def best_of(true: NDArray[np.int64], networks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """For each window the probabilities (n, K) of the network that predicts it best.

    That is one that predicts the true class, where there is one; of several, the one with its highest probability.
    """
    stacked = np.stack(networks)
    rows = np.arange(len(true))
    right = stacked.argmax(2) == true
    probability = stacked[:, rows, true]
    best: NDArray[np.float64] = stacked[np.argmax(right + probability / 2, axis=0), rows]
    return best
