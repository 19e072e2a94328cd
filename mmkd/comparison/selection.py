"""The selection phase: teachers and students alone in folds of the training part, which no test window is in.

Their records are no rows of tables. What they say is the gap, before any test window was read. Needs no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmkd.comparison.gap import Gap, gap_lines, record_gaps
from mmkd.comparison.identity import (
    as_key,
    flat,
    group_settings,
    student_spec,
    student_title,
)
from mmkd.comparison.parts import is_of_selection
from mmkd.comparison.rows import STUDENT_ONLY
from mmkd.store.record import Record
from mmkd.units.names import data_title, variant_names


@dataclass(frozen=True)
class Selection:
    """The gaps of one data set and student in the selection phase.

    Attributes:
        dataset, student: in words.
        folds: into how many folds the training part was cut.
        gaps: of each teacher to the student alone over folds and seeds, the largest first.
    """

    dataset: str
    student: str
    folds: int
    gaps: Sequence[Gap]

    @property
    def lines(self) -> list[str]:
        """What is said of them: the gap of the best teacher, then of each teacher an indented line."""
        head = f"selection in {self.folds} folds of the training part, {self.dataset}, {self.student}"
        first, *others = gap_lines(self.gaps)
        return [f"{head}: {first}", *(f"  {line}" for line in others)]

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        gaps = [{**asdict(gap), "has_room": gap.has_room} for gap in self.gaps]
        names = {"dataset": self.dataset, "student": self.student, "folds": self.folds}
        return {"kind": "selection", **names, "gaps": gaps}


def selections(records: Iterable[Record]) -> list[Selection]:
    """The gaps of the selection phase among these records; other records are passed over."""
    alone: dict[str, list[Record]] = {}
    teachers: list[Record] = []
    for record in filter(is_of_selection, records):
        if record.kind == "teacher":
            teachers.append(record.at_epoch("last"))
        elif record.kind == "student" and student_spec(record).method == STUDENT_ONLY:
            alone.setdefault(as_key(phase_settings(record)), []).append(record)
    titles = phase_titles([students[0] for students in alone.values()])
    found = []
    for students, student in zip(alone.values(), titles, strict=True):
        spec = students[0].unit
        gaps = record_gaps(students, teachers, _pair(students))
        if gaps:
            title = data_title(spec.data.name, spec.data.rate, spec.data)
            found.append(Selection(title, student, spec.data.inner_fold[1], gaps))
    return sorted(found, key=lambda selection: (selection.dataset, selection.student))


def phase_titles(firsts: Sequence[Record]) -> list[str]:
    """The students of these records in words, followed by the settings in which those of one title differ, such as the
    steps of the training.
    """
    return variant_names([(student_title(first), _own_settings(first)) for first in firsts], lambda name: {})


def _own_settings(record: Record) -> dict[str, Any]:
    """How a student was trained, and its views, under dotted names."""
    settings = group_settings(record)
    return flat({name: settings[name] for name in ("training", "view") if name in settings})


def phase_settings(record: Record) -> Mapping[str, Any]:
    """What the students of one phase have in common: all but seed and fold of the training part."""
    settings = group_settings(record)
    return {**settings, "data": {**settings["data"], "inner_fold": record.spec.data.inner_fold[1]}}


def _pair(students: Sequence[Record]) -> str:
    """What a pair of teacher and student is of, in the singular."""
    specs = [record.unit for record in students]
    return "fold" if len({spec.seed for spec in specs}) == 1 else "fold-and-seed pair"
