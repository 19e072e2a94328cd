"""Scores of single steps of a recording, or pixels of an image, from confusion matrices. Needs numpy alone.

A recording is a pair `(true, predicted)` of integer sequences (T,). A step counts where both are 0 or more: -1 marks a
step without annotation in `true`, and a step that no window covered in `predicted`. Other steps are left out. Class 0,
the null class, is a class like the others here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import snake_case

IGNORE = -1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Recording = tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]


def checked_pair(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> tuple[Ints, Ints, Mask]:
    """Two label sequences (T,), checked.

    Returns:
        True and predicted labels (T,) as int64, and a mask (T,) of the steps that count: both labels are 0 or more.

    Raises:
        ValueError: they are not two integer sequences of one length, or hold a label below -1.
    """
    t = np.asarray(true)
    p = np.asarray(predicted)
    if t.ndim != 1 or t.shape != p.shape:
        raise ValueError(f"labels of shapes {t.shape} and {p.shape}; wanted two sequences of one length")
    if t.size and not (np.issubdtype(t.dtype, np.integer) and np.issubdtype(p.dtype, np.integer)):
        raise ValueError(f"labels of types {t.dtype} and {p.dtype}; wanted integers")
    t = t.astype(np.int64)
    p = p.astype(np.int64)
    if t.size and min(t.min(), p.min()) < IGNORE:
        raise ValueError(f"label {min(t.min(), p.min())}; the lowest is {IGNORE}, which is left out")
    return t, p, (t >= 0) & (p >= 0)


def counted_steps(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> tuple[Ints, Ints]:
    t, p, counted = checked_pair(true, predicted)
    return t[counted], p[counted]


def f1_from_counts(hits: float, false: float, missed: float) -> float:
    """2 TP / (2 TP + FP + FN); 1 where there is nothing to find and nothing was found."""
    return 2 * hits / (2 * hits + false + missed) if hits + false + missed else 1.0


def confusion_matrix(true: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int) -> Ints:
    """Numbers of steps (K, K): row the true class, column the predicted one.

    Raises:
        ValueError: a label is `classes` or more.
    """
    t, p = counted_steps(true, predicted)
    if t.size and max(t.max(), p.max()) >= classes:
        raise ValueError(f"label {max(t.max(), p.max())} with {classes} classes")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def frame_accuracy(counts: Ints) -> float:
    """Share of steps whose class is right, of a confusion matrix (K, K); NaN without a step."""
    return float(np.trace(counts) / counts.sum()) if counts.any() else float("nan")


def class_f1(counts: Ints) -> Floats:
    """F1 of each class (K,) of a confusion matrix (K, K); NaN where a class is in neither truth nor prediction."""
    hits = np.diag(counts).astype(float)
    both = counts.sum(0) + counts.sum(1)
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
    return mean_of_known(class_f1(counts))


def mean_iou(counts: Ints) -> float:
    """mIoU: mean IoU over the classes in truth or prediction."""
    return mean_of_known(class_iou(counts))


def balanced_accuracy(counts: Ints) -> float:
    """Mean recall over the classes in truth, of a confusion matrix (K, K): scikit-learn's `balanced_accuracy_score`.

    Every class counts the same, however rare. NaN without a step.
    """
    true = counts.sum(1)
    recall: Floats = np.divide(np.diag(counts), true, out=np.full(len(true), np.nan), where=true > 0)
    return mean_of_known(recall)


def mean_of_known(values: Sequence[float] | Floats) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")


def class_names(classes: int | Sequence[str]) -> list[str]:
    """The names of K classes, which are their numbers where only K is known.

    Raises:
        MmkdError: two names are one in snake case.
    """
    names = [str(label) for label in range(classes)] if isinstance(classes, int) else list(classes)
    if len({snake_case(name) for name in names}) < len(names):
        raise MmkdError(f"classes {', '.join(names)}: two have one name in snake case; rename one")
    return names
