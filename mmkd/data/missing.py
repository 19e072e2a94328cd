"""Missing values of windows: interpolation along time, and channels that have no value in a window."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def interpolate(x: Floats, bad: Flags) -> Floats:
    """A copy of windows (N, C, W) with the values at `bad` interpolated linearly along time.

    At the ends the nearest value is taken. A channel of a window without any value is left as it is.
    """
    x = x.copy()
    time = np.arange(x.shape[2])
    for n, c in np.argwhere(bad.any(axis=2) & ~bad.all(axis=2)):
        hole = bad[n, c]
        x[n, c, hole] = np.interp(time[hole], time[~hole], x[n, c, ~hole])
    return x


def fill_channels(x: Floats, empty: Flags, training: Flags, channels: Sequence[str]) -> tuple[Floats, str]:
    """A copy of windows (N, C, W) in which channels without any value have their median in training windows.

    Args:
        empty: (N, C), True where a channel has no value in a window.
        training: (N,), True for windows that are not for the test.
        channels: C names.

    Returns:
        The windows, and one line that says what was filled with what.

    Raises:
        MmkdError: a channel has no value in any training window.
    """
    x = x.copy()
    lines = []
    for c in np.flatnonzero(empty.any(axis=0)).tolist():
        measured = training & ~empty[:, c]
        if not measured.any():
            raise MmkdError(
                f"channel {channels[c]!r} has no value in any training window, so that nothing can be filled in; "
                f"leave the channel out, or --nan drop leaves out the windows"
            )
        median = np.median(x[measured, c])
        x[empty[:, c], c] = median
        lines.append(f"{channels[c]} in {empty[:, c].sum()} of {len(x)} windows ({median:.4g})")
    what = shorten(", ".join(lines), 200)
    return x, f"channels without any value have their median in the training windows: {what}"
