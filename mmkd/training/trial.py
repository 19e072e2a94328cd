"""The networks and the method of a unit, untrained; and the trial of a unit on made-up windows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, Refused, UnitFailed, describe_error
from mmkd.core.keys import seed_for
from mmkd.core.registry import METHODS
from mmkd.data import Dataset
from mmkd.methods.contract import Method
from mmkd.methods.outputs import Batch, Outputs, Setup, Step
from mmkd.nets import Shape, build_student, build_teacher
from mmkd.nets.reverse import NETWORK, ReverseNet
from mmkd.specs.unit import UnitSpec
from mmkd.tasks import TASKS
from mmkd.training.loop import named_parameters_of, prepare
from mmkd.training.teachers import load_checkpoint, untrained
from mmkd.units.expansion import split_for
from mmkd.views.channels import make_modality


def make_method(spec: UnitSpec, shares: str | None = None) -> Method:
    """The method of a unit with its options, not built yet; `shares` takes the place of `--teacher-weights search`."""
    cls = METHODS.get(spec.method)
    options = {**spec.options, "teacher_weights": shares or "equal"} if spec.searches_shares else spec.options
    method: Method = cls(cls.Config(**options))
    return method


def make_student(spec: UnitSpec, shapes: Mapping[str, Shape], classes: int) -> nn.Module:
    """The untrained student of a unit: the same weights for every method under one seed.

    Args:
        shapes: modality -> one sample's shape, of the student's modalities at least.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(spec.seed, "student"))
        own = {name: shapes[name] for name in spec.student}
        if spec.student_net == NETWORK:
            return make_reverse(spec, own, classes)
        if TASKS.get(spec.task).per_step:
            ((modality, shape),) = own.items()
            return untrained(spec.task, spec.student_net, modality, shape, classes, spec.fusion)
        return build_student(spec.student_net, own, classes, spec.fusion or "concat")


def make_reverse(spec: UnitSpec, shapes: Mapping[str, Shape], classes: int) -> nn.Module:
    """The student of reverse distillation around an untrained encoder of its one teacher's kind."""
    if len(spec.teachers) != 1:
        raise Refused(f"{spec.method} has one teacher, not {', '.join(spec.teachers)}; use --teachers gaf")
    ((modality, net),) = spec.teachers.items()
    try:
        return ReverseNet(build_teacher(net, modality, shapes[modality], classes), shapes[modality])
    except MmkdError as error:
        raise Refused(str(error)) from error


def why_not(method: Method, task: str) -> str:
    """Why a method that was made for another task has no meaning, or no use, in this one."""
    if not TASKS.get(task).per_step:
        return f"it is made for {', '.join(sorted(method.tasks))}"
    if "branches" in method.needs:
        return "it needs a student with a branch a modality, and one that labels every time step has one branch"
    if method.minimum_teachers > 1:
        return "it weighs teachers against each other, and one alone can label every time step"
    return "its loss is that of one label a window"


@dataclass(frozen=True)
class Trial:
    """A unit with untrained networks, set up on four made-up windows.

    Attributes:
        method: checked and built.
        taught: what the `teachers` put out for `views`.
    """

    student: nn.Module
    method: Method
    views: Mapping[str, Tensor]
    taught: Mapping[str, Outputs]
    teachers: Mapping[str, nn.Module]

    @classmethod
    def make(
        cls,
        spec: UnitSpec,
        shape: tuple[int, int],
        classes: int,
        targets: Tensor,
        validated: bool,
        window_s: float | None = None,
        shares: str | None = None,
    ) -> "Trial":
        """Build everything that a unit trains.

        Args:
            shape: (C, W) of a window.
            targets: (N,) classes of the training windows.
            validated: whether there are validation windows.
            window_s: length of a window in seconds, None where time has no unit.

        Raises:
            MmkdError: a network cannot read these windows. Refused: the method cannot work with these networks.
        """
        shapes = {name: make_modality(name, config).shape(*shape) for name, config in spec.views.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            views = {name: torch.randn(4, *shape) for name, shape in shapes.items()}
            student = make_student(spec, shapes, classes).eval()
            nets = {
                name: untrained(spec.task, net, name, shapes[name], classes).eval()
                for name, net in spec.teachers.items()
            }
        with torch.no_grad():
            says, taught = student(views), {name: net(views) for name, net in nets.items()}
        if TASKS.get(spec.task).per_step:
            every = torch.ones(len(says.logits), *says.logits.shape[2:], dtype=torch.bool)
            says, taught = says.steps(every), {name: outputs.steps(every) for name, outputs in taught.items()}
        epochs, seconds = spec.training.epochs, window_s
        setup = Setup(says, taught, classes, len(targets), epochs, targets, validated, seconds, spec.task)
        method = make_method(spec, shares)
        if spec.task not in method.tasks:
            why = why_not(method, spec.task)
            raise Refused(f"{spec.method} is not defined for --task {spec.task}: {why}; use another --method")
        try:
            prepare(method, setup, spec.seed)
        except UnitFailed:
            raise
        except MmkdError as error:
            raise Refused(str(error)) from error
        return cls(student, method, views, taught, nets)


def preflight(spec: UnitSpec, data: Dataset) -> None:
    """Try a unit on made-up windows: what cannot work shows in a moment.

    Raises:
        MmkdError: a network cannot read these windows, or a teacher's own weights are not of its network. Refused: the
            method cannot work with these networks.
        UnitFailed: the method itself is broken: it raises, or its terms are not what the loop can use.
    """
    classes = len(data.classes)
    split = split_for(data, spec.data, spec.seed)
    if spec.searches_shares and not len(split.validation):
        raise MmkdError(f"{spec.method}: --teacher-weights search needs validation windows; use --epoch-rule val-best")
    targets = torch.from_numpy(data.y[split.train])
    channels, window = data.x.shape[1:]
    for name in spec.checkpoint_files:
        view = make_modality(name, spec.views[name]).shape(channels, window)
        with torch.random.fork_rng(devices=[]):
            net = untrained(spec.task, spec.teachers[name], name, view, classes)
        load_checkpoint(net, spec.teacher(name))
    try:
        validated, seconds = len(split.validation) > 0, data.window_s
        trial = Trial.make(spec, (channels, window), classes, targets, validated, seconds)
        index = torch.arange(4) % len(targets)
        own = trial.student(trial.views)
        labels = torch.arange(4) % classes
        if data.form == "step":
            labels = torch.arange(4 * window).reshape(4, window) % classes
            own, labels = own.steps(labels >= 0), labels.flatten()
        batch = Batch(labels, index, 0, spec.training.epochs)
        terms = trial.method.terms(own, trial.taught, batch)
        named_parameters_of(trial.method, trial.teachers)
        if data.form == "window":
            read = (trial.views, trial.taught, batch)
            trial.method.after_step(Step(trial.student, batch, spec.training.lr, lambda _: read))
        deployed = trial.method.deploy(trial.student)
        says = deployed.eval()({name: trial.views[name] for name in spec.student})
    except MmkdError:
        raise
    except (Exception, SystemExit) as error:
        raise UnitFailed(f"method {spec.method!r} fails on a made-up batch: {describe_error(error)}") from error
    check_terms(spec.method, terms)
    if not isinstance(says, Outputs) or says.logits.shape != (4, classes, *data.y.shape[1:]):
        shape = f"(B, {classes}{', T' if data.form == 'step' else ''})"
        raise UnitFailed(f"method {spec.method!r} deploys a network that gives no logits {shape}")


def check_terms(name: str, terms: Any) -> None:
    """UnitFailed unless `terms` is what the loop sums: named scalar tensors, one at least with a gradient."""
    if not isinstance(terms, Mapping) or not terms:
        raise UnitFailed(f"method {name!r}: losses returned {terms!r:.60}; return a mapping of names to scalar tensors")
    for term, value in terms.items():
        if not isinstance(term, str) or not isinstance(value, Tensor):
            raise UnitFailed(f"method {name!r}: term {term!r} is {type(value).__name__}; return a scalar tensor")
        if value.ndim:
            raise UnitFailed(f"method {name!r}: term {term!r} has shape {tuple(value.shape)}; return a scalar")
    if not any(value.requires_grad for value in terms.values()):
        raise UnitFailed(f"method {name!r}: no term has a gradient; keep the student's outputs attached")
