"""Predict classes of windows with a network."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Probabilities = NDArray[np.float64]


def predict(
    network: nn.Module,
    load_views: Callable[[NDArray[np.int64]], Mapping[str, Tensor]],
    windows: NDArray[np.int64],
    context: AbstractContextManager[object] | None = None,
    batch_size: int = 256,
) -> Probabilities:
    """Class probabilities of windows, computed batch by batch in evaluation mode.

    Args:
        load_views: indices (B,) -> the views of these windows, {modality: (B, ...)}.
        windows: (n,) indices.
        context: entered while the network runs, such as `autocast`.

    Returns:
        (n, K), or (n, K, T) if every time step has a label; float64.
    """
    network.eval()
    parts = []
    with torch.no_grad(), context or nullcontext():
        for start in range(0, len(windows), batch_size):
            logits = network(load_views(windows[start : start + batch_size])).logits
            parts.append(torch.softmax(logits.double(), dim=1).cpu().numpy())
    return np.concatenate(parts)
