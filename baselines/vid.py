"""Variational Information Distillation for Knowledge Transfer. Ahn et al., CVPR 2019, https://arxiv.org/abs/1904.05835

Followed: a Gaussian q(t | s) for each stage, whose mean is three 1x1 convolutions of the student's map with ReLU
between and whose variance is one number a channel, log(1 + exp(a)) + 1e-5, with a trained; minus its log-likelihood
without the constant, (log variance + (t - mean)^2 / variance) / 2, mean over samples, channels and positions, sum over
stages; the variance starts at 5, w 1. Stages are matched from the deepest. Maps of one rank meet at the smaller size
(adaptive averages), and a line meets an image by `mixed`: as vectors of means, or lifted to the image's side. Several
teachers take the shares `teacher_weights`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Setup, matched_maps, option, paired_branch
from mmkd.frequency import meet

EPS = 1e-5


@METHODS.register("vid")
class VID(Method):
    """Likelihood of the teacher's maps given the student's. Ahn et al., CVPR 2019, arXiv:1904.05835."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight of minus the log-likelihoods", ge=0)
        variance: float = option(5.0, "variance of each channel at the start", gt=1e-5)
        stages: Literal["all", "last"] = option("all", "stages that meet, matched from the deepest")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["pool", "outer", "repeat", "hankel", "toeplitz"] = option(
            "pool", "how a line meets an image: vectors of means, or the line lifted to a map"
        )

    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})

    def build(self, setup: Setup) -> None:
        self.gaussians = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            both = (
                meet(s, t, self.config.mixed)
                for s, t in matched_maps(
                    paired_branch(setup.student, modality, self.config.pairs), teacher, self.config.stages
                )
            )
            made = (Gaussian(s.shape[1], t.shape[1], self.config.variance) for s, t in both)
            self.gaussians.append(nn.ModuleList(made))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for gaussians, (modality, teacher) in zip(self.gaussians, teachers.items(), strict=True):
            both = matched_maps(paired_branch(student, modality, c.pairs), teacher, c.stages)
            each = [g(*meet(s, t, c.mixed)) for g, (s, t) in zip(gaussians.children(), both, strict=True)]
            terms[f"vid_{modality}"] = c.weight * shares[modality] * torch.stack(each).sum()
        return terms


class Gaussian(nn.Module):
    """Minus the log-likelihood of a map (B, C_t, *size) given one of (B, C_s, *size), a scalar."""

    def __init__(self, inputs: int, outputs: int, variance: float) -> None:
        super().__init__()
        widths = [inputs, outputs, outputs, outputs]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.mean = nn.Sequential(*layers[:-1])  # over channels: 1x1 convolutions
        self.log_scale = nn.Parameter(torch.full((outputs,), math.log(math.expm1(variance - EPS))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        variance = F.softplus(self.log_scale) + EPS
        error = self.mean(student.movedim(1, -1)) - teacher.movedim(1, -1)
        loss: Tensor = (variance.log() + error.square() / variance).mean() / 2
        return loss
