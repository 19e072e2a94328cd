"""Correlation Congruence for Knowledge Distillation. Peng et al., ICCV 2019, https://arxiv.org/abs/1904.01802

Loss: CE + w / B^2 times the squared Frobenius distance of the student's and the teacher's kernel matrix. The matrix is
the Gaussian kernel of all pairs of normalised embeddings, as a Taylor series of order P,
K(x, y) = exp(-2 g) sum_p (2 g)^p / p! (x . y)^p; g 0.4, P 2. Common toolkits train a different loss under this name, a
product of adjacent differences. A sample has the same kernel with itself in both matrices; such pairs are counted as in
batches of 64, so that the scale of the mean over B^2 pairs does not depend on B.

The weight is our choice, because the paper's could not be checked. The paper adds soft targets (the option
`logit_weight`, 0 by default). Embeddings are vectors, so that teachers of any rank work; several have the shares
`teacher_weights`. Where every time step has a label, embeddings are those of windows and only the encoder is guided.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    Batch,
    DistillConfig,
    Method,
    Outputs,
    Range,
    distinct_scale,
    option,
    paired_branch,
    soft_targets,
)


@METHODS.register("cc")
class CC(Method):
    """Kernel matrix of the embeddings of a batch. Peng et al., ICCV 2019, arXiv:1904.01802.

    Use it when teacher and student have embeddings of different kinds and only the relations of the windows in a batch
    can be compared. Batches should be large enough to hold several windows of each class.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(
            100.0, "weight of the squared distance of kernel matrices", ge=0, tune=Range(5, 500, log=True)
        )
        gamma: float = option(0.4, "g of the kernel exp(-g |x - y|^2)", gt=0, tune=Range(0.1, 2, log=True))
        order: int = option(2, "order P of its Taylor series", ge=1)
        logit_weight: float = option(0.0, "weight of a soft-target term", ge=0)
        temperature: float = option(4.0, "temperature T of the soft targets", gt=0)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"logits", "embedding"})
    status = "classic"
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        weight = c.weight * distinct_scale(len(batch.index), 2)
        for modality, share in shares.items():
            s = kernel(paired_branch(student, modality, c.pairs).embedding, c.gamma, c.order)
            t = kernel(teachers[modality].embedding, c.gamma, c.order)
            terms[f"cc_{modality}"] = weight * share * F.mse_loss(s, t)
        if c.logit_weight > 0:
            soft = [w * soft_targets(student.logits, teachers[m].logits, c.temperature) for m, w in shares.items()]
            terms["kd"] = c.logit_weight * torch.stack(soft).sum()
        return terms


def kernel(x: Tensor, gamma: float, order: int) -> Tensor:
    """Kernel matrix of a batch: (B, D) to (B, B)."""
    unit = F.normalize(x)
    cosine = unit @ unit.T
    series = [(2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(series).sum(0)
