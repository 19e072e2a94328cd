"""Adaptive Knowledge Distillation Based on Entropy. Kwon et al., ICASSP 2020, https://doi.org/10.1109/ICASSP40776.2020.9054698

Followed: per sample, teacher k has the weight e_k = 1 - H_k / sum_j H_j, H_k the entropy of its prediction at T = 1.
Different from the paper: the e_k sum to M - 1, so that they are divided by it; where all entropies are 0 the weights
are equal. (1 - l) CE + l T^2 sum_k e_k KL(teacher_k || student), batch mean, T and l those of `kd`. The weights are the
method's own, so that it has no `teacher_weights`. Not to be confused with `ebkd`, which is about attention maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, Outputs, TaughtConfig, option


@METHODS.register("ebkd-entropy")
class EntropyKD(Method):
    """Teachers weighted by low entropy. Kwon et al., ICASSP 2020 (`ebkd` is another)."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        temperature: float = option(4.0, "softening of teachers and student", gt=0)
        kd_weight: float = option(0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1)

    minimum_teachers = 2

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
    """(M, B, K) logits of M teachers to (M, B) weights that sum to 1 over teachers."""
    p = logits.softmax(2)
    entropy = -torch.xlogy(p, p).sum(2)
    total = entropy.sum(0)
    share = torch.where(total > 0, entropy / total.where(total > 0, torch.ones_like(total)), 1 / len(logits))
    return (1 - share) / (len(logits) - 1)
