"""Contrastive Representation Distillation. Tian, Krishnan, Isola, ICLR 2020, https://arxiv.org/abs/1910.10699

Followed: student's and teacher's embeddings, each through a linear layer and scaled to length 1, s and t; a memory of N
such vectors of each network, one a training sample. For the student's vector of sample i with negatives J, m of them,
-log h(i) - sum over J of log(1 - h(j)), h(j) = p / (p + m/N), p = exp(s_i . t_j / tau) / Z, t_j the memory's; the same
for the teacher's vector against the student's memory; the mean over the batch; w 0.8, tau 0.07, m 16384, 128 features.
As in the authors' code: Z is N times the mean of exp(...) over the first batch and kept; the memory of the batch's
samples becomes half old, half new (momentum 0.5), scaled to length 1; negatives are of other classes, drawn anew for
each sample and step. Different from it: where fewer than m samples are of other classes all of these are negatives,
once each (the code draws m with replacement), and m is their number; without classes, or with only one, negatives are
any other samples. The code's guard of 1e-7 is left out, for the form used here needs none. The memory starts at length
1, and is renewed after each step. Several teachers have a memory each, share a batch's negatives and take the shares
`teacher_weights`. Where every time step has a label samples are windows without a class of their own, and the vectors
guide the encoder alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Setup, Step, option, paired_branch


class Contrast(nn.Module):
    """The contrast of two networks, student first, with a memory of N samples.

    Attributes:
        memory: (2, N, D), what each network is scored against: the teacher's vectors, then the student's.
        log_z: (2,) the constants log Z, infinite until the first batch.
        seen: the vectors of the batch, (2, B, D), from the loss to `remember`.
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
        """The loss.

        Args:
            student, teacher: (B, widths), embeddings.
            index: (B,) the samples' places in the memory.
            negatives: (B, N) how often each place is a negative of each sample; True counts as once.
        """
        both = zip(self.embed, (student, teacher), strict=True)
        vectors = torch.stack([F.normalize(embed(x), dim=1) for embed, x in both])
        scores = (vectors / self.tau) @ self.memory.mT
        positive = scores.gather(2, index.expand(2, -1)[..., None])
        samples = self.memory.shape[1]
        drawn = negatives.sum(1)
        if self.log_z[0] == math.inf:
            seen = torch.cat([positive, scores + negatives.log()], 2).detach().flatten(1)
            self.log_z = seen.logsumexp(1) + torch.log(samples / (len(index) + drawn.sum()))
        # With x = log(p / (m/N)): -log h = log(1 + exp(-x)), -log(1 - h) = log(1 + exp(x)).
        level = self.log_z[:, None, None] + (drawn / samples).log()[:, None]
        self.seen = vectors.detach()
        return (F.softplus(level - positive).sum() + (F.softplus(scores - level) * negatives).sum()) / len(index)

    def remember(self, index: Tensor) -> None:
        """Mix the batch's vectors, student's and teacher's, into the memory; of a sample that comes twice, the first.

        Args:
            index: (B,) the samples' places, those of the loss before.
        """
        first = ~(index[:, None] == index).tril(-1).any(1)
        rows = index[first]
        new = self.seen.flip(0)[:, first]
        mixed = self.momentum * self.memory[:, rows] + (1 - self.momentum) * new
        self.memory = self.memory.index_copy(1, rows, F.normalize(mixed, dim=2))


@METHODS.register("crd")
class CRD(Method):
    """Contrast of student and teacher against a memory of all samples. Tian et al., ICLR 2020, arXiv:1910.10699."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(0.8, "weight of the contrast", ge=0)
        negatives: int = option(16384, "negatives a sample; all windows of other classes where these are fewer", ge=1)
        tau: float = option(0.07, "divisor of the cosine similarities", gt=0)
        momentum: float = option(0.5, "share of the old vector when the memory is renewed", ge=0, lt=1)
        feature_size: int = option(128, "length of the vectors that are compared", ge=1)
        pairs: Literal["fused", "same", "all"] = option("fused", "the student's embedding that meets a teacher's")

    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding"})
    targets: Tensor | None

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if setup.train_size < 2:
            raise MmkdError("crd needs a second training window to be the first one's negative; use another --method")

    def build(self, setup: Setup) -> None:
        c = self.config
        self.samples = setup.train_size
        # a window of many labels has no class: its negatives are any other windows
        self.register_buffer("targets", setup.targets if setup.task == "classification" else None)
        self.contrasts = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            student = paired_branch(setup.student, modality, c.pairs)
            widths = student.embedding.shape[1], teacher.embedding.shape[1]
            self.contrasts.append(Contrast(widths, c.feature_size, self.samples, c.tau, c.momentum))

    def negatives(self, index: Tensor) -> Tensor:
        """(B, N) for each sample of a batch, which of all samples are its negatives."""
        others = torch.arange(self.samples, device=index.device) != index[:, None]
        if self.targets is not None:
            strange = self.targets != self.targets[index][:, None]
            others = torch.where(strange.any(1, keepdim=True), strange, others)
        if self.config.negatives >= self.samples - 1:
            return others
        lots = torch.rand(others.shape, device=index.device).masked_fill(~others, 2)
        drawn = lots.topk(self.config.negatives, largest=False, sorted=False).indices
        return torch.zeros_like(others).scatter(1, drawn, True) & others

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        negatives = self.negatives(batch.index)
        for contrast, (modality, teacher) in zip(self.contrasts, teachers.items(), strict=True):
            met = paired_branch(student, modality, c.pairs).embedding
            loss = contrast(met, teacher.embedding, batch.index, negatives)
            terms[f"crd_{modality}"] = c.weight * shares[modality] * loss
        return terms

    def after_step(self, step: Step) -> None:
        for contrast in self.contrasts:
            cast(Contrast, contrast).remember(step.batch.index)
