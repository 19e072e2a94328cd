"""The gap: test accuracy of a teacher minus that of the student trained alone, before any method is compared.

Both are of the same data, split and seed. Where the gap is below two points, a method has next to nothing to gain from
the teacher, and its change says little. Needs neither torch nor mlflow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmkd.comparison.identity import as_key, teacher_settings
from mmkd.comparison.rows import STUDENT_ONLY, Row
from mmkd.core.refusal import Refusal
from mmkd.store.record import Record
from mmkd.units.names import variant_names

SCORE = "accuracy"
LEAST_ROOM = 0.02
"""Gap, as a share, below which there is no room: two points."""
LEVEL = 0.9
"""Of the interval of a gap."""
WITHOUT = frozenset({"validation", "epoch_rule", "unlabelled_sha256", "unlabelled_file"})
"""Fields of the data that say which windows choose an epoch, or that students are trained on without a label; they may
differ between a teacher and its student."""


@dataclass(frozen=True)
class Fit:
    """How a teacher does on the windows that it was trained on, without augmentation and in evaluation mode.

    Attributes:
        accuracy: share of these windows, or of their labelled steps, that it classifies rightly.
        wrong: share where its most probable class is not the label.
        nll: negative log-likelihood of the labels under its probabilities, in nats.
    """

    accuracy: float
    wrong: float
    nll: float


@dataclass(frozen=True)
class Gap:
    """A teacher's test accuracy minus that of the student alone, as shares (0.02 is two points).

    Attributes:
        teacher: its name.
        mean: over n pairs of the same seed and fold.
        low, high: 90 % interval of the mean by Student's t over the pairs, which takes them for independent; None of
            one pair.
        of: what a pair is of, in the singular, such as "seed" or "fold".
        accuracy, alone: mean test accuracy of the teacher, and of the student alone.
        fit: of the teacher on its training windows; None where its records are older than that.
    """

    teacher: str
    mean: float
    low: float | None
    high: float | None
    n: int
    of: str
    accuracy: float
    alone: float
    fit: Fit | None = None

    @property
    def has_room(self) -> bool:
        """Whether the mean is at least two points."""
        return round(self.mean, 12) >= LEAST_ROOM

    @property
    def is_weaker(self) -> bool:
        """Whether the teacher is worse than the student alone."""
        return self.mean < 0


def paired_gap(
    teacher: str,
    of_teacher: Mapping[Any, float],
    of_student: Mapping[Any, float],
    of: str = "seed",
    fit: Fit | None = None,
) -> Gap | Refusal:
    """The gap of one teacher.

    Args:
        of_teacher, of_student: seed, or whatever a pair has in common -> test accuracy.
        of: what a pair is of, in the singular.
    """
    common = [pair for pair in of_teacher if pair in of_student]
    if not common:
        return Refusal(f"gap of {teacher}: no {of} is on record for both the teacher and the student alone")
    accuracy = np.array([of_teacher[pair] for pair in common], np.float64)
    alone = np.array([of_student[pair] for pair in common], np.float64)
    low, high = t_interval(accuracy - alone)
    mean = float((accuracy - alone).mean())
    return Gap(teacher, mean, low, high, len(common), of, float(accuracy.mean()), float(alone.mean()), fit)


def t_interval(values: Sequence[float] | np.ndarray[Any, Any], level: float = LEVEL) -> tuple[float | None, ...]:
    """The interval of the mean of n values by Student's t with n - 1 degrees of freedom; None twice of one value."""
    x = np.asarray(values, np.float64)
    if len(x) < 2:
        return None, None
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, a third as long to load

    half = float(stdtrit(len(x) - 1, (1 + level) / 2)) * float(x.std(ddof=1)) / float(np.sqrt(len(x)))
    return float(x.mean()) - half, float(x.mean()) + half


def record_gaps(alone: Iterable[Record], teachers: Iterable[Record], of: str = "seed") -> list[Gap]:
    """The gap of each teacher, the largest first; of records of one student and one data set.

    Pairs are of the same seed and the same split, whichever it is: folds, inner folds and labelled parts are told
    apart. Teachers of one name (`TeacherSpec.title`) that were made in the same way are one; the names of others say
    how they differ.

    Args:
        alone: students trained alone.
        teachers: at the epoch with which they taught, see `Record.at_epoch`.
        of: what a pair is of, in the singular.
    """
    of_student = {_pair(record): record.metrics.test[SCORE] for record in alone if SCORE in record.metrics.test}
    rows: dict[str, list[Record]] = {}
    for record in teachers:
        if SCORE in record.metrics.test:
            rows.setdefault(as_key([record.teacher.title, teacher_settings(record)]), []).append(record)
    named = [(records[0].teacher.title, teacher_settings(records[0])) for records in rows.values()]
    gaps = []
    for name, records in zip(variant_names(named, lambda name: {}), rows.values(), strict=True):
        of_teacher = {_pair(record): record.metrics.test[SCORE] for record in records}
        gap = paired_gap(name, of_teacher, of_student, of, mean_fit(records))
        if isinstance(gap, Gap):
            gaps.append(gap)
    return largest_first(gaps)


def row_gaps(teachers: Iterable[Row], students: Iterable[Row], of: str) -> list[Gap]:
    """The gap of each row of teachers of a group, the largest first; empty without a row of the student alone.

    Of several rows of the student alone, which differ in their options, it is the one with the highest mean.

    Args:
        of: what a row has one value of, in the singular.
    """
    alone = [_scores(row) for row in students if row.base == STUDENT_ONLY]
    best = max(
        (scores for scores in alone if scores), key=lambda scores: float(np.mean([*scores.values()])), default={}
    )
    gaps = []
    for row in teachers:
        records = [unit.record for unit in row.members if unit.record is not None]
        gap = paired_gap(row.name, _scores(row), best, of, mean_fit(records))
        if isinstance(gap, Gap):
            gaps.append(gap)
    return largest_first(gaps)


def _scores(row: Row) -> dict[int, float]:
    """Seed, or number of a fold -> test accuracy."""
    return {repeat: unit.metrics[SCORE] for repeat, unit in row.units.items() if SCORE in unit.metrics}


def largest_first(gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps of the best teacher first."""
    return sorted(gaps, key=lambda gap: -gap.mean)


def _pair(record: Record) -> str:
    """What a teacher and the student alone have in common: seed, data and split."""
    data = {name: value for name, value in asdict(record.spec.data).items() if name not in WITHOUT}
    return as_key([record.spec.seed, data])


def mean_fit(records: Iterable[Record]) -> Fit | None:
    """The mean fit of teachers to their training windows; None where a record does not have it."""
    fits = [fit_of(record) for record in records]
    known = [fit for fit in fits if fit is not None]
    if not known or len(known) < len(fits):
        return None
    means = {name: float(np.mean([getattr(fit, name) for fit in known])) for name in ("accuracy", "wrong", "nll")}
    return Fit(**means)


def fit_of(record: Record) -> Fit | None:
    """The fit of one teacher, at the epoch of the record; None of older records, which do not have it."""
    fit = record.training_fit
    try:
        return Fit(float(fit["accuracy"]), float(fit["wrong"]), float(fit["nll"]))
    except (KeyError, TypeError, ValueError):
        return None


# In words -------------------------------------------------------------------------------------------------------------


def describe_gap(gap: Gap) -> str:
    """One line on the gap of the best teacher.

    >>> describe_gap(Gap("sig WRN16-1", 0.034, 0.012, 0.056, 3, "seed", 0.934, 0.9))
    'gap: +3.4 points [+1.2, +5.6], best teacher sig WRN16-1 0.934, student alone 0.900 (90 % interval over 3 seeds)'
    """
    text = f"gap: {_points(gap)}, best teacher {gap.teacher} {gap.accuracy:.3f}, student alone {gap.alone:.3f}"
    over = f"one {gap.of}, no interval" if gap.n == 1 else f"90 % interval over {gap.n} {gap.of}s"
    if not gap.has_room:
        return f"{text} ({over}); {NO_ROOM}"
    return f"{text} ({over})" + (f"; {OPEN}" if gap.low is not None and gap.low <= 0 else "")


NO_ROOM = "no room: below 2 points a method has next to nothing to gain"
"""Stands in the line of a gap that is too small."""
OPEN = "the interval holds 0: that there is room is not shown"
"""Stands in the line of a gap that is large enough by its mean alone."""


def gap_lines(gaps: Sequence[Gap]) -> list[str]:
    """What is said above a table: the gap of the best teacher, then a line on each teacher, the best first."""
    ordered = largest_first(gaps)
    return [*(describe_gap(gap) for gap in ordered[:1]), *map(describe_teacher, ordered)]


def describe_teacher(gap: Gap) -> str:
    """One line on a teacher: its gap, with a warning if it is weaker than the student, and how it fits its training.

    >>> describe_teacher(Gap("pi WRN16-1", -0.05, None, None, 1, "seed", 0.85, 0.9, Fit(0.997, 0.003, 0.0123)))
    'warning: teacher pi WRN16-1 is weaker than the student alone: -5.0 points; wrong on 0.3 % of its training \
windows, NLL of its targets there 0.012'
    """
    head = f"teacher {gap.teacher}:"
    if gap.is_weaker:
        head = f"warning: teacher {gap.teacher} is weaker than the student alone:"
    fit = gap.fit
    if fit is None:
        return f"{head} {_points(gap)}"
    wrong = f"wrong on {100 * fit.wrong:.1f} % of its training windows"
    return f"{head} {_points(gap)}; {wrong}, NLL of its targets there {fit.nll:.3f}"


def _points(gap: Gap) -> str:
    """`+3.4 points [+1.2, +5.6]`."""
    interval = "" if gap.low is None or gap.high is None else f" [{100 * gap.low:+z.1f}, {100 * gap.high:+z.1f}]"
    return f"{100 * gap.mean:+z.1f} points{interval}"
