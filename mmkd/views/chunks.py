"""Windows are checked and processed in chunks, by several threads, so that memory stays bounded at any N.

The kernels are single-threaded and release the interpreter's lock. The threads are Python's own and end with the call.
Numba's parallel loops are avoided on purpose: their thread pools can end a process that forks, or in which two threads
call. `NUMBA_NUM_THREADS` sets the number of threads (default and most: the cores that this process may use).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, update_wrapper
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.threads import count_cores

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

CHUNK_BYTES = 8 << 20
"""Memory of the chunk of one thread."""
TOTAL_BYTES = 128 << 20
"""Memory of the chunks of all threads together."""
LARGEST = float(np.finfo(np.float32).max)


class Kernel:
    """A function that numba compiles on its first call, and that other kernels may call.

    Until then numba is not loaded: commands that only read the options of views would wait for it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        update_wrapper(self, function)

    @cached_property
    def compiled(self) -> Any:
        """The function for numba, with its machine code on disk if a folder can be written."""
        import numba

        try:
            return numba.njit(self.function, cache=True, nogil=True, error_model="numpy")
        except RuntimeError:  # neither the folder of the source nor the user's cache folder can be written
            return numba.njit(self.function, nogil=True, error_model="numpy")

    @property
    def _numba_type_(self) -> Any:
        """What numba asks for where a kernel calls this one."""
        return self.compiled._numba_type_

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.compiled(*args, **named)


def compile_kernel(function: F) -> F:
    """Decorator: compile a kernel on its first call."""
    return cast(F, Kernel(function))


def map_chunks(
    action: Callable[[int, NDArray[Any]], R],
    windows: NDArray[Any],
    scratch: int = 0,
    *,
    rows: int | None = None,
    min_values: int = 1,
    dtype: type[np.floating[Any]] = np.float64,
    finite: bool = False,
) -> list[R]:
    """Call `action(start, x)` on consecutive chunks of the windows, in threads, and return the results in order.

    Args:
        action: gets the number of the chunk's first window, and the chunk, a contiguous array (n, C, W). The chunk may
            be the caller's own memory, so the action must not change it.
        windows: (N, C, W) of any real type; may be a memory map.
        scratch: bytes that the action allocates for each window.
        rows: windows in a chunk, for sums whose last digits must not depend on the machine; by default as many as the
            memory allows.
        min_values: values that a chunk should have at least to be worth a thread, where the memory allows.
        dtype: of the chunks.
        finite: whether the values of each chunk are checked before the action gets them.

    Raises:
        MmkdError: with `finite`, some values are NaN, infinite or beyond float32.
    """
    import numba  # as late as its kernels, see `Kernel`

    n, channels, length = windows.shape
    workers = max(1, min(int(numba.config.NUMBA_NUM_THREADS), count_cores()))
    if rows is None:
        budget = min(CHUNK_BYTES, TOTAL_BYTES // workers)
        share = max(-(-n // (8 * workers)), min_values // (channels * length))
        rows = max(1, min(budget // (8 * channels * length + scratch), share))

    def process(start: int) -> R:
        x = _contiguous(windows[start : start + rows], dtype)
        if finite and windows.dtype.kind == "f" and count_bad(x.reshape(-1)):
            raise NotFinite
        return action(start, x)

    starts = range(0, n, rows)
    results: dict[int, R] = {}
    queue = iter(starts)  # shared by all threads, this one included: each takes the next chunk

    def process_queue() -> None:
        for start in queue:
            results[start] = process(start)

    helpers = min(workers, len(starts)) - 1
    try:
        if helpers < 1:
            process_queue()
        else:
            with ThreadPoolExecutor(helpers, thread_name_prefix="mmkd-modality") as pool:
                futures = [pool.submit(process_queue) for _ in range(helpers)]
                process_queue()
                for future in futures:
                    future.result()
    except NotFinite:
        check_values(windows)
        raise
    return [results[start] for start in starts]


class NotFinite(Exception):
    """A chunk holds values that are NaN, infinite or beyond float32."""


def _contiguous(part: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """The part itself if it has this type and the memory layout that the kernels read, else a copy."""
    if part.dtype == dtype and part.flags.carray:
        return part.view(np.ndarray)
    return np.array(part, dtype=dtype, order="C")


@compile_kernel
def count_bad(values: NDArray[Any]) -> int:
    """The number of values (n,) that are NaN, infinite or beyond float32."""
    count = 0
    for i in range(values.shape[0]):
        count += not (abs(values[i]) <= LARGEST)
    return count


def as_windows(windows: ArrayLike) -> NDArray[Any]:
    """The windows as an array (N, C, W) of real numbers.

    Raises:
        MmkdError: the array has another number of axes, no channel or no sample, or does not hold real numbers.
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
    """Check that windows (N, C, W) hold finite values that float32 can represent.

    Raises:
        MmkdError: they do not; the message says how many values, and which window is the first.
    """

    def count(start: int, x: NDArray[Any]) -> tuple[int, int]:
        number = count_bad(x.reshape(-1))
        first = int(np.argmax((~(np.abs(x) <= LARGEST)).any(axis=(1, 2)))) if number else 0
        return number, start + first

    if array.dtype.kind == "f":
        dtype = np.float32 if array.dtype.itemsize <= 4 else np.float64
        counts = map_chunks(count, array, min_values=1 << 18, dtype=dtype)
        total = sum(number for number, _ in counts)
        if total:
            first = next(window for number, window in counts if number)
            raise MmkdError(
                f"windows hold {total} values that are NaN, infinite or beyond float32, "
                f"the first in window {first} (counted from 0); fill or drop them first"
            )


def check_windows(windows: ArrayLike) -> NDArray[Any]:
    """The windows as an array (N, C, W) of finite real numbers.

    Raises:
        MmkdError: as `as_windows` and `check_values`.
    """
    array = as_windows(windows)
    check_values(array)
    return array


def output_array(out: NDArray[Any] | None, shape: tuple[int, ...]) -> Float32:
    """The array to write into: `out`, or a new one if `out` is None.

    Raises:
        MmkdError: `out` has another shape or type, is not contiguous, or is read-only.
    """
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise MmkdError(f"out must be a float32 array of shape {shape}; found {found}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise MmkdError("out must be contiguous (C order) and writeable")
    return out.view(np.ndarray)
