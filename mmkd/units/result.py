"""What came of one unit, as the command, the table and `--json` read it."""

from dataclasses import dataclass
from typing import Any, Literal

from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record


@dataclass(frozen=True)
class UnitResult:
    """What came of one unit.

    Attributes:
        status: "done", "cached" (it was on record), "failed", "missing" (under `--existing only`), or "refused" (by a
            method that cannot work so, under `--method all`).
        record: of a unit that is done or cached.
        error: one line, of a unit that failed or was refused, or is missing because its record is damaged; of a failed
            one `log` names the file with the rest.
    """

    spec: UnitSpec
    status: Literal["done", "cached", "failed", "missing", "refused"]
    record: Record | None = None
    error: str = ""
    log: str = ""


def as_json(done: UnitResult) -> dict[str, Any]:
    """One unit as `--json` prints it."""
    spec, record = done.spec, done.record
    found: dict[str, Any] = {
        "key": spec.key,
        "method": spec.method,
        "dataset": spec.data.name,
        "seed": spec.seed,
        "student": spec.student_name,
        "teachers": dict(spec.teachers),
        "options": dict(spec.options),
        "status": done.status,
    }
    if record is not None:
        found["metrics"] = record.result["metrics"]
        found["parameters"] = record.parameters
        found["paths"] = {"record": str(record.folder), "student": str(record.folder / "student.safetensors")}
    if done.error:
        found |= {"error": done.error} | ({"log": done.log} if done.log else {})
    return found
