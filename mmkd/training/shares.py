"""What teachers predict: shares that fit validation windows or folds best, and labels of windows that have none."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmkd.data import Dataset
from mmkd.metrics.classes import mixture_shares
from mmkd.peers.base import softmax
from mmkd.specs.unit import UnitSpec
from mmkd.training.data import TrainingData
from mmkd.training.prediction import predict
from mmkd.training.teacher_record import write_teacher
from mmkd.training.teachers import Teacher, get_teacher
from mmkd.training.unit_windows import teacher_windows
from mmkd.training.workspace import Workspace
from mmkd.units.selection import in_fold

Predictions = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Labels (n,), and the probabilities (n, K) of one teacher."""


def fill_labels(
    teachers: Mapping[str, Teacher], windows: TrainingData, unlabelled: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The labels (N,) with those that the teachers predict for unlabelled windows.

    It is the class of the highest mean of the teachers' probabilities for the windows as they are, not augmented.
    """
    sums = np.zeros((len(unlabelled), windows.classes))
    for teacher in teachers.values():
        sums += _probabilities(teacher, windows, unlabelled)
    y = windows.y.copy()
    y[unlabelled] = sums.argmax(1)
    return y


def _probabilities(teacher: Teacher, windows: TrainingData, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """A teacher's class probabilities of windows, as they are and not augmented: (n, K), or (n, K, T)."""
    if teacher.logits is not None:
        return softmax(teacher.logits[indices])
    return predict(teacher.network, windows.load_views, indices, batch_size=windows.prediction_batch)


def search_shares(teachers: Mapping[str, Teacher], windows: TrainingData) -> str:
    """The weights with which the mixture of the teachers' probabilities predicts the validation windows best.

    The best mixture has the lowest negative log-likelihood.

    Returns:
        A value of the option `teacher_weights`, such as "sig=0.7000,gaf=0.3000".
    """
    predictions = [_predict_known(teacher, windows, windows.validation) for teacher in teachers.values()]
    return _best_shares(list(teachers), predictions)


def search_in_folds(spec: UnitSpec, data: Dataset, workspace: Workspace) -> str:
    """The weights of `search_shares`, on all training windows: each is predicted by teachers that did not see its fold.

    Returns:
        A value of the option `teacher_weights`.
    """
    parts: list[list[Predictions]] = []
    for number in range(1, spec.selection_folds + 1):
        inner = in_fold(spec, number, spec.selection_folds)
        parts.append([])
        for name in spec.teachers:
            split, windows = teacher_windows(inner.teacher(name), data, workspace)
            teacher = get_teacher(inner.teacher(name), windows, split.test, workspace, "last")
            if workspace.group.is_leader:
                write_teacher(teacher, data, split, windows, workspace.records)
            parts[-1].append(_predict_known(teacher, windows, split.test))
    together = [
        (np.concatenate([y for y, _ in of_teacher]), np.concatenate([p for _, p in of_teacher]))
        for of_teacher in zip(*parts, strict=True)
    ]
    return _best_shares(list(spec.teachers), together)


def _predict_known(teacher: Teacher, windows: TrainingData, rows: NDArray[np.int64]) -> Predictions:
    """The labels (n,) of these windows, or of their steps, that are known, and a teacher's probabilities (n, K)."""
    probabilities = _probabilities(teacher, windows, rows)
    y = windows.y[rows]
    if windows.per_step:
        probabilities = probabilities.transpose(0, 2, 1)[y >= 0]
        y = y[y >= 0]
    return y, probabilities


def _best_shares(names: Sequence[str], predictions: Sequence[Predictions]) -> str:
    """The shares of the mixture of the teachers' probabilities with the lowest negative log-likelihood, as text."""
    shares = mixture_shares(predictions[0][0], [probabilities for _, probabilities in predictions])
    return ",".join(f"{name}={share:.4f}" for name, share in zip(names, shares, strict=True))
