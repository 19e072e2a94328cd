"""Units of a plan by several workers at a time: what `sweep.run_units` is for one."""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mmkd.core.errors import DamageWarning
from mmkd.core.progress import Progress
from mmkd.data import Dataset
from mmkd.engines.plan import Job, JobResult, run_plan
from mmkd.store.record import Record, Records
from mmkd.units.result import UnitResult
from mmkd.units.spec import UnitSpec


def run_jobs(
    units: Sequence[tuple[UnitSpec, Dataset]],
    plan: Sequence[Job],
    records: Records,
    engine: AbstractContextManager[Any],
    tell: Callable[[UnitResult], None],
    progress: Progress,
) -> list[UnitResult]:
    """Do a plan, and say what came of each of the units that it was made for, in their order.

    Args:
        engine: entered when there is something to do.
        tell: called as each unit ends.

    Raises:
        MmkdError: the runs folder cannot be written, or the engine does not start.
    """
    specs = {spec.key: spec for spec, _ in units}
    found: dict[str, UnitResult] = {}

    def enter(task: Job, how: JobResult) -> None:
        for note in how.notes:
            warnings.warn(note, DamageWarning, stacklevel=1)
        if task.kind != "unit" or task.key not in specs:
            if how.status == "done":
                progress.say(f"{task.title}: ready")
            return
        record = None if how.status == "failed" else _appears(records, task.key)
        if record is None:
            error = how.error or f"its record is not in {records.runs}: all nodes must share that folder"
            log = how.log or str(records.fail(task.key, error + "\n"))
            found[task.key] = UnitResult(task.spec, "failed", error=error, log=log)
        else:
            found[task.key] = UnitResult(task.spec, "cached" if how.status == "cached" else "done", record)
        tell(found[task.key])

    for task in plan:
        if task.there:
            enter(task, JobResult("cached"))
    if any(not task.there for task in plan):
        with records.lock("jobs"):  # a folder that cannot be written is refused before anything is done
            pass
        with engine as started:
            run_plan(plan, started, enter)
    return [found[key] for key in specs]


def _appears(records: Records, key: str, seconds: float = 60.0) -> Record | None:
    """The record; a shared folder may show what another node wrote some seconds late."""
    end = time.monotonic() + seconds
    while (record := records.get(key)) is None and time.monotonic() < end:
        time.sleep(0.5)
    return record
