"""The test windows of own data that names none: drawn once, the same for every seed."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError

TEST_SHARE = 0.3
"""Share of the windows that are drawn for the test."""
LARGEST_TEST_SHARE = 0.4
"""A larger share that was drawn, or is one of several folds, is said in a warning."""
NEAR = 0.05
"""Choices of subjects whose share is this near to the wanted one are equally good; then classes in the test count."""
ALL_SUBSETS = 12
"""Up to this many subjects every choice of them is looked at; of more, `DRAWS` draws."""
DRAWS = 200

Flags = NDArray[np.bool_]


def draw_test_windows(
    y: NDArray[np.int64], subject: NDArray[Any] | None, fraction: float = TEST_SHARE
) -> NDArray[np.bool_]:
    """Draw the test windows: whole subjects whose share of the windows is about `fraction`, the same for every seed.

    Every class keeps training windows. At first `fraction` of the subjects are drawn. If their share of the windows is
    within `NEAR` of `fraction` and no class is missing in the test part, they are taken. Otherwise other choices are
    looked at, and among those so near the one with most classes in the test part is taken, then the nearest. Without
    subjects, `fraction` of each class with at least two windows is drawn.

    Args:
        y: (N,) or (N, W) class numbers, -1 for unlabelled samples.
        subject: (N,), or None.
        fraction: share of the windows.

    Returns:
        (N,) bool, True for test windows.

    Raises:
        MmkdError: there is only one subject, or no choice leaves training windows of every class.
    """
    if subject is not None:
        return _Subjects(y, subject, fraction).draw()
    rng = np.random.default_rng(0)
    test = np.zeros(len(y), bool)
    for k in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == k))
        test[members[: min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
    return test


def with_test_windows(
    checksum: str, test: NDArray[np.bool_], y: NDArray[np.int64], subject: NDArray[Any] | None
) -> str:
    """The checksum of own data with its drawn test windows; that of the content where 30 % of the subjects were taken.

    So older records, which all have 30 % of the subjects, stay valid exactly where their test part is still the same.

    Args:
        checksum: of the content.
        test, y, subject: what `draw_test_windows` returned, and what it was given.
    """
    first = None if subject is None else _Subjects(y, subject, TEST_SHARE).first()
    if subject is None or (first is not None and (first[_numbers(subject)] == test).all()):
        return checksum
    return sha256(f"{checksum} test windows {np.flatnonzero(test).tolist()}".encode()).hexdigest()


def _numbers(subject: NDArray[Any]) -> NDArray[np.int64]:
    """(N,) the place of each window's subject among the S subjects."""
    return np.unique(subject, return_inverse=True)[1]


class _Subjects:
    """Choices of subjects, each (S,) bool, True for those of the test part."""

    def __init__(self, y: NDArray[np.int64], subject: NDArray[Any], fraction: float) -> None:
        self.member = _numbers(subject)
        self.shares = np.bincount(self.member) / len(self.member)
        self.has_class = _classes_of(y, self.member)
        self.fraction = fraction
        if len(self.shares) < 2:
            raise MmkdError("one subject only: name the test windows in an array 'test' (True or False a window)")

    def draw(self) -> Flags:
        """(N,) bool, the windows of the choice that is taken."""
        first = self.first()
        if first is not None and self._cost(first)[:2] == (0.0, 0):
            return np.asarray(first[self.member])
        choices = [choice for choice in self._choices() if self._is_possible(choice)]
        if not choices:
            alone = int((self.has_class.sum(0) == 1).sum())
            raise MmkdError(
                f"no choice of test subjects leaves every class training windows, as {alone} of "
                f"{self.has_class.shape[1]} classes have windows of one subject only; name test windows in an array "
                f"'test', or leave such classes out"
            )
        return np.asarray(min(choices, key=self._cost)[self.member])

    def first(self) -> Flags | None:
        """The first possible draw of `fraction` of the subjects; None if there is none among `DRAWS`."""
        rng = np.random.default_rng(0)
        count = min(max(1, round(self.fraction * len(self.shares))), len(self.shares) - 1)
        for _ in range(DRAWS):
            chosen = np.zeros(len(self.shares), bool)
            chosen[rng.permutation(len(self.shares))[:count]] = True
            if self._is_possible(chosen):
                return chosen
        return None

    def _is_possible(self, chosen: Flags) -> bool:
        """Whether there is a label in the test part, and every class outside of it."""
        return bool(self.has_class[chosen].any() and self.has_class[~chosen].any(0).all())

    def _cost(self, chosen: Flags) -> tuple[float, int, float]:
        distance = abs(float(self.shares[chosen].sum()) - self.fraction)
        missing = int((~self.has_class[chosen].any(0)).sum())
        return (0.0 if distance <= NEAR else distance, missing, distance)

    def _choices(self) -> Iterator[Flags]:
        """All choices in random order; of many subjects, some whose share is about right."""
        rng = np.random.default_rng(0)
        count = len(self.shares)
        if count <= ALL_SUBSETS:
            for number in rng.permutation(np.arange(1, 2**count - 1)):
                yield (number >> np.arange(count) & 1).astype(bool)
            return
        for _ in range(DRAWS):
            order = rng.permutation(count)
            nearest = int(np.abs(np.cumsum(self.shares[order]) - self.fraction).argmin()) + 1
            chosen = np.zeros(count, bool)
            chosen[order[: min(nearest, count - 1)]] = True
            yield chosen


def _classes_of(y: NDArray[np.int64], member: NDArray[np.int64]) -> Flags:
    """(S, K) bool: whether each subject has a labelled window, or sample, of each class."""
    who = np.broadcast_to(member.reshape(-1, *[1] * (y.ndim - 1)), y.shape)[y >= 0]
    classes, k = np.unique(y[y >= 0], return_inverse=True)
    has_class = np.zeros((int(member.max()) + 1, len(classes)), bool)
    has_class[who, k] = True
    return has_class
