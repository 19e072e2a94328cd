"""Presets: the networks, sizes and trainings that `--preset` selects, for one task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmkd.specs.unit import Training

UNNAMED = ("epochs", "steps", "precision")
"""Options that no title shows."""
STEPS_A_PART = 100
"""Steps after which a training of a fixed number of steps ends a part: its history, checkpoint and schedules go on."""


@dataclass(frozen=True)
class Preset:
    """The values of a preset.

    The number of epochs follows from a number of optimiser steps, so that small data sets are trained for more epochs.
    Where `passes` is given, a training has a fixed number of steps instead, and `steps`, `teacher_steps` and
    `epochs_range` say nothing.

    Attributes:
        image_size: side of the images of a view.
        teacher_nets: modality -> network; "" for all other modalities.
        student_net: network of each branch of the student.
        training: options of all trainings.
        steps, teacher_steps: optimiser steps of the training of a student and of a teacher.
        epochs_range: the least and the greatest number of epochs.
        options: method -> options that replace its defaults.
        epoch_rule: the default of `--epoch-rule`: "val-best" or "last".
        passes: how many passes over the training windows a training of a fixed number of steps is worth; 0: epochs.
        steps_range: the least and the greatest number of those steps.
        views: modality -> options that replace its defaults.
        peers: the reference rows of its tables, where `--peers` names none; empty: all that the task has.
        augment: the augmentations of all trainings; ("card",): those of the data set's card, if it names any.
        augment_copies: how many augmented copies of the training windows the student reads; 0: new ones each time.
    """

    image_size: int
    teacher_nets: Mapping[str, str]
    student_net: str
    training: Training
    steps: int
    teacher_steps: int
    epochs_range: tuple[int, int]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    epoch_rule: str = "val-best"
    passes: int = 0
    steps_range: tuple[int, int] = (0, 0)
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    peers: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    augment_copies: int = 0

    def teacher_net(self, modality: str) -> str:
        """The network of the teacher of a modality."""
        return self.teacher_nets.get(modality, self.teacher_nets[""])

    def resolve(self, windows: int, teacher: bool, changes: Mapping[str, Any]) -> Training:
        """The options of the training of a teacher or student.

        Args:
            windows: number of training windows.
            changes: options of `Training` that the user set. Without `epochs` and `steps` they are those of the preset:
                of epochs as many as `steps` or `teacher_steps` need at this batch size, within `epochs_range`. Without
                `batch_size` it is that of the preset, or a smaller one for few windows; the rate of SGD is then
                smaller by the same factor. A fixed number of steps is cut into parts of about `STEPS_A_PART`.
        """
        usual = self._batch_size(windows)
        default = {**vars(self.training), "batch_size": usual}
        if self.training.optimizer == "sgd":  # the published rate is for the published batch
            default["lr"] = self.training.lr * usual / self.training.batch_size
        batch_size = int(changes.get("batch_size", usual))
        epoch_steps = max(1, windows // batch_size)
        low, high = self.epochs_range
        steps = self.teacher_steps if teacher else self.steps
        default["epochs"] = min(max(round(steps / epoch_steps), low), high)
        if self.passes and "epochs" not in changes:
            least, most = self.steps_range
            default["steps"] = min(max(round(self.passes * windows / batch_size), least), most)
        fixed = int(changes.get("steps", default["steps"]))
        if fixed:
            default["epochs"] = max(1, round(fixed / STEPS_A_PART))
        given = [name for name, value in changes.items() if name not in UNNAMED and value != default[name]]
        return Training(**{**default, **changes, "given": tuple(given)})

    def _batch_size(self, windows: int) -> int:
        """The batch size of the preset, or a smaller power of two where there are few training windows.

        With a number of epochs a pass has 8 batches or more, because epochs end with a batch that is not full; with a
        fixed number of steps 2 will do.
        """
        batches = 2 if self.passes else 8
        return min(self.training.batch_size, max(8, (1 << int(windows / batches).bit_length()) // 2))
