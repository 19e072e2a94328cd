"""Many units: which are done, which are to do, one after the other, and what came of each."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmkd.core.registry import reason
from mmkd.data import Dataset
from mmkd.store.record import Record, Records
from mmkd.units.spec import UnitSpec

Existing = Literal["skip", "rerun", "only"]


@dataclass(frozen=True)
class Done:
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


def run_units(
    units: Sequence[tuple[UnitSpec, Dataset]],
    records: Records,
    work: Callable[[UnitSpec, Dataset], Record],
    existing: Existing = "skip",
    tell: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Do the units that are not on record; a failed one does not stop the others.

    Args:
        work: does one unit and writes its record.
        existing: "skip" units on record, "rerun" all, or "only" read what is there.
        tell: called as each unit ends.

    Raises:
        MmkdError: the runs folder cannot be written.
    """
    found = []
    for spec, data in units:
        if existing == "only":
            record = records.get(spec.key)
            done = Done(spec, "cached" if record else "missing", record, records.fault(spec.key))
        else:
            done = one(spec, data, records, work, rerun=existing == "rerun")
        found.append(done)
        tell(done)
    return found


def one(spec: UnitSpec, data: Dataset, records: Records, work: Callable[..., Record], rerun: bool) -> Done:
    """Do one unit under its lock, unless it is on record or gets there while we wait."""
    record = None if rerun else records.get(spec.key)
    if record is not None:
        return Done(spec, "cached", record)
    with records.lock(spec.key):
        record = None if rerun else records.get(spec.key)  # another process may have done it while we waited
        if record is not None:
            return Done(spec, "cached", record)
        try:
            return Done(spec, "done", work(spec, data))
        except (Exception, SystemExit) as error:  # a method is anybody's code: its unit fails, the others go on
            return Done(spec, "failed", error=reason(error), log=str(records.fail(spec.key, traceback.format_exc())))


def as_json(done: Done) -> dict[str, Any]:
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
        found["metrics"] = record.metrics
        found["parameters"] = record.result["parameters"]
        found["paths"] = {"record": str(record.folder), "student": str(record.folder / "student.safetensors")}
    if done.error:
        found |= {"error": done.error} | ({"log": done.log} if done.log else {})
    return found
