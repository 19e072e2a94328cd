"""From recordings to windows: where they begin, their label, and what becomes of gaps, missing values and rates.

A recording is a signal (C, T) whose samples follow each other without a gap, with a label a sample, of one subject.
"""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, unknown_name

LabelRule = Literal["majority", "last", "strict"]
Missing = Literal["linear", "hold", "zero", "gap", "keep"]
Grid = Literal["recording", "label"]
CHUNK = 512  # windows resampled at a time


class Recording(NamedTuple):
    """A signal (C, T), its labels (T,) with -1 where there is none, and whose it is."""

    signal: NDArray[Any]
    labels: NDArray[Any]
    subject: int


def chosen(value: Any, choices: Any, what: str) -> Any:
    """`value`, when it is one of a Literal's `choices`; MmkdError with the closest one otherwise."""
    names = get_args(choices)
    if value not in names:
        raise unknown_name(what, str(value), names)
    return value


def window_starts(labels: NDArray[Any], length: int, step: int, grid: Grid = "recording") -> NDArray[np.int64]:
    """First samples of the windows of a recording; what is left at its end is left out.

    Args:
        labels: (T,), -1 where there is none.
        grid: "recording" counts steps from its beginning; "label" anew from the beginning of every stretch of one
            label, within which all its windows lie, and leaves out what has no label.
    """
    if chosen(grid, Grid, "grid of windows") == "recording":
        return np.arange(0, len(labels) - length + 1, step, dtype=np.int64)
    borders = [0, *(np.flatnonzero(np.diff(labels)) + 1), len(labels)] if len(labels) else [0]
    stretches = [(a, b) for a, b in itertools.pairwise(borders) if labels[a] >= 0]
    each = [np.arange(a, b - length + 1, step, dtype=np.int64) for a, b in stretches]
    return np.concatenate([*each, np.zeros(0, np.int64)])


def window_labels(
    labels: NDArray[Any], starts: NDArray[np.int64], length: int, rule: LabelRule = "majority"
) -> NDArray[np.int64]:
    """The label of each window, -1 where it gets none.

    Args:
        labels: (T,) whole numbers, -1 where there is none.
        rule: "majority" takes the label of most samples, of equals the smallest, and none where most samples have none;
            "last" that of the last sample; "strict" one that all samples share.
    """
    chosen(rule, LabelRule, "label rule")
    labels = np.asarray(labels, np.int64)
    ends = starts + length
    if rule == "last":
        return labels[ends - 1]
    if rule == "strict":
        changes = np.concatenate([[0], np.cumsum(np.diff(labels) != 0)])
        return np.where(changes[starts] == changes[ends - 1], labels[starts], -1)
    names = np.unique(labels)
    names = np.concatenate([names[names >= 0], names[names < 0]])  # among equals a label comes before none
    best, most = np.full(len(starts), -1), np.zeros(len(starts), np.int64)
    for name in names:
        counts = np.concatenate([[0], np.cumsum(labels == name)])
        here = counts[ends] - counts[starts]
        best, most = np.where(here > most, name, best), np.maximum(here, most)
    return np.where(best < 0, -1, best)


def filled(signal: NDArray[Any], missing: Missing) -> NDArray[Any]:
    """A recording (C, T) whose missing values (NaN) are treated as asked; the array itself where there is none.

    Args:
        missing: "linear" between the values before and after, at the ends the nearest one; "hold" the value before, at
            the beginning the first one; "zero"; "keep" and "gap" (see `unbroken`) leave them.

    A channel without any value becomes zeros under all but "keep" and "gap".
    """
    holes = np.isnan(signal)
    if chosen(missing, Missing, "policy for missing values") in ("keep", "gap") or not holes.any():
        return signal
    signal = signal.copy()
    time = np.arange(signal.shape[1])
    for values, hole in zip(signal, holes, strict=True):
        known = np.flatnonzero(~hole)
        if missing == "zero" or not len(known):
            values[hole] = 0
        elif missing == "linear":
            values[hole] = np.interp(time[hole], known, values[known])
        else:
            before = np.maximum(np.searchsorted(known, time[hole]) - 1, 0)
            values[hole] = values[known[before]]
    return signal


def unbroken(
    recording: Recording, times: NDArray[Any] | None = None, longest: float | None = None, missing: Missing = "keep"
) -> Iterator[Recording]:
    """The pieces of a recording between its gaps.

    Args:
        times: (T,) of the samples, in the unit of `longest`.
        longest: time between two samples past which, or below zero, there is a gap; None: times are not looked at.
        missing: under "gap" samples with a missing value are left out, and end a piece; else see `filled`.
    """
    length = len(recording.labels)
    good = ~np.isnan(recording.signal).any(axis=0) if missing == "gap" else np.ones(length, bool)
    breaks = np.zeros(length + 1, bool)
    breaks[[0, length]] = True
    breaks[1:length] = good[1:] != good[:-1]
    if times is not None and longest is not None and length:
        apart = np.diff(times)
        breaks[1:length] |= (apart > longest) | (apart < 0)
    borders = np.flatnonzero(breaks)
    for a, b in itertools.pairwise(borders):
        if good[a]:
            yield Recording(filled(recording.signal[:, a:b], missing), recording.labels[a:b], recording.subject)


def thinned(recording: Recording, every: int) -> Recording:
    """Every so many-th sample, the first one included, without a filter: as published protocols do it."""
    return recording._replace(signal=recording.signal[:, ::every], labels=recording.labels[::every])


def resampled(recording: Recording, rate_hz: float, wanted_hz: float) -> Recording:
    """A recording at another rate: a polyphase filter that lets nothing past half the lower rate through (SciPy).

    The label of a new sample is that of the old sample nearest in time.

    Raises:
        MmkdError: missing values, which a filter would spread, or rates that are no ratio of numbers up to 1000.
    """
    if np.isnan(recording.signal).any():
        raise MmkdError("a recording with missing values cannot be resampled; fill them first (linear, hold, zero)")
    ratio = _ratio(rate_hz, wanted_hz)
    if ratio == 1:
        return recording
    signal = _filtered(recording.signal, ratio)
    at = np.arange(signal.shape[1]) * ratio.denominator / ratio.numerator
    nearest = np.minimum(np.round(at).astype(np.int64), len(recording.labels) - 1)
    return Recording(signal, recording.labels[nearest], recording.subject)


def at_other_rate(x: NDArray[np.float32], rate_hz: float, wanted_hz: float) -> NDArray[np.float32]:
    """Windows (N, C, W) at another rate, (N, C, W'), each by itself as `resampled` does a recording.

    Raises:
        MmkdError: the rates are no ratio of numbers up to 1000.
    """
    ratio = _ratio(rate_hz, wanted_hz)
    length = -(-x.shape[2] * ratio.numerator // ratio.denominator)
    out = np.empty((*x.shape[:2], length), np.float32)
    for first in range(0, len(x), CHUNK):
        out[first : first + CHUNK] = _filtered(x[first : first + CHUNK], ratio)
    return out


def _ratio(rate_hz: float, wanted_hz: float) -> Fraction:
    ratio = Fraction(wanted_hz / rate_hz).limit_denominator(1000)
    if ratio.numerator == 0 or abs(float(ratio) - wanted_hz / rate_hz) > 1e-6 * wanted_hz / rate_hz:
        raise MmkdError(f"from {rate_hz:g} Hz to {wanted_hz:g} Hz: no ratio of whole numbers up to 1000")
    return ratio


def _filtered(signal: NDArray[Any], ratio: Fraction) -> NDArray[np.float32]:
    """A signal (..., T) at so many times its rate."""
    from scipy.signal import resample_poly

    found = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return found.astype(np.float32)
