"""How long a plan will take, from records of the same kind that were made on this machine; else unknown."""

import heapq
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.core.options import recorded
from mmkd.core.progress import duration
from mmkd.engines.plan import Job, JobResult, pending, run_plan
from mmkd.specs.unit import Spec
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
    rates: dict[str, list[tuple[int, float]]] = {}  # kind -> threads, and seconds a window and epoch
    for record in records:
        sample = _rate(record, device)
        if sample is not None:
            rates.setdefault(_kind(record.spec), []).append(sample)
    trained = [job for job in pending(plan) if job.kind != "view"]
    specs = {job.id: job.spec if job.kind == "unit" else job.spec.teacher(job.modality) for job in trained}
    trainings = [job for job in trained if specs[job.id].training.epochs]  # 0: weights that were given
    seconds: dict[str, float] = {}
    kinds: set[str] = set()
    for job in trainings:
        spec = specs[job.id]
        kind = _kind(spec)
        alike = [rate for count, rate in rates.get(kind, []) if count == threads]
        usable = alike or [rate for _, rate in rates.get(kind, [])]
        if usable:
            kinds.add(kind)
            seconds[job.id] = median(usable) * job.windows * spec.training.epochs
    clock = _Clock(workers, seconds)
    run_plan(plan, clock, lambda job, result: None)
    count = sum(len(rates[kind]) for kind in kinds)
    return Estimate(clock.now if seconds else None, len(trainings), len(seconds), count)


def _rate(record: Record, device: str) -> tuple[int, float] | None:
    """Threads of a record's training, and its seconds a window and epoch; None where they are of no use here."""
    if record.kind not in ("student", "teacher"):
        return None
    try:
        spec = record.unit if record.kind == "student" else record.teacher
        environment = record.environment
        work = record.data["windows"]["train"] * spec.training.epochs
        here = environment.get("platform") == platform.platform()
        if not here or not work or device not in ("auto", environment.get("device")):
            return None
        return environment.get("threads", 0), record.seconds / work
    except (KeyError, TypeError, ValueError, MmkdError):  # a record of another version
        return None


def _kind(spec: Spec) -> str:
    """Hash of what decides how long one epoch over one window takes."""
    values = {name: value for name, value in recorded(spec).items() if name not in NO_MATTER}
    training = {name: value for name, value in values["training"].items() if name != "epochs"}
    return digest(values | {"data": spec.data.name, "training": training})


class _Clock:
    """An engine that does nothing, in the time that it would take."""

    def __init__(self, workers: int, seconds: Mapping[str, float]) -> None:
        self.workers, self.seconds, self.now, self.turn = workers, seconds, 0.0, 0
        self.busy: list[tuple[float, int, Job]] = []

    @property
    def room(self) -> int:
        return self.workers - len(self.busy)

    def start(self, job: Job) -> None:
        self.turn += 1
        heapq.heappush(self.busy, (self.now + self.seconds.get(job.id, 0.0), self.turn, job))

    def wait(self) -> list[tuple[Job, JobResult]]:
        self.now, _, job = heapq.heappop(self.busy)
        return [(job, JobResult("done"))]
