"""Scores of the dense task, where every step of a recording has a class; and its windows put together again.

An image is scored as a recording of its pixels row by row, without what needs an order: segments and places.

A recording is a pair `(true, predicted)` of integer sequences (T,). Class 0 is the null class. A step counts where both
are 0 or more: -1 marks a step without annotation in `true`, and a step that no window covered in `predicted`. Other
steps are left out, in this way:

- **Steps** (accuracy, F1, IoU): they are not counted. The null class is a class like the others.
- **Segments** (F1@k, edit score): they are taken out and the rest is closed up, before segments are formed. What is
  left out splits nothing: walking, -1, walking is one segment of walking, and a length is a number of steps that count.
  The null class is background: it parts segments and is none.
- **Places** (boundaries, onsets, offsets) stay in the time of the recording. Where a change lies is known only between
  two neighbours that both count. A change beside left-out steps may lie anywhere among them: it is neither asked for
  nor a mistake, and a lone point of the other side within the tolerance of it may be its partner and is not counted
  either, one for each such place (our rule; the papers have recordings without such margins).

Shares are from 0 to 1; the edit score, as published, from 0 to 100.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import snake_case

IGNORE = -1
NULL = 0
OVERLAPS = (0.10, 0.25, 0.50)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Recording = tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]


def _pair(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> tuple[Ints, Ints, Mask]:
    """Both as int64, and which steps count.

    Raises:
        ValueError: they are not two integer sequences of one length, or hold a label below -1.
    """
    t, p = np.asarray(true), np.asarray(predicted)
    if t.ndim != 1 or t.shape != p.shape:
        raise ValueError(f"labels of shapes {t.shape} and {p.shape}; wanted two sequences of one length")
    if t.size and not (np.issubdtype(t.dtype, np.integer) and np.issubdtype(p.dtype, np.integer)):
        raise ValueError(f"labels of types {t.dtype} and {p.dtype}; wanted integers")
    t, p = t.astype(np.int64), p.astype(np.int64)
    if t.size and min(t.min(), p.min()) < IGNORE:
        raise ValueError(f"label {min(t.min(), p.min())}; the lowest is {IGNORE}, which is left out")
    return t, p, (t >= 0) & (p >= 0)


def _closed(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> tuple[Ints, Ints]:
    t, p, kept = _pair(true, predicted)
    return t[kept], p[kept]


def _f1(hits: float, false: float, missed: float) -> float:
    """2 TP / (2 TP + FP + FN); 1 where there is nothing to find and nothing was found."""
    return 2 * hits / (2 * hits + false + missed) if hits + false + missed else 1.0


# Steps ----------------------------------------------------------------------------------------------------------------


def confusion_matrix(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int) -> Ints:
    """Numbers of steps (K, K): row the true class, column the predicted one.

    Raises:
        ValueError: a label is `classes` or more.
    """
    t, p = _closed(true, predicted)
    if t.size and max(t.max(), p.max()) >= classes:
        raise ValueError(f"label {max(t.max(), p.max())} with {classes} classes")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def frame_accuracy(counts: Ints) -> float:
    """Share of steps whose class is right, of a confusion matrix (K, K); NaN without a step."""
    return float(np.trace(counts) / counts.sum()) if counts.any() else float("nan")


def class_f1(counts: Ints) -> Floats:
    """F1 of each class (K,) of a confusion matrix (K, K); NaN where a class is in neither truth nor prediction."""
    hits, both = np.diag(counts).astype(float), counts.sum(0) + counts.sum(1)
    f1: Floats = np.divide(2 * hits, both, out=np.full(len(hits), np.nan), where=both > 0)
    return f1


def class_iou(counts: Ints) -> Floats:
    """Intersection over union of each class (K,); NaN where a class is in neither truth nor prediction."""
    hits = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    iou: Floats = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    return iou


def macro_f1(counts: Ints) -> float:
    """Mean F1 over the classes in truth or prediction: what scikit-learn takes where `labels` is not given."""
    return _mean(class_f1(counts))


def mean_iou(counts: Ints) -> float:
    """mIoU: mean IoU over the classes in truth or prediction."""
    return _mean(class_iou(counts))


def _mean(values: Sequence[float] | Floats) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")


# Segments -------------------------------------------------------------------------------------------------------------


def segments(labels: NDArray[np.integer[Any]]) -> Ints:
    """Runs of one label (S, 3): first step, last step + 1, label; those of the null class too.

    Steps of -1 are taken out first, and the rest is counted from 0. Where truth and prediction are compared, steps that
    either of them leaves out are taken out of both.
    """
    x, _ = _closed(labels, labels)
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
    t, p = _closed(true, predicted)
    runs_t, runs_p = segments(t), segments(p)
    real_t, real_p = int((runs_t[:, 2] != NULL).sum()), int((runs_p[:, 2] != NULL).sum())
    # Cut at the starts of both: each piece lies in one true and one predicted segment, and is all that they share.
    start = np.union1d(runs_t[:, 0], runs_p[:, 0])
    length = np.diff(np.append(start, len(t)))
    in_t = np.searchsorted(runs_t[:, 0], start, side="right") - 1
    in_p = np.searchsorted(runs_p[:, 0], start, side="right") - 1
    same = (runs_t[in_t, 2] == runs_p[in_p, 2]) & (runs_t[in_t, 2] != NULL)
    in_t, in_p, length = in_t[same], in_p[same], length[same]
    size_t, size_p = np.diff(runs_t[:, :2])[:, 0], np.diff(runs_p[:, :2])[:, 0]
    iou = length / (size_t[in_t] + size_p[in_p] - length)
    order = np.lexsort((in_t, -iou, in_p))  # the first row of each predicted segment is its best
    in_t, in_p, iou = in_t[order], in_p[order], iou[order]
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
    return _f1(int(hits), int(false), int(missed))


def edit_score(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> float:
    """100 (1 - d / n), d the Levenshtein distance of the segments' labels, n the greater number of segments.

    Segments of the null class are dropped first, and what was parted by them stays parted. 100 where neither side has
    a segment, 0 where one has none. Lea et al. 2017, arXiv:1611.05267.
    """
    t, p = (segments(x)[:, 2] for x in _closed(true, predicted))
    a, b = t[t != NULL].tolist(), p[p != NULL].tolist()
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
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = full, 0, len(a)  # down the column: where it rises, where it falls; its last entry
    for label in b:
        match = where.get(label, 0)
        level = (((match & up) + up) ^ up) | match | down
        rise, fall = down | (full & ~(level | up)), up & level  # along the row
        distance += bool(rise & last) - bool(fall & last)
        rise, fall = (rise << 1 | 1) & full, (fall << 1) & full
        up, down = fall | (full & ~(level | rise)), rise & level
    return distance


# Places ---------------------------------------------------------------------------------------------------------------


def match_count(true: Ints, predicted: Ints, tolerance: float) -> int:
    """How many points can find a partner at most `tolerance` away, one to one.

    Both must be sorted. The two earliest points are paired if they can be, else the earlier one can have no partner.
    That is a maximum matching: in any other one, the pair of the two earliest can be put in without losing a pair.
    """
    a, b, i, j, found = true.tolist(), predicted.tolist(), 0, 0, 0
    limit = tolerance + 1e-9
    while i < len(a) and j < len(b):
        gap = b[j] - a[i]
        if gap > limit:
            i += 1
        elif gap < -limit:
            j += 1
        else:
            i, j, found = i + 1, j + 1, found + 1
    return found


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
    pairs, i, j = [], len(true), len(predicted)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def boundaries(labels: NDArray[np.integer[Any]]) -> Ints:
    """Steps (B,) whose label is another than that of the step before; neither of the two is -1."""
    x, _, kept = _pair(labels, labels)
    return _changes(x, kept)


def _changes(x: Ints, kept: Mask) -> Ints:
    return (np.flatnonzero((x[1:] != x[:-1]) & kept[1:] & kept[:-1]) + 1).astype(np.int64)


def boundary_f1(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], tolerance: float) -> float:
    """F1 of boundaries between segments, of any labels; a hit lies at most `tolerance` steps off.

    One to one, as many hits as possible: a maximum matching, and of those the one with the least sum of distances (it
    settles which boundaries stay alone, not how many). A tolerance beyond half a usual segment makes it an easy score.

    A lone boundary within the tolerance of an edge of left-out steps is not counted, one an edge and side. 1 where
    neither side has a boundary.
    """
    t, p, kept = _pair(true, predicted)
    at_t, at_p = _changes(t, kept), _changes(p, kept)
    edges = (np.flatnonzero(kept[1:] != kept[:-1]) + 1).astype(np.int64)
    pairs = match_closest(at_t, at_p, tolerance)
    missed = _open(np.delete(at_t, pairs[:, 0]), edges, tolerance)
    false = _open(np.delete(at_p, pairs[:, 1]), edges, tolerance)
    return _f1(len(pairs), false, missed)


def _open(lone: Ints, unknown: Ints, tolerance: float) -> int:
    """How many lone points find no partner among the places that are not known."""
    return len(lone) - match_count(lone, unknown, tolerance)


def _ends(x: Ints, kept: Mask, label: int) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Onsets, then offsets of the segments of `label`; of each those that are known, and those that are not."""
    inside = np.concatenate([[False], (x == label) & kept, [False]])
    known = np.concatenate([[False], kept, [False]])
    rises, falls = ~inside[:-1] & inside[1:], inside[:-1] & ~inside[1:]
    both = known[:-1] & known[1:]
    found = [np.flatnonzero(where).astype(np.int64) for where in (rises & both, rises & ~both, falls & both)]
    return (found[0], found[1]), (found[2], np.flatnonzero(falls & ~both).astype(np.int64))


@dataclass(frozen=True)
class PointScores:
    """How well the onsets, or the offsets, of one class are found, over all recordings.

    Attributes:
        hits: how many were found within the tolerance.
        false: how many are in the prediction alone.
        missed: how many are in the truth alone.
        sensitivity: hits / (hits + missed); NaN without a true point.
        ppv: positive predictive value, hits / (hits + false); NaN without a predicted point.
        f1: NaN without any point.
        error_mean: mean over the hits of predicted minus true, in ms (in steps without a rate); above 0 is late.
        error_sd: standard deviation of the same, divisor n - 1; NaN below two hits.
    """

    hits: int
    false: int
    missed: int
    sensitivity: float
    ppv: float
    f1: float
    error_mean: float
    error_sd: float


def delineation(
    recordings: Sequence[Recording],
    classes: int | Sequence[str],
    rate_hz: float | None,
    tolerance_ms: float = 150.0,
) -> dict[tuple[str, str], PointScores]:
    """Onset and offset of each class's segments but the null class's: (class, "onset" or "offset") -> scores.

    Found is what lies at most `tolerance_ms` off, the limit that is usual for ECG (Moskalenko et al. 2020,
    arXiv:2001.04689); one to one, as many as possible and of those ways the one with the least sum of errors (ours).
    Counts and errors are pooled over the recordings. A segment that touches left-out steps or the end of the recording
    has no known onset or offset there.

    Args:
        recordings: pairs (true, predicted) of (T,) labels.
        classes: number of classes K, or their K names; the first is the null class.
        rate_hz: steps a second; None: the tolerance and the errors are in steps.
        tolerance_ms: in ms, or in steps.
    """
    names = class_names(classes)
    steps, unit = _steps(tolerance_ms, rate_hz), 1000 / rate_hz if rate_hz else 1.0
    found = {(name, end): ([0, 0, 0], list[Floats]()) for name in names[1:] for end in ("onset", "offset")}
    for true, predicted in recordings:
        t, p, kept = _pair(true, predicted)
        for label, name in enumerate(names[1:], 1):
            ends = zip(("onset", "offset"), _ends(t, kept, label), _ends(p, kept, label), strict=True)
            for end, (at_t, cut_t), (at_p, cut_p) in ends:
                pairs = match_closest(at_t, at_p, steps)
                counts, errors = found[name, end]
                counts[0] += len(pairs)
                counts[1] += _open(np.delete(at_p, pairs[:, 1]), cut_t, steps)
                counts[2] += _open(np.delete(at_t, pairs[:, 0]), cut_p, steps)
                errors.append(unit * (at_p[pairs[:, 1]] - at_t[pairs[:, 0]]).astype(np.float64))
    return {
        key: _point_scores(counts[0], counts[1], counts[2], np.concatenate([np.zeros(0), *errors]))
        for key, (counts, errors) in found.items()
    }


def _point_scores(hits: int, false: int, missed: int, errors: Floats) -> PointScores:
    nan = float("nan")
    return PointScores(
        hits=hits,
        false=false,
        missed=missed,
        sensitivity=hits / (hits + missed) if hits + missed else nan,
        ppv=hits / (hits + false) if hits + false else nan,
        f1=_f1(hits, false, missed) if hits + false + missed else nan,
        error_mean=float(errors.mean()) if hits else nan,
        error_sd=float(errors.std(ddof=1)) if hits > 1 else nan,
    )


def delineation_scores(
    recordings: Sequence[Recording],
    classes: int | Sequence[str],
    rate_hz: float | None,
    tolerance_ms: float = 150.0,
) -> dict[str, float]:
    """`delineation` as one flat mapping, such as `onset_ppv_qrs`; what is not defined is left out, for a record."""
    flat = {
        f"{end}_{score}_{snake_case(name)}": float(value)
        for (name, end), points in delineation(recordings, classes, rate_hz, tolerance_ms).items()
        for score, value in asdict(points).items()
    }
    return {name: value for name, value in flat.items() if not np.isnan(value)}


def _steps(tolerance: float, rate_hz: float | None) -> float:
    """The tolerance in steps.

    Raises:
        MmkdError: it is below 0, or the rate is not above 0.
    """
    if not tolerance >= 0 or (rate_hz is not None and not rate_hz > 0):
        raise MmkdError(f"tolerance {tolerance} at {rate_hz} steps a second; use a tolerance from 0 and a rate above 0")
    return tolerance if rate_hz is None else tolerance * rate_hz / 1000


# All together ---------------------------------------------------------------------------------------------------------


def class_names(classes: int | Sequence[str]) -> list[str]:
    """The names of K classes, which are their numbers where only K is known.

    Raises:
        MmkdError: two names are one in snake case.
    """
    names = [str(label) for label in range(classes)] if isinstance(classes, int) else list(classes)
    if len({snake_case(name) for name in names}) < len(names):
        raise MmkdError(f"classes {', '.join(names)}: two have one name in snake case; rename one")
    return names


class StepScores:
    """Scores of steps from confusion matrices, one a recording (or an image) at a time, so that any number fits memory.

    Args:
        classes: number of classes K, or their K names.

    Raises:
        MmkdError: two names are one in snake case.
    """

    def __init__(self, classes: int | Sequence[str]) -> None:
        self.names = class_names(classes)
        self.pooled = np.zeros((len(self.names),) * 2, np.int64)
        self.each: list[tuple[float, float, float]] = []
        self.ious: list[Floats] = []

    def add(self, counts: Ints) -> None:
        """Count a recording in, by its confusion matrix (K, K); one without a step that counts is left out."""
        if counts.any():
            self.each.append((frame_accuracy(counts), macro_f1(counts), mean_iou(counts)))
            self.ious.append(class_iou(counts))
            self.pooled += counts

    def found(self) -> dict[str, float]:
        """`accuracy`, `macro_f1`, `miou`, the three pooled, and `iou_<class>`, as in `DenseScores`; none is NaN."""
        accuracy, f1, miou = np.array(self.each).mean(axis=0).tolist()
        means = zip(self.names, map(_mean, np.stack(self.ious, axis=1)), strict=True)
        return {
            "accuracy": accuracy,
            "macro_f1": f1,
            "miou": miou,
            "pooled_accuracy": frame_accuracy(self.pooled),
            "pooled_macro_f1": macro_f1(self.pooled),
            "pooled_miou": mean_iou(self.pooled),
            **{f"iou_{snake_case(name)}": value for name, value in means if not np.isnan(value)},
        }


@dataclass(frozen=True)
class DenseScores:
    """Scores of the dense task over recordings; see the module for the steps that count.

    `accuracy`, `macro_f1`, `miou`, `edit` and `boundary_f1` are of each recording, then their mean. A recording without
    a step that counts is left out.

    Attributes:
        accuracy: share of steps that are right.
        macro_f1: over the classes in truth or prediction of the recording.
        miou: over the same classes.
        edit: edit score of the segments, 0 to 100.
        boundary_f1: of boundaries within the tolerance.
        f1_10: segmental F1 at IoU 0.10; counts are pooled over recordings, as published.
        f1_25: at 0.25.
        f1_50: at 0.50.
        pooled_accuracy: all steps of all recordings as one.
        pooled_macro_f1: likewise.
        pooled_miou: likewise.
        iou: class -> its IoU, the mean over the recordings with that class in truth or prediction; a class in none is
            not there. Its mean over classes is not `miou`, which has a mean over recordings outside.
    """

    accuracy: float
    macro_f1: float
    miou: float
    edit: float
    boundary_f1: float
    f1_10: float
    f1_25: float
    f1_50: float
    pooled_accuracy: float
    pooled_macro_f1: float
    pooled_miou: float
    iou: Mapping[str, float]

    @classmethod
    def of(
        cls,
        recordings: Sequence[Recording],
        classes: int | Sequence[str],
        rate_hz: float | None,
        tolerance_ms: float = 150.0,
    ) -> "DenseScores":
        """See `dense_scores`."""
        of_steps, steps = StepScores(classes), _steps(tolerance_ms, rate_hz)
        edits, f1s, of_segments = [], [], np.zeros((len(OVERLAPS), 3), np.int64)
        for true, predicted in recordings:
            counts = confusion_matrix(true, predicted, len(of_steps.names))
            if not counts.any():
                continue
            of_steps.add(counts)
            edits.append(edit_score(true, predicted))
            f1s.append(boundary_f1(true, predicted, steps))
            of_segments += segment_counts(true, predicted)
        if not edits:
            raise MmkdError(f"{len(recordings)} recordings without one annotated and predicted step; nothing to score")
        f1_10, f1_25, f1_50 = (_f1(*row) for row in of_segments.tolist())
        found = of_steps.found()
        iou = {name.removeprefix("iou_"): found.pop(name) for name in list(found) if name.startswith("iou_")}
        segmental = {"edit": _mean(edits), "boundary_f1": _mean(f1s), "f1_10": f1_10, "f1_25": f1_25, "f1_50": f1_50}
        return cls(**found, **segmental, iou=iou)

    def flat(self) -> dict[str, float]:
        """All of them by name, the IoU of a class as `iou_<class>`."""
        found = {name: value for name, value in asdict(self).items() if name != "iou"}
        return found | {f"iou_{name}": value for name, value in self.iou.items()}


def dense_scores(
    recordings: Sequence[Recording],
    classes: int | Sequence[str],
    rate_hz: float | None,
    tolerance_ms: float = 150.0,
) -> dict[str, float]:
    """The scores of `DenseScores` by name; none is NaN.

    Args:
        recordings: pairs (true, predicted) of (T,) labels from -1 to K - 1.
        classes: number of classes K, or their K names; the first is the null class.
        rate_hz: steps a second; None: `tolerance_ms` is in steps.
        tolerance_ms: of `boundary_f1`, in ms; the default is that of ECG and ours elsewhere.

    Raises:
        MmkdError: no recording has a step that counts; two classes have one name; tolerance or rate make no sense.
        ValueError: sequences of different lengths, or labels out of range.
    """
    return DenseScores.of(recordings, classes, rate_hz, tolerance_ms).flat()


# Windows --------------------------------------------------------------------------------------------------------------


def stitch(
    windows: NDArray[Any], recording: NDArray[np.integer[Any]], start: NDArray[np.integer[Any]]
) -> dict[int, Ints]:
    """The labels of whole recordings from those of their windows, which may overlap and come in any order.

    Probabilities are averaged where windows overlap; the class is the greatest mean, of equals the lowest. Labels are
    put to the vote in the same way, and -1 casts none. A step in no window stays -1.

    Args:
        windows: (n, T) integer labels, -1 left out, or (n, T, K) probabilities (of logits (n, K, T), swap the axes).
        recording: (n,) the number of each window's recording.
        start: (n,) the step of its recording at which each window begins.

    Returns:
        Number of the recording -> labels from its step 0 to the end of its last window, in the order of the numbers.

    Raises:
        ValueError: shapes or types that do not fit, or a window that begins before its recording.
    """
    windows, recording, start = np.asarray(windows), np.asarray(recording), np.asarray(start)
    n = len(recording)
    if windows.ndim not in (2, 3) or recording.shape != (n,) or start.shape != (n,) or len(windows) != n:
        raise ValueError(f"windows {windows.shape} of recordings {recording.shape} with starts {start.shape}")
    voting = windows.ndim == 2
    if voting and n and (not np.issubdtype(windows.dtype, np.integer) or windows.min(initial=0) < IGNORE):
        raise ValueError(f"windows of {windows.dtype} from {windows.min(initial=0)}; labels are integers from {IGNORE}")
    if n and start.min() < 0:
        raise ValueError(f"a window starts at {start.min()}, before its recording")
    width = windows.shape[1]
    classes = int(windows.max(initial=0)) + 1 if voting else windows.shape[2]
    found = {}
    order = np.lexsort((start, recording))  # the sum does not hang on the order of the windows
    for number in np.unique(recording):
        own = order[recording[order] == number]
        total = np.zeros((int(start[own].max()) + width, classes))
        covered = np.zeros(len(total), bool)
        for window, at in zip(windows[own], start[own], strict=True):
            part = slice(at, at + width)
            if voting:
                votes = window >= 0
                total[part][votes, window[votes]] += 1
                covered[part] |= votes
            else:
                total[part] += window
                covered[part] = True
        found[int(number)] = np.where(covered, total.argmax(1), IGNORE).astype(np.int64)
    return found
