"""Targets of training windows that do not come from the teacher that was fitted to them.

`FoldTargets`: the logits of each window come from the teacher that did not see its fold, and so not its subject.
`WindowTargets`: the logits of a peer, computed once for each window.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.keys import digest
from mmkd.core.progress import Progress
from mmkd.methods.outputs import Outputs
from mmkd.store.cache import Cache
from mmkd.training.data import TrainingData
from mmkd.training.teacher_outputs import TeacherSource
from mmkd.views import Modality

Rows = NDArray[np.int64]
Targets = Callable[[Rows], Tensor]
"""From rows (B,) of training windows, see `TrainingData.rows`, to logits (B, K); where NaN, the teacher's own stay."""


class Retargeted:
    """A source in which the logits of some teachers are replaced; their other outputs stay.

    Args:
        source: of the outputs of the networks among the teachers.
        targets: modality -> logits that replace those of this teacher; of one that is not in `source`, all it has.
        order: the modalities of all teachers.
    """

    def __init__(self, source: TeacherSource, targets: Mapping[str, Targets], order: Sequence[str]) -> None:
        self.source = source
        self.targets = targets
        self.order = tuple(order)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Those of the source."""
        return self.source.networks

    def outputs(self, positions: Rows, views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        own = self.source.outputs(positions, views)
        return {name: self._of(name, own.get(name), positions) for name in self.order}

    def _of(self, name: str, own: Outputs | None, positions: Rows) -> Outputs:
        if name not in self.targets:
            assert own is not None
            return own
        logits = self.targets[name](positions)
        if own is None:
            return Outputs(logits, logits)
        logits = logits.to(own.logits.dtype)
        return replace(own, logits=torch.where(torch.isnan(logits), own.logits, logits))


@dataclass(frozen=True)
class WindowTargets:
    """The logits of each training window, whatever augmentation makes of it.

    Attributes:
        logits: (N, K) of all windows of the data set.
        train: (n,) indices of the training windows.
    """

    logits: NDArray[np.float32]
    train: NDArray[np.int64]
    device: torch.device

    def __call__(self, rows: Rows) -> Tensor:
        windows = self.train[rows % len(self.train)]
        return torch.from_numpy(np.ascontiguousarray(self.logits[windows], dtype=np.float32)).to(self.device)


@dataclass(frozen=True)
class FoldTeacher:
    """A teacher that did not see one fold of the training windows.

    Attributes:
        key: of its spec.
        network: in evaluation mode, without gradients.
        modality, array: its view, fitted on its own training windows; `array` (N, ...) of all windows.
        held_out: indices of the windows of the fold.
    """

    key: str
    checkpoint: str
    network: nn.Module
    name: str
    modality: Modality
    array: NDArray[np.float32]
    held_out: NDArray[np.int64]


class FoldTargets:
    """Logits of each training window from the teacher that did not see its fold; NaN for a window of no fold.

    All augmented copies of a window belong to its fold. A window that is mixed with another one is read as it is mixed.

    Args:
        windows: the training windows of the student, with its augmentations.
    """

    def __init__(self, teachers: Sequence[FoldTeacher], windows: TrainingData) -> None:
        self.teachers = teachers
        self.windows = windows
        self.folds = np.full(len(windows.train), -1)
        for number, teacher in enumerate(teachers):
            self.folds[np.isin(windows.train, teacher.held_out)] = number
        self._stored: NDArray[np.float32] | None = None

    def __call__(self, rows: Rows) -> Tensor:
        if self._stored is not None:
            return torch.from_numpy(np.ascontiguousarray(self._stored[rows])).to(self.windows.device)
        return self.compute(rows)

    @torch.no_grad()
    def compute(self, rows: Rows) -> Tensor:
        """The logits of these rows, computed now."""
        folds = self.folds[rows % len(self.folds)]
        logits: Tensor | None = None
        for number in np.unique(folds[folds >= 0]):
            own = np.flatnonzero(folds == number)
            part = self._network_logits(self.teachers[number], rows[own])
            if logits is None:
                logits = part.new_full((len(rows), *part.shape[1:]), torch.nan)
            logits[torch.from_numpy(own).to(part.device)] = part
        if logits is None:  # no window of a batch is in a fold
            first = self.teachers[0]
            part = self._network_logits(first, np.zeros(1, np.int64))
            logits = part.new_full((len(rows), *part.shape[1:]), torch.nan)
        return logits

    def _network_logits(self, teacher: FoldTeacher, rows: Rows) -> Tensor:
        augmented = self.windows.augmented
        if augmented is None:
            view = teacher.array[self.windows.train[rows]]
        else:
            view = teacher.modality.transform(augmented.raw(rows))
        return teacher.network(self.windows.as_tensors({teacher.name: view})).logits.float()  # type: ignore[no-any-return]

    def store(self, cache: Cache, progress: Progress) -> None:
        """Read the logits of all rows from the cache, where they are computed first if they are not there.

        Windows that are augmented anew each time have none to store.
        """
        augmented = self.windows.augmented
        if augmented is not None and not augmented.is_stored:
            return
        parts: list[Any] = [[teacher.key, teacher.checkpoint] for teacher in self.teachers]
        parts += [self.windows.train.tolist(), None if augmented is None else augmented.key]
        key = digest({"out of fold": parts})
        self._stored = cache.load_or_create("outputs", key, partial(self._write, progress=progress), _open)

    def _write(self, folder: Path, progress: Progress) -> None:
        count = self.windows.stored_rows
        size = self.windows.prediction_batch
        parts = []
        with progress.bar(f"out-of-fold outputs of {self.teachers[0].name} teachers", count) as bar:
            for start in range(0, count, size):
                rows = np.arange(start, min(start + size, count))
                parts.append(self.compute(rows).cpu().numpy())
                bar.advance(len(rows))
        np.save(folder / "logits.npy", np.concatenate(parts))
        (folder / "order.json").write_text(json.dumps(["logits"]))


def _open(folder: Path) -> NDArray[np.float32]:
    return np.lib.format.open_memmap(folder / "logits.npy", "r")
