"""Curriculum Temperature for Knowledge Distillation. Li et al., AAAI 2023, https://arxiv.org/abs/2211.16231

Loss: (1 - l) CE + l sum_k w_k T_k^2 KL(teacher_k || student), mean over the batch, with T_k = t_start + t_range
sigmoid(a_k), one temperature for all windows. The student minimises the loss and a_k maximises it: the gradient of a_k,
also through T_k^2, is multiplied by -f. Here f = (1 - cos(pi r)) / 2, and r rises to 1 over the first `warmup` of the
epochs. t_start 1, t_range 20 (the code adds its t_end to t_start), a_k starts at 1, l 0.9, and warm-up over 10 of 240
epochs, all from the authors' code, which also counts epochs from 1. Equation 11 of the paper and the code write f
differently, with the same values, as the authors say.

The temperatures have the learning rate of the student times `method_lr_factor`, 100. In the authors' code the factor is
1, over some 94,000 steps (240 epochs of CIFAR-100); here a training has several hundred, over which a factor of 1 moves
a temperature from 15.6 to 15.2 only, and 100 to about 5 (basic-motions, quick preset).

The paper has one teacher. Here each teacher has its own temperature, because its task differs, and its share
`teacher_weights`. AdamW divides a gradient by its own recent size, so that f has less effect than with the authors'
SGD. There is no fixed temperature, so that no temperature schedule is possible.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmkd import (
    METHODS,
    SHARE_RANGE,
    WARMUP_RANGE,
    Batch,
    LogitConfig,
    Method,
    Outputs,
    Range,
    Setup,
    check_temperature,
    option,
    paired_branch,
    soft_targets,
)


@METHODS.register("ctkd")
class CurriculumTemperature(Method):
    """Soft targets at a temperature trained to raise the loss. Li et al., AAAI 2023, arXiv:2211.16231.

    Use it when you would rather not choose a temperature: it is trained against the student, from easy to hard. It adds
    one number to learn for each teacher, and the highest temperature remains a choice.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        t_start: float = option(1.0, "lowest temperature", gt=0, tune=Range(1, 4))
        t_range: float = option(20.0, "range of the temperature above the lowest", gt=0, tune=Range(2, 30, log=True))
        warmup: float = option(
            1 / 24, "share of the epochs over which the reversed gradient grows", ge=0, le=1, tune=WARMUP_RANGE
        )
        method_lr_factor: float = option(
            100.0, "factor on the learning rate of the temperatures", gt=0, since=3, before=1.0
        )
        kd_weight: float = option(
            0.9, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            check_temperature(f"t-start = {self.t_start:g}", self.t_start)
            check_temperature(f"t-start + t-range = {self.t_start + self.t_range:g}", self.t_start + self.t_range)

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})

    def build(self, setup: Setup) -> None:
        self.raw = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in setup.teachers)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        factor = (1 - math.cos(math.pi * batch.ramp(c.warmup))) / 2
        for raw, (modality, share) in zip(self.raw, self.weights(teachers).items(), strict=True):
            temperature = c.t_start + c.t_range * torch.sigmoid(reversed_gradient(raw, factor))
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, temperature.detach())
            soft = soft_targets(taught.student, taught.teacher, temperature)
            terms[f"ctkd_{modality}"] = c.kd_weight * share * taught.share * soft
        return terms


def reversed_gradient(x: Tensor, factor: float) -> Tensor:
    """Return x with a gradient multiplied by -factor. Ganin, Lempitsky, ICML 2015, arXiv:1409.7495."""
    return x.detach() + factor * (x.detach() - x)
