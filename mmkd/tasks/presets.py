"""Presets: the networks, sizes and trainings that `--preset` stands for, for one task."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmkd.specs.unit import Training


@dataclass(frozen=True)
class Preset:
    """What `--preset` sets. Epochs come from a number of steps, so that small and large sets both get enough.

    `steps` and `teacher_steps` are optimiser steps in all; the epochs that make them are kept within `epochs_range`.
    """

    image_size: int
    teacher_nets: Mapping[str, str]
    student_net: str
    training: Training
    steps: int
    teacher_steps: int
    epochs_range: tuple[int, int]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # method -> options other than its defaults

    def teacher_net(self, modality: str) -> str:
        """The network of a modality's teacher."""
        return self.teacher_nets.get(modality, self.teacher_nets[""])

    def resolve(self, windows: int, teacher: bool, epochs: int | None, precision: str) -> Training:
        """The training of a teacher or student on that many training windows."""
        batch = min(self.training.batch_size, max(8, 2 ** int(windows / 8).bit_length() // 2))
        steps = max(1, windows // batch)
        low, high = self.epochs_range
        wanted = round((self.teacher_steps if teacher else self.steps) / steps)
        given = {"epochs": epochs or min(max(wanted, low), high), "batch_size": batch, "precision": precision}
        return Training(**{**asdict(self.training), **given})
