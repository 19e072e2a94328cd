"""The logits that teach in place of the teachers' own: of peers, and of teachers without one fold."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.data import Dataset
from mmkd.specs.unit import UnitSpec
from mmkd.training.data import TrainingData
from mmkd.training.targets import FoldTargets, FoldTeacher, Targets, WindowTargets
from mmkd.training.teacher_record import write_teacher
from mmkd.training.teachers import Teacher, get_teacher
from mmkd.training.unit_windows import load_view, teacher_windows
from mmkd.training.workspace import Workspace


def replaced_targets(
    spec: UnitSpec,
    data: Dataset,
    windows: TrainingData,
    teachers: Mapping[str, Teacher],
    checkpoint: str,
    workspace: Workspace,
) -> dict[str, Targets]:
    """Modality -> the logits that teach in place of the teacher's own: of peers, and with out-of-fold targets of all.

    The teachers without a fold are trained first if they are not in the cache.

    Args:
        windows: of the student, with its augmentations.
        checkpoint: the epoch of the weights, "best" or "last".

    Raises:
        MmkdError: the augmentations mix windows, and a peer has no logits of mixtures.
    """
    targets: dict[str, Targets] = {}
    for name, teacher in teachers.items():
        if teacher.logits is not None:
            if windows.augmented is not None and windows.augmented.mixing(np.arange(1)) is not None:
                raise MmkdError(
                    f"a peer has no logits of windows that are mixed; leave mixup out, or {name}={teacher.spec.net}"
                )
            targets[name] = WindowTargets(teacher.logits, windows.train, workspace.torch_device)
        elif spec.teacher_targets != "fitted":
            parts = [fold_teacher(name, inner, data, checkpoint, workspace) for inner in spec.without_folds]
            out_of_fold = FoldTargets(parts, windows)
            out_of_fold.store(workspace.cache, workspace.progress)
            targets[name] = out_of_fold
    return targets


def fold_teacher(name: str, inner: UnitSpec, data: Dataset, checkpoint: str, workspace: Workspace) -> FoldTeacher:
    """The teacher of a unit without one fold, with its view; its record is written, too."""
    spec = inner.teacher(name)
    split, windows = teacher_windows(spec, data, workspace)
    teacher = get_teacher(spec, windows, split.test, workspace, checkpoint)
    if workspace.group.is_leader:
        write_teacher(teacher, data, split, windows, workspace.records)
    view = load_view(name, replace(inner, data=spec.data), data, workspace)
    return FoldTeacher(
        spec.key, teacher.checkpoint, teacher.network, name, view.modality, windows.views[name], split.test
    )
