"""Execute a request: try its units, run them, measure their students, and collect the records of its table.

This module is light to import: that of comparisons is left to what reads records, and a dry run does without.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mmkd.core.errors import DataWarning, MmkdError, Refused, UnitFailed
from mmkd.core.progress import duration
from mmkd.data import Dataset
from mmkd.engines.plan import make_plan
from mmkd.engines.remaining import Remaining
from mmkd.engines.selection import Phase, enter_results, phase_of, run_phase
from mmkd.engines.sweep import Existing, run_units
from mmkd.engines.tuning import Tuning, distinct, expand_with_tuning, notes_of, plan_tuning, run_tuning, write_frozen
from mmkd.engines.workers import engine_of, run_by_workers
from mmkd.specs.unit import TeacherSpec, UnitSpec
from mmkd.store.record import Record
from mmkd.store.travelling import MEASURED, TravellingRecord
from mmkd.tasks import TASKS
from mmkd.tasks.base import import_function
from mmkd.training.workspace import ENGINES, Workspace
from mmkd.units.augmentations import said_of_cards
from mmkd.units.costs import DEPLOYMENT, lacks_costs, latency_notes
from mmkd.units.expansion import reads_teachers, student_alone
from mmkd.units.methods import may_be_left_out
from mmkd.units.rare_classes import notes_of_rare_classes
from mmkd.units.request import Request
from mmkd.units.result import UnitResult
from mmkd.units.tuned import Choice
from mmkd.units.understood import Understood, refuse_warnings, understand, warning_lines

if TYPE_CHECKING:
    from mmkd.comparison.selection import Selection

Units = list[tuple[UnitSpec, Dataset]]
OnResult = Callable[[UnitResult], None]


@dataclass(frozen=True)
class Outcome:
    """The results of a request, and the records that its table is made of.

    Attributes:
        results: one a unit.
        teachers: records of the teachers.
        students_alone: key of a unit -> record of its student trained alone under the same seed, if there is one.
        unmeasured: one line for each measurement that failed.
        references: records of the task's reference rows, such as the simple detectors of anomalies.
        data_warnings: one line for each thing that is suspicious in the data.
        selections: the gaps of the selection phase, of each data set and student.
        unselected: one line for each teacher that has no gap there.
        tunings: what was chosen in the tuning phase.
        tried: the records of that phase.
        untuned: one line for each method that was not tuned, or not as often as asked.
        failed_selections: one line for each training of the selection or tuning phase that failed.
    """

    results: Sequence[UnitResult]
    teachers: Sequence[Record]
    students_alone: Mapping[str, Record] = field(default_factory=dict)
    unmeasured: Sequence[str] = ()
    references: Sequence[Record] = ()
    data_warnings: Sequence[str] = ()
    selections: "Sequence[Selection]" = ()
    unselected: Sequence[str] = ()
    tunings: Sequence[Choice] = ()
    tried: Sequence[Record] = ()
    untuned: Sequence[str] = ()
    failed_selections: Sequence[str] = ()

    @property
    def lost_teachers(self) -> dict[str, str]:
        """Key -> title of each teacher of a student on record that is not on record itself."""
        known = {record.key for record in self.teachers}
        return {
            teacher.key: f"teacher {teacher.title} of {result.spec.method}, seed {result.spec.seed}"
            for result in self.results
            if result.record is not None
            for teacher in _teachers_of(result.spec)
            if teacher.key not in known
        }

    @property
    def records(self) -> list[Record]:
        """Every record of the request, without repeats."""
        units = [result.record for result in self.results if result.record is not None]
        records = [*self.teachers, *units, *self.students_alone.values(), *self.references]
        return list({record.key: record for record in records}.values())


def execute(
    request: Request,
    workspace: Workspace,
    existing: Existing = "skip",
    on_result: OnResult = lambda result: None,
    measurements: Sequence[str] = (),
    given: Dataset | None = None,
) -> Outcome:
    """Run all units of a request, then measure their students.

    Every unit is first tried on random windows, so that errors are raised before anything is trained or written. A
    method that refuses is left out, with its reason, where a word such as `all` stands for it, and a control that
    `--with-controls` adds.

    Args:
        existing: "skip" units on record, "rerun" them, or "only" read their records.
        on_result: called with the result of each unit as it ends.
        measurements: those of `record.MEASUREMENTS` that are made of each student, if its record lacks them.
        given: windows in memory, in place of those that the request names; units then run in this process.

    Raises:
        MmkdError: the request, its data or one of its units cannot be run.
    """
    check_travelled(workspace.records.travelled.values())
    if given is not None and (workspace.uses_workers or workspace.group.world_size > 1):
        raise MmkdError(f"data {given.name!r} is in the memory of this process; save a file for others: np.savez")
    units, bases = expand_with_tuning(request, given)
    understood = understand(units, request.data)
    if request.strict:
        refuse_warnings(understood)
    if "robustness.json" in measurements and any(data.grid for _, data in units):
        raise MmkdError("--robustness disturbs signals, and these data are images; leave it out")
    leave_out = may_be_left_out(request.methods, request.with_controls)
    todo = _to_try(units, workspace, existing, leave_out)
    refused, broken = try_units(todo, workspace, leave_out)
    remaining = [(spec, data) for spec, data in units if spec.key not in refused]
    phase = phase_of(request, remaining)
    tuning = plan_tuning(request, remaining, bases, broken)
    say_what_was_understood(understood, workspace.progress.say)
    for line in said_of_cards(request, (data for _, data in units)):
        workspace.progress.say(line)
    selecting = bool(phase.alone) and existing != "only"
    results = [UnitResult(spec, "refused", error=refused[spec.key]) for spec, _ in units if spec.key in refused]
    for result in results:
        on_result(result)
    runs = [(spec, data) for spec, data in todo if spec.key not in refused] if existing != "only" else []
    for line in notes_of_rare_classes(runs):
        workspace.progress.say(line)
    if runs or selecting or ((tuning.tries or tuning.frozen) and existing != "only"):
        _begin([spec for spec, _ in (*runs, *phase.alone, *tuning.units)], workspace)
    choices, failed = _tune(tuning, request, workspace, existing)
    units, remaining = tuning.extend(units, choices), tuning.extend(remaining, choices)
    pending = existing == "rerun" or (
        existing != "only" and any(workspace.records.get(spec.key) is None for spec, _ in remaining)
    )
    overview = None
    if (pending or selecting) and workspace.progress.shows:
        overview = _overview(remaining, phase, workspace, existing == "rerun")
    with workspace.progress.overall(overview):

        def advance(result: UnitResult) -> None:
            on_result(result)
            if overview is not None:
                overview.end(f"unit/{result.spec.key}")

        def advance_selection(result: UnitResult) -> None:
            if overview is not None:
                overview.end(f"unit/{result.spec.key}")

        if selecting:
            failed += _run_phase(phase, workspace, advance_selection)
            for selection in phase.selections(workspace):
                for line in selection.lines:
                    workspace.progress.say(line)
        if workspace.uses_workers and pending:
            results += run_by_workers(remaining, workspace, existing == "rerun", broken, advance)
        else:
            results += run_units(remaining, workspace, existing, advance, broken)
    results = [_read_again(result, workspace) for result in results]
    for line in workspace.records.differences(result.record for result in results if result.record is not None):
        workspace.progress.say(f"warning: {line}")
    said = warning_lines(understood)
    peers = TASKS.get(request.task).chosen_references(request.peers, request.preset)
    outcome = _outcome(units, results, workspace, existing != "only", measurements, said, peers)
    selections = phase.selections(workspace) if phase.alone else ()
    return replace(
        outcome,
        selections=selections,
        unselected=phase.left_out,
        tunings=distinct(choices),
        tried=tuning.records(workspace.records),
        untuned=notes_of(tuning, request.tune or 0, choices),
        failed_selections=failed,
    )


def _read_again(result: UnitResult, workspace: Workspace) -> UnitResult:
    """The result with the record that is in the runs folder now.

    A unit whose record travelled here may have been trained after its result was told, for a unit that needs its
    weights; all else that is shown is of that training.
    """
    if not isinstance(result.record, TravellingRecord):
        return result
    return replace(result, record=workspace.records.get(result.spec.key))


def check_travelled(records: Iterable[TravellingRecord]) -> None:
    """Refuse records that travelled here and cannot stand in a table; those of unknown tasks are passed over.

    Raises:
        MmkdError: there is such a record.
    """
    for record in records:
        from mmkd.comparison.compare import why_unusable  # slow to load, and most commands have none

        if record.spec.task in TASKS and (why := why_unusable(record)):
            raise MmkdError(f"--records {record.source}: record {record.key}: {why}; remove its line")


def _begin(specs: Sequence[UnitSpec], workspace: Workspace) -> None:
    """What comes before the first training of a command: other processes hear of it, the machine is made ready."""
    if workspace.group.world_size > 1:
        workspace.group.announce("command", **replace(workspace, device=str(workspace.torch_device)).to_json())
    prepare = import_function("mmkd.training.machine:prepare_machine")
    prepare(specs, workspace)


def _tune(
    tuning: Tuning, request: Request, workspace: Workspace, existing: Existing
) -> tuple[dict[str, Choice], list[str]]:
    """Run the tuning phase: setting -> what it chose, and one line for each training that failed."""
    failed: list[str] = []
    if tuning.tries:
        overview = None
        if existing != "only" and workspace.progress.shows:
            overview = _overview(tuning.units, Phase(), workspace, existing == "rerun")

        def advance(result: UnitResult) -> None:
            if overview is not None:
                overview.end(f"unit/{result.spec.key}")

        with workspace.progress.overall(overview):
            failed = run_tuning(tuning, workspace, existing, advance)
    choices = tuning.choices(workspace.records)
    lines = [choice.line for choice in distinct(choices)] + notes_of(tuning, request.tune or 0, choices)
    if request.freeze is not None:
        lines += write_frozen(tuning, choices, request.freeze)
    for line in lines:
        workspace.progress.say(line)
    return choices, failed


def check_units(request: Request, workspace: Workspace, existing: Existing = "skip") -> None:
    """Try the units of a request on random windows, as `execute` does first, and run none.

    Raises:
        MmkdError: the request, its data or one of its units cannot be run.
    """
    leave_out = may_be_left_out(request.methods, request.with_controls)
    units, bases = expand_with_tuning(request)
    refused, broken = try_units(_to_try(units, workspace, existing, leave_out), workspace, leave_out)
    plan_tuning(request, [(spec, data) for spec, data in units if spec.key not in refused], bases, broken)


def _to_try(units: Units, workspace: Workspace, existing: Existing, leave_out: Callable[[str], bool]) -> Units:
    """The units that may have to be trained, and of those that are only read the ones that may refuse."""
    if existing == "rerun":
        return units
    lacking = [(spec, data) for spec, data in units if workspace.records.get(spec.key) is None]
    return [(spec, data) for spec, data in lacking if existing != "only" or leave_out(spec.method)]


def _overview(units: Units, phase: Phase, workspace: Workspace, rerun: bool) -> Remaining:
    """What is to be trained for these units, and how long it takes."""
    plan = make_plan([*phase.alone, *units], workspace.records, workspace.cache, rerun, phase.taught)
    workers = workspace.jobs if workspace.engine not in ENGINES else None
    return Remaining(
        plan, workspace.records, workers=workers, threads=workspace.threads, device=str(workspace.torch_device)
    )


def say_what_was_understood(understood: Sequence[Understood], say: Callable[[str], None]) -> None:
    """Say what was understood of the data, a line each, and warn of what is suspicious.

    Args:
        say: shows a line.
    """
    for data in understood:
        say(data.line)
    for line in warning_lines(understood):
        warnings.warn(line, DataWarning, stacklevel=1)  # always from this line: shown once


def try_units(
    units: Units, workspace: Workspace, leave_out: Callable[[str], bool]
) -> tuple[Mapping[str, str], Mapping[str, UnitFailed]]:
    """Try units on random windows; of units that differ only in their seed, one is tried.

    Args:
        leave_out: whether a method of this name is left out if it refuses; else its error is raised.

    Returns:
        Key of a unit -> why its method refuses; and key of a unit -> the error of its broken method.

    Raises:
        MmkdError: a unit cannot be run.
    """
    if not units:
        return {}, {}
    from mmkd.training.trial import preflight

    _ = workspace.torch_device  # raises first if there is no such device
    errors: dict[str, MmkdError | None] = {}
    idle: dict[tuple[str, str], bool] = {}  # (method, option) -> whether it changes nothing in any unit
    refused: dict[str, str] = {}
    broken: dict[str, UnitFailed] = {}
    for spec, data in units:
        key = spec.key if spec.seed == 0 else replace(spec, seed=0).key
        if key not in errors:
            errors[key] = None
            try:
                for option, does_nothing in preflight(spec, data).items():
                    idle[spec.method, option] = idle.get((spec.method, option), True) and does_nothing
            except MmkdError as found:
                errors[key] = found
        error = errors[key]
        if isinstance(error, UnitFailed):  # only the units of this method fail
            broken[spec.key] = error
        elif error is not None:
            if not leave_out(spec.method) or not isinstance(error, Refused):
                raise error
            refused[spec.key] = str(error)
    for method, option in (each for each, does_nothing in idle.items() if does_nothing):
        flag = option.replace("_", "-")
        reason = f"{method}: --{flag} changes nothing with this student, these teachers and these options; leave it out"
        if not leave_out(method):
            raise MmkdError(reason)
        refused.update({spec.key: reason for spec, _ in units if spec.method == method})
    return refused, broken


def _run_phase(phase: Phase, workspace: Workspace, on_result: OnResult) -> list[str]:
    """Train what the selection phase lacks, in this process or by workers; one line for each training that failed."""
    from mmkd.engines.engine import run_jobs

    plan = make_plan(phase.alone, workspace.records, workspace.cache, taught=phase.taught)
    if workspace.uses_workers and any(not job.exists for job in plan):
        return enter_results(
            phase, workspace, run_jobs(phase.alone, plan, workspace, engine_of(plan, workspace), on_result)
        )
    return run_phase(phase, workspace, on_result)


def _outcome(
    units: Units,
    results: Sequence[UnitResult],
    workspace: Workspace,
    make: bool,
    measurements: Sequence[str],
    data_warnings: Sequence[str],
    peers: Sequence[str],
) -> Outcome:
    """The outcome of a request; if `make`, missing measurements and the reference rows `peers` are made first."""
    from mmkd.comparison.predictions import with_current_scores

    records = workspace.records
    if make:
        _restore_teachers(units, results, workspace)
    keys = dict.fromkeys(result.spec.teacher(name).key for result in results for name in result.spec.teachers)
    alone: dict[str, Record] = {}
    for spec, _ in units:
        record = records.get(student_alone(spec).key)
        if record is not None:
            alone[spec.key] = record
    problems = measure_students(units, results, workspace, measurements) if make else []
    references, more_problems = _references(units, results, workspace, make, peers)
    return Outcome(
        results=[replace(result, record=result.record and with_current_scores(result.record)) for result in results],
        teachers=[with_current_scores(record) for record in map(records.get, keys) if record is not None],
        students_alone={key: with_current_scores(record) for key, record in alone.items()},
        unmeasured=[*problems, *more_problems],
        references=references,
        data_warnings=data_warnings,
    )


def _teachers_of(spec: UnitSpec) -> list[TeacherSpec]:
    """The teachers that a unit was trained with."""
    return [spec.teacher(name) for name in spec.teachers] if reads_teachers(spec.method) else []


def _restore_teachers(units: Units, results: Sequence[UnitResult], workspace: Workspace) -> None:
    """Write lost records of the teachers of units that were on record, where the cache has the teachers."""
    datasets = {spec.key: data for spec, data in units}
    for result in results:
        lost = [] if result.status != "cached" else _teachers_of(result.spec)
        lost = [teacher for teacher in lost if workspace.records.get(teacher.key) is None]
        if lost and all(workspace.cache.find_damage("teachers", teacher.key) is None for teacher in lost):
            with suppress(MmkdError):  # it stays lost, and is said to be
                import_function("mmkd.training.preparation:prepare_unit")(
                    result.spec, datasets[result.spec.key], workspace
                )


def _references(
    units: Units, results: Sequence[UnitResult], workspace: Workspace, make: bool, names: Sequence[str]
) -> tuple[list[Record], list[str]]:
    """The records of the reference rows of these units, and one line for each error; if `make`, run missing ones."""
    from mmkd.comparison.predictions import with_current_scores

    on_record = {result.spec.key for result in results if result.record is not None}
    records: dict[str, Record] = {}
    problems: dict[str, None] = {}
    done = set()
    for spec, data in units:
        path = TASKS.get(spec.task).references
        shared = spec.data, spec.seed, spec.student
        if path and spec.key in on_record and shared not in done:
            done.add(shared)
            references, errors = import_function(path)(spec, data, workspace, names, make)
            records |= {record.key: with_current_scores(record) for record in references}
            problems |= dict.fromkeys(errors)
    return list(records.values()), list(problems)


def measure_students(
    units: Units, results: Sequence[UnitResult], workspace: Workspace, measurements: Sequence[str]
) -> list[str]:
    """Make the measurements that the records of these units lack, in this process; one line for each that failed.

    Of records that travelled here, maps are not missed: they hold windows, which never travel.
    """
    lacking: list[tuple[Record, list[str]]] = []
    problems = []
    for result in results:
        if result.record is not None:
            existing = result.record.measurements
            missing = [name for name in measurements if name not in existing]
            if isinstance(result.record, TravellingRecord):
                problems += [
                    f"{name} of unit {result.record.key}: its record came from {result.record.source} without the "
                    f"student; run it again with --existing rerun"
                    for name in missing
                    if name in MEASURED.values()
                ]
                continue
            asked = DEPLOYMENT in existing and DEPLOYMENT in measurements
            if asked and (lacks_costs(result.record) or latency_notes([result.record])):  # the machine was busy
                missing.append(DEPLOYMENT)
            if missing:
                lacking.append((result.record, missing))
    if not lacking:
        return problems
    from mmkd.evaluation.runner import MeasurementJob, MeasurementRunner

    start = time.perf_counter()
    data = {spec.key: windows for spec, windows in units}
    runner = MeasurementRunner(workspace)
    runner.run([MeasurementJob(record, data[record.key], missing) for record, missing in lacking])
    names = sorted({name.partition(".")[0] for _, missing in lacking for name in missing})
    students = f"{len(lacking)} student{'s' if len(lacking) > 1 else ''}"
    workspace.progress.say(f"measured {', '.join(names)} of {students} in {duration(time.perf_counter() - start)}")
    return problems + runner.problems
