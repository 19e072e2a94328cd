"""How the process allocates large blocks of memory, and what its collector of garbage looks at."""

import ctypes
import gc
import sys
from contextlib import suppress
from functools import cache

M_TRIM_THRESHOLD = -1  # of malloc.h
M_MMAP_THRESHOLD = -3
LARGE_BLOCK_BYTES = ((1 << 31) - 1, 32 << 20)  # C libraries before 2.35 accept no more than the second


def keep_freed_memory() -> None:
    """Let malloc keep large blocks after they are freed, for the rest of the process.

    By default glibc returns each block to the system at once, and the next training step pays for the same pages
    again: a page fault every 4 KiB, a sixth of the time of a float32 convolutional network. The process then holds its
    peak memory until it ends, or calls `return_freed_memory`. Without glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # no glibc
        library = ctypes.CDLL(None)
        if any(library.mallopt(M_MMAP_THRESHOLD, size) for size in LARGE_BLOCK_BYTES):
            library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Give the system back what is free, so that a unit does not stand on the peak of what ran before it.

    After the fit of a MiniRocket of 16,000 windows that is gigabytes. Without glibc nothing is done.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


@cache
def keep_imports() -> None:
    """Let the collector of garbage pass over what is there now, once in a process: modules, which stay anyway.

    With PyTorch they are hundreds of thousands of objects; each full collection would go through all of them.
    """
    gc.freeze()
