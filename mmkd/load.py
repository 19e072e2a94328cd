"""A trained student back from its record, ready for raw windows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .assemble import Trial, make_student
from .errors import MmkdError
from .method import Outputs
from .modalities import Modality
from .record import Record
from .registry import load_plugin
from .spec import UnitSpec
from .views import make_modality


class StudentModel(nn.Module):
    """A trained student in evaluation mode, with the fitted modalities that turn a window into its views.

    Called with views {modality: (B, ...)} it gives `Outputs`, as in training; `predict` and `predict_proba` take raw
    windows.

    Attributes:
        network: the student itself.
        modalities: fitted on the training windows of its run.
        classes: K names.
        channels, window: the shape (C, W) of a window.
        dense: whether it labels every sample of a window, not the window as a whole.
    """

    def __init__(
        self,
        network: nn.Module,
        modalities: Mapping[str, Modality],
        classes: tuple[str, ...],
        channels: int,
        window: int,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.modalities, self.classes = network, dict(modalities), classes
        self.channels, self.window, self.dense = channels, window, dense
        self.eval()

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        outputs: Outputs = self.network(views)
        return outputs

    @classmethod
    def load(cls, record: Record) -> "StudentModel":
        """Rebuild the student of a record.

        Raises:
            MmkdError: a teacher's record, or weights that are damaged or absent.
        """
        if record.kind != "student":
            raise MmkdError(f"{record.folder} is the record of a {record.kind}, not of a student")
        spec, data = UnitSpec.parse(record.spec), record.result["data"]
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
        path = record.folder / "student.safetensors"
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise MmkdError(
                f"{path} does not hold the student's weights: {' '.join(str(error).split())[:200]}"
            ) from None
        return cls(network, modalities, tuple(data["classes"]), channels, window, spec.task == "segmentation")

    def views(self, windows: NDArray[Any]) -> dict[str, Tensor]:
        """The views (N, ...) of raw windows (N, C, W)."""
        if np.ndim(windows) != 3 or np.shape(windows)[1:] != (self.channels, self.window):
            raise MmkdError(
                f"windows of shape {np.shape(windows)}; this student takes (N, {self.channels}, {self.window})"
            )
        return {name: torch.from_numpy(m.transform(np.asarray(windows))) for name, m in self.modalities.items()}

    def predict_proba(self, windows: NDArray[Any], batch_size: int = 256) -> NDArray[np.float64]:
        """Class probabilities (N, K) of raw windows (N, C, W); (N, K, W) of a student that labels every sample."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(windows), batch_size):
                logits = self(self.views(windows[start : start + batch_size])).logits
                parts.append(torch.softmax(logits.double(), 1).numpy())
        steps = (self.window,) if self.dense else ()
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes), *steps))

    def predict(self, windows: NDArray[Any]) -> NDArray[np.int64]:
        """Class numbers of raw windows (N, C, W), (N,), or (N, W) of every sample; `classes` names them."""
        return np.asarray(self.predict_proba(windows).argmax(1), np.int64)
