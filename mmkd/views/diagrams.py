"""Persistence diagrams of windows: connected components (H0) of the sublevel sets of each channel."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmkd.core.errors import MmkdError
from mmkd.views.chunks import Float64, NotFinite, in_chunks, shaped
from mmkd.views.pairing import Int64, pair


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
    array = shaped(windows)
    _, channels, length = array.shape
    signs = np.ones(1)

    def one(_: int, x: Float64) -> tuple[Float64, list[int]]:
        pairs, offsets = chunk_pairs(x, signs, essential == "max")
        return pairs, offsets.tolist()

    found = in_chunks(one, array, pairs_bytes(channels, length))
    # after the threads, which would wait for the interpreter meanwhile; `pairwise` takes an eighth longer
    flat = [pairs[i:j] for pairs, ends in found for i, j in zip(ends, ends[1:])]  # noqa: B905, RUF007
    return [flat[i : i + channels] for i in range(0, len(flat), channels)]


def pairs_bytes(planes: int, length: int) -> int:
    """Bytes a window that `chunk_pairs` allocates."""
    return 8 * planes * (2 * ((length + 1) // 2) + 1)


def chunk_pairs(x: Float64, signs: Float64, close: bool) -> tuple[Float64, Int64]:
    """The pairs of a chunk of windows, one diagram after the other.

    Args:
        x: (n, C, W).
        signs: (L,), 1 for the diagram of the signal, -1 for that of the signal turned over.
        close: whether the component of the global minimum dies at the maximum; else it is left out.

    Returns:
        pairs (K, 2), of which diagram r holds those from offsets[r] to offsets[r + 1]; diagrams run over windows,
        channels, signs.

    Raises:
        NotFinite: values that no modality takes; each row is looked at while it is in the nearest cache.
    """
    n, channels, length = x.shape
    total = n * channels * len(signs)
    pairs = np.empty((total * ((length + 1) // 2) + 1, 2))
    offsets = np.zeros(total + 1, dtype=np.int64)
    pair(x.reshape(n * channels, length), signs, close, pairs.reshape(-1).view(np.int64), offsets)
    if offsets[-1] < 0:
        raise NotFinite
    used = pairs[: offsets[-1]]
    return used if 3 * len(used) > len(pairs) else used.copy(), offsets  # a copy where it saves much memory
