"""What students have of their teachers beyond the student alone, from predictions on record.

Compared are units of the same seed, fold and test windows. In folds the samples of a seed are those of all its folds
together, so that the errors of a teacher are counted over all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.comparison.changes import nearest
from mmkd.comparison.predictions import JointPrediction, same_windows
from mmkd.comparison.repeats import Repeats
from mmkd.comparison.rows import STUDENT_ONLY, Row
from mmkd.comparison.teachers import JointPredictions, joint_names
from mmkd.comparison.units import Unit
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.metrics.fidelity import Fidelity, Floats, SeedSums, fidelity, pair_sums

Known = Mapping[int, JointPrediction]
"""Number of a unit in its row -> what it predicts."""


def enter_fidelity(
    students: Sequence[Row],
    taught_by: Sequence[Row],
    usual: Sequence[int],
    joint: JointPredictions,
    repeats: Repeats,
    notes: dict[str, None],
) -> None:
    """Enter into the rows of students, before folds are merged, their agreement and fidelity.

    Args:
        taught_by: the rows that `Row.teachers` numbers.
        usual: the teachers that rows without teachers are held against.
    """
    alone_rows = [row for row in students if row.base == STUDENT_ONLY]
    measured = _Measured(joint, repeats)
    for row in students:
        teachers = [taught_by[number] for number in row.teachers or usual]
        if not teachers:
            continue
        own = _enter_agreement(row, teachers, joint, notes)
        alone = nearest(row, alone_rows)
        if row.is_student:
            names = [f"mean of {joint_names(teachers, taught_by)}"] * (len(teachers) > 1)
            names += [teacher.name for teacher in teachers]
            several = [*([teachers] * (len(teachers) > 1)), *([teacher] for teacher in teachers)]
            found = [
                measured.of(row, own, each, alone, shorten(name)) for name, each in zip(names, several, strict=True)
            ]
            row.fidelity = tuple(one for one in found if one is not None)


def _enter_agreement(
    row: Row, teachers: Sequence[Row], joint: JointPredictions, notes: dict[str, None]
) -> dict[int, JointPrediction]:
    """Enter how often each unit predicts the class that its teachers predict together; returns what it predicts."""
    known = {}
    for repeat, unit in row.units.items():
        taught = _together(teachers, repeat, joint)
        if unit.record is None or taught is None:
            continue
        own = joint.read([unit.record])
        if isinstance(own, Refusal):
            notes[f"agreement: {own.why}"] = None
        elif isinstance(taught, Refusal):
            notes[f"agreement: {taught.why}"] = None
        elif (agreement := own.agreement(taught)) is None:
            notes[f"agreement: unit {unit.key} and its teachers were not tested on the same windows"] = None
        else:
            row.units[repeat] = replace(unit, metrics={**unit.metrics, "agreement": agreement})
            known[repeat] = own
    return known


def _together(teachers: Sequence[Row], repeat: int, joint: JointPredictions) -> JointPrediction | Refusal | None:
    """What these teachers predict together; None where one is not on record."""
    records = [teacher.units[repeat].record for teacher in teachers if repeat in teacher.units]
    known = [record for record in records if record is not None]
    return joint.of(known) if len(known) == len(teachers) else None


@dataclass(frozen=True)
class _Case:
    """One unit beside its teachers, the student alone, and the student alone of another seed.

    Attributes:
        teacher: what they predict together; taught: their records, so that equal cases are found again.
        alone, other: the key of the unit and what it predicts; None where it is not on record.
    """

    own: JointPrediction
    teacher: JointPrediction
    taught: tuple[tuple[str, str], ...]
    alone: tuple[str, JointPrediction] | None
    other: tuple[str, JointPrediction] | None

    @property
    def classes(self) -> int:
        """One more than the highest class that occurs."""
        known = [self.own, self.teacher, *(found[1] for found in (self.alone, self.other) if found is not None)]
        return 1 + int(max(self.own.true.max(), *(one.predicted[0].max() for one in known)))

    def sums(self, network: JointPrediction, names: NDArray[Any] | None, classes: int) -> Floats:
        """The sums of a network beside the teacher, by what `names` are of; of all samples together without names."""
        known = self.own.true >= 0
        groups = self.own.groups
        place = np.zeros(len(known), np.int64)
        if names is not None and groups is not None:
            place = np.searchsorted(names, groups.names)[groups.number]
        cluster = np.broadcast_to(place.reshape(-1, *[1] * (known.ndim - 1)), known.shape)[known]
        return pair_sums(
            self.own.true[known],
            self.teacher.answers,
            network.answers,
            classes,
            cluster,
            1 if names is None else len(names),
        )


class _Measured:
    """Fidelity in one group; the sums of students alone are needed by every row, and kept."""

    def __init__(self, joint: JointPredictions, repeats: Repeats) -> None:
        self.joint = joint
        self.repeats = repeats
        self._kept: dict[tuple[object, ...], Floats] = {}

    def of(self, row: Row, own: Known, teachers: Sequence[Row], alone: Row | None, name: str) -> Fidelity | None:
        """The fidelity of a row to these teachers, under this name; None where no seed has what it needs on record."""
        seeds = []
        for units in self.repeats.whole_seeds(row.units).values():
            cases = [self._case(number, own, teachers, None if alone is row else alone) for number in units]
            known = [case for case in cases if case is not None]
            if len(known) == len(cases):
                seeds.append(known)
        seeds = [cases for cases in seeds if all(case.alone is not None for case in cases)] or seeds
        if not seeds:
            return None
        groups = [case.own.groups for cases in seeds for case in cases]
        known_groups = [group for group in groups if group is not None]
        kinds = {group.of for group in known_groups}
        same = len(kinds) == 1 and len(known_groups) == len(groups)
        names = np.unique(np.concatenate([group.names for group in known_groups])) if same else None
        classes = max(case.classes for cases in seeds for case in cases)
        sums = [self._seed_sums(cases, names, classes) for cases in seeds]
        why = "" if same else "subjects are on record for some of its units only"
        return fidelity(name, sums, kinds.pop() if same else "window", why)

    def _case(self, number: int, own: Known, teachers: Sequence[Row], alone: Row | None) -> _Case | None:
        """One unit beside its teachers and the student alone; None where a prediction is missing."""
        taught = _together(teachers, number, self.joint)
        if number not in own or taught is None or isinstance(taught, Refusal) or len(taught.predicted) > 1:
            return None
        units = [teacher.units[number] for teacher in teachers]
        keys = tuple((unit.key, unit.record.epoch) for unit in units if unit.record is not None)
        same_seed = None if alone is None else alone.units.get(number)
        other_seed = None if alone is None or same_seed is None else _other_seed(alone, same_seed)
        found = [self._alone(own[number], unit) for unit in (same_seed, other_seed)]
        return _Case(own[number], taught, keys, *found)

    def _alone(self, own: JointPrediction, unit: Unit | None) -> tuple[str, JointPrediction] | None:
        """A student alone on the same windows."""
        if unit is None or unit.record is None:
            return None
        found = self.joint.of([unit.record])
        return None if isinstance(found, Refusal) or not same_windows(own, found) else (unit.key, found)

    def _seed_sums(self, cases: Sequence[_Case], names: NDArray[Any] | None, classes: int) -> SeedSums:
        """The sums of one seed, over its folds."""
        own = sum((case.sums(case.own, names, classes) for case in cases), np.zeros(()))
        return SeedSums(own, *(self._sums_alone(cases, who, names, classes) for who in ("alone", "other")))

    def _sums_alone(self, cases: Sequence[_Case], who: str, names: NDArray[Any] | None, classes: int) -> Floats | None:
        """The sums of the students alone of these cases; None where one is not on record."""
        found = [getattr(case, who) for case in cases]
        if not all(found):
            return None
        known = b"" if names is None else names.tobytes()
        key = (*((case.taught, key) for case, (key, _) in zip(cases, found, strict=True)), classes, known)
        if key not in self._kept:
            parts = [case.sums(alone, names, classes) for case, (_, alone) in zip(cases, found, strict=True)]
            self._kept[key] = sum(parts, np.zeros(()))
        return self._kept[key]


def _other_seed(alone: Row, unit: Unit) -> Unit | None:
    """The student alone of the next seed, and the same fold; after the last seed comes the first."""
    others = {
        other.seed: other for other in alone.units.values() if other.fold == unit.fold and other.seed != unit.seed
    }
    later = [seed for seed in others if seed > unit.seed]
    return others[min(later or others)] if others else None
