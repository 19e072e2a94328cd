"""Decoupled Knowledge Distillation. Zhao et al., CVPR 2022, https://arxiv.org/abs/2203.08679

Loss: CE + ramp T^2 (alpha KL of the binary probabilities (target class, all others) + beta KL over the non-target
classes), teacher || student, mean over the batch. alpha 1, beta 8 (the paper chooses it for each pair of networks), T
4. The published warm-up over 20 of 240 epochs is a share of the epochs here. With two classes the second term is 0,
and the first is the T^2 KL of `kd`. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    TEMPERATURE_RANGE,
    WARMUP_RANGE,
    Batch,
    LogitConfig,
    Method,
    Outputs,
    Range,
    option,
    paired_branch,
)


@METHODS.register("dkd")
class DKD(Method):
    """Soft targets, separately for the target class and the others. Zhao et al., CVPR 2022, arXiv:2203.08679.

    Use it when there are several classes and you want the probabilities of the wrong ones to count also where the
    teacher is sure. With two classes it adds nothing to `kd`, and its second weight must be chosen for the pair of
    networks.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        alpha: float = option(1.0, "weight of the target class against all others", ge=0, tune=Range(0.25, 8, log=True))
        beta: float = option(
            8.0, "weight of the non-target classes among themselves", ge=0, tune=Range(0.5, 16, log=True)
        )
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
        warmup: float = option(
            1 / 12, "share of the epochs over which both terms ramp up", ge=0, le=1, tune=WARMUP_RANGE
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "teacher"
    tasks = frozenset({"classification", "segmentation"})

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        target = other = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, c.temperature)
            s, t = (decoupled(z / c.temperature, taught.targets) for z in (taught.student, taught.teacher))
            share = share * taught.share
            kl = [
                c.temperature**2 * share * F.kl_div(a, b, reduction="batchmean", log_target=True)
                for a, b in zip(s, t, strict=True)
            ]
            target = target + kl[0]
            other = other + kl[1]
        ramp = batch.ramp(c.warmup)
        return {**terms, "dkd_target": ramp * c.alpha * target, "dkd_others": ramp * c.beta * other}


def decoupled(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Split log-probabilities into those of (target, not target), (B, 2), and those among the others, (B, K - 1)."""
    is_target = F.one_hot(targets, logits.shape[1]).bool()
    others = logits[~is_target].view(len(logits), -1)
    binary = torch.stack([logits[is_target], others.logsumexp(1)], 1)
    return binary.log_softmax(1), others.log_softmax(1)
