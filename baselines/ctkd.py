"""Curriculum Temperature for Knowledge Distillation. Li et al., AAAI 2023, https://arxiv.org/abs/2211.16231

Followed: (1 - l) CE + l sum_k w_k T_k^2 KL(teacher_k || student), batch mean, T_k = t_start + t_range sigmoid(a_k), the
form with one temperature for all windows. The student lowers the loss and a_k raises it: the gradient of a_k, through
T_k^2 too, is multiplied by -f, where f = (1 - cos(pi r)) / 2 and r goes to 1 over the first `warmup` of the epochs.
t_start 1, t_range 20 (the code's t_end is added to t_start), a_k from 1, l 0.9, and 10 of 240 epochs, all from the
authors' code, whose epochs also count from 1. Equation 11 of the paper and the code write f differently, with the same
values, say the authors. The paper has one teacher; here each teacher has its own temperature, since each is its own
task, and its share of `teacher_weights`. AdamW divides a gradient by its own recent size, so that f matters less under
it than under the authors' SGD. There is no fixed temperature, and so none to schedule.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmkd import (
    METHODS,
    Batch,
    DistillConfig,
    Method,
    Outputs,
    Setup,
    check_temperature,
    option,
    paired_branch,
    soft_targets,
)


@METHODS.register("ctkd")
class CurriculumTemperature(Method):
    """Soft targets at a temperature that is trained against the student. Li et al., AAAI 2023, arXiv:2211.16231."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        t_start: float = option(1.0, "lowest temperature", gt=0)
        t_range: float = option(20.0, "how far above the lowest a temperature can go", gt=0)
        warmup: float = option(1 / 24, "share of the epochs over which the reversed gradient grows", ge=0, le=1)
        kd_weight: float = option(0.9, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1)
        pairs: Literal["fused", "same", "all"] = option("fused", "the student's logits that meet a teacher's")

        def __post_init__(self) -> None:
            super().__post_init__()
            check_temperature(f"t-start = {self.t_start:g}", self.t_start)
            check_temperature(f"t-start + t-range = {self.t_start + self.t_range:g}", self.t_start + self.t_range)

    tasks = frozenset({"classification", "segmentation"})

    def build(self, setup: Setup) -> None:
        self.raw = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in setup.teachers)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        factor = (1 - math.cos(math.pi * batch.ramp(c.warmup))) / 2
        for raw, (modality, share) in zip(self.raw, self.weights(teachers).items(), strict=True):
            temperature = c.t_start + c.t_range * torch.sigmoid(reversed_gradient(raw, factor))
            met = paired_branch(student, modality, c.pairs)
            soft = soft_targets(met.logits, teachers[modality].logits, temperature)
            terms[f"ctkd_{modality}"] = c.kd_weight * share * soft
        return terms


def reversed_gradient(x: Tensor, factor: float) -> Tensor:
    """The value of x, with a gradient multiplied by -factor. Ganin, Lempitsky, ICML 2015, arXiv:1409.7495."""
    return x.detach() + factor * (x.detach() - x)
