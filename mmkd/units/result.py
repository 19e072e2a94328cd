"""The result of one unit, for the command, the table and `--json`."""

from dataclasses import dataclass
from typing import Any, Literal

from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.store.travelling import TravellingRecord


@dataclass(frozen=True)
class UnitResult:
    """The result of one unit.

    Attributes:
        status: "done", "cached" (it was on record), "failed", "missing" (not on record, under `--existing only`), or
            "refused" (its method cannot work with it, under `--method all`).
        record: the record, if the unit is done or cached.
        error: one line, if the unit failed, was refused, or is missing because its record is damaged.
        log: the file with the traceback, if the unit failed.
    """

    spec: UnitSpec
    status: Literal["done", "cached", "failed", "missing", "refused"]
    record: Record | None = None
    error: str = ""
    log: str = ""


def paths_of(record: Record) -> dict[str, str]:
    """Where a record is, and the weights of its student; of one that travelled here the file that it is a line of."""
    if isinstance(record, TravellingRecord):
        return {"records": str(record.source)}
    weights = {"student": str(record.folder / "student.safetensors")} if record.kind == "student" else {}
    return {"record": str(record.folder), **weights}


def as_json(result: UnitResult) -> dict[str, Any]:
    """The result of a unit as `--json` prints it."""
    spec = result.spec
    record = result.record
    values: dict[str, Any] = {
        "key": spec.key,
        "method": spec.method,
        "dataset": spec.data.name,
        "seed": spec.seed,
        "student": spec.student_name,
        "teachers": dict(spec.teachers),
        "options": dict(spec.options),
        "status": result.status,
    }
    if record is not None:
        facts = {name: record.data[name] for name in ("understood", "warnings") if name in record.data}
        values |= {"data": facts} if facts else {}  # older records do not say it
        values["metrics"] = {part: dict(scores) for part, scores in record.metrics.items()}
        values["parameters"] = record.parameters
        values["paths"] = paths_of(record)
    if result.error:
        values |= {"error": result.error} | ({"log": result.log} if result.log else {})
    return values
