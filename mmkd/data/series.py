"""Series for anomaly detection, each with a normal prefix to learn from.

Nothing after the prefix is used for training or for choices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.05
"""Share of a series that its prefix must have; series with a shorter prefix are left out."""
MOST_SHARE = 0.5
"""Share of a series that its prefix has at most."""
PARTS = (0.6, 0.8)
"""Where the prefix is cut, as shares: its parts are for training, for choosing the epoch, and for the threshold."""


@dataclass(frozen=True)
class Series:
    """One series of n steps, standardised by its training part unless the publisher has scaled it.

    Attributes:
        x: (C, n) float32.
        labels: (n,) int8, 1 inside an event.
        train_end, validation_end, prefix_end: the steps at which the three parts of the prefix end; the test part
            follows.
        has_gap: whether the test part was not recorded right after the prefix, so that no window may overlap both.
    """

    name: str
    x: NDArray[np.float32]
    labels: NDArray[np.int8]
    train_end: int
    validation_end: int
    prefix_end: int
    has_gap: bool = False

    @property
    def events(self) -> list[tuple[int, int]]:
        """The first step of each event, and the step after its last."""
        inside = np.concatenate([[0], self.labels, [0]])
        borders = np.flatnonzero(np.diff(inside)).tolist()
        return list(zip(borders[::2], borders[1::2], strict=True))

    def continuous_ranges(self, first: int = 0) -> list[tuple[int, int]]:
        """Start and stop of the ranges of steps without a gap in time, from the step `first` on."""
        borders = [first, self.prefix_end, len(self.labels)] if self.has_gap else [first, len(self.labels)]
        return list(pairwise(borders))


@dataclass(frozen=True)
class RawSeries:
    """A series as its files contain it.

    Attributes:
        values: (C, n).
        labels: (n,), not 0 inside an event.
        prefix: steps in the publisher's own, normal training part; None if the publisher names none.
        scaled: whether the publisher has scaled the values; they are then left as they are.
        has_gap: whether the steps after `prefix` were not recorded right after it.
    """

    values: NDArray[Any]
    labels: NDArray[Any]
    prefix: int | None = None
    scaled: bool = False
    has_gap: bool = False


@dataclass(frozen=True)
class SeriesSet:
    """The series of a data set.

    Attributes:
        scored: the series that are scored.
        excluded: name -> why the series is not scored.
        validation: numbers of the data set's windows on which the epoch is chosen.
    """

    scored: tuple[Series, ...]
    excluded: Mapping[str, str]
    validation: NDArray[np.int64]


def split_prefix(name: str, raw: RawSeries, window: int) -> Series | str:
    """A series with the parts of its prefix, standardised by the training part.

    The prefix is the publisher's own training part, if there is one. Otherwise it ends one window before the first
    event, and at the latest in the middle of the series.

    Args:
        window: samples in a window.

    Returns:
        The series; or why it is left out, in words: it has no event, nothing but an event after the prefix, or a prefix
        of less than 5 windows or (if the publisher names none) less than `LEAST_SHARE` of the series.
    """
    labels = (np.asarray(raw.labels) != 0).astype(np.int8)
    n = len(labels)
    if not labels.any():
        return "no event"
    if raw.prefix is None:
        prefix = min(int(labels.argmax()) - window, int(MOST_SHARE * n))
        least = LEAST_SHARE * n
    else:
        prefix = raw.prefix
        least = 0.0
    if prefix < max(least, 5 * window):
        kind = "before the first event" if raw.prefix is None else "to train on"
        return f"{max(prefix, 0)} of {n} steps {kind}"
    if labels[prefix:].all():
        return "nothing but an event"
    train_end, validation_end = (int(share * prefix) for share in PARTS)
    values = np.asarray(raw.values, np.float64)
    if not raw.scaled:
        values = _standardise(values, train_end)
    return Series(
        name=name,
        x=values.astype(np.float32),
        labels=labels,
        train_end=train_end,
        validation_end=validation_end,
        prefix_end=prefix,
        has_gap=raw.has_gap,
    )


def _standardise(values: NDArray[np.float64], train_end: int) -> NDArray[np.float64]:
    """Values (C, n) standardised by their first `train_end` steps.

    A channel that is constant there, but for rounding, is divided by its magnitude instead, or by 1 if it is zero.
    """
    train = values[:, :train_end]
    mean = train.mean(1, keepdims=True)
    scale = train.std(1, keepdims=True)
    size = np.maximum(np.abs(mean), 1e-12)
    scale = np.where(scale > 1e-13 * size, scale, np.where(np.abs(mean) > 1e-12, size, 1.0))
    standardised: NDArray[np.float64] = (values - mean) / scale
    return standardised
