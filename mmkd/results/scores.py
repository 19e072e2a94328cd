"""Lines of results as the rows of a regime: their scores and costs on each data set, by seed and test subject."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mmkd.metrics.registry import METRICS
from mmkd.results.columns import Line

COSTS = ("seconds", "macs", "latency_ms", "parameters", "bytes")
COMPARED = ("student", "method", "control")
"""Kinds of rows that are networks of one size, trained on one input."""
MEASURED = ("seconds", "latency_ms")
"""Costs that are comparable only on one machine and of one commit of mmkd, for trainings become faster."""


@dataclass(frozen=True, order=True)
class Case:
    """A data set and the student that is trained on it."""

    dataset: str
    student: str = ""


@dataclass(eq=False)
class Row:
    """A row of a regime.

    Attributes:
        kind: student, method, control, teacher or peer.
        scores: case -> seed -> score on all test windows; `subjects`: case -> (seed, subject) -> score.
        costs: metric -> case -> seed -> (value, machine and commit).
        other: metric -> case -> seed -> value, of the other scores.
    """

    name: str
    kind: str
    method: str
    tuned: bool = False
    extra_data: bool = False
    verified: bool = True
    scores: dict[Case, dict[int, float]] = field(default_factory=dict)
    subjects: dict[Case, dict[tuple[int, str], float]] = field(default_factory=dict)
    costs: dict[str, dict[Case, dict[int, tuple[float, str]]]] = field(default_factory=dict)
    other: dict[str, dict[Case, dict[int, float]]] = field(default_factory=dict)

    def on(self, case: Case) -> Mapping[int, float]:
        """Seed -> score on a set; empty where there is none."""
        return self.scores.get(case, {})

    def by_subject(self, case: Case) -> Mapping[tuple[int, str], float]:
        """(seed, subject) -> score on a set."""
        return self.subjects.get(case, {})

    def mean(self, case: Case) -> float | None:
        """The mean score over seeds."""
        own = self.on(case)
        return float(np.mean(list(own.values()))) if own else None

    def cost(self, metric: str, case: Case) -> float | None:
        """The median of a cost over seeds."""
        own = self.costs.get(metric, {}).get(case, {})
        return float(np.median([value for value, _ in own.values()])) if own else None


class CostRatio(NamedTuple):
    """A cost as a multiple of that of the student alone; `sets`: on how many it is known, `of`: that the row has."""

    value: float
    sets: int
    of: int


@dataclass(frozen=True)
class RegimeScores:
    """The rows of one regime.

    Attributes:
        metric: what is compared; `sign` is -1 where lower is better.
        cases: the sets with their students, by name.
    """

    name: str
    metric: str
    cases: tuple[Case, ...]
    rows: tuple[Row, ...]

    @property
    def sign(self) -> int:
        """1 where higher scores are better, else -1."""
        return METRICS.get(self.metric).sign if self.metric in METRICS else 1

    @property
    def datasets(self) -> tuple[str, ...]:
        """The sets, once each."""
        return tuple(dict.fromkeys(case.dataset for case in self.cases))

    @cached_property
    def usual_cases(self) -> frozenset[Case]:
        """The sets with those of their students that most rows have: at least half as many rows as any other.

        Students of another fusion, which a single method asks for, are not among them.
        """
        rows = {case: sum(bool(row.on(case)) for row in self.of(*COMPARED)) for case in self.cases}
        most = {name: max(rows[case] for case in self.cases if case.dataset == name) for name in self.datasets}
        return frozenset(case for case in self.cases if 2 * rows[case] >= most[case.dataset])

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of its verified rows; of all rows, where none is."""
        rows = self.of(*COMPARED)
        rows = [row for row in rows if row.verified] or rows
        return tuple(sorted({seed for row in rows for own in row.scores.values() for seed in own}))

    @property
    def student(self) -> Row | None:
        """The student alone."""
        return next((row for row in self.rows if row.kind == "student" and not row.tuned), None)

    def of(self, *kinds: str) -> list[Row]:
        """The rows of these kinds."""
        return [row for row in self.rows if row.kind in kinds]

    def find(self, name: str) -> Row | None:
        """The row of a name; else the first row of a method of that name that is not tuned."""
        own = [row for row in self.rows if row.name == name]
        return next(iter(own or [row for row in self.rows if row.method == name and not row.tuned]), None)

    def cost_ratio(self, row: Row, metric: str, cases: Iterable[Case] | None = None) -> CostRatio | None:
        """A cost over that of the student alone: the geometric mean over sets.

        Of times only pairs of one seed, machine and commit count. None where it is known on fewer than half of the
        sets that the row has: it would say little of the others.
        """
        base = self.student
        logs = []
        known, have = set(), set()
        for case in self.cases if cases is None else cases:
            if row.on(case):
                have.add(case.dataset)
            own = row.costs.get(metric, {}).get(case, {})
            other = base.costs.get(metric, {}).get(case, {}) if base else {}
            pairs = [(own[seed], other[seed]) for seed in sorted(own.keys() & other.keys())]
            if metric in MEASURED:
                pairs = [(a, b) for a, b in pairs if a[1] == b[1]]
                a, b = sum(pair[0][0] for pair in pairs), sum(pair[1][0] for pair in pairs)
            else:  # it does not depend on the seed
                a, b = row.cost(metric, case) or 0.0, (base.cost(metric, case) if base else None) or 0.0
            if a > 0 and b > 0:
                logs.append(np.log(a / b))
                known.add(case.dataset)
        if not logs or 2 * len(known) < len(have):
            return None
        return CostRatio(float(np.exp(np.mean(logs))), len(known), max(len(known), len(have)))


def regime_scores(lines: Iterable[Line], regime: str, metric: str) -> RegimeScores:
    """The rows of one regime, in the order in which kinds and then lines come.

    Teachers and peers belong to a data set: what they have under no student, or another one, counts for each student
    of it.
    """
    rows: dict[tuple[str, str], Row] = {}
    loose: list[tuple[Row, Line]] = []
    cases: dict[Case, None] = {}
    for line in lines:
        if line.regime != regime:
            continue
        key = (line.kind, line.row)
        row = rows.get(key)
        if row is None:
            row = rows[key] = Row(line.row, line.kind, line.method, line.tuned, line.extra_data, line.verified)
        row.extra_data = row.extra_data or line.extra_data
        row.verified = row.verified and line.verified
        if line.kind in COMPARED:
            case = Case(line.dataset, line.student)
            cases[case] = None
            _enter(row, case, line, metric)
        else:
            loose.append((row, line))
    known = sorted(cases)
    for row, line in loose:
        own = [case for case in known if case.dataset == line.dataset]
        exact = [case for case in own if case.student == line.student]
        for case in exact or own or [Case(line.dataset, line.student)]:
            _enter(row, case, line, metric)
    order = [*COMPARED, "teacher", "peer"]
    ordered = sorted(rows.values(), key=lambda row: order.index(row.kind) if row.kind in order else len(order))
    return RegimeScores(regime, metric, tuple(known), tuple(ordered))


def _enter(row: Row, case: Case, line: Line, metric: str) -> None:
    """One line into its row."""
    if line.metric == metric:
        if line.subject:
            row.subjects.setdefault(case, {})[line.seed, line.subject] = line.value
        else:
            row.scores.setdefault(case, {})[line.seed] = line.value
    elif line.subject:
        return
    elif line.metric in COSTS:
        where = f"{line.machine} {line.commit}"
        row.costs.setdefault(line.metric, {}).setdefault(case, {})[line.seed] = (line.value, where)
    else:
        row.other.setdefault(line.metric, {}).setdefault(case, {})[line.seed] = line.value
