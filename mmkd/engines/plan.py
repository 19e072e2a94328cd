"""What is to be done for many units, and in which order: views and teachers first, each once.

A job holds plain values only, so that another process, or another machine, can do it. Executors (`workers`,
`ray_engine`) take jobs and say what came of them; `run_plan` gives each its job when what it needs is there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from mmkd.data import Dataset, Split
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import UnitSpec
from mmkd.store.cache import Cache
from mmkd.store.record import Records
from mmkd.units.expansion import split_for, student_alone
from mmkd.units.names import title
from mmkd.views.cached import view_key


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        kind, key: what it leaves: a view or a teacher in the cache, or the record of a unit.
        spec: of the unit, or of the first unit that needs the view or teacher.
        modality: of a view or teacher.
        windows: how many training windows it has.
        needs: ids of the jobs that end before it begins.
        exists: it was done before; nothing is to be done.
        rerun: a unit that is done even where it is on record.
    """

    kind: Literal["view", "teacher", "unit"]
    key: str
    spec: UnitSpec
    modality: str = ""
    windows: int = 0
    needs: tuple[str, ...] = ()
    exists: bool = False
    rerun: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.key}"

    @property
    def title(self) -> str:
        """The job in words."""
        if self.kind == "unit":
            return title(self.spec)
        net = f" {self.spec.teachers[self.modality]}" if self.kind == "teacher" else ""
        fold = f", {self.spec.data.fold}" if self.spec.data.fold else ""
        return f"{self.spec.data.name}{fold}, {self.kind} {self.modality}{net}, seed {self.spec.seed}"

    def values(self) -> dict[str, Any]:
        """What a worker needs of it, ready for JSON."""
        names = ("kind", "key", "modality", "rerun")
        return {name: getattr(self, name) for name in names} | {"spec": asdict(self.spec)}


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        error: one line, of one that failed; `log` names the file with the rest.
        notes: what was found damaged and mended.
    """

    status: Literal["done", "cached", "failed"]
    error: str = ""
    log: str = ""
    notes: Sequence[str] = ()


class Engine(Protocol):
    """Does jobs, several at a time."""

    @property
    def room(self) -> int:
        """How many more jobs it takes now."""
        ...

    def start(self, job: Job) -> None: ...

    def wait(self) -> list[tuple[Job, JobResult]]:
        """Those that ended, one at least; called only while some are running."""
        ...


def make_plan(
    units: Sequence[tuple[UnitSpec, Dataset]], records: Records, cache: Cache, rerun: bool = False
) -> list[Job]:
    """All jobs of the units, each once and after those that it needs.

    Units on record stand there as such, without what they once needed. The unit of the student alone, which
    `--init-student trained` starts from, is a job too, whether it was asked for or not.

    Args:
        rerun: units on record are done anew; views and teachers are not.
    """
    jobs: dict[str, Job] = {}
    asked = {spec.key for spec, _ in units}
    splits: dict[tuple[DataSpec, int], Split] = {}

    def enter(job: Job) -> str:
        return jobs.setdefault(job.id, job).id

    def add(spec: UnitSpec, data: Dataset) -> str:
        job = Job("unit", spec.key, spec, rerun=rerun and spec.key in asked)
        if job.id in jobs:
            return job.id
        if not job.rerun and records.get(spec.key) is not None:
            return enter(replace(job, exists=True))
        at = (spec.data, spec.seed)
        if at not in splits:
            splits[at] = split_for(data, *at)
        split = splits[at]
        count, views = len(split.train), {}
        for name, config in spec.views.items():
            key = view_key(name, config, spec.data, split)
            exists = cache.find_damage("views", key) is None
            views[name] = enter(Job("view", key, spec, name, exists=exists))
        needs = list(views.values())
        for name in spec.teachers:
            key = spec.teacher(name).key
            exists = cache.find_damage("teachers", key) is None
            needs.append(enter(Job("teacher", key, spec, name, count, (views[name],), exists)))
        if spec.starts_trained:
            needs.append(add(student_alone(spec), data))
        return enter(replace(job, windows=count, needs=tuple(needs)))

    for spec, data in units:
        add(spec, data)
    return list(jobs.values())


def pending(plan: Iterable[Job]) -> list[Job]:
    """The jobs that are to be done, what others need first."""
    order = ("view", "teacher", "unit")
    return sorted((job for job in plan if not job.exists), key=lambda job: order.index(job.kind))


def run_plan(plan: Sequence[Job], engine: Engine, on_result: Callable[[Job, JobResult], None]) -> None:
    """Do what is not there yet. A job whose need failed fails with the same reason; all others go on.

    Args:
        on_result: called in this process as each job ends.
    """
    waiting = {job.id: job for job in pending(plan)}
    unmade, failed, running = set(waiting), dict[str, JobResult](), 0

    def end(job: Job, result: JobResult) -> None:
        unmade.discard(job.id)
        if result.status == "failed":
            failed[job.id] = result
        on_result(job, result)

    while waiting or running:
        for job in list(waiting.values()):
            lost = next((name for name in job.needs if name in failed), None)
            if lost is not None:
                end(waiting.pop(job.id), failed[lost])
            elif engine.room > 0 and unmade.isdisjoint(job.needs):
                engine.start(waiting.pop(job.id))
                running += 1
        if running:
            for job, result in engine.wait():
                running -= 1
                end(job, result)
