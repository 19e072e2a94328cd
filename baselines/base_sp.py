"""KD and similarity maps of several teachers: "Base + SP" of the wearable-sensor papers. Jeon et al. 2024, https://arxiv.org/abs/2407.05315

Reconstructed from the descriptions in the papers. Assumed loss: (1 - l) CE + l T^2 sum_k w_k KL(teacher_k || student),
mean over the batch, as in `kd`, plus b sum_k w_k times the mean over three stages of |G_s - G_k|^2 / (64 B). G is that
of `sp` (G = A A^T over the batch of flattened maps, rows divided by their Euclidean norm), and |.|^2 is the squared
Frobenius norm. Both sums use the shares `teacher_weights`. Stages are matched from the deepest; if there are fewer than
three, all are used.

l 0.7, T 4. b 700 is the papers' value for GENEActiv (200 for PAMAP2) with batches of 64 and the divisor B^2; with 64 B
the term has that scale for every batch size B, as in `sp`. Each teacher's maps are used on their own; the papers' own
methods, which merge them, are different methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    SHARE_RANGE,
    TEMPERATURE_RANGE,
    Batch,
    DistillConfig,
    Method,
    Outputs,
    Range,
    batch_scale,
    matched_maps,
    option,
    paired_branch,
)

STAGES = 3


@METHODS.register("base+sp")
class BaseSP(Method):
    """Soft targets, and similarity matrices at three stages. After Jeon et al. 2024 (reconstructed).

    Use it when you compare with the papers on wearable sensors whose baseline it is: soft targets and similarity maps
    of several teachers. It is reconstructed from descriptions, so its numbers are not theirs.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
        kd_weight: float = option(
            0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
        )
        sp_weight: float = option(700.0, "weight b of the similarity maps", ge=0, tune=Range(20, 3000, log=True))
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"logits", "features"})
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        terms["kd"] = c.kd_weight * self.soft(student, teachers, c.temperature)
        weight = c.sp_weight * batch_scale(len(batch.index), growth=-1)
        for modality, share in self.weights(teachers).items():
            maps = matched_maps(paired_branch(student, modality, c.pairs), teachers[modality])[:STAGES]
            distances = [F.mse_loss(similarities(s), similarities(t)) for s, t in maps]
            terms[f"sp_{modality}"] = weight * share * torch.stack(distances).mean()
        return terms


def similarities(x: Tensor) -> Tensor:
    """Similarities between the samples of a batch: (B, ...) to (B, B), rows of norm 1."""
    flat = x.flatten(1)
    return F.normalize(flat @ flat.T)
