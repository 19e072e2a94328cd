"""The tested windows of a row class by class: confusion, reliability, and scores of each class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmkd.comparison.predictions import Predictions, read_predictions
from mmkd.comparison.rows import Row
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.metrics.classes import Reliability, reliability
from mmkd.store.record import Record


@dataclass(frozen=True)
class ClassCounts:
    """A row's predictions over its seeds, and folds.

    Attributes:
        counts: (units, K, K) windows, or labelled steps, by true and predicted class.
        reliability: of the windows of all units together; None where a step and not a window has a label.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    reliability: Reliability | None


def count_classes(row: Row, notes: list[str]) -> ClassCounts | None:
    """What all units of a row predicted; those whose predictions cannot be read are left out."""
    counts: list[NDArray[np.int64]] = []
    probabilities = []
    true = []
    classes: tuple[str, ...] = ()
    for unit in row.members:
        if unit.record is None:
            continue
        predictions = read_predictions(unit.record)
        names = class_names(unit.record)
        if isinstance(predictions, Refusal):
            notes.append(predictions.why)
            continue
        k = max(len(names), int(predictions.true.max()) + 1, int(predictions.predicted.max()) + 1)
        if not k:
            notes.append(f"no label is known of what unit {unit.key} was tested on")
            continue
        names = (*names, *(f"class {number}" for number in range(len(names), k)))
        if counts and names != classes:
            notes.append(f"unit {unit.key} has other classes; left out of the confusion matrix")
            continue
        classes = names
        counts.append(count_predictions(predictions, k))
        if predictions.probabilities is not None:
            probabilities.append(predictions.probabilities)
            true.append(predictions.true)
    if not counts:
        return None
    has_all = len(probabilities) == len(counts) and len({p.shape[1] for p in probabilities}) == 1
    calibration = reliability(np.concatenate(true), np.concatenate(probabilities)) if has_all else None
    return ClassCounts(classes, np.stack(counts), calibration)


def class_names(record: Record) -> tuple[str, ...]:
    """The names of the classes, cut to a length that a figure has room for."""
    names = record.data.get("classes") or []
    return tuple(shorten(str(name), 40) or f"class {number}" for number, name in enumerate(names))


def count_predictions(predictions: Predictions, classes: int) -> NDArray[np.int64]:
    """Windows, or steps whose label is known, by true (rows) and predicted class, (K, K)."""
    known = (predictions.true >= 0) & (predictions.predicted >= 0)
    cells = predictions.true[known] * classes + predictions.predicted[known]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """Of one class, means over the units; None where no unit has the class in truth (or prediction) at all."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: float


def class_scores(tested: ClassCounts) -> list[ClassScores]:
    """Precision, recall and F1 of each class: of each unit, then their mean; `support` is such a mean, too."""
    hits = np.einsum("skk->sk", tested.counts)
    predicted = tested.counts.sum(1)
    true = tested.counts.sum(2)
    return [
        ClassScores(
            name=name,
            precision=_mean_ratio(hits[:, n], predicted[:, n]),
            recall=_mean_ratio(hits[:, n], true[:, n]),
            f1=_mean_ratio(2 * hits[:, n], predicted[:, n] + true[:, n]),
            support=float(true[:, n].mean()),
        )
        for n, name in enumerate(tested.classes)
    ]


def _mean_ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> float | None:
    """The mean of part / whole over the units where there is a whole."""
    defined = whole > 0
    return float((part[defined] / whole[defined]).mean()) if defined.any() else None
