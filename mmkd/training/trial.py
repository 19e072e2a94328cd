"""The untrained networks and the method of a unit; and the trial of a unit on random windows, before it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmkd.augment import parse_augmentations
from mmkd.augment.base import describe_channels, parse_sites
from mmkd.augment.checks import check_augmentation
from mmkd.core.errors import MmkdError, Refused, UnitFailed, describe_error
from mmkd.core.keys import seed_for
from mmkd.core.options import older_options
from mmkd.core.registry import METHODS, kind_of
from mmkd.data import Dataset
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Batch, Outputs, Setup, Step
from mmkd.nets import MultiBranch, Shape, SingleView, build_student, build_teacher
from mmkd.nets.checks import check_outputs, run_once, run_twice
from mmkd.nets.dense.branches import build_dense_student
from mmkd.nets.reverse import NETWORK, ReverseNet
from mmkd.specs.fusion_names import kind_of_fusion
from mmkd.specs.teacher_nets import kind_of_net
from mmkd.specs.unit import UnitSpec
from mmkd.tasks import TASKS
from mmkd.training.idle import idle_options
from mmkd.training.setup import build_method, mixes, select_teacher_parameters, subject_numbers
from mmkd.training.teachers import load_checkpoint, make_network
from mmkd.training.variants import check_variants
from mmkd.units.likes import teaching_likes
from mmkd.units.splits import split_for
from mmkd.views.channels import make_modality
from mmkd.views.checks import check_modality


def make_method(spec: UnitSpec, shares: str | None = None) -> Method:
    """The method of a unit with its options, not built yet.

    Args:
        shares: value of the option `teacher_weights` where the unit's own is "search".
    """
    cls = METHODS.get(spec.method)
    options = {**spec.options, "teacher_weights": shares or "equal"} if spec.searches_shares else spec.options
    method: Method = cls(cls.Config(**older_options(cls.Config, options)))
    return method


def make_student(spec: UnitSpec, shapes: Mapping[str, Shape], classes: int, window: int) -> nn.Module:
    """The untrained student of a unit; under one seed it has the same weights for every method.

    Args:
        shapes: modality -> shape of the view of one window, at least for the modalities of the student.
        window: number of time steps of a window.

    Raises:
        MmkdError: the network cannot read these views. Refused: the method cannot work with these teachers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(spec.own_seed, "student"))
        student_shapes = {name: shapes[name] for name in spec.student}
        if spec.student_net == NETWORK:
            return make_reverse_student(spec, student_shapes, classes)
        if TASKS.get(spec.task).per_step:
            if len(student_shapes) > 1:
                return build_dense_student(spec.student_net, student_shapes, classes, window, spec.fusion or "concat")
            ((modality, shape),) = student_shapes.items()
            return make_network(spec.task, spec.student_net, modality, shape, classes, spec.fusion, window=window)
        return build_student(spec.student_net, student_shapes, classes, spec.fusion or "concat")


def make_reverse_student(spec: UnitSpec, shapes: Mapping[str, Shape], classes: int) -> nn.Module:
    """The student of reverse distillation, which contains an untrained copy of its one teacher's network.

    Raises:
        Refused: there is not exactly one teacher, or its network cannot be used.
    """
    if len(spec.teachers) != 1:
        raise Refused(f"{spec.method} has one teacher, not {', '.join(spec.teachers)}; use --teachers gaf")
    ((modality, net),) = spec.teachers.items()
    try:
        return ReverseNet(build_teacher(net, modality, shapes[modality], classes), shapes[modality])
    except MmkdError as error:
        raise Refused(str(error)) from error


def try_network(
    spec: UnitSpec, name: str, network: nn.Module, views: Mapping[str, Tensor], shape: tuple[int, ...]
) -> Outputs:
    """The outputs of a network of one view for random views, checked.

    Args:
        name: of the backbone or dense network.
        shape: of the logits: (B, K) or, if every step has a label, (B, K, T).

    Raises:
        MmkdError: the network fails, or its outputs are not those of a network.
    """
    kind = "dense network" if TASKS.get(spec.task).per_step else "backbone"
    inner = network.backbone if isinstance(network, SingleView) else network
    title = f"{kind} {name!r} (class {type(inner).__name__})"
    run = run_twice if f"{kind} {name}" in spec.sources else run_once
    outputs = run(title, network, views)
    check_outputs(title, outputs, shape)
    return outputs


def try_student(spec: UnitSpec, student: nn.Module, views: Mapping[str, Tensor], shape: tuple[int, ...]) -> Outputs:
    """The outputs of a student for random views, checked as in `try_network`."""
    if not isinstance(student, MultiBranch):
        return try_network(spec, spec.student_net, student, views, shape)
    for modality, branch in student.named_views():
        try_network(spec, spec.student_net, SingleView(modality, branch), views, shape)
    kind = "stage fusion" if TASKS.get(spec.task).per_step else "fusion"
    title = f"{kind} {spec.fusion!r} (class {type(student.fusion).__name__})"
    run = run_twice if f"{kind} {kind_of_fusion(spec.fusion or '')}" in spec.sources else run_once
    outputs = run(title, student, views)
    check_outputs(title, outputs, shape)
    return outputs


def explain_refusal(method: Method, task: str) -> str:
    """The reason why a method that is not defined for a task makes no sense there."""
    if not TASKS.get(task).per_step:
        return f"it is made for {', '.join(sorted(method.tasks))}"
    if "branches" in method.needs:
        return "it compares the branches of a student on whole windows"
    if method.minimum_teachers > 1:
        return "it weighs teachers against each other by window"
    return "its loss is that of one label a window"


def check_teacher_outputs(spec: UnitSpec, method: Method) -> None:
    """Check that the teachers of a unit have the outputs that its method reads.

    Raises:
        Refused: the method reads more than logits of a teacher that has no more.
    """
    words = {
        "embedding": "embeddings",
        "features": "feature maps",
        "cam": "class activation maps",
        "attention": "attention",
    }
    reads = [word for need, word in words.items() if need in method.needs]
    for modality, net in spec.teachers.items():
        if "network" in method.needs and kind_of_net(net) == "peer":
            raise Refused(
                f"{spec.method} needs the architecture of its teachers, and {modality}={net} is no network; "
                f"use another --teacher-net"
            )
        if reads and kind_of_net(net) != "network":
            raise Refused(
                f"{spec.method} reads {', '.join(reads)} of its teachers, and {modality}={net} has logits alone; use "
                f"another --method, or a network as --teacher-net"
            )


def check_moving_teachers(spec: UnitSpec) -> None:
    """Check that teachers that train along with the student can do so.

    Raises:
        Refused: they are no networks, or the targets come from others.
    """
    if spec.teacher_targets != "fitted":
        raise Refused(f"{spec.method} trains its teachers along: no targets out of fold; use --teacher-targets fitted")
    for modality, net in spec.teachers.items():
        if kind_of_net(net) != "network":
            raise Refused(
                f"{spec.method} trains its teachers along, and {modality}={net} cannot; use another --teacher-net"
            )


@dataclass(frozen=True)
class Trial:
    """The untrained networks and the built method of a unit, with random views of four windows.

    Attributes:
        student: the untrained student.
        method: checked and built.
        views: modality -> (4, ...).
        teacher_outputs: modality -> outputs of that teacher for `views`.
        teachers: modality -> untrained network.
        setup: that the method was built with.
    """

    student: nn.Module
    method: Method
    views: Mapping[str, Tensor]
    teacher_outputs: Mapping[str, Outputs]
    teachers: Mapping[str, nn.Module]
    setup: Setup

    @classmethod
    def make(
        cls,
        spec: UnitSpec,
        *,
        shape: tuple[int, int],
        classes: int,
        targets: Tensor,
        validated: bool,
        window_s: float | None = None,
        shares: str | None = None,
        unlabelled: int = 0,
        subjects: Tensor | None = None,
    ) -> "Trial":
        """Make the untrained networks of a unit, and its method, checked and built on what they put out.

        Args:
            shape: (C, W) of a window.
            classes: number of classes, K.
            targets: (N,) classes of the training windows, or (N, T) of their steps.
            validated: whether there are validation windows.
            window_s: length of a window in seconds, None where time has no unit.
            shares: as in `make_method`.
            unlabelled, subjects: as in `Setup`.

        Raises:
            MmkdError: a network cannot read these windows. Refused: the method cannot work with these networks.
        """
        shapes = {name: make_modality(name, config).shape(*shape) for name, config in spec.views.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            views = {name: torch.randn(4, *shape) for name, shape in shapes.items()}
            student = make_student(spec, shapes, classes, shape[1]).eval()
            nets = {
                name: make_network(spec.task, net, name, shapes[name], classes, window=shape[1]).eval()
                for name, net in spec.teachers.items()
            }
            own = teaching_likes(spec)
            likes = {name: make_student(alone, shapes, classes, shape[1]).eval() for name, alone in own.items()}
        positions = shape[1:] if TASKS.get(spec.task).per_step else ()
        student_outputs = try_student(spec, student, views, (4, classes, *positions))
        teacher_outputs = {
            name: try_network(spec, spec.teachers[name], net, views, (4, classes, *positions))
            for name, net in nets.items()
        }
        with torch.no_grad():
            teacher_outputs |= {name: network(views) for name, network in likes.items()}
        if TASKS.get(spec.task).per_step:
            logits = student_outputs.logits
            all_steps = torch.ones(len(logits), *logits.shape[2:], dtype=torch.bool)
            student_outputs = student_outputs.steps(all_steps)
            teacher_outputs = {name: outputs.steps(all_steps) for name, outputs in teacher_outputs.items()}
        setup = Setup(
            student=student_outputs,
            teachers=teacher_outputs,
            classes=classes,
            train_size=len(targets),
            epochs=spec.training.epochs,
            targets=targets,
            validated=validated,
            window_s=window_s,
            task=spec.task,
            unlabelled=unlabelled,
            subjects=subjects,
            mixes=mixes(spec.training),
        )
        method = make_method(spec, shares)
        if spec.task not in method.tasks:
            why = explain_refusal(method, spec.task)
            raise Refused(f"{spec.method} is not defined for --task {spec.task}: {why}; use another --method")
        check_teacher_outputs(spec, method)
        try:
            check_variants(spec, method, shape)
            build_method(method, setup, spec.own_seed)
        except UnitFailed:
            raise
        except MmkdError as error:
            raise Refused(str(error)) from error
        return cls(student, method, views, teacher_outputs, nets, setup)


def preflight(spec: UnitSpec, data: Dataset) -> Mapping[str, bool]:
    """Try a unit on random windows, which takes a moment, to find errors before anything is trained.

    Returns:
        Name of a given option of the method -> whether it changes nothing, see `idle_options`.

    Raises:
        MmkdError: a network cannot read these windows, or a file of weights does not fit its teacher.
        Refused: the method cannot work with these networks.
        UnitFailed: the method is broken: it raises an error, or returns terms that the training loop cannot use.
    """
    classes = len(data.classes)
    split = split_for(data, spec.data, spec.seed)
    if spec.searches_shares and not len(split.validation) and not spec.selection_folds:
        raise MmkdError(
            f"{spec.method}: --teacher-weights search needs windows that no teacher is trained on; add --select 3, "
            f"for folds of the training windows, or --epoch-rule val-best"
        )
    for name in spec.views:
        if f"modality {kind_of(name)}" in spec.sources:
            check_modality(name, spec.views[name], np.asarray(data.x[split.train[:8]], np.float32))
    _check_augmentations(spec, data, split.train)
    targets = torch.from_numpy(data.y[split.train])
    channels, window = data.x.shape[1:]
    for name in spec.checkpoint_files:
        view = make_modality(name, spec.views[name]).shape(channels, window)
        with torch.random.fork_rng(devices=[]):
            net = make_network(spec.task, spec.teachers[name], name, view, classes, window=window)
        load_checkpoint(net, spec.teacher(name))
    try:
        trial = Trial.make(
            spec,
            shape=(channels, window),
            classes=classes,
            targets=targets,
            validated=len(split.validation) > 0,
            window_s=data.window_s,
            unlabelled=len(split.unlabelled),
            subjects=subject_numbers(data.subject, split.train),
        )
        index = torch.arange(4) % len(targets)
        student = trial.student(trial.views)
        labels = torch.arange(4) % classes
        if data.form == "step":
            labels = torch.arange(4 * window).reshape(4, window) % classes
            student = student.steps(labels >= 0)
            labels = labels.flatten()
        batch = Batch(labels, index, 0, spec.training.epochs)
        idle = idle_options(spec, trial.method, trial.setup, student, trial.teacher_outputs, batch)
        terms = trial.method.terms(student, trial.teacher_outputs, batch)
        if select_teacher_parameters(trial.method, trial.teachers):
            check_moving_teachers(spec)
        if data.form == "window":
            inputs = (trial.views, trial.teacher_outputs, batch)
            trial.method.after_step(Step(trial.student, batch, spec.training.lr, lambda _: inputs))
        deployed = trial.method.deploy(trial.student)
        outputs = deployed.eval()({name: trial.views[name] for name in spec.student})
    except MmkdError:
        raise
    except (Exception, SystemExit) as error:
        raise UnitFailed(f"method {spec.method!r} fails on a made-up batch: {describe_error(error)}") from error
    check_terms(spec.method, terms)
    if not isinstance(outputs, Outputs) or outputs.logits.shape != (4, classes, *data.y.shape[1:]):
        shape = f"(B, {classes}{', T' if data.form == 'step' else ''})"
        raise UnitFailed(f"method {spec.method!r} deploys a network that gives no logits {shape}")
    return idle


def _check_augmentations(spec: UnitSpec, data: Dataset, train: NDArray[np.int64]) -> None:
    """Check the plugins' augmentations of a unit on a few training windows.

    Raises:
        MmkdError: one of them does not do what an augmentation does.
    """
    for training in filter(None, (spec.training, spec.teacher_training)):
        for augmentation in parse_augmentations(training.augment):
            if f"augmentation {augmentation.name}" in spec.sources:
                windows = np.asarray(data.x[train[:8]], np.float32)
                channels = describe_channels(windows, np.arange(len(windows)), parse_sites(training.triads))
                check_augmentation(augmentation, windows, channels)


def check_terms(name: str, terms: Any) -> None:
    """Check that the loss terms of the method `name` are named scalar tensors, at least one with a gradient.

    Raises:
        UnitFailed: they are not.
    """
    if not isinstance(terms, Mapping) or not terms:
        raise UnitFailed(f"method {name!r}: losses returned {terms!r:.60}; return a mapping of names to scalar tensors")
    for term, value in terms.items():
        if not isinstance(term, str) or not isinstance(value, Tensor):
            raise UnitFailed(f"method {name!r}: term {term!r} is {type(value).__name__}; return a scalar tensor")
        if not term or any(letter.isspace() for letter in term):
            raise UnitFailed(f"method {name!r}: a term is called {term!r}; use a name without blanks")
        if value.ndim:
            raise UnitFailed(f"method {name!r}: term {term!r} has shape {tuple(value.shape)}; return a scalar")
        if not torch.isfinite(value):
            raise UnitFailed(f"method {name!r}: term {term!r} is {value.item()} on a made-up batch of random views")
    if not any(value.requires_grad for value in terms.values()):
        raise UnitFailed(f"method {name!r}: no term has a gradient; keep the student's outputs attached")
