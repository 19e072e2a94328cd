"""The training loop: one for teachers and students.

A teacher is a network that the method `student` (cross-entropy) trains, without teachers. A student is trained by any
method, with the teachers' outputs for each batch. The modules of the method train along with the network.
"""

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, UnitFailed
from mmkd.core.keys import seed_for
from mmkd.core.progress import Progress
from mmkd.core.registry import METHODS
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Batch, Outputs, Step
from mmkd.methods.variants import ReadsVariants
from mmkd.specs.unit import Training
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.data import TrainingData
from mmkd.training.distributed import SINGLE_PROCESS, ProcessGroup
from mmkd.training.evaluation import validate
from mmkd.training.finite import ADVICE, FiniteCheck
from mmkd.training.optimization import learning_rate, make_optimizer, set_learning_rate
from mmkd.training.precision import as_float, autocast
from mmkd.training.replaced import in_pass
from mmkd.training.rounding import as_int8
from mmkd.training.setup import build_method, make_setup, select_teacher_parameters
from mmkd.training.state import TrainingState, Weights, snapshot
from mmkd.training.step_threads import StepThreads
from mmkd.training.teacher_outputs import TeacherSource

BatchInputs = tuple[Mapping[str, Tensor], Mapping[str, Outputs], Batch]
"""The views of some windows, the teachers' outputs for them, and their batch."""


@dataclass
class TrainingResult:
    """A trained network.

    Attributes:
        history: one row of numbers an epoch.
        network: the deployed network: the student itself, unless the method's `deploy` returns another one.
        best, last: its weights after the best and after the last epoch.
        best_epoch: number of the best epoch, from 0.
        seconds: time of all epochs.
        method_parameters: number of parameters of the method's own modules.
        threads: on which a process trained; 0 where nothing was trained.
    """

    history: list[dict[str, float]]
    network: nn.Module
    best: Weights
    last: Weights
    best_epoch: int
    seconds: float
    method_parameters: int
    threads: int = 0


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
    """Train `network` by `method`; the best epoch has the highest validation macro-F1, then the lowest NLL.

    The network that the method deploys is validated, and its weights are returned. Without validation windows the last
    epoch is also the best. The state is saved to `checkpoint` about once a second, after a whole epoch, and after the
    last one. If it holds a state at the start, the training resumes from it; on a CPU the numbers are then the same,
    bit for bit, as without an interruption.

    In a `group`, every process is called with the same arguments and trains on its shard of every batch. The leader
    validates and writes checkpoints, which all processes read; its result is the one to use. Statistics of batch
    normalisation are those of each process.

    The parameters of `teachers.networks` that the method names train too.

    Args:
        label: the network and its method in words, for the progress bar and for errors.

    Raises:
        MmkdError: the method refuses the set-up; or there is more than one process, and the method has an
            `after_step`, or some windows have no label.
        UnitFailed: a loss term is not finite, or another process of the group failed.
    """
    with group.synchronized():
        setup = make_setup(network, windows, teachers, training)
        build_method(method, setup, seed)
        method.weigh_classes(windows.known_labels, windows.classes)
        method.to(windows.device)
        deployed = method.deploy(network)
        targets = setup.targets
        assert targets is not None
        assert windows.augmentation == (training.augment, training.augment_copies), "windows of another training"
        if group.world_size > 1 and windows.labelled is not None:
            raise MmkdError("windows without labels are trained on in one process; use python in place of torchrun")
        if group.world_size > 1 and method.steps_itself:
            name = METHODS.name_of(type(method)) or type(method).__name__
            raise MmkdError(f"{name} updates a state after each step, in one process; use python in place of torchrun")
        assert isinstance(method, ReadsVariants) == (windows.variants is not None), "variants of another method"
        if group.world_size > 1 and windows.variants is not None:
            raise MmkdError("a method that changes windows trains in one process; use python in place of torchrun")
        method_parameters = [p for p in method.parameters() if p.requires_grad]
        teacher_parameters = select_teacher_parameters(method, teachers.networks)
        optimizer = make_optimizer(
            network.parameters(),
            training,
            method=method_parameters,
            method_factor=getattr(method.config, "method_lr_factor", 1.0),
            teachers=teacher_parameters,
        )
        state = TrainingState(network, method, teachers.networks, optimizer, windows.device)
    with ExitStack() as scope, torch.random.fork_rng(devices=[]), progress.bar(label, training.epochs) as bar:
        torch.manual_seed(seed_for(seed, "dropout"))
        with group.synchronized():
            state.resume(checkpoint, deployed, training.epochs)
        first_epoch = len(state.history)
        threads = scope.enter_context(StepThreads(windows.device, state.step_work))
        with group.synchronized():
            epochs = group.sum_over_processes({"epochs": first_epoch})["epochs"]
            if epochs != first_epoch * group.world_size:
                raise UnitFailed("the processes read different checkpoints; give them one --cache that all of them see")
        started = time.perf_counter() - state.seconds
        bar.advance(first_epoch)
        for epoch in range(first_epoch, training.epochs):
            if not group.is_leader:
                torch.manual_seed(seed_for(seed, f"dropout/{group.rank}/{epoch}"))
            row = train_epoch(
                network,
                method,
                windows,
                teachers,
                training=training,
                seed=seed,
                epoch=epoch,
                targets=targets,
                optimizer=optimizer,
                group=group,
                label=label,
                threads=threads,
            )
            state.step_work = threads.work
            with group.synchronized():
                if len(windows.validation) and group.is_leader:
                    try:
                        scores = validate(deployed, windows, training)
                    except UnitFailed as error:
                        raise UnitFailed(f"{label}: validation after epoch {epoch + 1}: {error}") from None
                    row |= {f"val_{name}": scores[name] for name in ("accuracy", "macro_f1", "nll")}
                    rank = (scores["macro_f1"], -scores["nll"])
                    if not state.best or rank > state.best_rank:
                        state.best_rank = rank
                        state.best_epoch = epoch
                        state.best = snapshot(deployed)
                state.seconds = row["seconds"] = time.perf_counter() - started
                state.history.append(row)
                if group.is_leader:
                    state.save(checkpoint, at_end=epoch + 1 == training.epochs)
            info = f"loss {row['loss']:.3f}"
            bar.advance(1, info + (f"  val F1 {row['val_macro_f1']:.3f}" if "val_macro_f1" in row else ""))
    last = snapshot(deployed)
    return TrainingResult(
        history=state.history,
        network=deployed,
        best=state.best or last,
        last=last,
        best_epoch=state.best_epoch if state.best else training.epochs - 1,
        seconds=state.seconds,
        method_parameters=sum(p.numel() for p in method.parameters()),
        threads=threads.used,
    )


def train_epoch(
    network: nn.Module,
    method: Method,
    windows: TrainingData,
    teachers: TeacherSource,
    *,
    training: Training,
    seed: int,
    epoch: int,
    targets: Tensor,
    optimizer: torch.optim.Optimizer,
    group: ProcessGroup = SINGLE_PROCESS,
    label: str = "",
    threads: StepThreads | None = None,
) -> dict[str, float]:
    """One pass over the training windows, or one part of a training of a fixed number of steps.

    Returns the mean of each loss term, weighted by batch size.

    In a group, the loss of a batch is the mean over the shards, weighted by the number of known labels of each.

    Raises:
        UnitFailed: a loss term or a gradient is not finite.
    """
    network.train()
    method.train()
    for teacher in teachers.networks.values():
        teacher.train(any(parameter.requires_grad for parameter in teacher.parameters()))
    sums: dict[str, Tensor] = {}
    count = 0
    parts = batches_of(training, len(windows.train), seed, epoch)
    parameters = [parameter for options in optimizer.param_groups for parameter in options["params"]]
    check = FiniteCheck(label, epoch, len(parts), at_once=windows.device.type == "cpu")
    lr = 0.0
    for step, (number, positions) in enumerate(parts):
        read = partial(_read, windows, teachers, training, epoch, number, targets)
        gone = (epoch + step / len(parts)) / training.epochs
        lr = learning_rate(training, gone)
        set_learning_rate(optimizer, lr)
        shard = positions
        weight = 1.0
        if group.world_size > 1:
            labels = count_labels(targets, positions)
            if not labels:
                continue
            shard = group.shard(positions, max(2, method.minimum_batch))
            weight = count_labels(targets, shard) / labels
        rounded = method.config.qat > 0 and gone >= 1 - method.config.qat
        with group.synchronized(parameters), as_int8(network, rounded):
            optimizer.zero_grad(set_to_none=True)
            inputs = read(torch.from_numpy(shard).to(windows.device)) if weight else None
            terms: Mapping[str, Tensor] = {}
            if inputs is not None:
                with nullcontext() if threads is None else threads.counting():
                    terms = _terms(network, method, training, windows.device, inputs)
            if inputs is not None and terms:
                check.check_terms(step, terms)
                loss = torch.stack(list(terms.values())).sum()
                (loss if weight == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]
                again = partial(_terms, network, method, training, windows.device, inputs)
                check.check_gradients(step, parameters, again)
        if weight == 1 and not terms:
            continue
        optimizer.step()
        if inputs is not None and method.steps_itself:
            with as_int8(network, rounded):
                method.after_step(Step(network, inputs[2], lr, read, ends_epoch=step == len(parts) - 1))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + term.detach() * (len(positions) * weight)
        count += len(positions)
    totals = group.sum_over_processes({name: float(value) for name, value in sums.items()})
    means = {name: value / count for name, value in totals.items()}
    with group.synchronized():
        check.check_kept()
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise UnitFailed(f"{label}: the mean of loss term {name} is {mean} in epoch {epoch + 1}; {ADVICE}")
    return {"epoch": epoch + 1, "lr": lr, "loss": sum(means.values())} | {f"loss/{k}": v for k, v in means.items()}


def batches(count: int, size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Positions of each batch of an epoch, the same for every method under one seed.

    A last batch of a single window is left out, because batch normalisation cannot use it.
    """
    order = np.random.default_rng([seed_for(seed, "batches"), epoch]).permutation(count)
    parts = [order[i : i + size] for i in range(0, count, size)]
    return parts if len(parts[-1]) > 1 or len(parts) == 1 else parts[:-1]


def batches_of(training: Training, count: int, seed: int, epoch: int) -> list[tuple[int, NDArray[np.int64]]]:
    """The batches of an epoch, each with the number of its pass over the `count` training windows, from 0.

    In a training of a fixed number of steps an epoch is one of `training.epochs` equal parts of a stream of batches:
    pass after pass, without the windows at the end of a pass that fill no batch. A method then takes as many steps as
    any other, however many training windows it has.
    """
    if not training.steps:
        return [(epoch, positions) for positions in batches(count, training.batch_size, seed, epoch)]
    size = min(training.batch_size, count)
    first, end = (training.steps * number // training.epochs for number in (epoch, epoch + 1))
    passes: dict[int, list[NDArray[np.int64]]] = {}
    stream = []
    for step in range(first, end):
        number, place = divmod(step, count // size)
        if number not in passes:
            passes[number] = batches(count, size, seed, number)
        stream.append((number, passes[number][place]))
    return stream


def count_labels(targets: Tensor, positions: NDArray[np.int64]) -> int:
    """How many labels of these windows are known: one a window, or those of their steps."""
    if targets.ndim == 1:
        return len(positions)
    return int((targets[torch.from_numpy(positions).to(targets.device)] >= 0).sum())


def _read(
    windows: TrainingData,
    teachers: TeacherSource,
    training: Training,
    epoch: int,
    number: int,
    targets: Tensor,
    index: Tensor,
) -> BatchInputs:
    """The inputs of the training windows at these positions, as `Step.read` returns them.

    Args:
        number: of the pass over the training windows, from 0: another one reads other augmentations of a window.
    """
    positions = index.cpu().numpy()
    rows = windows.rows(positions, number)
    views = windows.load_rows(rows)
    mixed = windows.mixed(rows, targets)
    labelled = None if windows.labelled is None else torch.from_numpy(windows.labelled[positions]).to(index.device)
    batch = Batch(targets[index], index, epoch, training.epochs, labelled, mixed)
    outputs = in_pass(teachers, number).outputs(rows, views)
    if windows.variants is not None:
        views, outputs = windows.variants.join(rows, views, outputs)
    return views, outputs, batch


def _terms(
    network: nn.Module, method: Method, training: Training, device: torch.device, inputs: BatchInputs
) -> Mapping[str, Tensor]:
    """The loss terms of a batch; empty if no label is known."""
    views, teacher_outputs, batch = inputs
    with autocast(training, device):
        student = network(views)
    student = as_float(student).split_variants(len(batch.index))
    if batch.targets.ndim > 1:
        known = batch.targets >= 0
        if not known.any():
            return {}
        batch = replace(batch, targets=batch.targets[known])
        student = student.steps(known)
        teacher_outputs = {name: outputs.steps(known) for name, outputs in teacher_outputs.items()}
    return method.terms(student, teacher_outputs, batch)
