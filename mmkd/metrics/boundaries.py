"""Points in time, held against each other within a tolerance: boundaries between segments, and their F1.

Boundaries stay in the time of the recording. Where a change lies is known only between two neighbours that both count
(see `metrics.steps`). A change beside left-out steps may lie anywhere among them: it is neither required nor a mistake.
A lone point of the other side within the tolerance of it may be its partner and is not counted either, one for each
such gap (our rule; the papers have recordings without such gaps).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.metrics.steps import Ints, Mask, checked_pair, f1_from_counts


def match_count(true: Ints, predicted: Ints, tolerance: float) -> int:
    """How many points can find a partner at most `tolerance` away, one to one.

    Both must be sorted. The two earliest points are paired if they can be, else the earlier one can have no partner.
    That is a maximum matching: in any other one, the pair of the two earliest can be put in without losing a pair.
    """
    a = true.tolist()
    b = predicted.tolist()
    i = j = pairs = 0
    limit = tolerance + 1e-9
    while i < len(a) and j < len(b):
        gap = b[j] - a[i]
        if gap > limit:
            i += 1
        elif gap < -limit:
            j += 1
        else:
            i += 1
            j += 1
            pairs += 1
    return pairs


def match_closest(true: Ints, predicted: Ints, tolerance: float) -> Ints:
    """Pairs (M, 2) of numbers of points at most `tolerance` apart, one to one: as many as possible, and of those ways
    one with the least sum of distances. Both must be sorted, and are whole numbers.

    Two pairs that cross can be uncrossed and are no further apart then; so one table over the two sequences is enough.
    """
    limit = tolerance + 1e-9
    points = np.sort(np.concatenate([true, predicted]))
    first = points[np.flatnonzero(np.diff(points) > limit) + 1]  # points further apart have nothing to do with another
    at_t = [0, *np.searchsorted(true, first).tolist(), len(true)]
    at_p = [0, *np.searchsorted(predicted, first).tolist(), len(predicted)]
    pairs = []
    for t0, t1, p0, p1 in zip(at_t[:-1], at_t[1:], at_p[:-1], at_p[1:], strict=True):
        if t1 - t0 == p1 - p0 == 1:
            pairs.append((t0, p0))
        elif t0 < t1 and p0 < p1:
            pairs += [(t0 + i, p0 + j) for i, j in _match_chain(true[t0:t1], predicted[p0:p1], limit)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _match_chain(true: Ints, predicted: Ints, limit: float) -> list[tuple[int, int]]:
    """`match_closest` of points in one chain, where each is at most `limit` from the next."""
    a_pair = int(limit) * min(len(true), len(predicted)) + 1  # worth more than all distances together
    best = np.zeros((len(true) + 1, len(predicted) + 1), np.int64)  # of the first i and j points: worth of the pairs
    for i, at in enumerate(true):
        distance = np.abs(predicted - at)
        gain = best[i, :-1] + np.where(distance <= limit, a_pair - distance, 0)
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], gain))
    pairs = []
    i = len(true)
    j = len(predicted)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i = i - 1
            j = j - 1
            pairs.append((i, j))
    return pairs[::-1]


def boundaries(labels: NDArray[np.integer[Any]]) -> Ints:
    """Steps (B,) whose label is another than that of the step before; neither of the two is -1."""
    x, _, counted = checked_pair(labels, labels)
    return _changes(x, counted)


def _changes(x: Ints, counted: Mask) -> Ints:
    return (np.flatnonzero((x[1:] != x[:-1]) & counted[1:] & counted[:-1]) + 1).astype(np.int64)


def boundary_f1(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], tolerance: float) -> float:
    """F1 of boundaries between segments, of any labels; a hit lies at most `tolerance` steps off.

    One to one, as many hits as possible: a maximum matching, and of those the one with the least sum of distances (it
    settles which boundaries stay alone, not how many). A tolerance beyond half a usual segment makes it an easy score.

    A lone boundary within the tolerance of an edge of left-out steps is not counted, one an edge and side. 1 where
    neither side has a boundary.
    """
    t, p, counted = checked_pair(true, predicted)
    at_t = _changes(t, counted)
    at_p = _changes(p, counted)
    edges = (np.flatnonzero(counted[1:] != counted[:-1]) + 1).astype(np.int64)
    pairs = match_closest(at_t, at_p, tolerance)
    missed = unmatched(np.delete(at_t, pairs[:, 0]), edges, tolerance)
    false = unmatched(np.delete(at_p, pairs[:, 1]), edges, tolerance)
    return f1_from_counts(len(pairs), false, missed)


def unmatched(lone: Ints, unknown: Ints, tolerance: float) -> int:
    """How many lone points find no partner among the places that are not known."""
    return len(lone) - match_count(lone, unknown, tolerance)


TOLERANCE_MS = 150.0
"""How far off a boundary or onset may lie: the limit that is usual for ECG, and ours elsewhere."""
SHARE_OF_SEGMENT = 0.05
"""The same as a share of the mean true segment, where there is no rate or `TOLERANCE_MS` would be too easy."""
LARGEST_SHARE = 0.1
"""Share of the mean true segment that `TOLERANCE_MS` may have: random boundaries then score about 0.2 at most."""


def tolerance_in_steps(tolerance: float, rate_hz: float | None) -> float:
    """A tolerance in ms as steps; without a rate it is in steps already.

    Raises:
        MmkdError: it is below 0, or the rate is not above 0.
    """
    if not tolerance >= 0 or (rate_hz is not None and not rate_hz > 0):
        raise MmkdError(f"tolerance {tolerance} at {rate_hz} steps a second; use a tolerance from 0 and a rate above 0")
    return tolerance if rate_hz is None else tolerance * rate_hz / 1000


def mean_segment(true_labels: Sequence[NDArray[np.integer[Any]]]) -> float:
    """The mean length in steps of the true segments of recordings, of those steps that have a label."""
    steps = sum(int((labels >= 0).sum()) for labels in true_labels)
    segments = sum(len(boundaries(labels)) + 1 for labels in true_labels if (labels >= 0).any())
    return steps / segments if segments else 0.0


def boundary_tolerance(true_labels: Sequence[NDArray[np.integer[Any]]], rate_hz: float | None) -> tuple[str, float]:
    """The name of the boundary F1 of some data, and its tolerance in steps. It depends on the true labels alone.

    `boundary_f1` is within `TOLERANCE_MS`. Where time has no unit, or that is more than `LARGEST_SHARE` of the mean
    true segment, so that boundaries at random would score well, it is `boundary_f1_steps`, within `SHARE_OF_SEGMENT` of
    the mean true segment, in whole steps.
    """
    segment = mean_segment(true_labels)
    if rate_hz is not None:
        tolerance = tolerance_in_steps(TOLERANCE_MS, rate_hz)
        if tolerance <= LARGEST_SHARE * segment:
            return "boundary_f1", tolerance
    return "boundary_f1_steps", float(int(SHARE_OF_SEGMENT * segment))
