"""What was understood of a data set and its split, in one line, said before a training and kept in its record."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmkd.data.dataset import Dataset
from mmkd.data.series import Series, SeriesSet
from mmkd.data.splits import Split

MOST_NAMED = 6
"""Subjects of a data set that are named; of more, only their number is said."""
PARTS = ("train", "validation", "unlabelled", "test")
STRATIFIED = "of the windows, stratified by class"
BOTH_SIDES = "no subjects: recordings may be on both sides"
"""What is said of folds of windows."""
OF_PREFIX = {"train": "to train on", "validation": "to choose the epoch", "test": "to set the threshold"}
"""What the parts of normal prefixes are for."""


def describe_windows(data: Dataset) -> str:
    """The size of the windows, and what has a label.

    Such as "4,610 windows of 3 channels x 128 samples (2.56 s at 50 Hz); 9 classes". What was read as
    docs/own-data.md says is added.
    """
    return "; ".join([_sizes(data), *data.notes])


def _sizes(data: Dataset) -> str:
    channels = count(data.x.shape[1], "channel")
    labels = count(len(data.classes), "class", "classes")
    if data.series is not None:
        return _describe_series(data, data.series, channels)
    if data.grid is not None:
        shape = f"{count(len(data.x), 'image')} of {channels} x {data.grid[0]} x {data.grid[1]} pixels"
        return f"{shape}; {labels}{', a label a pixel' if data.form == 'step' else ''}"
    shape = f"{count(len(data.x), 'window')} of {channels} x {data.window} samples"
    if data.rate_hz and data.window_s:
        shape += f" ({data.window_s:.4g} s at {data.rate_hz:g} Hz)"
    labels += ", a label a sample" if data.form == "step" else ""
    return f"{shape}; {labels}" + (f"; {data.missing}" if data.missing else "")


def _describe_series(data: Dataset, found: SeriesSet, channels: str) -> str:
    """The sizes of series: their steps, events and normal prefixes, and the segments that are cut from these.

    Such as "1 series of 3 channels and 3,000 steps at 50 Hz; 2 events, 240 steps (8 %); normal prefix of 1,568 steps;
    178 segments of 32 samples to learn from".
    """
    steps = sum(len(series.labels) for series in found.scored)
    inside = sum(int(series.labels.sum()) for series in found.scored)
    events = count(sum(len(series.events) for series in found.scored), "event")
    several = len(found.scored) > 1
    rate = f" at {data.rate_hz:g} Hz" if data.rate_hz else ""
    prefixes = _between([series.prefix_end for series in found.scored])
    facts = (
        f"{count(len(found.scored), 'series', 'series')} of {channels} and {count(steps, 'step')}"
        f"{' in all' if several else ''}{rate}",
        f"{events}, {count(inside, 'step')} ({_percent(inside, steps)})",
        f"normal {'prefixes' if several else 'prefix'} of {prefixes} steps",
        f"{count(len(data.x), 'segment')} of {data.window} samples to learn from",
    )
    return "; ".join(facts)


def describe_one_series(facts: Mapping[str, Any]) -> str:
    """One series in a line.

    Args:
        facts: as `series_facts`.
    """
    events = count(facts["events"], "event")
    share = _percent(facts["event_steps"], facts["scored_steps"])
    return (
        f"{count(facts['steps'], 'step')}, normal prefix {facts['normal_prefix']:,}; {events}, the first at step "
        f"{facts['first_event']:,}; {share} of {facts['scored_steps']:,} scored steps in events"
    )


def series_facts(series: Series) -> dict[str, Any]:
    """The sizes of one series, in steps counted from 0."""
    return {
        "name": series.name,
        "steps": len(series.labels),
        "normal_prefix": series.prefix_end,
        "scored_steps": len(series.labels) - series.prefix_end,
        "events": len(series.events),
        "event_steps": int(series.labels.sum()),
        "first_event": series.events[0][0],
    }


def _percent(part: int, whole: int) -> str:
    """A share in percent, with a decimal where it is small."""
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 2 else f"{share:.2g} %"


def describe_split(data: Dataset, splits: Sequence[Split]) -> str:
    """How the windows were split, who made the test part, and how large the parts are.

    Such as "split by subject: 9 train, 2 validation, 5 test (59 % of the windows)". Few subjects are named. With few
    labels "split by subject: 3 labelled, 8 unlabelled, 5 test (59 % of the windows); labels of 310 of 1,105 training
    windows".

    Args:
        splits: of the data set; several are its folds.
    """
    unit = splits[0].unit
    if unit == "time":
        segments = {what: len(getattr(splits[0], part)) for part, what in OF_PREFIX.items()}
        return f"split in time: {', '.join(f'{size:,} {what}' for what, size in segments.items() if size)}"
    members = data.subject if data.subject is not None and unit == "subject" else np.arange(len(data.x))
    named = unit == "subject" and len(splits) == 1 and len(np.unique(members)) <= MOST_NAMED
    sizes = []
    few_labels = any(len(split.unlabelled) for split in splits)
    for name in PARTS:
        own = [getattr(split, name) for split in splits]
        parts = [np.unique(members[part[part < len(members)]]).tolist() for part in own]
        in_brackets = [", ".join(map(str, parts[0]))] if named else []
        if name == "test":
            shares = [round(100 * len(split.test) / len(data.x)) for split in splits]
            in_brackets.append(f"{_between(shares)} % of the windows")
        if any(parts):
            brackets = f" ({'; '.join(in_brackets)})" if in_brackets else ""
            word = "labelled" if few_labels and name == "train" else name
            sizes.append(f"{_between([len(part) for part in parts])} {word}{brackets}")
    said = f"{_kind(data, unit, splits)}: {', '.join(sizes)}"
    if few_labels:
        labelled = _between([len(split.train) + len(split.validation) for split in splits])
        whole = _between([len(split.pool) + len(split.validation) for split in splits])
        said += f"; labels of {labelled} of {whole} training windows"
    return said


def _kind(data: Dataset, unit: str, splits: Sequence[Split]) -> str:
    """How the split was made."""
    if len(splits) > 1:
        tested = np.concatenate([split.test for split in splits])
        once = len(tested) == len(data.x) == len(np.unique(tested))
        cut = f"{len(splits)} folds {STRATIFIED if unit == 'window' else 'by subject'}"
        return cut + ", each tested once" * once + f" ({BOTH_SIDES})" * (unit == "window")
    if data.test_from == "none" and data.fold is None:
        by = f", validation by {unit}" if any(len(split.validation) for split in splits) else ""
        return f"all windows are for training{by}"
    if data.fold is not None and data.fold.stratified:
        return f"test part is {data.fold.name} {STRATIFIED} ({BOTH_SIDES})"
    if data.fold is not None:
        return f"split by subject, {data.fold.name}"
    if unit == "subject":
        return "split by subject" + (", the test part as in the file" if data.test_from == "file" else "")
    whose = {"card": "test part of its card", "file": "test part as in the file", "drawn": ""}[data.test_from]
    if not whose:
        return "split by window, at random in each class (no subjects)"
    return f"{whose}, validation by window" if any(len(split.validation) for split in splits) else whose


def how_test_was_made(test_from: str, unit: str) -> str:
    """Who made the test part, for the note of a table; empty of that of a card.

    Args:
        test_from: as `Dataset.test_from`, or "folds".
        unit: as `Split.unit`.
    """
    if test_from == "folds" and unit == "window":
        return f"test parts are folds {STRATIFIED} ({BOTH_SIDES})"
    if test_from == "drawn" and unit == "window":
        return "test windows drawn at random in each class, as there are no subjects: recordings may be on both sides"
    if test_from == "drawn":
        return "test part of whole subjects, drawn to be about 30 % of the windows"
    return {"file": "test part as in the file", "none": "no test part"}.get(test_from, "")


def count(number: int, one: str, more: str = "") -> str:
    """The number with its noun.

    >>> count(1200, "window"), count(1, "class", "classes")
    ('1,200 windows', '1 class')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _between(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
