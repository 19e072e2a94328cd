"""Knowledge Distillation from A Stronger Teacher. Huang et al., NeurIPS 2022, https://arxiv.org/abs/2205.10536

Loss: CE + T^2 (beta (1 - Pearson correlation over the classes of a sample, mean over samples) + gamma (1 - Pearson
correlation over the samples of a class, mean over classes)), of softened probabilities; beta 1, gamma 1, T 1. With two
classes the correlation over classes is 1 or -1 and has no gradient: the second term alone teaches. Several teachers
have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, LogitConfig, Method, Outputs, Range, option, paired_branch


@METHODS.register("dist")
class DIST(Method):
    """Correlations within windows and within classes. Huang et al., NeurIPS 2022, arXiv:2205.10536.

    Use it when the teacher is much stronger than the student and its exact probabilities are hard to match: only
    correlations must agree. With two classes one of its two terms has no gradient.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        beta: float = option(
            1.0, "weight of the relation between the classes of a sample", ge=0, tune=Range(0.02, 5, log=True)
        )
        gamma: float = option(
            1.0, "weight of the relation between the samples for a class", ge=0, tune=Range(0.02, 5, log=True)
        )
        temperature: float = option(1.0, "temperature T of teacher and student", gt=0, tune=Range(1, 4, log=True))
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        inter = intra = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, c.temperature)
            s, t = (F.softmax(z / c.temperature, 1) for z in (taught.student, taught.teacher))
            share = share * taught.share
            inter = inter + share * unlike(s, t)
            intra = intra + share * unlike(s.T, t.T)
        square = c.temperature**2
        return {**terms, "dist_classes": square * c.beta * inter, "dist_samples": square * c.gamma * intra}


def unlike(a: Tensor, b: Tensor) -> Tensor:
    """1 minus the mean correlation of the rows of two matrices; the correlation of a constant row is 0."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return 1 - F.cosine_similarity(a, b, dim=1, eps=1e-8).mean()
