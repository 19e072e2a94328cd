"""Progressive distillation in three stages (the project's notes, item 6), after Ni et al., ACM MM 2022, https://arxiv.org/abs/2208.08090

Loss: CE + w (the terms of the stage). Each term is a mean squared error between a teacher's embedding and a student's,
after a linear projection. Stage 1: each image branch follows the signal teacher (mean over branches). Stage 2: the
signal branch follows the image teachers, by their shares `teacher_weights` rescaled to sum to 1. Stage 3: the fused
embedding follows every teacher, by the shares, and the terms of both earlier stages are kept.

Epochs count from 1. Stage 1 lasts to the share `first_border` of the epochs and stage 2 to `second_border`, so that the
last epoch is always in stage 3. Terms of other stages are 0. An image is any modality but `sig`, also of some channels
only (`sig@acc`). The notes take the idea of stages from the paper, whose own method, a student of one modality with a
loss of adaptive confidence, is `pskd`. Borders and weight are our choice. The best epoch on validation windows can be
in any stage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import (
    METHODS,
    Batch,
    DistillConfig,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    kind_of,
    only_of_kind,
    option,
    same_branch,
)


@METHODS.register("progressive")
class Progressive(Method):
    """Signal to images, images to signal, then all (the notes); after Ni et al., ACM MM 2022.

    Use it when the student has a signal branch and image branches that should first learn from each other's teachers
    and then together. It needs these branches, and its terms change at two points of the training.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight of the squared errors of embeddings", ge=0, tune=Range(0.5, 100, log=True))
        first_border: float = option(
            1 / 3, "share of the epochs at which stage 1 ends", ge=0, lt=1, tune=Range(0.1, 0.45)
        )
        second_border: float = option(
            2 / 3, "share of the epochs at which stage 2 ends", gt=0, lt=1, tune=Range(0.5, 0.9)
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.first_border >= self.second_border:
                raise MmkdError(
                    f"first-border {self.first_border:g} is not before second-border {self.second_border:g}; stage 1 "
                    f"ends before stage 2"
                )

    unlabelled = "all"
    needs = frozenset({"embedding", "branches"})
    status = "notes"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        branches = setup.student.branches
        teachers = setup.teachers
        if not signal(teachers) or not signal(branches):
            raise MmkdError(
                f"progressive begins with one sig; the teachers are {', '.join(teachers)}, the branches "
                f"{', '.join(branches)}; use --teachers sig,gaf,pi and --student sig+gaf+pi"
            )
        if not any(same_branch(branches, m) for m in images(teachers)):
            raise MmkdError(
                f"progressive needs an image teacher with a branch of its modality; the teachers are "
                f"{', '.join(teachers)}, the branches {', '.join(branches)}; use --teachers sig,gaf,pi and --student "
                f"sig+gaf+pi"
            )

    def build(self, setup: Setup) -> None:
        width = {m: teacher.embedding.shape[1] for m, teacher in setup.teachers.items()}
        own = {m: branch.embedding.shape[1] for m, branch in setup.student.branches.items()}
        self.to_signal = nn.ModuleList(nn.Linear(own[m], width[signal(width)]) for m in images(own))
        self.to_images = nn.ModuleList(nn.Linear(own[signal(own)], width[m]) for m in images(width))
        self.to_all = nn.ModuleList(nn.Linear(setup.student.embedding.shape[1], d) for d in width.values())

    def stage(self, batch: Batch) -> int:
        """The stage of the current epoch: 1, 2 or 3."""
        share = (batch.epoch + 1) / batch.epochs
        return 1 + int(share > self.config.first_border) + int(share > self.config.second_border)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        stage = self.stage(batch)
        terms = self.supervised(student, batch)
        zero = student.logits.new_zeros(())
        stage_terms = {1: self.first, 2: self.second, 3: self.third}
        for number, term in stage_terms.items():
            active = number == stage or stage == 3
            terms[f"progressive_{number}"] = self.config.weight * term(student, teachers) if active else zero
        return terms

    def first(self, student: Outputs, teachers: Mapping[str, Outputs]) -> Tensor:
        """Distance of the image branches from the signal teacher."""
        branches = student.branches
        target = teachers[signal(teachers)].embedding
        distances = [
            F.mse_loss(f(branches[m].embedding), target) for f, m in zip(self.to_signal, images(branches), strict=True)
        ]
        return torch.stack(distances).mean()

    def second(self, student: Outputs, teachers: Mapping[str, Outputs]) -> Tensor:
        """Distance of the signal branch from the image teachers."""
        weights = self.weights(teachers)
        embedding = student.branches[signal(student.branches)].embedding
        shares = {m: weights[m] for m in images(teachers)}
        total = sum(shares.values()) or 1
        distances = [
            share / total * F.mse_loss(f(embedding), teachers[m].embedding)
            for f, (m, share) in zip(self.to_images, shares.items(), strict=True)
        ]
        return torch.stack(distances).sum()

    def third(self, student: Outputs, teachers: Mapping[str, Outputs]) -> Tensor:
        """Distance of the fused embedding from every teacher."""
        shares = self.weights(teachers)
        distances = [
            share * F.mse_loss(f(student.embedding), teachers[m].embedding)
            for f, (m, share) in zip(self.to_all, shares.items(), strict=True)
        ]
        return torch.stack(distances).sum()


def signal(modalities: Iterable[str]) -> str:
    """The one signal among these modalities; "" if there is not exactly one."""
    return only_of_kind("sig", modalities)


def images(modalities: Iterable[str]) -> list[str]:
    """The image modalities among these."""
    return [modality for modality in modalities if kind_of(modality) != "sig"]
