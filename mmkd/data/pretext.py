"""The pretext task of anomaly detection: tell plain segments of normal prefixes from disturbed ones.

Encoders learn without labels which segments were disturbed, and how. After CutPaste, Li et al., CVPR 2021,
arXiv:2104.04015; the disturbances are ours.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.series import RawSeries, Series, SeriesSet, split_prefix

Floats = NDArray[np.float32]


def prefix_segments(series_list: Iterable[Series], window: int, step: int) -> Iterator[tuple[Floats, int]]:
    """The windows (C, W) of each part of every prefix, with the number of the part (0, 1, 2).

    No window overlaps two parts.
    """
    for series in series_list:
        borders = (0, series.train_end, series.validation_end, series.prefix_end)
        for part, (low, high) in enumerate(pairwise(borders)):
            for start in range(low, high - window + 1, step):
                yield series.x[:, start : start + window], part


def _random_part(rng: np.random.Generator, window: int) -> slice:
    """A part of a window, between a quarter and half as long."""
    length = int(rng.integers(window // 4, window // 2 + 1))
    start = int(rng.integers(0, window - length + 1))
    return slice(start, start + length)


def _spike(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, x.shape[1] - 1))
    x[:, start : start + int(rng.integers(1, 4))] += size * rng.choice([-1, 1]) * rng.uniform(3, 6)


def _shift(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    x[:, _random_part(rng, x.shape[1])] += size * rng.choice([-1, 1]) * rng.uniform(1.5, 4)


def _noise(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    part = _random_part(rng, x.shape[1])
    x[:, part] += size * rng.normal(0, 1.5, x[:, part].shape)


def _flat(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    part = _random_part(rng, x.shape[1])
    x[:, part] = x[:, part.start, None]


def _speed(x: Floats, size: Floats, rng: np.random.Generator) -> None:
    part = _random_part(rng, x.shape[1])
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
PRETEXT_CLASSES = ("normal", *DISTURBANCES)


def add_disturbed(windows: Floats, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Windows (N, C, W) followed by a copy of each with one random disturbance.

    Returns:
        Windows (2 N, C, W), and their classes (2 N,), numbers of `PRETEXT_CLASSES`.
    """
    rng = np.random.default_rng(seed)
    disturbed = windows.copy()
    kinds = rng.integers(1, len(PRETEXT_CLASSES), len(windows))
    for x, kind in zip(disturbed, kinds, strict=True):
        DISTURBANCES[PRETEXT_CLASSES[kind]](x, np.maximum(x.std(1, keepdims=True), 0.25), rng)
    return np.concatenate([windows, disturbed]), np.concatenate([np.zeros_like(kinds), kinds])


def make_pretext(
    name: str, raw_series: Mapping[str, RawSeries], window: int, step: int
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_], SeriesSet]:
    """Make the segments to learn from, and the series to score.

    Args:
        name: of the data set, for messages.
        raw_series: name of a series -> its values and labels.
        window: samples in a segment.
        step: samples from the start of one segment to the start of the next.

    Returns:
        Segments (N, C, W), their classes (N,), whether each is of the last part of a prefix (N,), and the series.

    Raises:
        MmkdError: a series has NaN or infinite values, or not one label for each step; or no series can be scored.
    """
    for series_name, raw in raw_series.items():
        if not np.isfinite(raw.values).all():
            raise MmkdError(f"data set {name!r}: {series_name} holds NaN or infinity; leave it out of the file")
        if raw.values.shape[1:] != np.shape(raw.labels):
            raise MmkdError(
                f"data set {name!r}: {series_name} has values of shape {raw.values.shape} and labels of shape "
                f"{np.shape(raw.labels)}; a label a step is needed"
            )
    results = {series_name: split_prefix(series_name, raw, window) for series_name, raw in raw_series.items()}
    scored = tuple(result for result in results.values() if isinstance(result, Series))
    excluded = {series_name: reason for series_name, reason in results.items() if isinstance(reason, str)}
    if not scored:
        raise MmkdError(
            f"data set {name!r}: none of {len(results)} series can be scored, such as one with "
            + ", ".join(sorted(set(excluded.values()))[:1])
            + f"; a series needs {5 * window} normal steps at its beginning, 5 windows, and an event after them"
        )
    plain, parts = zip(*prefix_segments(scored, window, step), strict=True)
    x, y = add_disturbed(np.stack(plain))
    part = np.tile(parts, 2)
    return x, y, part == 2, SeriesSet(scored, excluded, np.flatnonzero(part == 1))
