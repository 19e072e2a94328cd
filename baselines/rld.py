"""Knowledge Distillation with Refined Logits (RLD). Sun et al., ICCV 2025, https://arxiv.org/abs/2408.07703

Loss, as in the authors' code: CE + ramp (alpha SCD + beta MCD), mean over the batch.

SCD, at the temperature Ta: the student's probability of the label learns the teacher's largest probability, of whatever
class it is: Ta^2 KL of the binary distributions (b, 1 - b). MCD, at T: only the classes stay whose logit is below that
of the label in the teacher; T^2 KL between the softmax of the teacher and of the student over these classes. A window
of which one or no class stays adds 0 to the mean.

Where the teacher is right, and Ta = T, this is `dkd`. With two classes MCD is always 0. alpha 1, beta 8, T 4, Ta 4 (the
command in the authors' README; their configuration file has Ta 1), and a warm-up of 20 of 240 epochs. Their variant
with standardised logits has T = Ta = 2, alpha 9 and beta 72. Several teachers have the shares `teacher_weights`; each
has a mask of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd import (
    METHODS,
    TEMPERATURE_RANGE,
    WARMUP_RANGE,
    Batch,
    LogitConfig,
    Method,
    Outputs,
    Range,
    check_temperature,
    option,
    paired_branch,
)


@METHODS.register("rld")
class RefinedLogits(Method):
    """Soft targets that respect the label where a teacher is wrong. Sun et al., ICCV 2025, arXiv:2408.07703.

    Use it when teachers are sometimes wrong and you want soft targets that never contradict the label. Where the
    teacher is right it is `dkd`, and with two classes one of its two terms is always 0.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        alpha: float = option(1.0, "weight of the confidence term SCD", ge=0, tune=Range(0.25, 8, log=True))
        beta: float = option(8.0, "weight of the masked term MCD", ge=0, tune=Range(0.5, 16, log=True))
        temperature: float = option(4.0, "temperature T of the masked term", gt=0, tune=TEMPERATURE_RANGE)
        confidence_temperature: float = option(
            4.0, "temperature Ta of the confidence term", gt=0, tune=TEMPERATURE_RANGE
        )
        standardise: bool = option(False, "whether logits are standardised for each sample before")
        warmup: float = option(
            1 / 12, "share of the epochs over which both terms ramp up", ge=0, le=1, tune=WARMUP_RANGE
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            check_temperature(f"confidence-temperature = {self.confidence_temperature:g}", self.confidence_temperature)

    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "teacher"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        confidence = masked = student.logits.new_zeros(())
        for modality, share in self.weights(teachers).items():
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teachers[modality].logits, batch, c.temperature)
            s, t = (standardised(z) if c.standardise else z for z in (taught.student, taught.teacher))
            share = share * taught.share
            confidence = confidence + share * confidence_term(s, t, taught.targets, c.confidence_temperature)
            masked = masked + share * masked_term(s, t, taught.targets, c.temperature)
        ramp = batch.ramp(c.warmup)
        return {**terms, "rld_confidence": ramp * c.alpha * confidence, "rld_masked": ramp * c.beta * masked}


def confidence_term(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """SCD of logits (B, K), with the factor T^2, mean over the batch."""
    s = one_against_others(student / temperature, targets)
    t = one_against_others(teacher / temperature, teacher.argmax(1))
    return temperature**2 * F.kl_div(s, t, reduction="batchmean", log_target=True)


def masked_term(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """MCD of logits (B, K), with the factor T^2, mean over the batch."""
    removed = teacher >= teacher.gather(1, targets[:, None])
    # A large finite number: where no class is left, both rows are uniform and their divergence is 0, not NaN.
    s, t = ((z / temperature).masked_fill(removed, -1e9).log_softmax(1) for z in (student, teacher))
    return temperature**2 * F.kl_div(s, t, reduction="batchmean", log_target=True)


def one_against_others(logits: Tensor, classes: Tensor) -> Tensor:
    """Log-probabilities of one class a sample and of all others together: (B, K) to (B, 2)."""
    rows = classes[:, None]
    others = logits.scatter(1, rows, float("-inf")).logsumexp(1)
    return torch.stack([logits.gather(1, rows)[:, 0], others], 1).log_softmax(1)


def standardised(logits: Tensor) -> Tensor:
    """Standardise logits (B, K) for each sample, with the unbiased standard deviation."""
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)
