"""Robustness: scores of trained students on disturbed test windows (noise, missing segments, dead channels, shifts).

Raw windows are disturbed, then transformed to views with the modalities that were fitted in training. The disturbances
are the same for all students: their random numbers come from one seed, not from that of the unit. The levels of a kind
share their random numbers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmkd.core.keys import digest, seed_for
from mmkd.core.progress import Bar
from mmkd.data import Dataset
from mmkd.metrics.scores import window_scores
from mmkd.specs.unit import Training
from mmkd.training.precision import autocast
from mmkd.training.prediction import predict
from mmkd.training.student_model import StudentModel

SEED = 0
NOISE = (0.06, 0.09, 0.12)  # standard deviations
MISSING = (15, 22, 30)  # % of the window
SHIFT = (5, 10, 20)  # % of the window
BATCH_SIZE = 64  # windows
MAX_STUDENTS = 12  # students with equal views that are in memory at a time
HOW = (
    "noise: Gaussian, standard deviation on signals whose channels are scaled to [0, 1] by their least and greatest "
    "value in the windows for training and validation, not clipped; missing: one segment of each window, at a random "
    "place, set to the last value before it in all channels; dead-channel: constant at the channel's mean over the "
    "windows for training and validation; shift: each window later or earlier by part of its length, at random, the "
    "value at its edge repeated"
)

Windows = NDArray[np.float32]


@dataclass(frozen=True)
class Disturbance:
    """One level of one kind of disturbance; called with a data set, it returns its disturbed test windows (n, C, W)."""

    kind: str
    level: float | str
    unit: str
    make: Callable[[Dataset, Any], Windows]
    argument: Any

    def __call__(self, data: Dataset) -> Windows:
        return self.make(data, self.argument)


def disturbances(data: Dataset) -> list[Disturbance]:
    """All disturbances for a data set, in the order of the report."""
    deviation = "standard deviation on signals scaled to [0, 1]"
    percent = "% of the window"
    return [
        *(Disturbance("noise", level, deviation, add_noise, level) for level in NOISE),
        *(Disturbance("missing", level, percent, remove_segment, level) for level in MISSING),
        *(Disturbance("dead-channel", name, "channel", freeze_channel, n) for n, name in enumerate(data.channels)),
        *(Disturbance("shift", level, percent, shift_windows, level) for level in SHIFT),
    ]


def clean_windows(data: Dataset) -> Windows:
    """The undisturbed test windows (n, C, W)."""
    return data.x[data.test]


def _random(kind: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(SEED, f"robustness/{kind}"))


def add_noise(data: Dataset, level: float) -> Windows:
    """Add Gaussian noise of standard deviation `level` on signals scaled to [0, 1]; a constant channel gets none."""
    x = clean_windows(data)
    others = data.x[~data.test]
    span = others.max(axis=(0, 2)) - others.min(axis=(0, 2))
    values = _random("noise").standard_normal(x.shape, dtype=np.float32)
    noisy: Windows = x + np.float32(level) * span[:, None] * values
    return noisy


def remove_segment(data: Dataset, level: float) -> Windows:
    """Set one segment of `level` percent of each window, at a random position, to the value before it."""
    x = clean_windows(data).copy()
    length = round(level / 100 * data.window)
    starts = 1 + (_random("missing").random(len(x)) * (data.window - length)).astype(int)
    for window, start in zip(x, starts, strict=True):
        window[:, start : start + length] = window[:, start - 1, None]
    return x


def freeze_channel(data: Dataset, channel: int) -> Windows:
    """Set one channel to its mean over the training and validation windows."""
    x = clean_windows(data).copy()
    x[:, channel] = data.x[~data.test, channel].mean(dtype=np.float64)
    return x


def shift_windows(data: Dataset, level: float) -> Windows:
    """Move each window by `level` percent of its length, later or earlier at random; its edge value is repeated."""
    x = clean_windows(data)
    steps = round(level / 100 * data.window)
    later = _random("shift").random(len(x)) < 0.5
    time = np.arange(data.window) - np.where(later, steps, -steps)[:, None]
    source = np.clip(time, 0, data.window - 1)
    moved: Windows = np.take_along_axis(x, source[:, None, :], axis=2)
    return moved


def views_key(result: Mapping[str, Any]) -> str:
    """A hash that is equal for the results of units whose students read the same views."""
    return digest(json.loads(json.dumps(result["views"])))


def measure_robustness(
    students: Sequence[StudentModel],
    trainings: Sequence[Training],
    data: Dataset,
    device: torch.device,
    bar: Bar,
) -> list[dict[str, Any]]:
    """Measure the robustness of students that read the same views; the views of a disturbance are computed once.

    Args:
        trainings: the training of each student, for its precision.
        bar: advanced by one after the clean windows and after each disturbance.

    Returns:
        The content of `robustness.json` for each student.
    """
    y = data.y[data.test]
    networks = [student.network.to(device) for student in students]

    def score(x: Windows) -> Iterator[dict[str, float]]:
        parts: list[list[NDArray[np.float64]]] = [[] for _ in networks]
        for start in range(0, len(x), BATCH_SIZE):
            views = {name: view.to(device) for name, view in students[0].views(x[start : start + BATCH_SIZE]).items()}
            for network, training, batches in zip(networks, trainings, parts, strict=True):
                batches.append(probabilities(network, views, training, device))
        bar.advance()
        for batches in parts:
            scores = window_scores(y, np.concatenate(batches))
            yield {name: scores[name] for name in ("accuracy", "macro_f1")}

    head = {"seed": SEED, "windows": len(y), "how": HOW}
    results: list[dict[str, Any]] = [{**head, "clean": scores, "curves": []} for scores in score(clean_windows(data))]
    for disturbance in disturbances(data):
        point = {"disturbance": disturbance.kind, "level": disturbance.level, "unit": disturbance.unit}
        for result, scores in zip(results, score(disturbance(data)), strict=True):
            result["curves"].append({**point, **scores})
    return results


def probabilities(
    network: nn.Module, views: Mapping[str, torch.Tensor], training: Training, device: torch.device
) -> NDArray[np.float64]:
    """Class probabilities (n, K) for these views, in the precision of the training."""
    indices = np.arange(len(next(iter(views.values()))))
    return predict(network, lambda _: views, indices, autocast(training, device), len(indices))
