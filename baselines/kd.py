"""Distilling the Knowledge in a Neural Network. Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531

Loss: (1 - l) CE + l T^2 sum_k w_k KL(teacher_k || student), mean over the batch. The paper has one teacher; several
have the shares `teacher_weights`. For a multi-branch student, `pairs` selects the logits that are compared with teacher
k: the fused prediction, which is deployed ("fused"), those of the branch of the same modality ("same"), or those of the
signal branch ("all").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mmkd import METHODS, SHARE_RANGE, TEMPERATURE_RANGE, Batch, LogitConfig, Method, Outputs, option


@METHODS.register("kd")
class KD(Method):
    """Soft targets of each teacher. Hinton, Vinyals, Dean 2015, arXiv:1503.02531.

    Use it when you want the plain reference: one temperature and one share, for any student and any teacher. It gives
    little where teachers are sure on their training windows, because their soft targets are then nearly the labels.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
        kd_weight: float = option(
            0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation", "anomaly"})
    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * self.soft(student, teachers, c.temperature, c.pairs, batch)}
