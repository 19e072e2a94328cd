"""The optimizer of a training and its learning rate."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from mmkd.core.errors import unknown_name
from mmkd.specs.unit import Training

Group = dict[str, Any]
"""Parameters that share a learning rate: "params", and "factor" on the learning rate of the training."""


def _adamw(parameters: list[Group], training: Training) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=training.lr, weight_decay=training.weight_decay, fused=True)


def _adam(parameters: list[Group], training: Training) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=training.lr, weight_decay=training.weight_decay, fused=True)


def _sgd(parameters: list[Group], training: Training) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=training.lr, momentum=0.9, weight_decay=training.weight_decay)


MAKERS: Mapping[str, Callable[[list[Group], Training], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}
"""Name -> what makes the optimizer of some parameters; the names are those of `specs.unit.OPTIMIZERS`."""


def entries_of(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """The entries of the state of each parameter that an optimizer of `MAKERS` has stepped."""
    return ("momentum_buffer",) if isinstance(optimizer, torch.optim.SGD) else ("step", "exp_avg", "exp_avg_sq")


def make_optimizer(
    network: Iterable[nn.Parameter],
    training: Training,
    *,
    method: Iterable[nn.Parameter] = (),
    method_factor: float = 1.0,
    teachers: Iterable[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """The optimizer that a training names.

    Args:
        network: parameters of the network that is trained.
        training: its options.
        method: the method's own parameters.
        method_factor: factor on the learning rate of `method`, see the option `method_lr_factor`.
        teachers: parameters of teachers that the method trains.

    Raises:
        MmkdError: there is no optimizer of that name.
    """
    if training.optimizer not in MAKERS:
        raise unknown_name("optimizer", training.optimizer, MAKERS)
    parts = ((network, 1.0), (method, method_factor), (teachers, 1.0))
    groups: list[Group] = [{"params": list(parameters), "factor": factor} for parameters, factor in parts]
    optimizer = MAKERS[training.optimizer]([group for group in groups if group["params"]], training)
    set_learning_rate(optimizer, training.lr)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of each group of parameters to `lr` times the factor of the group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def learning_rate(training: Training, progress: float) -> float:
    """The learning rate at `progress` in [0, 1) of the training.

    "cosine": linear warm-up over the first twentieth, then half a cosine to 0. "steps": the published 0.05, 0.01,
    0.001, 0.0001 as fractions of `lr`; it changes after 1/18, 1/3 and 2/3 of the epochs.
    """
    if training.schedule == "steps":
        steps = ((1 / 18, 1.0), (1 / 3, 0.2), (2 / 3, 0.02), (1.1, 0.002))
        return training.lr * next(factor for end, factor in steps if progress < end)
    warm_up = 0.05
    if progress < warm_up:
        return training.lr * (progress + 0.005) / (warm_up + 0.005)
    return training.lr * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
