"""What happens to a method before its training: it is checked, built, and told which parameters of teachers train."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError
from mmkd.core.keys import seed_for
from mmkd.core.registry import METHODS
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Outputs, Setup
from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.teacher_outputs import TeacherSource


def make_setup(network: nn.Module, windows: TrainingData, teachers: TeacherSource, training: Training) -> Setup:
    """The `Setup` that `Method.check` and `Method.build` read, from outputs for the first few training windows."""
    positions = np.arange(min(4, len(windows.train)))
    views = windows.load_views(windows.train[positions])
    network.eval()
    with torch.no_grad():
        student = network(views)
        teacher_outputs = teachers.outputs(positions, views)
    targets = torch.from_numpy(windows.y[windows.train]).to(windows.device)
    if targets.ndim > 1:
        all_steps = torch.ones_like(targets[: len(positions)], dtype=torch.bool)
        student = student.steps(all_steps)
        teacher_outputs = {name: outputs.steps(all_steps) for name, outputs in teacher_outputs.items()}

    def read(index: Tensor) -> Mapping[str, Outputs]:
        rows = windows.rows(index.cpu().numpy(), 0)
        with torch.no_grad():
            found = teachers.outputs(rows, windows.load_rows(rows))
        return {name: outputs.detach() for name, outputs in found.items()}

    return Setup(
        student=student,
        teachers=teacher_outputs,
        classes=windows.classes,
        train_size=len(windows.train),
        epochs=training.epochs,
        targets=targets,
        validated=len(windows.validation) > 0,
        window_s=windows.window_s,
        task=windows.task,
        read=read,
    )


def build_method(method: Method, setup: Setup, seed: int) -> None:
    """Check the method against the set-up, and build its modules under a seed of their own.

    Raises:
        MmkdError: the method cannot work with this set-up, or an option has no parameters to act on.
    """
    method.check(setup)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "method"))
        method.build(setup)
    if getattr(method.config, "method_lr_factor", 1.0) != 1 and not any(p.requires_grad for p in method.parameters()):
        name = METHODS.name_of(type(method)) or type(method).__name__
        raise MmkdError(f"{name} has no parameters of its own that train along; leave --method-lr-factor out")


def select_teacher_parameters(method: Method, teachers: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """The parameters of these teachers that the method trains; the other ones then require no gradient."""
    parameters = list(method.teacher_parameters(teachers))
    for network in teachers.values():
        network.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters
