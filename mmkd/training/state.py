"""The state of a training that is saved in a checkpoint after an epoch, so that a killed training can resume."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from mmkd.methods.contract import Method
from mmkd.training.checkpoint import Checkpoint

Weights = dict[str, Tensor]

SAVE_EVERY_S = 1.0
"""Seconds of training between two checkpoints: shorter epochs share one."""


class TrainingState:
    """Everything that changes while a network is trained.

    Attributes:
        history: one row of numbers an epoch.
        best: weights after the best epoch; empty while nothing was validated.
        best_rank: validation scores of the best epoch; a greater one is better.
        best_epoch: its number, from 0.
        step_work: of an operation of a step, see `step_threads`; 0 while it was not counted.
        seconds: time of all epochs so far.
        saved_at: what that was when a checkpoint was last written.
    """

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        teachers: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self.modules = {"network": network, "method": method} | {f"teacher {n}": net for n, net in teachers.items()}
        self.optimizer = optimizer
        self.device = device
        self.history: list[dict[str, float]] = []
        self.best: Weights = {}
        self.best_rank = (0.0, 0.0)
        self.best_epoch = 0
        self.step_work = 0.0
        self.seconds = 0.0
        self.saved_at = 0.0

    def save(self, checkpoint: Checkpoint | None, at_end: bool = False) -> None:
        """Write everything, the states of the random number generators included, unless that was done just now.

        Args:
            at_end: whether all epochs are done; their state is always written.
        """
        if checkpoint is None or not (at_end or self.seconds - self.saved_at >= SAVE_EVERY_S):
            return
        self.saved_at = self.seconds
        tensors = {f"best/{name}": value for name, value in self.best.items()}
        for part, module in self.modules.items():
            tensors |= {f"{part}/{name}": value for name, value in module.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        values = {
            "history": self.history,
            "best_rank": self.best_rank,
            "best_epoch": self.best_epoch,
            "step_work": self.step_work,
            "seconds": self.seconds,
        }
        checkpoint.save(tensors, values)

    def resume(self, checkpoint: Checkpoint | None) -> None:
        """Restore everything from the checkpoint, if there is one."""
        saved = None if checkpoint is None else checkpoint.load()
        if saved is None:
            return
        tensors, values = saved
        self.best = _below("best", tensors)
        for part, module in self.modules.items():
            module.load_state_dict(_below(part, tensors))
        states: dict[int, Weights] = {}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for name, value in _below("optimizer", tensors).items():
            number, _, entry = name.partition("/")
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:  # with its memory format, which fused optimizers rely on
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            states.setdefault(int(number), {})[entry] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        self.history = values["history"]
        self.best_rank = (values["best_rank"][0], values["best_rank"][1])
        self.best_epoch = values["best_epoch"]
        self.step_work = values.get("step_work", 0.0)
        self.seconds = self.saved_at = values["seconds"]


def _below(prefix: str, tensors: Weights) -> Weights:
    """The tensors whose names begin with `prefix`/, without it."""
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}


def snapshot(network: nn.Module) -> Weights:
    """A copy of the weights, on the CPU."""
    return {name: deepcopy(value.detach()).cpu() for name, value in network.state_dict().items()}
