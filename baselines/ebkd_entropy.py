"""Adaptive Knowledge Distillation Based on Entropy. Kwon et al., ICASSP 2020, https://doi.org/10.1109/ICASSP40776.2020.9054698

Loss: (1 - l) CE + l T^2 sum_k e_k KL(teacher_k || student), mean over the batch, with T and l of `kd`. For each sample,
the weight of teacher k is e_k = 1 - H_k / sum_j H_j, where H_k is the entropy of its prediction at T = 1.

Different from the paper: the e_k sum to M - 1, and are divided by it; if all entropies are 0, the weights are equal.
The method computes the weights itself, so that there is no option `teacher_weights`. It is not `ebkd`, which compares
attention maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, SHARE_RANGE, TEMPERATURE_RANGE, Batch, Method, Outputs, TaughtConfig, option


@METHODS.register("ebkd-entropy")
class EntropyKD(Method):
    """Teachers weighted by low entropy. Kwon et al., ICASSP 2020 (not `ebkd`).

    Use it when several teachers are unsure on different windows: on each window the surer one counts more. A teacher
    that is sure and wrong counts as much as one that is sure and right.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        kd_weight: float = option(
            0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    minimum_teachers = 2
    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        logits = torch.stack([t.logits for t in teachers.values()])
        s = F.log_softmax(student.logits / c.temperature, 1)
        t = F.log_softmax(logits / c.temperature, 2)
        kl = c.temperature**2 * (t.exp() * (t - s)).sum(2)
        soft = (entropy_weights(logits) * kl).sum(0).mean()
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * soft}


def entropy_weights(logits: Tensor) -> Tensor:
    """Weights of M teachers for each sample: logits (M, B, K) to (M, B), which sum to 1 over teachers."""
    p = logits.softmax(2)
    entropy = -torch.xlogy(p, p).sum(2)
    total = entropy.sum(0)
    share = torch.where(total > 0, entropy / total.where(total > 0, torch.ones_like(total)), 1 / len(logits))
    return (1 - share) / (len(logits) - 1)
