"""An interval of a mean over two crossed samples, such as test subjects and seeds."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.metrics.pairs import RESAMPLES

Floats = NDArray[np.float64]


def crossed_interval(values: ArrayLike, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the bootstrap distribution of the mean of `values` (S, K), say of S subjects under K seeds.

    Subjects and seeds are drawn with replacement, each on their own, and a cell counts as often as its subject times as
    often as its seed was drawn: the pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122. It is somewhat wide where
    neither matters, and it does not take the cells for independent. 10,000 draws from `seed`.

    Args:
        values: NaN where a subject is not in the test part of a seed; at least one is a number.
    """
    table = np.asarray(values, np.float64)
    known = np.isfinite(table)
    rows, columns = _draws(table.shape[0], seed), _draws(table.shape[1], seed + 1)
    sums = np.einsum("rs,sk,rk->r", rows, np.where(known, table, 0.0), columns, optimize=True)
    counts = np.einsum("rs,sk,rk->r", rows, known.astype(np.float64), columns, optimize=True)
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


@lru_cache(maxsize=64)
def _draws(n: int, seed: int) -> Floats:
    """How often each of n things is in each of 10,000 resamples: (10,000, n)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
