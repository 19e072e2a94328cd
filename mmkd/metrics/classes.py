"""Scores of predicted classes, of windows or of steps alike, from labels and probabilities. Needs numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def accuracy(y: Ints, predicted: Ints) -> float:
    """Share of classes (n,) that are right; of two predictors their agreement."""
    return float((np.asarray(y) == np.asarray(predicted)).mean())


def macro_f1(y: Ints, predicted: Ints) -> float:
    """Mean F1 over the classes in truth or prediction."""
    scores = []
    for label in np.union1d(y, predicted):
        true = y == label
        positive = predicted == label
        scores.append(2 * int((true & positive).sum()) / (int(true.sum()) + int(positive.sum())))
    return float(np.mean(scores))


def log_loss(y: Ints, probabilities: Probabilities) -> float:
    """Mean negative log-likelihood of classes (n,) under probabilities (n, K), in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-300)).mean())


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over the confidence of the predicted class: share of windows, mean confidence, accuracy.

    Of an empty bin confidence and accuracy are 0.
    """

    share: tuple[float, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: mean of |accuracy - confidence|, weighted by the bins' shares."""
        rows = zip(self.share, self.confidence, self.accuracy, strict=True)
        return sum(share * abs(right - sure) for share, sure, right in rows)


def reliability(y: Ints, probabilities: Probabilities, bins: int = 15) -> Reliability:
    """Confidence and accuracy of probabilities (n, K) in bins ]i / bins, (i + 1) / bins]. Guo et al. 2017."""
    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == y).astype(np.float64)
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    filled = np.maximum(counts, 1)
    sure, hits = (np.bincount(which, values, minlength=bins) / filled for values in (confidence, right))
    return Reliability(tuple((counts / len(y)).tolist()), tuple(sure.tolist()), tuple(hits.tolist()))


def mean_of(predictors: Sequence[ArrayLike]) -> Probabilities:
    """The mean (n, K) of the probabilities of M predictors, in float64."""
    stacked: Probabilities = np.mean([np.asarray(p, np.float64) for p in predictors], axis=0)
    return stacked


def mixture_shares(
    y: NDArray[np.int64], predictors: Sequence[Probabilities], rounds: int = 1000
) -> NDArray[np.float64]:
    """Shares of M predictors, summing to 1, whose mixture has the lowest negative log-likelihood.

    The problem is convex; expectation maximisation from equal shares finds its minimum. Dempster, Laird, Rubin 1977.

    Args:
        y: (n,) classes.
        predictors: M arrays (n, K) of probabilities.
    """
    likelihood = np.stack([np.maximum(p[np.arange(len(y)), y], 1e-12) for p in predictors])  # (M, n)
    shares = np.full(len(predictors), 1 / len(predictors))
    for _ in range(rounds):
        joint = shares[:, None] * likelihood
        shares = (joint / joint.sum(0)).mean(1)
    return shares
