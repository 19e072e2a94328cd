"""What was understood of a data set and its split, in one line, said before a training and kept in its record."""

from collections.abc import Sequence

import numpy as np

from mmkd.data.dataset import Dataset
from mmkd.data.splits import Split

MOST_NAMED = 6
"""Subjects of a data set that are named; of more, only their number is said."""
PARTS = ("train", "validation", "test")


def describe_windows(data: Dataset) -> str:
    """The size of the windows, and what has a label.

    Such as "4,610 windows of 3 channels x 128 samples (2.56 s at 50 Hz); 9 classes". What was read as README says is
    added.
    """
    return "; ".join([_sizes(data), *data.notes])


def _sizes(data: Dataset) -> str:
    channels = count(data.x.shape[1], "channel")
    labels = count(len(data.classes), "class", "classes")
    if data.series is not None:
        steps = sum(series.x.shape[1] for series in data.series.scored)
        of = f"{count(len(data.series.scored), 'series', 'series')} of {channels} and {steps:,} steps in all"
        return f"{of}; {count(len(data.x), 'segment')} of {data.window} samples of their normal prefixes"
    if data.grid is not None:
        shape = f"{count(len(data.x), 'image')} of {channels} x {data.grid[0]} x {data.grid[1]} pixels"
        return f"{shape}; {labels}{', a label a pixel' if data.form == 'step' else ''}"
    shape = f"{count(len(data.x), 'window')} of {channels} x {data.window} samples"
    if data.rate_hz and data.window_s:
        shape += f" ({data.window_s:.4g} s at {data.rate_hz:g} Hz)"
    labels += ", a label a sample" if data.form == "step" else ""
    return f"{shape}; {labels}" + (f"; {data.missing}" if data.missing else "")


def describe_split(data: Dataset, splits: Sequence[Split]) -> str:
    """How the windows were split, who made the test part, and how large the parts are.

    Such as "split by subject: 9 train, 2 validation, 5 test (59 % of the windows)". Few subjects are named.

    Args:
        splits: of the data set; several are its folds.
    """
    unit = splits[0].unit
    members = data.subject if data.subject is not None and unit == "subject" else np.arange(len(data.x))
    named = unit == "subject" and len(splits) == 1 and len(np.unique(members)) <= MOST_NAMED
    sizes = []
    for name in PARTS:
        parts = [np.unique(members[getattr(split, name)]).tolist() for split in splits]
        in_brackets = [", ".join(map(str, parts[0]))] if named else []
        if name == "test":
            shares = [round(100 * len(split.test) / len(data.x)) for split in splits]
            in_brackets.append(f"{_between(shares)} % of the windows")
        if any(parts):
            brackets = f" ({'; '.join(in_brackets)})" if in_brackets else ""
            sizes.append(f"{_between([len(part) for part in parts])} {name}{brackets}")
    return f"{_kind(data, unit, len(splits))}: {', '.join(sizes)}"


def _kind(data: Dataset, unit: str, folds: int) -> str:
    """How the split was made."""
    if unit == "time":
        return "prefixes split in time, the test part for thresholds"
    if folds > 1:
        return f"{folds} folds by subject, each tested once"
    if data.fold is not None:
        return f"split by subject, {data.fold.name}"
    if unit == "subject":
        return "split by subject" + (", the test part as in the file" if data.test_from == "file" else "")
    whose = {"card": "test part of its card", "file": "test part as in the file", "drawn": ""}[data.test_from]
    return f"{whose}, validation by window" if whose else "split by window, at random in each class (no subjects)"


def how_test_was_made(test_from: str, unit: str) -> str:
    """Who made the test part, for the note of a table; empty of that of a card.

    Args:
        test_from: as `Dataset.test_from`.
        unit: as `Split.unit`.
    """
    if test_from == "drawn" and unit == "window":
        return "test windows drawn at random in each class, as there are no subjects: recordings may be on both sides"
    if test_from == "drawn":
        return "test part of whole subjects, drawn to be about 30 % of the windows"
    return "test part as in the file" if test_from == "file" else ""


def count(number: int, one: str, more: str = "") -> str:
    """The number with its noun.

    >>> count(1200, "window"), count(1, "class", "classes")
    ('1,200 windows', '1 class')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _between(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
