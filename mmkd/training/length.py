"""How long the student of a unit is trained, where its method says that it is not as long as its settings say."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from mmkd.core.options import shown
from mmkd.data import Dataset
from mmkd.methods.costs import Costs
from mmkd.nets.cost import count_macs
from mmkd.specs.teacher_nets import kind_of_net
from mmkd.specs.unit import Training, UnitSpec
from mmkd.training.teachers import make_network
from mmkd.training.trial import make_method, make_student
from mmkd.units.splits import split_for
from mmkd.views.channels import make_modality

MOST = 20
"""How many times as long as its settings say a student is trained at most."""


@dataclass(frozen=True)
class Length:
    """The length of a training.

    Attributes:
        training: with the epochs and steps that are really taken.
        factor: how many times as long it is as the settings of the unit say.
        asked: the factor that the method asked for, before it was rounded up and cut to `MOST`.
    """

    training: Training
    factor: float
    asked: float

    @property
    def is_cut(self) -> bool:
        """Whether it is shorter than the method asked for."""
        return self.asked > MOST

    @property
    def text(self) -> str:
        """The length in words."""
        length = f"{self.training.steps} steps" if self.training.steps else f"{self.training.epochs} epochs"
        cut = f", and not {self.asked:.1f} times, which is cut" if self.is_cut else ""
        return f"{length}, {self.factor:.2f} times as long as the settings say{cut}"

    def as_json(self) -> dict[str, Any]:
        """As a record has it."""
        numbers = {"epochs": self.training.epochs, "steps": self.training.steps}
        return {**numbers, "factor": self.factor, "asked": self.asked, "cut": self.is_cut}


def length_of(spec: UnitSpec, data: Dataset) -> Length | None:
    """The length of the training of a unit's student; None if its method leaves it as the settings say."""
    method = make_method(spec)
    if not method.stretches:
        return None
    return stretch(spec.training, method.length(costs_of(spec, data)))


def stretch(training: Training, factor: float) -> Length:
    """A training `factor` times as long: so many epochs or steps, rounded up, at most `MOST` times as many.

    >>> stretch(Training(epochs=10), 1.21).training.epochs, stretch(Training(epochs=10), 50).training.epochs
    (13, 200)
    """
    least = min(factor, MOST)
    if not training.steps:
        epochs = _round_up(training.epochs * least)
        return Length(replace(training, epochs=epochs), epochs / training.epochs, factor)
    steps = _round_up(training.steps * least)
    parts = min(steps, max(1, round(training.epochs * steps / training.steps)))  # of about the same size
    return Length(replace(training, epochs=parts, steps=steps), steps / training.steps, factor)


def _round_up(number: float) -> int:
    """The next whole number; one that is larger by an error of rounding counts as whole."""
    return math.ceil(number - 1e-9 * number)


def costs_of(spec: UnitSpec, data: Dataset) -> Costs:
    """The costs of a unit's student, and of its teachers as if they taught it by their logits."""
    shape = (data.x.shape[1], data.x.shape[2])
    classes = len(data.classes)
    split = split_for(data, spec.data, spec.seed)
    training = spec.training
    copies = training.augment_copies if training.augment else 1
    trained = dict.fromkeys(spec.teachers, 0)
    for inner in (spec, *spec.without_folds):
        for name in spec.network_teachers:
            teacher = inner.teacher(name)
            windows = len(split_for(data, teacher.data, spec.seed).train)
            trained[name] += teacher.training.windows_read(windows)
    return Costs(
        student=_student_macs(spec, shape, classes),
        teachers={name: _teacher_macs(spec, name, shape, classes) for name in spec.teachers},
        windows=training.windows_read(len(split.train)),
        stored=copies * len(split.pool) if copies else None,
        trained=trained,
    )


def _student_macs(spec: UnitSpec, shape: tuple[int, int], classes: int) -> int:
    """Multiply-accumulates of the unit's student for a window (C, W)."""
    views = {name: spec.views[name] for name in spec.student}
    text = shown([spec.task, spec.student_net, spec.fusion, views, spec.sources, shape, classes])
    if text not in _STUDENTS:
        shapes = {name: make_modality(name, config).shape(*shape) for name, config in views.items()}
        network = make_student(spec, shapes, classes, shape[1])
        _STUDENTS[text] = count_macs(network, {name: torch.zeros(1, *own) for name, own in shapes.items()})
    return _STUDENTS[text]


_STUDENTS: dict[str, int] = {}
"""Counts that were made, by what they depend on: units that differ in their seed have the same."""


def _teacher_macs(spec: UnitSpec, name: str, shape: tuple[int, int], classes: int) -> int:
    """Those of its teacher on `name`; 0 of a peer."""
    net = spec.teachers[name]
    if kind_of_net(net) == "peer":
        return 0
    own = make_modality(name, spec.views[name]).shape(*shape)
    return _network_macs(spec.task, net, name, own, classes, shape[1])


@lru_cache(maxsize=256)
def _network_macs(task: str, net: str, name: str, shape: tuple[int, ...], classes: int, window: int) -> int:
    with torch.random.fork_rng(devices=[]):
        network = make_network(task, net, name, shape, classes, window=window)
    return count_macs(network, {name: torch.zeros(1, *shape)})
