"""Controls without a teacher: labels that are soft by a fixed rule.

`label-smoothing` is the student alone with the option `label_smoothing`, of 0.1 here: cross-entropy with (1 - eps)
1_y + eps / K, which puts eps / K on the true class too, as torch has it (others put eps / (K - 1) on the other
classes alone, which is the same at eps (K - 1) / K). Szegedy et al., CVPR 2016, https://arxiv.org/abs/1512.00567

`virtual-teacher` is `kd` from a teacher that is as sure of each label: probability a of the label and (1 - a) / (K -
1) of each other class at T = 1, so that its logits are the logarithms of these. Yuan et al., CVPR 2020,
https://arxiv.org/abs/1909.11723. The authors' code divides the *probabilities* by T, which is uniform smoothing at
any T in use; here the logits are divided, of teacher and student. Of a mixture of two windows the terms of both
labels count by their shares.

Both read labels, and so train on labelled windows only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, GuidedConfig, Method, MethodConfig, Outputs, option, paired_branch


@METHODS.register("label-smoothing")
class LabelSmoothing(Method):
    """The student alone with smoothed labels. Szegedy et al., CVPR 2016, arXiv:1512.00567."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        label_smoothing: float = option(0.1, "share of the label that is spread over all classes", gt=0, lt=1)

    distils = False
    status = "control"
    tasks = frozenset({"classification", "segmentation", "anomaly"})

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        return self.supervised(student, batch)


@METHODS.register("virtual-teacher")
class VirtualTeacher(Method):
    """Soft targets of a fixed form, without a teacher. Yuan et al., CVPR 2020, arXiv:1909.11723."""

    @dataclass(frozen=True)
    class Config(GuidedConfig):
        temperature: float = option(4.0, "temperature T of target and student", gt=0)
        kd_weight: float = option(0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1)
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared: the fused ones, of each branch, or of the signal"
        )
        confidence: float = option(0.99, "probability a of the label at T = 1", gt=0, lt=1)

    distils = False
    status = "control"
    options_like = "kd"
    tasks = frozenset({"classification", "segmentation", "anomaly"})

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        names = list(student.branches) if c.pairs == "same" and student.branches else ["sig"]
        logits = [paired_branch(student, name, c.pairs).logits for name in names]
        soft = torch.stack([self._soft(own, batch) for own in logits]).mean()
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * soft}

    def _soft(self, student: Tensor, batch: Batch) -> Tensor:
        """T^2 KL to the targets of the labels, the mean over the labelled windows, of logits (B, K)."""
        own = self._divergences(student, batch.targets)
        if batch.mixed is not None:
            others, shares = batch.mixed
            own = shares * own + (1 - shares) * self._divergences(student, others)
        return batch.labelled_mean(own)

    def _divergences(self, student: Tensor, targets: Tensor) -> Tensor:
        """T^2 KL(target || student) of each window, (B,)."""
        a, t, k = self.config.confidence, self.config.temperature, student.shape[1]
        label = F.one_hot(targets.clamp(min=0), k).to(student.dtype)
        logits = label * math.log(a) + (1 - label) * math.log((1 - a) / (k - 1))
        target = F.log_softmax(logits / t, 1)
        own = F.log_softmax(student / t, 1)
        divergences: Tensor = t**2 * F.kl_div(own, target, reduction="none", log_target=True).sum(1)
        return divergences
