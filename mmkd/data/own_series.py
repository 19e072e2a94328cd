"""The user's own series for anomaly detection, from an `.npz` file with an array `series`."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.core.text import shorten
from mmkd.data.checksums import file_sha256
from mmkd.data.dataset import SHORTEST_WINDOW, Dataset
from mmkd.data.npz import npz_names, read_arrays
from mmkd.data.pretext import PRETEXT_CLASSES, make_pretext
from mmkd.data.series import RawSeries, SeriesSet

ARRAYS = (
    "series",
    "labels",
    "events",
    "lengths",
    "names",
    "train",
    "gap",
    "window",
    "step",
    "rate_hz",
    "channels",
)
WANTED = (
    "an .npz file with series (T,) or (T, C), and labels (T,), True inside an event, or events (E, 2), the first step "
    "of each event and the step after its last"
)
"""The form of the file, for messages."""
WINDOW = 32
"""Steps of a segment that networks read, if the file has no `window`."""
MOSTLY = 0.5
"""A share of steps in events above which the labels may be the wrong way round."""

Arrays = dict[str, NDArray[Any]]


def is_series_file(path: Path) -> bool:
    """Whether a file is an `.npz` file with an array `series`."""
    return path.suffix == ".npz" and "series" in npz_names(path)


def load_series_file(path: Path) -> Dataset:
    """Load the user's own series, one or several, from an `.npz` file.

    Required:
        series: (T,) or (T, C) numbers, a row for each time step; several series lie one after the other.
        labels: (T,) True or False, or 1 and 0: whether a step is inside an event; or
        events: (E, 2) whole numbers, the first step of each event and the step after its last, counted from 0 over all
            T steps.

    Optional:
        lengths: (S,) the number of steps of each of S series.
        names: (S,) their names.
        train: (S,), or one number for all: how many steps at the beginning of a series are normal and are learned from.
            Without it a series is learned from up to one window before its first event, and at most its first half.
        gap: (S,), or one value for all: True if what follows these steps was not recorded right after them.
        window, step: steps of the segments that networks read (32), and from one to the next (half a window).
        rate_hz: samples per second.
        channels: (C,) names.

    Raises:
        MmkdError: the file is damaged, or its arrays are missing, unknown, or of a wrong shape, type or value.
    """
    names_found = npz_names(path) if path.suffix == ".npz" else frozenset()
    if path.suffix != ".npz" or (names_found and "series" not in names_found):
        what = f"it holds {shown(', '.join(sorted(names_found)))}" if names_found else f"it is a {path.suffix} file"
        raise MmkdError(f"no series: {what}; --task anomaly takes {WANTED}")
    arrays = read_arrays(path, ARRAYS, "series=..., labels=...")
    values = _values(arrays["series"])
    window = _whole_number(arrays, "window", WINDOW, SHORTEST_WINDOW)
    step = _whole_number(arrays, "step", max(1, window // 2), 1)
    labels = _labels(arrays, len(values))
    lengths = _lengths(arrays, len(values))
    names = _names(arrays, len(lengths), path.stem)
    train = _train(arrays, lengths)
    gaps = _gaps(arrays, len(lengths))
    ends = np.cumsum(lengths).tolist()
    series: dict[str, RawSeries] = {}
    for i, (low, high) in enumerate(pairwise([0, *ends])):
        inside = labels[low:high]
        if train is not None and inside[: train[i]].any():
            first = int(inside.argmax())
            raise MmkdError(
                f"train says that the first {train[i]} steps of series {names[i]!r} are normal, and an event begins at "
                f"step {first}"
            )
        prefix = None if train is None else train[i]
        series[names[i]] = RawSeries(values[low:high].T, inside, prefix, has_gap=gaps[i])
    x, y, test, series_set = make_pretext(path.stem, series, window, step)
    channels = _channels(arrays, values.shape[1])
    return Dataset(
        name=path.stem,
        x=np.ascontiguousarray(x, np.float32),
        y=np.asarray(y, np.int64),
        subject=None,
        test=test,
        classes=PRETEXT_CLASSES,
        channels=channels,
        rate_hz=_rate(arrays),
        sha256=sha256(file_sha256(path).encode()).hexdigest(),
        series=series_set,
        warnings=(*_suspicions(series_set), *_stuck_channels(series_set, channels)),
    )


def _suspicions(series_set: SeriesSet) -> Iterator[str]:
    """One line for each series that is not scored, or whose scored part is mostly events."""
    for name, reason in series_set.excluded.items():
        yield f"series {shown(name)} is left out: {reason}"
    for series in series_set.scored:
        share = float(series.labels[series.prefix_end :].mean())
        if share > MOSTLY:
            yield (
                f"{share:.0%} of the scored steps of series {shown(series.name)} are inside events; 1 (True) is inside "
                "an event, 0 is normal"
            )


def _stuck_channels(series_set: SeriesSet, channels: Sequence[str]) -> Iterator[str]:
    """A line for channels that are constant in a whole series, or in the part that networks learn from; or identical.

    Published telemetry has many such channels, commands that were never given, so this is asked of own files only.
    """
    everywhere = np.stack([_constant(series.x) for series in series_set.scored])  # (S, C)
    learned = np.stack([_constant(series.x[:, : series.train_end]) for series in series_set.scored])
    number = f"{len(series_set.scored)} series"
    for what, stuck in (
        ("are constant", everywhere),
        ("are constant where networks learn, and vary later", learned & ~everywhere),
    ):
        if stuck.any():
            named = [f"{channels[c]} in {stuck[:, c].sum()}" for c in np.flatnonzero(stuck.any(axis=0)).tolist()]
            yield f"channels that {what}: {shorten(', '.join(named), 100)} of {number}"
    pairs = [
        f"{channels[a]} = {channels[b]}"
        for a, b in combinations(range(len(channels)), 2)
        if not everywhere[:, a].all() and all((series.x[a] == series.x[b]).all() for series in series_set.scored)
    ]
    if pairs:
        yield f"channels that are identical: {shorten(', '.join(pairs), 100)}"


def _constant(x: NDArray[Any]) -> NDArray[np.bool_]:
    """(C,) bool: whether each channel of x (C, n) has one value."""
    constant: NDArray[np.bool_] = (x == x[:, :1]).all(axis=1)
    return constant


def _values(series: NDArray[Any]) -> NDArray[Any]:
    """The values (T, C) of all series."""
    if series.dtype.kind not in "fiub":
        raise MmkdError(f"series holds {series.dtype}; it must hold real numbers")
    if series.ndim not in (1, 2) or 0 in series.shape:
        more = "; several series lie one after the other, with their lengths" if series.ndim == 3 else ""
        raise MmkdError(f"series has shape {series.shape}; it must be (T steps,) or (T steps, C channels), T > 0{more}")
    values = series.reshape(len(series), -1)
    if values.shape[1] > len(values):
        raise MmkdError(
            f"series has shape {series.shape}: more channels than steps; it must be (T steps, C channels), a row for "
            "each time step"
        )
    missing = ~np.isfinite(values)
    if missing.any():
        first = int(missing.any(axis=1).argmax())
        raise MmkdError(
            f"series holds {int(missing.sum())} NaN or infinite values, the first at step {first}; fill them, or leave "
            "those series out (--nan is for windows)"
        )
    return values


def _labels(arrays: Arrays, steps: int) -> NDArray[np.bool_]:
    """Whether each of the T steps is inside an event, from `labels` or `events`."""
    if ("labels" in arrays) == ("events" in arrays):
        which = "both labels and events; give one of them" if "labels" in arrays else f"no events; it takes {WANTED}"
        raise MmkdError(f"the file has {which}")
    if "labels" in arrays:
        labels = arrays["labels"]
        if labels.shape != (steps,):
            raise MmkdError(f"labels has shape {labels.shape}; with {steps} steps in series it must be ({steps},)")
        if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
            other = f"{labels.dtype}" if labels.dtype.kind not in "biuf" else "values other than 0 and 1"
            raise MmkdError(f"labels holds {other}; it must hold True or False, or 1 inside an event and 0 elsewhere")
        return labels.astype(bool)
    events = arrays["events"]
    if events.size and events.dtype.kind not in "iu":
        raise MmkdError(f"events holds {events.dtype}; it must hold whole numbers, steps counted from 0")
    if events.ndim != 2 or events.shape[1] != 2:
        raise MmkdError(f"events has shape {events.shape}; it must be (E, 2): first step, and the step after the last")
    inside = np.zeros(steps, bool)
    for first, stop in events.tolist():
        if inside[max(first, 0) : max(stop, 0)].any():
            raise MmkdError(f"events has {first} to {stop}, which overlaps an event before it; each is a row of events")
        if not 0 <= first < stop <= steps:
            raise MmkdError(
                f"events has {first} to {stop}; an event is its first step and the step after its last, within 0 to "
                f"{steps}"
            )
        inside[first:stop] = True
    return inside


def _lengths(arrays: Arrays, steps: int) -> list[int]:
    if "lengths" not in arrays:
        return [steps]
    lengths = arrays["lengths"]
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not lengths.size or lengths.min() < 1:
        raise MmkdError(
            f"lengths is {shown(lengths.tolist())}; it must be the number of steps of each series, 1 or more"
        )
    if int(lengths.sum()) != steps:
        raise MmkdError(f"lengths add up to {lengths.sum()} steps, and series has {steps}")
    return [int(length) for length in lengths]


def _names(arrays: Arrays, number: int, stem: str) -> list[str]:
    if "names" not in arrays:
        return [stem] if number == 1 else [f"{stem}-{i}" for i in range(1, number + 1)]
    names = arrays["names"]
    if names.shape not in ((number,), *(((),) if number == 1 else ())) or names.dtype.kind != "U":
        raise MmkdError(
            f"names holds {names.dtype} of shape {names.shape}; with {number} series it needs {number} texts"
        )
    texts = [str(name) for name in np.atleast_1d(names)]
    if len(set(texts)) < number or not all(text.strip() for text in texts):
        raise MmkdError("names has an empty name, or one twice; each series needs its own")
    return texts


def _train(arrays: Arrays, lengths: list[int]) -> list[int] | None:
    """The number of normal steps at the beginning of each series; None if the file does not say."""
    if "train" not in arrays:
        return None
    train = arrays["train"]
    if train.shape not in ((), (1,), (len(lengths),)) or train.dtype.kind not in "iu":
        raise MmkdError(
            f"train holds {train.dtype} of shape {train.shape}; it must be a whole number of steps, or one for each of "
            f"{len(lengths)} series"
        )
    numbers = [int(n) for n in np.broadcast_to(train, (len(lengths),))]
    for number, length in zip(numbers, lengths, strict=True):
        if not 0 < number < length:
            raise MmkdError(f"train is {number} for a series of {length} steps; it must leave steps to be scored")
    return numbers


def _gaps(arrays: Arrays, number: int) -> list[bool]:
    if "gap" not in arrays:
        return [False] * number
    gap = arrays["gap"]
    if gap.shape not in ((), (1,), (number,)) or gap.dtype.kind != "b":
        raise MmkdError(f"gap holds {gap.dtype} of shape {gap.shape}; it must be True or False, or one a series")
    if "train" not in arrays:
        raise MmkdError("gap says what follows the training part, and the file has no array 'train'")
    return [bool(value) for value in np.broadcast_to(gap, (number,))]


def _whole_number(arrays: Arrays, name: str, default: int, least: int) -> int:
    if name not in arrays:
        return default
    value = arrays[name]
    if value.size != 1 or value.dtype.kind not in "iu" or value.item() < least:
        raise MmkdError(f"{name} is {shown(value.tolist())}; it must be a whole number of steps, {least} or more")
    return int(value.item())


def _rate(arrays: Arrays) -> float | None:
    if "rate_hz" not in arrays:
        return None
    rate = arrays["rate_hz"]
    if rate.size != 1 or rate.dtype.kind not in "iuf" or not 0 < rate.item() < float("inf"):
        raise MmkdError(f"rate_hz is {shown(rate.tolist())}; it must be samples per second, a number above 0")
    return float(rate.item())


def _channels(arrays: Arrays, number: int) -> tuple[str, ...]:
    if "channels" not in arrays:
        return tuple(f"channel_{i}" for i in range(number))
    channels = arrays["channels"]
    texts = [str(name) for name in np.atleast_1d(channels)]
    if channels.dtype.kind != "U" or len(set(texts)) < len(texts) or len(texts) != number or "" in texts:
        raise MmkdError(f"channels is {shown(texts)}; it must be {number} different names")
    return tuple(texts)
