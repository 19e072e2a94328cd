"""The entropy of softened probabilities, and the factor on logits that gives them the same entropy as others."""

import torch
from torch import Tensor

STEPS = 100
"""Halvings of the interval in which the factor is searched."""
WIDEST = 1e6
"""The highest factor; the lowest is its inverse."""


def mean_entropy(logits: Tensor, temperature: float) -> float:
    """The mean entropy of softmax(logits / T) in nats, over samples (and steps), from (N, K) or (N, K, T).

    >>> import torch
    >>> round(mean_entropy(torch.zeros(3, 4), 2.0), 6)  # ln 4
    1.386294
    """
    log_p = torch.log_softmax(logits.double() / temperature, 1)
    return float(-(log_p.exp() * log_p).sum(1).mean())


def entropy_factor(logits: Tensor, temperature: float, entropy: float) -> float:
    """The factor c > 0 with which the mean entropy of softmax(c logits / T) is `entropy`.

    The entropy falls as c grows, so that c is found by bisection. Where no factor reaches `entropy`, c is the one that
    comes nearest, from 1e-6 to 1e6.

    Args:
        logits: (N, K) or (N, K, T).
        temperature: T.
        entropy: in nats.

    >>> import torch
    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> round(entropy_factor(logits, 4.0, mean_entropy(2.5 * logits, 4.0)), 6)
    2.5
    """
    low, high = 1 / WIDEST, WIDEST
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        if mean_entropy(middle * logits.double(), temperature) > entropy:
            low = middle
        else:
            high = middle
    return float((low * high) ** 0.5)
