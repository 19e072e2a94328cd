"""Persistence diagrams of windows: connected components (H0) of the sublevel sets of each channel."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmkd.core.errors import MmkdError
from mmkd.views.chunks import Float64, NotFinite, as_windows, map_chunks
from mmkd.views.pairing import Int64, pair


def sublevel_diagrams(windows: ArrayLike, essential: Literal["drop", "max"] = "drop") -> list[list[Float64]]:
    """The H0 persistence diagram of the sublevel sets of each channel.

    A channel is a function on the path graph of its samples. As a level rises over it, a component is born at each
    local minimum and dies where it meets a component with a lower minimum (the elder rule). The result equals that of
    gudhi's cubical and ripser's lower-star persistence.

    Args:
        windows: (N, C, W).
        essential: what happens to the component of the global minimum, which never dies: "drop" leaves it out, "max"
            lets it die at the maximum of the window.

    Returns:
        N lists of C float64 arrays (n, 2) of finite (birth, death) with death > birth, in the unit of the signal,
        unsorted.

    Raises:
        MmkdError: the windows have a wrong shape, or hold NaN or infinity; or `essential` is unknown.

    >>> sublevel_diagrams([[[0.0, 2.0, 1.0, 3.0]]])[0][0]
    array([[1., 2.]])
    """
    if essential not in ("drop", "max"):
        raise MmkdError(f"essential = {essential!r} is not one of drop, max")
    array = as_windows(windows)
    _, channels, length = array.shape
    signs = np.ones(1)

    def diagrams_of(_: int, x: Float64) -> tuple[Float64, list[int]]:
        pairs, offsets = chunk_pairs(x, signs, essential == "max")
        return pairs, offsets.tolist()

    chunks = map_chunks(diagrams_of, array, pairs_bytes(channels, length))
    # cut after the threads have ended, because they would wait for the interpreter; `pairwise` takes an eighth longer
    diagrams = [pairs[i:j] for pairs, offsets in chunks for i, j in zip(offsets, offsets[1:])]  # noqa: B905, RUF007
    return [diagrams[i : i + channels] for i in range(0, len(diagrams), channels)]


def pairs_bytes(planes: int, length: int) -> int:
    """Bytes that `chunk_pairs` allocates for each window."""
    return 8 * planes * (2 * ((length + 1) // 2) + 1)


def chunk_pairs(x: Float64, signs: Float64, close: bool) -> tuple[Float64, Int64]:
    """The (birth, death) pairs of a chunk of windows, one diagram after the other.

    Args:
        x: (n, C, W).
        signs: (L,), 1 for the sublevel sets of the signal, -1 for those of the negated signal.
        close: whether the component of the global minimum dies at the maximum; otherwise it is left out.

    Returns:
        pairs (K, 2) and offsets (n C L + 1,): diagram r holds the pairs from offsets[r] to offsets[r + 1]. Diagrams are
        in the order of windows, then channels, then signs.

    Raises:
        NotFinite: some values are NaN, infinite or beyond float32. (Each row is checked while it is in the cache of the
            processor.)
    """
    n, channels, length = x.shape
    total = n * channels * len(signs)
    pairs = np.empty((total * ((length + 1) // 2) + 1, 2))
    offsets = np.zeros(total + 1, dtype=np.int64)
    pair(x.reshape(n * channels, length), signs, close, pairs.reshape(-1).view(np.int64), offsets)
    if offsets[-1] < 0:
        raise NotFinite
    used = pairs[: offsets[-1]]
    return used if 3 * len(used) > len(pairs) else used.copy(), offsets  # a copy if that saves much memory
