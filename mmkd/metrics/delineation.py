"""Onsets and offsets of each class's segments: how many are found, and how late or early. Needs numpy alone.

See `metrics.boundaries` for changes beside left-out steps.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.text import snake_case
from mmkd.metrics.boundaries import TOLERANCE_MS, match_closest, tolerance_in_steps, unmatched
from mmkd.metrics.steps import Floats, Ints, Mask, Recording, checked_pair, class_names, f1_from_counts


def _ends(x: Ints, counted: Mask, label: int) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Onsets, then offsets of the segments of `label`; of each those that are known, and those that are not."""
    inside = np.concatenate([[False], (x == label) & counted, [False]])
    known = np.concatenate([[False], counted, [False]])
    rises = ~inside[:-1] & inside[1:]
    falls = inside[:-1] & ~inside[1:]
    both = known[:-1] & known[1:]
    masks = (rises & both, rises & ~both, falls & both, falls & ~both)
    onsets, cut_onsets, offsets, cut_offsets = (np.flatnonzero(mask).astype(np.int64) for mask in masks)
    return (onsets, cut_onsets), (offsets, cut_offsets)


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
    tolerance_ms: float | None = None,
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
        tolerance_ms: in ms, or in steps without a rate, where it has no default; 150 ms.

    Raises:
        MmkdError: there is neither a rate nor a tolerance, or one that makes no sense.
    """
    names = class_names(classes)
    if tolerance_ms is None:
        if rate_hz is None:
            raise MmkdError(f"onsets within {TOLERANCE_MS:g} ms of data without a rate; give a tolerance in steps")
        tolerance_ms = TOLERANCE_MS
    steps = tolerance_in_steps(tolerance_ms, rate_hz)
    unit = 1000 / rate_hz if rate_hz else 1.0
    totals = {(name, end): ([0, 0, 0], list[Floats]()) for name in names[1:] for end in ("onset", "offset")}
    for true, predicted in recordings:
        t, p, counted = checked_pair(true, predicted)
        for label, name in enumerate(names[1:], 1):
            ends = zip(("onset", "offset"), _ends(t, counted, label), _ends(p, counted, label), strict=True)
            for end, (at_t, cut_t), (at_p, cut_p) in ends:
                pairs = match_closest(at_t, at_p, steps)
                counts, errors = totals[name, end]
                counts[0] += len(pairs)
                counts[1] += unmatched(np.delete(at_p, pairs[:, 1]), cut_t, steps)
                counts[2] += unmatched(np.delete(at_t, pairs[:, 0]), cut_p, steps)
                errors.append(unit * (at_p[pairs[:, 1]] - at_t[pairs[:, 0]]).astype(np.float64))
    return {
        key: _point_scores(counts[0], counts[1], counts[2], np.concatenate([np.zeros(0), *errors]))
        for key, (counts, errors) in totals.items()
    }


def _point_scores(hits: int, false: int, missed: int, errors: Floats) -> PointScores:
    nan = float("nan")
    return PointScores(
        hits=hits,
        false=false,
        missed=missed,
        sensitivity=hits / (hits + missed) if hits + missed else nan,
        ppv=hits / (hits + false) if hits + false else nan,
        f1=f1_from_counts(hits, false, missed) if hits + false + missed else nan,
        error_mean=float(errors.mean()) if hits else nan,
        error_sd=float(errors.std(ddof=1)) if hits > 1 else nan,
    )


def delineation_scores(
    recordings: Sequence[Recording],
    classes: int | Sequence[str],
    rate_hz: float | None,
    tolerance_ms: float | None = None,
) -> dict[str, float]:
    """`delineation` as one flat mapping, such as `onset_ppv_qrs`; what is not defined is left out, for a record."""
    flat = {
        f"{end}_{score}_{snake_case(name)}": float(value)
        for (name, end), points in delineation(recordings, classes, rate_hz, tolerance_ms).items()
        for score, value in asdict(points).items()
    }
    return {name: value for name, value in flat.items() if not np.isnan(value)}
