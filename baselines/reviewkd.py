"""Distilling Knowledge via Knowledge Review. Chen, Liu, Zhao, Jia, CVPR 2021, https://arxiv.org/abs/2104.09044

Loss, as in the authors' code: CE + w * ramp * sum over levels of HCL(predicted map, teacher's map), the deepest level
first.

Attention based fusion: the student's map x is projected to m channels by a 1x1 convolution and BatchNorm (m is the
number of channels of the deepest level, at most 512). y is the residual of the deeper level, resized to x. A 1x1
convolution and a sigmoid make two attention maps of both. a1 x + a2 y, resized to the teacher's map, is the next
residual. A 3x3 convolution and BatchNorm turn it into the predicted map. The deepest level has no y. Resizing is
nearest.

Hierarchical context loss (HCL): MSE at full size and of averages pooled to 4, 2 and 1, with weights 1, 1/2, 1/4 and 1/8
over their sum; a level that is not below the smaller side of the map is left out.

The deepest level is the embedding as a map of one position (`pooled`), as in the code. w 1 is the default of the code
(its CIFAR-100 runs use 0.6 to 8). The ramp is its 20 of 240 epochs, counted from 1, so that it is never 0. The KL term
of the code, which is off by default, is left out.

Different from the paper: maps are used as the networks return them (the code uses the teacher's before its ReLU);
stages are matched from the deepest; 1-D maps have 1-D convolutions and pools. Maps are compared in the teacher's rank.
A student's line is lifted to the image's side by `mixed`; with the default `outer`, a pixel is a product of two
instants, whose scale the BatchNorm cancels. The rows of `repeat` are equal, and so are those of the prediction. A
student's image is averaged over its rows to a line. In networks that label every time step, the maps of the encoders
are compared. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import (
    METHODS,
    WARMUP_RANGE,
    Batch,
    DistillConfig,
    Method,
    Outputs,
    Range,
    Setup,
    matched_maps,
    option,
    paired_branch,
)
from mmkd.frequency import hierarchical_context, lift


@METHODS.register("reviewkd")
class ReviewKD(Method):
    """Review: deep stages help shallow ones. Chen et al., CVPR 2021, arXiv:2104.09044.

    Use it when feature maps are to be matched at several depths and training may cost several times a plain step. Deep
    stages of the student help to predict shallow ones of the teacher, by blocks that exist in training alone.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of the review", ge=0, tune=Range(0.2, 20, log=True))
        warmup: float = option(
            1 / 12, "share of the epochs over which the review ramps up", ge=0, le=1, tune=WARMUP_RANGE
        )
        width: int = option(512, "upper limit of the number of channels m of the fused maps", ge=1)
        pooled: bool = option(True, "use the embeddings as one more level, the deepest")
        stages: Literal["all", "deep", "last"] = option(
            "all", "stages that are compared: all, the last two, or the last"
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how a student's line becomes a map, to be compared with an image"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding", "features"})
    minimum_batch = 2

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Pairs (student, teacher) of maps, the deepest first, all in the teacher's rank; sizes may differ."""
        c = self.config
        branch = paired_branch(student, modality, c.pairs)
        maps = matched_maps(branch.encoder, teacher.encoder, c.stages)
        if c.pooled:
            maps = [(branch.embedding, teacher.embedding), *maps]
        rank = max(3, *(t.ndim for _, t in maps))
        sides = [max(t.shape[2:], default=1) for _, t in maps]
        return [
            (bring(s, rank, side, c.mixed), bring(t, rank, side, c.mixed))
            for side, (s, t) in zip(sides, maps, strict=True)
        ]

    def build(self, setup: Setup) -> None:
        self.reviews = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            maps = self.maps(setup.student, modality, teacher)
            width = min(self.config.width, maps[0][0].shape[1])
            self.reviews.append(Review([(s.shape[1], t.shape[1]) for s, t in maps], width, maps[0][0].ndim))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for review, (modality, teacher) in zip(self.reviews, teachers.items(), strict=True):
            distance = review(self.maps(student, modality, teacher))
            terms[f"reviewkd_{modality}"] = c.weight * batch.ramp(c.warmup) * shares[modality] * distance
        return terms


class Review(nn.Module):
    """The review loss of one teacher.

    Args:
        channels: (C_s, C_t) of each level, the deepest first.
        width: m.
        rank: 3 for lines, 4 for images.
    """

    def __init__(self, channels: list[tuple[int, int]], width: int, rank: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Fusion(s, width, t, rank, fuse=n > 0) for n, (s, t) in enumerate(channels))

    def forward(self, maps: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Sum the losses of pairs (student, teacher) of maps (B, C, *size), the deepest first: a scalar."""
        residual = None
        distances = []
        for block, (student, teacher) in zip(self.blocks, maps, strict=True):
            predicted, residual = block(student, residual, teacher.shape[2:])
            distances.append(hierarchical_context(predicted, teacher))
        return torch.stack(distances).sum()


class Fusion(nn.Module):
    """Attention based fusion of one level.

    Args:
        inputs: channels of the student's map.
        width: m.
        outputs: channels of the teacher's map.
        rank: 3 for lines, 4 for images.
        fuse: False for the deepest level, which has no residual.
    """

    def __init__(self, inputs: int, width: int, outputs: int, rank: int, fuse: bool) -> None:
        super().__init__()
        conv = nn.Conv1d if rank == 3 else nn.Conv2d
        norm = nn.BatchNorm1d if rank == 3 else nn.BatchNorm2d
        first = conv(inputs, width, 1, bias=False)
        last = conv(width, outputs, 3, padding=1, bias=False)
        for layer in (first, last):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        self.enter = nn.Sequential(first, norm(width))
        self.attend = nn.Sequential(conv(2 * width, 2, 1), nn.Sigmoid()) if fuse else None
        self.leave = nn.Sequential(last, norm(outputs))

    def forward(self, x: Tensor, residual: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Fuse a map with the residual of the deeper level.

        Args:
            x: (B, inputs, *any).
            residual: (B, m, *any); None for the deepest level.
            size: size of the teacher's map.

        Returns:
            The predicted map (B, outputs, *size) and the next residual (B, m, *size).
        """
        x = self.enter(x)
        if self.attend is not None and residual is not None:
            residual = F.interpolate(residual, x.shape[2:], mode="nearest")
            shares = self.attend(torch.cat([x, residual], dim=1))
            x = shares[:, :1] * x + shares[:, 1:] * residual
        x = F.interpolate(x, size, mode="nearest")
        return self.leave(x), x


def bring(x: Tensor, rank: int, side: int, mixed: str) -> Tensor:
    """Bring a vector, line or image to a map of this rank, 3 or 4; a line becomes an image of this side."""
    if x.ndim == 2:
        return x.reshape(*x.shape, *[1] * (rank - 2))
    if x.ndim > rank:
        return x.mean(2)
    return lift(x, mixed, side) if x.ndim < rank else x
