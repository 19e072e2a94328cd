"""Contrastive Representation Distillation. Tian, Krishnan, Isola, ICLR 2020, https://arxiv.org/abs/1910.10699

Embeddings of student and teacher pass a linear layer each and are scaled to length 1, s and t. A memory holds N such
vectors of each network, one for each training sample. Loss of the student's vector of sample i with negatives J, m of
them: -log h(i) - sum over J of log(1 - h(j)), with h(j) = p / (p + m/N), p = exp(s_i . t_j / tau) / Z, and t_j from the
memory. The loss of the teacher's vector against the student's memory is computed likewise. The mean over the batch is
taken. w 0.8, tau 0.07, m 16384, 128 features.

As in the authors' code: Z is N times the mean of exp(...) over the first batch, and then constant. After a step, the
memory of the batch's samples becomes half old and half new (momentum 0.5), scaled to length 1. Negatives are samples of
other classes, drawn anew for each sample and step.

Different from the code: if fewer than m samples are of other classes, each of them is a negative once and m is their
number (the code draws m with replacement); without classes, or with one class, all other samples can be negatives. The
code's guard of 1e-7 is left out, because the form used here does not need it. The memory starts at length 1. Several
teachers have a memory each, share the negatives of a batch, and have the shares `teacher_weights`. Where every time
step has a label, samples are windows without a class, and only the encoder is guided.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Range, Setup, Step, option, paired_branch


class Contrast(nn.Module):
    """The contrastive loss of two networks, with a memory of N samples.

    Args:
        widths: (D_s, D_t), the lengths of the embeddings of student and teacher.
        features: length D of the vectors that are compared.
        samples: N.
        tau: temperature.
        momentum: share of the old vector when the memory is updated.

    Attributes:
        memory: (2, N, D): the teacher's vectors, which the student is compared with, then the student's.
        log_z: (2,) the constants log Z, infinite until the first batch.
        seen: (2, B, D), the vectors of the last batch, used by `remember`.
    """

    memory: Tensor
    log_z: Tensor
    seen: Tensor

    def __init__(self, widths: tuple[int, int], features: int, samples: int, tau: float, momentum: float) -> None:
        super().__init__()
        self.tau = tau
        self.momentum = momentum
        self.embed = nn.ModuleList(nn.Linear(width, features) for width in widths)
        self.register_buffer("memory", F.normalize(2 * torch.rand(2, samples, features) - 1, dim=2))
        self.register_buffer("log_z", torch.full((2,), math.inf))

    def forward(self, student: Tensor, teacher: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            student: (B, D_s) embeddings.
            teacher: (B, D_t) embeddings.
            index: (B,) positions of the samples in the memory.
            negatives: (B, N) how often each position is a negative of each sample; True counts as once.

        Returns:
            A scalar.
        """
        pairs = zip(self.embed, (student, teacher), strict=True)
        vectors = torch.stack([F.normalize(embed(x), dim=1) for embed, x in pairs])
        scores = (vectors / self.tau) @ self.memory.mT
        positive = scores.gather(2, index.expand(2, -1)[..., None])
        samples = self.memory.shape[1]
        counts = negatives.sum(1)
        if self.log_z[0] == math.inf:
            scores_in_batch = torch.cat([positive, scores + negatives.log()], 2).detach().flatten(1)
            self.log_z = scores_in_batch.logsumexp(1) + torch.log(samples / (len(index) + counts.sum()))
        # With x = log(p / (m/N)): -log h = log(1 + exp(-x)), -log(1 - h) = log(1 + exp(x)).
        level = self.log_z[:, None, None] + (counts / samples).log()[:, None]
        self.seen = vectors.detach()
        return (F.softplus(level - positive).sum() + (F.softplus(scores - level) * negatives).sum()) / len(index)

    def remember(self, index: Tensor) -> None:
        """Update the memory with the vectors of the last batch; of a sample that occurs twice, the first vector counts.

        Args:
            index: (B,) positions of the samples, as in the last call of `forward`.
        """
        first = ~(index[:, None] == index).tril(-1).any(1)
        rows = index[first]
        new = self.seen.flip(0)[:, first]
        mixed = self.momentum * self.memory[:, rows] + (1 - self.momentum) * new
        self.memory = self.memory.index_copy(1, rows, F.normalize(mixed, dim=2))


@METHODS.register("crd")
class CRD(Method):
    """Contrast of student and teacher against a memory of all samples. Tian et al., ICLR 2020, arXiv:1910.10699.

    Use it when you want the student's embedding to tell training windows apart as the teacher's does, and can pay for a
    memory of all of them. It trains in one process, and its options are those of large image sets.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(0.8, "weight of the contrast", ge=0, tune=Range(0.1, 8, log=True))
        negatives: int = option(
            16384, "negatives for each sample; if there are fewer windows of other classes, all of them", ge=1
        )
        tau: float = option(0.07, "temperature of the cosine similarities", gt=0, tune=Range(0.03, 0.3, log=True))
        momentum: float = option(
            0.5, "share of the old vector when the memory is updated", ge=0, lt=1, tune=Range(0, 0.9)
        )
        feature_size: int = option(128, "length of the vectors that are compared", ge=1)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's embeddings is compared with a teacher's"
        )

    unlabelled = "teacher"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding"})
    status = "classic"
    targets: Tensor | None

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if setup.train_size < 2:
            raise MmkdError("crd needs a second training window to be the first one's negative; use another --method")

    def build(self, setup: Setup) -> None:
        c = self.config
        self.samples = setup.train_size
        # A window with several labels has no class, so that all other windows can be its negatives.
        self.register_buffer("targets", setup.targets if setup.task == "classification" else None)
        self.contrasts = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            student = paired_branch(setup.student, modality, c.pairs)
            widths = student.embedding.shape[1], teacher.embedding.shape[1]
            self.contrasts.append(Contrast(widths, c.feature_size, self.samples, c.tau, c.momentum))

    def negatives(self, index: Tensor) -> Tensor:
        """Choose the negatives of each sample of a batch: (B, N) bool."""
        others = torch.arange(self.samples, device=index.device) != index[:, None]
        if self.targets is not None:
            other_class = self.targets != self.targets[index][:, None]
            others = torch.where(other_class.any(1, keepdim=True), other_class, others)
        if self.config.negatives >= self.samples - 1:
            return others
        random = torch.rand(others.shape, device=index.device).masked_fill(~others, 2)
        chosen = random.topk(self.config.negatives, largest=False, sorted=False).indices
        return torch.zeros_like(others).scatter(1, chosen, True) & others

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        negatives = self.negatives(batch.index)
        for contrast, (modality, teacher) in zip(self.contrasts, teachers.items(), strict=True):
            embedding = paired_branch(student, modality, c.pairs).embedding
            loss = contrast(embedding, teacher.embedding, batch.index, negatives)
            terms[f"crd_{modality}"] = c.weight * shares[modality] * loss
        return terms

    def after_step(self, step: Step) -> None:
        for contrast in self.contrasts:
            cast(Contrast, contrast).remember(step.batch.index)
