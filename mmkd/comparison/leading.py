"""The best student of a group, and those that are not told apart from it."""

from dataclasses import dataclass

import numpy as np

from mmkd.comparison.controls import LEVEL
from mmkd.comparison.gap import t_interval
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row, common_repeats


@dataclass(frozen=True)
class Leaders:
    """The row with the best mean score, and others whose difference to it has an interval that holds 0.

    Attributes:
        best: name of the row; "" where there are fewer than two with the most seeds.
        alike: names of the others; none where all rows have one seed, or fold, and so no interval.
    """

    best: str = ""
    alike: frozenset[str] = frozenset()


def leaders(group: Group) -> Leaders:
    """Of the methods and the student alone with the most seeds, or folds; controls are no methods.

    The interval is Student's t, 95 %, over differences paired by seed, or fold; nothing is corrected for the number of
    rows.
    """
    rows = [row for row in group.rows if row.is_student and row.kind == "student"]
    most = max((len(row.units) for row in rows), default=0)
    rows = [row for row in rows if len(row.units) == most and row.values(row.score)]
    if len(rows) < 2:
        return Leaders()
    sign = group.score.sign
    best = max(rows, key=lambda row: sign * float(np.mean(row.values(row.score))))
    return Leaders(best.name, frozenset(row.name for row in rows if row is not best and _alike(best, row)))


def _alike(best: Row, row: Row) -> bool:
    repeats = common_repeats(best, row)
    differences = np.array(best.scores(repeats)) - np.array(row.scores(repeats))
    low, high = t_interval(differences, LEVEL)
    return low is not None and high is not None and low <= 0 <= high
