"""Scores of segments: runs of one label in a recording. Needs numpy alone.

Steps that do not count (see `metrics.steps`) are taken out and the rest is closed up before segments are formed. What
is left out splits nothing: walking, -1, walking is one segment of walking, and a length is a number of steps that
count. The null class is background: it parts segments and is none.

Shares are from 0 to 1; the edit score, as published, from 0 to 100.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.metrics.steps import Ints, Recording, counted_steps, f1_from_counts

NULL = 0
OVERLAPS = (0.10, 0.25, 0.50)


def segments(labels: NDArray[np.integer[Any]]) -> Ints:
    """Runs of one label (S, 3): first step, last step + 1, label; those of the null class too.

    Steps of -1 are taken out first, and the rest is counted from 0. Where truth and prediction are compared, steps that
    either of them leaves out are taken out of both.
    """
    x, _ = counted_steps(labels, labels)
    if not x.size:
        return np.zeros((0, 3), np.int64)
    start = np.concatenate([[0], np.flatnonzero(np.diff(x)) + 1])
    return np.stack([start, np.append(start[1:], len(x)), x[start]], axis=1).astype(np.int64)


def segment_counts(
    true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], overlaps: Sequence[float] = OVERLAPS
) -> Ints:
    """Hits, false positives and misses (len(overlaps), 3) of segments; they are summed over recordings.

    Lea et al. 2017, arXiv:1611.05267: a predicted segment is held against the true segment of its label that it has
    the best IoU with (of equals the first). It is a hit if that IoU is at least k and no earlier predicted segment has
    taken the true one, else a false positive. True segments that nobody took are misses.
    """
    t, p = counted_steps(true, predicted)
    runs_t = segments(t)
    runs_p = segments(p)
    real_t = int((runs_t[:, 2] != NULL).sum())
    real_p = int((runs_p[:, 2] != NULL).sum())
    # Cut at the starts of both: each piece lies in one true and one predicted segment, and is all that they share.
    start = np.union1d(runs_t[:, 0], runs_p[:, 0])
    length = np.diff(np.append(start, len(t)))
    in_t = np.searchsorted(runs_t[:, 0], start, side="right") - 1
    in_p = np.searchsorted(runs_p[:, 0], start, side="right") - 1
    same = (runs_t[in_t, 2] == runs_p[in_p, 2]) & (runs_t[in_t, 2] != NULL)
    in_t = in_t[same]
    in_p = in_p[same]
    length = length[same]
    size_t = np.diff(runs_t[:, :2])[:, 0]
    size_p = np.diff(runs_p[:, :2])[:, 0]
    iou = length / (size_t[in_t] + size_p[in_p] - length)
    order = np.lexsort((in_t, -iou, in_p))  # the first row of each predicted segment is its best
    in_t = in_t[order]
    in_p = in_p[order]
    iou = iou[order]
    best = np.ones(len(in_p), bool)
    best[1:] = in_p[1:] != in_p[:-1]
    counts = []
    for overlap in overlaps:
        if not 0 < overlap <= 1:
            raise ValueError(f"overlap {overlap} is not above 0 and at most 1")
        hits = len(np.unique(in_t[best & (iou >= overlap)]))
        counts.append((hits, real_p - hits, real_t - hits))
    return np.array(counts, np.int64).reshape(len(overlaps), 3)


def segmental_f1(recordings: Sequence[Recording], overlap: float) -> float:
    """F1@k of segments; hits, false positives and misses are pooled over the recordings.

    The rule is that of Lea et al. 2017, arXiv:1611.05267; pooled as in Farha and Gall 2019, arXiv:1903.01945. 1 where
    neither side has a segment.
    """
    hits, false, missed = sum((segment_counts(t, p, [overlap])[0] for t, p in recordings), np.zeros(3, np.int64))
    return f1_from_counts(int(hits), int(false), int(missed))


def edit_score(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> float:
    """100 (1 - d / n), d the Levenshtein distance of the segments' labels, n the greater number of segments.

    Segments of the null class are dropped first, and what was parted by them stays parted. 100 where neither side has
    a segment, 0 where one has none. Lea et al. 2017, arXiv:1611.05267.
    """
    t, p = (segments(x)[:, 2] for x in counted_steps(true, predicted))
    a = t[t != NULL].tolist()
    b = p[p != NULL].tolist()
    longest = max(len(a), len(b))
    return 100 * (1 - levenshtein(a, b) / longest) if longest else 100.0


def levenshtein(a: Sequence[int], b: Sequence[int]) -> int:
    """Least number of insertions, deletions and replacements that turn `a` into `b`.

    A column of the usual table at a time, its differences kept as bits. Myers 1999, in the form of Hyyro 2003.
    """
    if not a or not b:
        return len(a) + len(b)
    where: dict[int, int] = {}
    for i, label in enumerate(a):
        where[label] = where.get(label, 0) | 1 << i
    full = (1 << len(a)) - 1
    last = 1 << (len(a) - 1)
    up = full
    down = 0
    distance = len(a)  # down the column: where it rises, where it falls; its last entry
    for label in b:
        match = where.get(label, 0)
        level = (((match & up) + up) ^ up) | match | down
        rise = down | (full & ~(level | up))
        fall = up & level  # along the row
        distance += bool(rise & last) - bool(fall & last)
        rise = (rise << 1 | 1) & full
        fall = (fall << 1) & full
        up = fall | (full & ~(level | rise))
        down = rise & level
    return distance
