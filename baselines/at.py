"""Paying More Attention to Attention. Zagoruyko and Komodakis, ICLR 2017, https://arxiv.org/abs/1612.03928

Loss, activation-based: CE + w sum over stages of the mean squared difference of the attention maps of student and
teacher. The attention map of a stage is the mean of |A|^p over channels, flattened and divided by its Euclidean norm. p
= 2 and w = 1000. (The paper's beta is 1000 over the number of elements, with a factor 1/2; form and weight here are
those of Tian et al. 2020, arXiv:1910.10699. With them the gradient on the student is 15 to 40 times that of
cross-entropy, see experiments/results/method-scale.md.)

Attention maps of the same rank but different size are compared at the smaller size; the paper interpolates them. A line
is compared with an image through a lift, the option `mixed`; with `outer`, an entry is the product of the attention at
two times. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, matched_maps, option, paired_branch
from mmkd.frequency import meet


@METHODS.register("at")
class AT(Method):
    """Attention transfer: where maps are active. Zagoruyko, ICLR 2017, arXiv:1612.03928.

    Use it when teacher and student look at the same axis, such as time, and you want to say where to look without
    matching channels. Its default weight is large beside cross-entropy, so tune it before you judge it.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1000.0, "weight of the attention terms", ge=0, tune=Range(10, 2000, log=True))
        power: float = option(2.0, "p of |A|^p", gt=0, tune=(1.0, 2.0, 4.0))
        stages: Literal["all", "last"] = option(
            "all", "stages that are compared, matched from the deepest", tune=("all", "last")
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "outer", "how the attention of a line becomes that of an image"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})
    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        for modality, share in self.weights(teachers).items():
            distances = []
            for student_map, teacher_map in matched_maps(
                paired_branch(student, modality, c.pairs), teachers[modality], c.stages
            ):
                a, b = (x.abs().pow(c.power).mean(1, keepdim=True) for x in (student_map, teacher_map))
                s, t = meet(a, b, c.mixed)
                distances.append(F.mse_loss(F.normalize(s.flatten(1)), F.normalize(t.flatten(1))))
            terms[f"at_{modality}"] = c.weight * share * torch.stack(distances).sum()
        return terms
