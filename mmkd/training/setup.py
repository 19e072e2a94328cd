"""What happens to a method before its training: it is checked, built, and told which parameters of teachers train."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.augment import parse_augmentations
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

    subjects = subject_numbers(windows.subject, windows.train)
    labelled = None if windows.labelled is None else torch.from_numpy(windows.labelled).to(windows.device)

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
        labelled=labelled,
        unlabelled=0 if labelled is None else int((~labelled).sum()),
        subjects=None if subjects is None else subjects.to(windows.device),
        mixes=mixes(training),
    )


def subject_numbers(subject: NDArray[Any] | None, train: NDArray[np.int64]) -> Tensor | None:
    """A number for the subject of each training window, as in `Setup`; -1 of windows of another file.

    Args:
        subject: (N,) of the data set's own windows; None if there are none.
    """
    if subject is None:
        return None
    numbers = np.unique(subject, return_inverse=True)[1].astype(np.int64)
    own = train < len(numbers)
    return torch.from_numpy(np.where(own, numbers[np.where(own, train, 0)], -1))


def mixes(training: Training) -> bool:
    """Whether the augmentations of a training mix windows."""
    return any(augmentation.mixes for augmentation in parse_augmentations(training.augment))


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
