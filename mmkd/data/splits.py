"""Training, validation and test windows: cut by subject, or stratified by class where a set has no subjects."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from mmkd.core import keys
from mmkd.core.errors import MmkdError
from mmkd.data.windows import Dataset

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Window numbers of each part; `validation` is empty where the last epoch is taken without looking.

    `unit` says what was cut: "subject" or "window" (stratified by class).
    """

    train: Indices
    validation: Indices
    test: Indices
    unit: str

    @cached_property
    def train_digest(self) -> str:
        """Hash of the training windows, for the keys of views that are fitted on them."""
        return keys.digest(np.asarray(self.train).tolist())

    @cached_property
    def sha256(self) -> str:
        """Checksum of the three parts, for records and cache keys."""
        digest = sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(np.asarray(part, np.int64).tobytes() + b"|")
        return digest.hexdigest()


def split_windows(
    data: Dataset, seed: int, fraction: float = 0.2, validate: bool = True, train_subjects: int = 0
) -> Split:
    """Cut a validation part from the training windows; the test part is the data set's own.

    With subjects, whole subjects are cut (at least one), drawn by `seed`, such that every class keeps training windows.
    Without, `fraction` of each class, at least one window.

    Args:
        seed: of the cut; the same seed gives the same cut.
        fraction: share of the training subjects or windows that becomes validation, in (0, 1).
        validate: False leaves the validation part empty.
        train_subjects: of the subjects that are left for training, only this many, drawn by `seed` such that every
            class keeps training windows; 0 for all.

    Raises:
        MmkdError: too few subjects or windows of a class, with the way out; where every sample has a label, recordings
            that cannot be put together of their windows, or no label to score in the test part.
    """
    check_recordings(data)
    test, train = np.flatnonzero(data.test), np.flatnonzero(~data.test)
    unit = "window" if data.subject is None else "subject"
    rng = np.random.default_rng(seed)
    chosen = train[:0]
    if validate:
        by = _classwise if data.subject is None else _subjects
        chosen = by(data, train, rng, fraction)
    left = train[~np.isin(train, chosen)]
    return Split(_fewer(data, left, rng, train_subjects) if train_subjects else left, chosen, test, unit)


def split_prefixes(data: Dataset, validate: bool = True, train_subjects: int = 0) -> Split:
    """The parts of the series' prefixes, cut in time, the same for every seed; "test" is what thresholds are set on.

    Raises:
        MmkdError: subjects are to be chosen, and series have none.
    """
    assert data.series is not None
    if train_subjects:
        raise MmkdError(f"data {data.name!r} has series and no subjects; leave --train-subjects out")
    test, validation = np.flatnonzero(data.test), data.series.validation
    train = np.setdiff1d(np.arange(len(data.x)), np.concatenate([test, validation]))
    return Split(train, validation if validate else validation[:0], test, "time")


def check_recordings(data: Dataset) -> None:
    """Refuse a test part without a label, and recordings that windows of several subjects, or several at one place, are
    said to be of: their predictions would be put together to one.
    """
    if data.recording is None or data.start is None or data.subject is None:
        return
    if not (data.y[data.test] >= 0).any():
        raise MmkdError(f"data {data.name!r}: the test windows have no label; name others in an array 'test'")
    count = len(np.unique(data.recording))
    if len(np.unique(np.stack([data.recording, data.subject]), axis=1).T) > count:
        raise MmkdError(
            f"data {data.name!r}: a recording has windows of two subjects; give each recording its own number"
        )
    places, times = np.unique(np.stack([data.recording, data.start]), axis=1, return_counts=True)
    if times.max() > 1:
        raise MmkdError(
            f"data {data.name!r}: {times.max()} windows of one recording start at its sample "
            f"{places[1, times.argmax()]}; give each its place in an array 'start', or leave 'recording' out"
        )


def labels_of(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class numbers that occur; -1, where nobody has labelled, is none."""
    return np.unique(y[y >= 0])


def _fewer(data: Dataset, train: Indices, rng: np.random.Generator, count: int) -> Indices:
    """The windows of `count` of the training subjects."""
    if data.subject is None:
        raise MmkdError(f"data {data.name!r} has no subjects; leave --train-subjects out")
    subjects = np.unique(data.subject[train])
    if count > len(subjects):
        raise MmkdError(f"--train-subjects {count}: data {data.name!r} has {len(subjects)} of them left for training")
    classes = labels_of(data.y[train])
    for _ in range(200):
        kept = train[np.isin(data.subject[train], rng.permutation(subjects)[:count])]
        if np.isin(classes, data.y[kept]).all():
            return kept
    raise MmkdError(
        f"--train-subjects {count}: whichever of the {len(subjects)} subjects of data {data.name!r} are kept, a class "
        f"has no training windows left; keep more"
    )


def _subjects(data: Dataset, train: Indices, rng: np.random.Generator, fraction: float) -> Indices:
    assert data.subject is not None
    subjects = np.unique(data.subject[train])
    if len(subjects) < 2:
        raise MmkdError(
            f"data {data.name!r}: {len(subjects)} training subject, so none can be cut off for validation; "
            "use --epoch-rule last, which needs no validation split"
        )
    count = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
    classes = labels_of(data.y[train])
    for _ in range(200):
        held = rng.permutation(subjects)[:count]
        validation = np.isin(data.subject[train], held)
        known = (data.y[train[validation]] >= 0).any()  # a part without a label could not be scored
        if known and np.isin(classes, data.y[train[~validation]]).all():
            return train[validation]
    raise MmkdError(
        f"data {data.name!r}: whichever {count} of {len(subjects)} training subjects are cut off for validation, "
        "a class has no training windows left; use --epoch-rule last, which needs no validation split"
    )


def _classwise(data: Dataset, train: Indices, rng: np.random.Generator, fraction: float) -> Indices:
    chosen = []
    for k, name in enumerate(data.classes):
        members = train[data.y[train] == k]
        if len(members) == 0:
            continue
        if len(members) < 3:
            raise MmkdError(
                f"data {data.name!r}: class {name!r} has {len(members)} training windows, too few to cut off a "
                "validation split; use --epoch-rule last, which needs none"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 2)
        chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def own_test(y: NDArray[np.int64], subject: NDArray[np.int64] | None, fraction: float = 0.3) -> NDArray[np.bool_]:
    """The test windows of a user's file that names none: the same for every seed, whole subjects where it has them.

    Without subjects `fraction` of each class with at least two windows is drawn.

    Raises:
        MmkdError: one subject only.
    """
    rng = np.random.default_rng(0)
    if subject is not None:
        subjects = np.unique(subject)
        if len(subjects) < 2:
            raise MmkdError("one subject only: name the test windows in an array 'test' (True or False a window)")
        for _ in range(200):
            held = rng.permutation(subjects)[: min(max(1, round(fraction * len(subjects))), len(subjects) - 1)]
            test: NDArray[np.bool_] = np.isin(subject, held)
            if (y[test] >= 0).any() and np.isin(labels_of(y), y[~test]).all():
                return test
        raise MmkdError("no choice of test subjects leaves every class training windows: name them in an array 'test'")
    test = np.zeros(len(y), bool)
    for k in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == k))
        test[members[: min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
    return test
