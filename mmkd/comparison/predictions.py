"""Predictions of records: read, put together, and held against each other. Needs neither torch nor mlflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.metrics import classes
from mmkd.metrics.scores import window_scores
from mmkd.store.record import Record


@dataclass(frozen=True)
class Predictions:
    """What a record says of the test windows; `probabilities` (n, K) where a window has one label."""

    window: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None


@dataclass(frozen=True)
class JointPrediction:
    """What one or several networks say together of the test windows.

    Attributes:
        each: the classes that the mean of their probabilities predicts; of labels of steps, those of each network.
        scores: of the mean; empty where every step has a label.
        bound: of the best of the networks, window by window: an upper bound for whoever chooses among them.
    """

    window: NDArray[np.int64]
    true: NDArray[np.int64]
    each: tuple[NDArray[np.int64], ...]
    scores: Mapping[str, float]
    bound: Mapping[str, float] = field(default_factory=dict)

    def agreement(self, other: "JointPrediction") -> float | None:
        """Share of windows, or labelled steps, on which this one says what the other does; None of other windows."""
        if not _same(self, other):
            return None
        known = self.true >= 0
        return float(np.mean([classes.accuracy(self.each[0][known], each[known]) for each in other.each]))


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(one.window, other.window) and np.array_equal(one.true, other.true)


def read_predictions(record: Record) -> Predictions | str:
    """The predictions of a record, or why they cannot be read."""
    try:
        with np.load(record.file("predictions.npz"), allow_pickle=False) as z:
            window, true, predicted = (z[name].astype(np.int64) for name in ("window", "true", "predicted"))
            single = true.ndim == 1 and "probabilities" in z.files
            probabilities = z["probabilities"].astype(np.float64) if single else None
    except MmkdError as error:
        return str(error)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        return f"predictions of {record.key}: {type(error).__name__}: {error}"
    n = len(window)
    fits = true.shape == predicted.shape and len(true) == n > 0
    if probabilities is not None:
        fits = fits and probabilities.ndim == 2 and len(probabilities) == n and int(true.max()) < probabilities.shape[1]
    return Predictions(window, true, predicted, probabilities) if fits else f"predictions of {record.key}: wrong shapes"


def together(found: Sequence[Predictions | str]) -> JointPrediction | str:
    """Several networks as one, by the mean of their probabilities."""
    whole = [each for each in found if isinstance(each, Predictions)]
    if len(whole) < len(found):
        return next(each for each in found if isinstance(each, str))
    first = whole[0]
    if not all(_same(first, each) for each in whole):
        return "its teachers were not tested on the same windows"
    probabilities = [each.probabilities for each in whole if each.probabilities is not None]
    if len(probabilities) < len(whole) or len({p.shape for p in probabilities}) > 1:
        return JointPrediction(first.window, first.true, tuple(each.predicted for each in whole), {})
    mean = classes.mean_of(probabilities)
    predicted = mean.argmax(1)
    best = best_of(first.true, probabilities)
    bound = window_scores(first.true, best)
    return JointPrediction(first.window, first.true, (predicted,), window_scores(first.true, mean), bound)


def best_of(true: NDArray[np.int64], each: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """For each window the probabilities (n, K) of the network that knows it best.

    That is one that predicts the true class, where there is one; of several, the one that gives it most.
    """
    every, rows = np.stack(each), np.arange(len(true))
    right, given = every.argmax(2) == true, every[:, rows, true]
    chosen: NDArray[np.float64] = every[np.argmax(right + given / 2, axis=0), rows]
    return chosen
