"""Run the units of a plan on an engine with several workers; `sweep.run_units` runs units in this process."""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mmkd.core.errors import DamageWarning
from mmkd.data import Dataset
from mmkd.engines.plan import Job, JobResult, run_plan
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.training.workspace import Workspace
from mmkd.units.result import UnitResult


def run_jobs(
    units: Sequence[tuple[UnitSpec, Dataset]],
    plan: Sequence[Job],
    workspace: Workspace,
    engine: AbstractContextManager[Any],
    on_result: Callable[[UnitResult], None],
) -> list[UnitResult]:
    """Run the jobs of a plan.

    Args:
        units: the units that the plan was made for.
        engine: an engine; it is entered if there are jobs to run.
        on_result: called with the result of each unit as it ends.

    Returns:
        The results of the units, in their order.

    Raises:
        MmkdError: the runs folder cannot be written, or the engine does not start.
    """
    records = workspace.records
    specs = {spec.key: spec for spec, _ in units}
    results: dict[str, UnitResult] = {}
    overview = workspace.progress.overview

    def start(job: Job) -> None:
        if overview is not None and workspace.engine == "local":  # Ray has a queue of its own
            overview.start_elsewhere(job)

    def report(job: Job, job_result: JobResult) -> None:
        if overview is not None:
            overview.end(job.id)
        for note in job_result.notes:
            warnings.warn(note, DamageWarning, stacklevel=1)
        if job.kind != "unit" or job.key not in specs:
            if job_result.status == "done":
                workspace.progress.say(f"{job.title}: ready")
            return
        record = None if job_result.status == "failed" else _wait_for_record(records, job)
        if record is None:
            error = job_result.error or f"its record is not in {records.runs}: all nodes must share that folder"
            log = job_result.log or str(records.write_failure(job.key, error + "\n"))
            results[job.key] = UnitResult(job.spec, "failed", error=error, log=log)
        else:
            results[job.key] = UnitResult(job.spec, "cached" if job_result.status == "cached" else "done", record)
        on_result(results[job.key])

    for job in plan:
        if job.exists:
            report(job, JobResult("cached"))
    if any(not job.exists for job in plan):
        with records.lock("jobs"):  # an error here, before anything is run, if the folder cannot be written
            pass
        with engine as running_engine:
            run_plan(plan, running_engine, report, start)
    return [results[key] for key in specs]


def _wait_for_record(records: Records, job: Job, seconds: float = 60.0) -> Record | None:
    """The record of a unit, or None; on a shared folder, files of another node may be visible some seconds later."""
    deadline = time.monotonic() + seconds
    read = records.get if job.exists else records.get_whole
    while (record := read(job.key)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return record
