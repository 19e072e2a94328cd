"""Evidential Knowledge Distillation. Xiang, Gao, Xu, ICCV 2025, https://openaccess.thecvf.com/content/ICCV2025/html/Xiang_Evidential_Knowledge_Distillation_ICCV_2025_paper.html

The text of the paper was not available; this follows the authors' released code. The loss has three terms, each a mean
over the batch, of Dirichlet parameters with the prior e^l for every class, which teacher and student share:
- the expected cross-entropy under the student's Dirichlet with alpha = e^z + e^l: digamma(sum alpha) -
  digamma(alpha_y);
- w1 KL(teacher || student) between the expectations alpha / sum alpha of the same Dirichlets;
- w2 ramp KL(Dirichlet of the teacher || that of the student), with alpha = log(1 + softplus(z)) + e^l.

The released code has two forms of the last alpha. The trainer with the settings of all experiments (evidence
"softplus"), and the code for CTKD, SimKD, MLKD, WKD and for transformers, have log(1 + softplus(z)) + e^l, which is
followed here. The later, tidied `EKD.py` has log(1 + e^z) + e^l = softplus(z) + e^l under the same weights: there the
term is several times larger.

The defaults are those for WRN40-2 to WRN16-2: w1 2.5, w2 2.5, l -1.16. (The code also reads a weight of the
cross-entropy, which it does not use.) The ramp over 30 of 240 epochs is a share of the epochs here. The branches' own
heads keep the usual cross-entropy. In the first term, logits are clipped at 60 so that e^z does not overflow. Several
teachers have the shares `teacher_weights`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, WARMUP_RANGE, Batch, DistillConfig, Method, Outputs, Range, option, paired_branch


@METHODS.register("evidential")
class EvidentialKD(Method):
    """Dirichlet distributions of student and teacher. Xiang et al., ICCV 2025 (not the notes' `ebkd`).

    Use it when you care how sure the student is: teacher and student predict Dirichlet distributions, and their
    evidence is compared. It follows released code, not the text of the paper.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        mean_weight: float = option(
            2.5, "weight w1 of the divergence of expectations", ge=0, tune=Range(0.25, 25, log=True)
        )
        dirichlet_weight: float = option(
            2.5, "weight w2 of the divergence of Dirichlet distributions", ge=0, tune=Range(0.25, 25, log=True)
        )
        log_prior: float = option(-1.16, "l, log of the prior of every class", ge=-10, le=10, tune=Range(-3, 0))
        warmup: float = option(
            1 / 8, "share of the epochs over which the Dirichlet term ramps up", ge=0, le=1, tune=WARMUP_RANGE
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    supervised_by_labels = False
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        prior = math.exp(c.log_prior)
        log_prior = student.logits.new_tensor(c.log_prior)
        alpha = student.logits.clamp(max=60).exp() + prior
        own = alpha.gather(1, batch.targets.clamp_min(0)[:, None])[:, 0]
        terms["ce"] = batch.labelled_mean(alpha.sum(1).digamma() - own.digamma())
        mean = dirichlet = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            branch = paired_branch(student, modality, c.pairs)
            logits = (branch.logits, teachers[modality].logits)
            s, t = (torch.logaddexp(z, log_prior).log_softmax(1) for z in logits)
            mean = mean + share * F.kl_div(s, t, reduction="batchmean", log_target=True)
            s, t = (F.softplus(z).log1p() + prior for z in logits)
            dirichlet = dirichlet + share * dirichlet_kl(t, s)
        ramp = batch.ramp(c.warmup)
        return {**terms, "mean": c.mean_weight * mean, "dirichlet": ramp * c.dirichlet_weight * dirichlet}


def dirichlet_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(Dir(teacher) || Dir(student)) of parameters (B, K) > 0, mean over the batch."""
    t = teacher.sum(1, keepdim=True)
    s = student.sum(1, keepdim=True)
    totals = (t.lgamma() - s.lgamma())[:, 0]
    per_class = student.lgamma() - teacher.lgamma() + (teacher - student) * (teacher.digamma() - t.digamma())
    return (totals + per_class.sum(1)).mean()
