"""The best of few: what a smaller budget of tuning would have found, from the scores of all that was tried."""

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike


def best_of(first: float, others: ArrayLike, budget: int) -> float:
    """The expected best score of so many configurations: the first, and `budget - 1` of the others drawn at random.

    It is the mean over all orders in which the others may be tried, and exact: of m others in ascending order the j-th
    is the best of k with the probability C(j - 1, k - 1) / C(m, k). Higher scores are better.

    Args:
        first: score of the configuration that is tried in any case, the published default.
        others: (m,) scores of all others.
        budget: 1 to m + 1.

    >>> best_of(0.5, [0.2, 0.8], 2)
    0.65
    """
    values, chances = _distribution(first, others, budget)
    return float(values @ chances)


def best_of_range(first: float, others: ArrayLike, budget: int, level: float = 0.9) -> tuple[float, float]:
    """The middle `level` of the best scores over all such orders: between these ends they lie so often.

    An end is the smallest score at which the distribution function reaches its share.
    """
    values, chances = _distribution(first, others, budget)
    reached = np.cumsum(chances)
    tail = (1 - level) / 2
    low, high = (int(np.searchsorted(reached, share - 1e-12)) for share in (tail, 1 - tail))
    return float(values[low]), float(values[min(high, len(values) - 1)])


def budgets_up_to(count: int, usual: Sequence[int]) -> list[int]:
    """Those budgets that so many configurations suffice for, and the count itself as the last.

    >>> budgets_up_to(12, (1, 5, 10, 25))
    [1, 5, 10, 12]
    """
    return sorted({*(budget for budget in usual if budget < count), count})


def _distribution(first: float, others: ArrayLike, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """The best scores that may come out, ascending, and the probability of each."""
    scores = np.sort(np.asarray(others, np.float64))
    drawn = budget - 1
    if not 0 <= drawn <= len(scores):
        raise ValueError(f"a budget of {budget} of {len(scores) + 1} configurations")
    if drawn == 0:
        return np.array([first]), np.ones(1)
    all_ways = comb(len(scores), drawn)
    chances = np.array([comb(j, drawn - 1) / all_ways for j in range(len(scores))])
    return np.maximum(scores, first), chances
