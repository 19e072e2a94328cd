"""Confidence-Aware Multi-Teacher Knowledge Distillation. Zhang et al., ICASSP 2022, https://arxiv.org/abs/2201.00007

Followed: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s), F_k), all per sample, then the mean;
u_k = (1 - softmax over teachers of CE(z_k, y)) / (M - 1); v_k the same of the CE of teacher k's classifier on r_k(F_s);
F the last maps, r_k 1x1 convolution, BatchNorm and ReLU (none where the teacher's map has negative values); a 1, b 50,
T 4. As in the authors' code the gradient also goes through v_k; their further division by M, which is not in the paper,
is left out, and the feature term counts from the first epoch. Maps of one rank meet at the smaller size, a line and an
image as vectors of means. The weights are the method's own, so that it has no `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, Outputs, Setup, TaughtConfig, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("ca-mkd")
class ConfidenceAware(Method):
    """Teachers weighted by cross-entropy. Zhang et al., ICASSP 2022 (not `camkd`)."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0)
        beta: float = option(50.0, "weight b of the features", ge=0)
        temperature: float = option(4.0, "softening of teachers and student", gt=0)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    minimum_teachers = 2
    needs = frozenset({"logits", "features", "cam"})

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps, (B, C, positions) each, as many positions."""
        branch = paired_branch(student, modality, self.config.pairs)
        s, t = branch.last_map, teacher.last_map
        s, t = meet(s, t, "pool")
        return s.reshape(*s.shape[:2], -1), t.reshape(*t.shape[:2], -1)

    def build(self, setup: Setup) -> None:
        self.projections = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            s, t = self.maps(setup.student, modality, teacher)
            layers = [nn.Conv1d(s.shape[1], t.shape[1], 1, bias=False), nn.BatchNorm1d(t.shape[1])]
            self.projections.append(nn.Sequential(*layers, *([nn.ReLU()] if t.min() >= 0 else [])))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c, divergences, wrong, far, lost = self.config, [], [], [], []
        own = F.log_softmax(student.logits / c.temperature, 1)
        for project, (modality, teacher) in zip(self.projections, teachers.items(), strict=True):
            soft = F.log_softmax(teacher.logits / c.temperature, 1)
            divergences.append(c.temperature**2 * F.kl_div(own, soft, reduction="none", log_target=True).sum(1))
            wrong.append(F.cross_entropy(teacher.logits, batch.targets, reduction="none"))
            s, t = self.maps(student, modality, teacher)
            projected = project(s)
            assert teacher.classifier is not None
            far.append((projected - t).square().mean((1, 2)))
            # The teacher's classifier is linear: what it says of another embedding, its bias included.
            logits = teacher.logits + (projected.mean(2) - teacher.embedding) @ teacher.classifier.T
            lost.append(F.cross_entropy(logits, batch.targets, reduction="none"))
        kd = (confidence(torch.stack(wrong)) * torch.stack(divergences)).sum(0).mean()
        feature = (confidence(torch.stack(lost)) * torch.stack(far)).sum(0).mean()
        return {**self.supervised(student, batch), "kd": c.alpha * kd, "feature": c.beta * feature}


def confidence(losses: Tensor) -> Tensor:
    """(M, B) cross-entropies of M teachers to weights that sum to 1 over teachers, high where the loss is low."""
    return (1 - losses.softmax(0)) / (len(losses) - 1)
