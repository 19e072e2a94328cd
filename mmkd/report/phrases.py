"""Numbers, names and notes of a comparison as short texts, the same in every format."""

from collections.abc import Iterable, Sequence

import numpy as np

from mmkd.comparison.compare import Comparison
from mmkd.comparison.gap import SCORE as GAP_SCORE
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import BOUND, STUDENT_ONLY, STUDENTS, Row
from mmkd.core.refusal import Refusal
from mmkd.core.text import shorten
from mmkd.metrics.registry import METRICS

POINTS = 100
CONTROLS = "controls: no methods, but what methods are held against"
"""The heading of the rows of controls."""

LEGEND = (
    "vs {control}: {score} in points, paired by seed (a single seed in folds by fold), with a 95 % bootstrap interval "
    "over the pairs; of few it is too narrow. gap: share closed, in {score}, of the way from the student alone to "
    "its best teacher (the gap above the table is in {gap_score}). agree: share of test windows on which a student "
    "says what its teachers say together. time: of training the student, against training it alone."
)


def mean_and_deviation(values: Sequence[float], scale: float = 1.0, sign: str = "") -> str:
    """`0.934` of one value, `0.934 ± 0.006` (standard deviation, ddof 1) of several, empty of none."""
    if not values:
        return ""
    digits = 3 if scale == 1.0 else 1
    text = f"{scale * float(np.mean(values)):{sign}z.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {scale * float(np.std(values, ddof=1)):.{digits}f}"


def legend(comparison: Comparison) -> str:
    """What the columns of the tables mean."""
    score = score_names(comparison.groups)
    return LEGEND.format(control=control_name(comparison.control), score=score, gap_score=METRICS.get(GAP_SCORE).label)


def score_names(groups: Iterable[Group]) -> str:
    """What is compared in these groups."""
    return " or ".join(dict.fromkeys(group.score.label for group in groups))


def control_name(control: str) -> str:
    """The control as a head of a column has it."""
    return "alone" if control == STUDENT_ONLY else shorten(control, 24)


def row_name(row: Row, group: Group) -> str:
    """The name of a row, with those that it equals; of one without all seeds, or folds, of its group with how many."""
    name = f"{row.prefix}{row.title}"
    count = len(group.repeats)
    return name if len(row.units) == count else f"{name} ({len(row.units)} of {count} {group.by}s)"


def first_control(group: Group) -> Row | None:
    """The row above which the heading of controls stands."""
    return next((row for row in group.shown_rows if row.kind == "control"), None)


def group_notes(group: Group) -> list[str]:
    """Why something is not shown, and what else is to be known of a group."""
    reasons: dict[str, list[str]] = {}
    for row in group.rows:
        for name, value in (("change", row.change), ("gap", row.gap), ("time", row.time)):
            if isinstance(value, Refusal):
                reasons.setdefault(f"{name}: {value.why}", []).append(row.name)
    compared = (*STUDENTS, "simple", "reference")
    lines = []
    for reason, rows in reasons.items():
        kinds = compared if reason.startswith("change:") else compared[:3]
        others = sum(row.kind in kinds for row in group.rows) - 1
        lines.append(f"{reason} ({'all methods' if len(rows) == others > 1 else ', '.join(rows)})")
    bounds = [row.name for row in group.rows if row.base == BOUND]
    lines += [f"{name}: several students alone, averaged; a bound for what averaging gives" for name in bounds]
    return [*group.notes, *lines]


def seed_list(seeds: Sequence[int]) -> str:
    """`0-2, 5`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def name_seeds(seeds: Sequence[int]) -> str:
    """`seed 0`, `seeds 0-2, 5`."""
    return f"seed{'s' * (len(seeds) > 1)} {seed_list(seeds)}"


def name_repeats(group: Group) -> str:
    """`seeds 0-2`; of folds `seeds 0-2, each the mean of its 5 folds`, or of one seed `seed 0, by fold`."""
    if not group.folds:
        return name_seeds(group.seeds)
    values = "by fold" if group.by == "fold" else f"each the mean of its {len(group.folds)} folds"
    return f"{name_seeds(group.seeds)}, {values}"


def kinds_of_repeats(groups: Iterable[Group]) -> str:
    """`seeds`, `folds`, or `seeds or folds`: what rows of these groups have one value of."""
    return " or ".join(dict.fromkeys(f"{group.by}s" for group in groups)) or "seeds"
