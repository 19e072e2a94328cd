"""The base class of peers, and the temperature that brings their scores to the scale of logits."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Signals = Sequence[NDArray[np.float32]]
"""Signals of the same n windows, (n, C, W) each; several where a student reads groups of channels, or several rates. Of
images the pixels, (n, F)."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Peer:
    """A classifier of windows.

    Class attributes:
        text: one line about it.
        has_probabilities: whether the softmax of its logits is a probability; else only their order means something.
        images: whether it reads images, as pixels (n, F).
        revision: raised by one when it computes something else; part of the keys of its results.

    Attributes:
        made_with: the package that did the work, with its version, for the record.
        notes: one line for each thing that a reader of its scores should know.
    """

    text: ClassVar[str] = ""
    has_probabilities: ClassVar[bool] = True
    images: ClassVar[bool] = False
    revision: ClassVar[int] = 1

    def __init__(self) -> None:
        self.made_with = ""
        self.notes: list[str] = []

    def fit(self, x: Signals, y: Ints, classes: int, seed: int) -> Self:
        """Fit the classifier. Returns itself.

        Args:
            x: signals of the training windows.
            y: (n,) classes, from 0 to `classes` - 1; a class may be absent.
            classes: number of classes K.
            seed: of everything random.

        Raises:
            MmkdError: it cannot be fitted on these windows, or a package is missing.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no fit")

    def logits(self, x: Signals) -> Floats:
        """Scores (n, K) whose largest is the predicted class."""
        raise NotImplementedError(f"{type(self).__name__} defines no logits")


def all_classes(scores: NDArray[Any], present: NDArray[Any], classes: int, absent: float) -> Floats:
    """Scores (n, K) of all classes, from those (n, k) of the classes that a classifier was fitted on.

    Args:
        present: (k,) numbers of these classes.
        absent: the score of the others.

    >>> all_classes(np.array([[2.0, 3.0]]), np.array([0, 2]), 3, -1.0)
    array([[ 2., -1.,  3.]])
    """
    full = np.full((len(scores), classes), absent)
    full[:, present] = scores
    return full


def softmax(logits: NDArray[Any]) -> Floats:
    """Probabilities (n, K) of logits (n, K)."""
    shifted = np.asarray(logits, np.float64)
    powers: Floats = np.exp(shifted - shifted.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers


def best_temperature(logits: NDArray[Any], y: Ints) -> float:
    """The temperature T for which softmax(logits / T) fits labels best; from 1/100 to 100.

    Temperature scaling of Guo et al., ICML 2017, arXiv:1706.04599: the mean cross-entropy is the lowest. As Platt does
    it (1999), 1 / (n + 2) of each label is spread over the other classes, so that a classifier without an error has a
    finite scale. The loss is convex in 1 / T, so that a search by thirds of log T finds the best one.

    Args:
        logits: (n, K) of windows that the classifier was not fitted on.
        y: (n,) their classes.
    """
    logits = np.asarray(logits, np.float64)
    n, classes = logits.shape
    spread = 1 / (n + 2)
    targets = np.full((n, classes), spread / (classes - 1))
    targets[np.arange(n), y] = 1 - spread

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(1, keepdims=True)
        logarithms = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-(targets * logarithms).sum(1).mean())

    low, high = np.log(0.01), np.log(100.0)
    for _ in range(80):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        if loss(one) <= loss(other):
            high = other
        else:
            low = one
    return float(np.exp((low + high) / 2))
