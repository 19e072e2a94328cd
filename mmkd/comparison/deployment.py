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
EXPORT_COLUMNS = {
    "onnx-int8": {"int8_accuracy": "accuracy", "int8_bytes": "bytes"},
    "c": {
        "c_macro_f1": "macro_f1",
        "c_weight_bytes": "weight_bytes",
        "c_arena_bytes": "arena_bytes",
        "c_flash_bytes": "flash_bytes",
        "c_instructions": "instructions",
    },
}
"""Target -> metric, a column of a comparison -> what the measurement of that target calls it."""
EXPORT_LOSSES = {"onnx-int8": ("int8_points_lost", "accuracy"), "c": ("c_points_lost", "macro_f1")}
"""Target -> metric, and the score whose points are lost against the student in float32."""
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
    """The columns of a student's exported files, of what is in its `deployment.json`; none without such files."""
    found: dict[str, float] = {}
    exports = _exports(measured)
    for target, columns in EXPORT_COLUMNS.items():
        facts = exports.get(target, {})
        found |= {metric: float(facts[name]) for metric, name in columns.items() if is_number(facts.get(name))}
        metric, score = EXPORT_LOSSES[target]
        one, other = facts.get(f"float32_{score}"), facts.get(score)
        if is_number(one) and is_number(other):
            found[metric] = 100 * (one - other)
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
        "macro_f1": "macro-F1 {:.3f}",
        "float32_macro_f1": "in float32 {:.3f}",
        "bytes": "{:,} bytes",
        "latency_ms": "{:.3g} ms",
        "weight_bytes": "{:,} bytes of weights",
        "arena_bytes": "{:,} bytes of arena",
        "flash_bytes": "{:,} bytes of flash on a Cortex-M4",
        "instructions": "{:,} instructions a window",
    }
    return ", ".join(text.format(facts[name]) for name, text in patterns.items() if is_number(facts.get(name)))


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
