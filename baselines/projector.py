"""Understanding the Role of the Projector in Knowledge Distillation. Miles, Mikolajczyk, AAAI 2024, https://arxiv.org/abs/2303.11098

Loss, as in the authors' code for ImageNet: CE + w log sum |z_s - z_t|^a + u KL(teacher || student), at temperature 1. z
are the embeddings, batch-normalised without affine parameters (eps 1e-4), the student's after a linear projector. The
sum is over samples and channels; a mean instead of the sum changes the value by a constant and not the gradient. a 4, w
2, u 1.

Reconstructed from the code, without the text of the paper. Their code for DeiT is different: it compares the
correlations of channels with 1, and adds 1e-5 inside the logarithm. That number is used here too, because without it
the logarithm has no gradient at equal embeddings. The bias of the projector is left out, because the normalisation
cancels it. Several teachers, of any rank, have a projector each and the shares `teacher_weights`. Where every time step
has a label, the embeddings are those of windows and the soft targets those of steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, Setup, option, paired_branch, soft_targets


@METHODS.register("projector")
class Projector(Method):
    """Linear projector, batch normalisation, log-sum. Miles and Mikolajczyk, AAAI 2024, arXiv:2303.11098.

    Use it when you want to match embeddings with one linear layer and little to tune; batch normalisation and a
    logarithm keep the scale. Both embeddings are compared per channel, so the teacher's width decides the projector's
    size.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(2.0, "weight w of the embeddings' term", ge=0, tune=Range(0.1, 10, log=True))
        alpha: float = option(
            4.0, "power a of the differences; a high power stresses the largest ones", ge=1, tune=Range(1, 6)
        )
        logit_weight: float = option(
            1.0, "weight u of the soft targets; 0 leaves them out", ge=0, tune=Range(0.1, 10, log=True)
        )
        temperature: float = option(1.0, "temperature T of the soft targets", gt=0, tune=Range(1, 5, log=True))
        pairs: Literal["fused", "same", "all"] = option(
            "same", "which of the student's embeddings is compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"logits", "embedding"})
    minimum_batch = 2

    def build(self, setup: Setup) -> None:
        self.projectors = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            own = paired_branch(setup.student, modality, self.config.pairs).embedding
            self.projectors.append(nn.Linear(own.shape[1], teacher.embedding.shape[1], bias=False))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for projector, (modality, teacher) in zip(self.projectors, teachers.items(), strict=True):
            projected = projector(paired_branch(student, modality, c.pairs).embedding)
            terms[f"projector_{modality}"] = (
                c.weight * shares[modality] * log_sum(projected, teacher.embedding, c.alpha)
            )
        if c.logit_weight > 0:
            soft = [w * soft_targets(student.logits, teachers[m].logits, c.temperature) for m, w in shares.items()]
            terms["kd"] = c.logit_weight * torch.stack(soft).sum()
        return terms


def log_sum(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Logarithm of the sum of |s - t|^alpha for two batch-normalised (B, D) embeddings, a scalar."""
    s, t = (F.batch_norm(x, None, None, training=True, eps=1e-4) for x in (student, teacher))
    return torch.log((s - t).abs().pow(alpha).sum() + 1e-5)
