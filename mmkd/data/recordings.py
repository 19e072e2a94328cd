"""Recordings: gaps, missing values, and where windows begin and which label they get.

A recording is a signal (C, T) of one subject, without gaps in time, with a label for each sample.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import unknown_name

LabelRule = Literal["majority", "last", "strict"]
Missing = Literal["linear", "hold", "zero", "gap", "keep"]
Grid = Literal["recording", "label"]


class Recording(NamedTuple):
    """A signal (C, T), its labels (T,) with -1 for unlabelled samples, and its subject."""

    signal: NDArray[Any]
    labels: NDArray[Any]
    subject: int


def check_choice(value: Any, choices: Any, what: str) -> Any:
    """Return `value` if it is one of the `choices` of a Literal.

    Raises:
        MmkdError: it is not; the message suggests the closest choice and calls the value `what`.
    """
    names = get_args(choices)
    if value not in names:
        raise unknown_name(what, str(value), names)
    return value


def window_starts(labels: NDArray[Any], length: int, step: int, grid: Grid = "recording") -> NDArray[np.int64]:
    """The first sample of each window of a recording. Samples after the last complete window are left out.

    Args:
        labels: (T,), -1 for unlabelled samples.
        length: samples in a window.
        step: samples from the start of one window to the start of the next.
        grid: "recording" counts the steps from the start of the recording. "label" counts them from the start of each
            run of equal labels, keeps each window within one run, and leaves out unlabelled samples.

    >>> window_starts(np.array([0, 0, 0, 0, 1, 1]), length=2, step=2)
    array([0, 2, 4])
    """
    if check_choice(grid, Grid, "grid of windows") == "recording":
        return np.arange(0, len(labels) - length + 1, step, dtype=np.int64)
    borders = [0, *(np.flatnonzero(np.diff(labels)) + 1), len(labels)] if len(labels) else [0]
    runs = [(start, stop) for start, stop in itertools.pairwise(borders) if labels[start] >= 0]
    starts = [np.arange(start, stop - length + 1, step, dtype=np.int64) for start, stop in runs]
    return np.concatenate([*starts, np.zeros(0, np.int64)])


def window_labels(
    labels: NDArray[Any], starts: NDArray[np.int64], length: int, rule: LabelRule = "majority"
) -> NDArray[np.int64]:
    """The label of each window, -1 for a window without label.

    Args:
        labels: (T,) whole numbers, -1 for unlabelled samples.
        starts: (N,), the first sample of each window.
        length: samples in a window.
        rule: "majority" takes the label of most samples (the smallest among equals; none if most samples are
            unlabelled), "last" that of the last sample, "strict" the label that all samples share.

    >>> window_labels(np.array([0, 0, 1, 1, 1, 1]), np.array([0, 3]), length=3)
    array([0, 1])
    """
    check_choice(rule, LabelRule, "label rule")
    labels = np.asarray(labels, np.int64)
    ends = starts + length
    if rule == "last":
        return labels[ends - 1]
    if rule == "strict":
        changes = np.concatenate([[0], np.cumsum(np.diff(labels) != 0)])
        return np.where(changes[starts] == changes[ends - 1], labels[starts], -1)
    values = np.unique(labels)
    values = np.concatenate([values[values >= 0], values[values < 0]])  # among equals a label wins over no label
    best = np.full(len(starts), -1)
    best_count = np.zeros(len(starts), np.int64)
    for value in values:
        cumulative = np.concatenate([[0], np.cumsum(labels == value)])
        count = cumulative[ends] - cumulative[starts]
        best = np.where(count > best_count, value, best)
        best_count = np.maximum(count, best_count)
    return np.where(best < 0, -1, best)


def fill_missing(signal: NDArray[Any], missing: Missing) -> NDArray[Any]:
    """A copy of a signal (C, T) with its missing values (NaN) filled; the signal itself if it has none.

    Args:
        missing: "linear" interpolates, and takes the nearest value at the ends; "hold" repeats the value before, at the
            start the first value; "zero" fills with zeros; "keep" and "gap" (see `split_at_gaps`) leave them.

    A channel without any value keeps them, except under "zero".
    """
    nan = np.isnan(signal)
    if check_choice(missing, Missing, "policy for missing values") in ("keep", "gap") or not nan.any():
        return signal
    signal = signal.copy()
    time = np.arange(signal.shape[1])
    for values, hole in zip(signal, nan, strict=True):
        known = np.flatnonzero(~hole)
        if missing == "zero":
            values[hole] = 0
        elif not len(known):
            continue
        elif missing == "linear":
            values[hole] = np.interp(time[hole], known, values[known])
        else:
            before = np.maximum(np.searchsorted(known, time[hole]) - 1, 0)
            values[hole] = values[known[before]]
    return signal


def split_at_gaps(
    recording: Recording, times: NDArray[Any] | None = None, longest: float | None = None, missing: Missing = "keep"
) -> Iterator[Recording]:
    """The parts of a recording between its gaps.

    Args:
        times: (T,), the time of each sample, in the unit of `longest`.
        longest: there is a gap where the time from one sample to the next is longer than this, or negative; None
            ignores the times.
        missing: "gap" leaves out samples with a missing value, and they end a part; for the others see `fill_missing`.
    """
    length = len(recording.labels)
    valid = ~np.isnan(recording.signal).any(axis=0) if missing == "gap" else np.ones(length, bool)
    breaks = np.zeros(length + 1, bool)
    breaks[[0, length]] = True
    breaks[1:length] = valid[1:] != valid[:-1]
    if times is not None and longest is not None and length:
        steps = np.diff(times)
        breaks[1:length] |= (steps > longest) | (steps < 0)
    borders = np.flatnonzero(breaks)
    for start, stop in itertools.pairwise(borders):
        if valid[start]:
            signal = fill_missing(recording.signal[:, start:stop], missing)
            yield Recording(signal, recording.labels[start:stop], recording.subject)


def subsample(recording: Recording, every: int) -> Recording:
    """Every `every`-th sample, from the first on, without a filter, as published protocols do it."""
    return recording._replace(signal=recording.signal[:, ::every], labels=recording.labels[::every])
