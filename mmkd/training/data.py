"""What the training loop reads: the views of all windows, their labels, and which windows are for training."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkd.metrics.reproduction import prediction_scores
from mmkd.tasks.base import task_of_form
from mmkd.training.augmented import AugmentedWindows

if TYPE_CHECKING:
    from mmkd.training.variants import Variants

PREDICTION_BATCH = 256  # windows
MAX_PREDICTION_VALUES = 1 << 23
"""Values of a view, or class probabilities of all pixels, that one batch of images has at most in prediction."""


@dataclass(frozen=True)
class TrainingData:
    """Views of all N windows, their labels, and the indices of the training and validation windows.

    Attributes:
        views: modality -> array (N, ...).
        y: (N,) classes, -1 of windows whose labels are not used; or (N, T) where every time step has a label, -1 where
            it is unknown.
        train, validation: indices of windows. `train` holds windows without labels too where a method trains on them.
        names: names of the K classes.
        device: where batches are put.
        window_s: length of a window in seconds, None where time has no unit.
        locations: recording and first sample of each window, (N,) each, where every time step has a label.
        delineated: whether onsets and offsets are scored too, as is usual for an ECG.
        grid: (H, W) of images, None for signals. If every pixel has a label, T is H W, row by row.
        subject: (N,) numbers or names of the persons or recordings, None where there are none.
        task_name: the name of the task; if empty, the shape of the labels decides.
        rate_hz: samples per second, None where time has no unit.
        labelled: (n,) which of the windows `train` have a label; None if all have one.
        augmented: the training windows as augmentations change them; None: they are read as they are.
        variants: the changed copies of training windows that the method reads too; None for most methods.
    """

    views: Mapping[str, NDArray[np.float32]]
    y: NDArray[np.int64]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    names: Sequence[str]
    device: torch.device
    window_s: float | None = None
    locations: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    delineated: bool = False
    grid: tuple[int, int] | None = None
    subject: NDArray[Any] | None = None
    task_name: str = ""
    rate_hz: float | None = None
    labelled: NDArray[np.bool_] | None = None
    augmented: AugmentedWindows | None = None
    variants: "Variants | None" = None

    @property
    def task(self) -> str:
        """The name of the task, as in `Setup`."""
        return self.task_name or task_of_form("step" if self.per_step else "window")

    @property
    def classes(self) -> int:
        """The number of classes, K."""
        return len(self.names)

    @property
    def per_step(self) -> bool:
        """Whether every time step, or pixel, has a label."""
        return self.y.ndim == 2

    @property
    def window(self) -> int:
        """The number of time steps, or pixels, that have a label in each window; 1 where each window has one label."""
        return self.y.shape[1] if self.per_step else 1

    @property
    def known_labels(self) -> Tensor:
        """(n,) the labels of the training windows, or of their steps, that are known."""
        train = self.train if self.labelled is None else self.train[self.labelled]  # not those that teachers predict
        labels = self.y[train]
        return torch.from_numpy(labels[labels >= 0])

    @property
    def prediction_batch(self) -> int:
        """How many windows are predicted at a time: 256, or fewer if images are large."""
        if self.grid is None:
            return PREDICTION_BATCH
        planes = max(len(self.names), *(array.shape[1] for array in self.views.values()))
        size = int(planes * self.grid[0] * self.grid[1])
        return max(1, min(PREDICTION_BATCH, MAX_PREDICTION_VALUES // size))

    def select_views(self, modalities: Collection[str]) -> "TrainingData":
        """The same data with these views only, so that a batch does not read the others."""
        return replace(self, views={name: view for name, view in self.views.items() if name in modalities})

    def add_unlabelled(self, unlabelled: NDArray[np.int64]) -> "TrainingData":
        """The same data with these windows for training too, after the labelled ones."""
        train = np.concatenate([self.train, unlabelled])
        return replace(self, train=train, labelled=np.arange(len(train)) < len(self.train))

    def load_views(self, windows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The views of these windows as tensors on the device; images are in channels-last memory format."""
        return self.as_tensors({name: array[windows] for name, array in self.views.items()})

    def as_tensors(self, arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
        """Arrays of views as tensors on the device; images in channels-last memory format."""
        tensors = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
            tensors[name] = tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        return tensors

    def rows(self, positions: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        """The rows of training windows that are read for the time `number`, from 0: their positions if not augmented.

        Args:
            positions: (B,) positions in `train`.
        """
        return positions if self.augmented is None else self.augmented.rows(positions, number)

    @property
    def augmentation(self) -> tuple[tuple[str, ...], int]:
        """The augmentations of the training windows and the number of copies, as in `Training`."""
        return ((), 0) if self.augmented is None else (self.augmented.augment, self.augmented.copies)

    @property
    def stored_rows(self) -> int:
        """How many rows there are whose views are stored: one a training window, or one a window and copy."""
        return len(self.train) if self.augmented is None else self.augmented.count

    def load_rows(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The views of these rows of the training windows, augmented, as tensors as in `load_views`."""
        if self.augmented is None:
            return self.load_views(self.train[rows])
        return self.as_tensors(self.augmented.views(rows, self.views))

    def mixed(self, rows: NDArray[np.int64], targets: Tensor) -> tuple[Tensor, Tensor] | None:
        """The field `mixed` of the batch of these rows.

        Args:
            targets: (n,) of all training windows.
        """
        mixing = None if self.augmented is None else self.augmented.mixing(rows)
        if mixing is None:
            return None
        partners = torch.from_numpy(mixing.partners).to(targets.device)
        return targets[partners], torch.from_numpy(mixing.shares).to(targets.device)

    def scores(self, windows: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]) -> dict[str, float]:
        """Scores of predictions for these windows.

        They are those of `metrics.reproduction.prediction_scores`.

        Args:
            windows: (n,) indices.
            probabilities: (n, K), or (n, K, T).
        """
        arrays = {"true": self.y[windows], "probabilities": probabilities}
        if self.locations is not None:
            recording, start = self.locations
            arrays |= {"recording": recording[windows], "start": start[windows]}
        return prediction_scores(arrays, self.names, self.rate_hz, self.delineated)
