"""The plan of many units: views and teachers as jobs of their own, each once and before the units that need them.

A job holds plain values only, so that another process or another machine can run it. Engines (`ProcessEngine`,
`RayEngine`) run jobs; `run_plan` starts each job as soon as the jobs that it needs have ended.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from mmkd.core.registry import METHODS
from mmkd.data import Dataset
from mmkd.specs.unit import TeacherSpec, UnitSpec
from mmkd.store.cache import Cache
from mmkd.store.records import Records
from mmkd.tasks.base import import_function
from mmkd.units.expansion import reads_teachers, student_alone
from mmkd.units.likes import likes_of
from mmkd.units.names import title
from mmkd.units.selection import in_fold
from mmkd.units.splits import split_for
from mmkd.views.cached import view_key


@dataclass(frozen=True)
class Job:
    """One job: compute a view, train a teacher, or run a unit.

    Attributes:
        kind, key: of the result: a view or a teacher in the cache, or the record of a unit.
        spec: spec of the unit, or of the first unit that needs the view or teacher.
        modality: of the view or teacher.
        windows: number of training windows.
        stretch: how many times as long as its settings say the student of a unit is trained.
        needs: ids of the jobs that must end before this one starts.
        exists: whether the result exists already, so that there is nothing to run.
        rerun: whether a unit is run even if it is on record.
    """

    kind: Literal["view", "teacher", "unit"]
    key: str
    spec: UnitSpec
    modality: str = ""
    windows: int = 0
    stretch: float = 1.0
    needs: tuple[str, ...] = ()
    exists: bool = False
    rerun: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.key}"

    @property
    def trained(self) -> UnitSpec | TeacherSpec:
        """The spec of the training of a teacher or unit."""
        return self.spec.teacher(self.modality) if self.kind == "teacher" else self.spec

    @property
    def work(self) -> float:
        """How many windows the training of a teacher or unit reads in all."""
        return self.trained.training.windows_read(self.windows) * self.stretch

    @property
    def title(self) -> str:
        """The job in words, for messages."""
        if self.kind == "unit":
            return title(self.spec)
        name = self.spec.teacher(self.modality).title if self.kind == "teacher" else self.modality
        fold = f", {self.spec.data.fold}" if self.spec.data.fold else ""
        if self.spec.data.inner_fold:
            number, folds = self.spec.data.inner_fold
            fold += f", without part {number} of {folds} of the training part"
        return f"{self.spec.data.name}{fold}, {self.kind} {name}, seed {self.spec.seed}"

    def values(self) -> dict[str, Any]:
        """The fields that a worker needs, as JSON values."""
        names = ("kind", "key", "modality", "rerun")
        return {name: getattr(self, name) for name in names} | {"spec": asdict(self.spec)}


@dataclass(frozen=True)
class JobResult:
    """The result of a job.

    Attributes:
        error: one line, if it failed.
        log: the file with the traceback, if it failed.
        notes: one line for each damaged file that was made again.
    """

    status: Literal["done", "cached", "failed"]
    error: str = ""
    log: str = ""
    notes: Sequence[str] = ()


class Engine(Protocol):
    """Runs jobs, several at a time."""

    @property
    def free_slots(self) -> int:
        """How many more jobs can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Start a job."""
        ...

    def wait(self) -> list[tuple[Job, JobResult]]:
        """Wait until at least one job has ended; returns those that have. Called only while jobs are running."""
        ...


def make_plan(
    units: Sequence[tuple[UnitSpec, Dataset]],
    records: Records,
    cache: Cache,
    rerun: bool = False,
    taught: Sequence[tuple[UnitSpec, Dataset]] = (),
) -> list[Job]:
    """All jobs of the units, without repeats, each after the jobs that it needs.

    A unit on record is a job that exists, without the jobs that it needed. If a unit starts from the student trained
    alone (`--init-student trained`), that unit is a job too, even if it is not among `units`; it is run again if its
    record travelled here without its weights.

    Args:
        rerun: whether units on record are run again; views and teachers are not.
        taught: units whose teachers are jobs if they are not on record, but not they themselves.
    """
    jobs: dict[str, Job] = {}
    requested = {spec.key for spec, _ in units}
    again = {
        alone.key
        for spec, _ in units
        if rerun or records.get(spec.key) is None
        for alone in _starts_from(spec)
        if (record := records.get(alone.key)) is not None and not record.has_files
    }

    def add_job(job: Job) -> str:
        return jobs.setdefault(job.id, job).id

    def add_view(name: str, spec: UnitSpec, data: Dataset) -> str:
        split = split_for(data, spec.data, spec.seed)
        key = view_key(name, spec.views[name], spec.data, split, spec.view_sources(name))
        return add_job(Job("view", key, spec, name, exists=cache.find_damage("views", key) is None))

    def add_teacher(name: str, spec: UnitSpec, data: Dataset) -> list[str]:
        teacher = spec.teacher(name)
        view = add_view(name, replace(spec, data=teacher.data), data)
        windows = len(split_for(data, teacher.data, spec.seed).train)
        exists = cache.find_damage("teachers", teacher.key) is None
        job = Job("teacher", teacher.key, spec, modality=name, windows=windows, needs=(view,), exists=exists)
        return [view, add_job(job)]

    def add_unit(spec: UnitSpec, data: Dataset) -> str:
        job = Job("unit", spec.key, spec, rerun=(rerun and spec.key in requested) or spec.key in again)
        if job.id in jobs:
            return job.id
        if not job.rerun and records.get(spec.key) is not None:
            return add_job(replace(job, exists=True))
        count = len(split_for(data, spec.data, spec.seed).train)
        taught_by = tuple(spec.teachers) if reads_teachers(spec.method) else ()
        needs = [add_view(name, spec, data) for name in (spec.views if taught_by else spec.student)]
        for name in taught_by:
            needs += add_teacher(name, spec, data)
        selected = [in_fold(spec, number, spec.selection_folds) for number in range(1, spec.selection_folds + 1)]
        for inner in (*spec.without_folds, *selected):
            for name in spec.network_teachers if taught_by else ():
                needs += add_teacher(name, inner, data)
        needs += [add_unit(alone, data) for alone in _starts_from(spec)]
        stretch = 1.0
        if METHODS.get(spec.method).stretches:
            length = import_function("mmkd.training.length:length_of")(spec, data)
            stretch = length.factor
        return add_job(replace(job, windows=count, stretch=stretch, needs=tuple(dict.fromkeys(needs))))

    for spec, data in taught:
        for name in spec.teachers:
            if records.get(spec.teacher(name).key) is None:
                add_teacher(name, spec, data)
    for spec, data in units:
        add_unit(spec, data)
    return list(jobs.values())


def _starts_from(spec: UnitSpec) -> list[UnitSpec]:
    """The units whose trained students a unit needs."""
    return [*([student_alone(spec)] if spec.starts_trained else []), *likes_of(spec).values()]


def pending(plan: Iterable[Job]) -> list[Job]:
    """The jobs to run: views first, then teachers, then units."""
    order = ("view", "teacher", "unit")
    return sorted((job for job in plan if not job.exists), key=lambda job: order.index(job.kind))


def run_plan(
    plan: Sequence[Job],
    engine: Engine,
    on_result: Callable[[Job, JobResult], None],
    on_start: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run the jobs whose results do not exist. If a job fails, those that need it fail with the same error.

    Args:
        on_result: called in this process with the result of each job as it ends.
        on_start: called with each job that is given to the engine.
    """
    waiting = {job.id: job for job in pending(plan)}
    unfinished = set(waiting)
    failed: dict[str, JobResult] = {}
    running = 0

    def end(job: Job, result: JobResult) -> None:
        unfinished.discard(job.id)
        if result.status == "failed":
            failed[job.id] = result
        on_result(job, result)

    while waiting or running:
        for job in list(waiting.values()):
            failed_need = next((name for name in job.needs if name in failed), None)
            if failed_need is not None:
                end(waiting.pop(job.id), failed[failed_need])
            elif engine.free_slots > 0 and unfinished.isdisjoint(job.needs):
                engine.start(waiting.pop(job.id))
                on_start(job)
                running += 1
        if running:
            for job, result in engine.wait():
                running -= 1
                end(job, result)
