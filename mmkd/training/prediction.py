"""Predictions and the scores that are read from them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Probabilities = NDArray[np.float64]


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
