"""Windows without labels from a user's file, which students are trained on beside those of a data set."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.text import shorten
from mmkd.data.checksums import file_sha256
from mmkd.data.dataset import LARGEST_VALUE, Dataset, NanPolicy
from mmkd.data.facts import read_facts
from mmkd.data.npz import read_arrays
from mmkd.data.precision import as_float32
from mmkd.data.resampling import resample_windows
from mmkd.data.sentinels import describe_sentinels

KNOWN = ("x", "channels", "rate_hz", "window_s")
"""Arrays that are read."""
UNREAD = ("y", "subject", "test", "recording", "start", "groups", "classes", "kind")
"""Arrays of files of windows that are of no use here, and are left out with a note."""


def add_unlabelled(data: Dataset, path: str, nan: NanPolicy = "refuse", in_folds: bool = False) -> Dataset:
    """The data set with the windows of an `.npz` file as its `unlabelled`.

    The file holds x (M, C, W), windows of the channels, the rate and the length of those of the data set; `channels`
    (C,) and `rate_hz` or `window_s` are checked if they are there. Where the data set was resampled, the windows are
    resampled to its rate. Labels in the file are not read.

    Args:
        nan: what happens to windows with missing values: "refuse" raises an error, otherwise they are left out.
        in_folds: whether folds of the data set are tested, so that every window of it may be a test window.

    Raises:
        MmkdError: the file cannot be read, or its windows are not like those of the data set.
    """
    flag = f"--unlabelled {path}"
    if data.form != "window" or data.grid is not None:
        what = "holds images" if data.grid else "has no label a window"
        raise MmkdError(f"{flag}: data {data.name!r} {what}, and the file adds windows of signals; leave it out")
    try:
        x, notes = _read(Path(path), data)
        checksum = file_sha256(Path(path))
    except OSError as error:
        raise MmkdError(f"{flag}: {error.strerror or error}") from None
    except MmkdError as error:
        raise MmkdError(f"{flag}: {error}") from None
    missing = ~np.isfinite(x).all(axis=(1, 2))
    if missing.any():
        if nan == "refuse":
            raise MmkdError(
                f"{flag}: {int(missing.sum())} of {len(x)} windows hold NaN or inf; --nan drop leaves them out"
            )
        notes.append(f"{int(missing.sum())} with missing values left out")
        x = x[~missing]
    if not len(x):
        raise MmkdError(f"{flag}: no window is left")
    if np.abs(x).max() > LARGEST_VALUE:
        raise MmkdError(f"{flag}: values go up to {np.abs(x).max():.2g}, past {LARGEST_VALUE:g}; rescale them")
    warnings = [f"{Path(path).name}: {line}" for line in describe_sentinels(x, data.channels, data.offset)]
    tested = _equal_windows(x, data.x if in_folds else data.x[data.test])
    if tested:
        what = "windows of the data set, which folds test" if in_folds else "test windows"
        warnings.append(f"{Path(path).name}: {tested:,} of {len(x):,} unlabelled windows are equal to {what}")
    text = f"{len(x):,} unlabelled windows of {Path(path).name}"
    return replace(
        data,
        unlabelled=x,
        unlabelled_sha256=checksum,
        unlabelled_file=str(Path(path).resolve()),
        warnings=(*data.warnings, *warnings),
        notes=(*data.notes, text + (f" ({', '.join(notes)})" if notes else "")),
        splits={},
    )


def _read(path: Path, data: Dataset) -> tuple[NDArray[np.float32], list[str]]:
    """The windows (M, C, W) of the file at the rate of the data set, and notes about what was read."""
    if not path.is_file():
        raise MmkdError("there is no such file; name an .npz file with an array x (M, C, W)")
    arrays = read_arrays(path, (*KNOWN, *UNREAD), "x=...", meant={"data": "x", "rate": "rate_hz", "fs": "rate_hz"})
    if "x" not in arrays:
        raise MmkdError("array 'x' is missing; it holds the windows (M, C, W)")
    unread = [name for name in UNREAD if name in arrays]
    notes = [f"{', '.join(unread)} not read"] if unread else []
    given = arrays["x"]
    if given.dtype.kind not in "fiub":
        raise MmkdError(f"x holds {given.dtype}; it must hold real numbers")
    channels = len(data.channels)
    if given.ndim != 3 or given.shape[1] != channels or 0 in given.shape:
        turned = given.ndim == 3 and given.shape[2] == channels
        hint = "; save x.transpose(0, 2, 1)" if turned else ""
        raise MmkdError(
            f"x has shape {given.shape}; with the {channels} channels of data {data.name!r} it must be "
            f"(M, {channels}, {data.window}){hint}"
        )
    facts = read_facts({name: array for name, array in arrays.items() if name in KNOWN and name != "x"})
    facts.check(channels, given.shape[2], images=False)
    if facts.channels is not None and facts.channels != data.channels:
        theirs, own = (shorten(", ".join(names), 80) for names in (facts.channels, data.channels))
        raise MmkdError(f"its channels are {theirs}, and those of data {data.name!r} {own}; give them in this order")
    x: NDArray[Any] = given
    if data.offset is not None:
        x = x.astype(np.float64) - np.array(data.offset)[:, None]
    rows = as_float32(x)
    rate = facts.rate(given.shape[2])
    if rate and data.rate_hz and rate != data.rate_hz:
        if not data.resampled:
            raise MmkdError(f"its windows have {rate:g} Hz, and those of data {data.name!r} {data.rate_hz:g} Hz")
        try:
            rows = resample_windows(rows, rate, data.rate_hz)
        except (MmkdError, ValueError) as error:
            raise MmkdError(describe_error(error)) from None
        notes.append(f"resampled from {rate:g} Hz")
    if rows.shape[2] != data.window:
        named = "" if rate else "; if they have another rate, add an array rate_hz"
        raise MmkdError(
            f"its windows have {rows.shape[2]} samples, and those of data {data.name!r} {data.window}{named}"
        )
    return np.ascontiguousarray(rows), notes


def _equal_windows(x: NDArray[np.float32], others: NDArray[np.float32]) -> int:
    """How many windows of `x` are equal to one of the others, value by value."""
    known = {window.tobytes() for window in others}
    return sum(window.tobytes() in known for window in x)
