"""Each method against the student alone and against the controls: who is compared with whom, and the answer."""

from collections.abc import Sequence

import numpy as np

from mmkd.comparison.changes import nearest
from mmkd.comparison.gap import t_interval
from mmkd.comparison.rows import STUDENT_ONLY, Row, common_repeats
from mmkd.comparison.verdicts import QUESTIONS, Answer, Verdict
from mmkd.metrics.registry import METRICS

LEVEL = 0.95


def is_control(row: Row) -> bool:
    """Whether a row is no method but what methods are held against."""
    return "control" in (row.kind, row.status) or row.base in {q.method or name for name, q in QUESTIONS.items()}


def is_blind(row: Row) -> bool:
    """Whether the targets of a control say nothing of the class of a window, see `Question.blind`."""
    return any(question.blind and _meant([row], name) for name, question in QUESTIONS.items())


def enter_verdicts(students: Sequence[Row], of: str = "seed", few_labels: bool = False) -> None:
    """Enter into each method's row whether it is better than the student alone and than each control.

    Controls themselves are asked the first question only, and the student alone none.

    Args:
        of: what a row has one value of, "seed" or "fold".
        few_labels: whether some training windows have no label.
    """
    questions = {name: question for name, question in QUESTIONS.items() if few_labels or not question.few_labels}
    rows = [row for row in students if row.is_student]
    for row in rows:
        if row.base == STUDENT_ONLY:
            continue
        asked = [STUDENT_ONLY] if is_control(row) else list(questions)
        row.verdicts = tuple(_verdict(row, name, _meant(rows, name), of) for name in asked)


def _meant(rows: Sequence[Row], control: str) -> list[Row]:
    """The rows that a question is about."""
    question = QUESTIONS[control]
    own = [row for row in rows if row.base == (question.method or control)]
    return [row for row in own if all(row.settings.get(name) == value for name, value in question.options.items())]


def _verdict(row: Row, control: str, candidates: Sequence[Row], of: str) -> Verdict:
    """A row against those of one control: of several the nearest student alone, or the control that is hardest to beat.

    A control with the same teachers comes before others.
    """
    if not candidates:
        return Verdict(control, of=of)
    sign = METRICS.get(row.score).sign
    if control == STUDENT_ONLY:
        other = nearest(row, candidates)
    else:
        alike = [candidate for candidate in candidates if candidate.teachers == row.teachers] or candidates
        other = max(alike, key=lambda candidate: sign * float(np.mean(candidate.values(row.score))))
    assert other is not None
    repeats = common_repeats(row, other)
    if not repeats:
        return Verdict(control, other.name, "not shown", of=of)
    differences = sign * (np.array(row.scores(repeats)) - np.array(other.scores(repeats)))
    mean = float(differences.mean())
    low, high = t_interval(differences, LEVEL)
    return Verdict(control, other.name, _answer(low, high), mean, low, high, len(repeats), of)


def _answer(low: float | None, high: float | None) -> Answer:
    if low is None or high is None or low <= 0 <= high:
        return "not shown"
    return "yes" if low > 0 else "no"
