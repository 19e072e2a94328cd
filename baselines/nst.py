"""Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. Huang and Wang 2017, https://arxiv.org/abs/1707.01219

Loss: CE + w times the squared maximum mean discrepancy between the channels of student and teacher, with the polynomial
kernel (x . y)^2. Each channel is a pattern over positions, divided by its Euclidean norm. Means are taken over pairs of
channels and over samples; w 50. The last pair of layers is compared; `stages=all`, the form of common toolkits, sums
over all pairs. Maps of the same rank are compared at the smaller size, by adaptive averages, and a line is compared
with an image through a lift, the option `mixed`. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, matched_maps, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("nst")
class NST(Method):
    """Neuron selectivity: distribution of channel patterns. Huang and Wang 2017, arXiv:1707.01219.

    Use it when teacher and student have different numbers of channels and you want the same patterns of activity,
    without a regressor to learn. It compares pairs of channels, so its cost grows with the square of their number.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(50.0, "weight of the discrepancies", ge=0, tune=Range(2, 200, log=True))
        stages: Literal["all", "last"] = option(
            "last", "stages that are compared, matched from the deepest", tune=("all", "last")
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option("outer", "how a line becomes an image")

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})
    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        for modality, share in self.weights(teachers).items():
            maps = matched_maps(paired_branch(student, modality, c.pairs), teachers[modality], c.stages)
            distances = [discrepancy(*meet(s, t, c.mixed)) for s, t in maps]
            terms[f"nst_{modality}"] = c.weight * share * torch.stack(distances).sum()
        return terms


def discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the channels of (B, C, *size) and (B, C', *size), mean over the batch."""
    s, t = (F.normalize(x.flatten(2), dim=2) for x in (student, teacher))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.transpose(1, 2)).square().mean()

    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
