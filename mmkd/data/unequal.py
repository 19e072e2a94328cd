"""Cases of unequal length in a user's file, brought to one length as the user says."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.dataset import SHORTEST_WINDOW
from mmkd.data.formats import FileContent

Unequal = Literal["refuse", "pad", "truncate", "resample"]


def equal_lengths(content: FileContent, how: Unequal) -> FileContent:
    """The content with cases of one length; itself, if they have one.

    A case ends where the file says (`lengths`, lines of text of unequal length), and before values that are missing in
    every channel up to its end, as archives pad with NaN; the latter count only if `how` is not "refuse".

    Args:
        how: "refuse" raises an error; "pad" repeats the last value up to the longest case; "truncate" cuts all at the
            length of the shortest; "resample" stretches each to the longest by linear interpolation, after which the
            cases have no rate.

    Raises:
        MmkdError: the cases are to be refused, are images or have labels of samples, or the shortest is too short.
    """
    x = content.x
    lengths = np.full(len(x), x.shape[2]) if content.lengths is None else content.lengths
    if how != "refuse" and content.grid is None and not content.dense:
        lengths = np.minimum(lengths, _before_missing(x))
    low, high = int(lengths.min()), int(lengths.max())
    if low == high == x.shape[2]:
        return content._replace(lengths=None)
    if content.grid or content.dense:
        what = "images" if content.grid else "windows with a label for every sample"
        raise MmkdError(f"lengths says that {what} end before their arrays do; they cannot be brought to one length")
    if how == "refuse":
        raise MmkdError(
            f"the cases have {low} to {high} of {x.shape[2]} samples; say --unequal pad (repeats the last value), "
            f"truncate or resample"
        )
    length = low if how == "truncate" else high
    if length < SHORTEST_WINDOW or low < 1:
        raise MmkdError(f"--unequal {how}: the cases have {low} to {high} samples, and {SHORTEST_WINDOW} are needed")
    changed = int((lengths != length).sum())
    done = {
        "pad": f"padded to {length} with their last value",
        "truncate": f"cut at {length}",
        "resample": f"stretched to {length} by linear interpolation, and have no rate",
    }[how]
    return content._replace(
        x=_brought_to(x, lengths, length, how),
        lengths=None,
        rate_hz=None if how == "resample" else content.rate_hz,
        unequal=f"{changed:,} of {len(x):,} cases, of {low} to {high} samples, {done}" if changed else "",
    )


def _before_missing(x: NDArray[Any]) -> NDArray[np.int64]:
    """(N,) the samples of each case up to the last one that has a value in some channel."""
    if x.dtype.kind != "f":
        return np.full(len(x), x.shape[2])
    known: NDArray[np.bool_] = ~np.all(np.isnan(x), axis=1)
    ends: NDArray[np.int64] = x.shape[2] - known[:, ::-1].argmax(axis=1)
    ends[~known.any(axis=1)] = x.shape[2]
    return ends


def _brought_to(x: NDArray[Any], lengths: NDArray[Any], length: int, how: Unequal) -> NDArray[Any]:
    if how == "truncate":
        return x[:, :, :length]
    out = np.empty((*x.shape[:2], length), np.float64 if how == "resample" else x.dtype)
    for row, (case, own) in enumerate(zip(x, lengths.tolist(), strict=True)):
        if own == length:
            out[row] = case[:, :length]
        elif how == "pad":
            out[row, :, :own] = case[:, :own]
            out[row, :, own:] = case[:, own - 1 : own]
        else:
            places = np.linspace(0, own - 1, length)
            out[row] = [np.interp(places, np.arange(own), channel[:own]) for channel in case]
    return out
