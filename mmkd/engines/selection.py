"""The selection phase of a request (`--select FOLDS`): what it trains, and how.

In each fold of the training part the student is trained alone, and each teacher; the fold is their test part. Nothing
of it reads the test windows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmkd.core.errors import describe_error
from mmkd.core.options import shown
from mmkd.data import Dataset
from mmkd.engines.sweep import run_one
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import beside_teachers, student_alone
from mmkd.units.request import Request
from mmkd.units.result import UnitResult
from mmkd.units.selection import in_fold
from mmkd.units.splits import split_for

if TYPE_CHECKING:
    from mmkd.comparison.selection import Selection

Units = Sequence[tuple[UnitSpec, Dataset]]


@dataclass(frozen=True)
class Phase:
    """What a selection phase trains.

    Attributes:
        alone: the students alone, one for each student, seed and fold.
        taught: units whose teachers are trained, without the units themselves; each teacher once.
        left_out: one line for each teacher that is not trained in folds, and so has no gap.
    """

    alone: Units = ()
    taught: Units = ()
    left_out: Sequence[str] = ()

    def missing(self, workspace: Workspace) -> list[tuple[UnitSpec, str, Dataset]]:
        """The teachers that are not on record: a unit, its modality and the data."""
        found = {}
        for spec, data in self.taught:
            for name in spec.teachers:
                key = spec.teacher(name).key
                if key not in found and workspace.records.get(key) is None:
                    found[key] = spec, name, data
        return list(found.values())

    def records(self, workspace: Workspace) -> list[Record]:
        """Those of its records that exist."""
        keys = [spec.key for spec, _ in self.alone]
        keys += [spec.teacher(name).key for spec, _ in self.taught for name in spec.teachers]
        return [record for record in map(workspace.records.get, dict.fromkeys(keys)) if record is not None]

    def selections(self, workspace: Workspace) -> "list[Selection]":
        """The gaps that its records show."""
        from mmkd.comparison.selection import selections  # slow to load, and few requests have such a phase

        return selections(self.records(workspace))


def phase_of(request: Request, units: Units) -> Phase:
    """The selection phase of a request and its units; where none has a teacher, with the teachers that it names."""
    if request.select and not any(spec.teachers for spec, _ in units):
        units = [(own, data) for spec, data in units for own in beside_teachers(request, spec, data)]
    return plan_phase(units, request.select)


def plan_phase(units: Units, folds: int | None) -> Phase:
    """The selection phase of these units; without `folds` nothing.

    Teachers that are peers are left out: they are no networks and have rows of their own. So is a teacher whose
    weights were given: nobody knows which windows it has seen.

    Raises:
        MmkdError: a training part cannot be cut into so many folds.
    """
    alone: dict[str, tuple[UnitSpec, Dataset]] = {}
    taught: dict[str, tuple[UnitSpec, Dataset]] = {}
    left_out: dict[str, None] = {}
    for spec, data in units:
        for number in range(1, (folds or 0) + 1):
            inner = in_fold(spec, number, folds or 0)
            split_for(data, inner.data, inner.seed)
            single = student_alone(inner)
            alone.setdefault(single.key, (single, data))
            names = [name for name in inner.network_teachers if name not in inner.checkpoint_sha256]
            left_out |= {_why_left_out(inner, name): None for name in inner.teachers if name not in names}
            if names:
                keys = shown([inner.teacher(name).key for name in names])
                taught.setdefault(keys, (replace(inner, teachers={n: inner.teachers[n] for n in names}), data))
    return Phase(list(alone.values()), list(taught.values()), list(left_out))


def _why_left_out(spec: UnitSpec, name: str) -> str:
    """One line on a teacher that the phase does not train."""
    if name in spec.checkpoint_sha256:
        why = "its weights were given, and may have seen any window"
    else:
        why = "it is no network; mmkd.compare has its row"
    return f"selection: no gap of teacher {spec.teacher(name).title}: {why}"


def run_phase(phase: Phase, workspace: Workspace, on_result: Callable[[UnitResult], None]) -> list[str]:
    """Train in this process what is not on record; one line for each training that failed.

    Args:
        on_result: called with the result of each student as it ends.
    """
    from mmkd.training.preparation import make_teacher

    problems = []
    for spec, data in phase.alone:
        result = run_one(spec, data, workspace)
        on_result(result)
        if result.record is None:
            problems.append(_problem(spec, "student alone", result.error))
    for spec, name, data in phase.missing(workspace):
        try:
            make_teacher(name, spec, data, workspace)
        except Exception as error:  # of a plugin's network: the others go on
            problems.append(_problem(spec, f"teacher {spec.teacher(name).title}", describe_error(error)))
    return problems


def enter_results(phase: Phase, workspace: Workspace, results: Sequence[UnitResult]) -> list[str]:
    """Write the records of teachers that the cache has; one line for each training that failed in a worker."""
    from mmkd.training.preparation import make_teacher

    problems = [_problem(result.spec, "student alone", result.error) for result in results if result.record is None]
    for spec, name, data in phase.missing(workspace):
        if workspace.cache.find_damage("teachers", spec.teacher(name).key) is None:
            make_teacher(name, spec, data, workspace)
        else:
            problems.append(_problem(spec, f"teacher {spec.teacher(name).title}", "its worker failed"))
    return problems


def _problem(spec: UnitSpec, what: str, error: str) -> str:
    number, folds = spec.data.inner_fold
    return f"selection, {spec.data.name}, seed {spec.seed}, fold {number} of {folds}: {what} failed: {error}"
