"""How long the trainings of a running command still take: teachers that are not cached, and units not on record."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from mmkd.engines.estimate import Rates, kind_of_training, trainings
from mmkd.engines.plan import Job
from mmkd.store.record import Record


@dataclass
class _Training:
    """One training.

    Attributes:
        kind: equal for trainings with equal time for a window and epoch.
        work: windows that are read in all.
        started: when it began to train here, or was given to a worker; None: not yet.
        done: share of its epochs that are done, where this process sees them.
        resumed: share that an earlier process had done.
    """

    job: Job
    kind: str
    work: float
    started: float | None = None
    epochs: int = 0
    done: float = 0.0
    resumed: float = 0.0
    told: bool = False


class Remaining:
    """The trainings of a plan that have not ended, and the time that they take.

    The time of a training is that of similar trainings: of those that have ended in this command, else of those on
    record, else of all others of this command, for the same number of windows and epochs. A training that runs in this
    process is continued at its own pace.

    Args:
        records: those on record; they are read when the first estimate is made.
        workers: how many trainings run at a time; None: unknown.
        on_change: called when a training has ended.
    """

    def __init__(
        self, plan: Sequence[Job], records: Iterable[Record], *, workers: int | None, threads: int, device: str
    ) -> None:
        self.records = records
        self.workers = workers
        self.threads = threads
        self.device = device
        self.on_change: Callable[[], None] = lambda: None
        jobs = trainings(plan)
        self.total = len(jobs)
        self.left = {job.id: _Training(job, kind_of_training(job.trained), job.work) for job in jobs}
        self.seen: dict[str, list[float]] = {}
        self.elsewhere: dict[str, Job] = {}
        self.rates: Rates | None = None
        self.began = time.monotonic()
        self.finished_work = 0.0
        self.needs = {job.id: job.needs for job in plan if job.kind == "unit"}

    def counts(self) -> tuple[int, int]:
        """How many trainings have ended, of how many."""
        return self.total - len(self.left), self.total

    def running(self) -> str:
        """The jobs that run in other processes, in words."""
        titles = [job.title for job in list(self.elsewhere.values())]
        return "; ".join(titles[:2]) + (f" and {len(titles) - 2} more" if len(titles) > 2 else "")

    def begin(self, job: str, total: int) -> None:
        """A training of `total` epochs begins in this process; what it needs has then ended."""
        training = self.left.get(job)
        if training is not None:
            training.started = time.monotonic()
            training.epochs = total
            self._drop(training.job.needs)

    def advance(self, job: str, epochs: int) -> None:
        """So many of its epochs are done; the first call tells those of an earlier, interrupted process."""
        training = self.left.get(job)
        if training is None:
            return
        training.done += epochs / max(training.epochs, 1)
        if not training.told:
            training.resumed = training.done
            training.told = True

    def start_elsewhere(self, job: Job) -> None:
        """A job is given to another process."""
        self.elsewhere[job.id] = job
        if job.id in self.left:
            self.left[job.id].started = time.monotonic()

    def end(self, job: str) -> None:
        """A job has ended; after a unit also the teachers that no other unit needs."""
        self.elsewhere.pop(job, None)
        training = self.left.pop(job, None)
        if training is None:
            self._drop_needs(job)
            return
        if training.started is not None:
            share = (training.done - training.resumed) if training.epochs else 1.0
            if share > 0:
                rate = (time.monotonic() - training.started) / (training.work * share)
                self.seen.setdefault(training.kind, []).append(rate)
                self.finished_work += training.work
        self._drop_needs(job)
        self.on_change()

    def seconds_left(self) -> float | None:
        """The estimated time that is left; None while nothing is known."""
        if self.rates is None:
            self.rates = Rates(self.records, self.threads, self.device)
        now = time.monotonic()
        rest = list(self.left.values())
        own = [self._pace(training, now) for training in rest]
        known = [self._rate(training.kind) or pace for training, pace in zip(rest, own, strict=True)]
        rates = [rate for rate in known if rate is not None] or [mean(rates) for rates in self.seen.values()]
        if not rates:
            return None if rest else 0.0
        usual = mean(rates)
        times = []
        for training, pace, rate in zip(rest, own, known, strict=True):
            expected = (pace or rate or usual) * training.work * (1 - training.done)
            if training.epochs == 0 and training.started is not None:
                expected -= now - training.started
            times.append(max(0.0, expected))
        if self.workers is None:
            work = sum(training.work for training in rest)
            return (now - self.began) * work / self.finished_work if self.finished_work else sum(times)
        return max(sum(times) / self.workers, max(times, default=0.0))

    def _rate(self, kind: str) -> float | None:
        """Seconds for one window and epoch of a kind of training, if any is known."""
        assert self.rates is not None
        return mean(self.seen[kind]) if kind in self.seen else self.rates.of(kind)

    def _pace(self, training: _Training, now: float) -> float | None:
        """Seconds for one window and epoch of a training that runs here; None before its first epoch has ended."""
        share = training.done - training.resumed
        if training.started is None or share <= 0:
            return None
        return (now - training.started) / (training.work * share)

    def _drop_needs(self, unit: str) -> None:
        """Remove what a unit needed that has ended, and that no other unit needs."""
        needed = {need for other in self.left.values() for need in other.job.needs}
        self._drop(need for need in self.needs.get(unit, ()) if need not in needed)

    def _drop(self, jobs: Iterable[str]) -> None:
        """Remove jobs that have ended unseen, such as teachers that another command has trained."""
        for job in jobs:
            if self.left.pop(job, None) is not None:
                self.on_change()
