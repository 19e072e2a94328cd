"""Windows checked and read in chunks, over threads, so that memory stays bounded at any N.

The kernels are single-threaded and release the interpreter's lock; the threads are Python's own and end with the call.
Numba's parallel loops are left alone on purpose: their thread pools can end a process that forks, or in which two
threads call.
`NUMBA_NUM_THREADS` sets the number of threads (default: the cores this process may use).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

CHUNK_BYTES = 8 << 20  # of one thread
TOTAL_BYTES = 128 << 20  # of all threads together
LARGEST = float(np.finfo(np.float32).max)


def compiled(function: F) -> F:
    """Compile a kernel on its first call; keep the machine code on disk where a folder can be written."""
    try:
        return cast(F, numba.njit(function, cache=True, nogil=True, error_model="numpy"))
    except RuntimeError:  # neither beside the source nor in the user's cache
        return cast(F, numba.njit(function, nogil=True, error_model="numpy"))


def in_chunks(
    action: Callable[[int, NDArray[Any]], R],
    windows: NDArray[Any],
    scratch: int = 0,
    rows: int | None = None,
    least: int = 1,
    dtype: type[np.floating[Any]] = np.float64,
    finite: bool = False,
) -> list[R]:
    """Call `action(start, x)` on consecutive chunks of the windows, over threads, and list the results in order.

    Args:
        action: gets the number of the chunk's first window and the chunk, (n, C, W), contiguous; it may be the caller's
            own memory, so the action leaves it as it is.
        windows: (N, C, W), of any real type; may be a memory map.
        scratch: bytes a window that the action allocates besides.
        rows: windows a chunk, for sums whose last digits must not depend on the machine; default: what memory allows.
        least: values below which a chunk is not worth a thread, where memory allows.
        dtype: of the chunks.
        finite: look at each chunk's values first, while they are at hand.

    Raises:
        MmkdError: with `finite`, values that are NaN, infinite or beyond float32.
    """
    n, channels, length = windows.shape
    workers = max(1, int(numba.config.NUMBA_NUM_THREADS))
    if rows is None:
        budget = min(CHUNK_BYTES, TOTAL_BYTES // workers)
        share = max(-(-n // (8 * workers)), least // (channels * length))
        rows = max(1, min(budget // (8 * channels * length + scratch), share))

    def work(start: int) -> R:
        x = _contiguous(windows[start : start + rows], dtype)
        if finite and windows.dtype.kind == "f" and count_bad(x.reshape(-1)):
            raise NotFinite
        return action(start, x)

    starts = range(0, n, rows)
    results: dict[int, R] = {}
    left = iter(starts)  # each thread, this one among them, takes the next chunk

    def some() -> None:
        for start in left:
            results[start] = work(start)

    others = min(workers, len(starts)) - 1
    try:
        if others < 1:
            some()
        else:
            with ThreadPoolExecutor(others, thread_name_prefix="mmkd-modality") as pool:
                running = [pool.submit(some) for _ in range(others)]
                some()
                for other in running:
                    other.result()
    except NotFinite:
        check_values(windows)
        raise
    return [results[start] for start in starts]


class NotFinite(Exception):
    """A chunk holds values that no modality takes."""


def _contiguous(part: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """The part itself where it is of this type and its memory is as the kernels read it, else a copy."""
    if part.dtype == dtype and part.flags.carray:
        return part.view(np.ndarray)
    return np.array(part, dtype=dtype, order="C")


@compiled
def count_bad(values: NDArray[Any]) -> int:
    """How many of the values (n,) are NaN, infinite or beyond float32."""
    count = 0
    for i in range(values.shape[0]):
        count += not (abs(values[i]) <= LARGEST)
    return count


def shaped(windows: ArrayLike) -> NDArray[Any]:
    """The windows as an array (N, C, W) of real numbers.

    Raises:
        MmkdError: another number of axes, no channel or no sample, or not real numbers.
    """
    array = np.asarray(windows)
    if array.ndim != 3:
        raise MmkdError(
            f"windows must be an array (N, C, W) of N windows, C channels, W samples; found shape {array.shape}"
        )
    if array.dtype.kind not in "fiub":
        raise MmkdError(f"windows must be real numbers; found dtype {array.dtype}")
    if 0 in array.shape[1:]:
        raise MmkdError(f"windows must have at least one channel and one sample; found shape {array.shape}")
    return array


def check_values(array: NDArray[Any]) -> None:
    """MmkdError for windows (N, C, W) with values that are NaN, infinite or beyond float32; says how many and where."""

    def bad(start: int, x: NDArray[Any]) -> tuple[int, int]:
        count = count_bad(x.reshape(-1))
        return count, start + int(np.argmax((~(np.abs(x) <= LARGEST)).any(axis=(1, 2)))) if count else start

    if array.dtype.kind == "f":
        own = np.float32 if array.dtype.itemsize <= 4 else np.float64
        found = [(count, first) for count, first in in_chunks(bad, array, least=1 << 18, dtype=own) if count]
        if found:
            total = sum(count for count, _ in found)
            raise MmkdError(
                f"windows hold {total} values that are NaN, infinite or beyond float32, "
                f"the first in window {found[0][1]} (counted from 0); fill or drop them first"
            )


def checked(windows: ArrayLike) -> NDArray[Any]:
    """The windows as an array (N, C, W) of finite real numbers; MmkdError as of `shaped` and `check_values`."""
    array = shaped(windows)
    check_values(array)
    return array


def target(out: NDArray[Any] | None, shape: tuple[int, ...]) -> Float32:
    """The array to write into: `out` where it fits, else a new one.

    Raises:
        MmkdError: `out` has another shape or type, is not contiguous, or cannot be written.
    """
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise MmkdError(f"out must be a float32 array of shape {shape}; found {found}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise MmkdError("out must be contiguous (C order) and writeable")
    return out.view(np.ndarray)
