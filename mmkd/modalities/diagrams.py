"""Persistence diagrams of windows: connected components (H0) of the sublevel sets of each channel."""

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MmkdError
from .chunks import Float64, checked, compiled, in_chunks

Int64 = NDArray[np.int64]


def sublevel_diagrams(windows: ArrayLike, essential: Literal["drop", "max"] = "drop") -> list[list[Float64]]:
    """The H0 diagram of the sublevel-set filtration of each channel, a function on the path graph of its samples.

    As a level rises over the signal, a component is born at each local minimum and dies where it meets one with a lower
    minimum (the elder rule). Equals gudhi's cubical and ripser's lower-star persistence.

    Args:
        windows: (N, C, W).
        essential: what becomes of the component that never dies, that of the global minimum: "drop" it or let it die at
            the window's maximum ("max").

    Returns:
        N lists of C float64 arrays (n, 2) of finite (birth, death) with death > birth, in the signal's unit, unsorted.

    Raises:
        MmkdError: windows of a wrong shape or with NaN or infinity, or an unknown `essential`.

    >>> sublevel_diagrams([[[0.0, 2.0, 1.0, 3.0]]])[0][0]
    array([[1., 2.]])
    """
    if essential not in ("drop", "max"):
        raise MmkdError(f"essential = {essential!r} is not one of drop, max")
    array = checked(windows)
    _, channels, length = array.shape

    def one(_: int, x: Float64) -> list[list[Float64]]:
        pairs, offsets = chunk_pairs(x, np.ones(1), essential == "max")
        ends = offsets.tolist()
        flat = [pairs[i:j] for i, j in pairwise(ends)]
        return [flat[i : i + channels] for i in range(0, len(flat), channels)]

    return [window for chunk in in_chunks(one, array, pairs_bytes(channels, length)) for window in chunk]


def pairs_bytes(planes: int, length: int) -> int:
    """Bytes a window that `chunk_pairs` allocates."""
    return 8 * planes * (4 * ((length + 1) // 2) + 1)


def chunk_pairs(x: Float64, signs: Float64, close: bool) -> tuple[Float64, Int64]:
    """The pairs of a chunk of windows, one diagram after the other.

    Args:
        x: (n, C, W).
        signs: (L,), 1 for the diagram of the signal, -1 for that of the signal turned over.
        close: whether the component of the global minimum dies at the maximum; else it is left out.

    Returns:
        pairs (K, 2), of which diagram r holds those from offsets[r] to offsets[r + 1]; diagrams run over windows,
        channels, signs.
    """
    n, channels, length = x.shape
    total = n * channels * len(signs)
    pairs = np.empty((total * ((length + 1) // 2), 2))
    offsets = np.zeros(total + 1, dtype=np.int64)
    _pair(x.reshape(n * channels, length), signs, close, pairs, offsets)
    return pairs[: offsets[-1]].copy(), offsets


@compiled
def _extremes(row: Float64, sign: float, out: Float64) -> int:
    """Minimum, maximum, ..., minimum of sign * row in turn, as if infinity stood at either end; how many they are."""
    count = 0
    rising = False
    for t in range(row.shape[0] - 1):
        value = sign * row[t]
        following = sign * row[t + 1]
        if value == following:
            continue
        turns = (following > value) != rising
        out[count] = value
        count += turns  # without a branch, which noise would make the processor mispredict
        rising ^= turns
    if not rising:
        out[count] = sign * row[-1]
        count += 1
    return count


@compiled
def _pair(rows: Float64, signs: Float64, close: bool, pairs: Float64, offsets: Int64) -> None:
    """One pass over the extremes with a stack of maxima that fall, and of the lowest minimum before each.

    A maximum at least as high as the one on top of the stack shuts the valley between the two: that valley meets the
    one before it at the lower maximum, where the shallower of their minima dies.
    """
    extremes = np.empty(rows.shape[1] + 1)
    walls = np.empty(rows.shape[1])
    floors = np.empty(rows.shape[1])
    k = 0
    for r in range(offsets.shape[0] - 1):
        row = rows[r // signs.shape[0]]
        sign = signs[r % signs.shape[0]]
        count = _extremes(row, sign, extremes)
        extremes[count] = np.inf
        depth = 0
        for e in range(1, count + 1, 2):
            floor = extremes[e - 1]
            wall = extremes[e]
            while depth > 0 and walls[depth - 1] <= wall:
                depth -= 1
                pairs[k, 0] = max(floor, floors[depth])
                pairs[k, 1] = walls[depth]
                floor = min(floor, floors[depth])
                k += 1
            walls[depth] = wall
            floors[depth] = floor
            depth += 1
        if close:
            highest = sign * row[0]
            for t in range(1, row.shape[0]):
                highest = max(highest, sign * row[t])
            if highest > floors[0]:
                pairs[k, 0] = floors[0]
                pairs[k, 1] = highest
                k += 1
        offsets[r + 1] = k
