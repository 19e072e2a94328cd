"""Augmented training windows: drawn anew each time that they are read, or a fixed number of copies of each.

A row names one augmentation of one training window: row r of n training windows is the window at position r % n, for
the time r // n. Copies are stored as their views. Their rows end where the copies do, and later times read them again.
"""

import json
from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.augment import Pipeline, parse_augmentations
from mmkd.augment.base import describe_channels, parse_sites
from mmkd.augment.pipeline import Mixing
from mmkd.core.keys import digest, seed_for
from mmkd.core.progress import Progress
from mmkd.specs.unit import Training
from mmkd.store.cache import Cache
from mmkd.store.files import create_array
from mmkd.views import Modality

Rows = NDArray[np.int64]
CHUNK = 256
"""Rows whose views are made at a time, where copies are stored."""


class AugmentedWindows:
    """The training windows of one network, as its augmentations change them.

    Args:
        x: raw windows (N, C, W) of the whole data set.
        fitted_on: indices of the windows whose mean and standard deviation the augmentations know.
        train: (n,) indices of the windows that are augmented, in the order of their positions.
        training: its `augment`, `triads` and `augment_copies`.
        modalities: modality -> fitted, at least of the views that are read.
        view_keys: modality -> cache key of its view of the windows as they are.
        seed: of the unit.
        role: "student" or "teacher/MODALITY": each has draws of its own.
        labelled: (n,) bool, False for windows without label, which are mixed among themselves; None: all have one.
        sources: checksums of the plugins' code that the augmentations are made with.
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        *,
        fitted_on: NDArray[np.int64],
        train: NDArray[np.int64],
        training: Training,
        modalities: Mapping[str, Modality],
        view_keys: Mapping[str, str],
        seed: int,
        role: str,
        labelled: NDArray[np.bool_] | None = None,
        sources: Mapping[str, str] | None = None,
        cache: Cache,
        progress: Progress,
    ) -> None:
        self.x = x
        self.train = train
        self.modalities = modalities
        self.view_keys = view_keys
        self.cache = cache
        self.progress = progress
        self.augment = training.augment
        self.copies = training.augment_copies
        channels = describe_channels(x, fitted_on, parse_sites(training.triads))
        self.pipeline = Pipeline(parse_augmentations(training.augment), channels, seed_for(seed, f"augment/{role}"))
        positions = np.arange(len(train))
        masks = [np.ones(len(train), bool)] if labelled is None else [labelled, ~labelled]
        groups = [positions[mask] for mask in masks]
        self.groups = [group[np.argsort(train[group], kind="stable")] for group in groups]
        parts = [training.augment, training.triads, self.copies, seed, role, fitted_on.tolist(), train.tolist()]
        parts += [None if labelled is None else labelled.tolist(), dict(sources or {})]
        self.key = digest(parts)
        self._stored: dict[str, NDArray[np.float32]] = {}

    @property
    def is_stored(self) -> bool:
        """Whether there is a fixed number of copies, whose views are read from the cache."""
        return self.copies > 0

    @property
    def count(self) -> int:
        """The number of rows of all copies."""
        return len(self.train) * self.copies

    def rows(self, positions: Rows, number: int) -> Rows:
        """The rows of the windows at these positions when they are read for the time `number`, from 0."""
        return positions + len(self.train) * (number % self.copies if self.copies else number)

    def mixing(self, rows: Rows) -> Mixing | None:
        """With what these rows are mixed; None if no augmentation mixes."""
        numbers, positions = np.divmod(rows, len(self.train))
        return self.pipeline.mixing(self.train[positions], numbers, positions, self.groups, self.x.shape[2])

    def raw(self, rows: Rows) -> NDArray[np.float32]:
        """The augmented windows of these rows, (B, C, W), before their views are made."""
        x = self._change(rows)
        mixing = self.mixing(rows)
        if mixing is None:
            return x
        others = self._change(rows // len(self.train) * len(self.train) + mixing.partners)
        mixed: NDArray[np.float32] = others + mixing.weights[:, None] * (x - others)
        return mixed

    def _change(self, rows: Rows) -> NDArray[np.float32]:
        numbers, positions = np.divmod(rows, len(self.train))
        windows = self.train[positions]
        return self.pipeline.change(np.asarray(self.x[windows], np.float32), windows, numbers)

    def views(self, rows: Rows, names: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
        """The views of these rows: modality -> (B, ...), for the modalities `names`."""
        if self.copies:
            return {name: self._copies_of(name)[rows] for name in names}
        x = self.raw(rows)
        return {name: self.modalities[name].transform(x) for name in names}

    def with_views(self, modalities: Mapping[str, Modality], view_keys: Mapping[str, str]) -> "AugmentedWindows":
        """The same augmented windows with other views of them: `modalities` and `view_keys` replace those of before."""
        other = copy(self)
        other.modalities = {**self.modalities, **modalities}
        other.view_keys = {**self.view_keys, **view_keys}
        other._stored = {}
        return other

    def prepare(self, names: Iterable[str]) -> None:
        """Make and store the copies of these views, if copies are read and they are not there yet."""
        for name in names if self.copies else ():
            self._copies_of(name)

    def _copies_of(self, name: str) -> NDArray[np.float32]:
        """The views of all copies, (copies n, ...); they are made and stored when they are first needed."""
        if name not in self._stored:
            key = digest({"view": self.view_keys[name], "augmented": self.key})
            self._stored[name] = self.cache.load_or_create(
                "views",
                key,
                lambda folder: self._write_copies(name, folder),
                lambda folder: np.lib.format.open_memmap(folder / "view.npy", "r"),
            )
        return self._stored[name]

    def _write_copies(self, name: str, folder: Path) -> None:
        modality = self.modalities[name]
        out = create_array(folder / "view.npy", (self.count, *modality.shape(*self.x.shape[1:])))
        with self.progress.bar(f"view {name}, {self.copies} augmented copies", self.count) as bar:
            for start in range(0, self.count, CHUNK):
                part = out[start : start + CHUNK]
                modality.transform(self.raw(np.arange(start, start + len(part))), out=part)
                bar.advance(len(part))
        out.flush()
        (folder / "state.json").write_text(json.dumps(modality.state()))
