"""ABKD: probability mass allocated by an alpha-beta divergence. Wang et al., ICML 2025, https://arxiv.org/abs/2505.04560

Loss: CE + w D(p || q), mean over the batch, where p and q are the probabilities of teacher and student at T, and D = -1
/ (a b) sum_k [p^a q^b - a / (a + b) p^(a + b) - b / (a + b) q^(a + b)] (Cichocki et al. 2011). D is KL(p || q) at a =
1, b = 0, KL(q || p) at a = 0, b = 1, and 4 (1 - sum_k sqrt(p q)) at a = b = 1/2: one method for the question which
divergence to use. a 0.8, b 0.3 and T 4 are the example of the authors' README.

The weight is ours: T^2, with which a = 1, b = 0 is the soft-target term of `kd`. The authors' example has 64. Where a,
b or a + b is 0, D is the limit, so that it is continuous; their code lacks a factor 1 / b or 1 / a there. D is computed
from logarithms, because a power below 0 of a small probability is large; powers below -1 are refused. Several teachers
have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, LogitConfig, Method, Outputs, Range, option, paired_branch

ZERO = 1e-6
"""A power closer to 0 than this is 0."""


@METHODS.register("abkd")
class AlphaBeta(Method):
    """Alpha-beta divergence, forward and reverse KL among them. Wang et al., ICML 2025, arXiv:2505.04560.

    Use it when soft targets help and you ask which divergence to take: its two numbers go from the forward to the
    reverse Kullback-Leibler divergence. Both are worth tuning, because the defaults are the example of another task.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        alpha: float = option(0.8, "power a of the teacher's probabilities", ge=-1, tune=Range(0.3, 0.9))
        beta: float = option(0.3, "power b of the student's probabilities", ge=-1, tune=Range(0, 0.3))
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=Range(2, 8, log=True))
        weight: float | None = option(None, "weight of the divergence; none: T^2", ge=0, tune=Range(4, 64, log=True))
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "all"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        total = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, c.temperature)
            distance = divergence(
                taught.teacher / c.temperature, taught.student / c.temperature, alpha=c.alpha, beta=c.beta
            )
            total = total + share * taught.share * distance
        weight = c.temperature**2 if c.weight is None else c.weight
        return {**terms, "abkd": weight * total}


def divergence(teacher: Tensor, student: Tensor, alpha: float, beta: float) -> Tensor:
    """D(teacher || student) of logits (B, K), mean over the batch.

    Small powers make differences of nearly equal numbers, so that it is computed in double precision.
    """
    x, y = (F.log_softmax(z.double(), 1) for z in (teacher, student))
    a, b, both = (0.0 if abs(power) < ZERO else power for power in (alpha, beta, alpha + beta))
    if a == 0 and b == 0:
        per_class = (y - x).square() / 2
    elif a == 0:
        per_class = ((b * y).exp() * b * (y - x) - (b * y).exp() + (b * x).exp()) / b**2
    elif b == 0:
        per_class = ((a * x).exp() * a * (x - y) - (a * x).exp() + (a * y).exp()) / a**2
    elif both == 0:
        per_class = (a * (y - x) + torch.expm1(a * (x - y))) / a**2
    else:
        mixed = (a * x + b * y).exp()
        per_class = (a / both * (both * x).exp() + b / both * (both * y).exp() - mixed) / (a * b)
    return per_class.sum(1).mean().to(student.dtype)
