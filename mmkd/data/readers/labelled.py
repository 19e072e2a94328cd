"""Readers of classification sets: one label for each window."""

from pathlib import Path

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.data.cards import Card
from mmkd.data.labels import step_labels, subject_names, window_labels
from mmkd.data.npz_windows import read_npz
from mmkd.data.precision import as_float32, find_offsets
from mmkd.data.readers.base import RawDataset, class_numbers, cut_labelled, load_arrays
from mmkd.data.recordings import Recording

CHUNK = 512
"""Windows that are decoded at a time."""


def read_windows(card: Card, folder: Path) -> RawDataset:
    """Windows that are cut already, in the `.npz` form of own windows; see `npz_windows.read_npz`.

    Labels are names of classes on the card, or numbers of the names in the file. Windows of classes that are not on the
    card are left out. Which windows are for the test is in the file, or `test_subjects` on the card say it.
    """
    content = read_npz(folder / card.reader_options["file"])
    both = {"channels": (card.channels, content.channels), "rate_hz": (card.rate_hz, content.rate_hz)}
    for what, (said, found) in both.items():
        if found is not None and said is not None and found != said:
            raise MmkdError(f"data set {card.name!r}: its card.toml says {what} {said}, its files {found}")
    warnings = list(content.warnings)
    subject = None if content.subject is None else subject_names(content.subject, "subject")[0]
    test_subjects = card.reader_options.get("test_subjects")
    test = content.test
    if test is None and test_subjects is not None and subject is not None:
        test = np.isin(subject, test_subjects)
    if test is None:
        raise MmkdError(
            f"data set {card.name!r}: nothing names its test windows; add an array 'test', or subjects and "
            f"test_subjects under [reader_options]"
        )
    if content.dense:
        labels = step_labels(content.labels, content.classes or card.classes)
        y = np.append(class_numbers(card, labels.classes), -1)[labels.numbers]
        kept = (y >= 0).any(axis=1)
    else:
        labels = window_labels(content.labels, content.classes, declared=True)
        y = class_numbers(card, labels.classes)[labels.numbers]
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
    )


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
    return cut_labelled(card, recordings, card.reader_options["test_subjects"])


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
    return cut_labelled(card, recordings, card.reader_options["test_subjects"])


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
    return RawDataset(x, y, arrays["subject"], np.isin(arrays["subject"], card.reader_options["test_subjects"]))


def read_beats(card: Card, folder: Path) -> RawDataset:
    """Heartbeats of whole records, one lead: xq (N, W) int16 times scale."""
    arrays = load_arrays(card, folder)
    y = class_numbers(card, arrays["class_names"])[arrays["y"]]
    test = np.isin(arrays["record"], card.reader_options["test_records"])
    return RawDataset((arrays["xq"] * arrays["scale"])[:, None], y, arrays["record"], test)
