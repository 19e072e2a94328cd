"""Rows of results with their scores by seed, and their change against the student alone, paired by seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmkd.metrics.registry import METRICS
from mmkd.results.columns import Line
from mmkd.results.protocol import Regime
from mmkd.tasks import TASKS

STUDENT = "student"
"""The kind, and the name, of the row of the student alone."""


@dataclass(frozen=True)
class Row:
    """One row on one data set: seed -> score, of the metric of its regime."""

    dataset: str
    student: str
    kind: str
    name: str
    scores: Mapping[int, float]
    own: bool = False

    @property
    def mean(self) -> float:
        """Mean over its seeds."""
        return sum(self.scores.values()) / len(self.scores)

    def change(self, alone: "Row | None", metric: str) -> tuple[float, int] | None:
        """Mean difference to another row over the seeds that both have, and how many; positive is better."""
        seeds = [] if alone is None else sorted(set(self.scores) & set(alone.scores))
        if alone is None or not seeds:
            return None
        sign = METRICS.get(metric).sign
        return sign * sum(self.scores[seed] - alone.scores[seed] for seed in seeds) / len(seeds), len(seeds)


def rows_of(lines: Iterable[Line], metric: str, own: bool = False) -> list[Row]:
    """The rows of lines, of all test windows and one metric; `own` marks them."""
    scores: dict[tuple[str, str, str, str], dict[int, float]] = {}
    for line in lines:
        if line.metric == metric and not line.subject:
            scores.setdefault((line.dataset, line.student, line.kind, line.row), {})[line.seed] = line.value
    return [Row(*place, found, own) for place, found in scores.items()]


def student_alone(rows: Iterable[Row], dataset: str, student: str) -> Row | None:
    """The row of the student alone of a data set, if it is among these."""
    place = dataset, student, STUDENT, STUDENT
    return next((row for row in rows if (row.dataset, row.student, row.kind, row.name) == place), None)


def students_of(regime: Regime, dataset: str) -> list[str]:
    """The column `student` of the students of a regime on a data set.

    Raises:
        MmkdError: its suite is malformed.
    """
    found: dict[str, None] = {}
    for request in regime.requests_of(dataset):
        preset = TASKS.get(request.task).preset(request.preset)
        for text in request.students:
            for net in request.student_net or (preset.student_net,):
                for fusion in request.fusion or ("concat",):
                    names = [text] + [net] * regime.has_several_nets
                    names += [fusion] * (regime.has_several_fusions and "+" in text)
                    found[" ".join(names)] = None
    return list(found)
