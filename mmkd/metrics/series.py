"""Scores of anomaly detection for one series. Plain numpy.

Headline is VUS-PR, the volume under the surface of range-based precision and recall, Paparrizos et al., PVLDB 15(11)
2022, as TSB-AD 1.5 computes it (`version="opt"`, 250 thresholds): packages disagree by up to 0.33, so the variant is
named. `tests/oracles/anomaly.npz` holds numbers of that wheel, which these functions meet to 1e-10.

A point scores high where it is anomalous. A series without an event, or that is one event, has no VUS and no other
score of this module (`MmkdError`).

Cost, n points, e events, V the largest buffer: VUS takes V + 1 passes over the points near events, about V (n + e V)
steps and O(n) memory, 0.06 s for n = 20,000, 7 events and V = 300 on one core; the wheel goes through
its 250 thresholds one by one, 0.34 s at V = 20 where this takes 0.007 s.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

THRESHOLDS = 250
LONGEST_PERIOD = 300
NO_PERIOD = 125
"""The window of a series whose autocorrelation has no peak, in TSB-AD."""
SERIES_METRICS = (
    "vus_pr",
    "vus_roc",
    "auc_pr",
    "auc_roc",
    "range_f1",
    "affiliation_f1",
    "event_f1",
    "point_adjusted_f1",
)
"""What `evaluate` computes, in the order of the columns of `series.csv`."""


def evaluate(score: Floats, labels: NDArray[Any], predicted: NDArray[Any], window: int) -> dict[str, float]:
    """Every score of `SERIES_METRICS` of one series.

    Args:
        score: (n,) finite, high where anomalous.
        labels: (n,) 0 or 1.
        predicted: (n,) 0 or 1: `score` past a threshold, which must not come from these labels.
        window: the largest buffer of VUS, in steps; see `window_length`.

    Raises:
        MmkdError: no event, nothing but an event, or values that are no scores.
    """
    vus_pr, vus_roc = volumes(score, labels, window)
    return {
        "vus_pr": vus_pr,
        "vus_roc": vus_roc,
        "auc_pr": average_precision(score, labels),
        "auc_roc": roc_area(score, labels),
        "range_f1": range_f1(labels, predicted),
        "affiliation_f1": affiliation_f1(labels, predicted),
        "event_f1": event_f1(labels, predicted),
        "point_adjusted_f1": point_adjusted_f1(labels, predicted),
    }


def mean_scores(series: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean over series of each score."""
    return {name: float(np.mean([scores[name] for scores in series.values()])) for name in SERIES_METRICS}


def events(labels: NDArray[Any]) -> tuple[Ints, Ints]:
    """First and last step of each run of ones, both included."""
    edges = np.diff(np.concatenate([[0], np.asarray(labels) > 0, [0]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def volumes(score: Floats, labels: NDArray[Any], window: int, thresholds: int = THRESHOLDS) -> tuple[float, float]:
    """VUS-PR and VUS-ROC: means over the buffers 0..window of the areas below range-based curves.

    Around each event a buffer of w / 2 steps on either side has labels that fall from 1 as sqrt(1 - distance / w). At
    each of `thresholds` quantiles of the score, TP counts these labels at the points that are predicted, recall is
    TP over the mean of the labels' and the reached mass, times the share of the events (merged where their buffers
    meet) in which a point is predicted: the existence reward.

    Raises:
        MmkdError: as `evaluate`.
    """
    score, labels = _checked(score, labels)
    first, last = events(labels)
    n = len(score)
    total = int(labels.sum())
    inside = labels > 0
    cuts = -np.sort(-score)[np.linspace(0, n - 1, thresholds).astype(int)]
    found_at = np.searchsorted(-cuts, -score, side="left")  # the first threshold at which a point is predicted

    def counted(at: Ints, weights: Floats | None = None) -> Floats:
        """How many, or how much, is predicted at each threshold."""
        return np.bincount(at, weights, minlength=thresholds + 1)[:-1].cumsum().astype(float)

    predicted = counted(found_at)
    hit = counted(found_at[inside])
    areas = np.zeros(2)
    for width in range(window + 1):
        reach = width // 2
        starts, ends = _merged(first, last, reach, n)
        earliest = np.minimum.reduceat(np.append(found_at, thresholds), np.stack([starts, ends + 1], 1).ravel())[::2]
        existence = counted(earliest) / len(starts)
        where, label = _buffer(first, last, reach, width, inside)
        true = hit + counted(found_at[where], label)
        mass = (2 * total - hit + true) / 2  # of the mean of all labels and of those reached
        recall = np.minimum(true / mass, 1) * existence
        alarm = (predicted - true) / (n - mass)
        precision = true / predicted
        areas += _areas(recall, alarm, precision)
    pr, roc = areas / (window + 1)
    return float(pr), float(roc)


def _areas(recall: Floats, alarm: Floats, precision: Floats) -> tuple[float, float]:
    """Below the curve of precision over recall, by steps, and of recall over alarms, by trapezoids."""
    recall = np.concatenate([[0], recall])
    alarm = np.concatenate([[0], alarm])
    pr = np.diff(recall) @ precision
    recall = np.append(recall, 1)
    alarm = np.append(alarm, 1)
    return float(pr), float(np.diff(alarm) @ (recall[1:] + recall[:-1]) / 2)


def _merged(first: Ints, last: Ints, reach: int, n: int) -> tuple[Ints, Ints]:
    """The events with `reach` more steps on either side, joined where they then meet."""
    apart = last[:-1] + reach < first[1:] - reach
    starts = np.maximum(first[np.concatenate([[True], apart])] - reach, 0)
    return starts, np.minimum(last[np.concatenate([apart, [True]])] + reach, n - 1)


def _buffer(first: Ints, last: Ints, reach: int, width: int, inside: NDArray[np.bool_]) -> tuple[Ints, Floats]:
    """Steps outside events that have a label, and the label: the sum over events, at most 1."""
    if not reach:
        return np.zeros(0, np.int64), np.zeros(0)
    n = len(inside)
    distance = np.arange(1, reach + 1)
    steps = np.concatenate([(last[:, None] + distance).ravel(), (first[:, None] - distance).ravel()])
    weight = np.tile(np.sqrt(1 - distance / width), 2 * len(first))
    inside_series = (steps >= 0) & (steps < n)
    label = np.minimum(np.bincount(steps[inside_series], weight[inside_series], minlength=n), 1)
    where = np.flatnonzero((label > 0) & ~inside)
    return where, label[where]


def average_precision(score: Floats, labels: NDArray[Any]) -> float:
    """AUC-PR by steps, as scikit-learn's `average_precision_score`; points of equal score count as one threshold."""
    true, predicted = _ranked(*_checked(score, labels))
    recall = np.concatenate([[0], true / true[-1]])
    return float(np.diff(recall) @ (true / predicted))


def roc_area(score: Floats, labels: NDArray[Any]) -> float:
    """AUC-ROC by trapezoids."""
    true, predicted = (np.concatenate([[0], counts]) for counts in _ranked(*_checked(score, labels)))
    recall = true / true[-1]
    alarm = (predicted - true) / (predicted[-1] - true[-1])
    return float(np.diff(alarm) @ (recall[1:] + recall[:-1]) / 2)


def _ranked(score: Floats, labels: Ints) -> tuple[Floats, Floats]:
    """True positives and predicted points at each distinct score, from the highest."""
    order = np.argsort(-score, kind="stable")
    at = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    return labels[order].cumsum()[at].astype(float), at + 1.0


def range_f1(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Range-based F1, Tatbul et al., NeurIPS 2018: flat bias, existence weighs 0.2 in recall, 1 / n for n overlaps.

    As in the wheel a prediction of every point is no range, and scores 0.
    """
    recall = _range_recall(labels, predicted, 0.2)
    precision = _range_recall(predicted, labels, 0.0)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _range_recall(labels: NDArray[Any], predicted: NDArray[Any], alpha: float) -> float:
    (first, last) = events(labels)
    (starts, ends) = events(predicted)
    if not len(first) or np.asarray(labels).all() or not len(starts):
        return 0.0
    reached = np.concatenate([[0], np.cumsum(np.asarray(predicted) > 0)])
    overlap = (reached[last + 1] - reached[first]) / (last - first + 1)
    pieces = np.searchsorted(starts, last, side="right") - np.searchsorted(ends, first, side="left")
    if np.asarray(predicted).all():
        pieces = np.zeros_like(pieces)
    shares = np.divide(overlap, pieces, out=np.zeros(len(first)), where=pieces > 0)
    return float(np.mean(alpha * (overlap > 0) + (1 - alpha) * shares))


def event_f1(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """F1 of the share of events in which a point is predicted, and of the precision of points."""
    first, last = events(labels)
    labels = np.asarray(labels) > 0
    predicted = np.asarray(predicted) > 0
    if not len(first) or not predicted.any():
        return 0.0
    reached = np.concatenate([[0], np.cumsum(predicted)])
    recall = float(np.mean(reached[last + 1] > reached[first]))
    precision = float((labels & predicted).sum() / predicted.sum())
    return 2 * recall * precision / (recall + precision + 1e-15)


def point_adjusted_f1(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """F1 of points after every event with one predicted point is taken as found whole. A warning, not a measure.

    Scores drawn at random come near 1 where events are long. As in the wheel step 0 is never added.
    """
    labels = np.asarray(labels) > 0
    predicted = np.asarray(predicted) > 0
    adjusted = predicted.copy()
    for start, end in zip(*events(labels), strict=True):
        if predicted[start : end + 1].any():
            adjusted[max(start, 1) : end + 1] = True
    return float(2 * (labels & adjusted).sum() / max(labels.sum() + adjusted.sum(), 1))


def affiliation_f1(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Affiliation F1, Huet et al., KDD 2022: how much nearer predictions and events are to each other than by chance.

    Every event has the zone of points nearer to it than to others. In it precision is the mean over predicted time of
    the chance that a point drawn from the zone is farther from the event, recall the mean over the event's time that a
    drawn point is farther from it than the predictions are. Zones without a prediction have recall 0, no precision;
    0 where nothing is predicted (the wheel: NaN).
    """
    spans = [np.stack([first, last + 1.0], 1) for first, last in (events(labels), events(predicted))]
    truth, found_spans = spans
    if not len(truth) or not len(found_spans):
        return 0.0
    middles = (truth[:-1, 1] + truth[1:, 0]) / 2
    borders = np.concatenate([[0.0], middles, [float(len(labels))]])
    precisions = []
    recalls = []
    for event, low, high in zip(truth, borders[:-1], borders[1:], strict=True):
        parts = np.clip(found_spans, low, high)
        parts = parts[parts[:, 1] > parts[:, 0]]
        if len(parts):
            precisions.append(_near_event(parts, event, low, high))
        recalls.append(_near_parts(parts, event, low, high) if len(parts) else 0.0)
    precision = float(np.mean(precisions))
    recall = float(np.mean(recalls))
    return 2 * precision * recall / (precision + recall + 1e-15)


def _near_event(parts: Floats, event: Floats, low: float, high: float) -> float:
    """Mean over the predicted time of the chance that a point of the zone is farther from the event."""
    near = min(event[0] - low, high - event[1])
    bends = np.array([event[0] - near, *event, event[1] + near])

    def chance(t: Floats) -> Floats:
        distance = np.maximum(np.maximum(event[0] - t, t - event[1]), 0)
        closer = event[1] - event[0] + distance + np.minimum(distance, near)
        return np.where(distance > 0, 1 - closer / (high - low), 1.0)

    return float(_integral(chance, parts, bends) / (parts[:, 1] - parts[:, 0]).sum())


def _near_parts(parts: Floats, event: Floats, low: float, high: float) -> float:
    """Mean over the event's time of the chance that a point of the zone is farther than the nearest prediction."""
    edges = parts.ravel()
    middles = (parts[:-1, 1] + parts[1:, 0]) / 2
    centre = (low + high) / 2
    bends = np.concatenate([edges, middles, [centre], (low + edges) / 2, (high + edges) / 2])

    def chance(t: Floats) -> Floats:
        after = np.clip(np.searchsorted(parts[:, 0], t, side="right"), 1, len(parts))
        before = np.maximum(t - parts[after - 1, 1], 0)
        ahead = parts[np.minimum(after, len(parts) - 1), 0] - t
        distance = np.where(t < parts[0, 0], parts[0, 0] - t, np.where(ahead > 0, np.minimum(before, ahead), before))
        closer = distance + np.minimum(distance, np.minimum(t - low, high - t))
        farther: Floats = 1 - closer / (high - low)
        return farther

    return float(_integral(chance, event[None], bends) / (event[1] - event[0]))


def _integral(value: Any, spans: Floats, bends: Floats) -> float:
    """Integral over the spans of a function that is linear between `bends`: by the middle of each piece, exactly."""
    points = np.unique(np.concatenate([spans.ravel(), bends]))
    middle = (points[1:] + points[:-1]) / 2
    length = np.diff(points)
    which = np.searchsorted(spans[:, 0], middle, side="right") - 1
    within = (which >= 0) & (middle < spans[np.maximum(which, 0), 1])
    return float(value(middle[within]) @ length[within])


def window_length(series: NDArray[Any]) -> int:
    """The largest buffer of VUS for a series (n,): its period by TSB-AD's search, in steps.

    The lag from 3 to 400 of the highest local maximum of the autocorrelation over the first 20,000 points, where it is
    within 6 to 303; else 125.
    """
    x = np.asarray(series, float)[:20_000]
    x = x - x.mean()
    power = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    covariance = np.fft.irfft(power)[: min(401, len(x))]
    if covariance[0] <= 0:
        return NO_PERIOD
    lags = (covariance / covariance[0])[3:]
    peaks = np.flatnonzero((lags[1:-1] > lags[:-2]) & (lags[1:-1] > lags[2:])) + 1
    if not len(peaks):
        return NO_PERIOD
    best = int(peaks[np.argmax(lags[peaks])])
    return best + 3 if 3 <= best <= LONGEST_PERIOD else NO_PERIOD


def _checked(score: NDArray[Any], labels: NDArray[Any]) -> tuple[Floats, Ints]:
    """Both as arrays (n,), or MmkdError."""
    score = np.asarray(score, float)
    labels = (np.asarray(labels) > 0).astype(np.int64)
    if score.ndim != 1 or score.shape != labels.shape:
        raise MmkdError(f"scores {score.shape} and labels {labels.shape} are not one value a step; give each (n,)")
    if not np.isfinite(score).all():
        raise MmkdError(f"{int((~np.isfinite(score)).sum())} of {len(score)} scores are NaN or infinite")
    if not labels.any() or labels.all():
        what = "nothing but an event" if labels.any() else "no event"
        raise MmkdError(f"a series with {what} has no VUS and no other score; leave it out and count it")
    return score, labels
