"""Stored students on disturbed test windows: noise, missing segments, dead channels, shifts in time.

The disturbance goes on the raw window; the views are made of it with what was fitted in training. All students meet the
same disturbances: they are drawn by roles of their own from one seed, whatever the seed of a unit, and the levels of a
kind share their draws.
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
NOISE, MISSING, SHIFT = (0.06, 0.09, 0.12), (15, 22, 30), (5, 10, 20)
AT_ONCE = 64  # windows whose views are made, and read by all students, at a time
TOGETHER = 12  # students of equal views that are in memory at a time
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
    """One level of one kind; called with a data set it gives its disturbed test windows (n, C, W)."""

    kind: str
    level: float | str
    unit: str
    make: Callable[[Dataset, Any], Windows]
    argument: Any

    def __call__(self, data: Dataset) -> Windows:
        return self.make(data, self.argument)


def disturbances(data: Dataset) -> list[Disturbance]:
    """All that is measured of students of this data set, in the order of the report."""
    std, share = "standard deviation on signals scaled to [0, 1]", "% of the window"
    return [
        *(Disturbance("noise", level, std, noise, level) for level in NOISE),
        *(Disturbance("missing", level, share, missing, level) for level in MISSING),
        *(Disturbance("dead-channel", name, "channel", dead_channel, n) for n, name in enumerate(data.channels)),
        *(Disturbance("shift", level, share, shift, level) for level in SHIFT),
    ]


def clean(data: Dataset) -> Windows:
    """The test windows as they are."""
    return data.x[data.test]


def _random(kind: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(SEED, f"robustness/{kind}"))


def noise(data: Dataset, level: float) -> Windows:
    """Gaussian noise of standard deviation `level` on signals scaled to [0, 1]; a constant channel gets none."""
    seen, x = data.x[~data.test], clean(data)
    span = seen.max(axis=(0, 2)) - seen.min(axis=(0, 2))
    drawn = _random("noise").standard_normal(x.shape, dtype=np.float32)
    noisy: Windows = x + np.float32(level) * span[:, None] * drawn
    return noisy


def missing(data: Dataset, level: float) -> Windows:
    """A segment of `level` percent of each window set to the value before it, at a place drawn for each window."""
    x = clean(data).copy()
    length = round(level / 100 * data.window)
    places = 1 + (_random("missing").random(len(x)) * (data.window - length)).astype(int)
    for window, start in zip(x, places, strict=True):
        window[:, start : start + length] = window[:, start - 1, None]
    return x


def dead_channel(data: Dataset, channel: int) -> Windows:
    """One channel constant at its mean in training."""
    x = clean(data).copy()
    x[:, channel] = data.x[~data.test, channel].mean(dtype=np.float64)
    return x


def shift(data: Dataset, level: float) -> Windows:
    """Each window moved by `level` percent of its length, later or earlier, the value at its edge repeated."""
    x, by = clean(data), round(level / 100 * data.window)
    later = _random("shift").random(len(x)) < 0.5
    time = np.arange(data.window) - np.where(later, by, -by)[:, None]
    place = np.clip(time, 0, data.window - 1)
    moved: Windows = np.take_along_axis(x, place[:, None, :], axis=2)
    return moved


def views_of(result: Mapping[str, Any]) -> str:
    """Equal for the results of units whose students read the very same views."""
    return digest(json.loads(json.dumps(result["views"])))


def measure_robustness(
    students: Sequence[StudentModel],
    trainings: Sequence[Training],
    data: Dataset,
    device: torch.device,
    bar: Bar,
) -> list[dict[str, Any]]:
    """What `robustness.json` says of each student; all read the same views, which are made once a disturbance.

    Args:
        trainings: theirs, for the precision that they are tested in.
        bar: advanced by one a disturbance, the clean windows included.
    """
    y = data.y[data.test]
    networks = [student.network.to(device) for student in students]

    def judged(x: Windows) -> Iterator[dict[str, float]]:
        parts: list[list[NDArray[np.float64]]] = [[] for _ in networks]
        for start in range(0, len(x), AT_ONCE):
            views = {name: view.to(device) for name, view in students[0].views(x[start : start + AT_ONCE]).items()}
            for network, training, said in zip(networks, trainings, parts, strict=True):
                said.append(probabilities(network, views, training, device))
        bar.advance()
        for said in parts:
            found = window_scores(y, np.concatenate(said))
            yield {name: found[name] for name in ("accuracy", "macro_f1")}

    head = {"seed": SEED, "windows": len(y), "how": HOW}
    results: list[dict[str, Any]] = [{**head, "clean": score, "curves": []} for score in judged(clean(data))]
    for disturbance in disturbances(data):
        said = {"disturbance": disturbance.kind, "level": disturbance.level, "unit": disturbance.unit}
        for result, score in zip(results, judged(disturbance(data)), strict=True):
            result["curves"].append({**said, **score})
    return results


def probabilities(
    network: nn.Module, views: Mapping[str, torch.Tensor], training: Training, device: torch.device
) -> NDArray[np.float64]:
    """(n, K) of these windows, in the precision of the training."""
    every = np.arange(len(next(iter(views.values()))))
    return predict(network, lambda _: views, every, autocast(training, device), len(every))
