"""Reverse distillation. Deng, Li, CVPR 2022, https://arxiv.org/abs/2201.10703; on GAF images: Sensors 24(24) 8169, 2024

Followed: a frozen encoder is the teacher, a bottleneck and a decoder are the student, which gives the teacher's maps
back; the loss is the sum over scales of the mean over positions of 1 - cosine along the channels. It is trained on
normal segments alone; the gap between the two is the score. The encoder is trained here, on the pretext task of the
anomaly task, where the papers take one of ImageNet. `band` is ours: the 2024 paper says that pixels near the diagonal
map back to time, not how near.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, MmkdError, Outputs, Setup, TaughtConfig, only_of_kind, option


@METHODS.register("reverse-kd")
class ReverseKD(Method):
    """Anomalies: a decoder gives a frozen encoder's maps back, the gap is the score. Deng, Li, CVPR 2022."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        band: int = option(2, "pixels of the field this near to the diagonal make the score of a time step", ge=0)

    tasks = frozenset({"anomaly"})
    supervised_by_labels = False
    student_network = "reverse"  # in the place of --student and --student-net: it contains its teacher

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if len(setup.teachers) != 1 or not only_of_kind("gaf", setup.teachers):
            raise MmkdError(
                "reverse-kd maps pixels of a Gramian field back to time; use --teachers gaf, of all channels or a group"
            )

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return {"gap": torch.stack([gap.mean() for gap in gaps(student)]).sum()}

    def step_scores(self, student: Outputs, side: int) -> Tensor:
        """(B, side), the score of each position of fields of this side."""
        return near_diagonal(gap_map(student, side), self.config.band)


def gaps(student: Outputs) -> list[Tensor]:
    """(B, H, W) of each scale: 1 - cosine of the encoder's and the decoder's maps along the channels."""
    found = []
    for name, given in student.features.items():
        if name.startswith("decoder-"):
            encoder = student.features[name.replace("decoder-", "encoder-", 1)]
            found.append(1 - F.cosine_similarity(encoder, given, dim=1))
    return found


def gap_map(student: Outputs, side: int) -> Tensor:
    """(B, side, side), the sum of the scales, each resized."""
    size = (side, side)
    each = [F.interpolate(g[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for g in gaps(student)]
    return torch.stack(each).sum(0)


def near_diagonal(gap: Tensor, band: int) -> Tensor:
    """(B, S) of (B, S, S): for position t the mean of the pixels (t, j) and (j, t) with |t - j| <= band.

    Pixel (i, j) of a Gramian field stands for the pair of positions i and j; near the diagonal both are at one time.
    """
    position = torch.arange(gap.shape[1], device=gap.device)
    near = ((position[:, None] - position[None]).abs() <= band).to(gap.dtype)
    return ((gap + gap.transpose(1, 2)) / 2 * near).sum(2) / near.sum(1)
