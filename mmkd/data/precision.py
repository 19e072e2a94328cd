"""Values as float32, which is what networks read; large offsets are subtracted before."""

import numpy as np
from numpy.typing import NDArray

STEPS = 100
"""Float32 must have this many steps within the standard deviation of a channel in a window."""


def as_float32(x: NDArray[np.generic]) -> NDArray[np.float32]:
    """The values as float32; one past what it holds becomes infinite, and is reported as missing."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


def find_offsets(x: NDArray[np.generic], test: NDArray[np.bool_] | None) -> NDArray[np.float64] | None:
    """The offset of each channel that float32 cannot hold beside the variation of its values.

    Such a channel is a pressure of 101,325 Pa that varies by 0.1 Pa, or a time stamp. Its offset is the median of its
    values in windows that are not for the test.

    Args:
        x: (N, C, W) numbers of any type.
        test: (N,), True for test windows; None if nobody named them.

    Returns:
        (C,), 0 for a channel that float32 holds; None if it holds all.

    >>> find_offsets(np.array([[[1e9, 1e9 + 1, 1e9 + 3], [0.0, 1.0, 2.0]]]), None).tolist()
    [1000000001.0, 0.0]
    """
    if x.dtype.kind not in "fiu" or x.dtype.itemsize < 4 or x.dtype == np.float32:
        return None
    offsets = np.zeros(x.shape[1])
    for channel in range(x.shape[1]):
        with np.errstate(over="ignore"):
            values = x[:, channel].astype(np.float64)
        values[~(np.abs(values) < np.finfo(np.float32).max)] = np.nan
        known = ~np.isnan(values).all(axis=1)
        if not known.any():
            continue
        step = float(np.spacing(np.float32(np.nanmedian(np.abs(values[known])))))
        deviations = np.nanstd(values[known], axis=1)
        deviations = deviations[deviations > 0]
        if len(deviations) and STEPS * step > float(np.median(deviations)):
            training = known if test is None or not (known & ~test).any() else known & ~test
            offsets[channel] = np.nanmedian(values[training])
    return offsets if offsets.any() else None
