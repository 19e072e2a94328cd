"""Similarity-Preserving Knowledge Distillation. Tung and Mori, ICCV 2019, https://arxiv.org/abs/1907.09682

Loss: CE + w / (64 B) times the squared Frobenius distance of the student's and the teacher's G. G = A A^T over the
batch of flattened maps A, with rows divided by their Euclidean norm; w 3000, the last stage, which gives a gradient on
the student of about 10 times that of cross-entropy (experiments/results/method-scale.md). The published divisor is B^2,
with batches of 64. A row of G has length 1 whatever B is, so that the published term shrinks as 1 / B; here its scale
is that of batches of 64 for every B. G is B x B for any rank and size of the maps, so that lines and images can be
compared directly. Several teachers have the shares `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, batch_scale, matched_maps, option, paired_branch


@METHODS.register("sp")
class SP(Method):
    """Similarities between the samples of a batch. Tung and Mori, ICCV 2019, arXiv:1907.09682.

    Use it when maps cannot be compared directly, as between lines and images: which windows of a batch are alike does
    not depend on their form. It reads the last stage, and its scale here does not depend on the batch size.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(3000.0, "weight of the similarity terms", ge=0, tune=Range(100, 6000, log=True))
        stages: Literal["all", "last"] = option(
            "last", "stages that are compared, matched from the deepest", tune=("all", "last")
        )
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})
    status = "classic"
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        terms = self.supervised(student, batch)
        weight = self.config.weight * batch_scale(len(batch.index), growth=-1)
        for modality, share in self.weights(teachers).items():
            maps = matched_maps(
                paired_branch(student, modality, self.config.pairs), teachers[modality], self.config.stages
            )
            distances = [F.mse_loss(similarities(s), similarities(t)) for s, t in maps]
            terms[f"sp_{modality}"] = weight * share * torch.stack(distances).sum()
        return terms


def similarities(x: Tensor) -> Tensor:
    """Similarities between the samples of a batch: (B, ...) to (B, B), rows of norm 1."""
    flat = x.flatten(1)
    return F.normalize(flat @ flat.T)
