"""Windows of a data set with their labels, and the checks that every data set passes before anything is trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.data.cutting import at_other_rate
from mmkd.data.series import SeriesSet
from mmkd.tasks.base import task_of_form

NanPolicy = Literal["refuse", "impute", "drop"]
SHORTEST = 16  # samples of a window at another rate
UPWARDS = 10  # times the own rate that windows may be brought to; nothing new lies between their samples
LARGEST = 1e37  # of a value's magnitude: a tenth of what float32 holds leaves room for sums and differences


class Fold(NamedTuple):
    """A test part: its name, and the subjects in it."""

    name: str
    test_subjects: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """N labelled windows, or windows whose every sample has a label; or as many images.

    Attributes:
        name: the data set's name, or the stem of the user's file.
        x: (N, C, W) float32, finite.
        y: (N,) int64 in 0..K-1, a class a window; or (N, W), a class a sample, -1 where nobody has labelled.
        subject: (N,) int64 numbers of the persons or recordings, None where the set has none.
        test: (N,) bool, the windows of the test split.
        classes: K names; channels: C names.
        rate_hz: samples a second, None where time has no unit.
        sha256: checksum of the content, the root of every cache key.
        delineated: whether onsets and offsets of classes are scored, as is usual for an ECG.
        recording, start: (N,) int64, where every sample has a label: the recording that a window was cut from, and at
            which of its samples; None elsewhere.
        grid: rows and columns (H, W) of images, None of signals. An image is a window of W = H W samples, its pixels
            row by row, and a label for every pixel stands in the same order.
        series: of the anomaly task, what is scored; windows are then segments of their prefixes, classes those of the
            pretext task, and test windows those that thresholds are set on.
        groups: channel groups by name, each the numbers of its channels; a channel's own name is a group of one.
        fold: which test part it is, where that is not the data set's own; see `folds`.
        splits: the splits of units that were cut so far, each once; see `units.expansion.split_for`.
        resampled: whether the windows were brought to another rate than the data set's own; see `at_rate`.
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    subject: NDArray[np.int64] | None
    test: NDArray[np.bool_]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate_hz: float | None
    sha256: str
    recording: NDArray[np.int64] | None = None
    start: NDArray[np.int64] | None = None
    delineated: bool = False
    grid: tuple[int, int] | None = None
    series: SeriesSet | None = None
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fold: Fold | None = None
    resampled: bool = False
    splits: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def group(self, name: str) -> tuple[int, ...]:
        """The numbers of a group's channels.

        Raises:
            MmkdError: there is no such group, nor such a channel.
        """
        known = {**{channel: (k,) for k, channel in enumerate(self.channels)}, **self.groups}
        if name not in known:
            few = [*self.groups, *self.channels[:9]]
            raise unknown_name("channel group", name, known, f"data {self.name!r} has {', '.join(few)}")
        return known[name]

    @property
    def task(self) -> str:
        """The name of the task that data of this form are for."""
        return task_of_form(self.form)

    @property
    def form(self) -> Literal["window", "step", "series"]:
        """What has a label: a window, every step of a window, or the steps of whole series."""
        if self.series is not None:
            return "series"
        return "step" if self.y.ndim == 2 else "window"

    @property
    def window(self) -> int:
        return int(self.x.shape[2])

    @property
    def window_s(self) -> float | None:
        """Length of a window in seconds."""
        return self.window / self.rate_hz if self.rate_hz else None


def at_rate(data: Dataset, rate_hz: float) -> Dataset:
    """The data set with its windows at another rate, each resampled by itself with an anti-alias filter.

    A window of W samples becomes one of W' = W rate / (own rate) samples, rounded up. The checksum is another one, and
    the data set itself comes back where the rate is its own.

    Raises:
        MmkdError: the data set has no known rate, labels of samples, or windows that would be shorter than `SHORTEST`
            samples; or the rate is more than `UPWARDS` times its own, or no simple ratio.
    """
    what = f"--rate {rate_hz:g}: data {data.name!r}"
    if data.form != "window":
        whole = "series" if data.series is not None else "recordings"
        raise MmkdError(f"{what} has labels of samples, and its {whole} are scored at their rate; leave --rate out")
    if data.rate_hz is None:
        raise MmkdError(f"{what} has no known rate of its own; leave --rate out")
    if rate_hz == data.rate_hz:
        return data
    if rate_hz > UPWARDS * data.rate_hz:
        raise MmkdError(f"{what} has {data.rate_hz:g} Hz; take at most {UPWARDS * data.rate_hz:g}")
    length = math.ceil(data.window * rate_hz / data.rate_hz)
    if length < SHORTEST:
        least = math.floor((SHORTEST - 1) * data.rate_hz / data.window) + 1
        raise MmkdError(f"{what}: its windows of {data.window} samples would have {length}; take {least} Hz or more")
    try:
        x = at_other_rate(data.x, data.rate_hz, rate_hz)
    except MmkdError as error:
        raise MmkdError(f"{what}: {error}") from None
    checksum = sha256(f"{data.sha256} at {rate_hz!r} Hz".encode()).hexdigest()
    return replace(data, x=x, rate_hz=rate_hz, sha256=checksum, resampled=True)


def checked(data: Dataset, nan: NanPolicy = "refuse") -> Dataset:
    """`data`, with missing values treated as asked, or an error that says what is wrong with it.

    Args:
        nan: "refuse" NaN and inf, "impute" them linearly along time (0 where a channel of a window has no value at
            all), or "drop" their windows.

    Raises:
        MmkdError: NaN or inf under "refuse", one class only, a class without training windows, values past `LARGEST`.
    """
    x, bad = data.x, ~np.isfinite(data.x)
    windows = bad.any(axis=(1, 2))
    if windows.any():
        first, count = int(np.flatnonzero(windows)[0]), int(windows.sum())
        if nan == "refuse":
            impute = "" if data.grid else "--nan impute fills them along time, "
            raise MmkdError(
                f"data {data.name!r}: {count} of {len(x)} windows hold NaN or inf ({int(bad.sum())} values), "
                f"the first is window {first}; {impute}--nan drop leaves those windows out"
            )
        if nan == "drop":
            keep = ~windows
            names = ("x", "y", "subject", "test", "recording", "start")
            arrays = ((name, getattr(data, name)) for name in names)
            kept: dict[str, Any] = {name: None if array is None else array[keep] for name, array in arrays}
            data = replace(data, **kept)
        else:
            data = replace(data, x=_imputed(x, bad))
    _check_classes(data)
    largest = max(float(data.x.max()), -float(data.x.min()))
    if largest > LARGEST:
        raise MmkdError(
            f"data {data.name!r}: values go up to {largest:.2g}, past {LARGEST:g}, where their differences leave "
            f"float32; rescale them"
        )
    return data


def _imputed(x: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    x = x.copy()
    time = np.arange(x.shape[2])
    for n, c in np.argwhere(bad.any(axis=2)):
        hole = bad[n, c]
        x[n, c, hole] = 0 if hole.all() else np.interp(time[hole], time[~hole], x[n, c, ~hole])
    return x


def _check_classes(data: Dataset) -> None:
    n, k = len(data.y), len(data.classes)
    if n == 0:
        raise MmkdError(f"data {data.name!r}: no window is left; --nan impute keeps those with missing values")
    present = np.bincount(data.y[data.y >= 0], minlength=k)
    if (present > 0).sum() < 2:
        only = data.classes[int(present.argmax())]
        raise MmkdError(f"data {data.name!r}: one class only ({only!r}); classification needs two or more")
    of_training = data.y[~data.test]
    train = np.bincount(of_training[of_training >= 0], minlength=k)
    for name, all_, of_train in zip(data.classes, present, train, strict=True):
        if all_ and not of_train:
            what = "windows" if data.form == "window" else "samples"
            raise MmkdError(f"data {data.name!r}: class {name!r} has {all_} test {what} and none for training")
    if data.test.all() or not data.test.any():
        which = "all" if data.test.any() else "no"
        raise MmkdError(
            f"data {data.name!r}: {which} windows are test windows; each class needs two or more, or "
            "name the test windows in an array 'test'"
        )
