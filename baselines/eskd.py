"""On the Efficacy of Knowledge Distillation (ESKD). Cho, Hariharan, ICCV 2019, https://arxiv.org/abs/1910.01348

Two methods of early stopping are known by this name. `early_stop="teacher"` (the default, and the form of the
wearable-sensor papers) is `kd` with the teachers' weights of their best epoch on validation windows.
`early_stop="student"` is the form of Cho and Hariharan: from the epoch `stop` on (a share of the epochs), soft targets
are left out and only cross-entropy remains, with weight 1; the teachers are those of their last epoch. `full-kd` is the
baseline of both: teachers of the last epoch and soft targets in all epochs. That is what `kd` does by default, too.

Under `--epoch-rule last` the student has no validation windows. The teachers of the best epoch then have some of their
own: a part of the student's training windows, on which they are not trained.

The paper stops distilling when it begins to hurt the student; the fixed share is a replacement for that. T and l are
those of `kd`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from mmkd import METHODS, SHARE_RANGE, TEMPERATURE_RANGE, Batch, LogitConfig, Method, MmkdError, Outputs, option


@dataclass(frozen=True)
class SoftTargets(LogitConfig):
    """The options of soft targets, as those of `kd`."""

    temperature: float = option(4.0, "temperature T of teacher and student", gt=0, tune=TEMPERATURE_RANGE)
    kd_weight: float = option(
        0.7, "share l of the soft targets; cross-entropy keeps 1 - l", ge=0, le=1, tune=SHARE_RANGE
    )
    pairs: Literal["fused", "same", "all"] = option(
        "fused", "which of the student's logits are compared with a teacher's"
    )


@METHODS.register("full-kd")
class FullKD(Method):
    """Soft targets of last-epoch teachers in all epochs: the baseline of `eskd`. Cho, Hariharan, ICCV 2019.

    Use it when you report `eskd` and need its baseline: teachers of the last epoch, soft targets in all epochs. It does
    by default what `kd` does.
    """

    @dataclass(frozen=True)
    class Config(SoftTargets):
        teacher_epoch: Literal["last"] = option(
            "last", "weights of the teachers: always of their last epoch", since=3, before="last"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        hard = {name: (1 - c.kd_weight) * term for name, term in self.supervised(student, batch).items()}
        return {**hard, "kd": c.kd_weight * self.soft(student, teachers, c.temperature, c.pairs, batch)}


@METHODS.register("eskd")
class EarlyStopped(FullKD):
    """Early-stopped KD: best-epoch teachers, or soft targets in early epochs only. Cho, Hariharan, ICCV 2019.

    Use it when a teacher trained to the end is too sure to teach: teachers of their best epoch, or soft targets in
    early epochs only. The first form needs validation windows for the teachers, which are then not trained on.
    """

    @dataclass(frozen=True)
    class Config(SoftTargets):
        early_stop: Literal["teacher", "student"] = option("teacher", "what is stopped early")
        stop: float = option(
            0.7, "share of the epochs after which early_stop=student leaves soft targets out", ge=0, le=1
        )
        # it follows from `early_stop`, so that it is not part of the key
        teacher_epoch: Literal["last", "best"] | None = field(  # type: ignore[assignment]
            default=None,
            metadata={
                "help": "weights of the teachers: of their best epoch, and with early_stop=student of their last",
                "in_key": False,
            },
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            epoch = "best" if self.early_stop == "teacher" else "last"
            if self.teacher_epoch not in (None, epoch):
                raise MmkdError(
                    f"teacher-epoch = {self.teacher_epoch!r}: with early-stop = {self.early_stop!r} the teachers are "
                    f"those of their {epoch} epoch; leave it out, or use --method kd"
                )
            object.__setattr__(self, "teacher_epoch", epoch)

    status = "classic"

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        if self.config.early_stop == "student" and batch.epoch >= self.config.stop * batch.epochs:
            return self.supervised(student, batch)
        return super().losses(student, teachers, batch)
