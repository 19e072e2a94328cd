"""What is to be done for many units, and in which order: views and teachers first, each once.

A task holds plain values only, so that another process, or another machine, can do it. Executors (`workers`,
`ray_engine`) take tasks and say what came of them; `run_plan` gives each its task when what it needs is there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from mmkd.data import Dataset, Split
from mmkd.data.spec import DataSpec
from mmkd.store.cache import Cache
from mmkd.store.record import Records
from mmkd.training.trial import starts_trained
from mmkd.units.expansion import split_for, student_alone
from mmkd.units.names import title
from mmkd.units.spec import UnitSpec
from mmkd.views.cached import view_key


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        kind, key: what it leaves: a view or a teacher in the cache, or the record of a unit.
        spec: of the unit, or of the first unit that needs the view or teacher.
        modality: of a view or teacher.
        windows: how many training windows it has.
        needs: ids of the tasks that end before it begins.
        there: made before; nothing is to be done.
        rerun: a unit that is done even where it is on record.
    """

    kind: Literal["view", "teacher", "unit"]
    key: str
    spec: UnitSpec
    modality: str = ""
    windows: int = 0
    needs: tuple[str, ...] = ()
    there: bool = False
    rerun: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.key}"

    @property
    def title(self) -> str:
        """The task in words."""
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
    """What came of a task.

    Attributes:
        error: one line, of one that failed; `log` names the file with the rest.
        notes: what was found damaged and mended.
    """

    status: Literal["done", "cached", "failed"]
    error: str = ""
    log: str = ""
    notes: Sequence[str] = ()


class Engine(Protocol):
    """Does tasks, several at a time."""

    @property
    def room(self) -> int:
        """How many more tasks it takes now."""
        ...

    def start(self, task: Job) -> None: ...

    def wait(self) -> list[tuple[Job, JobResult]]:
        """Those that ended, one at least; called only while some are running."""
        ...


def make_plan(
    units: Sequence[tuple[UnitSpec, Dataset]], records: Records, cache: Cache, rerun: bool = False
) -> list[Job]:
    """All tasks of the units, each once and after those that it needs.

    Units on record stand there as such, without what they once needed. The unit of the student alone, which
    `--init-student trained` starts from, is a task too, whether it was asked for or not.

    Args:
        rerun: units on record are done anew; views and teachers are not.
    """
    tasks: dict[str, Job] = {}
    asked = {spec.key for spec, _ in units}
    splits: dict[tuple[DataSpec, int], Split] = {}

    def enter(task: Job) -> str:
        return tasks.setdefault(task.id, task).id

    def add(spec: UnitSpec, data: Dataset) -> str:
        task = Job("unit", spec.key, spec, rerun=rerun and spec.key in asked)
        if task.id in tasks:
            return task.id
        if not task.rerun and records.get(spec.key) is not None:
            return enter(replace(task, there=True))
        at = (spec.data, spec.seed)
        if at not in splits:
            splits[at] = split_for(data, *at)
        split = splits[at]
        count, views = len(split.train), {}
        for name, config in spec.views.items():
            key = view_key(name, config, spec.data, split)
            there = cache.find_damage("views", key) is None
            views[name] = enter(Job("view", key, spec, name, there=there))
        needs = list(views.values())
        for name in spec.teachers:
            key = spec.teacher(name).key
            there = cache.find_damage("teachers", key) is None
            needs.append(enter(Job("teacher", key, spec, name, count, (views[name],), there)))
        if starts_trained(spec):
            needs.append(add(student_alone(spec), data))
        return enter(replace(task, windows=count, needs=tuple(needs)))

    for spec, data in units:
        add(spec, data)
    return list(tasks.values())


def pending(plan: Iterable[Job]) -> list[Job]:
    """The tasks that are to be done, what others need first."""
    order = ("view", "teacher", "unit")
    return sorted((task for task in plan if not task.there), key=lambda task: order.index(task.kind))


def run_plan(plan: Sequence[Job], engine: Engine, tell: Callable[[Job, JobResult], None]) -> None:
    """Do what is not there yet. A task whose need failed fails with the same reason; all others go on.

    Args:
        tell: called in this process as each task ends.
    """
    waiting = {task.id: task for task in pending(plan)}
    unmade, failed, running = set(waiting), dict[str, JobResult](), 0

    def end(task: Job, how: JobResult) -> None:
        unmade.discard(task.id)
        if how.status == "failed":
            failed[task.id] = how
        tell(task, how)

    while waiting or running:
        for task in list(waiting.values()):
            lost = next((name for name in task.needs if name in failed), None)
            if lost is not None:
                end(waiting.pop(task.id), failed[lost])
            elif engine.room > 0 and unmade.isdisjoint(task.needs):
                engine.start(waiting.pop(task.id))
                running += 1
        if running:
            for task, how in engine.wait():
                running -= 1
                end(task, how)
