"""Confidence-Aware Multi-Teacher Knowledge Distillation. Zhang et al., ICASSP 2022, https://arxiv.org/abs/2201.00007

Loss: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s), F_k), computed for each sample and
averaged. u_k = (1 - softmax over teachers of CE(z_k, y)) / (M - 1), and v_k likewise from the CE of teacher k's
classifier on r_k(F_s). F are the last maps, and r_k is a 1x1 convolution, BatchNorm and ReLU (no ReLU if the teacher's
map has negative values). a 1, b 50, T 4. As in the authors' code, gradients flow through v_k.

Different from the code: a further division by M, which is not in the paper, is left out, and the feature term counts
from the first epoch. Maps of the same rank are compared at the smaller size, a line and an image as vectors of means.
The method computes the weights itself, so that there is no option `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, TEMPERATURE_RANGE, Batch, Method, Outputs, Range, Setup, TaughtConfig, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("ca-mkd")
class ConfidenceAware(Method):
    """Teachers weighted by cross-entropy. Zhang et al., ICASSP 2022 (not `camkd`).

    Use it when some of several teachers are wrong on windows whose labels you have: the weight of a teacher follows its
    cross-entropy on each window. Where all teachers know their training windows by heart, the weights are nearly equal.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0, tune=Range(0.1, 10, log=True))
        beta: float = option(50.0, "weight b of the features", ge=0, tune=Range(1, 100, log=True))
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "teacher"
    minimum_teachers = 2
    needs = frozenset({"logits", "features", "cam"})

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps of student and teacher, (B, positions, C) each, with the same number of positions."""
        branch = paired_branch(student, modality, self.config.pairs)
        s = branch.last_map
        t = teacher.last_map
        s, t = meet(s, t, "pool")
        return s.reshape(*s.shape[:2], -1).transpose(1, 2), t.reshape(*t.shape[:2], -1).transpose(1, 2)

    def build(self, setup: Setup) -> None:
        self.projections = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            s, t = self.maps(setup.student, modality, teacher)
            layers = [nn.Linear(s.shape[2], t.shape[2], bias=False), nn.BatchNorm1d(t.shape[2])]
            self.projections.append(nn.Sequential(*layers, *([nn.ReLU()] if t.min() >= 0 else [])))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        t = self.config.temperature
        logits = torch.stack([teacher.logits for teacher in teachers.values()])
        soft = F.log_softmax(logits / t, 2)
        divergence = t**2 * (soft.exp() * (soft - F.log_softmax(student.logits / t, 1))).sum(2)
        kd = (confidence(sample_cross_entropy(logits, batch.targets)) * divergence).sum(0).mean()
        distances = []
        teacher_logits = []
        for project, (modality, teacher) in zip(self.projections, teachers.items(), strict=True):
            s, target = self.maps(student, modality, teacher)
            projected = project(s.flatten(0, 1)).view(*s.shape[:2], -1)  # a 1x1 convolution, position by position
            distances.append((projected - target).square().mean((1, 2)))
            assert teacher.classifier is not None
            # The teacher's linear classifier, bias included, on another embedding.
            teacher_logits.append(teacher.logits + (projected.mean(1) - teacher.embedding) @ teacher.classifier.T)
        losses = sample_cross_entropy(torch.stack(teacher_logits), batch.targets)
        feature = (confidence(losses) * torch.stack(distances)).sum(0).mean()
        return {**self.supervised(student, batch), "kd": c.alpha * kd, "feature": c.beta * feature}


def sample_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample for M teachers: logits (M, B, K), targets (B,) -> (M, B)."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.repeat(len(logits)), reduction="none")
    return losses.view(logits.shape[:2])


def confidence(losses: Tensor) -> Tensor:
    """Turn cross-entropies (M, B) of M teachers into weights that sum to 1, high where the loss is low."""
    return (1 - losses.softmax(0)) / (len(losses) - 1)
