"""How long a plan will take, from records of the same kind that were made on this machine; else unknown."""

import heapq
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from mmkd.core.keys import digest
from mmkd.core.progress import duration
from mmkd.engines.plan import Job, JobResult, pending, run_plan
from mmkd.store.record import Record

NO_MATTER = {"seed", "options", "method_sha256", "plugins", "teacher_training"}


@dataclass(frozen=True)
class Estimate:
    """Time of the trainings of a plan; views, start-up and pictures are not in it.

    Attributes:
        seconds: with so many workers, of the `known` trainings; None where there is none of them.
        trainings: teachers and units to be trained; `known` of them are of a kind that is on record.
        records: that it stands on.
    """

    seconds: float | None
    trainings: int
    known: int
    records: int

    def text(self, workers: str) -> str:
        """A line for people."""
        if not self.trainings:
            return "time: nothing is to be trained"
        if self.seconds is None:
            return "time: unknown; no training of the same kind is on record here"
        if self.known < self.trainings:
            part = f"{self.known} of {self.trainings} trainings; of the others none is on record here"
            return f"time: more than {duration(self.seconds)} {workers}: that is {part}"
        return (
            f"time: about {duration(self.seconds)} of training {workers}, from {self.records} records made here; "
            "views, start-up and pictures come on top"
        )


def estimate(plan: Sequence[Job], records: Iterable[Record], workers: int, threads: int, device: str) -> Estimate:
    """The time of a plan's trainings: seconds a window and epoch of records of the same kind, as a median.

    Of one kind are the same method or teacher network, with the same student, views, batch size and data set. Records
    made with as many threads are preferred.

    Args:
        workers: how many tasks run at a time.
        threads: of each.
        device: "auto" takes records of any.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        where, counts = record.result.get("environment", {}), record.result.get("data", {}).get("windows", {})
        here = where.get("platform") == platform.platform() and device in ("auto", where.get("device"))
        work = counts.get("train", 0) * record.spec.get("training", {}).get("epochs", 0)
        if here and work and "seconds" in record.result:
            rate = record.result["seconds"] / work
            found.setdefault(_kind(record.spec), []).append((where.get("threads", 0), rate))
    trained = [task for task in pending(plan) if task.kind != "view"]
    specs = {t.id: asdict(t.spec if t.kind == "unit" else t.spec.teacher(t.modality)) for t in trained}
    trainings = [task for task in trained if specs[task.id]["training"]["epochs"]]  # 0: weights that were given
    seconds: dict[str, float] = {}
    stand: set[str] = set()
    for task in trainings:
        spec = specs[task.id]
        kind = _kind(spec)
        alike = [rate for count, rate in found.get(kind, []) if count == threads]
        rates = alike or [rate for _, rate in found.get(kind, [])]
        if rates:
            stand.add(kind)
            seconds[task.id] = median(rates) * task.windows * spec["training"]["epochs"]
    clock = _Clock(workers, seconds)
    run_plan(plan, clock, lambda task, how: None)
    count = sum(len(found[kind]) for kind in stand)
    return Estimate(clock.now if seconds else None, len(trainings), len(seconds), count)


def _kind(spec: Mapping[str, Any]) -> str:
    """Hash of what decides how long one epoch over one window takes."""
    values = {name: value for name, value in spec.items() if name not in NO_MATTER}
    training = {name: value for name, value in spec["training"].items() if name != "epochs"}
    return digest(values | {"data": spec["data"]["name"], "training": training})


class _Clock:
    """An engine that does nothing, in the time that it would take."""

    def __init__(self, workers: int, seconds: Mapping[str, float]) -> None:
        self.workers, self.seconds, self.now, self.turn = workers, seconds, 0.0, 0
        self.busy: list[tuple[float, int, Job]] = []

    @property
    def room(self) -> int:
        return self.workers - len(self.busy)

    def start(self, task: Job) -> None:
        self.turn += 1
        heapq.heappush(self.busy, (self.now + self.seconds.get(task.id, 0.0), self.turn, task))

    def wait(self) -> list[tuple[Job, JobResult]]:
        self.now, _, task = heapq.heappop(self.busy)
        return [(task, JobResult("done"))]
