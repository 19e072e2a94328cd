"""Training, validation and test windows: split by subject, or stratified by class if there are no subjects."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from mmkd.core import keys
from mmkd.core.errors import MmkdError
from mmkd.data.dataset import Dataset

Indices = NDArray[np.int64]
DRAWS = 200
"""Draws of subjects that are tried until every class keeps training windows."""


def no_windows() -> Indices:
    """An empty part."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Split:
    """The window numbers of each part.

    Attributes:
        train: the training windows whose labels are used. Teachers are trained, and views are fitted, on them alone.
        validation: empty if the last epoch is used, which needs no validation part.
        unit: what was split: whole "subject"s, single "window"s (stratified by class), or "time" (prefixes of series).
        unlabelled: the training windows whose labels are not used; empty unless few labels are asked for. Which
            windows these are depends on the seed alone, not on the method.
    """

    train: Indices
    validation: Indices
    test: Indices
    unit: str
    unlabelled: Indices = field(default_factory=no_windows)

    @property
    def parts(self) -> dict[str, Indices]:
        """The parts by name; "unlabelled" is one only if it has windows."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return parts | ({"unlabelled": self.unlabelled} if len(self.unlabelled) else {})

    @property
    def pool(self) -> Indices:
        """All training windows, those with labels first."""
        return np.concatenate([self.train, self.unlabelled])

    @cached_property
    def train_digest(self) -> str:
        """Hash of the training window numbers, for the keys of views that are fitted on them."""
        return keys.digest(np.asarray(self.train).tolist())

    @cached_property
    def sha256(self) -> str:
        """Checksum of the parts, for records and cache keys."""
        digest = sha256()
        for part in self.parts.values():
            digest.update(np.asarray(part, np.int64).tobytes() + b"|")
        return digest.hexdigest()


def split_windows(
    data: Dataset,
    seed: int,
    fraction: float = 0.2,
    validate: bool = True,
    train_subjects: int = 0,
    labelled_subjects: int = 0,
    labelled_windows: int = 0,
    train_windows: int = 0,
) -> Split:
    """Split a validation part off the training windows. The test part is the data set's own.

    If the data set has subjects, whole subjects are drawn for validation, at least one, such that every class keeps
    training windows. Otherwise windows are drawn, `fraction` of each class and at least one.

    Args:
        seed: of the draws; the same seed gives the same split.
        fraction: share of the training subjects or windows that becomes the validation part, in (0, 1).
        validate: False leaves the validation part empty.
        train_subjects: use only this many of the remaining subjects for training, drawn such that every class keeps
            training windows; 0 uses all.
        train_windows: use only this many of the remaining windows of each class for training, of a data set without
            subjects; 0 uses all.
        labelled_subjects, labelled_windows: use the labels of only this many training subjects, or windows of each
            class, see `draw_labelled`; 0 uses all. The validation part is then a part of the labelled windows.

    Raises:
        MmkdError: there are too few subjects, or windows of a class (the message says what to do); or the data set
            fails `check_recordings`.
    """
    check_recordings(data)
    test = np.flatnonzero(data.test)
    train = np.flatnonzero(~data.test)
    unit = "window" if data.subject is None else "subject"
    unlabelled = no_windows()
    if labelled_subjects or labelled_windows:
        own_rng = np.random.default_rng([seed, 1])  # so that the draw does not depend on the validation part
        pool = _keep_some(data, train, own_rng, train_subjects, train_windows)
        train_subjects = train_windows = 0
        train = draw_labelled(data, pool, own_rng, labelled_subjects, labelled_windows)
        unlabelled = np.setdiff1d(pool, train)
    rng = np.random.default_rng(seed)
    validation = train[:0]
    if validate:
        validation = draw_validation(data, train, rng, fraction) if data.validation is None else _fixed(data, train)
    train = train[~np.isin(train, validation)]
    train = _keep_some(data, train, rng, train_subjects, train_windows)
    return Split(train, validation, test, unit, unlabelled)


def _fixed(data: Dataset, train: Indices) -> Indices:
    """The windows that the user has named for validation, of those that are left for training.

    Raises:
        MmkdError: none of them is left, or no other, or a class has no other.
    """
    assert data.validation is not None
    chosen = data.validation[train]
    lost = np.setdiff1d(present_labels(data.y[train]), present_labels(data.y[train[~chosen]]))
    if not chosen.any() or len(lost):
        what = f"class {data.classes[lost[0]]!r} has windows for" if len(lost) else "no window is left for"
        raise MmkdError(f"data {data.name!r}: {what} validation{' alone' * bool(len(lost))}; mend the table of --split")
    return train[chosen]


def draw_labelled(data: Dataset, train: Indices, rng: np.random.Generator, subjects: int, windows: int) -> Indices:
    """The training windows whose labels are used, where few are.

    Whole subjects are drawn, anew until every class has windows of them; or, of a data set without subjects, windows of
    each class.

    Args:
        train: the training windows.
        subjects: number of training subjects, of a data set with subjects; else 0.
        windows: number of windows of each class, of a data set without subjects; else 0.

    Raises:
        MmkdError: both numbers are given, or the one that does not fit the data set; there are no more subjects, or
            windows of a class, than that; or a class has no window of as many subjects.
    """
    if subjects and windows:
        raise MmkdError("--labelled-subjects and --labelled-windows both choose the labels that are used; give one")
    flag = f"--labelled-subjects {subjects}" if subjects else f"--labelled-windows {windows}"
    if data.form != "window":
        raise MmkdError(f"{flag}: data {data.name!r} has no label a window, but of samples; leave it out")
    if subjects and data.subject is None:
        raise MmkdError(f"{flag}: data {data.name!r} has no subjects; use --labelled-windows, a number of each class")
    if windows and data.subject is not None:
        raise MmkdError(
            f"{flag}: data {data.name!r} has subjects, of which all windows have a label or none; "
            f"use --labelled-subjects"
        )
    if windows:
        labelled = _draw_of_each_class(data, train, rng, windows, "--labelled-windows", range(len(data.classes)))
        if len(labelled) == len(train):
            raise MmkdError(f"{flag}: all training windows of data {data.name!r} would have a label")
        return labelled
    assert data.subject is not None
    names = np.unique(data.subject[train])
    if subjects >= len(names):
        raise MmkdError(
            f"{flag}: data {data.name!r} has {len(names)} training subjects, and some must stay unlabelled; take fewer"
        )
    classes = np.arange(len(data.classes))
    for _ in range(DRAWS):
        drawn = train[np.isin(data.subject[train], rng.permutation(names)[:subjects])]
        if np.isin(classes, data.y[drawn]).all():
            return drawn
    raise MmkdError(
        f"{flag}: of {len(names)} training subjects of data {data.name!r}, no draw of {subjects} has windows of each "
        f"of the {len(classes)} classes; take more"
    )


def _draw_of_each_class(
    data: Dataset, train: Indices, rng: np.random.Generator, count: int, flag: str, classes: Iterable[int]
) -> Indices:
    """As many training windows of each of these classes."""
    drawn = []
    for k in classes:
        members = train[data.y[train] == k]
        if len(members) < count:
            raise MmkdError(
                f"{flag} {count}: data {data.name!r} has {len(members)} training windows of class "
                f"{data.classes[k]!r}; take at most as many"
            )
        drawn.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(drawn))


def split_prefixes(data: Dataset, validate: bool = True, train_subjects: int = 0, train_windows: int = 0) -> Split:
    """The split of the anomaly task: the prefixes of the series, cut in time, the same for every seed.

    The test part is the part of the prefixes on which thresholds are set.

    Raises:
        MmkdError: `train_subjects` or `train_windows` is not 0: series have no subjects, and segments no classes.
    """
    assert data.series is not None
    if train_subjects or train_windows:
        flag = "--train-subjects" if train_subjects else "--train-windows"
        raise MmkdError(f"data {data.name!r} has series and no subjects; leave {flag} out")
    test = np.flatnonzero(data.test)
    validation = data.series.validation
    train = np.setdiff1d(np.arange(len(data.x)), np.concatenate([test, validation]))
    return Split(train, validation if validate else validation[:0], test, "time")


def check_recordings(data: Dataset) -> None:
    """Check that the predictions of windows can be joined to predictions of recordings, and scored.

    Raises:
        MmkdError: no sample of the test part has a label, a recording has windows of two subjects, or two windows of a
            recording start at the same sample.
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
    starts, counts = np.unique(np.stack([data.recording, data.start]), axis=1, return_counts=True)
    if counts.max() > 1:
        raise MmkdError(
            f"data {data.name!r}: {counts.max()} windows of one recording start at its sample "
            f"{starts[1, counts.argmax()]}; give each its place in an array 'start', or leave 'recording' out"
        )


def present_labels(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class numbers that occur in `y`, without the -1 of unlabelled samples."""
    return np.unique(y[y >= 0])


def _keep_some(data: Dataset, train: Indices, rng: np.random.Generator, subjects: int, windows: int) -> Indices:
    """The training windows of so many subjects, or so many of each class; all if both numbers are 0."""
    if subjects:
        train = _keep_subjects(data, train, rng, subjects)
    return _keep_windows(data, train, rng, windows) if windows else train


def _keep_windows(data: Dataset, train: Indices, rng: np.random.Generator, count: int) -> Indices:
    """As many training windows of each class that has any, of a data set without subjects."""
    flag = "--train-windows"
    if data.subject is not None:
        raise MmkdError(f"{flag} {count}: data {data.name!r} has subjects, which are kept whole; use --train-subjects")
    if data.form != "window":
        raise MmkdError(f"{flag} {count}: data {data.name!r} has no label a window, but of samples; leave it out")
    return _draw_of_each_class(data, train, rng, count, flag, present_labels(data.y[train]).tolist())


def _keep_subjects(data: Dataset, train: Indices, rng: np.random.Generator, count: int) -> Indices:
    """The windows of `count` of the training subjects, drawn such that every class keeps windows."""
    if data.subject is None:
        hint = "use --train-windows, a number of each class" if data.form == "window" else "leave it out"
        raise MmkdError(f"--train-subjects {count}: data {data.name!r} has no subjects; {hint}")
    subjects = np.unique(data.subject[train])
    if count > len(subjects):
        raise MmkdError(f"--train-subjects {count}: data {data.name!r} has {len(subjects)} of them left for training")
    classes = present_labels(data.y[train])
    for _ in range(DRAWS):
        kept = train[np.isin(data.subject[train], rng.permutation(subjects)[:count])]
        if np.isin(classes, data.y[kept]).all():
            return kept
    raise MmkdError(
        f"--train-subjects {count}: whichever of the {len(subjects)} subjects of data {data.name!r} are kept, a class "
        f"has no training windows left; keep more"
    )


def draw_validation(data: Dataset, train: Indices, rng: np.random.Generator, fraction: float) -> Indices:
    """The windows that become the validation part: of drawn subjects, or of each class if there are no subjects.

    Raises:
        MmkdError: there are too few subjects, or windows of a class.
    """
    draw = _draw_windows if data.subject is None else _draw_subjects
    return draw(data, train, rng, fraction)


def _draw_subjects(data: Dataset, train: Indices, rng: np.random.Generator, fraction: float) -> Indices:
    """The windows of the subjects that become the validation part."""
    assert data.subject is not None
    subjects = np.unique(data.subject[train])
    if len(subjects) < 2:
        raise MmkdError(
            f"data {data.name!r}: {len(subjects)} training subject, so none can be cut off for validation; "
            "use --epoch-rule last, which needs no validation split"
        )
    count = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
    classes = present_labels(data.y[train])
    for _ in range(DRAWS):
        drawn = rng.permutation(subjects)[:count]
        validation = np.isin(data.subject[train], drawn)
        has_labels = (data.y[train[validation]] >= 0).any()  # a part without labels could not be scored
        if has_labels and np.isin(classes, data.y[train[~validation]]).all():
            return train[validation]
    raise MmkdError(
        f"data {data.name!r}: whichever {count} of {len(subjects)} training subjects are cut off for validation, "
        "a class has no training windows left; use --epoch-rule last, which needs no validation split"
    )


def _draw_windows(data: Dataset, train: Indices, rng: np.random.Generator, fraction: float) -> Indices:
    """The windows that become the validation part, drawn class by class."""
    validation = []
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
        validation.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(validation))
