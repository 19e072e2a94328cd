"""Load a trained student, or a teacher, from its record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.registry import METHODS
from mmkd.data.precision import as_float32
from mmkd.methods.outputs import Outputs
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.training.data import MAX_PREDICTION_VALUES, PREDICTION_BATCH
from mmkd.training.teachers import make_network
from mmkd.training.trial import Trial, make_student
from mmkd.units.sources import Entry, entries_of, load_recorded, student_entries
from mmkd.views import Modality
from mmkd.views.channels import make_modality


def load_weights(network: nn.Module, weights: Path | bytes, kind: str) -> None:
    """Load the weights of a safetensors file into a network.

    Args:
        weights: the file, or what is in it.
        kind: "student" or "teacher", for the message.

    Raises:
        MmkdError: the file cannot be read, or does not hold the weights of this network.
    """
    try:
        network.load_state_dict(load_tensors(weights) if isinstance(weights, bytes) else load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        where = "what is stored" if isinstance(weights, bytes) else weights
        raise MmkdError(f"{where} does not hold the {kind}'s weights: {' '.join(str(error).split())[:200]}") from None


def load_teacher(record: Record) -> nn.Module:
    """The network of a teacher's record in evaluation mode, with the weights of the record's epoch.

    Args:
        record: its weights are those of the best epoch, unless it comes from `Record.at_epoch("last")`.

    Raises:
        MmkdError: the record is damaged or lacks these weights, or a plugin that it needs is missing or has changed.
    """
    spec = record.teacher
    load_recorded(spec, lambda: entries_of(spec))
    data = record.data
    shape = make_modality(spec.modality, spec.view).shape(len(data["channels"]), data["window"])
    with torch.random.fork_rng(devices=[]):
        network = make_network(spec.task, spec.net, spec.modality, shape, len(data["classes"]), window=data["window"])
    load_weights(network, record.file("teacher.safetensors"), "teacher")
    return network.eval()


class StudentModel(nn.Module):
    """A trained student in evaluation mode, with the fitted modalities that transform windows to views.

    Called with views {modality: (B, ...)} it returns `Outputs`, as in training. `predict` and `predict_proba` take raw
    windows (N, C, W), or raw images (N, C, H, W).

    >>> model = mmkd.load_student("runs/1a2b3c4d")  # doctest: +SKIP
    >>> labels = model.predict(windows)  # doctest: +SKIP

    Attributes:
        network: the student itself.
        modalities: name -> modality, fitted on the training windows of its run.
        classes: names of the K classes.
        labels: (K,) the classes as the y of the training has them: numbers if y held numbers, else the names.
        channels, window: the shape (C, W) of a window.
        dense: whether it predicts a class for every sample of a window; else one for the window.
        grid: (H, W) of images, whose window has H W samples; None for signals.
        offset: C values that `predict` and `predict_proba` subtract from raw windows; see `Dataset.offset`.
    """

    def __init__(
        self,
        network: nn.Module,
        modalities: Mapping[str, Modality],
        *,
        classes: tuple[str, ...],
        channels: int,
        window: int,
        dense: bool = False,
        grid: tuple[int, int] | None = None,
        offset: Sequence[float] | None = None,
        labels: Sequence[Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.modalities = dict(modalities)
        self.classes = classes
        self.labels = np.array(classes if labels is None else labels)
        self.channels = channels
        self.window = window
        self.dense = dense
        self.grid = grid
        self.offset = offset
        self.eval()

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        outputs: Outputs = self.network(views)
        if self.dense and self.grid:
            return replace(outputs, logits=outputs.logits.reshape(*outputs.logits.shape[:2], *self.grid))
        return outputs

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of the positions in a window: (W,), or (H, W) of an image."""
        return self.grid or (self.window,)

    @classmethod
    def load(cls, record: Record, plugins: Sequence[str | Path] = (), weights: bytes | None = None) -> "StudentModel":
        """Load the student of a record, and the plugins that it needs.

        Args:
            plugins: files in place of the plugins that the record names.
            weights: the content of `student.safetensors`, of a record without files.

        Raises:
            MmkdError: the record is that of a teacher, or is damaged; or a plugin is missing or has changed.
        """
        if record.kind != "student":
            raise MmkdError(f"{record.folder} is the record of a {record.kind}, not of a student")
        source = record.file("student.safetensors") if weights is None else weights
        try:
            return cls._load(record, source, plugins)
        except MmkdError:
            raise
        except Exception as error:  # a changed record can cause any error
            raise MmkdError(f"record {record.folder} cannot be loaded: {describe_error(error)[:200]}") from error

    @classmethod
    def _load(cls, record: Record, weights: Path | bytes, plugins: Sequence[str | Path]) -> "StudentModel":
        """The student of a record, with these weights."""
        spec = record.unit
        deploys_student = record.result.get("deploys", "student") == "student"

        def used() -> Sequence[Entry]:
            return student_entries(spec) if deploys_student else [*entries_of(spec), (METHODS, spec.method)]

        load_recorded(spec, used, plugins)
        data = record.data
        modalities = {}
        for name, view in record.result["views"].items():
            modalities[name] = make_modality(name, view["config"])
            modalities[name].load_state(view["state"])
        channels = len(data["channels"])
        window = data["window"]
        if deploys_student:
            shapes = {name: modality.shape(channels, window) for name, modality in modalities.items()}
            network = make_student(spec, shapes, len(data["classes"]), window)
        else:
            targets = torch.zeros(data["windows"]["train"], dtype=torch.long)  # all weights are loaded below
            shares = record.result["teacher_weights"]
            trial = Trial.make(
                spec,
                shape=(channels, window),
                classes=len(data["classes"]),
                targets=targets,
                validated=True,
                shares=shares,
            )
            network = trial.method.deploy(trial.student)
        load_weights(network, weights, "student")
        grid = tuple(data["grid"]) if "grid" in data else None
        return cls(
            network,
            modalities,
            classes=tuple(data["classes"]),
            channels=channels,
            window=window,
            dense=TASKS.get(spec.task).per_step,
            grid=grid,
            offset=data.get("offset"),
            labels=data.get("labels"),
        )

    def views(self, windows: NDArray[Any]) -> dict[str, Tensor]:
        """The views {modality: (N, ...)} of windows (N, C, W), without their offset, or images (N, C, H, W).

        Raises:
            MmkdError: the windows have another shape.
        """
        shape = (self.channels, *self.positions)
        if np.ndim(windows) != 1 + len(shape) or np.shape(windows)[1:] != shape:
            what = "images" if self.grid else "windows"
            raise MmkdError(
                f"{what} of shape {np.shape(windows)}; this student takes (N, {', '.join(map(str, shape))})"
            )
        rows = np.reshape(windows, (len(windows), self.channels, self.window))
        return {name: torch.from_numpy(m.transform(rows)) for name, m in self.modalities.items()}

    def _predict_batches(self, windows: NDArray[Any], batch_size: int) -> Iterator[NDArray[np.float64]]:
        """Class probabilities of one batch after the other; batches of large images are smaller than `batch_size`."""
        if self.grid:
            batch_size = max(
                1, min(batch_size, MAX_PREDICTION_VALUES // (max(self.channels, len(self.classes)) * self.window))
            )
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            if self.offset is not None and np.ndim(batch) == 3 and np.shape(batch)[1] == self.channels:
                batch = as_float32(np.asarray(batch, np.float64) - np.array(self.offset)[:, None])
            with torch.no_grad():
                logits = self(self.views(batch)).logits
            yield torch.softmax(logits.double(), 1).numpy()

    def predict_proba(self, windows: NDArray[Any], batch_size: int = PREDICTION_BATCH) -> NDArray[np.float64]:
        """Class probabilities of raw windows (N, C, W), or images (N, C, H, W).

        Returns:
            (N, K); if the student is `dense`, (N, K, W), or (N, K, H, W) of images.
        """
        empty = np.zeros((0, len(self.classes), *(self.positions if self.dense else ())))
        return np.concatenate([empty, *self._predict_batches(windows, batch_size)])

    def predict(self, windows: NDArray[Any]) -> NDArray[Any]:
        """Predicted labels of raw windows (N, C, W), or images (N, C, H, W), as the y of the training has them.

        Returns:
            (N,) of `labels`; if the student is `dense`, the numbers of `predict_numbers`, which such labels are.
        """
        numbers = self.predict_numbers(windows)
        return numbers if self.dense else self.labels[numbers]

    def predict_numbers(self, windows: NDArray[Any]) -> NDArray[np.int64]:
        """Predicted classes of raw windows (N, C, W), or images (N, C, H, W), as indices of `classes`.

        Returns:
            (N,); if the student is `dense`, (N, W), or (N, H, W) of images.
        """
        empty = np.zeros((0, *(self.positions if self.dense else ())), np.int64)
        return np.concatenate([empty, *(batch.argmax(1) for batch in self._predict_batches(windows, PREDICTION_BATCH))])
