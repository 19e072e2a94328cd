"""Run one job of a plan in a worker process. Light to import, because the process first sets its threads."""

import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import DamageWarning, MmkdError, describe_error

if TYPE_CHECKING:
    from mmkd.engines.plan import JobResult

Values = Mapping[str, Any]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def perform(job: Values, workspace: Values) -> dict[str, Any]:
    """Run one job.

    Args:
        job: the values of `plan.Job.values`.
        workspace: the values of `Workspace.to_json`.

    Returns:
        The fields of a `plan.JobResult`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # the command has printed the warnings when it tried the units
        warnings.simplefilter("always", DamageWarning)
        result = _attempt(job, workspace)
    return result | {"notes": list(dict.fromkeys(str(warning.message) for warning in caught))}


def _attempt(job: Values, workspace: Values) -> dict[str, Any]:
    try:
        return asdict(_perform(job, workspace))
    except (Exception, SystemExit) as error:  # errors of a unit itself are caught by `run_one`
        from mmkd.store.records import Records

        log = ""
        with suppress(MmkdError):
            log = str(Records(workspace["runs"]).write_failure(job["key"], traceback.format_exc()))
        return {"status": "failed", "error": describe_error(error), "log": log}


def _perform(job: Values, values: Values) -> "JobResult":
    import torch

    from mmkd.core.memory import keep_freed_memory
    from mmkd.core.plugins import load_plugin
    from mmkd.engines.plan import JobResult
    from mmkd.engines.sweep import run_one
    from mmkd.specs.unit import UnitSpec
    from mmkd.tasks import TASKS
    from mmkd.training.preparation import make_teacher
    from mmkd.training.unit_windows import load_view
    from mmkd.training.workspace import Workspace
    from mmkd.units.sources import check_loaded
    from mmkd.units.splits import select_fold

    keep_freed_memory()
    torch.set_num_threads(values["threads"])
    workspace = Workspace.from_json(values)
    for plugin in workspace.plugins:
        load_plugin(plugin)
    spec = UnitSpec.parse(job["spec"])
    check_loaded(spec, "has changed since the command began; start it again")
    data = select_fold(TASKS.get(spec.task).accept(workspace.load(spec.data)), spec.data)
    if data.sha256 != spec.data.sha256:
        raise MmkdError(f"data {data.name!r} has changed since the command began; start it again")
    if job["kind"] == "unit":
        if spec.key != job["key"]:
            raise MmkdError("mmkd has changed since the command began; start it again")
        result = run_one(spec, data, workspace, rerun=job["rerun"])
        assert result.status in ("done", "cached", "failed")
        return JobResult(result.status, result.error, result.log)
    if job["kind"] == "view":
        load_view(job["modality"], spec, data, workspace)
    else:
        make_teacher(job["modality"], spec, data, workspace)
    return JobResult("done")
