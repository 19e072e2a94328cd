"""Memory of large arrays, kept by the process between steps."""

import ctypes
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE = ((1 << 31) - 1, 32 << 20)  # bytes; C libraries before 2.35 take no more than the second


def keep_freed_memory() -> None:
    """Let malloc keep large blocks that were freed, for the rest of the process.

    By default glibc gives each of them back to the system at once, and the next training step pays for the same pages
    again: a page fault every 4 KiB, a sixth of the time of a float32 convolutional network. What is kept is what the
    process needed at its peak. Without glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # no glibc
        library = ctypes.CDLL(None)
        if any(library.mallopt(M_MMAP_THRESHOLD, size) for size in LARGE):
            library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
