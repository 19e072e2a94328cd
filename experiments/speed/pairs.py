"""Two ways of the same work, timed side by side, and the rows of the table."""

import gc
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

LONG_S = 10.0
"""Of work that takes longer two pairs are enough."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work, peer: what was done, and what it is measured against.
        ratios: one a pair: how many times faster ours is, or with `cost` how many times the peer's time it takes.
        goal: the ratio to reach, or with `cost` not to pass; None where a row stands for information.
        cost: whether less is better.
        note: what was checked, and what else was measured.
    """

    work: str
    peer: str
    ratios: Sequence[float]
    goal: float | None
    cost: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return float(np.median(self.ratios))

    @property
    def met(self) -> str:
        if self.goal is None:
            return ""
        return "yes" if (self.median <= self.goal if self.cost else self.median >= self.goal) else "no"

    @property
    def shown(self) -> str:
        """Median, and the least and greatest ratio."""
        low, high = min(self.ratios), max(self.ratios)
        text = f"{self.median:.{_digits(self.median)}f}"
        return text if low == high else f"{text} ({low:.{_digits(low)}f} to {high:.{_digits(high)}f})"


def _digits(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes, until its result is there; garbage is collected before, the result dropped after."""
    gc.collect()
    started = time.perf_counter()
    result = action()
    elapsed = time.perf_counter() - started
    del result
    return elapsed


def user_seconds(action: Callable[[], object]) -> float:
    """The processor time that one call takes, and the processes that it waits for, outside the system's kernel.

    Other work on the machine lengthens it far less than it does the time on a clock.
    """

    def spent() -> float:
        return sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

    gc.collect()
    before = spent()
    action()
    return spent() - before


@dataclass
class Times:
    """The times of both, a pair a round."""

    ours: list[float] = field(default_factory=list)
    peers: list[float] = field(default_factory=list)

    @property
    def faster(self) -> list[float]:
        """How many times faster ours was, a pair a round."""
        return [peer / own for own, peer in zip(self.ours, self.peers, strict=True)]

    @property
    def cost(self) -> list[float]:
        """How many times the peer's time ours took, a pair a round."""
        return [own / peer for own, peer in zip(self.ours, self.peers, strict=True)]


def pairs(
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int = 5,
    warm: bool = True,
    repeat: int = 1,
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> Times:
    """Time both in turns, who is first changing with each round.

    Args:
        rounds: pairs; two are enough where a pair takes more than ten seconds.
        warm: whether each is called once before.
        repeat: calls a time, for work that is too short for the clock.
        clock: how long a call takes: `seconds` or `user_seconds`.
    """
    if warm:
        ours()
        peer()
    times = Times()
    while len(times.ours) < rounds:
        for which in ("ours", "peers") if len(times.ours) % 2 == 0 else ("peers", "ours"):
            action = ours if which == "ours" else peer
            getattr(times, which).append(sum(clock(action) for _ in range(repeat)) / repeat)
        if times.ours[-1] + times.peers[-1] > LONG_S:
            rounds = min(rounds, 2)
    return times
