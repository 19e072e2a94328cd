"""What a method teaches in place of the outputs of its teachers: the hook `Method.retarget`, for the training loop."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.core.keys import seed_for
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Outputs
from mmkd.methods.retargeting import Teaching
from mmkd.training.data import TrainingData
from mmkd.training.replaced import Replaced
from mmkd.training.teacher_outputs import LiveTeachers, OwnViews, TeacherSource, make_teacher_source
from mmkd.training.teachers import Teacher, make_network
from mmkd.training.workspace import Workspace

STATISTICS_BATCHES = 30
"""Batches of training windows from which untrained networks have the statistics of their batch normalisation."""
UNTRAINED = f"untrained, {STATISTICS_BATCHES} batches"
"""The epoch of their weights, in the keys of their stored outputs."""


def replace_outputs(
    method: Method,
    source: TeacherSource,
    teachers: Mapping[str, Teacher],
    windows: TrainingData,
    labels: NDArray[np.int64],
    *,
    seed: int,
    part: str,
    workspace: Workspace,
) -> Replaced:
    """The source of what a method with the hook `retarget` teaches.

    Args:
        source: of the outputs of all teachers, which reads the views that it needs itself.
        windows: with the views of the teachers.
        labels: (N,) of all windows, as the method trains on them.
        seed: of the unit.
        part: as for `make_teacher_source`.
    """

    def untrained() -> Teaching:
        others = {name: untrained_teacher(teacher, windows, seed) for name, teacher in teachers.items()}
        found = make_teacher_source(
            others, method.needs, windows, cache=workspace.cache, progress=workspace.progress, part=part
        )
        return teaching(with_own_views(found, windows))

    def teaching(source: TeacherSource) -> Teaching:
        return make_teaching(source, tuple(teachers), windows, labels, seed, untrained)

    return Replaced(method.retarget(teaching(source)), len(windows.train))


def make_teaching(
    source: TeacherSource,
    teachers: tuple[str, ...],
    windows: TrainingData,
    labels: NDArray[np.int64],
    seed: int,
    untrained: Callable[[], Teaching],
) -> Teaching:
    """What the hook of a method receives.

    Args:
        source: of the outputs of all teachers.
        teachers: their modalities.
        windows: with the views of the teachers that run live.
        labels: (N,) of all windows, as the method trains on them.
        seed: of the unit.
        untrained: as in `Teaching`.
    """
    count = len(windows.train)
    anew = windows.augmented is not None and not windows.augmented.is_stored

    def read(index: Tensor, copies: Tensor, number: int) -> Mapping[str, Outputs]:
        rows = (index + count * copies).numpy()
        return {name: outputs.detach() for name, outputs in source.outputs(rows, {}).items()}

    def logits() -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        rows = count if anew else windows.stored_rows
        for part in torch.split(torch.arange(rows), windows.prediction_batch):
            found = read(part % count, part // count, 0)
            yield part % count, {name: outputs.logits for name, outputs in found.items()}

    return Teaching(
        teachers=teachers,
        targets=torch.from_numpy(labels[windows.train]),
        labelled=None if windows.labelled is None else torch.from_numpy(windows.labelled),
        classes=windows.classes,
        device=windows.device,
        read=read,
        logits=logits,
        generator=lambda role: torch.Generator().manual_seed(seed_for(seed, role)),
        untrained=untrained,
    )


def with_own_views(source: TeacherSource, windows: TrainingData) -> TeacherSource:
    """The source, which reads the views of the rows that it is asked for itself.

    Args:
        windows: with the views of the teachers.
    """
    return OwnViews(source, windows.select_views(source.teachers)) if isinstance(source, LiveTeachers) else source


def untrained_teacher(teacher: Teacher, windows: TrainingData, seed: int) -> Teacher:
    """A teacher of the same architecture that nobody trained.

    Its weights have a seed of their own. Its batch normalisation has the mean statistics of 30 batches of training
    windows, of the size that the teacher was trained with.

    Args:
        windows: with the view of the teacher, augmented as they are read.
        seed: of the unit.
    """
    spec = teacher.spec
    role = f"random teacher/{spec.modality}"
    own = windows.select_views([spec.modality])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, role))
        shape = own.views[spec.modality].shape[1:]
        network = make_network(spec.task, spec.net, spec.modality, shape, windows.classes, window=windows.window)
        network.to(windows.device).eval()
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        usual = [module.momentum for module in norms]
        for module in norms:
            module.momentum = None  # the mean over all batches
            module.train()
        with torch.no_grad():
            for rows in _batches(own, spec.training.batch_size, seed_for(seed, role)) if norms else ():
                network(own.load_rows(rows))
        for module, momentum in zip(norms, usual, strict=True):
            module.momentum = momentum
    return replace(teacher, network=network.eval().requires_grad_(False), checkpoint=UNTRAINED)


def _batches(windows: TrainingData, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of 30 batches of training windows, pass after pass."""
    count = len(windows.train)
    size = min(size, count)
    draws = np.random.default_rng(seed)
    done = number = 0
    while done < STATISTICS_BATCHES:
        order = draws.permutation(count)
        for start in range(0, count - size + 1, size):
            if done < STATISTICS_BATCHES:
                yield windows.rows(order[start : start + size], number)
            done += 1
        number += 1
