"""Folds of the training part: of its subjects, or of each class where there are no subjects.

They serve the selection phase, which reads no test windows, and teachers that do not see what they predict.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.dataset import Dataset
from mmkd.data.splits import Indices, Split, draw_validation


def deal_classes(y: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Deal windows to folds so that every class, and all windows, are spread as evenly as they can be.

    The windows of a class are shuffled, the same way every time, and dealt like cards; the next class goes on where the
    last one ended.

    Args:
        y: (N,) class numbers.
        folds: number of folds, K.

    Returns:
        (N,) the fold of each window, 0 to K - 1.
    """
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.flatnonzero(y == k)) for k in np.unique(y)])
    numbers = np.empty(len(y), np.int64)
    numbers[order] = np.arange(len(y)) % folds
    return numbers


def fold_numbers(data: Dataset, windows: Indices, folds: int) -> NDArray[np.int64]:
    """The fold of each of these training windows, 0 to `folds` - 1; the same for every seed.

    Whole subjects are dealt, to groups with about the same number of windows. Where there are no subjects, the windows
    of each class are dealt.

    Raises:
        MmkdError: the data set has series, or there are fewer subjects, or windows of the most frequent class, than
            folds.
    """
    if data.series is not None:
        raise MmkdError(f"data {data.name!r} has series, whose prefixes are not cut into folds; leave it out")
    if data.subject is None:
        labels = data.y[windows] if data.y.ndim == 1 else np.zeros(len(windows), np.int64)
        most = int(np.unique(labels, return_counts=True)[1].max())
        if not 2 <= folds <= most:
            raise MmkdError(
                f"{folds} folds of the training part of data {data.name!r}: its most frequent class has {most} "
                + (f"windows; take 2 to {most} folds" if most > 1 else "window, which cannot be cut")
            )
        return deal_classes(labels, folds)
    subjects = data.subject[windows]
    count = len(np.unique(subjects))
    if not 2 <= folds <= count:
        raise MmkdError(
            f"{folds} folds of the training part of data {data.name!r}: it has "
            + (f"{count} subjects; take 2 to {count}" if count > 1 else "one subject, which cannot be cut")
        )
    from sklearn.model_selection import GroupKFold

    numbers = np.empty(len(windows), np.int64)
    for number, (_, held_out) in enumerate(GroupKFold(folds).split(subjects, groups=subjects)):
        numbers[held_out] = number
    return numbers


def split_inner(data: Dataset, outer: Split, number: int, folds: int, seed: int, fraction: float) -> Split:
    """The split whose test part is one fold of the training part of `outer`, and which trains on the other folds.

    The test part of `outer` is in no part of the result.

    Args:
        outer: without a validation part.
        number: of the fold, from 1.
        folds: number of folds.
        seed: of the draw of a validation part.
        fraction: share of the other folds that becomes the validation part; 0: none.

    Raises:
        MmkdError: there are too few subjects or windows for so many folds, or for a validation part.
    """
    pool = outer.train
    held_out = fold_numbers(data, pool, folds) == number - 1
    train = pool[~held_out]
    validation = train[:0]
    if fraction:
        validation = draw_validation(data, train, np.random.default_rng(seed), fraction)
        train = train[~np.isin(train, validation)]
    return replace(outer, train=train, validation=validation, test=pool[held_out])
