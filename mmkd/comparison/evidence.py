"""What a record holds beside its scores: epochs, tested windows class by class, costs, robustness, maps.

All of it is optional. What is there and cannot be read is told in a note, and counts as not there. Needs neither torch
nor mlflow.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmkd.comparison.groups import Row, Unit
from mmkd.comparison.predictions import Predictions, read_predictions
from mmkd.core.errors import MmkdError
from mmkd.core.text import printable, shorten
from mmkd.metrics import pairs as st
from mmkd.metrics.classes import Reliability, reliability
from mmkd.store.record import Record

LARGEST = 4 << 20  # bytes of an array of maps.npz; a whole file should have 300 KB
Notes = list[str]
_Name = tuple[str, str, tuple[Any, ...]]  # of a curve: disturbance, unit, levels


# Epochs ---------------------------------------------------------------------------------------------------------------


def history(record: Record, notes: Notes) -> list[dict[str, float]]:
    """A row an epoch with its losses and validation scores; empty where there is none."""
    try:
        with record.file("history.csv").open(newline="", encoding="utf-8") as stream:
            rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(stream)]
        if any("epoch" not in row for row in rows):
            raise ValueError("a row without its epoch")
    except MmkdError as error:
        notes.append(f"no learning curve: {error}")
        return []
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        notes.append(f"no learning curve of {record.key}: {error}")
        return []
    return rows


# Tested windows -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tested:
    """A row's predictions over its seeds, and folds.

    Attributes:
        counts: (units, K, K) windows, or labelled steps, by true and predicted class.
        reliability: of the windows of all units together; None where a step and not a window has a label.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    reliability: Reliability | None


def tested(row: Row, notes: Notes) -> Tested | None:
    """What all units of a row predicted; those whose predictions cannot be read are left out."""
    counts: list[NDArray[np.int64]] = []
    probabilities, true = [], []
    classes: tuple[str, ...] = ()
    for unit in row.members:
        if unit.record is None:
            continue
        said = read_predictions(unit.record)
        names = class_names(unit.record)
        if isinstance(said, str):
            notes.append(said)
            continue
        k = max(len(names), int(said.true.max()) + 1, int(said.predicted.max()) + 1)
        if not k:
            notes.append(f"no label is known of what unit {unit.key} was tested on")
            continue
        names = (*names, *(f"class {n}" for n in range(len(names), k)))
        if counts and names != classes:
            notes.append(f"unit {unit.key} has other classes; left out of the confusion matrix")
            continue
        classes = names
        counts.append(confusion_matrix(said, k))
        if said.probabilities is not None:
            probabilities.append(said.probabilities)
            true.append(said.true)
    if not counts:
        return None
    whole = len(probabilities) == len(counts) and len({p.shape[1] for p in probabilities}) == 1
    calibrated = reliability(np.concatenate(true), np.concatenate(probabilities)) if whole else None
    return Tested(classes, np.stack(counts), calibrated)


def class_names(record: Record) -> tuple[str, ...]:
    names = (record.result.get("data") or {}).get("classes") or []
    return tuple(shorten(str(name), 40) or f"class {n}" for n, name in enumerate(names))


def confusion_matrix(said: Predictions, classes: int) -> NDArray[np.int64]:
    """Windows, or steps whose label is known, by true (rows) and predicted class, (K, K)."""
    known = (said.true >= 0) & (said.predicted >= 0)
    flat = said.true[known] * classes + said.predicted[known]
    return np.bincount(flat, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """Of one class, means over the units; None where no unit has the class in truth (or prediction) at all."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: float


def class_scores(found: Tested) -> list[ClassScores]:
    """Precision, recall and F1 of each class: of each unit, then their mean; `support` is such a mean, too."""
    hit = np.einsum("skk->sk", found.counts)
    said, true = found.counts.sum(1), found.counts.sum(2)
    rows = []
    for n, name in enumerate(found.classes):
        rows.append(
            ClassScores(
                name,
                _ratio(hit[:, n], said[:, n]),
                _ratio(hit[:, n], true[:, n]),
                _ratio(2 * hit[:, n], said[:, n] + true[:, n]),
                float(true[:, n].mean()),
            )
        )
    return rows


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> float | None:
    """The mean of part / whole over the units where there is a whole."""
    there = whole > 0
    return float((part[there] / whole[there]).mean()) if there.any() else None


# Costs and robustness -------------------------------------------------------------------------------------------------


def deployment(record: Record) -> dict[str, str]:
    """What the deployed student costs, and how that was measured, as lines of text."""
    found = record.measurement("deployment.json")
    lines: dict[str, str] = {}
    names = {"macs": "MACs", "latency_ms": "latency, median", "latency_p95_ms": "latency, 95th percentile"}
    names |= {"network_ms": "of that the network", "size_bytes": "size"}
    for name, shown in names.items():
        if _number(found.get(name)):
            value = found[name]
            lines[shown] = f"{value:.3g} ms" if name.endswith("_ms") else f"{value:,}{' bytes' * (name[0] == 's')}"
    views = found.get("views_ms")
    for name, value in views.items() if isinstance(views, dict) else ():
        if _number(value):
            lines[f"to make the view {shorten(str(name), 30)}"] = f"{value:.3g} ms"
    for name, shown in (("how", "how"), ("processor", "processor"), ("threads", "threads"), ("repeats", "repeats")):
        if name in found:
            lines[shown] = shorten(str(found[name]), 1000)
    return lines


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Curve:
    """Macro-F1 of a row under one disturbance.

    Attributes:
        levels: numbers, or names where a channel is dead.
        scores: (n, levels) of the n seeds, or folds, that all have these levels.
    """

    disturbance: str
    unit: str
    levels: tuple[Any, ...]
    scores: NDArray[np.float64]

    @property
    def named(self) -> bool:
        return not all(_number(level) for level in self.levels)


def robustness(row: Row, notes: Notes) -> list[Curve]:
    """The row's curves, each from the undisturbed windows on, of the seeds, or folds, that were tested so.

    A seed's curve is the mean over its folds, where all of them were.
    """
    by_curve: dict[_Name, list[list[float]]] = {}
    for _, unit in sorted(row.units.items()):
        folds = [_unit_curves(part, notes) for part in unit.parts or (unit,)]
        for name in folds[0]:
            if all(name in each for each in folds):
                by_curve.setdefault(name, []).append(np.mean([each[name] for each in folds], 0).tolist())
    curves: dict[str, Curve] = {}
    for (disturbance, unit_name, levels), seeds in by_curve.items():
        if disturbance not in curves or len(seeds) > len(curves[disturbance].scores):
            curves[disturbance] = Curve(disturbance, unit_name, levels, np.array(seeds))
    return list(curves.values())


def _unit_curves(unit: Unit, notes: Notes) -> dict[_Name, list[float]]:
    """The curves of one unit; none where it was not tested so."""
    found = unit.record.measurement("robustness.json") if unit.record is not None else {}
    try:
        return _curves(found) if found else {}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        notes.append(f"robustness.json of {unit.key} cannot be read: {type(error).__name__}: {error}")
        return {}


def _curves(found: Mapping[str, Any]) -> dict[_Name, list[float]]:
    """Of one unit: (disturbance, unit, levels) -> macro-F1; numeric levels in order, from the clean windows on."""
    clean = float(found["clean"]["macro_f1"])
    points: dict[str, list[tuple[Any, float, str]]] = {}
    for point in found["curves"]:
        level, score = point["level"], float(point["macro_f1"])
        if not math.isfinite(score) or isinstance(level, bool) or not isinstance(level, int | float | str):
            raise ValueError(f"level {level!r:.40}")
        name = shorten(str(point["disturbance"]), 40)
        points.setdefault(name, []).append((level, score, shorten(str(point.get("unit", "")), 60)))
    curves = {}
    for name, each in points.items():
        if all(_number(level) for level, _, _ in each):
            each = sorted([*((0, clean, "") for _ in (1,) if all(level for level, _, _ in each)), *each])
        else:
            each = [("none", clean, ""), *((shorten(str(level), 40), score, unit) for level, score, unit in each)]
        unit_name = next((unit for _, _, unit in each if unit), "")
        curves[name, unit_name, tuple(level for level, _, _ in each)] = [score for _, score, _ in each]
    return curves


def interval(scores: NDArray[np.float64]) -> tuple[list[float], list[float], list[float]]:
    """Mean over seeds, or folds (axis 0), and the ends of its 95 % bootstrap interval; of one seed the value thrice."""
    mean = scores.mean(0).tolist()
    if len(scores) < 2:
        return mean, mean, mean
    ends = [st.bootstrap_interval(column)[:2] for column in scores.T]
    return mean, [low for low, _ in ends], [high for _, high in ends]


# Maps -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maps:
    """One example window, how networks see it, and how alike they find a batch.

    Attributes:
        window: modality -> (C, W), (C, S, S) or (P, S, S).
        similarity: network -> (B, B); cam: network -> (W,) or (S, S).
    """

    window: Mapping[str, NDArray[Any]]
    label: int
    index: int
    similarity: Mapping[str, NDArray[Any]]
    labels: NDArray[Any]
    cam: Mapping[str, NDArray[Any]]

    def same_window(self, other: "Maps") -> bool:
        return (self.index, self.label) == (other.index, other.label)

    def same_batch(self, other: "Maps") -> bool:
        return np.array_equal(self.labels, other.labels)


def maps(record: Record, notes: Notes) -> Maps | None:
    """The maps of a record, where it has them."""
    path = record.measured.get("maps.npz")
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as z:
            arrays = {name: z[name] for name in z.files}
        return _maps(arrays)
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        notes.append(f"maps.npz of {record.key} cannot be read: {' '.join(str(error).split())[:120]}")
        return None


def _maps(arrays: Mapping[str, NDArray[Any]]) -> Maps:
    found: dict[str, dict[str, NDArray[Any]]] = {"window": {}, "similarity": {}, "cam": {}}
    sizes = {"window": (2, 3), "similarity": (2,), "cam": (1, 2)}
    for name, array in arrays.items():
        kind, _, network = name.partition("/")
        if not network or kind not in found:
            continue
        if array.ndim not in sizes[kind] or not array.size or array.dtype.kind not in "fiu" or array.nbytes > LARGEST:
            raise ValueError(f"{printable(name)[:60]} is of shape {array.shape} and type {array.dtype}")
        found[kind][shorten(network, 60)] = array.astype(np.float64)
    if not found["window"]:
        raise ValueError("it holds no window")
    labels = np.asarray(arrays.get("similarity_labels", np.zeros(0, int)))
    label, index = (int(arrays[name]) for name in ("window_label", "window_index"))
    return Maps(found["window"], label, index, found["similarity"], labels, found["cam"])


def networks(found: Mapping[str, NDArray[Any]], prefix: str) -> Sequence[tuple[str, NDArray[Any]]]:
    """The arrays of networks whose name begins so, with the rest of the name."""
    return [(name.removeprefix(prefix).removeprefix("-"), a) for name, a in found.items() if name.startswith(prefix)]
