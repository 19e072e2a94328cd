"""A student as one module from raw windows to probabilities, which an exporter can trace."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.deploy.view_graph import view_graph
from mmkd.training.student_model import StudentModel

WINDOWS = "windows"
"""The name of the input of raw windows."""
OUTPUT = "probabilities"


class StudentGraph(nn.Module):
    """Maps a list of inputs to probabilities (B, K), or (B, K, W) of a student that labels steps.

    The inputs are the raw windows (B, C, W), or images (B, C, H, W), for all views that are computed in the graph; and
    each view that cannot be, as a tensor of its own. Raw windows are float32; where the record has offsets that float32
    cannot hold they are float64, and the offset is subtracted first.

    Attributes:
        inside: the views that the graph computes.
        given: the views that are inputs.
    """

    def __init__(self, student: StudentModel) -> None:
        super().__init__()
        self.student = student
        found = {name: view_graph(m, student.channels, student.window) for name, m in student.modalities.items()}
        self.inside = tuple(name for name, graph in found.items() if graph is not None)
        self.given = tuple(name for name, graph in found.items() if graph is None)
        self.views = nn.ModuleList([graph for graph in found.values() if graph is not None])
        self.offset: Tensor
        if student.offset is not None:
            self.register_buffer("offset", torch.tensor(student.offset, dtype=torch.float64)[:, None])
        self.eval()

    @property
    def input_names(self) -> list[str]:
        """The inputs by name: `windows`, unless all views are given, then the given views."""
        return [*([WINDOWS] if self.inside else []), *self.given]

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of an input -> its shape without the batch."""
        student = self.student
        shapes = {WINDOWS: (student.channels, *student.positions)} if self.inside else {}
        views = {name: student.modalities[name].shape(student.channels, student.window) for name in self.given}
        return {**shapes, **views}

    def forward(self, inputs: list[Tensor]) -> Tensor:
        views: dict[str, Tensor] = dict(zip(self.given, inputs[-len(self.given) :], strict=True)) if self.given else {}
        if self.inside:
            windows = inputs[0].flatten(2)
            if self.student.offset is not None:
                windows = (windows - self.offset).float()
            views |= {name: graph(windows) for name, graph in zip(self.inside, self.views, strict=True)}
        return torch.softmax(self.student(views).logits, 1)

    def feed(self, x: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """The inputs by name for windows (n, C, W) as `Dataset.x` has them, without their offset."""
        views = {name: self.student.modalities[name].transform(x) for name in self.given}
        return {WINDOWS: self.raw(x), **views} if self.inside else views

    def raw(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Raw windows, or images, with the offset that `Dataset.x` lacks."""
        student = self.student
        shaped = x.reshape(len(x), student.channels, *student.positions)
        if student.offset is None:
            return np.ascontiguousarray(shaped, np.float32)
        raw: NDArray[Any] = shaped.astype(np.float64) + np.array(student.offset)[:, None]
        return raw
