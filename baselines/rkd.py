"""Relational Knowledge Distillation. Park et al., CVPR 2019, https://arxiv.org/abs/1904.05068

Loss: CE + Huber loss between the student's and the teacher's distances of all pairs of embeddings, divided by their
mean over the batch, and between the cosines of the angles of all triples; weights 25 and 50. As in the authors' code,
both are means over all B^2 pairs and B^3 triples, including those of a sample with itself, which add nothing, and the
mean distance is that of pairs with a distance above 0. Small batches have a larger share of such pairs and triples;
they are counted as in batches of 64, so that the scale does not depend on B. Where two embeddings are equal, direction
and gradient are undefined; both are 0 here. Embeddings are vectors, so that teachers of any rank work; several have the
shares `teacher_weights`. Where every time step has a label, embeddings are those of windows and only the encoder is
guided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, distinct_scale, option, paired_branch


@METHODS.register("rkd")
class RKD(Method):
    """Distances and angles between the embeddings of a batch. Park et al., CVPR 2019, arXiv:1904.05068.

    Use it when embeddings differ in width and the shape of the point cloud of a batch should be kept: distances and
    angles. Angles are of all triples, so large batches cost memory.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        distance_weight: float = option(25.0, "weight of the distances of pairs", ge=0, tune=Range(1, 100, log=True))
        angle_weight: float = option(50.0, "weight of the angles of triples", ge=0, tune=Range(2, 200, log=True))
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding"})
    status = "classic"
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        distance_weight, angle_weight = (
            weight * distinct_scale(len(batch.index), count)
            for weight, count in ((c.distance_weight, 2), (c.angle_weight, 3))
        )
        for modality, share in self.weights(teachers).items():
            s = paired_branch(student, modality, c.pairs).embedding
            t = teachers[modality].embedding
            pairs = 2 * F.smooth_l1_loss(distances(s), distances(t), reduction="sum") / len(s) ** 2
            terms[f"distance_{modality}"] = distance_weight * share * pairs
            terms[f"angle_{modality}"] = angle_weight * share * F.smooth_l1_loss(angles(s), angles(t))
        return terms


def distances(x: Tensor) -> Tensor:
    """Distances of the B (B - 1) / 2 pairs of (B, D), divided by the mean of those above 0."""
    d = F.pdist(x)
    return d / d[d > 0].mean() if (d > 0).any() else d


def angles(x: Tensor) -> Tensor:
    """Cosine at sample i of the angle between samples j and k: (B, D) to (B, B, B)."""
    apart = x[None] - x[:, None]
    norm = apart.norm(dim=2, keepdim=True)
    unit = apart / torch.where(norm > 0, norm, torch.inf)
    return unit @ unit.transpose(1, 2)
