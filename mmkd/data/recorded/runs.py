"""The rows of a table as runs: those of one subject and recording, with rising stamps."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.recorded.tables import Floats
from mmkd.data.recorded.times import COARSE
from mmkd.data.understood import count

Rows = NDArray[np.int64]


class Run(NamedTuple):
    """Samples of one subject and recording, one after the other.

    Attributes:
        seconds: (n,) rising.
        signal: (C, n).
        labels: (n,).
    """

    seconds: Floats
    signal: Floats
    labels: Rows


@dataclass
class StampCounts:
    """What was done about stamps that do not rise.

    Attributes:
        equal: rows that repeat the stamp and all values of the one before, and were left out.
        joined: rows that repeat the stamp with other values, and were left out or joined to a mean.
        splits: places where time runs backward, and a recording begins.
        sorted: runs that were sorted by their stamps.
    """

    equal: int = 0
    joined: int = 0
    splits: int = 0
    sorted: int = 0


def rows_of_runs(subject: Rows, recording: Rows, in_time: bool) -> list[Rows]:
    """The rows of each run.

    Args:
        subject, recording: (T,) their numbers in each row.
        in_time: whether stamps say what follows what; else a run ends where another one begins.

    >>> [rows.tolist() for rows in rows_of_runs(np.array([0, 1, 1, 0]), np.zeros(4, int), in_time=True)]
    [[0, 3], [1, 2]]
    """
    key = np.unique(np.stack([subject, recording]), axis=1, return_inverse=True)[1].reshape(-1)
    order = np.argsort(key, kind="stable") if in_time else np.arange(len(key))
    borders = np.flatnonzero(np.diff(key[order])) + 1
    return sorted(np.split(order, borders), key=lambda rows: int(rows[0]))


def rising(run: Run, rows: Rows, duplicates: str, backward: str, what: str, counts: StampCounts) -> Iterator[Run]:
    """The run with rising stamps; several, where it is split.

    Args:
        rows: (n,) the rows of the table, for messages.
        duplicates: "refuse"; of rows with one stamp and other values "first" keeps the first, "mean" their mean.
        backward: "refuse", "split" begins a recording there, "sort" sorts the rows.
        what: the column of time, for messages.
        counts: is added to.

    Raises:
        MmkdError: stamps repeat or run backward, and that is to be refused.
    """
    steps = np.diff(run.seconds)
    if not len(steps) or (steps > 0).all():
        yield run
        return
    if (steps == 0).mean() > COARSE:
        raise MmkdError(
            f"{what} repeats in {(steps == 0).sum():,} of {len(run.seconds):,} rows, as of a clock coarser than the "
            f"samples; leave --time out and say --rate HZ"
        )
    falls = np.flatnonzero(steps < 0)
    if len(falls) and backward == "refuse":
        raise MmkdError(
            f"{what} runs backward in {count(len(falls), 'place')}, the first is row {int(rows[falls[0] + 1]) + 1}: "
            f"several recordings? Name their column with --recording, or say --backward split or sort"
        )
    borders = [0, *(falls + 1).tolist(), len(run.seconds)] if backward == "split" else [0, len(run.seconds)]
    counts.splits += len(borders) - 2
    for start, stop in pairwise(borders):
        part = Run(run.seconds[start:stop], run.signal[:, start:stop], run.labels[start:stop])
        own = rows[start:stop]
        if (np.diff(part.seconds) < 0).any():
            counts.sorted += 1
            order = np.argsort(part.seconds, kind="stable")
            part = Run(part.seconds[order], part.signal[:, order], part.labels[order])
            own = own[order]
        yield _without_duplicates(part, own, duplicates, what, counts)


def _without_duplicates(run: Run, rows: Rows, duplicates: str, what: str, counts: StampCounts) -> Run:
    first = np.concatenate([[True], np.diff(run.seconds) > 0])
    if first.all():
        return run
    place = np.cumsum(first) - 1
    of_first = np.flatnonzero(first)[place]
    same = (run.signal == run.signal[:, of_first]) | (np.isnan(run.signal) & np.isnan(run.signal[:, of_first]))
    equal = ~first & same.all(axis=0) & (run.labels == run.labels[of_first])
    other = ~first & ~equal
    counts.equal += int(equal.sum())
    counts.joined += int(other.sum())
    if other.any() and duplicates == "refuse":
        raise MmkdError(
            f"{what} repeats with other values in {int(other.sum()):,} rows, the first is row "
            f"{int(rows[other.argmax()]) + 1}; say --duplicates first or mean, or name --subject or --recording"
        )
    signal = run.signal[:, first]
    if duplicates == "mean" and other.any():
        signal = np.stack([np.bincount(place, values) for values in run.signal]) / np.bincount(place)
    return Run(run.seconds[first], signal, run.labels[first])
