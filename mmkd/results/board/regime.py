"""One regime of the board: its results, what was decided of it, and its statistics."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from mmkd.comparison.rows import BOUND
from mmkd.results.board.decisions import Decisions
from mmkd.results.board.words import span
from mmkd.results.by_units import ByUnits, by_units
from mmkd.results.columns import Line
from mmkd.results.scores import COMPARED, Case, RegimeScores, Row, regime_scores
from mmkd.results.standing import SetChange, Standing, set_change, standing

STUDENTS = ("student", "method", "control")
"""Kinds of rows that are trained students."""
TAUGHT = {
    "pseudo-label": "the teacher's class and nothing else",
    "shuffled-teacher": "the teacher's soft targets of other windows",
}
"""Controls that learn something from the teacher -> what."""


@dataclass(frozen=True)
class Plan:
    """What the protocol says of a regime; metric, sets and seeds are empty where there is no protocol.

    Attributes:
        subject_sets: names of data sets that are split by subject.
    """

    name: str
    title: str = ""
    what: str = ""
    metric: str = ""
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    subject_sets: frozenset[str] = frozenset()


class BoardRegime:
    """A regime with what the board says of it.

    Attributes:
        plan: what the protocol wants; decisions: what was decided; scores: its results.
        by_subject: the results whose test subjects are known: accuracy, where that is not what is compared.
    """

    def __init__(self, plan: Plan, lines: Iterable[Line], decisions: Decisions) -> None:
        lines = list(lines)
        self.plan = plan
        self.decisions = decisions
        self.scores: RegimeScores = regime_scores(lines, plan.name, plan.metric or "accuracy")
        self.name = plan.name
        other = self.scores.metric != "accuracy"
        self.by_subject: RegimeScores | None = regime_scores(lines, plan.name, "accuracy") if other else None

    @property
    def datasets(self) -> tuple[str, ...]:
        """All sets that are planned, then others that have results."""
        return tuple(dict.fromkeys([*self.plan.datasets, *self.scores.datasets]))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are planned, else those that there are."""
        return self.plan.seeds or self.scores.seeds

    @property
    def with_room(self) -> tuple[str, ...]:
        """The sets that are compared first: those with room; all, where it is not decided."""
        teachable = self.decisions.teachable
        return tuple(name for name in self.scores.datasets if teachable is None or name in teachable)

    @property
    def without_room(self) -> tuple[str, ...]:
        """The sets that were found to have none."""
        return tuple(name for name in self.scores.datasets if name not in (*self.with_room, *self.undecided))

    @property
    def is_split(self) -> bool:
        """Whether some sets have room and others have none, or are not decided."""
        return bool(self.with_room) and len(self.with_room) < len(self.scores.datasets)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The sets of which nothing is decided, where it is of others: they are in no statistic over sets."""
        known = self.decisions.gaps
        return tuple(name for name in self.scores.datasets if known and name not in (*self.with_room, *known))

    @property
    def kinds_of_sets(self) -> str:
        """What stands behind "all sets": `with and without room`, with those that are not decided if there are some."""
        if not self.with_room:
            kinds = ["without room"] * bool(self.without_room) + ["not decided"] * bool(self.undecided)
            return " and ".join(kinds)
        room = "with and without room" if self.without_room else "with room"
        return f"{room}{',' * bool(self.without_room)} and not decided" if self.undecided else room

    @cached_property
    def compared(self) -> list[Row]:
        """The rows that are ranked: the student alone, methods with their defaults, and controls but for the bound.

        They are verified, and without extra data.
        """
        usual = [row for row in self.scores.of(*COMPARED) if not row.tuned and row.method != BOUND]
        return [row for row in usual if row.verified and not row.extra_data]

    @cached_property
    def others(self) -> list[Row]:
        """Further rows of students: tuned ones, the bound, those that are not verified, those with extra data."""
        return [row for row in self.scores.of(*COMPARED) if row not in self.compared]

    @cached_property
    def methods(self) -> list[Row]:
        """The ranked rows that are methods."""
        return [row for row in self.compared if row.kind == "method"]

    @property
    def control(self) -> str:
        """The row of the control that was best in the selection phase; "" where it is not among the ranked rows."""
        row = self.scores.find(self.decisions.best_control) if self.decisions.best_control else None
        return row.name if row in self.compared and row is not None else ""

    @cached_property
    def room(self) -> Standing:
        """The rows over the sets with room."""
        return standing(self.scores, self.with_room, self.compared, self.control)

    @cached_property
    def no_room(self) -> Standing:
        """The rows over the sets without room."""
        return standing(self.scores, self.without_room, self.compared, self.control)

    @cached_property
    def all_sets(self) -> Standing:
        """The rows over all sets that have results."""
        return standing(self.scores, self.scores.datasets, self.compared, self.control)

    @cached_property
    def cases(self) -> list[Case]:
        """Sets and students: those with room, those without, and those that are not decided."""
        order = [*self.with_room, *self.without_room, *self.undecided]
        return sorted(self.scores.cases, key=lambda case: (order.index(case.dataset), case))

    @cached_property
    def changes(self) -> dict[tuple[str, Case], SetChange]:
        """(row, case) -> its change against the student alone."""
        return changes_of(self.scores)

    @cached_property
    def by_units(self) -> dict[str, ByUnits]:
        """Row -> its change on sets that are split by subject, and on the others."""
        return by_units(self.scores, self.plan.subject_sets)

    @cached_property
    def subject_changes(self) -> dict[tuple[str, Case], SetChange]:
        """The changes of accuracy whose intervals are over test subjects, where what is compared has no such scores."""
        if self.by_subject is None or any(change.subjects for change in self.changes.values()):
            return {}
        return {place: change for place, change in changes_of(self.by_subject).items() if change.subjects}

    def short(self, dataset: str) -> str:
        """The name of a set without that of its archive, where that is enough."""
        last = [name.rpartition(".")[2] for name in self.datasets]
        own = dataset.rpartition(".")[2]
        return own if last.count(own) == 1 else dataset

    def label(self, case: Case) -> str:
        """A set's short name, with its student where the set has several."""
        several = sum(other.dataset == case.dataset for other in self.scores.cases) > 1
        return f"{self.short(case.dataset)}, {case.student}" if several else self.short(case.dataset)

    def best_teacher(self, case: Case) -> Row | None:
        """The teacher with the best mean score on a set, of those with most seeds in common with the student alone.

        A teacher of fewer seeds may only have had the better ones.
        """
        alone = self.scores.student
        seeds = alone.on(case).keys() if alone is not None else set()
        own = [row for row in self.scores.of("teacher") if row.on(case)]
        most = max((len(row.on(case).keys() & seeds) for row in own), default=0)
        whole = [row for row in own if len(row.on(case).keys() & seeds) == most]
        return max(whole, key=lambda row: self.scores.sign * (row.mean(case) or 0.0), default=None)

    def runs(self, row: Row) -> tuple[int, int]:
        """Units that a row has, and those that it should have: every seed on every set with a student."""
        have = sum(len(row.on(case)) for case in self.scores.cases)
        return have, len(self.scores.cases) * len(self.seeds)

    def seed_counts(self, row: Row, sets: Iterable[str] | None = None) -> tuple[int, int]:
        """The fewest and the most seeds that a row has on a set; of sets on which it has any."""
        wanted = self.scores.datasets if sets is None else tuple(sets)
        counts = [len(row.on(case)) for case in self.scores.cases if case.dataset in wanted and row.on(case)]
        return (min(counts), max(counts)) if counts else (0, 0)

    def paired_seeds(self, row: Row, sets: Iterable[str] | None = None) -> tuple[int, int]:
        """The same of the seeds that it has in common with the student alone, of which its changes are."""
        student = self.scores.student
        if student is None:
            return self.seed_counts(row, sets)
        shared = {
            case: {seed: value for seed, value in own.items() if seed in student.on(case)}
            for case, own in row.scores.items()
        }
        return self.seed_counts(replace(row, scores=shared), sets)

    def few_seeds(self, row: Row) -> str:
        """`1 seed`, how many a row has that has fewer than others on one of its sets; "" of others.

        The others are the ranked rows but the student alone: on each set the one with the most seeds.
        """
        if not any(0 < len(row.on(case)) < self._most_seeds[case] for case in self.scores.cases):
            return ""
        least, highest = self.seed_counts(row)
        return f"{span(least, highest)} seed{'' if highest == 1 else 's'}"

    @cached_property
    def _most_seeds(self) -> dict[Case, int]:
        others = [row for row in self.compared if row.kind != "student"]
        return {case: max((len(row.on(case)) for row in others), default=0) for case in self.scores.cases}

    @property
    def untaught_control(self) -> str:
        """The control that was best in the selection phase of those that learn nothing from the teacher; "" if none."""
        known = {name: change for name, change in self.decisions.controls.items() if name.split()[0] not in TAUGHT}
        return max(known, key=lambda name: known[name], default="")


def changes_of(scores: RegimeScores) -> dict[tuple[str, Case], SetChange]:
    """(row, case) -> its change against the student alone."""
    student = scores.student
    if student is None:
        return {}
    found = {}
    for row in scores.rows:
        for case in scores.cases if row is not student else ():
            change = set_change(row, student, case, scores.sign)
            if isinstance(change, SetChange):
                found[row.name, case] = change
    return found
