"""The trainings of a suite as one would write them by hand: plain PyTorch loops, with all that they read in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.keys import seed_for
from mmkd.core.registry import METHODS
from mmkd.data import Dataset
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Batch
from mmkd.specs.unit import OF_CROSS_ENTROPY, TeacherSpec, Training, UnitSpec
from mmkd.training.data import TrainingData
from mmkd.training.loop import batches
from mmkd.training.optimization import learning_rate, make_optimizer
from mmkd.training.preparation import prepare_unit
from mmkd.training.setup import build_method, make_setup
from mmkd.training.teacher_outputs import CachedTeachers, NoTeachers, StoredOutputs
from mmkd.training.teachers import initial_network
from mmkd.training.unit_windows import teacher_windows
from mmkd.training.workspace import Workspace

CPU = torch.device("cpu")
Views = Mapping[str, Tensor]


@dataclass
class Loop:
    """One training, ready to begin.

    Attributes:
        key: of the record of the same training.
        network: untrained.
        method: built.
        views, labels: of the training windows.
        test_views, test_labels: of the test windows.
        taught: modality -> outputs of that teacher for the training windows.
        probabilities, nll: after the training: of the classes of the test windows, and their mean loss.
    """

    key: str
    network: nn.Module
    method: Method
    training: Training
    seed: int
    views: Views
    labels: Tensor
    test_views: Views
    test_labels: Tensor
    taught: Mapping[str, StoredOutputs]
    probabilities: Tensor = field(init=False)
    nll: float = field(init=False)

    def run(self) -> None:
        """Train the network, and predict the test windows."""
        network, method, training = self.network, self.method, self.training
        own = [parameter for parameter in method.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(network.parameters(), training, method=own)
        torch.manual_seed(seed_for(self.seed, "dropout"))
        network.train()
        method.train()
        for epoch in range(training.epochs):
            parts = batches(len(self.labels), training.batch_size, self.seed, epoch)
            for step, positions in enumerate(parts):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(training, (epoch + step / len(parts)) / training.epochs)
                optimizer.zero_grad(set_to_none=True)
                index = torch.from_numpy(positions)
                student = network(_rows(self.views, index))
                taught = {name: outputs.load(positions, CPU) for name, outputs in self.taught.items()}
                terms = method.terms(student, taught, Batch(self.labels[index], index, epoch, training.epochs))
                torch.stack(list(terms.values())).sum().backward()
                optimizer.step()
        network.eval()
        with torch.no_grad():
            every = torch.arange(len(self.test_labels)).split(256)
            logits = torch.cat([network(_rows(self.test_views, index)).logits for index in every])
        self.probabilities = torch.softmax(logits.double(), dim=1).float()
        self.nll = float(F.nll_loss(self.probabilities.double().log(), self.test_labels))


def _rows(views: Views, index: Tensor) -> dict[str, Tensor]:
    """Some windows of each view; images with their channels last, which is faster."""
    rows = {name: view[index] for name, view in views.items()}
    return {n: x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for n, x in rows.items()}


def _loop(
    spec: UnitSpec | TeacherSpec,
    network: nn.Module,
    method: Method,
    windows: TrainingData,
    source: CachedTeachers | NoTeachers,
    test: np.ndarray,
    seed: int,
) -> Loop:
    assert not len(windows.validation), "a plain loop does not validate"
    assert not any((method.steps_itself, spec.training.steps, spec.training.augment)), "not a plain training"
    build_method(method, make_setup(network, windows, source, spec.training), seed)
    method.weigh_classes(windows.known_labels, windows.classes)
    stored = source.stored if isinstance(source, CachedTeachers) else {}

    def of(positions: np.ndarray) -> Views:
        return {name: torch.from_numpy(view[positions]) for name, view in windows.views.items()}

    return Loop(
        key=spec.key,
        network=network,
        method=method,
        training=spec.training,
        seed=seed,
        views=of(windows.train),
        labels=torch.from_numpy(windows.y[windows.train]),
        test_views=of(test),
        test_labels=torch.from_numpy(windows.y[test]),
        taught={
            name: StoredOutputs({key: np.array(rows) for key, rows in outputs.arrays.items()}, outputs.classifier)
            for name, outputs in stored.items()
        },
    )


def loops(units: Iterable[tuple[UnitSpec, Dataset]], workspace: Workspace) -> list[Loop]:
    """A loop for each teacher and student of a suite whose records and cache are in the workspace."""
    made: dict[str, Loop] = {}
    for spec, data in units:
        for name in spec.teachers:
            teacher = spec.teacher(name)
            if teacher.key not in made:
                split, windows = teacher_windows(teacher, data, workspace)
                options = {option: getattr(teacher.training, option) for option in OF_CROSS_ENTROPY}
                method = METHODS.get("student")(**options)
                network = initial_network(teacher, windows)
                made[teacher.key] = _loop(teacher, network, method, windows, NoTeachers(), split.test, teacher.seed)
        unit = prepare_unit(spec, data, workspace)
        assert isinstance(unit.source, CachedTeachers)
        windows = unit.windows.select_views(spec.student)
        made[spec.key] = _loop(spec, unit.student, unit.method, windows, unit.source, unit.split.test, spec.own_seed)
    return list(made.values())
