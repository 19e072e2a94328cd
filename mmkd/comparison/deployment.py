"""What the deployed student of a record costs, as text."""

import math
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
    if "equal" in measured:
        number, low, high = measured["equal"]
        lines["the middle one"] = f"of {number} measurements of equal networks, {low:.3g} to {high:.3g} ms"
    return lines | {name: shorten(str(measured[name]), 1000) for name in CONDITIONS if name in measured}


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
