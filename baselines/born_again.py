"""Born-Again Neural Networks. Furlanello et al. 2018, https://arxiv.org/abs/1805.04770

Loss: (1 - l) CE + l T^2 KL(teacher || student), as in `kd`. The teacher is the student itself, one generation before:
the same network on the same views, trained alone by the same recipe under the seed of the unit + 1000, with the weights
of its last epoch. The published form has T = 1. Of a multi-branch student the fused predictions are compared.

A control: whatever a method gains by a teacher that is larger, or sees another modality, it gains beyond this. Where
few windows have a label, `born-again` reads these alone; in `self-training` the same teacher teaches on all windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmkd import METHODS, Batch, GuidedConfig, Method, MmkdError, Outputs, Setup, option

NEXT = 1000
"""Added to the seed of the unit: under the same one teacher and student would start at equal weights."""


@METHODS.register("born-again")
class BornAgain(Method):
    """Soft targets of the student itself, trained alone before. Furlanello et al. 2018, arXiv:1805.04770."""

    @dataclass(frozen=True)
    class Config(GuidedConfig):
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0)
        kd_weight: float = option(0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1)

    distils = False
    options_like = "kd"
    tasks = frozenset({"classification", "segmentation", "anomaly"})
    status = "control"

    def likes(self, seed: int) -> Mapping[str, int]:
        return {"student": seed + NEXT}

    def weights(self, teachers: Mapping[str, Any]) -> dict[str, float]:
        return dict.fromkeys(teachers, 1.0)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * self.soft(student, teachers, c.temperature)}


@METHODS.register("self-training")
class SelfTraining(BornAgain):
    """Born-again on all windows where few have a label. Furlanello et al. 2018, arXiv:1805.04770."""

    status = "control"
    unlabelled = "all"
    tasks = frozenset({"classification"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if not setup.unlabelled:
            raise MmkdError(
                "self-training learns from windows without a label, and all training windows have one; use "
                "--labelled-subjects N or --labelled-windows N, --unlabelled FILE.npz, or --method born-again"
            )
