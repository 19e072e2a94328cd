"""Where results of others would stand among those of the protocol: their place, and their change against a student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mmkd.metrics.registry import METRICS
from mmkd.results.columns import Line
from mmkd.results.submission.values import Known
from mmkd.results.summary import STUDENT, Row, rows_of, student_alone

Where = tuple[str, str]
"""A data set and the student there."""
Units = tuple[tuple[str, str, frozenset[int]], ...]
"""The units of a row: data set, student and seeds."""
COMPARED = (STUDENT, "method", "control")
"""The kinds of rows that have a place: trained students."""


@dataclass(frozen=True)
class Place:
    """Where a row would stand in a regime.

    Attributes:
        change: mean over data sets of the mean change against the student alone over seeds, in shares; None where the
            protocol has no student alone on its data sets.
        place: 1 is the best; of: rows that have a change on all of its data sets, itself included; each by those of its
            seeds that it shares with the student alone.
        lacking: rows of the protocol that have none of its seeds on some of the sets, and no place beside it.
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
        one = self.lacking == 1
        lacking = f"; {self.lacking} row{'' if one else 's'} lack{'s' * one} its seeds on some of its data sets and "
        lacking = f"{lacking}{'has' if one else 'have'} no place beside it" if self.lacking else ""
        return (
            f"{what}: place {self.place} of {self.of}, {100 * self.change:+.2f} points of {metric} against the student "
            f"alone, mean over {sets}, paired by seed ({self.pairs} of {self.units} units have a pair), all rows by "
            f"its seeds{lacking}"
        )


def places(lines: Sequence[Line], known: Known) -> list[Place]:
    """The place of each row of right results, in each regime and for each student of several networks."""
    found = []
    for regime in dict.fromkeys(line.regime for line in lines):
        protocol = known.protocol.regimes[regime]
        several = protocol.has_several_nets or protocol.has_several_fusions
        theirs: dict[Where, list[Row]] = {}
        for row in rows_of(known.lines(regime), protocol.metric):
            if row.kind in COMPARED:
                theirs.setdefault((row.dataset, row.student), []).append(row)
        own: dict[tuple[str, str], list[Row]] = {}
        for row in rows_of((line for line in lines if line.regime == regime), protocol.metric, own=True):
            own.setdefault((row.name, row.student if several else ""), []).append(row)
        means: dict[Units, list[float | None]] = {}
        for (_, student), mine in own.items():
            units = tuple((row.dataset, row.student, frozenset(row.scores)) for row in mine)
            if units not in means:
                means[units] = _means_of_others(units, theirs, protocol.metric)
            found.append(_place(regime, student, mine, theirs, means[units], protocol.metric))
    return found


def _means_of_others(units: Units, theirs: Mapping[Where, Sequence[Row]], metric: str) -> list[float | None]:
    """The change of each row that has some of these units, over all of them; None of one that lacks a data set."""
    changes: dict[tuple[str, str], list[tuple[float, int] | None]] = {}
    for dataset, student, seeds in units:
        others = theirs.get((dataset, student), ())
        alone = student_alone(others, dataset, student)
        for row in others:
            shared = {seed: score for seed, score in row.scores.items() if seed in seeds}
            changes.setdefault((row.kind, row.name), []).append(replace(row, scores=shared).change(alone, metric))
    return [_mean(found, len(units)) for found in changes.values()]


def _place(
    regime: str,
    student: str,
    mine: Sequence[Row],
    theirs: Mapping[Where, Sequence[Row]],
    others: Sequence[float | None],
    metric: str,
) -> Place:
    """Where the rows of one name stand; `student` is "" where they are of all students."""
    alone = [student_alone(theirs.get((row.dataset, row.student), ()), row.dataset, row.student) for row in mine]
    change = _mean([row.change(base, metric) for row, base in zip(mine, alone, strict=True)], len(mine))
    known = [other for other in others if other is not None]
    place = 1 + sum(change is not None and other > change for other in known)
    students = student or ", ".join(dict.fromkeys(row.student for row in mine))
    paired = [set(row.scores) & set(base.scores if base else ()) for row, base in zip(mine, alone, strict=True)]
    counts = sum(map(len, paired)), sum(len(row.scores) for row in mine)
    lacking = len(others) - len(known)
    return Place(regime, students, mine[0].name, metric, len(mine), change, place, len(known) + 1, lacking, *counts)


def _mean(changes: Sequence[tuple[float, int] | None], wanted: int) -> float | None:
    """Mean over data sets of changes against the student alone; None where fewer than wanted have one."""
    known = [change[0] for change in changes if change is not None]
    return sum(known) / wanted if len(known) == wanted else None
