"""The training loop: one for teachers and students.

A teacher is a network trained by the method `student` (cross-entropy) without teachers. A student is one trained by any
method, with the teachers' outputs beside each batch. The method's own modules train with it.
"""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, UnitFailed
from mmkd.core.keys import seed_for
from mmkd.core.progress import Progress
from mmkd.core.registry import METHODS
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Batch, Outputs, Setup, Step
from mmkd.metrics.classes import Probabilities, log_loss, reliability
from mmkd.metrics.delineation import delineation_scores
from mmkd.metrics.recordings import StepScores, dense_scores, stitch
from mmkd.metrics.scores import window_scores
from mmkd.metrics.steps import confusion_matrix
from mmkd.specs.unit import Training
from mmkd.tasks.base import task_of_form
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.distributed import SINGLE_PROCESS, ProcessGroup
from mmkd.training.prediction import predict

State = dict[str, Tensor]
BatchInputs = tuple[Mapping[str, Tensor], Mapping[str, Outputs], Batch]
"""Views of windows, what the teachers put out for them, and their batch."""
AT_ONCE = 1 << 23
"""Numbers of a view, or class probabilities, that images are predicted by at once."""


class TeacherSource(Protocol):
    """What the loop asks of the teachers, cached or live: their outputs for positions of the training set.

    Attributes:
        networks: modality -> network, of teachers of which something trains with the student; else empty.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]: ...


class NoTeachers:
    """For teachers themselves, and for the student alone."""

    networks: Mapping[str, nn.Module] = {}

    def outputs(self, positions: NDArray[np.int64], views: Mapping[str, Tensor]) -> Mapping[str, Outputs]:
        return {}


@dataclass(frozen=True)
class TrainingData:
    """Views of all N windows, their labels, and the numbers of the training and validation windows.

    Attributes:
        y: (N,), or (N, T) where every time step has a label, -1 where it is not known.
        names: of the K classes.
        window_s: length of a window in seconds, None where time has no unit.
        places: recording and first sample of each window, (N,) each, where every time step has a label.
        delineated: whether onsets and offsets are scored too, as is usual for an ECG.
        subject: (N,) numbers of the persons or recordings, None where there are none.
        task_name: of the task; empty where the form of the labels tells it.
        grid: (H, W) of images, None of signals; where every pixel has a label it is one of T = H W, row by row.
    """

    views: Mapping[str, NDArray[np.float32]]
    y: NDArray[np.int64]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    names: Sequence[str]
    device: torch.device
    window_s: float | None = None
    places: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    delineated: bool = False
    grid: tuple[int, int] | None = None
    subject: NDArray[np.int64] | None = None
    task_name: str = ""

    @property
    def task(self) -> str:
        """The name of the task, as in `Setup`."""
        return self.task_name or task_of_form("step" if self.per_step else "window")

    @property
    def classes(self) -> int:
        """K."""
        return len(self.names)

    def scores(self, which: NDArray[np.int64], probabilities: Probabilities) -> dict[str, float]:
        """Scores of predictions for these windows: `window_scores`, or where every time step has a label those of
        `dense_scores`, over the recordings that the windows are joined to, with `nll` and `ece`.
        """
        y = self.y[which]
        if self.places is None:
            return window_scores(y, probabilities)
        steps, known = probabilities.transpose(0, 2, 1), y >= 0
        recording, start = (place[which] for place in self.places)
        true, predicted = stitch(y, recording, start), stitch(steps, recording, start)
        pairs = [(true[number], predicted[number][: len(true[number])]) for number in true]
        rate = y.shape[1] / self.window_s if self.window_s else None
        found = dense_scores(pairs, self.names, rate)
        if self.delineated:
            found |= delineation_scores(pairs, self.names, rate)
        return found | {"nll": log_loss(y[known], steps[known]), "ece": reliability(y[known], steps[known]).error}

    @property
    def per_step(self) -> bool:
        """Whether every time step, or pixel, has a label."""
        return self.y.ndim == 2

    @property
    def at_once(self) -> int:
        """How many windows are predicted at once: of large images fewer than 256."""
        if self.grid is None:
            return 256
        planes = max(len(self.names), *(array.shape[1] for array in self.views.values()))
        return max(1, min(256, AT_ONCE // int(planes * self.grid[0] * self.grid[1])))

    def only(self, modalities: Collection[str]) -> "TrainingData":
        """With these views alone: the others are not read with every batch."""
        return replace(self, views={name: view for name, view in self.views.items() if name in modalities})

    def at(self, windows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The views of these windows as tensors on the device, images in channels-last order."""
        found = {}
        for name, array in self.views.items():
            tensor = torch.from_numpy(np.ascontiguousarray(array[windows])).to(self.device)
            found[name] = tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        return found


@dataclass
class TrainingResult:
    """What training leaves: one row an epoch, and the deployed network's weights after the best and the last epoch."""

    history: list[dict[str, float]]
    network: nn.Module  # what is deployed: the student itself, unless the method says otherwise
    best: State
    last: State
    best_epoch: int
    seconds: float
    method_parameters: int


def learning_rate(training: Training, progress: float) -> float:
    """The rate at `progress` in [0, 1) of the training.

    "cosine": linear warm-up over the first twentieth, then half a cosine to 0. "steps": the published line's 0.05,
    0.01, 0.001, 0.0001 as shares of `lr`, changing after 1/18, 1/3 and 2/3 of the epochs.
    """
    if training.schedule == "steps":
        share = next(s for border, s in ((1 / 18, 1.0), (1 / 3, 0.2), (2 / 3, 0.02), (1.1, 0.002)) if progress < border)
        return training.lr * share
    warm = 0.05
    if progress < warm:
        return training.lr * (progress + 0.005) / (warm + 0.005)
    return training.lr * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


def make_optimizer(parameters: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=training.lr, momentum=0.9, weight_decay=training.weight_decay)
    return torch.optim.AdamW(parameters, lr=training.lr, weight_decay=training.weight_decay, fused=True)


def prepare(method: Method, setup: Setup, seed: int) -> None:
    """Let the method refuse the set-up, and build its modules under their own seed."""
    method.check(setup)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "method"))
        method.build(setup)


def named_parameters_of(method: Method, teachers: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """What of these teachers the method trains; the rest of them then requires no gradient."""
    named = list(method.teacher_parameters(teachers))
    for network in teachers.values():
        network.requires_grad_(False)
    for parameter in named:
        parameter.requires_grad_(True)
    return named


def dry_run(network: nn.Module, windows: TrainingData, teachers: TeacherSource, training: Training) -> Setup:
    """What `Method.build` may look at, from the first few training windows."""
    positions = np.arange(min(4, len(windows.train)))
    views = windows.at(windows.train[positions])
    network.eval()
    with torch.no_grad():
        student = network(views)
        taught = teachers.outputs(positions, views)
    targets = torch.from_numpy(windows.y[windows.train]).to(windows.device)
    if targets.ndim > 1:
        every = torch.ones_like(targets[: len(positions)], dtype=torch.bool)
        student, taught = student.steps(every), {name: outputs.steps(every) for name, outputs in taught.items()}
    return Setup(
        student,
        taught,
        windows.classes,
        len(windows.train),
        training.epochs,
        targets,
        len(windows.validation) > 0,
        windows.window_s,
        windows.task,
    )


def batches(count: int, size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Positions of each batch of an epoch, the same for every method of a seed; a last batch of one is left out."""
    order = np.random.default_rng([seed_for(seed, "batches"), epoch]).permutation(count)
    parts = [order[i : i + size] for i in range(0, count, size)]
    return parts if len(parts[-1]) > 1 or len(parts) == 1 else parts[:-1]


def train(
    network: nn.Module,
    method: Method,
    windows: TrainingData,
    teachers: TeacherSource,
    *,
    training: Training,
    seed: int,
    label: str,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> TrainingResult:
    """Train `network` by `method`; the best epoch is that of the highest validation macro-F1, then lowest NLL.

    What is validated, and whose weights are kept, is the network that the method deploys. Where there is no validation
    window the last epoch is also the best. Every epoch ends with a checkpoint; from one that is there the training goes
    on, on a CPU to the same numbers bit for bit.

    In a `group` each process has all of these arguments and takes its share of every batch. The leader validates and
    writes checkpoints, which all of them read, and what it returns counts. Batch statistics are each process's own.

    Of `teachers.networks` those parameters train too that the method names.

    Raises:
        MmkdError: the method refuses the set-up, or has an `after_step` and there is more than one process.
        UnitFailed: a loss term is not finite, or another process of the group failed.
    """
    with group.together():
        setup = dry_run(network, windows, teachers, training)
        prepare(method, setup, seed)
        method.to(windows.device)
        deployed, targets = method.deploy(network), setup.targets
        assert targets is not None
        if group.world > 1 and method.steps_itself:
            name = METHODS.name_of(type(method)) or type(method).__name__
            raise MmkdError(
                f"{name} keeps a state of its own after each step, in one process; use python in place of torchrun"
            )
        own = [p for p in method.parameters() if p.requires_grad]
        moving = named_parameters_of(method, teachers.networks)
        optimizer = make_optimizer([*network.parameters(), *own, *moving], training)
        run = _Run(network, method, teachers.networks, optimizer, windows.device)
    with torch.random.fork_rng(devices=[]), progress.bar(label, training.epochs) as bar:
        torch.manual_seed(seed_for(seed, "dropout"))
        with group.together():
            run.resume(checkpoint)
        done = len(run.history)
        with group.together():
            if group.add({"epochs": done})["epochs"] != done * group.world:
                raise UnitFailed("the processes read different checkpoints; give them one --cache that all of them see")
        started = time.perf_counter() - run.seconds
        bar.advance(done)
        for epoch in range(done, training.epochs):
            if not group.leads:
                torch.manual_seed(seed_for(seed, f"dropout/{group.rank}/{epoch}"))
            row = _epoch(network, method, windows, teachers, training, seed, epoch, targets, optimizer, group)
            with group.together():
                if len(windows.validation) and group.leads:
                    score = validate(deployed, windows, training)
                    row |= {f"val_{name}": score[name] for name in ("accuracy", "macro_f1", "nll")}
                    rank = (score["macro_f1"], -score["nll"])
                    if not run.best or rank > run.rank:
                        run.rank, run.best_epoch, run.best = rank, epoch, snapshot(deployed)
                run.seconds = row["seconds"] = time.perf_counter() - started
                run.history.append(row)
                if group.leads:
                    run.save(checkpoint)
            info = f"loss {row['loss']:.3f}"
            bar.advance(1, info + (f"  val F1 {row['val_macro_f1']:.3f}" if "val_macro_f1" in row else ""))
    last = snapshot(deployed)
    return TrainingResult(
        run.history,
        deployed,
        run.best or last,
        last,
        run.best_epoch if run.best else training.epochs - 1,
        run.seconds,
        sum(p.numel() for p in method.parameters()),
    )


class _Run:
    """What changes while a network is trained, and how it is kept in a checkpoint."""

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        teachers: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self.modules = {"network": network, "method": method} | {f"teacher {n}": net for n, net in teachers.items()}
        self.optimizer, self.device = optimizer, device
        self.history: list[dict[str, float]] = []
        self.best: State = {}  # empty while nothing was validated
        self.rank, self.best_epoch, self.seconds = (0.0, 0.0), 0, 0.0

    def save(self, checkpoint: Checkpoint | None) -> None:
        """Write all of it, with the states of the random numbers."""
        if checkpoint is None:
            return
        tensors = {f"best/{name}": value for name, value in self.best.items()}
        for part, module in self.modules.items():
            tensors |= {f"{part}/{name}": value for name, value in module.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {"history": self.history, "rank": self.rank, "best_epoch": self.best_epoch, "seconds": self.seconds}
        checkpoint.save(tensors, facts)

    def resume(self, checkpoint: Checkpoint | None) -> None:
        """Take over what was kept, where there is something."""
        kept = None if checkpoint is None else checkpoint.load()
        if kept is None:
            return
        tensors, facts = kept
        self.best = _part(tensors, "best")
        for part, module in self.modules.items():
            module.load_state_dict(_part(tensors, part))
        states: dict[int, State] = {}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for name, value in _part(tensors, "optimizer").items():
            number, _, entry = name.partition("/")
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:  # in the same order in memory: fused optimizers go by that alone
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            states.setdefault(int(number), {})[entry] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        self.history, self.best_epoch, self.seconds = facts["history"], facts["best_epoch"], facts["seconds"]
        self.rank = (facts["rank"][0], facts["rank"][1])


def _part(tensors: State, name: str) -> State:
    """The tensors below `name`/."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _epoch(
    network: nn.Module,
    method: Method,
    windows: TrainingData,
    teachers: TeacherSource,
    training: Training,
    seed: int,
    epoch: int,
    targets: Tensor,
    optimizer: torch.optim.Optimizer,
    group: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, float]:
    """One pass over the training windows; the mean of each loss term, weighted by batch size.

    In a group a batch's loss is that of the shares, weighted by how many of its labels each of them has.
    """
    network.train()
    method.train()
    for teacher in teachers.networks.values():
        teacher.train(any(parameter.requires_grad for parameter in teacher.parameters()))
    read = partial(_read, windows, teachers, training, epoch, targets)
    sums: dict[str, Tensor] = {}
    seen = 0
    parts = batches(len(windows.train), training.batch_size, seed, epoch)
    parameters = [parameter for each in optimizer.param_groups for parameter in each["params"]]
    lr = 0.0
    for step, positions in enumerate(parts):
        lr = learning_rate(training, (epoch + step / len(parts)) / training.epochs)
        for each in optimizer.param_groups:
            each["lr"] = lr
        own, weight = positions, 1.0
        if group.world > 1:
            labels = count_labels(targets, positions)
            if not labels:
                continue
            own = group.share(positions, max(2, method.minimum_batch))
            weight = count_labels(targets, own) / labels
        with group.together(parameters):
            optimizer.zero_grad(set_to_none=True)
            given = read(torch.from_numpy(own).to(windows.device)) if weight else None
            terms = {} if given is None else _terms(network, method, training, windows.device, given)
            if terms:
                loss = torch.stack(list(terms.values())).sum()
                (loss if weight == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]
        if weight == 1 and not terms:
            continue
        optimizer.step()
        if given is not None and method.steps_itself:
            method.after_step(Step(network, given[2], lr, read))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + term.detach() * (len(positions) * weight)
        seen += len(positions)
    totals = group.add({name: float(value) for name, value in sums.items()})
    means = {name: value / seen for name, value in totals.items()}
    broken = [name for name, value in means.items() if not math.isfinite(value)]
    with group.together():
        if broken:
            raise UnitFailed(
                f"loss term {broken[0]} is {means[broken[0]]} in epoch {epoch + 1}; a lower learning rate may help"
            )
    return {"epoch": epoch + 1, "lr": lr, "loss": sum(means.values())} | {f"loss/{k}": v for k, v in means.items()}


def _read(
    windows: TrainingData, teachers: TeacherSource, training: Training, epoch: int, targets: Tensor, index: Tensor
) -> BatchInputs:
    """What there is of the training windows at these positions, as `Step.read` gives it."""
    positions = index.cpu().numpy()
    views = windows.at(windows.train[positions])
    return views, teachers.outputs(positions, views), Batch(targets[index], index, epoch, training.epochs)


def _terms(
    network: nn.Module, method: Method, training: Training, device: torch.device, given: BatchInputs
) -> Mapping[str, Tensor]:
    """The loss terms of some training windows; none where no label is known."""
    views, taught, batch = given
    with autocast(training, device):
        student = network(views)
    student = as_float(student)
    if batch.targets.ndim > 1:
        known = batch.targets >= 0
        if not known.any():
            return {}
        batch, student = replace(batch, targets=batch.targets[known]), student.steps(known)
        taught = {name: outputs.steps(known) for name, outputs in taught.items()}
    return method.terms(student, taught, batch)


def count_labels(targets: Tensor, positions: NDArray[np.int64]) -> int:
    """How many labels of these windows are known: one a window, or those of their steps."""
    if targets.ndim == 1:
        return len(positions)
    return int((targets[torch.from_numpy(positions).to(targets.device)] >= 0).sum())


def validate(network: nn.Module, windows: TrainingData, training: Training) -> dict[str, float]:
    """Scores on the validation windows."""
    return evaluate(network, windows, windows.validation, training)[0]


def evaluate(
    network: nn.Module, windows: TrainingData, which: NDArray[np.int64], training: Training
) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """Scores of the network on these windows, and what it says of them: `predicted` classes and `probabilities`.

    Images whose pixels have labels are taken a few at a time: their probabilities would not fit memory and are not
    kept, and there is no `ece`.
    """
    if windows.grid is None or not windows.per_step:
        context = autocast(training, windows.device)
        probabilities = predict(network, windows.at, which, context, windows.at_once)
        said = {"predicted": probabilities.argmax(1), "probabilities": probabilities}
        return windows.scores(which, probabilities), said
    found, labels, loss, steps = StepScores(windows.names), [], 0.0, 0
    for start in range(0, len(which), windows.at_once):
        part = which[start : start + windows.at_once]
        y, context = windows.y[part], autocast(training, windows.device)
        probabilities = predict(network, windows.at, part, context, windows.at_once)
        labels.append(probabilities.argmax(1).astype(np.int16))
        for true, predicted in zip(y, labels[-1], strict=True):
            found.add(confusion_matrix(true, predicted, windows.classes))
        known = y >= 0
        if known.any():
            loss += log_loss(y[known], probabilities.transpose(0, 2, 1)[known]) * int(known.sum())
            steps += int(known.sum())
    return found.all() | {"nll": loss / steps}, {"predicted": np.concatenate(labels)}


def autocast(training: Training, device: torch.device) -> Any:
    """bfloat16 where asked, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bf16")


def as_float(outputs: Outputs) -> Outputs:
    """The outputs in float32, whatever the network computed in: losses are never taken in bfloat16."""
    if outputs.logits.dtype == torch.float32:
        return outputs
    return Outputs(
        outputs.logits.float(),
        outputs.embedding.float(),
        {k: v.float() for k, v in outputs.features.items()},
        None if outputs.classifier is None else outputs.classifier.float(),
        {k: v.float() for k, v in outputs.attention.items()},
        {k: as_float(v) for k, v in outputs.branches.items()},
    )


def snapshot(network: nn.Module) -> State:
    """A copy of the weights, on the CPU."""
    return {name: deepcopy(value.detach()).cpu() for name, value in network.state_dict().items()}
