"""Reverse distillation. Deng, Li, CVPR 2022, https://arxiv.org/abs/2201.10703; on GAF images: Sensors 24(24) 8169, 2024

A frozen encoder is the teacher. The student is a bottleneck and a decoder, which reconstructs the maps of the teacher.
Loss: the sum over scales of the mean over positions of 1 - cosine along the channels. The student is trained on normal
segments only, and the distance between its maps and the teacher's is the anomaly score.

Different from the papers: the encoder is trained on the pretext task of the anomaly task instead of ImageNet. `band` is
our choice: the 2024 paper says that pixels near the diagonal are mapped back to time, but not how near.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, MmkdError, Outputs, Setup, TaughtConfig, only_of_kind, option


@METHODS.register("reverse-kd")
class ReverseKD(Method):
    """Anomalies: a decoder reconstructs a frozen encoder's maps; the error is the score. Deng, Li, CVPR 2022.

    Use it when you look for anomalies in series and have only normal data to train on: the error of reconstructing the
    teacher's maps is the score. It is for `--task anomaly` alone, and simple detectors stand beside it in the table.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        band: int = option(
            2, "largest distance from the diagonal of the pixels that score a time step", ge=0, tune=(0, 1, 2, 4, 8)
        )

    unlabelled = "all"
    tasks = frozenset({"anomaly"})
    supervised_by_labels = False
    student_network = "reverse"  # used instead of --student and --student-net; it contains its teacher

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if len(setup.teachers) != 1 or not only_of_kind("gaf", setup.teachers):
            raise MmkdError(
                "reverse-kd maps pixels of a Gramian field back to time; use --teachers gaf, of all channels or a group"
            )

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return {"gap": torch.stack([gap.mean() for gap in gaps(student)]).sum()}

    def step_scores(self, student: Outputs, side: int) -> Tensor:
        """Score each position of images with this side: (B, side)."""
        return near_diagonal(gap_map(student, side), self.config.band)


def gaps(student: Outputs) -> list[Tensor]:
    """1 - cosine of the encoder's and the decoder's maps along the channels: (B, H, W) for each scale."""
    gaps_by_scale = []
    for name, decoder in student.features.items():
        if name.startswith("decoder-"):
            encoder = student.features[name.replace("decoder-", "encoder-", 1)]
            gaps_by_scale.append(1 - F.cosine_similarity(encoder, decoder, dim=1))
    return gaps_by_scale


def gap_map(student: Outputs, side: int) -> Tensor:
    """Sum of the scales, each resized to (side, side): (B, side, side)."""
    size = (side, side)
    maps = [F.interpolate(g[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for g in gaps(student)]
    return torch.stack(maps).sum(0)


def near_diagonal(gap: Tensor, band: int) -> Tensor:
    """Average a map near its diagonal: (B, S, S) to (B, S).

    The score of position t is the mean of the pixels (t, j) and (j, t) with |t - j| <= band. Pixel (i, j) of a Gramian
    field stands for the positions i and j, which are close in time near the diagonal.
    """
    position = torch.arange(gap.shape[1], device=gap.device)
    near = ((position[:, None] - position[None]).abs() <= band).to(gap.dtype)
    return ((gap + gap.transpose(1, 2)) / 2 * near).sum(2) / near.sum(1)
