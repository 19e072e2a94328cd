"""Many units: which are done, which are to do, one after the other, and what came of each."""

import traceback
from collections.abc import Callable, Sequence
from typing import Literal

from mmkd.core.errors import describe_error
from mmkd.data import Dataset
from mmkd.store.record import Record, Records
from mmkd.units.result import UnitResult
from mmkd.units.spec import UnitSpec

Existing = Literal["skip", "rerun", "only"]


def run_units(
    units: Sequence[tuple[UnitSpec, Dataset]],
    records: Records,
    work: Callable[[UnitSpec, Dataset], Record],
    existing: Existing = "skip",
    tell: Callable[[UnitResult], None] = lambda done: None,
) -> list[UnitResult]:
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
            done = UnitResult(spec, "cached" if record else "missing", record, records.fault(spec.key))
        else:
            done = run_one(spec, data, records, work, rerun=existing == "rerun")
        found.append(done)
        tell(done)
    return found


def run_one(spec: UnitSpec, data: Dataset, records: Records, work: Callable[..., Record], rerun: bool) -> UnitResult:
    """Do one unit under its lock, unless it is on record or gets there while we wait."""
    record = None if rerun else records.get(spec.key)
    if record is not None:
        return UnitResult(spec, "cached", record)
    with records.lock(spec.key):
        record = None if rerun else records.get(spec.key)  # another process may have done it while we waited
        if record is not None:
            return UnitResult(spec, "cached", record)
        try:
            return UnitResult(spec, "done", work(spec, data))
        except (Exception, SystemExit) as error:  # a method is anybody's code: its unit fails, the others go on
            return UnitResult(
                spec, "failed", error=describe_error(error), log=str(records.fail(spec.key, traceback.format_exc()))
            )
