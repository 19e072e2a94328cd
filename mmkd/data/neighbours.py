"""Windows that follow each other in a file: whether neighbours overlap or continue each other, and copies up to scale.

Windows of one recording flatter every method where they lie in the training and in the test part. `copies` finds shared
samples; here is what is left where windows were cut without overlap, or each was scaled by itself.
"""

import numpy as np
from numpy.typing import NDArray

PAIRS = (20, 200)
"""Pairs of neighbours that are looked at; of long windows fewer."""
PRODUCTS = 100_000_000
"""Products of samples, over all pairs, channels and steps."""
CHANNELS = 8
"""Channels that are compared."""
SAME = 1e-4
"""1 - r of two scaled parts that are the same."""
COPY = 1e-6
"""1 - r of two windows that are copies; of different windows of smooth archives it comes down to 6e-6."""
VALUES = (64, 1024)
"""Values of a window that are compared; of many windows fewer."""
ALL_VALUES = 50_000_000
"""Values that are compared of all windows."""
TESTED = 2000
"""Test windows that are compared with all others."""
DISTANCES = 1_000_000
"""Distances that are in memory at a time."""
BLOCK = 2_000_000
"""Values of windows whose shapes are in memory at a time."""

Flags = NDArray[np.bool_]


def overlapping_lag(x: NDArray[np.float32]) -> int:
    """The step at which most neighbours overlap, each scaled by itself; 0 if they do not.

    Args:
        x: (N, C, W), in file order.
    """
    first, second = _neighbours(x)
    width = x.shape[2]
    for lag in range(1, width - max(8, width // 8) + 1):
        distance = _distance(first[:, :, lag:], second[:, :, : width - lag])
        if len(distance) and np.mean(np.max(distance, axis=1) < SAME) > 0.5:
            return lag
    return 0


def continue_each_other(x: NDArray[np.float32]) -> bool:
    """Whether most windows begin where the window before ends, as of a recording that is cut without a gap.

    The step from window to window is then as small as one inside a window, and far smaller than to any other window.
    """
    first, second = _neighbours(x)
    if not len(first) or x.shape[2] < 2:
        return False
    inside = np.median(np.abs(np.diff(first, axis=2)), axis=(0, 2))
    used = inside > 0
    if not used.any():
        return False
    other = np.random.default_rng(0).permutation(len(first))
    step = np.abs(second[:, used, 0] - first[:, used, -1]) / inside[used]
    random = np.abs(second[other][:, used, 0] - first[:, used, -1]) / inside[used]
    return bool((np.median(step, axis=0) < np.minimum(3, 0.3 * np.median(random, axis=0))).all())


def beside_training(test: Flags, distance: int) -> int:
    """How many test windows have a window of another part among their neighbours up to `distance` in the file."""
    found = np.zeros(len(test), bool)
    for step in range(1, min(distance, len(test) - 1) + 1):
        found[step:] |= ~test[:-step]
        found[:-step] |= ~test[step:]
    return int((found & test).sum())


def scaled_copies(x: NDArray[np.float32], test: Flags) -> int:
    """How many test windows are copies of another part's window, up to an offset a channel, a factor and rounding.

    Candidates are nearest in a random projection. Of many test windows `TESTED` are looked at, and the number is
    estimated from theirs.
    """
    n, channels, width = x.shape
    largest = np.float32(max(float(x.max()), -float(x.min())) or 1.0)
    values = max(VALUES[0], min(VALUES[1], ALL_VALUES // n))
    every = max(1, channels * width // values)
    positions = np.arange(n)
    blocks = np.array_split(positions, -(-n * channels * width // BLOCK))
    directions = np.random.default_rng(0).standard_normal((channels * -(-width // every), 12)).astype(np.float32)
    projected = np.empty((n, 12), np.float32)
    some = np.empty(n, bool)
    for block in blocks:
        shapes, norm = _shapes(x[block], every, largest)
        projected[block] = shapes @ directions
        some[block] = norm > 1e-6
    tested, others = np.flatnonzero(test & some), np.flatnonzero(~test & some)
    if not len(tested) or not len(others):
        return 0
    chosen = tested[:: -(-len(tested) // TESTED)]
    nearest = others[_nearest(projected[chosen], projected[others])]
    copies = 0
    for part in np.array_split(np.arange(len(chosen)), -(-len(chosen) * channels * width // BLOCK)):
        own, other = (_shapes(x[rows[part]], every, largest)[0] for rows in (chosen, nearest))
        copies += int((np.square(own - other).sum(axis=1) / 2 < COPY).sum())
    return round(copies / len(chosen) * len(tested))


def _shapes(x: NDArray[np.float32], every: int, largest: np.float32) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windows without their offset a channel, scaled to norm 1, and their norms, of every so many-th sample."""
    thin = x[:, :, ::every] / largest
    thin -= thin.mean(axis=2, keepdims=True)
    flat = thin.reshape(len(x), -1)
    norm = np.linalg.norm(flat, axis=1)
    flat /= np.maximum(norm, np.finfo(np.float32).tiny)[:, None]
    return flat, norm


def _nearest(points: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each of P points (P, k) the number of the nearest of M others (M, k), some points at a time.

    Half the squared distance is |other|² / 2 - <point, other>, but for a term of the point alone. In 12 dimensions
    these products take less time than a tree, and less than loading one.
    """
    halves = np.square(others, dtype=np.float64).sum(axis=1) / 2
    with_halves = np.column_stack([-others, halves])
    with_ones = np.column_stack([points, np.ones(len(points))]).astype(np.float64)
    rows = -(-DISTANCES // len(others))
    parts = (with_ones[start : start + rows] for start in range(0, len(points), rows))
    return np.concatenate([np.argmin(part @ with_halves.T, axis=1) for part in parts])


def _neighbours(x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P, C, W) twice: some windows, evenly spaced, and the window after each."""
    channels = x[:, :CHANNELS]
    pairs = min(PAIRS[1], max(PAIRS[0], PRODUCTS // (channels.shape[1] * x.shape[2] ** 2)))
    starts = np.unique(np.linspace(0, len(x) - 2, pairs).astype(int)) if len(x) > 1 else np.zeros(0, int)
    return channels[starts].astype(np.float64), channels[starts + 1].astype(np.float64)


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, C) 1 - r of two parts (P, C, n); 1 where one of them is constant."""
    a = a - a.mean(axis=2, keepdims=True)
    b = b - b.mean(axis=2, keepdims=True)
    size = np.sqrt(np.square(a).sum(axis=2) * np.square(b).sum(axis=2))
    return np.where(size > 0, 1 - (a * b).sum(axis=2) / np.where(size > 0, size, 1), 1.0)
