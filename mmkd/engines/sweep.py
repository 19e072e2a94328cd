"""Many units in this process, one after the other: which are on record, which are to be done, what came of each."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mmkd.core.errors import UnitFailed, describe_error
from mmkd.data import Dataset
from mmkd.specs.unit import UnitSpec
from mmkd.tasks import TASKS
from mmkd.training.workspace import Workspace
from mmkd.units.result import UnitResult

Existing = Literal["skip", "rerun", "only"]


def run_units(
    units: Sequence[tuple[UnitSpec, Dataset]],
    workspace: Workspace,
    existing: Existing = "skip",
    on_result: Callable[[UnitResult], None] = lambda result: None,
    broken: Mapping[str, UnitFailed] | None = None,
) -> list[UnitResult]:
    """Do the units that are not on record; a failed one does not stop the others.

    Args:
        existing: "skip" units on record, "rerun" all, or "only" read what is there.
        on_result: called as each unit ends.
        broken: key -> why a unit fails without being started.

    Raises:
        MmkdError: the runs folder cannot be written.
    """
    results = []
    for spec, data in units:
        if existing == "only":
            record = workspace.records.get(spec.key)
            status: Literal["cached", "missing"] = "cached" if record else "missing"
            result = UnitResult(spec, status, record, workspace.records.describe_damage(spec.key))
        else:
            result = run_one(spec, data, workspace, existing == "rerun", (broken or {}).get(spec.key))
        results.append(result)
        on_result(result)
    return results


def run_one(
    spec: UnitSpec, data: Dataset, workspace: Workspace, rerun: bool = False, failure: UnitFailed | None = None
) -> UnitResult:
    """Do one unit under its lock, unless it is on record or gets there while we wait.

    Args:
        failure: the unit fails with this error, and is not started.
    """
    records = workspace.records
    record = None if rerun else records.get(spec.key)
    if record is not None:
        return UnitResult(spec, "cached", record)
    with records.lock(spec.key):
        record = None if rerun else records.get(spec.key)  # another process may have done it while we waited
        if record is not None:
            return UnitResult(spec, "cached", record)
        try:
            if failure is not None:
                raise failure
            return UnitResult(spec, "done", TASKS.get(spec.task).run_unit(spec, data, workspace))
        except (Exception, SystemExit) as error:  # a method is anybody's code: its unit fails, the others go on
            log = records.write_failure(spec.key, traceback.format_exc())
            return UnitResult(spec, "failed", error=describe_error(error), log=str(log))
