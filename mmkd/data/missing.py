"""Missing values of windows: refused, filled or left out, and said."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten
from mmkd.data.dataset import Dataset, NanPolicy, check_dataset


def handle_missing(data: Dataset, nan: NanPolicy) -> Dataset:
    """The data set with finite values; `missing` says what was done, and a warning where a channel has none.

    Args:
        nan: what happens with NaN and infinity: "refuse" raises an error, "impute" interpolates linearly along time,
            "drop" removes the windows. A channel of a window without any value becomes the mean of that channel in the
            windows that are not for the test; the checksum then says so, because older versions filled in zeros.

    Raises:
        MmkdError: there are NaN or infinity under "refuse".
    """
    bad = ~np.isfinite(data.x)
    bad_windows = bad.any(axis=(1, 2))
    if not bad_windows.any():
        return data
    count = int(bad_windows.sum())
    if nan == "refuse":
        first = int(np.flatnonzero(bad_windows)[0])
        impute = "" if data.grid else "--nan impute fills them along time, "
        raise MmkdError(
            f"data {data.name!r}: {count} of {len(data.x)} windows hold NaN or inf "
            f"({int(bad.sum())} values), the first is window {first}; {impute}--nan drop leaves those windows out"
        )
    if nan == "drop":
        names = ("x", "y", "subject", "test", "recording", "start")
        arrays = ((name, getattr(data, name)) for name in names)
        kept: dict[str, Any] = {name: None if array is None else array[~bad_windows] for name, array in arrays}
        return replace(data, **kept, missing=f"{count:,} window{'s' * (count > 1)} with missing values left out")
    data = replace(
        data, x=_fill_along_time(data.x, bad), missing=f"{int(bad.sum()):,} missing values in {count:,} windows filled"
    )
    lacking: NDArray[np.bool_] = np.all(bad, axis=2)
    return _fill_channels(data, lacking) if lacking.any() else data


def validate_dataset(data: Dataset, nan: NanPolicy = "refuse") -> Dataset:
    """The data set with finite values, checked before training; see `handle_missing` and `check_dataset`."""
    data = handle_missing(data, nan)
    check_dataset(data)
    return data


def _fill_along_time(x: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A copy (N, C, W) with holes interpolated; a channel of a window without any value becomes 0."""
    x = x.copy()
    time = np.arange(x.shape[2])
    for n, c in np.argwhere(bad.any(axis=2)):
        hole = bad[n, c]
        x[n, c, hole] = 0 if hole.all() else np.interp(time[hole], time[~hole], x[n, c, ~hole])
    return x


def _fill_channels(data: Dataset, lacking: NDArray[np.bool_]) -> Dataset:
    """The data set with each channel of a window that has no value set to its mean elsewhere.

    Args:
        lacking: (N, C), True for a channel of a window without any value.
    """
    x = data.x.copy()
    told = []
    for c in np.flatnonzero(lacking.any(axis=0)):
        known = ~lacking[:, c] & ~data.test
        mean = float(x[known, c].mean(dtype=np.float64)) if known.any() else 0.0
        x[lacking[:, c], c] = mean
        told.append(f"{data.channels[c]} in {int(lacking[:, c].sum()):,} windows (mean {mean:.4g})")
    line = f"channels without any value, filled with their mean: {shorten(', '.join(told), 150)}"
    checksum = sha256(f"{data.sha256} channels without a value have their mean".encode()).hexdigest()
    return replace(data, x=x, sha256=checksum, warnings=(*data.warnings, line))
