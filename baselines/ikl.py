"""Decoupled and Generalized Kullback-Leibler Divergence Loss. Cui et al., NeurIPS 2024, https://arxiv.org/abs/2305.13948

`ikl` is the loss of that paper, `gkl` that of its successor (Cui et al. 2025, https://arxiv.org/abs/2503.08038). Both
add to cross-entropy, after a warm-up of 20 of 240 epochs,

- alpha times the cross-entropy of the student with the teacher's probabilities at T, without a factor T^2, and
- beta times a squared error of raw logits: with d = t - s and weights w of the classes, 1/4 sum_jk w_j w_k (d_j -
  d_k)^2 = 1/2 W^2 Var_w(d), W = sum_k w_k. `ikl` averages it over the batch. `gkl` raises the weights to the power
  gamma before, and divides the sum over the batch by the sum of W^2.

w are the teacher's probabilities at the temperature T2: those of the window (`prior=sample`), or their mean over all
training windows of its class (`prior=class`). Teachers are trained before, so that this mean is computed once, of
augmented windows on those of the first epoch (the authors' mean is of the epoch before, and begins with 1/K). A class
without labelled training windows has 1/K.

With T2 = 100 (`ikl`) or gamma near 0 the weights are nearly equal, and the second term is half the mean squared error
of centred logits: it copies the scale of the teacher's logits. Defaults are the authors' for CIFAR-100. Where every
time step has a label, the sums of `gkl` run over the steps of a batch. Several teachers have the shares
`teacher_weights`.
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
    Setup,
    check_temperature,
    option,
    paired_branch,
)

CHUNK = 512
"""Windows whose teachers' logits are read at a time."""


@METHODS.register("ikl")
class ImprovedKL(Method):
    """Soft targets, and logits compared with the teacher's weights. Cui et al., NeurIPS 2024, arXiv:2305.13948.

    Use it when soft targets alone leave the student's logits too free: a squared error of logits, weighed by the
    teacher's probabilities, is added. It has a warm-up and two weights, which are worth tuning together.
    """

    @dataclass(frozen=True)
    class Config(LogitConfig):
        alpha: float = option(
            1.0, "weight of the cross-entropy with the teacher's probabilities", ge=0, tune=Range(0.5, 50, log=True)
        )
        beta: float = option(8.0, "weight of the squared error of logits", ge=0, tune=Range(0.5, 16, log=True))
        temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
        weight_temperature: float = option(
            100.0, "temperature T2 of the weights of classes", gt=0, tune=Range(1, 100, log=True)
        )
        prior: Literal["sample", "class"] = option("sample", "weights of each window, or means of its class")
        warmup: float = option(
            1 / 12, "share of the epochs over which both terms ramp up", ge=0, le=1, tune=WARMUP_RANGE
        )
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's logits are compared with a teacher's"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            check_temperature(f"weight-temperature = {self.weight_temperature:g}", self.weight_temperature)

    tasks = frozenset({"classification", "segmentation"})
    unlabelled = "teacher"

    def build(self, setup: Setup) -> None:
        if self.config.prior == "class":
            priors = class_probabilities(setup, self.config.weight_temperature)
            for number, modality in enumerate(setup.teachers):
                self.register_buffer(f"prior{number}", priors[modality])

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        soft = squared = student.logits.new_zeros(())
        shares = self.weights(teachers)
        for number, (modality, teacher) in enumerate(teachers.items()):
            logits = paired_branch(student, modality, c.pairs).logits
            taught = self.taught(logits, teacher.logits, batch, c.temperature)
            s, t = taught.student, taught.teacher
            if c.prior == "class":
                weights = self.get_buffer(f"prior{number}")[taught.targets]
            else:
                weights = (t / c.weight_temperature).softmax(1)
            share = shares[modality] * taught.share
            soft = soft + share * F.cross_entropy(s / c.temperature, (t / c.temperature).softmax(1))
            squared = squared + share * self.reduced(t - s, weights)
        ramp = batch.ramp(c.warmup)
        return {**terms, "soft_ce": ramp * c.alpha * soft, "weighted_mse": ramp * c.beta * squared}

    def reduced(self, difference: Tensor, weights: Tensor) -> Tensor:
        """The squared error of differences of logits (B, K) under weights (B, K), one number for the batch."""
        return weighted_error(difference, weights).mean()


@METHODS.register("gkl")
class GeneralizedKL(ImprovedKL):
    """`ikl` with weights of classes over all training windows. Cui et al. 2025, arXiv:2503.08038.

    Use it when you want the error of logits of `ikl` weighed by what the teacher says of whole classes, over all
    training windows. It is the successor of `ikl`, and the statistic is computed once before training.
    """

    @dataclass(frozen=True)
    class Config(ImprovedKL.Config):
        beta: float = option(16.0, "weight of the squared error of logits", ge=0, tune=Range(0.5, 32, log=True))
        weight_temperature: float = option(
            4.0, "temperature T2 of the weights of classes", gt=0, tune=Range(1, 100, log=True)
        )
        gamma: float = option(0.05, "power of the weights of classes", ge=0, tune=Range(0.01, 1, log=True))
        prior: Literal["sample", "class"] = option("class", "weights of each window, or means of its class")

    def reduced(self, difference: Tensor, weights: Tensor) -> Tensor:
        powers = weights**self.config.gamma
        reduced: Tensor = weighted_error(difference, powers).sum() / powers.sum(1).square().sum()
        return reduced


def weighted_error(difference: Tensor, weights: Tensor) -> Tensor:
    """1/4 sum_jk w_j w_k (d_j - d_k)^2 of each window, from (B, K) and (B, K) to (B,)."""
    total = weights.sum(1, keepdim=True)
    mean = (weights * difference).sum(1, keepdim=True) / total
    return (weights * (difference - mean).square()).sum(1) * total[:, 0] / 2


def class_probabilities(setup: Setup, temperature: float) -> dict[str, Tensor]:
    """The mean probabilities of each teacher over the training windows of a class.

    Args:
        setup: its `read` reads the logits, and its `targets` are the classes, -1 where there is none. Without them all
            probabilities are 1/K.
        temperature: of the probabilities.

    Returns:
        modality -> (K, K), row y for the windows of class y.
    """
    k = setup.classes
    device = setup.student.logits.device
    sums = {modality: torch.zeros(k, k, device=device) for modality in setup.teachers}
    counts = torch.zeros(k, 1, device=device)
    if setup.read is not None and setup.targets is not None:
        for index in torch.split(torch.arange(len(setup.targets), device=device), CHUNK):
            targets = setup.targets[index]
            known = targets >= 0
            counts.index_add_(0, targets[known], torch.ones(int(known.sum()), 1, device=device))
            for modality, outputs in setup.read(index).items():
                logits = outputs.logits.movedim(1, -1)[known]  # of windows (n, K), of steps (n, T, K)
                sums[modality].index_add_(0, targets[known], (logits.float() / temperature).softmax(1))
    uniform = torch.full((k, k), 1 / k, device=device)
    return {m: torch.where(counts > 0, total / counts.clamp(min=1), uniform) for m, total in sums.items()}
