"""Run units in worker processes or on Ray, as a workspace says."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmkd.core.errors import UnitFailed
from mmkd.data import Dataset
from mmkd.engines.plan import Job, make_plan
from mmkd.engines.sweep import run_units
from mmkd.specs.unit import UnitSpec
from mmkd.tasks.base import import_function
from mmkd.training.workspace import ENGINES, Workspace
from mmkd.units.result import UnitResult


def run_by_workers(
    units: Sequence[tuple[UnitSpec, Dataset]],
    workspace: Workspace,
    rerun: bool,
    broken: Mapping[str, UnitFailed],
    on_result: Callable[[UnitResult], None],
) -> list[UnitResult]:
    """Run the units in worker processes or on Ray; those whose method is broken fail without being started."""
    from mmkd.engines.engine import run_jobs

    failing = [(spec, data) for spec, data in units if spec.key in broken]
    results = run_units(failing, workspace, "rerun", on_result, broken)
    order = [spec.key for spec, _ in units]
    units = [(spec, data) for spec, data in units if spec.key not in broken]
    plan = make_plan(units, workspace.records, workspace.cache, rerun)
    results += run_jobs(units, plan, workspace, engine_of(plan, workspace), on_result)
    return sorted(results, key=lambda result: order.index(result.spec.key))


def engine_of(plan: Sequence[Job], workspace: Workspace) -> Any:
    """The engine that runs a plan: Ray, or worker processes."""
    from mmkd.engines.plan import pending
    from mmkd.engines.processes import ProcessEngine

    if workspace.engine in ENGINES:
        return import_function(ENGINES[workspace.engine].path)(workspace)
    return ProcessEngine(min(workspace.jobs, len(pending(plan))), workspace)
