"""What the deployed student of a record costs, as text."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from mmkd.core.text import shorten
from mmkd.store.record import Record

COSTS = {
    "macs": "MACs",
    "latency_ms": "latency, median",
    "latency_p95_ms": "latency, 95th percentile",
    "network_ms": "of that the network",
    "size_bytes": "size",
}
EXPORT = "onnx-int8"
"""The target whose measurements are columns of a comparison."""
EXPORT_COLUMNS = {"int8_accuracy": "accuracy", "int8_bytes": "bytes"}
"""Metric -> what the measurement of that target calls it."""
CONDITIONS = ("how", "processor", "threads", "repeats", "torch")


def deployment_facts(record: Record) -> dict[str, str]:
    """What the deployed student costs, and how that was measured, as lines of text."""
    measured = record.measurement("deployment.json")
    lines: dict[str, str] = {}
    for name, label in COSTS.items():
        value = measured.get(name)
        if is_number(value):
            lines[label] = f"{value:.3g} ms" if name.endswith("_ms") else f"{value:,}{' bytes' * (name[0] == 's')}"
    views = measured.get("views_ms")
    for name, value in views.items() if isinstance(views, dict) else ():
        if is_number(value):
            lines[f"to make the view {shorten(str(name), 30)}"] = f"{value:.3g} ms"
    for target, facts in _exports(measured).items():
        lines[f"exported as {shorten(str(target), 30)}"] = _export_text(facts)
    if "equal" in measured:
        number, low, high = measured["equal"]
        lines["the middle one"] = f"of {number} measurements of equal networks, {low:.3g} to {high:.3g} ms"
    return lines | {name: shorten(str(measured[name]), 1000) for name in CONDITIONS if name in measured}


def export_metrics(measured: Mapping[str, Any]) -> dict[str, float]:
    """The columns of a student's int8 file, of what is in its `deployment.json`; none without such a file."""
    facts = _exports(measured).get(EXPORT, {})
    found = {metric: float(facts[name]) for metric, name in EXPORT_COLUMNS.items() if is_number(facts.get(name))}
    one, other = facts.get("float32_accuracy"), facts.get("accuracy")
    if is_number(one) and is_number(other):
        found["int8_points_lost"] = 100 * (one - other)
    return found


def _exports(measured: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Target -> what was measured of its files."""
    exports = measured.get("exports")
    items = exports.items() if isinstance(exports, dict) else ()
    return {target: facts for target, facts in items if isinstance(facts, dict)}


def _export_text(facts: Mapping[str, Any]) -> str:
    """The scores, size and latency of exported files, as far as they were measured."""
    patterns = {
        "accuracy": "accuracy {:.3f}",
        "float32_accuracy": "in float32 {:.3f}",
        "bytes": "{:,} bytes",
        "latency_ms": "{:.3g} ms",
    }
    return ", ".join(text.format(facts[name]) for name, text in patterns.items() if is_number(facts.get(name)))


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
