"""Logit Standardization in Knowledge Distillation. Sun et al., CVPR 2024, https://arxiv.org/abs/2403.01427

Loss: 0.1 CE + 9 T^2 KL(teacher || student) with T = 2, as in the authors' variant of plain KD: their command sets only
the 9, and their toolkit's CE weight of plain KD, which stays, is 0.1. Before, the logits of teacher and student are
standardised for each sample, z -> (z - mean) / (standard deviation + 1e-7), with the unbiased standard deviation as in
their code. These weights, 90 to 1, give soft targets a gradient of 100 to 250 times that of cross-entropy, see
experiments/results/method-scale.md. Two standardised logits are always 0.7 and -0.7, so that two classes are refused:
the term would say which class is larger, and have no gradient. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mmkd import METHODS, Batch, LogitConfig, Method, Outputs, Range, option, paired_branch, soft_targets


@METHODS.register("ls-kd")
class LogitStandardisation(Method):
    """Soft targets of standardised logits. Sun et al., CVPR 2024, arXiv:2403.01427.

    Use it when the logits of teacher and student have very different scales, as with networks of different size: both
    are standardised first. It is not defined for two classes, and its soft targets outweigh cross-entropy by far.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        temperature: float = option(2.0, "temperature T of the standardised logits", gt=0, tune=Range(1, 5, log=True))
        kd_weight: float = option(9.0, "weight of the soft targets", ge=0, tune=Range(0.02, 10, log=True))
        ce_weight: float = option(0.1, "weight of cross-entropy", ge=0, since=3)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    minimum_classes = 3
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: c.ce_weight * term for name, term in self.supervised(student, batch).items()}
        soft = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, c.temperature)
            s = standardised(taught.student)
            t = standardised(taught.teacher)
            soft = soft + share * taught.share * soft_targets(s, t, c.temperature)
        return {**terms, "kd": c.kd_weight * soft}


def standardised(logits: Tensor) -> Tensor:
    """Standardise logits (B, K) to mean 0 and standard deviation 1 for each sample."""
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (logits.std(1, keepdim=True) + 1e-7)
