"""Windows that share samples with windows of another part: overlapping neighbours, and recordings that are there twice.

Samples are compared by hashes of short runs, over all channels at once, so that shared samples are found wherever they
lie in the two windows. Runs that say nothing, such as those of a resting sensor, are left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 8, 32
"""Samples of a run; between them it is an eighth of a window. Coarse values, equal by chance, need longer ones."""
LEAST_CHANGES = 0.75
"""Share of the steps of a run at which some channel must change; others are runs of a resting or coarse signal."""
SPARE_BITS = 10.0
"""Two runs are equal by chance in fewer than one of 2^SPARE_BITS data sets."""
SAMPLE = 1 << 17
"""Samples from which the information of a run is estimated."""
FEW = 10
"""With fewer equal pairs than this the information of a sample is that of a pair, divided by two."""
MOST_RUNS = 4_000_000
"""Runs that are compared; of larger data sets those are, whose hash ends in zeros, the same in every window."""
BLOCK = 2_000_000
"""Values that are hashed at a time."""
LEVELS = 64
"""Levels of the shape of three samples, equally frequent."""
SHAPES = 200_000
"""Shapes of a channel from which the levels are taken."""
BESIDE = 1e-4
"""Radians by which a border of levels lies beside a frequent shape, so that rounding does not move it across."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Copies:
    """Which windows have runs of samples, or all samples, in common.

    Attributes:
        run, window: (R,), a run's number, and a window that it occurs in, of the runs that occur more than once.
        whole: (N,), the same number for windows that are equal in every sample; -1 for windows that say nothing.
        length: samples in a run.
    """

    run: NDArray[np.int64]
    window: NDArray[np.int32]
    whole: NDArray[np.int64]
    length: int

    def sharing(self, test: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(N,) bool, the test windows that share a run of samples with a window that is none."""
        return _on_both_sides(self.run, self.window, test)

    def equal(self, test: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(N,) bool, the test windows that are equal to a window that is none."""
        known = np.flatnonzero(self.whole >= 0)
        return _on_both_sides(self.whole[known], known, test)


def _on_both_sides(
    group: NDArray[np.int64], window: NDArray[np.integer[Any]], test: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The test windows in a group that has windows of both sides; a group is given by the number of each of them."""
    found = np.zeros(len(test), bool)
    if len(group):
        outside = np.zeros(int(group.max()) + 1, bool)
        outside[group[~test[window]]] = True
        found[window[test[window] & outside[group]]] = True
    return found


def shape_levels(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The shape of each three samples, which neither an offset nor a factor of a window's channel changes.

    It is the angle of the two steps between them, in levels that are equally frequent in a channel. Windows that
    overlap have the same levels there, though each was scaled by itself.

    Args:
        x: (N, C, W) finite, W >= 3.

    Returns:
        (N, C, W - 2) whole numbers below `LEVELS`.
    """
    n, channels, width = x.shape
    some = _angles(x[:: max(1, n * width // SHAPES)])
    shares = np.arange(1, LEVELS) / LEVELS
    borders = [np.unique(np.quantile(some[:, channel], shares)) + BESIDE for channel in range(channels)]
    levels = np.empty((n, channels, width - 2), np.float32)
    step = max(1, BLOCK // (channels * width))
    for start in range(0, n, step):
        angles = _angles(x[start : start + step])
        for channel in range(channels):
            levels[start : start + step, channel] = np.searchsorted(borders[channel], angles[:, channel])
    return levels


def _angles(x: NDArray[np.float32]) -> NDArray[np.float64]:
    steps = np.diff(x.astype(np.float64), axis=2)
    return np.arctan2(steps[:, :, 1:], steps[:, :, :-1])


def find_copies(x: NDArray[np.float32]) -> Copies:
    """Find the runs of samples that windows have in common.

    Args:
        x: (N, C, W) finite.
    """
    n, channels, width = x.shape
    length = _run_length(x)
    per_window = width - length + 1
    keep = 1
    while n * per_window / keep > MOST_RUNS:
        keep *= 2
    hashes, windows, whole = [], [], []
    step = max(1, BLOCK // (channels * width))
    for start in range(0, n, step):
        samples = _sample_hashes(x[start : start + step])
        runs = _run_hashes(samples, length)
        changes = np.zeros((len(samples), width), np.int64)
        np.cumsum(samples[:, 1:] != samples[:, :-1], axis=1, out=changes[:, 1:])
        tells = changes[:, length - 1 :] - changes[:, :per_window] >= LEAST_CHANGES * (length - 1)
        entire = _run_hashes(samples, width)[:, 0]
        entire[changes[:, -1] == 0] = 0
        rows, columns = np.nonzero(tells & ((runs >> np.uint64(40)) & np.uint64(keep - 1) == 0))
        hashes.append(runs[rows, columns])
        windows.append((rows + start).astype(np.int32))
        whole.append(entire)
    run, window = _repeated(hashes, windows)
    entire = np.concatenate(whole)
    number = np.where(entire == 0, -1, np.unique(entire, return_inverse=True)[1])
    return Copies(run, window, number, length)


def _repeated(hashes: list[Hashes], windows: list[NDArray[np.int32]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Numbers of the hashes that occur more than once, and the windows where they do; the lists are emptied."""
    values = np.concatenate(hashes)
    hashes.clear()
    order = np.argsort(values)
    values = values[order]
    as_before = np.zeros(len(values), bool)
    as_before[1:] = values[1:] == values[:-1]
    del values
    several = as_before.copy()
    several[:-1] |= as_before[1:]
    window = np.concatenate(windows)[order[several]]
    windows.clear()
    return np.cumsum(~as_before[several]) - 1, window


def _run_length(x: NDArray[np.float32]) -> int:
    """The samples of a run that is not shared by chance, at most those of a window.

    The information of a sample, given the one before, is estimated inside windows, where copies are rare: as -log2 of
    the chance that two pairs of neighbours are equal where their first samples are (Renyi's entropy of order 2).
    Samples that rest are left out, and the tenth of the windows that repeat themselves most.
    """
    n, _, width = x.shape
    samples = _sample_hashes(x[:: max(1, n * width // SAMPLE)])
    rests = samples[:, 1:] == samples[:, :-1]
    alone = _equals_in_windows(samples[:, 1:], rests)
    both = _equals_in_windows(_run_hashes(samples, 2), rests)
    usual = both <= np.quantile(both, 0.9)
    if both[usual].sum() < FEW:
        bits = float(np.log2(max(usual.sum() * width * (width - 1) / 2, 4.0))) / 2
    else:
        bits = max(float(np.log2(alone[usual].sum() / both[usual].sum())), 0.01)
    needed = 2 * float(np.log2(n * width)) + SPARE_BITS
    return int(min(width, max(int(np.ceil(needed / bits)), SHORTEST, min(LONGEST, width // 8))))


def _equals_in_windows(hashes: Hashes, left_out: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) how many pairs of a window are equal, of its hashes (N, W) that are not left out."""
    hashes = np.where(left_out, np.arange(hashes.size, dtype=np.uint64).reshape(hashes.shape), hashes)
    ordered = np.sort(hashes, axis=1)
    starts = np.ones(hashes.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.flatnonzero(starts.ravel())
    counts = np.diff(np.append(first, starts.size))
    return np.bincount(first // hashes.shape[1], counts * (counts - 1) // 2, len(hashes)).astype(np.int64)


def _sample_hashes(x: NDArray[np.float32]) -> Hashes:
    """(N, W), a hash of all channels of each sample."""
    bits = np.ascontiguousarray(x + np.float32(0)).view(np.uint32)  # -0 becomes 0
    total = np.zeros((len(x), x.shape[2]), np.uint64)
    for channel in range(x.shape[1]):
        total = _mix(total + bits[:, channel] + np.uint64(channel + 1))
    return total


def _mix(value: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _run_hashes(samples: Hashes, length: int) -> Hashes:
    """(N, W - length + 1), a hash of each run: a polynomial in an odd base, by differences of cumulative sums."""
    width = samples.shape[1]
    base = 0x9E3779B97F4A7C15
    powers, back = (
        np.cumprod(np.array([1, *[factor] * (width - 1)], np.uint64), dtype=np.uint64)
        for factor in (base, pow(base, -1, 2**64))
    )
    sums = np.zeros((len(samples), width + 1), np.uint64)
    np.cumsum(samples * powers, axis=1, dtype=np.uint64, out=sums[:, 1:])
    return _mix((sums[:, length:] - sums[:, : width - length + 1]) * back[: width - length + 1])
