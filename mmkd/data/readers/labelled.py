"""Readers of classification sets: one label for each window."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.data.cards import Card
from mmkd.data.labels import step_labels, subject_names, window_labels
from mmkd.data.npz_windows import read_npz
from mmkd.data.precision import as_float32, find_offsets
from mmkd.data.readers.base import RawDataset, class_numbers, cut_labelled, is_test_subject, load_arrays
from mmkd.data.recordings import Recording
from mmkd.data.unequal import equal_lengths

CHUNK = 512
"""Windows that are decoded at a time."""
WINDOWS_OPTIONS = ("file", "test_subjects")
"""What `reader_options` of the reader `windows` may have."""


def read_windows(card: Card, folder: Path) -> RawDataset:
    """Windows that are cut already, in the `.npz` form of own windows; see `npz_windows.read_npz`.

    Labels are names of classes on the card, or numbers of the names in the file. Windows of classes that are not on the
    card are left out. Which windows are for the test is in the file, or `test_subjects` on the card say it. A private
    card may leave classes and channels to the file.

    Raises:
        MmkdError: the card and the file contradict each other, nothing names the test windows, or a test subject has
            no window.
    """
    for option in card.reader_options:
        if option not in WINDOWS_OPTIONS:
            hint = did_you_mean(option, WINDOWS_OPTIONS)
            raise MmkdError(f"data set {card.name!r}: [reader_options] has no {option!r}{hint}")
    content = equal_lengths(read_npz(folder / card.reader_options["file"], card.channels or None), "refuse")
    both = {"channels": (card.channels or None, content.channels), "rate_hz": (card.rate_hz, content.rate_hz)}
    for what, (said, found) in both.items():
        if found is not None and said is not None and found != said:
            raise MmkdError(f"data set {card.name!r}: its card.toml says {what} {said}, its files {found}")
    warnings = list(content.warnings)
    subject = None if content.subject is None else subject_names(content.subject, "subject")[0]
    test = _test_windows(card, content.test, subject)
    if content.dense:
        labels = step_labels(content.labels, content.classes or card.classes or None)
        names = card if card.classes else replace(card, classes=labels.classes)
        y = np.append(class_numbers(names, labels.classes), -1)[labels.numbers]
        kept = (y >= 0).any(axis=1)
    else:
        labels = window_labels(content.labels, content.classes, declared=True)
        names = card if card.classes else replace(card, classes=labels.classes)
        y = class_numbers(names, labels.classes)[labels.numbers]
        kept = y >= 0
    offset = find_offsets(content.x, test)
    x = content.x if offset is None else content.x.astype(np.float64) - offset[:, None]
    recording = np.arange(len(y)) if content.recording is None else subject_names(content.recording, "recording")[0]
    start = np.zeros(len(y), np.int64) if content.start is None else content.start
    return RawDataset(
        x=as_float32(x)[kept],
        y=y[kept],
        subject=recording[kept] if subject is None and content.dense else None if subject is None else subject[kept],
        test=test[kept],
        recording=recording[kept] if content.dense else None,
        start=start[kept] if content.dense else None,
        warnings=(*warnings, *labels.warnings),
        notes=labels.notes,
        offset=None if offset is None else tuple(offset.tolist()),
        classes=None if card.classes else labels.classes,
        channels=content.channels,
        rate_hz=content.rate_hz,
        groups=content.groups,
        triads=content.triads,
        augment=content.augment,
    )


def _test_windows(card: Card, test: NDArray[np.bool_] | None, subject: NDArray[Any] | None) -> NDArray[np.bool_]:
    """(N,) bool, the test windows that the file or the card names; an error if neither does, or they differ."""
    if "test_subjects" in card.reader_options:
        if subject is None:
            raise MmkdError(f"data set {card.name!r}: test_subjects needs an array 'subject' in its file")
        named = is_test_subject(card, subject)
        if test is not None and (test != named).any():
            raise MmkdError(
                f"data set {card.name!r}: the array 'test' in its file and test_subjects on its card name different "
                f"windows; leave one of them out"
            )
        return named
    if test is None:
        raise MmkdError(
            f"data set {card.name!r}: nothing names its test windows; add an array 'test', or subjects and "
            f"test_subjects under [reader_options]"
        )
    return test


def read_hapt(card: Card, folder: Path) -> RawDataset:
    """The official windows of HAPT, cut from the stream; classes that are not on the card are left out."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream = z["x"]
        names = [str(name) for name in z["class_names"]]
        start, label, subject, test = (z[f"win_{field}"] for field in ("start", "label", "subject", "test"))
    number = {names.index(name): k for k, name in enumerate(card.classes)}
    known = np.isin(label, list(number))
    length = card.signal["window"]
    x = np.stack([stream[first : first + length].T for first in start[known]])
    return RawDataset(x, np.array([number[int(value)] for value in label[known]]), subject[known], test[known])


def read_hapt_and_uci_har(card: Card, folder: Path) -> RawDataset:
    """The windows of HAPT for the training subjects, and the test windows that UCI HAR publishes for the others.

    The file of test windows has x (N, W, C), y with HAPT's activity numbers, subject and channels. `test_channels` on
    the card names the channels to take, in the order of HAPT's.
    """
    hapt = read_hapt(card, folder)
    options = card.reader_options
    with np.load(folder / options["file"], allow_pickle=False) as z:
        names = [str(name) for name in z["class_names"]]
    with np.load(folder / options["test_file"], allow_pickle=False) as z:
        channels = [str(name) for name in z["channels"]]
        x, y, subject = (z[name] for name in ("x", "y", "subject"))
    x = x[:, :, [channels.index(name) for name in options["test_channels"]]].transpose(0, 2, 1)
    label = class_numbers(card, names)[y]
    train = ~hapt.test
    known = label >= 0
    return RawDataset(
        x=np.concatenate([hapt.x[train], x[known]]),
        y=np.concatenate([hapt.y[train], label[known]]),
        subject=np.concatenate([hapt.subject[train], subject[known]]),
        test=np.arange(train.sum() + known.sum()) >= train.sum(),
    )


def read_streams(card: Card, folder: Path) -> RawDataset:
    """Recordings that `prepare` joined: x (T, C), y (T,), start and subject of each recording, class_names."""
    arrays = load_arrays(card, folder)
    labels = np.append(class_numbers(card, arrays["class_names"]), -1)[arrays["y"]]
    borders = [*arrays["start"].tolist(), len(labels)]
    recordings = (
        Recording(arrays["x"][start:stop].T, labels[start:stop], int(subject))
        for start, stop, subject in zip(borders[:-1], borders[1:], arrays["subject"], strict=True)
    )
    return cut_labelled(card, recordings)


def read_motionsense(card: Card, folder: Path) -> RawDataset:
    """The sequences of MotionSense, each of one activity."""
    arrays = load_arrays(card, folder)
    numbers = class_numbers(card, arrays["class_names"])
    columns = ("seq_start", "seq_len", "seq_label", "seq_subject")
    recordings = (
        Recording(
            (arrays["xq"][start : start + length] * arrays["scale"]).T, np.full(length, numbers[label]), int(subject)
        )
        for start, length, label, subject in zip(*(arrays[name].tolist() for name in columns), strict=True)
    )
    return cut_labelled(card, recordings)


def read_dsads(card: Card, folder: Path) -> RawDataset:
    """The segments of DSADS: first differences in two bytes, summed along time and scaled."""
    arrays = load_arrays(card, folder)
    high = arrays["hi"]
    low = arrays["lo"]
    scale = arrays["scale"][:, None]
    x = np.empty(high.shape, np.float32)
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        steps = (high[part].astype(np.int16) << 8) | low[part]
        x[part] = np.cumsum(steps, axis=2, dtype=np.int16) * scale
    y = class_numbers(card, arrays["class_names"])[arrays["y"]]
    return RawDataset(x, y, arrays["subject"], is_test_subject(card, arrays["subject"]))


def read_beats(card: Card, folder: Path) -> RawDataset:
    """Heartbeats of whole records, one lead: xq (N, W) int16 times scale."""
    arrays = load_arrays(card, folder)
    y = class_numbers(card, arrays["class_names"])[arrays["y"]]
    test = is_test_subject(card, arrays["record"], "test_records")
    return RawDataset((arrays["xq"] * arrays["scale"])[:, None], y, arrays["record"], test)
