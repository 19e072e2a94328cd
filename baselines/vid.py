"""Variational Information Distillation for Knowledge Transfer. Ahn et al., CVPR 2019, https://arxiv.org/abs/1904.05835

Loss: CE + w times minus the log-likelihood of the teacher's map under a Gaussian q(t | s) for each stage. The mean of q
is three 1x1 convolutions of the student's map without biases, with ReLU between them. Its variance is one number for
each channel, log(1 + exp(a)) + 1e-5 with a trained; it starts at 5. Without the constant, minus the log-likelihood is
(log variance + (t - mean)^2 / variance) / 2, the mean over samples, channels and positions, summed over stages; w 1.
With the published w and variance the gradient on the student is at first 1/70 to 1/220 of that of cross-entropy, see
experiments/results/method-scale.md; w 100 makes them alike.

Stages are matched from the deepest. Maps of the same rank are compared at the smaller size, by adaptive averages. A
line is compared with an image as `mixed` says: both as vectors of means, or the line lifted to the image's side.
Several teachers have the shares `teacher_weights`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, Setup, matched_maps, option, paired_branch
from mmkd.frequency import meet

EPS = 1e-5


@METHODS.register("vid")
class VID(Method):
    """Likelihood of the teacher's maps given the student's. Ahn et al., CVPR 2019, arXiv:1904.05835.

    Use it when some channels of the teacher's maps are beyond the student and should count less: each channel has a
    variance that is learned. Its published weight is small beside cross-entropy here, so tune it before you judge it.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight of minus the log-likelihoods", ge=0, tune=Range(1, 1000, log=True))
        variance: float = option(5.0, "variance of each channel at the start", gt=1e-5, tune=Range(0.5, 10, log=True))
        stages: Literal["all", "last"] = option("all", "stages that are compared, matched from the deepest")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["pool", "outer", "repeat", "hankel", "toeplitz"] = option(
            "pool", "how a line is compared with an image: as vectors of means, or lifted to a map"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})
    status = "classic"
    revision = 2

    def build(self, setup: Setup) -> None:
        self.gaussians = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            maps = (
                meet(s, t, self.config.mixed)
                for s, t in matched_maps(
                    paired_branch(setup.student, modality, self.config.pairs), teacher, self.config.stages
                )
            )
            stages = (Gaussian(s.shape[1], t.shape[1], self.config.variance) for s, t in maps)
            self.gaussians.append(nn.ModuleList(stages))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for gaussians, (modality, teacher) in zip(self.gaussians, teachers.items(), strict=True):
            maps = matched_maps(paired_branch(student, modality, c.pairs), teacher, c.stages)
            losses = [g(*meet(s, t, c.mixed)) for g, (s, t) in zip(gaussians.children(), maps, strict=True)]
            terms[f"vid_{modality}"] = c.weight * shares[modality] * torch.stack(losses).sum()
        return terms


class Gaussian(nn.Module):
    """Minus the log-likelihood of the teacher's map given the student's.

    Args:
        inputs: C_s, channels of the student's map.
        outputs: C_t, channels of the teacher's map.
        variance: initial variance of each channel.
    """

    def __init__(self, inputs: int, outputs: int, variance: float) -> None:
        super().__init__()
        widths = [inputs, outputs, outputs, outputs]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b, bias=False), nn.ReLU())]
        self.mean = nn.Sequential(*layers[:-1])  # over channels: 1x1 convolutions
        self.log_scale = nn.Parameter(torch.full((outputs,), math.log(math.expm1(variance - EPS))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Map (B, C_s, *size) and (B, C_t, *size) to a scalar."""
        variance = F.softplus(self.log_scale) + EPS
        error = self.mean(student.movedim(1, -1)) - teacher.movedim(1, -1)
        loss: Tensor = (variance.log() + error.square() / variance).mean() / 2
        return loss
