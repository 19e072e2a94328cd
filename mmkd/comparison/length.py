"""The length of a training, said by the preset that gives it: the same for more windows and for fewer.

A preset gives epochs and steps by the number of training windows, which differs between seeds where each draws other
labelled subjects, and between folds of subjects with more and with fewer windows. Rows go across both.
"""

from dataclasses import asdict
from functools import lru_cache
from typing import Any

from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.tasks.presets import Preset


def training_settings(training: Training) -> dict[str, Any]:
    """The options of a training; which of them the user set changes nothing."""
    return {name: value for name, value in asdict(training).items() if name != "given"}


def settings_by_length(training: Training, record: Record, teacher: bool) -> dict[str, Any]:
    """The same, with the name of a preset as `length` where `epochs` and `steps` are those that it gives here.

    Args:
        record: of the network that is trained, or of the student of the teacher that is.
        teacher: whether it is the training of a teacher.
    """
    settings = training_settings(training)
    counts = record.data.get("windows") or {}
    if not isinstance(counts.get("train"), int):  # an older record
        return settings
    spec = record.spec
    windows = counts["train"] + (0 if teacher else counts.get("unlabelled", 0))
    windows += counts.get("test", 0) if spec.data.inner_fold else 0  # as of the training part without folds
    validated = teacher and isinstance(spec, UnitSpec) and spec.teacher_validation > 0  # the teacher alone, on fewer
    least = windows // 2 if validated else windows
    name = _preset_of(spec.task, training, least, windows, teacher, spec.data.few_labels and not teacher)
    if name:
        del settings["epochs"], settings["steps"]
        settings["length"] = name
    return settings


@lru_cache(maxsize=4096)
def _preset_of(task: str, training: Training, least: int, most: int, teacher: bool, in_steps: bool) -> str:
    """The preset with which a training on `least` to `most` windows is as long as this one; "" if there is none."""
    for name, preset in TASKS.get(task).presets.items():
        for windows in _windows(preset, training, least, most):
            usual = preset.resolve(windows, teacher, {"batch_size": training.batch_size})
            usual = usual.in_steps(windows) if in_steps else usual
            if (usual.epochs, usual.steps) == (training.epochs, training.steps):
                return name
    return ""


def _windows(preset: Preset, training: Training, least: int, most: int) -> list[int]:
    """Numbers of windows that a training may have had: the ends, and what its steps say."""
    found = {most, least}
    if least < most and preset.passes:
        own = training.steps * training.batch_size // preset.passes
        found |= {number for number in range(own - 1, own + 3) if least <= number <= most}
    return sorted(found, reverse=True)
