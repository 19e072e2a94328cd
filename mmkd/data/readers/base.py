"""What the readers share: the raw data set, and the arrays, class numbers and windows of a card."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten
from mmkd.data.cards import Card
from mmkd.data.recordings import Recording, window_labels, window_starts
from mmkd.data.resampling import resample
from mmkd.data.series import SeriesSet


class RawDataset(NamedTuple):
    """What a reader returns; the fields are those of `Dataset`.

    `classes`, `channels` and `rate_hz` are set if the files name them and the card does not. `groups` and
    `triads` are those of the files, by the names of their channels; the card may have more. `augment` of the card
    replaces that of the files.
    """

    x: Any
    y: Any
    subject: Any
    test: Any
    recording: Any = None
    start: Any = None
    classes: tuple[str, ...] | None = None
    series: SeriesSet | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    offset: tuple[float, ...] | None = None
    channels: tuple[str, ...] | None = None
    rate_hz: float | None = None
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    triads: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType({})
    augment: tuple[str, ...] = ()


def load_arrays(card: Card, folder: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays of the `.npz` file that the card names as `file`. Pickled objects are refused."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        return {name: z[name] for name in z.files}


def class_numbers(card: Card, names: Iterable[Any]) -> NDArray[np.int64]:
    """The number on the card of each class name in a file; -1 for classes that the card leaves out.

    Raises:
        ValueError: the file lacks a class of the card.
    """
    number = {name: k for k, name in enumerate(card.classes)}
    numbers = np.array([number.get(str(name), -1) for name in names], np.int64)
    missing = set(range(len(card.classes))) - set(numbers.tolist())
    if missing:
        raise ValueError(f"its files have no class {', '.join(card.classes[k] for k in sorted(missing))}")
    return numbers


def encode_card_labels(card: Card, labels: NDArray[Any]) -> NDArray[np.int64]:
    """The class number of each label; labels are class names on the card.

    Raises:
        MmkdError: a label is not on the card.
    """
    number = {name: k for k, name in enumerate(card.classes)}
    unknown = sorted({str(label) for label in labels} - set(number))
    if unknown:
        raise MmkdError(f"data set {card.name!r}: its files hold classes that card.toml lacks: {', '.join(unknown)}")
    return np.array([number[str(label)] for label in labels])


def is_test_subject(card: Card, subject: ArrayLike, option: str = "test_subjects") -> NDArray[np.bool_]:
    """Which of the windows or recordings are of the test subjects on the card.

    Args:
        subject: (N,) the names of their subjects, numbers or texts.
        option: the entry of the card's `reader_options` that names the test subjects.

    Returns:
        (N,) bool.

    Raises:
        MmkdError: the card names none, or one that the files do not have.
    """
    named = card.reader_options[option]
    texts = [str(name) for name in (named if isinstance(named, list) else [named])]
    subjects = np.asarray(subject)
    known = [str(name) for name in np.unique(subjects).tolist()]
    unknown = [name for name in texts if name not in known]
    if unknown or not texts:
        what = f"no subject {', '.join(map(repr, unknown))}" if unknown else "nobody is named"
        raise MmkdError(f"data set {card.name!r}: {option}: {what}; the subjects are {shorten(', '.join(known), 100)}")
    return np.isin(subjects.astype(str), texts)


def cut_labelled(card: Card, recordings: Iterable[Recording]) -> RawDataset:
    """Cut recordings into windows with one label each, of the card's length and step.

    `[reader_options]` of the card may name `rule` and `grid` (see `recordings.window_labels` and `window_starts`), and
    `recorded_hz`: recordings are then resampled from this rate to the card's rate. `test_subjects` are those of the
    test split.

    Args:
        recordings: their labels are class numbers of the card, -1 for none.

    Raises:
        MmkdError: a test subject on the card has no recording.
    """
    options = card.reader_options
    length = card.signal["window"]
    step = card.signal["step"]
    parts = []
    for number, recording in enumerate(recordings):
        if "recorded_hz" in options and card.rate_hz:
            recording = resample(recording, options["recorded_hz"], card.rate_hz)
        starts = window_starts(recording.labels, length, step, options.get("grid", "recording"))
        y = window_labels(recording.labels, starts, length, options.get("rule", "majority"))
        parts.append((recording, number, starts[y >= 0], y[y >= 0]))
    x = np.empty((sum(len(y) for *_, y in parts), len(card.channels), length), np.float32)
    row = 0
    for recording, _, starts, _ in parts:
        for start in starts:
            x[row] = recording.signal[:, start : start + length]
            row += 1
    counts = [len(y) for *_, y in parts]
    subjects = [recording.subject for recording, *_ in parts]
    return RawDataset(
        x=x,
        y=np.concatenate([y for *_, y in parts]),
        subject=np.repeat(subjects, counts),
        test=np.repeat(is_test_subject(card, subjects), counts),
        recording=np.repeat([number for _, number, *_ in parts], counts),
        start=np.concatenate([starts for *_, starts, _ in parts]),
    )


def cut_dense(card: Card, recordings: Iterable[Recording], test: Collection[int]) -> RawDataset:
    """Cut recordings into windows with a label for each sample, of the card's length and step.

    The last window of a recording is aligned with its end. Windows without any label are left out.

    Args:
        test: the subjects of the test split.
    """
    length = card.signal["window"]
    step = card.signal["step"]
    windows: list[tuple[Any, Any, int, int, int]] = []
    for number, recording in enumerate(recordings):
        last = len(recording.labels) - length
        starts = sorted({*range(0, last + 1, step), last}) if last >= 0 else []
        for start in starts:
            part = slice(start, start + length)
            if (recording.labels[part] >= 0).any():
                windows.append((recording.signal[:, part], recording.labels[part], recording.subject, number, start))
    x, y, subject, recording_number, start_sample = (np.array(column) for column in zip(*windows, strict=True))
    return RawDataset(
        x=x,
        y=y,
        subject=subject,
        test=np.isin(subject, list(test)),
        recording=recording_number,
        start=start_sample,
    )
