"""A row of a comparison: the units of one method, or of one teacher, over seeds or folds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmkd.comparison.identity import Settings, most_usual
from mmkd.comparison.units import Unit
from mmkd.comparison.verdicts import Verdict
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.metrics.fidelity import Fidelity
from mmkd.metrics.pairs import Paired
from mmkd.metrics.registry import METRICS, SELECTION
from mmkd.units.names import variant_names

STUDENT_ONLY = "student"  # the method that is the student without a teacher
STUDENTS = ("student", "control")
"""Kinds of rows that are trained students: of methods, and of controls."""
BOUND = "student-ensemble"
"""The control that averages students alone: it is several networks, and a bound for what averaging gives."""


@dataclass
class Row:
    """One line of a group.

    A repeat is what a row has one value of: a seed, or in a group that goes by folds the number of a fold.

    Attributes:
        kind: "teacher", "mean" (of the teachers' probabilities), "oracle" (for each test window the best teacher: an
            upper bound for choosing among them, no method), "student", "control" (a student that is no method, but what
            methods are held against), "simple" (a detector that is no network) or "reference" (a peer of the networks
            on the same windows).
        base: the method, or the modality and network of a teacher.
        variant: of a student its method and options, the same on every data set; `name` may say more.
        settings: what the row's units have in common beyond the group's settings.
        units: repeat -> unit.
        incomplete: of a row without all folds of its group what it has of them, a line a seed.
        teachers: the numbers, in the group, of the rows that taught it.
        control: the row that `change` is measured against, None of that row itself.
        change: of the score, paired by repeat; gap: share closed; time: training time over that of the student alone.
        score: the metric that is compared.
        equals: the names of other rows that are equal to the bit; folded_into: the first of them, in whose line this
            one is shown.
        fidelity: what its students have of their teachers: first of the only one, or of the mean of several, then of
            each.
        verdicts: whether it is better than the student alone and than each control.
        status: of a student's method, see `mmkd.methods.contract.STATUSES`; "" where it is not known.
    """

    kind: str
    base: str
    name: str
    settings: Settings
    units: dict[int, Unit]
    incomplete: tuple[str, ...] = ()
    teachers: tuple[int, ...] = ()
    variant: str = ""
    control: str | None = None
    change: Paired | Refusal | None = None
    gap: float | Refusal | None = None
    time: float | Refusal | None = None
    score: str = SELECTION
    equals: tuple[str, ...] = ()
    folded_into: str | None = None
    fidelity: tuple[Fidelity, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    status: str = ""

    @property
    def title(self) -> str:
        """Its name, and those of the rows that it equals."""
        return " = ".join([self.name, *self.equals])

    @property
    def is_student(self) -> bool:
        """Whether it is a trained student, of a method or of a control."""
        return self.kind in STUDENTS

    @property
    def prefix(self) -> str:
        """What stands before its name where rows of several kinds meet: "teacher ", "peer " or nothing."""
        return {"teacher": "teacher ", "reference": "peer "}.get(self.kind, "")

    def values(self, metric: str) -> list[float]:
        """One value a repeat that has it."""
        return [unit.metrics[metric] for _, unit in sorted(self.units.items()) if metric in unit.metrics]

    def scores(self, repeats: Iterable[int]) -> list[float]:
        """The values of the compared metric at these repeats."""
        return [self.units[repeat].metrics[self.score] for repeat in repeats]

    @property
    def members(self) -> list[Unit]:
        """What was trained, one by one: of a seed's mean over folds the units of the folds."""
        return [part for _, unit in sorted(self.units.items()) for part in unit.parts or (unit,)]


def common_repeats(*rows: Row) -> list[int]:
    """The seeds, or the numbers of the folds, that all these rows have."""
    return sorted(set.intersection(*[set(row.units) for row in rows]))


def best_first(students: Iterable[Row]) -> list[Row]:
    """The student alone, the methods by their mean score, then what is no student, and last the controls."""

    def order(row: Row) -> tuple[int, bool, float, str]:
        mean = float(np.mean(row.values(row.score)))
        place = {"student": 0, "control": 2}.get(row.kind, 1)
        return place, row.base != STUDENT_ONLY, -METRICS.get(row.score).sign * mean, row.name

    return sorted(students, key=order)


def name_by_difference(rows: Sequence[Row], settings: Sequence[Settings]) -> None:
    """Add to the names of rows in what their settings differ."""
    named = [(row.name, own) for row, own in zip(rows, settings, strict=True)]
    for row, name in zip(rows, variant_names(named, most_usual(named)), strict=True):
        row.name = shorten(name)
