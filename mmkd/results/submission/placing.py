"""Where results of others would stand among those of the protocol: their place, and their change against a student."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmkd.metrics.registry import METRICS
from mmkd.results.columns import Line
from mmkd.results.submission.values import Known
from mmkd.results.summary import STUDENT, Row, rows_of, student_alone

COMPARED = (STUDENT, "method", "control")
"""The kinds of rows that have a place: trained students."""


@dataclass(frozen=True)
class Place:
    """Where a row would stand in a regime.

    Attributes:
        change: mean over data sets of the mean change against the student alone over seeds, in shares; None where the
            protocol has no student alone on its data sets.
        place: 1 is the best; of: rows that have a change on all of its data sets, itself included; each by the seeds
            that it has in common with the student alone.
        lacking: rows of the protocol that lack some of the sets, and have no place beside it.
        pairs: units that are paired with the student alone; units: all of the row.
    """

    regime: str
    student: str
    row: str
    metric: str
    datasets: int
    change: float | None
    place: int
    of: int
    lacking: int
    pairs: int = 0
    units: int = 0

    @property
    def text(self) -> str:
        """The place in words."""
        metric = METRICS.get(self.metric).label
        what = f"regime {self.regime}, student {self.student}: {self.row!r}"
        sets = f"{self.datasets} data set{'s' * (self.datasets != 1)}"
        if self.change is None:
            return f"{what} has no place yet: there are no results of the student alone on its {sets}"
        lacking = (
            f"; {self.lacking} rows lack some of its data sets and have no place beside it" if self.lacking else ""
        )
        return (
            f"{what}: place {self.place} of {self.of}, {100 * self.change:+.2f} points of {metric} against the student "
            f"alone, mean over {sets}, paired by seed ({self.pairs} of {self.units} units have a pair){lacking}"
        )


def places(lines: Sequence[Line], known: Known) -> list[Place]:
    """The place of each row of right results, in each regime and for each student of several networks."""
    found = []
    for regime in dict.fromkeys(line.regime for line in lines):
        metric = known.protocol.regimes[regime].metric
        own = rows_of((line for line in lines if line.regime == regime), metric, own=True)
        theirs = [row for row in rows_of(known.lines(regime), metric) if row.kind in COMPARED]
        for name in dict.fromkeys(row.name for row in own):
            for student in _students(regime, own, name, known):
                mine = [row for row in own if row.name == name and (not student or row.student == student)]
                found.append(_place(regime, student, mine, theirs, metric))
    return found


def _students(regime: str, own: Sequence[Row], name: str, known: Known) -> list[str]:
    """The students of a row where a regime has several networks or fusions; else "", which stands for all."""
    protocol = known.protocol.regimes[regime]
    if not (protocol.has_several_nets or protocol.has_several_fusions):
        return [""]
    return list(dict.fromkeys(row.student for row in own if row.name == name))


def _place(regime: str, student: str, mine: Sequence[Row], theirs: Sequence[Row], metric: str) -> Place:
    wanted = {(row.dataset, row.student) for row in mine}
    others: dict[tuple[str, str], list[Row]] = {}
    for row in theirs:
        if (row.dataset, row.student) in wanted:
            others.setdefault((row.kind, row.name), []).append(row)
    whole = [rows for rows in others.values() if {(row.dataset, row.student) for row in rows} == wanted]
    change = _mean_change(mine, theirs, metric)
    changes = [own for rows in whole if (own := _mean_change(rows, theirs, metric)) is not None]
    place = 1 + sum(change is not None and own > change for own in changes)
    students = student or ", ".join(dict.fromkeys(row.student for row in mine))
    lacking = len(others) - len(whole)
    paired = [set(row.scores) & _seeds(student_alone(theirs, row.dataset, row.student)) for row in mine]
    counts = sum(map(len, paired)), sum(len(row.scores) for row in mine)
    return Place(regime, students, mine[0].name, metric, len(wanted), change, place, len(changes) + 1, lacking, *counts)


def _seeds(row: Row | None) -> set[int]:
    return set() if row is None else set(row.scores)


def _mean_change(rows: Sequence[Row], theirs: Sequence[Row], metric: str) -> float | None:
    """Mean over data sets of the change against the student alone; None where one has none."""
    found = [row.change(student_alone(theirs, row.dataset, row.student), metric) for row in rows]
    changes = [change[0] for change in found if change is not None]
    return sum(changes) / len(changes) if changes and len(changes) == len(found) else None
