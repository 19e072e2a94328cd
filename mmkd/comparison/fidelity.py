"""What students have of their teachers beyond the student alone, from predictions on record.

Compared are units of the same seed, fold and test windows. In folds the samples of a seed are those of all its folds
together, so that the errors of a teacher are counted over all of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.comparison.changes import nearest
from mmkd.comparison.network_pairs import NetworkPair, teachers_id
from mmkd.comparison.repeats import Repeats
from mmkd.comparison.rows import STUDENT_ONLY, Row
from mmkd.comparison.teachers import JointPredictions, joint_names
from mmkd.comparison.units import Unit
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.metrics.fidelity import Fidelity, Floats, SeedSums, fidelity
from mmkd.store.record import Record


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


def _enter_agreement(row: Row, teachers: Sequence[Row], joint: JointPredictions, notes: dict[str, None]) -> set[int]:
    """Enter how often each unit predicts the class that its teachers predict together; returns the numbers of units
    for which that is known.
    """
    known = set()
    for number, unit in row.units.items():
        taught = _records(teachers, number)
        if unit.record is None or taught is None:
            continue
        pair = joint.pair(unit.record, taught)
        if isinstance(pair, Refusal):
            notes[f"agreement: {pair.why}"] = None
        else:
            row.units[number] = replace(unit, metrics={**unit.metrics, "agreement": pair.agreement})
            known.add(number)
    return known


def _records(teachers: Sequence[Row], number: int) -> list[Record] | None:
    """The records of these teachers; None where one is not there."""
    records = [teacher.units[number].record for teacher in teachers if number in teacher.units]
    known = [record for record in records if record is not None]
    return known if len(known) == len(teachers) else None


@dataclass(frozen=True)
class _Case:
    """One unit beside its teachers, and beside them the student alone, and the student alone of another seed.

    Attributes:
        taught: the name of the set of teachers, so that equal cases are found again.
        alone, other: the key of the unit and what it has of these teachers; None where that is not known.
    """

    own: NetworkPair
    taught: str
    alone: tuple[str, NetworkPair] | None
    other: tuple[str, NetworkPair] | None

    @property
    def pairs(self) -> list[NetworkPair]:
        return [self.own, *(found[1] for found in (self.alone, self.other) if found is not None)]


class _Measured:
    """Fidelity in one group; the sums of students alone are needed by every row, and kept."""

    def __init__(self, joint: JointPredictions, repeats: Repeats) -> None:
        self.joint = joint
        self.repeats = repeats
        self._kept: dict[tuple[object, ...], Floats] = {}

    def of(
        self, row: Row, known: Collection[int], teachers: Sequence[Row], alone: Row | None, name: str
    ) -> Fidelity | None:
        """The fidelity of a row to these teachers, under this name; None where no seed has what it needs on record.

        Args:
            known: the numbers of the units whose agreement is known.
        """
        seeds = []
        for units in self.repeats.whole_seeds(row.units).values():
            cases = [
                self._case(unit, number, teachers, None if alone is row else alone) if number in known else None
                for number, unit in units.items()
            ]
            found = [case for case in cases if case is not None]
            if len(found) == len(cases):
                seeds.append(found)
        seeds = [cases for cases in seeds if all(case.alone is not None for case in cases)] or seeds
        if not seeds:
            return None
        pairs = [pair for cases in seeds for case in cases for pair in case.pairs]
        kinds = {pair.of for pair in pairs}
        why = "" if len(kinds) == 1 else "subjects are on record for some of its units only"
        if any(pair.names is None for pair in pairs):
            why = "it needs predictions, which records from elsewhere (--records, --with) came without"
        names = None if why else np.unique(np.concatenate([pair.names for pair in pairs if pair.names is not None]))
        classes = max(pair.classes for pair in pairs)
        sums = [self._seed_sums(cases, names, classes) for cases in seeds]
        return fidelity(name, sums, "window" if why else kinds.pop(), why)

    def _case(self, unit: Unit, number: int, teachers: Sequence[Row], alone: Row | None) -> _Case | None:
        """One unit beside its teachers and the student alone; None where it is not known what it has of them."""
        taught = _records(teachers, number)
        own = None if taught is None else self._pair(unit, taught)
        if taught is None or own is None:
            return None
        same_seed = None if alone is None else alone.units.get(number)
        other_seed = None if alone is None or same_seed is None else _other_seed(alone, same_seed)
        pairs = [None if one is None else self._pair(one, taught) for one in (same_seed, other_seed)]
        found = [
            (one.key, pair) if one is not None and pair is not None else None
            for one, pair in zip((same_seed, other_seed), pairs, strict=True)
        ]
        return _Case(own, teachers_id(taught), *found)

    def _pair(self, unit: Unit, taught: Sequence[Record]) -> NetworkPair | None:
        """What a unit has of these teachers; None where that is not known, or they have no joint prediction."""
        pair = Refusal("") if unit.record is None else self.joint.pair(unit.record, taught)
        return None if isinstance(pair, Refusal) or pair.sums is None else pair

    def _seed_sums(self, cases: Sequence[_Case], names: NDArray[Any] | None, classes: int) -> SeedSums:
        """The sums of one seed, over its folds."""
        own = sum((case.own.aligned(names, classes) for case in cases), np.zeros(()))
        return SeedSums(own, *(self._sums_alone(cases, who, names, classes) for who in ("alone", "other")))

    def _sums_alone(self, cases: Sequence[_Case], who: str, names: NDArray[Any] | None, classes: int) -> Floats | None:
        """The sums of the students alone of these cases; None where one is not on record."""
        found = [getattr(case, who) for case in cases]
        if not all(found):
            return None
        known = b"" if names is None else names.tobytes()
        key = (*((case.taught, key) for case, (key, _) in zip(cases, found, strict=True)), classes, known)
        if key not in self._kept:
            self._kept[key] = sum((pair.aligned(names, classes) for _, pair in found), np.zeros(()))
        return self._kept[key]


def _other_seed(alone: Row, unit: Unit) -> Unit | None:
    """The student alone of the next seed, and the same fold; after the last seed comes the first."""
    others = {
        other.seed: other for other in alone.units.values() if other.fold == unit.fold and other.seed != unit.seed
    }
    later = [seed for seed in others if seed > unit.seed]
    return others[min(later or others)] if others else None
