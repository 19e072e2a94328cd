"""Students that cost the same, and the one measurement of their cost that stands for all of them. Needs no torch.

Equal networks that are timed at different moments differ by more than networks do. So one that is on record is not
timed again, and where older records have several times, all of them show the middle one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.specs.unit import student_sources
from mmkd.store.record import Record, read_json

DEPLOYMENT = "deployment.json"
EXPORTS = "exports"
"""The heading in `deployment.json` of what was measured of exported files, target by target; not shared with others."""
OWN = ("size_bytes", EXPORTS)
"""Headings that are of the record itself, and not of all students that cost the same."""
UNSTEADY = 2.0
"""A latency whose 95th percentile is over this many medians says more of the machine than of the network."""


def cost_key(record: Record) -> str:
    """A hash that is equal for students of the same cost: of everything but the weights that the cost depends on."""
    spec = record.unit
    data = record.data
    views = {name: view["config"] for name, view in record.result["views"].items()}
    parts: list[Any] = [spec.task, spec.student, spec.student_net, spec.fusion, views, student_sources(spec)]
    if record.result.get("deploys", "student") != "student":  # a method's own network
        parts += [spec.method, spec.options, spec.teachers, spec.method_sha256, spec.sources]
    return digest([*parts, spec.data.sha256, len(data["channels"]), data["window"], len(data["classes"])])


def lacks_costs(record: Record) -> bool:
    """Whether a record has measurements of exported files and not of the student itself, which was never timed."""
    measured = record.measurement(DEPLOYMENT)
    return EXPORTS in measured and "latency_ms" not in measured


def is_steady(measured: Mapping[str, Any]) -> bool:
    """Whether a latency is that of the network: its 95th percentile is at most `UNSTEADY` medians."""
    return bool(measured["latency_p95_ms"] <= UNSTEADY * measured["latency_ms"])


def middle(measurements: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The measurement with the median latency, of the steady ones if there are any; of two in the middle the lower.

    >>> middle([{"latency_ms": ms, "latency_p95_ms": p95} for ms, p95 in ((3, 4), (1, 9), (5, 6), (2, 3))])
    {'latency_ms': 3, 'latency_p95_ms': 4}
    """
    steady = [measured for measured in measurements if is_steady(measured)] or list(measurements)
    return sorted(steady, key=lambda measured: float(measured["latency_ms"]))[(len(steady) - 1) // 2]


def known_costs(runs: Path, conditions: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The costs on record: cost key -> the middle one of the measurements of equal students.

    Args:
        runs: the folder of the records.
        conditions: how it is measured now, such as the processor; only measurements under the same ones count.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for path in sorted(runs.glob(f"[!.]*/{DEPLOYMENT}")):
        record = Record(path.parent, read_json(path.parent / "result.json"))
        measured = _costs_of(record)
        if measured is None:
            continue
        measured = {name: value for name, value in measured.items() if name != EXPORTS}
        torch = (record.environment.get("versions") or {}).get("torch")  # older measurements do not name it
        if conditions.items() <= {"torch": torch, **measured}.items():
            found.setdefault(cost_key(record), []).append(measured)
    return {key: middle(measurements) for key, measurements in found.items()}


def _costs_of(record: Record) -> Mapping[str, Any] | None:
    """The measured cost of a student, or None if there is none that can be read."""
    try:
        if record.result.get("kind") != "student" or not (measured := record.measurement(DEPLOYMENT)):
            return None
        cost_key(record)
        is_steady(measured)
        return measured
    except (KeyError, TypeError, ValueError, AttributeError, MmkdError):  # a record that was edited by hand
        return None


def share_costs(records: Iterable[Record]) -> list[Record]:
    """The same records, where those of equal students on one kind of processor have one measurement: the middle one.

    Its `equal` says of how many measurements, and their lowest and highest latency.
    """
    records = list(records)
    groups: dict[tuple[str, str], list[int]] = {}
    measurements: dict[int, Mapping[str, Any]] = {}
    for number, record in enumerate(records):
        measured = _costs_of(record)
        if measured is not None:
            measurements[number] = measured
            groups.setdefault((cost_key(record), str(measured.get("processor"))), []).append(number)
    for numbers in groups.values():
        distinct = {float(measurements[number]["latency_ms"]): measurements[number] for number in numbers}
        if len(distinct) > 1:
            shared = {name: value for name, value in middle(list(distinct.values())).items() if name != EXPORTS}
            one = {**shared, "equal": [len(distinct), min(distinct), max(distinct)]}
            for number in numbers:
                own = {name: measurements[number][name] for name in OWN if name in measurements[number]}
                records[number] = replace(records[number], replaced={DEPLOYMENT: {**one, **own}})
    return records


def latency_notes(records: Iterable[Record]) -> list[str]:
    """What is to be known of the latencies of these records: several measurements of one network, and unsteady ones."""
    equal: dict[str, None] = {}
    unsteady: dict[str, str] = {}  # one line a student
    for record in records:
        measured = _costs_of(record)
        if measured is None:
            continue
        if "equal" in measured:
            number, low, high = measured["equal"]
            equal[
                f"latency: equal networks were measured {number} times, {low:.2f} to {high:.2f} ms; each shows the "
                f"middle one, {measured['latency_ms']:.2f} ms"
            ] = None
        if not is_steady(measured):
            unsteady.setdefault(
                record.unit.student_title,
                f"latency of {record.unit.student_title} is unsteady: p95 {measured['latency_p95_ms']:.2f} ms, over "
                f"twice the median of {measured['latency_ms']:.2f} ms; the machine was busy, so do not compare it "
                "(the same command measures it again)",
            )
    return [*equal, *unsteady.values()]
