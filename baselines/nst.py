"""Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. Huang and Wang 2017, https://arxiv.org/abs/1707.01219

Followed: squared maximum mean discrepancy between the channels of student and teacher, each a pattern over positions
divided by its Euclidean norm, with the polynomial kernel (x . y)^2; means over pairs of channels and over samples;
w 50. The last pair of layers meets; `stages=all`, the toolkits' form, sums over all. Maps of one rank meet at the
smaller size (adaptive averages), and a line meets an image by `mixed`: lifted to the image's side. Several teachers
take the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, matched_maps, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("nst")
class NST(Method):
    """Neuron selectivity: distribution of channel patterns. Huang and Wang 2017, arXiv:1707.01219."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(50.0, "weight of the discrepancies", ge=0)
        stages: Literal["all", "last"] = option("last", "stages that meet, matched from the deepest")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option("outer", "how a line becomes an image")

    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        for modality, share in self.weights(teachers).items():
            both = matched_maps(paired_branch(student, modality, c.pairs), teachers[modality], c.stages)
            each = [discrepancy(*meet(s, t, c.mixed)) for s, t in both]
            terms[f"nst_{modality}"] = c.weight * share * torch.stack(each).sum()
        return terms


def discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared MMD of (B, C, *size) and (B, C', *size), mean over the batch."""
    s, t = (F.normalize(x.flatten(2), dim=2) for x in (student, teacher))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.transpose(1, 2)).square().mean()

    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
