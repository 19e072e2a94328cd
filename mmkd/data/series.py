"""Series for anomaly detection: their normal prefix, and segments of it, plain and disturbed, to learn from.

Nothing after the prefix is learnt from or chosen on. Encoders are trained on it without labels (a pretext task): they
tell plain segments from disturbed ones, and the kinds of disturbance from each other. After CutPaste, Li et al.,
CVPR 2021, arXiv:2104.04015; the disturbances are ours.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError

Floats = NDArray[np.float32]

LEAST_SHARE = 0.05
"""Of a series that its prefix must have, or the series is left out."""
MOST_SHARE = 0.5
PARTS = (0.6, 0.8)
"""Where the prefix is cut: to train on, to choose the epoch on, and, the last part, to set the threshold on."""


@dataclass(frozen=True)
class Series:
    """One series of n steps, standardised by the part that is trained on unless it came scaled.

    Attributes:
        x: (C, n) float32.
        labels: (n,) int8, 1 inside an event.
        fit, chosen, prefix: ends of the three parts of the prefix; what comes after is the test part.
        apart: whether the test part was not recorded right after the prefix, so that no window may lie on both.
    """

    name: str
    x: Floats
    labels: NDArray[np.int8]
    fit: int
    chosen: int
    prefix: int
    apart: bool = False

    def stretches(self, first: int = 0) -> list[tuple[int, int]]:
        """Begin and end of the stretches of steps that follow each other in time, from the step `first` on."""
        borders = [first, self.prefix, len(self.labels)] if self.apart else [first, len(self.labels)]
        return list(pairwise(borders))


@dataclass(frozen=True)
class Recorded:
    """A series as its files have it.

    Attributes:
        values: (C, n).
        labels: (n,) not 0 inside an event.
        prefix: how many steps are the publisher's own training part, and normal; None where there is none such.
        scaled: whether its values were scaled by the publisher, and are left as they are.
        apart: whether what comes after `prefix` was not recorded right after it.
    """

    values: NDArray[Any]
    labels: NDArray[Any]
    prefix: int | None = None
    scaled: bool = False
    apart: bool = False


@dataclass(frozen=True)
class SeriesSet:
    """The series of a data set.

    Attributes:
        kept: those that are scored.
        left_out: name -> why it is not.
        validation: numbers of the windows of the data set that the epoch is chosen on.
    """

    kept: tuple[Series, ...]
    left_out: Mapping[str, str]
    validation: NDArray[np.int64]


def cut_prefix(name: str, found: Recorded, window: int) -> Series | str:
    """A series with its prefix: all steps up to a window before the first event, at most half the series.

    The publisher's own training part takes the place of that prefix where there is one, whatever its share.

    Returns:
        The series, or in words why it is left out: no event, nothing but an event after the prefix, or a prefix below
        `LEAST_SHARE` of it or 5 windows.
    """
    labels = (np.asarray(found.labels) != 0).astype(np.int8)
    n = len(labels)
    if not labels.any():
        return "no event"
    if found.prefix is None:
        prefix, least = min(int(labels.argmax()) - window, int(MOST_SHARE * n)), LEAST_SHARE * n
    else:
        prefix, least = found.prefix, 0.0
    if prefix < max(least, 5 * window):
        kind = "before the first event" if found.prefix is None else "to train on"
        return f"{max(prefix, 0)} of {n} steps {kind}"
    if labels[prefix:].all():
        return "nothing but an event"
    fit, chosen = (int(share * prefix) for share in PARTS)
    values = np.asarray(found.values, np.float64)
    if found.scaled:
        return Series(name, values.astype(np.float32), labels, fit, chosen, prefix, found.apart)
    mean, scale = values[:, :fit].mean(1, keepdims=True), values[:, :fit].std(1, keepdims=True)
    size = np.maximum(np.abs(mean), 1e-12)
    scale = np.where(scale > 1e-9 * size, scale, np.where(np.abs(mean) > 1e-12, size, 1.0))
    return Series(name, ((values - mean) / scale).astype(np.float32), labels, fit, chosen, prefix, found.apart)


def segments(each: Iterable[Series], window: int, step: int) -> Iterator[tuple[Floats, int]]:
    """The windows (C, W) of the three parts of every prefix, with the number of the part; none crosses a border."""
    for series in each:
        borders = (0, series.fit, series.chosen, series.prefix)
        for part, (low, high) in enumerate(pairwise(borders)):
            for start in range(low, high - window + 1, step):
                yield series.x[:, start : start + window], part


def _stretch(rng: np.random.Generator, window: int) -> slice:
    length = int(rng.integers(window // 4, window // 2 + 1))
    start = int(rng.integers(0, window - length + 1))
    return slice(start, start + length)


def _spike(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, x.shape[1] - 1))
    x[:, start : start + int(rng.integers(1, 4))] += size * rng.choice([-1, 1]) * rng.uniform(3, 6)


def _shift(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    x[:, _stretch(rng, x.shape[1])] += size * rng.choice([-1, 1]) * rng.uniform(1.5, 4)


def _noise(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    part = _stretch(rng, x.shape[1])
    x[:, part] += size * rng.normal(0, 1.5, x[:, part].shape)


def _flat(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    part = _stretch(rng, x.shape[1])
    x[:, part] = x[:, part.start, None]


def _speed(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    part = _stretch(rng, x.shape[1])
    length = part.stop - part.start
    x[:, part] = x[:, part.start + 2 * np.arange(length) % length]


DISTURBANCES: Mapping[str, Callable[[Floats, Floats, np.random.Generator], None]] = {
    "spike": _spike,
    "shift": _shift,
    "noise": _noise,
    "flat": _flat,
    "speed": _speed,
}
"""Each changes a segment (C, W) in place; `size` (C, 1) is the segment's standard deviation, at least 0.25."""
PRETEXT = ("normal", *DISTURBANCES)


def pretext(windows: Floats, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Windows (N, C, W) and as many copies, each disturbed in one way: (2 N, C, W), and their classes of PRETEXT."""
    rng, changed = np.random.default_rng(seed), windows.copy()
    kinds = rng.integers(1, len(PRETEXT), len(windows))
    for x, kind in zip(changed, kinds, strict=True):
        DISTURBANCES[PRETEXT[kind]](x, np.maximum(x.std(1, keepdims=True), 0.25), rng)
    return np.concatenate([windows, changed]), np.concatenate([np.zeros_like(kinds), kinds])


def cut_series(
    name: str, found: Mapping[str, Recorded], window: int, step: int
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_], SeriesSet]:
    """Segments to learn from, and the series to be scored.

    Args:
        name: of the data set.
        found: name of a series -> what its files have.

    Returns:
        Segments (N, C, W), their classes (N,), those of the prefixes' last part (N,), and the series.

    Raises:
        MmkdError: values that are NaN or infinite, another number of labels, or no series that can be scored.
    """
    for each, recorded in found.items():
        if not np.isfinite(recorded.values).all():
            raise MmkdError(f"data set {name!r}: {each} holds NaN or infinity; leave it out of the file")
        if recorded.values.shape[1:] != np.shape(recorded.labels):
            raise MmkdError(
                f"data set {name!r}: {each} has values of shape {recorded.values.shape} and labels of shape "
                f"{np.shape(recorded.labels)}; a label a step is needed"
            )
    cuts = {each: cut_prefix(each, recorded, window) for each, recorded in found.items()}
    kept = tuple(cut for cut in cuts.values() if isinstance(cut, Series))
    left_out = {each: why for each, why in cuts.items() if isinstance(why, str)}
    if not kept:
        raise MmkdError(
            f"data set {name!r}: none of {len(cuts)} series can be scored, such as one with "
            + ", ".join(sorted(set(left_out.values()))[:1])
        )
    plain, parts = zip(*segments(kept, window, step), strict=True)
    x, y = pretext(np.stack(plain))
    part = np.tile(parts, 2)
    return x, y, part == 2, SeriesSet(kept, left_out, np.flatnonzero(part == 1))
