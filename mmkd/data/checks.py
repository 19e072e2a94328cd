"""What is suspicious in a data set that can be trained on: one line each, said before the training.

A line tells what was found, with counts. Nothing here refuses anything; `--strict` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmkd.data.copies import SHORTEST, Copies, find_copies, shape_levels
from mmkd.data.dataset import Dataset
from mmkd.data.labels import case_differences
from mmkd.data.neighbours import beside_training, continue_each_other, overlapping_lag, scaled_copies
from mmkd.data.own_split import LARGEST_TEST_SHARE

FEW_WINDOWS = 5
"""Training windows below which a class has few."""
STUCK_SHARE = 0.01
"""Share of the windows in which a channel may be constant without a word."""
SMOOTH = 8
"""Channels and samples that are needed to compare the smoothness along both axes."""
SCALED_SHARE = 0.25
"""Share of the test windows with runs shaped as in a training window, above which coarse values are not the reason."""
NAMES = 4
"""Names that a line lists."""
BOTH_SIDES = "windows of one person or recording may be on both sides of the split, and scores are then too high"


@dataclass
class DataChecks:
    """The checks of one data set; what does not depend on the test part is done once, and for all folds.

    Attributes:
        data: the data set.
    """

    data: Dataset

    def __post_init__(self) -> None:
        self.of_content = [*self.data.warnings, *check_content(self.data)]
        self._copies: Copies | None = None
        self._shapes: Copies | None = None
        self._lag: int | None = None
        self._continues: bool | None = None

    def of_part(self, part: Dataset) -> list[str]:
        """What is suspicious in the test part of a fold, or of the data set itself.

        Args:
            part: the data set with its test windows.
        """
        if part.series is not None:
            return []
        return [*check_sizes(part), *(self._leaks(part.test) if part.test.any() else [])]

    def _leaks(self, test: NDArray[np.bool_]) -> list[str]:
        x = self.data.x
        if self._copies is None:
            self._copies = find_copies(x)
        count = f"of {int(test.sum()):,} test windows"
        equal = int(self._copies.equal(test).sum())
        sharing = int(self._copies.sharing(test).sum())
        lines = []
        if equal:
            lines.append(f"{equal:,} {count} {_are(equal)} identical to a training window")
        elif (scaled := scaled_copies(x, test)) > 0:
            lines.append(f"{scaled:,} {count} {_are(scaled)} a training window but for scale and rounding")
        if sharing > equal:
            lines.append(f"{sharing:,} {count} share samples with a training window{self._way_out()}")
        elif self.data.subject is None and self.data.grid is None:
            lines += self._neighbours(test, count) or self._by_window()
        return lines

    def _by_window(self) -> list[str]:
        return [f"no array 'subject': {BOTH_SIDES}"] if self.data.test_from == "drawn" else []

    def _neighbours(self, test: NDArray[np.bool_], count: str) -> list[str]:
        """Without subjects, and where no samples are shared: windows that overlap but for scale, or continue."""
        x = self.data.x
        if self._shapes is None and x.shape[2] > SHORTEST:
            self._shapes = find_copies(shape_levels(x))
        shapes = self._shapes
        scaled = 0 if shapes is None else int((shapes.sharing(test) & ~shapes.equal(test)).sum())
        if scaled > SCALED_SHARE * test.sum():
            return [f"{scaled:,} {count} overlap a training window but for scale{self._way_out()}"]
        if self._lag is None:
            self._lag = overlapping_lag(x)
        if self._lag:
            beside = beside_training(test, -(-x.shape[2] // self._lag) - 1)
            return [f"{beside:,} {count} overlap a training window but for scale{self._way_out()}"]
        if self._continues is None:
            self._continues = continue_each_other(x)
        beside = beside_training(test, 1)
        if self._continues and 10 * beside > test.sum():
            return [f"{beside:,} {count} go on where a training window ends, or end where one begins{self._way_out()}"]
        return []

    def _way_out(self) -> str:
        return "; an array 'subject' would keep them on one side" if self.data.subject is None else ""


def check_content(data: Dataset) -> list[str]:
    """What is suspicious in the windows and their names, whatever the split."""
    lines = case_differences(data.classes, "classes") if data.test_from == "card" else []  # a reader says it of a file
    if data.grid is None and data.series is None:
        lines += [*_check_axes(data.x), *_check_channels(data), *_check_subjects(data)]
    return lines


def check_sizes(data: Dataset) -> list[str]:
    """What is suspicious in the sizes of the parts and classes."""
    lines = []
    share = float(data.test.mean())
    if (data.test_from == "drawn" or data.fold is not None) and share > LARGEST_TEST_SHARE:
        lines.append(f"the test part is {100 * share:.0f} % of the windows")
    if data.form == "window":
        counts = np.bincount(data.y[~data.test], minlength=len(data.classes))
        present = np.bincount(data.y, minlength=len(data.classes)) > 0
        few = [k for k in np.argsort(counts, kind="stable") if present[k] and counts[k] < FEW_WINDOWS]
        if few:
            named = [f"{data.classes[k]!r} {counts[k]}" for k in few]
            lines.append(f"few training windows of a class: {_listed(named)}")
        tested = np.bincount(data.y[data.test], minlength=len(data.classes))
        untested = [repr(data.classes[k]) for k in np.flatnonzero(present & (tested == 0))]
        if untested and data.fold is None and data.test.any():
            lines.append(f"no test windows of a class: {_listed(untested)}")
    return lines


def _check_subjects(data: Dataset) -> list[str]:
    """Subjects of own data, each of which has one window, so that the split is one by window."""
    if data.subject is None or data.test_from != "drawn" or len(np.unique(data.subject)) < len(data.x):
        return []
    if data.form == "step":
        return [f"each window is a recording of its own; without an array 'recording' or 'subject' {BOTH_SIDES}"]
    return [f"each subject has one window; if the array 'subject' numbers them, {BOTH_SIDES}"]


def _check_axes(x: NDArray[np.float32]) -> list[str]:
    _, channels, width = x.shape
    if channels > width and not _is_smooth_in_time(x):
        return [
            f"{channels} channels of {width} samples: are the axes swapped? x is (N windows, C channels, W samples)"
        ]
    if channels >= SMOOTH and _smoothness(x) < 0.3 and _smoothness(x.transpose(0, 2, 1)) > 0.8:
        return [
            f"x is smooth from channel to channel and not from sample to sample: are the axes swapped? It has "
            f"{channels} channels of {width} samples"
        ]
    return []


def _is_smooth_in_time(x: NDArray[np.float32]) -> bool:
    """Whether samples follow each other smoothly, and more so than channels, as in an EEG of many electrodes."""
    if x.shape[2] < SMOOTH:
        return False
    along_time = _smoothness(x)
    return along_time > 0.8 and along_time > _smoothness(x.transpose(0, 2, 1))


def _smoothness(x: NDArray[np.float32]) -> float:
    """The median correlation of a row with itself one step later, along the last axis of some windows."""
    some = x[:: max(1, len(x) // 200)].astype(np.float64)
    a, b = some[:, :, 1:], some[:, :, :-1]
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    size = np.sqrt(np.square(a).sum(axis=2) * np.square(b).sum(axis=2))
    return float(np.median((a * b).sum(axis=2)[size > 0] / size[size > 0])) if (size > 0).any() else 0.0


def _check_channels(data: Dataset) -> list[str]:
    """Windows without a signal, channels that are stuck or missing in windows, and channels that are there twice."""
    x = data.x
    constant: NDArray[np.bool_] = np.stack([(window == window[:, :1]).all(axis=1) for window in x])  # (N, C)
    dead: NDArray[np.bool_] = np.all(constant, axis=1)
    lines = []
    if dead.any():
        zero = int((x[dead] == 0).all(axis=(1, 2)).sum())
        kind = "zero" if zero == dead.sum() else f"constant in every channel, {zero:,} of them zero"
        lines.append(f"{int(dead.sum()):,} of {len(x):,} windows {_are(int(dead.sum()))} {kind}{_whose(data, dead)}")
    stuck = (constant & ~dead[:, None]).sum(axis=0)
    if x.shape[1] > 1:
        order = [c for c in np.argsort(-stuck, kind="stable") if stuck[c] > STUCK_SHARE * len(x)]
        order = [c for c in order if not _is_slow_or_binary(x[:, c])]
        of = f"of {len(x):,}"
        alive = constant & ~dead[:, None]
        named = [f"{data.channels[c]} in {stuck[c]:,} {of}{_whose(data, alive[:, c])}" for c in order]
        if named:
            lines.append(f"channels that are constant in whole windows: {_listed(named)}")
    twice = _equal_channels(x)
    if twice:
        lines.append(
            f"channels that are identical: {_listed([f'{data.channels[a]} = {data.channels[b]}' for a, b in twice])}"
        )
    return lines


def _is_slow_or_binary(channel: NDArray[np.float32]) -> bool:
    """Whether a channel (N, W) is meant to be constant in a window: one value a window, or on and off."""
    low, high = channel.min(), channel.max()
    by_window = channel[:, 0]
    slow = bool((channel == by_window[:, None]).all())
    return bool(low < high) and (slow or bool(((channel == low) | (channel == high)).all()))


def _whose(data: Dataset, windows: NDArray[np.bool_]) -> str:
    """The subjects of these windows, in brackets, where they are few of several; whether they are test subjects."""
    if data.subject is None:
        return ""
    names = np.unique(data.subject[windows]).tolist()
    if len(names) > NAMES or len(names) == len(np.unique(data.subject)):
        return ""
    tested = set() if data.fold is not None else set(np.unique(data.subject[windows & data.test]).tolist())
    parts = []
    for of_test in (False, True):
        some = [str(name) for name in names if (name in tested) == of_test]
        if some:
            parts.append(f"{'test ' * of_test}subject{'s' * (len(some) > 1)} {', '.join(some)}")
    return f" ({' and '.join(parts)})"


def _equal_channels(x: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The pairs of channels that are equal in every sample and not constant, each channel with the first like it."""
    sums: dict[tuple[float, ...], int] = {}
    pairs = []
    for c in range(x.shape[1]):
        mark = tuple(x[:: max(1, len(x) // 50), c].sum(axis=1, dtype=np.float64).tolist())
        first = sums.setdefault(mark, c)
        if first != c and (x[:, c] == x[:, first]).all() and (x[:, c] != x[0, c, 0]).any():
            pairs.append((first, c))
    return pairs


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:NAMES]) + (f" and {len(texts) - NAMES} more" if len(texts) > NAMES else "")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
