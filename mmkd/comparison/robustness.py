"""Scores of rows on disturbed test windows, from `robustness.json` beside their records."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.comparison.deployment import is_number
from mmkd.comparison.rows import Row
from mmkd.comparison.units import Unit
from mmkd.core.text import shorten
from mmkd.metrics.pairs import bootstrap_interval
from mmkd.metrics.registry import SELECTION

_CurveName = tuple[str, str, tuple[Any, ...]]  # disturbance, unit, levels


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
        """Whether levels are names and not numbers."""
        return not all(is_number(level) for level in self.levels)

    @property
    def clean(self) -> Any:
        """The level of the undisturbed windows."""
        return "none" if self.named else 0

    def interval(self) -> tuple[list[float], list[float], list[float]]:
        """Mean over seeds, or folds, and the ends of its 95 % bootstrap interval; of one seed the value thrice."""
        mean = self.scores.mean(0).tolist()
        if len(self.scores) < 2:
            return mean, mean, mean
        ends = [bootstrap_interval(column)[:2] for column in self.scores.T]
        return mean, [low for low, _ in ends], [high for _, high in ends]


def robustness_curves(row: Row, notes: list[str]) -> list[Curve]:
    """The row's curves, each from the undisturbed windows on, of the seeds, or folds, that were tested so.

    A seed's curve is the mean over its folds, where all of them were.
    """
    by_name: dict[_CurveName, list[list[float]]] = {}
    for _, unit in sorted(row.units.items()):
        folds = [_unit_curves(part, notes) for part in unit.parts or (unit,)]
        for name in folds[0]:
            if all(name in curves for curves in folds):
                by_name.setdefault(name, []).append(np.mean([curves[name] for curves in folds], 0).tolist())
    longest: dict[str, Curve] = {}
    for (disturbance, unit_name, levels), scores in by_name.items():
        if disturbance not in longest or len(scores) > len(longest[disturbance].scores):
            longest[disturbance] = Curve(disturbance, unit_name, levels, np.array(scores))
    return list(longest.values())


def _unit_curves(unit: Unit, notes: list[str]) -> dict[_CurveName, list[float]]:
    """The curves of one unit; none where it was not tested so."""
    measured = unit.record.measurement("robustness.json") if unit.record is not None else {}
    try:
        return _read_curves(measured) if measured else {}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        notes.append(f"robustness.json of {unit.key} cannot be read: {type(error).__name__}: {error}")
        return {}


def _read_curves(measured: Mapping[str, Any]) -> dict[_CurveName, list[float]]:
    """(disturbance, unit, levels) -> macro-F1; numeric levels in order, from the clean windows on."""
    clean = float(measured["clean"][SELECTION])
    points: dict[str, list[tuple[Any, float, str]]] = {}
    for point in measured["curves"]:
        level = point["level"]
        score = float(point[SELECTION])
        if not math.isfinite(score) or isinstance(level, bool) or not isinstance(level, int | float | str):
            raise ValueError(f"level {level!r:.40}")
        name = shorten(str(point["disturbance"]), 40)
        points.setdefault(name, []).append((level, score, shorten(str(point.get("unit", "")), 60)))
    curves = {}
    for name, levels in points.items():
        if all(is_number(level) for level, _, _ in levels):
            start = [(0, clean, "")] if all(level for level, _, _ in levels) else []
            levels = sorted([*start, *levels])
        else:
            levels = [("none", clean, ""), *((shorten(str(level), 40), score, unit) for level, score, unit in levels)]
        unit_name = next((unit for _, _, unit in levels if unit), "")
        curves[name, unit_name, tuple(level for level, _, _ in levels)] = [score for _, score, _ in levels]
    return curves
