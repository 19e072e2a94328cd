"""Everything a distillation method sees: what networks put out, what a batch is, and the class to derive from.

A method owns its loss and its extra modules, never the training loop. CONTRIBUTING.md shows a whole one in 30 lines.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.options import Options, option
from mmkd.core.registry import METHODS
from mmkd.methods.schedules import Schedule

NEEDS = frozenset({"logits", "embedding", "features", "cam", "attention", "branches"})
TEMPERATURES = (0.01, 100.0)
"""The lowest and the highest that an option takes."""
SUPERVISED = ("ce", "branch_ce")
"""The terms of `Method.supervised`, which no schedule scales."""
PLACES = ("encoder", "decoder")
"""How the names of stages begin in networks that label every time step."""


@dataclass(frozen=True)
class Outputs:
    """What a network says about a batch of B samples.

    Attributes:
        logits: (B, K). Of a network that labels every time step (B, K, T), or (B, K, H, W); a method sees those of the
            annotated steps of a batch as (n, K), so that a loss of logits works for each step as it does for windows.
        embedding: (B, D), what the classifier reads.
        features: stage name -> map, (B, C, T) or (B, C, H, W), shallow to deep.
        classifier: (K, C) weight of a classifier that reads the mean of the last feature map, for class activation
            maps; None where there is no such classifier. Of a network that labels every time step the weight that reads
            the last feature map position by position.
        attention: name -> (B, T, T'), rows sum to 1; empty where the network has none.
        branches: modality -> outputs of that branch, of a multi-branch student; empty elsewhere.
    """

    logits: Tensor
    embedding: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    classifier: Tensor | None = None
    attention: Mapping[str, Tensor] = field(default_factory=dict)
    branches: "Mapping[str, Outputs]" = field(default_factory=dict)

    def steps(self, keep: Tensor) -> "Outputs":
        """Of a network that labels every time step: the logits (n, K) of the n steps that `keep` (B, T) marks.

        Features and embedding stay as they are, a row a window.
        """
        return replace(
            self,
            logits=self.logits.movedim(1, -1)[keep],
            branches={name: branch.steps(keep) for name, branch in self.branches.items()},
        )

    @property
    def encoder(self) -> "Outputs":
        """The outputs without the maps of a decoder, where the network has one: those come after the deepest map."""
        kept = [stage for stage in self.features if not stage.startswith("decoder")]
        if len(kept) == len(self.features):
            return self
        return replace(self, features={stage: self.features[stage] for stage in kept})

    @property
    def last_map(self) -> Tensor:
        """The deepest feature map."""
        return self.features[list(self.features)[-1]]

    def activation_maps(self, classes: Tensor | None = None) -> Tensor:
        """Class activation maps of the last map, (B, K, T) or (B, K, H, W). Zhou et al., CVPR 2016, arXiv:1512.04150.

        Args:
            classes: (B,) a class for each sample, whose map alone is then given, (B, T) or (B, H, W).
        """
        if self.classifier is None:
            raise ValueError("no class activation maps: the classifier reads no map")
        if classes is None:
            return torch.einsum("kc,bc...->bk...", self.classifier, self.last_map)
        return torch.einsum("bc,bc...->b...", self.classifier[classes], self.last_map)

    def detach(self) -> "Outputs":
        """The same values without gradients."""
        return replace(
            self,
            logits=self.logits.detach(),
            embedding=self.embedding.detach(),
            features={k: v.detach() for k, v in self.features.items()},
            classifier=None if self.classifier is None else self.classifier.detach(),
            attention={k: v.detach() for k, v in self.attention.items()},
            branches={k: v.detach() for k, v in self.branches.items()},
        )


@dataclass(frozen=True)
class Batch:
    """One batch of the training set.

    Attributes:
        targets: (B,) int64 class numbers; (n,) of the annotated steps where every time step is labelled.
        index: (B,) int64 position of each sample in the training set, stable over epochs (memory banks).
        epoch, epochs: the current epoch, from 0, and how many there will be (schedules).
    """

    targets: Tensor
    index: Tensor
    epoch: int = 0
    epochs: int = 1

    def ramp(self, share: float) -> float:
        """From near 0 to 1 over the first `share` of the epochs; epochs count from 1, so that none is dead."""
        return min((self.epoch + 1) / max(share * self.epochs, 1), 1.0)


@dataclass(frozen=True)
class Setup:
    """What `Method.build` may look at, so that nobody writes shapes by hand.

    Attributes:
        student: outputs for one dry-run batch; same keys and shapes (but for B) as in training.
        teachers: modality -> outputs for the same batch; empty for a method without teachers.
        classes: number of classes K.
        train_size: number of training samples (memory banks).
        epochs: how many epochs the training has.
        targets: (N,) classes of the training samples, in the order of `Batch.index`, or (N, T) of their time steps, -1
            where nobody knows; None in a bare test.
        validated: whether there are validation windows; without them a teacher's best epoch is its last.
        window_s: length of a window in seconds, None where time has no unit; a map of T positions has T / window_s a
            second.
        task: "classification", or "segmentation" (a class for each time step).
    """

    student: Outputs
    teachers: Mapping[str, Outputs]
    classes: int
    train_size: int
    epochs: int
    targets: Tensor | None = None
    validated: bool = True
    window_s: float | None = None
    task: str = "classification"


@dataclass(frozen=True)
class Step:
    """What `Method.after_step` may use.

    Attributes:
        student: the network that trains, in training mode, right after a step of the loop's optimiser.
        batch: that of the step.
        rate: learning rate of the step.
        read: gives, for positions (B,) in the training set as in `Batch.index`, the views of these windows (modality ->
            (B, ...)), what the teachers put out for them, and their batch. Where every time step has a label targets
            are (B, T), -1 where nobody knows, and logits (B, K, T).
    """

    student: nn.Module
    batch: Batch
    rate: float
    read: Callable[[Tensor], tuple[Mapping[str, Tensor], Mapping[str, Outputs], Batch]]


def check_temperature(given: str, value: float) -> None:
    """MmkdError unless softmax at this temperature can be told from a hard choice, and T^2 KL from rounding.

    Args:
        given: how it was given, for the message.
    """
    low, high = TEMPERATURES
    if not low <= value <= high:
        raise MmkdError(f"{given}: a temperature is from {low:g} to {high:g}")


@dataclass(frozen=True)
class MethodConfig(Options):
    """Options of every method, with or without teachers."""

    branch_weight: float = option(0.5, "weight of the mean cross-entropy of a multi-branch student's own heads", ge=0)


@dataclass(frozen=True)
class TaughtConfig(MethodConfig):
    """Options of every method that has teachers."""

    init_student: Literal["random", "trained"] = option(
        "random", "where the student starts: at random weights, or trained alone before"
    )
    weight_schedule: str = option(
        "constant", f"factor on all terms but cross-entropy over the epochs: {Schedule.FORMS}"
    )
    temperature_schedule: str = option("constant", "temperature over the epochs, in the same forms")

    def __post_init__(self) -> None:
        super().__post_init__()
        Schedule.parse(self.weight_schedule, "weight-schedule")
        planned = Schedule.parse(self.temperature_schedule, "temperature-schedule")
        for value in (planned.start, planned.end):
            check_temperature(f"temperature-schedule {self.temperature_schedule!r}", value)
        if hasattr(self, "temperature"):
            check_temperature(f"temperature = {self.temperature:g}", self.temperature)


@dataclass(frozen=True)
class DistillConfig(TaughtConfig):
    """Options of every method whose teachers have fixed shares."""

    teacher_weights: str = option(
        "equal", "share of each teacher: 'equal', such as sig=0.5,gaf=0.2,pi=0.3, or 'search' on validation windows"
    )


class Method(nn.Module):
    """Base of all distillation methods.

    `tasks` names what it is defined for: "classification", "segmentation" (see `Outputs.logits`).

    A subclass is registered with `@METHODS.register("name")`, names what it `needs`, may size adapters in `build`, and
    returns named loss terms from `losses`. Terms are already weighted; the loop sums and logs them. Modules and
    parameters assigned in `build` are trained with the student, but for those that require no gradient.

    Three hooks are for the few methods that need more: `teacher_parameters`, `deploy` and `after_step`.

    What changes while the student trains belongs in parameters and buffers: a checkpoint holds those and nothing else
    of a method, and a training that was killed goes on from it.
    """

    Config: ClassVar[type[MethodConfig]] = DistillConfig
    distils: ClassVar[bool] = True  # False: a method without teachers, for which none is trained
    minimum_teachers: ClassVar[int] = 1
    minimum_batch: ClassVar[int] = 1  # windows that a batch must have for the loss to be defined
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    config: Any

    def __init__(self, config: MethodConfig | None = None, **options: Any) -> None:
        super().__init__()
        self.config = type(self).Config.parse(options, "the method") if config is None else config

    def check(self, setup: Setup) -> None:
        """Refuse, before any training, what the method cannot work with.

        Raises:
            MmkdError: with the reason and the flag that would help.
        """
        name = METHODS.name_of(type(self)) or type(self).__name__
        unknown_needs = self.needs - NEEDS
        if unknown_needs:
            raise MmkdError(f"{name}.needs names {sorted(unknown_needs)}; known: {', '.join(sorted(NEEDS))}")
        if setup.task not in self.tasks:
            raise MmkdError(f"{name} is not defined for --task {setup.task}; use another --method")
        if self.distils and not setup.teachers:
            raise MmkdError(f"{name} needs a teacher; add --teachers sig,gaf,pi")
        if self.distils and len(setup.teachers) < self.minimum_teachers:
            raise MmkdError(
                f"{name} weighs teachers against each other and needs {self.minimum_teachers} or more; "
                f"use --teachers sig,gaf,pi"
            )
        if setup.train_size < self.minimum_batch:
            raise MmkdError(
                f"{name} compares windows of a batch and needs {self.minimum_batch} or more; there is "
                f"{setup.train_size} training window; use another --method"
            )
        scheduled = getattr(self.config, "temperature_schedule", "constant") != "constant"
        if scheduled and not hasattr(self.config, "temperature"):
            raise MmkdError(f"{name} has no temperature to schedule; leave --temperature-schedule out")
        if "branches" in self.needs and not setup.student.branches:
            raise MmkdError(f"{name} needs a student with a branch a modality; use --student sig+gaf+pi")
        if "attention" in self.needs and not setup.student.attention:
            raise MmkdError(f"{name} needs a student with attention; use --student sig+gaf+pi --fusion attention")
        for modality, teacher in setup.teachers.items():
            if "features" in self.needs and not teacher.features:
                raise MmkdError(
                    f"{name} needs feature maps, and the {modality} teacher has none; choose another --teacher-net"
                )
            if "features" in self.needs:
                pairs = getattr(self.config, "pairs", "same")
                if not paired_branch(setup.student, modality, pairs).features:
                    raise MmkdError(
                        f"{name}: the part of the student that meets the {modality} teacher puts out no feature maps; "
                        f"choose another --student-net"
                    )
            if "cam" in self.needs and teacher.classifier is None:
                raise MmkdError(
                    f"{name} needs class activation maps, and the {modality} teacher's classifier reads no map; "
                    f"choose another net, for example --teacher-net {modality}=WRN16-1"
                )
        if setup.teachers and isinstance(self.config, DistillConfig):
            self.weights(setup.teachers)

    def build(self, setup: Setup) -> None:
        """Size and assign own modules from a dry-run batch. Called once, after `check`, under the method's own seed."""

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        """Named scalar loss terms of one batch, weights included."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    @property
    def checkpoint(self) -> Literal["best", "last"]:
        """Which weights of the teachers: those best on validation windows, or those of the last epoch."""
        return "best"

    def deploy(self, student: nn.Module) -> nn.Module:
        """The network that is validated, tested and exported; it shares its parameters with what is being trained.

        Called once, after `build`. A network other than the student maps views to `Outputs` as the student does.
        """
        return student

    def teacher_parameters(self, teachers: Mapping[str, nn.Module]) -> Iterable[nn.Parameter]:
        """What of the teachers trains with the student; nothing, unless a method says otherwise.

        Where it names something the teachers run live, as copies, and those that train are in training mode: what
        `losses` sees of them has gradients. The teachers of the cache are never changed. It hangs on the options alone,
        for it is also asked before `build`.

        Args:
            teachers: modality -> network.
        """
        return ()

    def after_step(self, step: Step) -> None:
        """What the method does after each step of the loop's: renew a memory, or optimise by itself with `mmkd.Outer`.

        Parameters that it trains require no gradient, so that the loop leaves them alone. It is called in one process
        alone: several under torchrun would each change what they keep by their own part of a batch.
        """

    @property
    def steps_itself(self) -> bool:
        """Whether there is an `after_step`."""
        return type(self).after_step is not Method.after_step

    def terms(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        """What the loop sums and logs: `losses` under the schedules of weight and temperature."""
        if not isinstance(self.config, TaughtConfig):
            return self.losses(student, teachers, batch)
        share = batch.epoch / max(batch.epochs - 1, 1)
        if self.config.temperature_schedule != "constant":
            temperature = Schedule.parse(self.config.temperature_schedule, "temperature-schedule").at(share)
            changed: dict[str, Any] = {"temperature": temperature}
            self.config = replace(self.config, **changed)
        factor = Schedule.parse(self.config.weight_schedule, "weight-schedule").at(share)
        terms = self.losses(student, teachers, batch)
        if factor == 1:
            return terms
        return {name: term if name in SUPERVISED else factor * term for name, term in terms.items()}

    def supervised(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the student's prediction, and of its branches' own heads where it has them."""
        terms = {"ce": F.cross_entropy(student.logits, batch.targets)}
        if student.branches and self.config.branch_weight > 0:
            each = [F.cross_entropy(b.logits, batch.targets) for b in student.branches.values()]
            terms["branch_ce"] = self.config.branch_weight * torch.stack(each).mean()
        return terms

    def soft(
        self, student: Outputs, teachers: Mapping[str, Outputs], temperature: float, pairs: str = "fused"
    ) -> Tensor:
        """Soft targets of each teacher for its part of the student, summed with the shares of `weights`."""
        each = []
        for modality, share in self.weights(teachers).items():
            own, other = paired_branch(student, modality, pairs).logits, teachers[modality].logits.detach()
            each.append(share * soft_targets(own, other, temperature))
        return torch.stack(each).sum()

    def weights(self, teachers: Mapping[str, Any]) -> dict[str, float]:
        """The share of each teacher, summing to 1, from the option `teacher_weights`."""
        text = self.config.teacher_weights
        if text == "equal":
            return dict.fromkeys(teachers, 1 / len(teachers))
        if text == "search":
            raise MmkdError("teacher-weights search: the shares have not been searched; mmkd.bench and mmkd.run do so")
        raw: dict[str, float] = {}
        for part in text.split(","):
            name, sign, number = part.partition("=")
            name = name.strip()
            if name in raw:
                raise MmkdError(f"teacher-weights {text!r}: {name} is there twice; give each teacher one weight")
            try:
                raw[name] = float(number)
            except ValueError:
                sign = ""
            if not sign:
                raise MmkdError(f"teacher-weights: {part!r} is not of the form sig=0.5")
        for name in raw:
            if name not in teachers:
                raise MmkdError(
                    f"teacher-weights names {name!r}{did_you_mean(name, teachers)}; teachers: {', '.join(teachers)}"
                )
        missing = [m for m in teachers if m not in raw]
        total = sum(raw.values())
        if missing or not all(w >= 0 for w in raw.values()) or not 0 < total < float("inf"):
            raise MmkdError(
                f"teacher-weights {text!r}: give each of {', '.join(teachers)} a weight >= 0, not all of them 0"
            )
        return {m: raw[m] / total for m in teachers}


def paired_branch(student: Outputs, modality: str, pairs: str = "same") -> Outputs:
    """The part of the student that the teacher of `modality` guides.

    With `pairs="same"` the branch of the same modality; with `"all"`, and where the student has no such branch, its
    signal branch (the first one where there is none for `sig`); with `"fused"` the student as a whole, as it is
    deployed. A student without branches is itself the signal branch.
    """
    if not student.branches or pairs == "fused":
        return student
    if pairs == "same" and modality in student.branches:
        return student.branches[modality]
    return student.branches.get("sig") or next(iter(student.branches.values()))


def matched_stages(student: Outputs, teacher: Outputs, stages: str = "all") -> list[tuple[str, str]]:
    """Names of the stages that meet, student's and teacher's, the last first; a surplus of early ones has no partner.

    Where both networks name stages `encoder*` and `decoder*`, encoder meets encoder and decoder meets decoder.

    Args:
        student: a branch, or a student without branches.
        stages: "all", "deep" (the last two) or "last".
    """
    own, other = list(student.features), list(teacher.features)
    groups = [([s for s in own if s.startswith(p)], [t for t in other if t.startswith(p)]) for p in PLACES]
    if not all(s and t for s, t in groups):
        groups = [(own, other)]
    names = [pair for s, t in reversed(groups) for pair in zip(reversed(s), reversed(t), strict=False)]
    return names[: {"all": len(names), "deep": 2, "last": 1}[stages]]


def matched_maps(student: Outputs, teacher: Outputs, stages: str = "all") -> list[tuple[Tensor, Tensor]]:
    """The maps of `matched_stages`, student's and teacher's; maps of other stages are not read."""
    return [(student.features[s], teacher.features[t]) for s, t in matched_stages(student, teacher, stages)]


def soft_targets(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """T^2 KL(p_teacher^T || p_student^T), mean over the batch. Hinton, Vinyals, Dean 2015, arXiv:1503.02531.

    Args:
        student_logits, teacher_logits: (B, K).
        temperature: T > 0.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
