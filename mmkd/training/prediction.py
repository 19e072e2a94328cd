"""Predictions and the scores that are read from them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.metrics.pairs import accuracy, log_loss, macro_f1, reliability

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of N predictions.

    Attributes:
        accuracy: share of windows whose class is right.
        macro_f1: mean over the classes that are there (in truth or prediction) of their F1.
        nll: mean negative log-likelihood, in nats.
        ece: expected calibration error of the predicted class, 15 equal bins. Guo et al. 2017, arXiv:1706.04599.
    """

    accuracy: float
    macro_f1: float
    nll: float
    ece: float


def predict(
    network: nn.Module,
    at: Callable[[NDArray[np.int64]], Mapping[str, Tensor]],
    windows: NDArray[np.int64],
    context: AbstractContextManager[object] | None = None,
    batch_size: int = 256,
) -> Probabilities:
    """Class probabilities (n, K), or (n, K, T), in float64 of the windows with these numbers, in evaluation mode."""
    network.eval()
    parts = []
    with torch.no_grad(), context or nullcontext():
        for start in range(0, len(windows), batch_size):
            logits = network(at(windows[start : start + batch_size])).logits
            parts.append(torch.softmax(logits.double(), dim=1).cpu().numpy())
    return np.concatenate(parts)


def scores(y: NDArray[np.int64], probabilities: Probabilities) -> Scores:
    """Scores of `probabilities` (n, K) against the classes `y` (n,)."""
    predicted = probabilities.argmax(1)
    return Scores(
        accuracy=accuracy(y, predicted),
        macro_f1=macro_f1(y, predicted),
        nll=log_loss(y, probabilities),
        ece=reliability(y, probabilities).error,
    )


def mixture_shares(y: NDArray[np.int64], each: Sequence[Probabilities], rounds: int = 1000) -> NDArray[np.float64]:
    """Shares of M predictors, summing to 1, whose mixture has the lowest negative log-likelihood.

    The problem is convex; expectation maximisation from equal shares finds its minimum. Dempster, Laird, Rubin 1977.

    Args:
        y: (n,) classes.
        each: M arrays (n, K) of probabilities.
    """
    likelihood = np.stack([np.maximum(p[np.arange(len(y)), y], 1e-12) for p in each])  # (M, n)
    shares = np.full(len(each), 1 / len(each))
    for _ in range(rounds):
        joint = shares[:, None] * likelihood
        shares = (joint / joint.sum(0)).mean(1)
    return shares
