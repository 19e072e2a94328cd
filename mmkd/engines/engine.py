"""Units of a plan by several workers at a time: what `sweep.run_units` is for one."""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mmkd.core.errors import DamageWarning
from mmkd.data import Dataset
from mmkd.engines.plan import Job, JobResult, run_plan
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record, Records
from mmkd.training.workspace import Workspace
from mmkd.units.result import UnitResult


def run_jobs(
    units: Sequence[tuple[UnitSpec, Dataset]],
    plan: Sequence[Job],
    workspace: Workspace,
    engine: AbstractContextManager[Any],
    on_result: Callable[[UnitResult], None],
) -> list[UnitResult]:
    """Do a plan, and say what came of each of the units that it was made for, in their order.

    Args:
        engine: entered when there is something to do.
        on_result: called as each unit ends.

    Raises:
        MmkdError: the runs folder cannot be written, or the engine does not start.
    """
    records = workspace.records
    specs = {spec.key: spec for spec, _ in units}
    results: dict[str, UnitResult] = {}

    def enter(job: Job, outcome: JobResult) -> None:
        for note in outcome.notes:
            warnings.warn(note, DamageWarning, stacklevel=1)
        if job.kind != "unit" or job.key not in specs:
            if outcome.status == "done":
                workspace.progress.say(f"{job.title}: ready")
            return
        record = None if outcome.status == "failed" else _appears(records, job.key)
        if record is None:
            error = outcome.error or f"its record is not in {records.runs}: all nodes must share that folder"
            log = outcome.log or str(records.write_failure(job.key, error + "\n"))
            results[job.key] = UnitResult(job.spec, "failed", error=error, log=log)
        else:
            results[job.key] = UnitResult(job.spec, "cached" if outcome.status == "cached" else "done", record)
        on_result(results[job.key])

    for job in plan:
        if job.exists:
            enter(job, JobResult("cached"))
    if any(not job.exists for job in plan):
        with records.lock("jobs"):  # a folder that cannot be written is refused before anything is done
            pass
        with engine as started:
            run_plan(plan, started, enter)
    return [results[key] for key in specs]


def _appears(records: Records, key: str, seconds: float = 60.0) -> Record | None:
    """The record; a shared folder may show what another node wrote some seconds late."""
    end = time.monotonic() + seconds
    while (record := records.get(key)) is None and time.monotonic() < end:
        time.sleep(0.5)
    return record
