"""The fields of a request that change the trainings of teachers and student; unset, the preset decides."""

from dataclasses import dataclass
from typing import Any, Literal

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.options import Options
from mmkd.specs.unit import OF_CROSS_ENTROPY, OPTIMIZERS
from mmkd.units.setting import MOST, setting

SHARED = ("epochs", "steps", "batch_size", "lr", "optimizer", "weight_decay")
"""Fields that hold for teachers too, unless the field `teacher_...` is set."""
OF_METHODS = OF_CROSS_ENTROPY
"""Fields that are options of every method, and so of the student; teachers have `teacher_...`."""
ALSO_OF_TEACHERS = ("class_weights", "focal_gamma")
"""Those of them that hold for teachers too, unless `teacher_...` is set."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Options):
    """How the networks are trained.

    What is set holds for teachers and student, and `teacher_...` for teachers alone. Label smoothing is set for each.
    """

    epochs: int | None = setting(None, "epochs of teachers and student", flag="--epochs", metavar="N", ge=1, le=MOST)
    teacher_epochs: int | None = setting(
        None, "epochs of teachers (default --epochs)", flag="--teacher-epochs", metavar="N", ge=1, le=MOST
    )
    steps: int | None = setting(
        None,
        "optimizer steps of teachers and student, in place of --epochs",
        flag="--steps",
        metavar="N",
        ge=1,
        le=MOST,
    )
    teacher_steps: int | None = setting(
        None, "of teachers (default --steps)", flag="--teacher-steps", metavar="N", ge=1, le=MOST
    )
    batch_size: int | None = setting(
        None,
        "windows a step, of teachers and student (default: by preset and number of windows)",
        flag="--batch-size",
        metavar="N",
        ge=2,
        le=MOST,
    )
    lr: float | None = setting(
        None, "highest learning rate, of teachers and student (default: by preset)", flag="--lr", metavar="RATE", gt=0
    )
    optimizer: str | None = setting(
        None,
        f"{', '.join(OPTIMIZERS)}; of teachers and student (default: by preset); also give the --lr that suits it",
        flag="--optimizer",
        metavar="NAME",
    )
    weight_decay: float | None = setting(
        None, "weight decay, of teachers and student (default: by preset)", flag="--weight-decay", metavar="X", ge=0
    )
    label_smoothing: float | None = setting(
        None,
        "share of the label that is spread over all classes, of the student alone (default 0)",
        flag="--label-smoothing",
        metavar="X",
        ge=0,
        lt=1,
    )
    class_weights: Literal["none", "balanced"] | None = setting(
        None,
        "balanced: rare classes count as much as frequent ones, of teachers and student (default none)",
        flag="--class-weights",
        metavar="HOW",
    )
    teacher_class_weights: Literal["none", "balanced"] | None = setting(
        None, "of teachers (default --class-weights)", flag="--teacher-class-weights", metavar="HOW"
    )
    focal_gamma: float | None = setting(
        None,
        "focal loss, cross-entropy times (1 - p)^G: what is learnt counts less, of teachers and student (default 0)",
        flag="--focal-gamma",
        metavar="G",
        ge=0,
        le=20,
    )
    teacher_focal_gamma: float | None = setting(
        None, "of teachers (default --focal-gamma)", flag="--teacher-focal-gamma", metavar="G", ge=0, le=20
    )
    teacher_batch_size: int | None = setting(
        None, "of teachers (default --batch-size)", flag="--teacher-batch-size", metavar="N", ge=2, le=MOST
    )
    teacher_lr: float | None = setting(None, "of teachers (default --lr)", flag="--teacher-lr", metavar="RATE", gt=0)
    teacher_optimizer: str | None = setting(
        None, "of teachers (default --optimizer)", flag="--teacher-optimizer", metavar="NAME"
    )
    teacher_weight_decay: float | None = setting(
        None, "of teachers (default --weight-decay)", flag="--teacher-weight-decay", metavar="X", ge=0
    )
    teacher_label_smoothing: float | None = setting(
        None, "of teachers (default 0)", flag="--teacher-label-smoothing", metavar="X", ge=0, lt=1
    )
    augment: tuple[str, ...] = setting(
        (),
        "such as rotate:30,gain:0.1; none; or card: those of the data set's card (default: by preset)",
        flag="--augment",
        metavar="NAME:X,...",
    )
    augment_copies: int | None = setting(
        None,
        "augmented copies of the training windows that students read; 0: new ones each time (default: by preset)",
        flag="--augment-copies",
        metavar="N",
        ge=0,
        le=1000,
    )
    precision: Literal["fp32", "bf16"] = setting("fp32", "fp32 (default) or bf16", flag="--precision", metavar="P")

    def check_lengths(self) -> None:
        """Raise MmkdError if the user gave epochs and steps, which both set the length of a training."""
        for epochs, steps in (("epochs", "steps"), ("teacher_epochs", "teacher_steps")):
            if getattr(self, epochs) is not None and getattr(self, steps) is not None:
                flags = [f"--{name.replace('_', '-')} {getattr(self, name)}" for name in (epochs, steps)]
                raise MmkdError(f"{' and '.join(flags)} both set how long is trained; give one of them")

    def check_optimizers(self) -> None:
        """Raise MmkdError if there is no optimizer of a name that the user gave."""
        for name in (self.optimizer, self.teacher_optimizer):
            if name is not None and name not in OPTIMIZERS:
                raise unknown_name("optimizer", name, OPTIMIZERS)

    @property
    def teacher_flags(self) -> list[str]:
        """The flags of the trainings of teachers that are set."""
        names = [f"teacher_{name}" for name in (*SHARED, *OF_METHODS)]
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]

    def training_changes(self, teacher: bool) -> dict[str, Any]:
        """The options of `specs.unit.Training` that the user set, of teachers or of the student."""
        values = {name: getattr(self, name) for name in SHARED}
        if teacher:
            values |= {name: getattr(self, name) for name in ALSO_OF_TEACHERS}
            own = {name: getattr(self, f"teacher_{name}") for name in (*SHARED, *OF_METHODS)}
            own = {name: value for name, value in own.items() if value is not None}
            if {"epochs", "steps"} & set(own):  # they replace the length of all trainings
                values |= {"epochs": None, "steps": None}
            values |= own
        return {name: value for name, value in values.items() if value is not None} | {"precision": self.precision}
