"""The test windows of own data that names none: drawn once, the same for every seed."""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError

TEST_SHARE = 0.3
"""Share of the windows that are drawn for the test."""
LARGEST_TEST_SHARE = 0.4
"""A larger share of own data is said in a warning."""
NEAR = 0.05
"""Choices of subjects whose share is this near to the wanted one are equally good; then classes in the test count."""
ALL_SUBSETS = 12
"""Up to this many subjects every choice of them is looked at; of more, `DRAWS` draws."""
DRAWS = 200

Flags = NDArray[np.bool_]


def draw_test_windows(
    y: NDArray[np.int64], subject: NDArray[np.int64] | None, fraction: float = TEST_SHARE
) -> NDArray[np.bool_]:
    """Draw the test windows: whole subjects whose share of the windows is about `fraction`, the same for every seed.

    Every class keeps training windows. Of the choices within `NEAR` of `fraction` the one with most classes in the test
    part is taken, then the nearest; if there is none so near, the nearest. Without subjects, `fraction` of each class
    with at least two windows is drawn.

    Args:
        y: (N,) or (N, W) class numbers, -1 for unlabelled samples.
        subject: (N,), or None.
        fraction: share of the windows.

    Returns:
        (N,) bool, True for test windows.

    Raises:
        MmkdError: there is only one subject, or no choice leaves training windows of every class.
    """
    rng = np.random.default_rng(0)
    if subject is not None:
        return _draw_subjects(y, subject, rng, fraction)
    test = np.zeros(len(y), bool)
    for k in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == k))
        test[members[: min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
    return test


def _draw_subjects(
    y: NDArray[np.int64], subject: NDArray[np.int64], rng: np.random.Generator, fraction: float
) -> Flags:
    subjects, member = np.unique(subject, return_inverse=True)
    if len(subjects) < 2:
        raise MmkdError("one subject only: name the test windows in an array 'test' (True or False a window)")
    shares = np.bincount(member) / len(member)
    has_class = _classes_of(y, member)
    best: tuple[tuple[float, int, float], Flags] | None = None
    for chosen in _choices(shares, rng, fraction):
        if not has_class[chosen].any() or not has_class[~chosen].any(0).all():
            continue
        distance = abs(float(shares[chosen].sum()) - fraction)
        missing = int((~has_class[chosen].any(0)).sum())
        cost = (0.0 if distance <= NEAR else distance, missing, distance)
        if best is None or cost < best[0]:
            best = cost, chosen
    if best is None:
        raise MmkdError("no choice of test subjects leaves every class training windows: name them in an array 'test'")
    test: Flags = best[1][member]
    return test


def with_test_windows(checksum: str, test: NDArray[np.bool_]) -> str:
    """The checksum of own data whose test subjects were drawn, which depends on them: another draw is another data set.

    Args:
        checksum: of the content.
        test: (N,), True for test windows.
    """
    return sha256(f"{checksum} test windows {np.flatnonzero(test).tolist()}".encode()).hexdigest()


def _classes_of(y: NDArray[np.int64], member: NDArray[np.int64]) -> Flags:
    """(S, K) bool: whether each subject has a labelled window, or sample, of each class."""
    who = np.broadcast_to(member.reshape(-1, *[1] * (y.ndim - 1)), y.shape)[y >= 0]
    classes, k = np.unique(y[y >= 0], return_inverse=True)
    has_class = np.zeros((int(member.max()) + 1, len(classes)), bool)
    has_class[who, k] = True
    return has_class


def _choices(shares: NDArray[np.float64], rng: np.random.Generator, fraction: float) -> Iterator[Flags]:
    """Choices of subjects (S,) bool, in random order: all of them, or of many subjects some whose share is about right.

    Args:
        shares: (S,), each subject's share of the windows.
    """
    count = len(shares)
    if count <= ALL_SUBSETS:
        for number in rng.permutation(np.arange(1, 2**count - 1)):
            yield (number >> np.arange(count) & 1).astype(bool)
        return
    for _ in range(DRAWS):
        order = rng.permutation(count)
        nearest = int(np.abs(np.cumsum(shares[order]) - fraction).argmin()) + 1
        chosen = np.zeros(count, bool)
        chosen[order[: min(nearest, count - 1)]] = True
        yield chosen
