"""A trained student back from its record, ready for raw windows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.registry import load_plugin
from mmkd.methods.outputs import Outputs
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.training.loop import AT_ONCE
from mmkd.training.teachers import untrained
from mmkd.training.trial import Trial, make_student
from mmkd.views import Modality
from mmkd.views.channels import make_modality


def fill(network: nn.Module, path: Path, kind: str) -> None:
    """Give a network the weights of a file; MmkdError where it holds others."""
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise MmkdError(f"{path} does not hold the {kind}'s weights: {' '.join(str(error).split())[:200]}") from None


def load_teacher(record: Record) -> nn.Module:
    """The network of a teacher's record, with the weights of its best epoch, in evaluation mode.

    Raises:
        MmkdError: the record is damaged.
    """
    spec = record.teacher
    data = record.data
    shape = make_modality(spec.modality, spec.view).shape(len(data["channels"]), data["window"])
    with torch.random.fork_rng(devices=[]):
        network = untrained(spec.task, spec.net, spec.modality, shape, len(data["classes"]))
    fill(network, record.file("teacher.safetensors"), "teacher")
    return network.eval()


class StudentModel(nn.Module):
    """A trained student in evaluation mode, with the fitted modalities that turn a window into its views.

    Called with views {modality: (B, ...)} it gives `Outputs`, as in training; `predict` and `predict_proba` take raw
    windows, or raw images (N, C, H, W).

    Attributes:
        network: the student itself.
        modalities: fitted on the training windows of its run.
        classes: K names.
        channels, window: the shape (C, W) of a window.
        dense: whether it labels every sample of a window, not the window as a whole.
        grid: (H, W) of images, whose H W pixels are then the window; None of signals.
    """

    def __init__(
        self,
        network: nn.Module,
        modalities: Mapping[str, Modality],
        classes: tuple[str, ...],
        channels: int,
        window: int,
        dense: bool = False,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.modalities, self.classes = network, dict(modalities), classes
        self.channels, self.window, self.dense, self.grid = channels, window, dense, grid
        self.eval()

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        outputs: Outputs = self.network(views)
        if self.dense and self.grid:
            return replace(outputs, logits=outputs.logits.reshape(*outputs.logits.shape[:2], *self.grid))
        return outputs

    @property
    def positions(self) -> tuple[int, ...]:
        """(W,) of a window, (H, W) of an image."""
        return self.grid or (self.window,)

    @classmethod
    def load(cls, record: Record) -> "StudentModel":
        """Rebuild the student of a record.

        Raises:
            MmkdError: a teacher's record, or one that is damaged.
        """
        if record.kind != "student":
            raise MmkdError(f"{record.folder} is the record of a {record.kind}, not of a student")
        path = record.file("student.safetensors")
        try:
            return cls._load(record, path)
        except MmkdError:
            raise
        except Exception as error:  # whatever a changed record makes of it
            raise MmkdError(f"record {record.folder} makes no student: {describe_error(error)[:200]}") from error

    @classmethod
    def _load(cls, record: Record, path: Path) -> "StudentModel":
        """The student of a record, with the weights in the file `path`."""
        spec = record.unit
        data = record.data
        modalities = {}
        for name, view in record.result["views"].items():
            modalities[name] = make_modality(name, view["config"])
            modalities[name].load_state(view["state"])
        channels, window = len(data["channels"]), data["window"]
        if record.result.get("deploys", "student") == "student":
            shapes = {name: modality.shape(channels, window) for name, modality in modalities.items()}
            network = make_student(spec, shapes, len(data["classes"]))
        else:
            for plugin in spec.plugins:
                load_plugin(plugin)
            targets = torch.zeros(
                data["windows"]["train"], dtype=torch.long
            )  # of no weight: what is built is filled from the file
            shares = record.result["teacher_weights"]
            trial = Trial.make(spec, (channels, window), len(data["classes"]), targets, True, shares=shares)
            network = trial.method.deploy(trial.student)
        fill(network, path, "student")
        grid = tuple(data["grid"]) if "grid" in data else None
        return cls(network, modalities, tuple(data["classes"]), channels, window, TASKS.get(spec.task).per_step, grid)

    def views(self, windows: NDArray[Any]) -> dict[str, Tensor]:
        """The views (N, ...) of raw windows (N, C, W), or images (N, C, H, W)."""
        wanted = (self.channels, *self.positions)
        if np.ndim(windows) != 1 + len(wanted) or np.shape(windows)[1:] != wanted:
            what = "images" if self.grid else "windows"
            raise MmkdError(
                f"{what} of shape {np.shape(windows)}; this student takes (N, {', '.join(map(str, wanted))})"
            )
        rows = np.reshape(windows, (len(windows), self.channels, self.window))
        return {name: torch.from_numpy(m.transform(rows)) for name, m in self.modalities.items()}

    def _parts(self, windows: NDArray[Any], batch_size: int) -> Iterator[NDArray[np.float64]]:
        """Class probabilities, a part of the windows at a time; of large images fewer than `batch_size`."""
        if self.grid:
            batch_size = max(1, min(batch_size, AT_ONCE // (max(self.channels, len(self.classes)) * self.window)))
        for start in range(0, len(windows), batch_size):
            with torch.no_grad():
                logits = self(self.views(windows[start : start + batch_size])).logits
            yield torch.softmax(logits.double(), 1).numpy()

    def predict_proba(self, windows: NDArray[Any], batch_size: int = 256) -> NDArray[np.float64]:
        """Class probabilities (N, K) of raw windows (N, C, W), or images (N, C, H, W); of a student that labels every
        sample or pixel (N, K, W), or (N, K, H, W).
        """
        none = np.zeros((0, len(self.classes), *(self.positions if self.dense else ())))
        return np.concatenate([none, *self._parts(windows, batch_size)])

    def predict(self, windows: NDArray[Any]) -> NDArray[np.int64]:
        """Class numbers (N,) of raw windows or images, or (N, W), (N, H, W) of every sample or pixel; `classes` names
        them.
        """
        none = np.zeros((0, *(self.positions if self.dense else ())), np.int64)
        return np.concatenate([none, *(part.argmax(1) for part in self._parts(windows, 256))])
