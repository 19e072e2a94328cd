"""Every test score of a network from the arrays of its `predictions.npz`.

Records are scored by this function, from the very arrays that are stored: so the scores of a record can be computed
again from its files, to the last bit. Needs numpy alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.metrics.classes import log_loss, reliability
from mmkd.metrics.delineation import delineation_scores
from mmkd.metrics.recordings import StepScores, dense_scores, stitch
from mmkd.metrics.scores import count_scores, window_scores
from mmkd.metrics.steps import IGNORE, Floats, Recording, confusion_matrix

Arrays = Mapping[str, NDArray[Any]]


def prediction_scores(
    arrays: Arrays, classes: int | Sequence[str], rate_hz: float | None = None, delineated: bool = False
) -> dict[str, float]:
    """Every score of test predictions, by name: of windows, of steps joined to recordings, or of pixels.

    Args:
        arrays: `true` (n,) and `probabilities` (n, K) of windows, or `predicted` (n,) where there are none; or `true`
            (n, T), `probabilities` (n, K, T), `recording` and `start` (n,) where every time step has a label; or
            `true` and `predicted` (n, ...) where every pixel has one, with `true_probability` (n, ...), the probability
            of the true class, for `nll`.
        classes: number of classes K, or their K names.
        rate_hz: time steps a second; None if time has no unit.
        delineated: whether onsets and offsets are scored too, as is usual for an ECG.

    Raises:
        MmkdError: no step has a label.
        KeyError: an array is missing.
    """
    true = arrays["true"].astype(np.int64)
    if true.ndim == 1:
        if "probabilities" not in arrays:  # of a peer without them
            size = classes if isinstance(classes, int) else len(classes)
            return count_scores(confusion_matrix(true, arrays["predicted"].astype(np.int64), size), "window")
        return window_scores(true, arrays["probabilities"].astype(np.float64))
    if "recording" not in arrays:
        return _pixel_scores(true, arrays, classes)
    recordings = joined_recordings(arrays)
    scores = dense_scores(recordings, classes, rate_hz)
    if delineated and rate_hz:
        scores |= delineation_scores(recordings, classes, rate_hz)
    if "probabilities" in arrays:
        known = true >= 0
        probabilities = arrays["probabilities"].transpose(0, 2, 1)[known].astype(np.float64)
        scores["nll"] = log_loss(true[known], probabilities)
        scores["ece"] = reliability(true[known], probabilities).error
    return scores


def joined_recordings(arrays: Arrays) -> list[Recording]:
    """The true and predicted classes (T,) of each recording, from its windows; see `stitch`."""
    places = arrays["recording"], arrays["start"]
    true = stitch(arrays["true"].astype(np.int64), *places)
    if "probabilities" in arrays:
        votes = arrays["probabilities"].transpose(0, 2, 1).astype(np.float64)
    else:
        votes = arrays["predicted"].astype(np.int64)
    predicted = stitch(votes, *places)
    return [(steps, predicted[number][: len(steps)]) for number, steps in true.items()]


def _pixel_scores(true: NDArray[np.int64], arrays: Arrays, classes: int | Sequence[str]) -> dict[str, float]:
    """Scores of images, each counted by itself; `nll` where the probabilities of the true classes are there."""
    scores = StepScores(classes)
    for image, predicted in zip(true, arrays["predicted"].astype(np.int64), strict=True):
        scores.add(confusion_matrix(image.ravel(), predicted.ravel(), len(scores.names)))
    found = scores.all()
    if "true_probability" in arrays:
        likelihood: Floats = arrays["true_probability"][true > IGNORE].astype(np.float64)
        found["nll"] = log_loss(np.zeros(len(likelihood), np.int64), likelihood[:, None])
    return found
