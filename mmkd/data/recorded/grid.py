"""Samples of a recording on a regular grid, in parts between its gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.data.recorded.tables import Floats

AS_THEY_ARE = 0.05
"""Samples within this share of a period of the grid are taken as they are."""
LARGEST_ROUNDING = 0.25
"""Share of a period that rounded stamps may be off beside that."""

Numbers = NDArray[np.int64]


class Part(NamedTuple):
    """A part of a recording without a gap, on a regular grid.

    Attributes:
        signal: (C, T) finite.
        labels: (T,), -1 for none.
    """

    signal: Floats
    labels: Numbers


@dataclass
class GridCounts:
    """What was done to bring samples to the grid.

    Attributes:
        gaps: steps longer than the longest that is bridged.
        lost_s: seconds that these gaps last.
        missing: samples that were missing between two others, and were interpolated.
        moved: samples that were interpolated because their stamps are off the grid.
        samples: all samples on the grid.
        filled: missing values that were filled.
        left_out: rows left out because of missing values.
    """

    gaps: int = 0
    lost_s: float = 0.0
    missing: int = 0
    moved: int = 0
    samples: int = 0
    filled: int = 0
    left_out: int = 0


def parts_between_gaps(
    seconds: Floats,
    signal: Floats,
    labels: Numbers,
    rate_hz: float,
    max_gap_s: float,
    resolution_s: float,
    counts: GridCounts,
) -> Iterator[Part]:
    """The parts of a recording between its gaps, each on a grid of `rate_hz`.

    A step longer than `max_gap_s` is a gap. If every sample of a part is within 5 % of a period of a grid (and the
    rounding of its stamps), the samples are taken as they are, and only those between that are missing are interpolated
    linearly. Otherwise the whole part is: the grid then begins at its first stamp. A sample has the label of
    the nearest one in time, of two as near the earlier one.

    Args:
        seconds: (T,) rising stamps.
        signal: (C, T) finite.
        labels: (T,).
        resolution_s: of the stamps.
        counts: is added to.
    """
    steps = np.diff(seconds)
    breaks = np.flatnonzero(steps > max_gap_s * (1 + 1e-9)) + 1
    counts.gaps += len(breaks)
    counts.lost_s += float(steps[breaks - 1].sum())
    for start, stop in pairwise([0, *breaks.tolist(), len(seconds)]):
        yield _on_grid(seconds[start:stop], signal[:, start:stop], labels[start:stop], rate_hz, resolution_s, counts)


def _on_grid(
    seconds: Floats, signal: Floats, labels: Numbers, rate_hz: float, resolution_s: float, counts: GridCounts
) -> Part:
    positions = (seconds - seconds[0]) * rate_hz
    offset = float(np.median(positions - np.round(positions)))
    places = np.round(positions - offset)
    tolerance = AS_THEY_ARE + min(0.5 * resolution_s * rate_hz, LARGEST_ROUNDING)
    fits = (np.abs(positions - offset - places) <= tolerance).all() and (np.diff(places) > 0).all()
    if fits:
        positions = places - places[0]
        grid = np.arange(int(positions[-1]) + 1, dtype=np.float64)
        counts.missing += len(grid) - len(seconds)
    else:
        grid = np.arange(int(np.floor(positions[-1] + 1e-9)) + 1, dtype=np.float64)
        counts.moved += len(grid)
        counts.missing += max(0, len(grid) - len(seconds))
    counts.samples += len(grid)
    if len(grid) == len(seconds) and fits:
        return Part(signal, labels)
    values = np.stack([np.interp(grid, positions, channel) for channel in signal])
    after = np.minimum(np.searchsorted(positions, grid), len(positions) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(grid - positions[before] <= positions[after] - grid, before, after)
    return Part(values, labels[nearest])


def fill_or_leave_out(
    seconds: Floats, signal: Floats, rule: str, longest_s: float, counts: GridCounts
) -> tuple[Floats, NDArray[np.bool_]]:
    """Missing values of a recording filled, and which rows are kept: those without one.

    Args:
        signal: (C, T), NaN where missing; one with values is returned, a copy if some were filled.
        rule: "linear" and "hold" fill stretches up to `longest_s` from value to value, inside the recording; "gap"
            fills none.
    """
    missing = np.isnan(signal)
    if rule != "gap" and missing.any():
        signal = signal.copy()
        for values, holes in zip(signal, missing, strict=True):
            known = np.flatnonzero(~holes)
            for at in np.flatnonzero(np.diff(known) > 1):
                before, after = known[at], known[at + 1]
                if seconds[after] - seconds[before] <= longest_s * (1 + 1e-9):
                    inside = np.arange(before + 1, after)
                    ends = seconds[[before, after]], values[[before, after]]
                    values[inside] = values[before] if rule == "hold" else np.interp(seconds[inside], *ends)
        counts.filled += int(missing.sum() - np.isnan(signal).sum())
    kept: NDArray[np.bool_] = ~np.any(np.isnan(signal), axis=0)
    counts.left_out += int((~kept).sum())
    return signal, kept
