"""A unit of a comparison: its metrics, and the machine that it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmkd.comparison.deployment import export_metrics
from mmkd.comparison.predictions import missing_scores
from mmkd.metrics.registry import from_source
from mmkd.store.record import Record

MACHINE = ("platform", "processor", "device", "threads", "processes")  # times of another one are not compared


@dataclass(frozen=True)
class Unit:
    """One trained network, or the mean of several, under one seed; `metrics` are of the test windows.

    Attributes:
        fold: the number of its fold in the group, from 1; 0 where there are none.
        parts: the units of the folds, where this is a seed's mean over them.
    """

    key: str
    seed: int
    metrics: Mapping[str, float]
    record: Record | None = None
    fold: int = 0
    parts: "tuple[Unit, ...]" = ()


def unit_metrics(record: Record) -> dict[str, float]:
    """The metrics of a record, with those that are newer than the record where they can be computed."""
    return recorded_metrics(record) | missing_scores(record)


def recorded_metrics(record: Record) -> dict[str, float]:
    """What a record says of its unit: test scores, costs, and what was measured of the deployed student."""
    metrics = {name: float(value) for name, value in record.metrics.test.items()}
    metrics |= {"parameters": float(record.parameters), "seconds": record.seconds}
    measured = record.measurement("deployment.json")
    names = [metric.name for metric in from_source("deployment")]
    metrics |= {name: float(measured[name]) for name in names if name in measured} | export_metrics(measured)
    weights = (record.result.get("files") or {}).get("student.safetensors")
    return metrics | ({"bytes": float(weights["bytes"])} if weights else {})


def mean_over_folds(units: Sequence[Unit]) -> Unit:
    """The mean over the folds of one seed, of the metrics that all of them have."""
    shared = [name for name in units[0].metrics if all(name in unit.metrics for unit in units)]
    metrics = {name: float(np.mean([unit.metrics[name] for unit in units])) for name in shared}
    return Unit("+".join(unit.key for unit in units), units[0].seed, metrics, parts=tuple(units))


def machine(unit: Unit) -> tuple[Any, ...]:
    """What a training time depends on besides the work; empty where it is unknown, or not the same for all folds."""
    if unit.parts:
        first, *others = {machine(part) for part in unit.parts}
        return () if others else first
    environment = {} if unit.record is None else unit.record.environment
    return tuple(environment.get(name) for name in MACHINE) if "threads" in environment else ()
