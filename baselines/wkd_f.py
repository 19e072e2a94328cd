"""Wasserstein Distance Rivals KL Divergence (WKD-F). Lv, Yang, Li, NeurIPS 2024, https://arxiv.org/abs/2412.08139

Loss: CE + decay w (rho L_mean + L_sd) of one map of the student, after a 1x1 convolution, BatchNorm and ReLU to the
teacher's channels, and the teacher's map of that stage. Of each window and channel the mean and the standard deviation
sqrt(var + 1e-5) over all positions are compared (var is unbiased); L_mean and L_sd are the squared differences, summed
over channels, mean over the batch. With rho = 1 this is the squared 2-Wasserstein distance of Gaussians with diagonal
covariance. With a grid of g > 1 cells an axis, each cell is compared, and the terms are means over cells. rho 4, grid 1
and the last stage are the authors'; the weight falls to 0 by a cosine after 5/8 of the epochs, as theirs after 150 of
240.

Only channels are matched, so that a line meets an image as it is. A map of one position has no deviation and is
refused. A channel that is constant over positions gets no gradient from L_sd. Different from the code: the weight is 20
over the teacher's channels (theirs is 0.08, 0.02 or 0.005 at 256, 512 or 2048), and there is no ReLU if the teacher's
map has negative values. The part of the method on logits, WKD-L, is not here. Several teachers have the shares
`teacher_weights`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from mmkd import (
    METHODS,
    Batch,
    DistillConfig,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    matched_stages,
    option,
    paired_branch,
)


@METHODS.register("wkd-f")
class WassersteinFeatures(Method):
    """Mean and deviation of each channel of a map. Lv, Yang, Li, NeurIPS 2024, arXiv:2412.08139.

    Use it when maps differ in size or rank and only the mean and the spread of each channel should agree. It needs maps
    of more than one position, and reads one stage.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float | None = option(
            None,
            "weight w of both terms; none: 20 / channels of the teacher's map",
            ge=0,
            tune=Range(0.005, 0.5, log=True),
        )
        mean_ratio: float = option(
            4.0, "weight rho of the means relative to the deviations", ge=0, tune=Range(0.5, 8, log=True)
        )
        grid: int = option(1, "cells g of an axis of the maps, each with a mean and a deviation", ge=1)
        stage: Literal["middle", "last"] = option("last", "which of the matched stages is compared")
        decay: float = option(
            5 / 8, "share of the epochs after which the weight falls to 0", ge=0, le=1, tune=Range(0.25, 1)
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "all"
    needs = frozenset({"features"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        grid = self.config.grid
        for modality, teacher in setup.teachers.items():
            maps = self.maps(setup.student, modality, teacher)
            if grid > 1 and maps[0].ndim != maps[1].ndim:
                raise MmkdError(
                    f"wkd-f: --grid {grid} needs maps of equal rank, and the {modality} teacher's is not that of the "
                    f"student; use --grid 1"
                )
            if min(smallest_cell(x, grid) for x in maps) < 2:
                raise MmkdError(
                    f"wkd-f: a cell of the maps that meet at the {modality} teacher has one position, and no "
                    f"deviation; use a lower --grid, longer windows or a larger --image-size"
                )

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The maps of student and teacher that are compared, (B, C, *size) and (B, C', *size')."""
        branch = paired_branch(student, modality, self.config.pairs)
        names = matched_stages(branch, teacher)
        own, other = names[len(names) // 2 if self.config.stage == "middle" else 0]
        return branch.features[own], teacher.features[other]

    def build(self, setup: Setup) -> None:
        self.projectors = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            own, other = self.maps(setup.student, modality, teacher)
            self.projectors.append(Projector(own.shape[1], other.shape[1], rectified=bool(other.min() >= 0)))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        left = remaining(batch.epoch, batch.epochs, c.decay)
        for projector, (modality, teacher) in zip(self.projectors, teachers.items(), strict=True):
            own, other = self.maps(student, modality, teacher)
            means, deviations = moment_distances(projector(own), other, c.grid)
            weight = 20 / other.shape[1] if c.weight is None else c.weight
            distance = c.mean_ratio * means + deviations
            terms[f"wkd_f_{modality}"] = left * weight * shares[modality] * distance
        return terms


class Projector(nn.Module):
    """A 1x1 convolution, BatchNorm and ReLU, maps (B, C, *size) to (B, C', *size).

    Args:
        inputs: C.
        outputs: C'.
        rectified: whether there is a ReLU.
    """

    def __init__(self, inputs: int, outputs: int, rectified: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.norm(self.convolution(x.flatten(2))).unflatten(2, x.shape[2:])
        return projected.relu() if self.rectified else projected


def moment_distances(student: Tensor, teacher: Tensor, grid: int = 1) -> tuple[Tensor, Tensor]:
    """L_mean and L_sd of maps (B, C, *size) and (B, C, *size'); with a grid, of maps of equal rank."""
    means = []
    deviations = []
    for s, t in zip(cells(student, grid), cells(teacher, grid), strict=True):
        means.append((s.mean(2) - t.mean(2)).square().sum(1).mean())
        deviations.append((deviation(s) - deviation(t)).square().sum(1).mean())
    return torch.stack(means).mean(), torch.stack(deviations).mean()


def deviation(x: Tensor) -> Tensor:
    """Standard deviation over the positions of (B, C, positions), (B, C)."""
    return (x.var(2) + 1e-5).sqrt()


def cells(x: Tensor, grid: int) -> list[Tensor]:
    """The grid^d cells of maps (B, C, *size), each as (B, C, positions); neighbours overlap where g does not divide."""
    borders = [[slice(i * side // grid, -(-(i + 1) * side // grid)) for i in range(grid)] for side in x.shape[2:]]
    whole = slice(None)
    return [x[(whole, whole, *cell)].flatten(2) for cell in product(*borders)]


def smallest_cell(x: Tensor, grid: int) -> int:
    """Positions in the smallest cell of a map (B, C, *size); 1 if there are not that many cells, or of a vector."""
    if x.ndim == 2 or grid > min(x.shape[2:]):
        return 1
    return min(cell.shape[2] for cell in cells(x[:1], grid))


def remaining(epoch: int, epochs: int, start: float) -> float:
    """Factor of an epoch: 1 up to a share `start` of the epochs, then a cosine that reaches 0 after the last one."""
    first = start * epochs
    if epoch <= first:
        return 1.0
    return (1 + math.cos(math.pi * (epoch - first) / (epochs - first))) / 2
