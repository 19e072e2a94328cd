"""Progressive Cross-modal Knowledge Distillation for Human Action Recognition. Ni, Ngu, Yan, ACM MM 2022, https://arxiv.org/abs/2208.08090

Reconstructed: only the abstract of the paper was available. It says that in the Adaptive-Confidence Semantic loss, the
student selects one of the teachers, or the label, to follow. Each of the following choices is an assumption. The target
of a window is the teacher with the highest probability (T = 1) of the true class among those whose prediction is right,
or the label if there is none. Loss: (1 - l) CE + l mean of (T^2 KL(selected teacher || student), or CE if the label is
selected) + s mean of d_i. d_i is the mean over the batch's other windows j of (cos(e_i, e_j) - cos(t_i, t_j))^2, with
the student's embeddings e and those t of the teacher selected for i; it is 0 if the label is selected.

The semantic term compares relations of embeddings, because an earlier paper of the authors (ICASSP 2022,
arXiv:2112.01849) calls distances and angles semantic, and because it needs no projection, which would not be trained
while its teacher is not selected. T, l and s are our choice. Left out: the progressive training of the teachers; here
each is trained alone. The selection weighs the teachers, so that there is no option `teacher_weights`. This is not the
notes' `progressive`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    SHARE_RANGE,
    TEMPERATURE_RANGE,
    Batch,
    Method,
    Outputs,
    Range,
    TaughtConfig,
    option,
    paired_branch,
)


@METHODS.register("pskd")
class AdaptiveConfidence(Method):
    """Reconstructed: each window follows a teacher or its label. Ni, Ngu, Yan, ACM MM 2022, arXiv:2208.08090.

    Use it when several teachers are right on different windows: the student follows the surest one that is right, or
    else the label. It is reconstructed from an abstract, so read its row as ours.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
        kd_weight: float = option(
            0.7, "share l of the chosen targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
        )
        semantic_weight: float = option(
            1.0, "weight s of the relations of embeddings", ge=0, tune=Range(0.2, 20, log=True)
        )
        pairs: Literal["fused", "same", "all"] = option("fused", "which part of the student is compared with a teacher")

    unlabelled = "teacher"
    needs = frozenset({"logits", "embedding"})
    minimum_batch = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        targets = []
        relations = []
        for modality, teacher in teachers.items():
            branch = paired_branch(student, modality, c.pairs)
            s, t = (F.log_softmax(x.logits / c.temperature, 1) for x in (branch, teacher))
            targets.append(c.temperature**2 * F.kl_div(s, t, reduction="none", log_target=True).sum(1))
            relations.append(unlike(branch.embedding, teacher.embedding))
        targets.append(F.cross_entropy(student.logits, batch.targets, reduction="none"))
        relations.append(torch.zeros_like(relations[0]))
        chosen = followed(torch.stack([t.logits for t in teachers.values()]), batch.targets)[None]
        target, semantic = (torch.stack(values).gather(0, chosen).mean() for values in (targets, relations))
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "pskd_target": c.kd_weight * target, "pskd_semantic": c.semantic_weight * semantic}


def followed(logits: Tensor, targets: Tensor) -> Tensor:
    """Select the teacher that each window follows.

    Args:
        logits: (M, B, K) of M teachers.
        targets: (B,) class numbers.

    Returns:
        (B,) numbers of the teachers; M stands for the label.
    """
    probability = logits.softmax(2).gather(2, targets.expand(len(logits), -1)[..., None]).squeeze(2)
    confidence, teacher = torch.where(logits.argmax(2) == targets, probability, 0.0).max(0)
    return torch.where(confidence > 0, teacher, len(logits))


def unlike(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of a window's cosines with the other windows: embeddings (B, D) and (B, D') to (B,)."""
    own, other = (unit @ unit.T for unit in (F.normalize(x, dim=1) for x in (a, b)))
    return (own - other).square().fill_diagonal_(0).sum(1) / (len(a) - 1)
