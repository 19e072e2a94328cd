"""A unit of a comparison: its metrics, and the machine that it was trained on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmkd.comparison.deployment import export_metrics
from mmkd.comparison.predictions import missing_scores
from mmkd.metrics.registry import from_source
from mmkd.store.record import Record

MACHINE = ("processor", "platform", "device", "threads", "processes")
"""What of the environment is of the machine; times of another one are not compared."""


NETWORKS = ("student", "teacher")
"""Kinds of records that are of networks; peers and simple detectors have no parameters that are counted."""


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
    metrics |= {"seconds": record.seconds}
    if record.kind in NETWORKS:  # records of others say 0
        metrics["parameters"] = float(record.parameters)
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
        return next(iter(different_machines(map(machine, unit.parts)))) if on_one_machine(unit.parts) else ()
    environment = {} if unit.record is None else unit.record.environment
    if "threads" not in environment:
        return ()
    processor, *others = (environment.get(name) for name in MACHINE)
    return processor if " " in str(processor) else "", *others


def different_machines(found: Iterable[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """The known machines among these that differ.

    Older records, and systems that do not tell the processor's model, name its architecture, in one word: "x86_64".
    The platform says that too, so such a machine is compared by all else, as it was before: it is not another one than
    those of one architecture, platform and threads whose model is known.
    """
    known = set(found) - {()}
    named = {one[1:] for one in known if one[0]}
    return {one for one in known if one[0] or one[1:] not in named}


def on_one_machine(units: Iterable[Unit]) -> bool:
    """Whether all of these were trained on one machine, as far as it is known."""
    found = [machine(unit) for unit in units]
    return () not in found and len(different_machines(found)) == 1
