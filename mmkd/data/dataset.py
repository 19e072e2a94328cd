"""A data set: windows with their labels, and the checks that it passes before anything is trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MissingValues, MmkdError, unknown_name
from mmkd.data.missing import fill_channels, interpolate
from mmkd.data.resampling import resample_windows
from mmkd.data.sentinels import describe_sentinels
from mmkd.data.series import SeriesSet
from mmkd.tasks.base import import_function, task_of_form

NanPolicy = Literal["refuse", "impute", "drop"]
SHORTEST_WINDOW = 16
"""Samples that a window must have after resampling."""
LARGEST_UPSAMPLING = 10
"""Windows are resampled to at most this many times their rate; there is no information between their samples."""
LARGEST_VALUE = 1e37
"""Magnitude of a value: a tenth of what float32 can hold, which leaves room for sums and differences."""


SubjectName = int | str
"""What the files call a subject: a number or a text."""


class Fold(NamedTuple):
    """A test part: its name, and the subjects in it, by the names that they have in the files.

    Of a data set without subjects it is `stratified` instead: fold number k of K of all windows, as (k, K).
    """

    name: str
    test_subjects: tuple[SubjectName, ...] = ()
    stratified: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """N windows with a label for each window or for each sample; or N images.

    Attributes:
        name: the name of the data set, or the stem of the user's file.
        x: (N, C, W) float32, finite.
        y: (N,) int64 in 0..K-1, the class of each window; or (N, W), the class of each sample, -1 for unlabelled ones.
        subject: (N,), the persons or recordings, by the numbers (int64) or texts that name them in the files; None if
            the data set has none.
        test: (N,) bool, True for the windows of the test split.
        classes: K names.
        channels: C names.
        rate_hz: samples per second; None if time has no unit.
        sha256: checksum of the content, part of every cache key.
        recording, start: (N,), if every sample has a label: the recording that a window was cut from, by its number or
            name in the files, and the window's first sample there; else None.
        delineated: whether onsets and offsets of classes are scored, as is usual for an ECG.
        grid: rows and columns (H, W) of images, None for signals. An image is stored as a window of H W samples, its
            pixels row by row, and labels of pixels are in the same order.
        series: for the anomaly task, the series that are scored. The windows are then segments of the normal prefixes
            of these series, `y` has the classes of the pretext task, and the test windows are those on which thresholds
            are set.
        groups: channel group -> the numbers of its channels. Each channel's own name is also a group, of one channel.
        triads: body site -> the numbers of the channels x, y, z of each sensor there.
        augment: the augmentations that suit the data, such as "rotate:30"; those of `--augment card`.
        fold: which test part `test` is, if it is not the data set's own; see `folds`.
        test_from: who named the test windows: the "card" of the data set, the "file" of a user, or nobody, so that they
            were "drawn" by `own_split.draw_test_windows`; "none" where all windows are for training.
        warnings: one line each for what a reader found suspicious in the files. They are said once a command and are in
            every record, in no key.
        notes: one line each for what a reader understood as docs/own-data.md says, such as one-hot labels; part of the
            line of what was understood, and nothing to refuse.
        missing: what was done about missing values, in a few words; empty if there were none.
        offset: C values that were subtracted from the channels of a user's file, because float32 cannot hold them
            beside the variation of the values; None if none were.
        validation: (N,) bool, the windows for validation that the user has fixed, see `split_table`; else None.
        resampled: whether the windows were resampled from the data set's own rate; see `resample_dataset`.
        unlabelled: (M, C, W), windows of a user's file that have no label; None if none were added. They are counted
            after the N windows, from N on, in views and in splits.
        unlabelled_sha256, unlabelled_file: checksum of that file, and its path.
        labels: the K labels as they stand in a user's y, numbers or True and False; None if they are the names.
        splits: the splits of units made so far, each computed once, and the checks of the
            data, which folds share; see `units.splits.split_for` and `units.understood`. Also what is said of a split
            file without checksum, `folds.UNCHECKED`.
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    subject: NDArray[Any] | None
    test: NDArray[np.bool_]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    rate_hz: float | None
    sha256: str
    recording: NDArray[Any] | None = None
    start: NDArray[np.int64] | None = None
    delineated: bool = False
    grid: tuple[int, int] | None = None
    series: SeriesSet | None = None
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    triads: Mapping[str, tuple[tuple[int, int, int], ...]] = field(default_factory=dict)
    augment: tuple[str, ...] = ()
    fold: Fold | None = None
    test_from: Literal["card", "file", "drawn", "none"] = "card"
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: str = ""
    offset: tuple[float, ...] | None = None
    resampled: bool = False
    validation: NDArray[np.bool_] | None = None
    unlabelled: NDArray[np.float32] | None = None
    unlabelled_sha256: str = ""
    unlabelled_file: str = ""
    labels: tuple[Any, ...] | None = None
    splits: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        subject: Any = None,
        test: Any = None,
        channels: Any = None,
        rate_hz: Any = None,
        groups: Any = None,
        classes: Any = None,
        name: str = "mine",
    ) -> "Dataset":
        """Windows that are in memory, for `mmkd.run(..., data=dataset)`.

        >>> data = Dataset.from_arrays(x, y, subject=who, rate_hz=50)  # doctest: +SKIP
        >>> record = mmkd.run("kd", data=data)  # doctest: +SKIP

        The arrays are those of an `.npz` file that `--data` reads, with the same checks and the same drawn test part.
        Missing values stay until `mmkd.run` is told what to do about them (`nan="drop"`).

        Args:
            x: (N, C, W) numbers; or images (N, C, H, W).
            y: (N,) labels of any type, whose names are kept; one-hot rows (N, K); or (N, W), a number a sample.
            subject: (N,) names or numbers of persons; without them the split is by window.
            test: (N,) True for the test windows; without it about 30 % are drawn, whole subjects where there are some.
            channels: C names.
            rate_hz: samples per second.
            groups: channel groups: a mapping of names to channels, texts `"acc=acc_x,acc_y"`, or a name a channel.
            classes: K names, which numbers in y then count from 0.
            name: what the data are called in tables.

        Raises:
            MmkdError: the arrays contradict each other, or cannot be trained on.
        """
        made: Dataset = import_function("mmkd.data.arrays:from_arrays")(
            x, y, subject, test, channels, rate_hz, groups, classes, name
        )
        return made

    def channel_group(self, name: str) -> tuple[int, ...]:
        """The numbers of the channels of a channel group.

        Raises:
            MmkdError: there is no group and no channel of this name.
        """
        known = {**{channel: (k,) for k, channel in enumerate(self.channels)}, **self.groups}
        if name not in known:
            examples = [*self.groups, *self.channels[:9]]
            raise unknown_name("channel group", name, known, f"data {self.name!r} has {', '.join(examples)}")
        return known[name]

    @cached_property
    def all_x(self) -> NDArray[np.float32]:
        """The N windows, and then those of `unlabelled`."""
        return self.x if self.unlabelled is None else np.concatenate([self.x, self.unlabelled])

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
        """Samples in a window."""
        return int(self.x.shape[2])

    @property
    def window_s(self) -> float | None:
        """Length of a window in seconds."""
        return self.window / self.rate_hz if self.rate_hz else None


def channel_numbers(
    triads: Mapping[str, tuple[tuple[str, ...], ...]], channels: Sequence[str]
) -> dict[str, tuple[tuple[int, int, int], ...]]:
    """The triads of body sites by the numbers of their channels, from their names."""
    numbered = {}
    for site, members in triads.items():
        numbers = [tuple(map(channels.index, triad)) for triad in members]
        numbered[site] = tuple((x, y, z) for x, y, z in numbers)
    return numbered


def resample_dataset(data: Dataset, rate_hz: float) -> Dataset:
    """The data set with its windows resampled to `rate_hz`, each by itself, with an anti-alias filter.

    A window of W samples becomes one of W rate_hz / (own rate) samples, rounded up, and the checksum changes. If
    `rate_hz` is the data set's own rate, the data set itself is returned.

    Raises:
        MmkdError: the data set has labels of samples or no known rate, its windows would have fewer than
            `SHORTEST_WINDOW` samples, or `rate_hz` is more than `LARGEST_UPSAMPLING` times its rate or no simple ratio
            of it.
    """
    what = f"--rate {rate_hz:g}: data {data.name!r}"
    if data.form != "window":
        whole = "series" if data.series is not None else "recordings"
        raise MmkdError(f"{what} has labels of samples, and its {whole} are scored at their rate; leave --rate out")
    if data.rate_hz is None:
        hint = "leave --rate out" if data.test_from == "card" else "add an array rate_hz to the file, or leave it out"
        raise MmkdError(f"{what} has no known rate of its own; {hint}")
    if rate_hz == data.rate_hz:
        return data
    if rate_hz > LARGEST_UPSAMPLING * data.rate_hz:
        raise MmkdError(f"{what} has {data.rate_hz:g} Hz; take at most {LARGEST_UPSAMPLING * data.rate_hz:g}")
    length = math.ceil(data.window * rate_hz / data.rate_hz)
    if length < SHORTEST_WINDOW:
        least = math.floor((SHORTEST_WINDOW - 1) * data.rate_hz / data.window) + 1
        raise MmkdError(f"{what}: its windows of {data.window} samples would have {length}; take {least} Hz or more")
    try:
        x = resample_windows(data.x, data.rate_hz, rate_hz)
    except MmkdError as error:
        raise MmkdError(f"{what}: {error}") from None
    checksum = sha256(f"{data.sha256} at {rate_hz!r} Hz".encode()).hexdigest()
    return replace(data, x=x, rate_hz=rate_hz, sha256=checksum, resampled=True)


def validate_dataset(data: Dataset, nan: NanPolicy = "refuse") -> Dataset:
    """Check a data set before training, and handle its missing values.

    Args:
        nan: what happens with NaN and infinity: "refuse" raises an error, "impute" interpolates linearly along time (a
            channel without any value in a window has its median in the training windows there, with a warning), "drop"
            removes the windows.

    Returns:
        The data set with finite values; with a warning where some seem to stand for missing ones.

    Raises:
        MissingValues: there are NaN or infinity under "refuse".
        MmkdError: there is only one class, a class without training windows, no test
            windows or no others, or values beyond `LARGEST_VALUE`.
    """
    x = data.x
    bad = ~np.isfinite(x)
    bad_windows: NDArray[np.bool_] = np.any(bad, axis=(1, 2))
    if bad_windows.any():
        if nan == "refuse":
            first = int(np.flatnonzero(bad_windows)[0])
            impute = "" if data.grid else "--nan impute fills them along time, "
            raise MissingValues(
                f"data {data.name!r}: {int(bad_windows.sum())} of {len(x)} windows hold NaN or inf "
                f"({int(bad.sum())} values), the first is window {first}; {impute}--nan drop leaves those windows out",
                int(bad_windows.sum()),
            )
        if nan == "drop":
            names = ("x", "y", "subject", "test", "validation", "recording", "start")
            arrays = ((name, getattr(data, name)) for name in names)
            kept: dict[str, Any] = {name: None if array is None else array[~bad_windows] for name, array in arrays}
            data = replace(data, **kept, missing=f"{_windows(bad_windows)} with missing values left out")
        else:
            data = _impute(replace(data, missing=f"missing values filled in {_windows(bad_windows)}"), bad)
    _check_classes(data)
    largest = max(float(data.x.max()), -float(data.x.min()))
    if largest > LARGEST_VALUE:
        raise MmkdError(
            f"data {data.name!r}: values go up to {largest:.2g}, past {LARGEST_VALUE:g}, where their differences leave "
            f"float32; rescale them"
        )
    lines = [] if data.grid else describe_sentinels(data.x, data.channels, data.offset)
    return replace(data, warnings=(*data.warnings, *lines)) if lines else data


def _windows(chosen: NDArray[np.bool_]) -> str:
    count = int(chosen.sum())
    return f"{count:,} window{'s' * (count > 1)}"


def _impute(data: Dataset, bad: NDArray[np.bool_]) -> Dataset:
    """The data set with missing values filled; the checksum changes where whole channels were."""
    filled = replace(data, x=interpolate(data.x, bad))
    empty: NDArray[np.bool_] = np.all(bad, axis=2)
    if not empty.any():
        return filled
    try:
        x, line = fill_channels(filled.x, empty, ~data.test, data.channels)
    except MmkdError as error:
        raise MmkdError(f"data {data.name!r}: {error}") from None
    checksum = sha256(f"{data.sha256} with channels at their median".encode()).hexdigest()
    return replace(filled, x=x, sha256=checksum, warnings=(*data.warnings, line))


def _check_classes(data: Dataset) -> None:
    if len(data.y) == 0:
        raise MmkdError(f"data {data.name!r}: no window is left; --nan impute keeps those with missing values")
    number = len(data.classes)
    present = np.bincount(data.y[data.y >= 0], minlength=number)
    if (present > 0).sum() < 2:
        only = data.classes[int(present.argmax())]
        raise MmkdError(f"data {data.name!r}: one class only ({only!r}); classification needs two or more")
    y_train = data.y[~data.test]
    present_train = np.bincount(y_train[y_train >= 0], minlength=number)
    for name, count, train_count in zip(data.classes, present, present_train, strict=True):
        if count and not train_count:
            what = "windows" if data.form == "window" else "samples"
            raise MmkdError(f"data {data.name!r}: class {name!r} has {count} test {what} and none for training")
    if data.test_from != "none" and (data.test.all() or not data.test.any()):
        which = "all" if data.test.any() else "no"
        raise MmkdError(
            f"data {data.name!r}: {which} windows are test windows; each class needs two or more, or "
            "name the test windows in an array 'test'"
        )
