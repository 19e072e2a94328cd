"""Distilling Knowledge via Knowledge Review. Chen, Liu, Zhao, Jia, CVPR 2021, https://arxiv.org/abs/2104.09044

Followed, with the authors' code: CE + w * ramp * sum over levels of HCL(predicted, teacher's map), the deepest first.
Attention based fusion: the student's map goes through a 1x1 convolution and BatchNorm to m channels (as many as the
deepest level has, 512 at most) and is x; y is the residual of the deeper level, resized to x; a 1x1 convolution and a
sigmoid make two attention maps of both; a1 x + a2 y, resized to the teacher's map, is the next residual and, after a
3x3 convolution and BatchNorm, the predicted map. The deepest level has no y; resizing is nearest. Hierarchical context
loss: MSE at full size, then of averages pooled to 4, 2 and 1 with weights 1/2, 1/4, 1/8, over the sum of the weights; a
level that is not below the map's smaller side is left out. The deepest level is the embedding as a map of one position
(`pooled`), as in the code. w 1 is the code's default (its CIFAR-100 runs take 0.6 to 8). The ramp is its 20 of 240
epochs, counted from 1, so that none is dead. The code's KL term, off by default, is left out.

Different from the paper: maps are taken as the networks give them (the code takes the teacher's before its ReLU);
stages are matched from the deepest; 1-D maps take 1-D convolutions and pools. The teacher's rank is kept. A student's
line is lifted to the image's side by `mixed`: `outer`, the default, makes a pixel of two instants, and BatchNorm undoes
its scale; the rows of `repeat` are alike, and so are those of what is predicted from them. A student's image is
averaged over its rows to meet a line. Of networks that label every time step the encoders' maps meet, which lie
between the embedding and the signal. Several teachers take the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Setup, matched_maps, option, paired_branch
from mmkd.frequency import hierarchical_context, lift


@METHODS.register("reviewkd")
class ReviewKD(Method):
    """Review: deep stages help shallow ones. Chen et al., CVPR 2021, arXiv:2104.09044."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of the review", ge=0)
        warmup: float = option(1 / 12, "share of the epochs over which the review ramps up", ge=0, le=1)
        width: int = option(512, "most channels m that the fused maps have", ge=1)
        pooled: bool = option(True, "the embeddings as one more level, the deepest")
        stages: Literal["all", "deep", "last"] = option("all", "stages that meet: all, the last two, or the last")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how a student's line becomes a map to meet an image"
        )

    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding", "features"})
    minimum_batch = 2

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Student's and teacher's maps, the deepest first, all in the teacher's rank; sizes may differ."""
        c = self.config
        branch = paired_branch(student, modality, c.pairs)
        both = matched_maps(branch.encoder, teacher.encoder, c.stages)
        if c.pooled:
            both = [(branch.embedding, teacher.embedding), *both]
        rank = max(3, *(t.ndim for _, t in both))
        sides = [max(t.shape[2:], default=1) for _, t in both]
        return [
            (bring(s, rank, side, c.mixed), bring(t, rank, side, c.mixed))
            for side, (s, t) in zip(sides, both, strict=True)
        ]

    def build(self, setup: Setup) -> None:
        self.reviews = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            both = self.maps(setup.student, modality, teacher)
            width = min(self.config.width, both[0][0].shape[1])
            self.reviews.append(Review([(s.shape[1], t.shape[1]) for s, t in both], width, both[0][0].ndim))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for review, (modality, teacher) in zip(self.reviews, teachers.items(), strict=True):
            distance = review(self.maps(student, modality, teacher))
            terms[f"reviewkd_{modality}"] = c.weight * batch.ramp(c.warmup) * shares[modality] * distance
        return terms


class Review(nn.Module):
    """The loss of pairs of maps, student's and teacher's, (B, C, *size) each, the deepest first: a scalar."""

    def __init__(self, channels: list[tuple[int, int]], width: int, rank: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Fusion(s, width, t, rank, fuse=n > 0) for n, (s, t) in enumerate(channels))

    def forward(self, both: list[tuple[Tensor, Tensor]]) -> Tensor:
        residual = None
        distances = []
        for block, (student, teacher) in zip(self.blocks, both, strict=True):
            predicted, residual = block(student, residual, teacher.shape[2:])
            distances.append(hierarchical_context(predicted, teacher))
        return torch.stack(distances).sum()


class Fusion(nn.Module):
    """Attention based fusion: a map (B, C, *size) and the deeper residual to a predicted map and the next residual."""

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
        x = self.enter(x)
        if self.attend is not None and residual is not None:
            residual = F.interpolate(residual, x.shape[2:], mode="nearest")
            shares = self.attend(torch.cat([x, residual], dim=1))
            x = shares[:, :1] * x + shares[:, 1:] * residual
        x = F.interpolate(x, size, mode="nearest")
        return self.leave(x), x


def bring(x: Tensor, rank: int, side: int, mixed: str) -> Tensor:
    """A vector, line or image as a map of this rank, 3 or 4; a line becomes an image of this side."""
    if x.ndim == 2:
        return x.reshape(*x.shape, *[1] * (rank - 2))
    if x.ndim > rank:
        return x.mean(2)
    return lift(x, mixed, side) if x.ndim < rank else x
