"""Paying More Attention to Attention. Zagoruyko and Komodakis, ICLR 2017, https://arxiv.org/abs/1612.03928

Followed, activation-based: a stage's attention is the mean over channels of |A|^p, flattened and divided by its
Euclidean norm; the loss is w times the sum over stages of the mean squared difference, p = 2, w = 1000 (the paper's
beta is 1000 over the number of elements, with a factor 1/2; the form and the weight here are those of Tian et al. 2020,
arXiv:1910.10699). Attention of one rank but another size meets at the smaller size, as the paper interpolates maps. A
line's attention meets an image's by `mixed`: lifted to the image's side, so that `outer` asks for both of two times.
Several teachers take the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, matched_maps, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("at")
class AT(Method):
    """Attention transfer: where the maps are active. Zagoruyko, ICLR 2017, arXiv:1612.03928."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1000.0, "weight of the attention terms", ge=0)
        power: float = option(2.0, "p of |A|^p", gt=0)
        stages: Literal["all", "last"] = option("all", "stages that meet, matched from the deepest")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how the attention of a line becomes that of an image"
        )

    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        for modality, share in self.weights(teachers).items():
            each = []
            for own, other in matched_maps(paired_branch(student, modality, c.pairs), teachers[modality], c.stages):
                a, b = (x.abs().pow(c.power).mean(1, keepdim=True) for x in (own, other))
                s, t = meet(a, b, c.mixed)
                each.append(F.mse_loss(F.normalize(s.flatten(1)), F.normalize(t.flatten(1))))
            terms[f"at_{modality}"] = c.weight * share * torch.stack(each).sum()
        return terms
