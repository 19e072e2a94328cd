"""Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space. Du et al., NeurIPS 2020, https://proceedings.neurips.cc/paper/2020/hash/91c77393975889bd08f301c9e13a44b7-Abstract.html

Loss: CE + a sum_k s_k T^2 KL(teacher_k || student), mean over the batch. The weights s, one for each teacher and batch,
minimise |sum_k s_k g_k|^2 under sum_k s_k = 1 and 0 <= s_k <= C. Here g_k is the gradient of the k-th term at the
student's logits, averaged over the batch as in the authors' code. The step then disagrees with the teachers as little
as possible, and a tolerance C below 1 prevents a single teacher from deciding alone. No gradient flows through the
weights. C 0.6, a 0.9 and T 4 are from the authors' page.

Different from the authors' code: the quadratic programme is solved by SLSQP (scipy) instead of a one-class SVM, and a C
for which M weights cannot sum to 1 is an error. The variant for features is left out. The method computes the weights
itself, so that there is no option `teacher_weights`. In several processes, each computes them from its part of the
batch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmkd import (
    METHODS,
    TEMPERATURE_RANGE,
    Batch,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    TaughtConfig,
    least_conflict,
    option,
    paired_branch,
    soft_targets,
)


@METHODS.register("ae-kd")
class AdaptiveEnsemble(Method):
    """Weights of teachers whose gradients conflict least. Du et al., NeurIPS 2020.

    Use it when several teachers disagree and you do not want to weigh them by hand: each batch gets the weights under
    which their gradients conflict least. It needs two teachers or more, and reads how they disagree, not who is right.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        kd_weight: float = option(0.9, "weight a of the soft targets", ge=0, tune=Range(0.1, 10, log=True))
        tolerance: float = option(0.6, "upper limit C of the weight of one teacher", gt=0, le=1, tune=Range(0.5, 1))
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    minimum_teachers = 2
    status = "classic"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        count = len(setup.teachers)
        if self.config.tolerance * count < 1:
            raise MmkdError(
                f"tolerance {self.config.tolerance:g}: {count} weights of at most that do not sum to 1; "
                f"use --tolerance {math.ceil(100 / count) / 100:g} or more"
            )

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        t = self.config.temperature
        gradients = []
        divergences = []
        for modality, teacher in teachers.items():
            logits = paired_branch(student, modality, c.pairs).logits
            divergences.append(soft_targets(logits, teacher.logits.detach(), t))
            gradients.append(((logits.detach() / t).softmax(1) - (teacher.logits.detach() / t).softmax(1)).mean(0))
        shares = least_conflict(torch.stack(gradients), c.tolerance)
        return {**self.supervised(student, batch), "kd": c.kd_weight * (shares * torch.stack(divergences)).sum()}
