"""Run many units in this process, one after the other; units on record are skipped."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mmkd.core.errors import UnitFailed, describe_error
from mmkd.core.memory import return_freed_memory
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
    """Run the units that are not on record; if one fails, the others still run.

    Args:
        existing: "skip" units on record, "rerun" all units, or "only" read the records that exist.
        on_result: called with the result of each unit as it ends.
        broken: key -> the error of a unit that fails without being started.

    Returns:
        The results of the units, in their order.

    Raises:
        MmkdError: the runs folder cannot be written.
    """
    results = []
    for spec, data in units:
        if existing == "only":
            record = workspace.records.get(spec.key)
            status: Literal["cached", "missing"] = "cached" if record else "missing"
            has_files = record is not None and record.has_files
            damage = "" if has_files else workspace.records.describe_damage(spec.key)
            result = UnitResult(spec, status, record, damage)
        else:
            result = run_one(spec, data, workspace, existing == "rerun", (broken or {}).get(spec.key))
        results.append(result)
        on_result(result)
    return results


def run_one(
    spec: UnitSpec, data: Dataset, workspace: Workspace, rerun: bool = False, failure: UnitFailed | None = None
) -> UnitResult:
    """Run one unit under its lock, unless it is on record; another process may have run it while we waited.

    Args:
        rerun: run it even if it is on record.
        failure: if given, the unit fails with this error and is not started.
    """
    records = workspace.records
    record = None if rerun else records.get(spec.key)
    if record is not None:
        return UnitResult(spec, "cached", record)
    with records.lock(spec.key):
        record = None if rerun else records.get(spec.key)
        if record is not None:
            return UnitResult(spec, "cached", record)
        try:
            if failure is not None:
                raise failure
            return_freed_memory()
            return UnitResult(spec, "done", TASKS.get(spec.task).run_unit(spec, data, workspace))
        except (Exception, SystemExit) as error:  # a method may raise any error: only its unit fails
            log = records.write_failure(spec.key, traceback.format_exc())
            return UnitResult(spec, "failed", error=describe_error(error), log=str(log))
