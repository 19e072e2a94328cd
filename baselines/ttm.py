"""Knowledge Distillation Based on Transformed Teacher Matching. Zheng and Yang, ICLR 2024, https://arxiv.org/abs/2402.11148

Loss: CE + w times the mean over the batch of KL(p || q). q is the student's softmax at T = 1. p is the teacher's
softmax to the power gamma, divided by its sum U over the classes; this is the teacher's softmax at the temperature 1 /
gamma. `wttm` multiplies the divergence of each window by its U, which is 1 where the teacher is sure and K^(1 - gamma)
where it is uniform: windows on which the teacher is unsure count more. There is no factor T^2.

The weight is ours, 1 / gamma for `ttm` and 1 / (gamma K^(1 - gamma)) for `wttm`, with gamma 0.25: while the student is
uniform, the gradient of `ttm` is then that of T^2 KL at T = 1 / gamma, and `wttm` has the same weight for any number of
classes. The authors choose gamma and weight for each pair of networks (such as 0.1 and 45). Several teachers have the
shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, LogitConfig, Method, Outputs, Range, option, paired_branch


@METHODS.register("ttm")
class TransformedTeacher(Method):
    """Soft targets with a temperature of the teacher alone. Zheng and Yang, ICLR 2024, arXiv:2402.11148.

    Use it when you want soft targets with a temperature on the teacher alone, so that the student keeps its own. There
    is one power and one weight to tune, and `wttm` is the form that weighs windows too.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        gamma: float = option(
            0.25, "power of the teacher's probabilities, 1 / temperature", gt=0, le=1, tune=Range(0.1, 0.7, log=True)
        )
        weight: float | None = option(
            None, "weight of the divergence; none: 1 / gamma", ge=0, tune=Range(0.5, 45, log=True)
        )
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
            taught = self.taught(logits, teachers[modality].logits, batch, 1 / c.gamma)
            total = total + share * taught.share * self.divergence(taught.student, taught.teacher).mean()
        name = METHODS.name_of(type(self)) or "ttm"
        return {**terms, name: self.factor(student.logits.shape[1]) * total}

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """KL of each window, from logits (B, K) to (B,)."""
        log_p = F.log_softmax(self.config.gamma * teacher, 1)
        return (log_p.exp() * (log_p - F.log_softmax(student, 1))).sum(1)

    def factor(self, classes: int) -> float:
        """The weight of the term."""
        weight: float | None = self.config.weight
        return 1 / self.config.gamma if weight is None else weight


@METHODS.register("wttm")
class WeightedTransformedTeacher(TransformedTeacher):
    """`ttm` where windows on which the teacher is unsure count more. Zheng and Yang, ICLR 2024.

    Use it when `ttm` helps and windows on which the teacher is unsure should count more. Where the teacher is sure on
    all training windows it is `ttm` with another weight.
    """

    @dataclass(frozen=True)
    class Config(TransformedTeacher.Config):
        weight: float | None = option(
            None, "weight of the divergence; none: 1 / (gamma K^(1 - gamma))", ge=0, tune=Range(0.2, 15, log=True)
        )

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        sums = (self.config.gamma * F.log_softmax(teacher, 1)).exp().sum(1)
        weighted: Tensor = sums * super().divergence(student, teacher)
        return weighted

    def factor(self, classes: int) -> float:
        weight: float | None = self.config.weight
        gamma: float = self.config.gamma
        return 1 / (gamma * classes ** (1 - gamma)) if weight is None else weight
