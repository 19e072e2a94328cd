"""Discriminative and Consistent Representation Distillation. Giakoumoglou, Stathaki 2024, https://arxiv.org/abs/2407.11802

Reconstructed from the authors' public code, without the paper's equations. Embeddings of student and teacher pass a
linear layer each and are scaled to length 1, s and t. Scores of all pairs of the batch are z_ij = k s_i . t_j, where
k = min(exp(a), 10) is an inverse temperature and a is trained, starting at 1. Loss: CE + w (contrast + alpha
consistency); w 1, alpha 0.5, 128 features. The contrast is the cross-entropy of row i of z with target i: the teacher's
vector of the same sample among all of the batch. The consistency is KL(q_i || p_i), mean over the batch, with p_i the
softmax of row i (student i over teachers) and q_i that of column i (teacher i over students), both with gradients.

Left out: a trained bias added to all scores, which no softmax depends on, so that it has no gradient; and the soft
targets of the variant "DCD+KD". Additions: several teachers have their own layers and temperature, and the shares
`teacher_weights`. Where every time step has a label, samples are windows, and only the encoder is guided.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Range, Setup, option, paired_branch


class InBatch(nn.Module):
    """Scores of all pairs of a student and a teacher vector in a batch, with a trained temperature.

    Args:
        widths: (D_s, D_t), the lengths of the embeddings of student and teacher.
        features: length of the vectors that are compared.
        log_scale: initial logarithm of the factor on the cosine similarities.
        max_scale: upper limit of the factor.
    """

    def __init__(self, widths: tuple[int, int], features: int, log_scale: float, max_scale: float) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Linear(width, features) for width in widths)
        self.log_scale = nn.Parameter(torch.tensor(log_scale))
        self.max_scale = max_scale

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Map embeddings (B, D_s) and (B, D_t) to scores (B, B); rows are student samples, columns teacher samples."""
        s, t = (F.normalize(embed(x), dim=1) for embed, x in zip(self.embed, (student, teacher), strict=True))
        return self.log_scale.exp().clamp(max=self.max_scale) * (s @ t.T)


def contrast(scores: Tensor) -> Tensor:
    """Cross-entropy of the rows of (B, B) scores, with the diagonal as targets."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def consistency(scores: Tensor) -> Tensor:
    """KL(column i || row i) of the softmaxes of (B, B) scores, mean over i."""
    rows = scores.log_softmax(1)
    columns = scores.log_softmax(0).T
    return F.kl_div(rows, columns, reduction="batchmean", log_target=True)


@METHODS.register("dcd")
class DCD(Method):
    """Contrast within the batch, consistent both ways. Giakoumoglou, Stathaki 2024, arXiv:2407.11802.

    Use it when you want contrast of embeddings without the memory of `crd`: the other windows of the batch are the
    negatives. Small batches have few negatives, so compare it at the usual batch size.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight w of contrast and consistency", ge=0, tune=Range(0.3, 30, log=True))
        alpha: float = option(
            0.5, "weight of the consistency relative to the contrast", ge=0, tune=Range(0.1, 2, log=True)
        )
        log_scale: float = option(1.0, "initial log of the factor on cosine similarities; it is trained")
        max_scale: float = option(10.0, "upper limit of the factor", gt=0)
        feature_size: int = option(128, "length of the vectors that are compared", ge=1)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's embeddings is compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding"})
    minimum_batch: ClassVar[int] = 2

    def check(self, setup: Setup) -> None:
        super().check(setup)
        c = self.config
        if c.log_scale >= math.log(c.max_scale):
            raise MmkdError(
                f"dcd: a factor of exp({c.log_scale:g}) cannot train at or above its limit {c.max_scale:g}; "
                f"lower --log-scale or raise --max-scale"
            )

    def build(self, setup: Setup) -> None:
        c = self.config
        self.scorers = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            student = paired_branch(setup.student, modality, c.pairs)
            widths = student.embedding.shape[1], teacher.embedding.shape[1]
            self.scorers.append(InBatch(widths, c.feature_size, c.log_scale, c.max_scale))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for scorer, (modality, teacher) in zip(self.scorers, teachers.items(), strict=True):
            scores = scorer(paired_branch(student, modality, c.pairs).embedding, teacher.embedding)
            loss = contrast(scores) + c.alpha * consistency(scores)
            terms[f"dcd_{modality}"] = c.weight * shares[modality] * loss
        return terms
