"""The state of a training that is saved in a checkpoint after an epoch, so that a killed training can resume."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.methods.contract import Method
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.optimization import entries_of

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

    def resume(self, checkpoint: Checkpoint | None, deployed: nn.Module, epochs: int) -> None:
        """Restore everything from the checkpoint, if there is one.

        One that lacks something, or holds what cannot be right, gives a `DamageWarning`, and everything stays as it is:
        the training starts anew.

        Args:
            deployed: the network whose weights `best` has.
            epochs: of the whole training.
        """
        saved = None if checkpoint is None else checkpoint.load()
        if checkpoint is None or saved is None:
            return
        before = {part: deepcopy(module.state_dict()) for part, module in self.modules.items()}
        untouched = deepcopy(self.optimizer.state_dict())
        random = torch.get_rng_state()
        try:
            self._restore(*saved, deployed, epochs)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            for part, module in self.modules.items():
                module.load_state_dict(before[part])
            self.optimizer.load_state_dict(untouched)
            torch.set_rng_state(random)
            checkpoint.say_unusable(f"it lacks {error}" if isinstance(error, KeyError) else str(error))

    def _restore(self, tensors: Weights, values: Mapping[str, Any], deployed: nn.Module, epochs: int) -> None:
        """Take everything from these tensors and values; what is left of this object if that fails is of no use.

        Raises:
            KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError: they are not what `save` wrote.
        """
        history, rank, best_epoch = values["history"], values["best_rank"], values["best_epoch"]
        numbers = [*rank, best_epoch, values["seconds"], values.get("step_work", 0.0)]
        numbers += [number for row in history for number in row.values()]
        if not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("it has texts for numbers")
        if not 0 <= best_epoch < len(history) <= epochs or len(rank) != 2:
            raise ValueError(f"it has {len(history)} epochs of {epochs}, the best is {best_epoch}, ranked by {rank}")
        best = _below("best", tensors)
        if best and _shapes(best) != _shapes(deployed.state_dict()):
            raise ValueError("the weights of its best epoch are those of another network")
        for part, module in self.modules.items():
            module.load_state_dict(_below(part, tensors))
        states: dict[int, Weights] = {}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for name, value in _below("optimizer", tensors).items():
            number, _, entry = name.partition("/")
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:  # with its memory format, which fused optimizers rely on
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            elif value.ndim:
                raise ValueError(f"{entry} of its optimizer is of another parameter")
            states.setdefault(int(number), {})[entry] = value
        for state in states.values():
            for entry in entries_of(self.optimizer):
                state[entry]
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        self.best = best
        self.history = history
        self.best_rank = (rank[0], rank[1])
        self.best_epoch = best_epoch
        self.step_work = values.get("step_work", 0.0)
        self.seconds = self.saved_at = values["seconds"]


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def _below(prefix: str, tensors: Weights) -> Weights:
    """The tensors whose names begin with `prefix`/, without it."""
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}


def snapshot(network: nn.Module) -> Weights:
    """A copy of the weights, on the CPU."""
    return {name: deepcopy(value.detach()).cpu() for name, value in network.state_dict().items()}
