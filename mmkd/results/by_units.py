"""Whether changes are alike on sets that are split by subject and on the others. No torch.

A set that is split by subject has other people in its test windows than in its training windows, which is what a
wearable device meets; the other sets of a protocol have the split of their archive.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from mmkd.results.scores import RegimeScores, Row
from mmkd.results.standing import changes_by_set


class ByUnits(NamedTuple):
    """The mean change of a row against the student alone, as a share, each set weighs the same; None of no set.

    Attributes:
        on_subjects, subject_sets: over the sets that are split by subject, and how many of them the row has.
        on_others, other_sets: the same over all others.
    """

    on_subjects: float | None
    subject_sets: int
    on_others: float | None
    other_sets: int

    @property
    def turns(self) -> bool:
        """Whether the two means have different signs, as they are shown: in points with one decimal."""
        if self.on_subjects is None or self.on_others is None:
            return False
        return round(self.on_subjects, 3) * round(self.on_others, 3) < 0


def by_units(
    scores: RegimeScores, subject_sets: Collection[str], rows: Iterable[Row] | None = None
) -> dict[str, ByUnits]:
    """Row -> its mean change on the sets that are split by subject and on the others, paired by seed.

    Args:
        subject_sets: names of the sets that are split by subject, such as `Protocol.subject_sets`.
        rows: those that are wanted; None: all students and peers. A row without a seed in common with the student
            alone is left out.
    """
    student = scores.student
    if student is None:
        return {}
    found = {}
    for row in scores.of("method", "control", "peer") if rows is None else rows:
        changes = {
            name: float(np.mean([change.mean for change in own]))
            for name, own in changes_by_set(scores, row, student, scores.datasets).items()
        }
        if row is student or not changes:
            continue
        of_subjects = [change for name, change in changes.items() if name in subject_sets]
        of_others = [change for name, change in changes.items() if name not in subject_sets]
        found[row.name] = ByUnits(_mean(of_subjects), len(of_subjects), _mean(of_others), len(of_others))
    return found


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
