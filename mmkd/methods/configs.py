"""Options that many methods share: the classes that the `Config` of a method derives from."""

from dataclasses import dataclass
from typing import Literal

from mmkd.core.options import Options, option
from mmkd.methods.losses import check_temperature
from mmkd.methods.schedules import Schedule
from mmkd.methods.teacher_errors import TeacherErrors


@dataclass(frozen=True)
class MethodConfig(Options):
    """Options of all methods, with or without teachers."""

    branch_weight: float = option(0.5, "weight of the mean cross-entropy of a multi-branch student's own heads", ge=0)
    label_smoothing: float = option(0.0, "share of the label that is spread over all classes", ge=0, lt=1, since=3)
    class_weights: Literal["none", "balanced"] = option(
        "none", "weights of cross-entropy: balanced makes rare classes count as much as frequent ones", since=5
    )
    focal_gamma: float = option(
        0.0,
        "power g of the focal loss: cross-entropy times (1 - p)^g, p the probability of the label; 0: none",
        ge=0,
        le=20,
        since=5,
    )
    qat: float = option(
        0.0,
        "quantisation-aware training: share of the training, at its end, in which the student computes with weights "
        "and activations rounded to int8; 0: none",
        ge=0,
        le=1,
        since=5,
    )


@dataclass(frozen=True)
class GuidedConfig(MethodConfig):
    """Options of all methods that are taught: by teachers, or by students like the one that is trained."""

    init_student: Literal["random", "trained"] = option(
        "random", "initial weights of the student: random, or those of a student trained without teachers"
    )
    weight_schedule: str = option(
        "constant", f"factor on all terms but cross-entropy over the epochs: {Schedule.FORMS}"
    )
    temperature_schedule: str = option("constant", "temperature over the epochs, in the same forms")
    method_lr_factor: float = option(
        1.0, "factor on the learning rate of the method's own parameters, such as projectors", gt=0, since=3
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        Schedule.parse(self.weight_schedule, "weight-schedule")
        schedule = Schedule.parse(self.temperature_schedule, "temperature-schedule")
        for value in (schedule.start, schedule.end):
            check_temperature(f"temperature-schedule {self.temperature_schedule!r}", value)
        if hasattr(self, "temperature"):
            check_temperature(f"temperature = {self.temperature:g}", self.temperature)


@dataclass(frozen=True)
class TaughtConfig(GuidedConfig):
    """Options of all methods that have teachers."""

    teacher_epoch: Literal["last", "best"] = option(
        "last",
        "weights of the teachers: of their last epoch, or of the best on validation windows",
        since=3,
        before="best",
    )


@dataclass(frozen=True)
class DistillConfig(TaughtConfig):
    """Options of all methods whose teachers have fixed shares of the loss."""

    teacher_weights: str = option(
        "equal",
        "share of each teacher: 'equal', such as sig=0.5,gaf=0.2,pi=0.3, or 'search': on validation "
        "windows or, with --select, in its folds",
    )


@dataclass(frozen=True)
class LogitConfig(DistillConfig):
    """Options of all methods that teach by logits alone, with teachers of fixed shares."""

    teacher_errors: TeacherErrors = option(
        "keep",
        "a teacher's logits on windows that it gets wrong: keep, drop (no soft targets there), swap (exchange those of "
        "label and largest), reorder (label first, the others in their order), translate (raise the label to the "
        "largest) or mix (add the label to the probabilities until it is level)",
        since=5,
    )
