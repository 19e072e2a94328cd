"""Estimate how long a plan will take, from records of similar trainings on this machine."""

import heapq
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.core.options import recorded
from mmkd.core.progress import duration
from mmkd.core.registry import METHODS
from mmkd.engines.plan import Job, JobResult, pending, run_plan
from mmkd.specs.unit import Spec
from mmkd.store.record import Record
from mmkd.units.expansion import reads_teachers, student_alone

SAME_TIME = {"epochs", "steps", "lr", "weight_decay", "label_smoothing", "class_weights", "focal_gamma", "schedule"}
"""Options of a training that do not change the time of a window and epoch."""
IGNORED_FIELDS = {"seed", "training_seed", "options", "method_sha256", "plugins", "teacher_training"}
IGNORED_FIELDS |= {"tuning", "tuned"}


@dataclass(frozen=True)
class Estimate:
    """The estimated time of the trainings of a plan, without views, start-up and pictures.

    Attributes:
        seconds: time of the `known` trainings; None if none is known.
        trainings: number of teachers and units to be trained.
        known: number of those for which there are records of similar trainings.
        records: number of records that were used.
    """

    seconds: float | None
    trainings: int
    known: int
    records: int

    def text(self, workers: str) -> str:
        """The estimate as one line; `workers` is the text for how many jobs run at a time."""
        if not self.trainings:
            return "time: nothing is to be trained"
        if self.seconds is None:
            return "time: unknown; no training of the same kind is on record here"
        if self.known < self.trainings:
            others = self.trainings - self.known
            part = f"no training like {'it' if others == 1 else 'them'} is on record here"
            return (
                f"time: more than {duration(self.seconds)} {workers}: of {self.trainings} trainings {others} "
                f"{'is' if others == 1 else 'are'} not in it, as {part}"
            )
        return (
            f"time: about {duration(self.seconds)} of training {workers}, from {self.records} records made here; "
            "views, start-up and pictures come on top"
        )


def estimate(plan: Sequence[Job], records: Iterable[Record], workers: int, threads: int, device: str) -> Estimate:
    """Estimate the time of a plan's trainings from the median time for one window and epoch of similar trainings.

    Trainings are similar if they have the same method or teacher network, student, views, batch size and data set.
    Records made with the same number of threads are preferred. A method that reads no teachers, and has no record,
    is taken to be as fast as the student alone.

    Args:
        workers: how many jobs run at a time.
        threads: threads of each job.
        device: device of the records to use; "auto" uses all records.
    """
    rates = Rates(records, threads, device)
    jobs = trainings(plan)
    seconds: dict[str, float] = {}
    kinds: set[str] = set()
    for job in jobs:
        kind = kind_of_training(job.trained)
        rate = rates.of(kind)
        if rate is None and job.kind == "unit" and not reads_teachers(job.spec.method):
            kind = kind_of_training(student_alone(job.spec))  # a step without teachers takes about as long
            rate = rates.of(kind)
        if rate is not None:
            kinds.add(kind)
            seconds[job.id] = rate * job.work
    clock = _Clock(workers, seconds)
    run_plan(plan, clock, lambda job, result: None)
    count = sum(len(rates.samples[kind]) for kind in kinds)
    return Estimate(clock.now if seconds else None, len(jobs), len(seconds), count)


def trainings(plan: Iterable[Job]) -> list[Job]:
    """The teachers and units of a plan that are to be trained.

    With 0 epochs weights are loaded from a file, and some methods combine students without a training of their own.
    """
    jobs = [job for job in pending(plan) if job.kind != "view" and job.trained.training.epochs]
    return [job for job in jobs if job.kind == "teacher" or not METHODS.get(job.spec.method).combines]


class Rates:
    """How long trainings on record took: seconds for one window and epoch, by their kind.

    Attributes:
        samples: kind of training -> (threads, seconds for one window and epoch) of each record.
    """

    def __init__(self, records: Iterable[Record], threads: int, device: str) -> None:
        self.threads = threads
        self.samples: dict[str, list[tuple[int, float]]] = {}
        for record in records:
            sample = _rate(record, device)
            if sample is not None:
                self.samples.setdefault(kind_of_training(record.spec), []).append(sample)

    def of(self, kind: str) -> float | None:
        """The median of a kind, of records with the same number of threads if there are any."""
        samples = self.samples.get(kind, [])
        rates = [rate for count, rate in samples if count == self.threads] or [rate for _, rate in samples]
        return median(rates) if rates else None


def _rate(record: Record, device: str) -> tuple[int, float] | None:
    """Threads of a record's training, and seconds for one window and epoch; None if the record cannot be used."""
    if record.kind not in ("student", "teacher"):
        return None
    try:
        spec = record.unit if record.kind == "student" else record.teacher
        environment = record.environment
        work = spec.training.windows_read(record.data["windows"]["train"])
        work *= (record.result.get("length") or {}).get("factor", 1)
        same_platform = environment.get("platform") == platform.platform()
        if not same_platform or not work or device not in ("auto", environment.get("device")):
            return None
        return environment.get("threads", 0), record.seconds / work
    except (KeyError, TypeError, ValueError, MmkdError):  # a record of another version
        return None


def kind_of_training(spec: Spec) -> str:
    """A hash that is equal for similar trainings: those with equal time for one window and epoch."""
    values = {name: value for name, value in recorded(spec).items() if name not in IGNORED_FIELDS}
    training = {name: value for name, value in values["training"].items() if name not in SAME_TIME}
    return digest(values | {"data": spec.data.name, "training": training})


class _Clock:
    """An engine that runs nothing, but counts the seconds that the jobs would take."""

    def __init__(self, workers: int, seconds: Mapping[str, float]) -> None:
        self.workers = workers
        self.seconds = seconds
        self.now = 0.0
        self.started = 0
        self.busy: list[tuple[float, int, Job]] = []

    @property
    def free_slots(self) -> int:
        return self.workers - len(self.busy)

    def start(self, job: Job) -> None:
        self.started += 1
        heapq.heappush(self.busy, (self.now + self.seconds.get(job.id, 0.0), self.started, job))

    def wait(self) -> list[tuple[Job, JobResult]]:
        self.now, _, job = heapq.heappop(self.busy)
        return [(job, JobResult("done"))]
