"""Whether a method is better than the student alone and than its controls: the questions, and their answers in words.

That a method is better than the student alone does not say that its teacher taught anything: label smoothing, the
targets of another window or a longer training may do as well. Each question is about one control, or one form of it;
where it is not on record the answer is "not run".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Question:
    """Whom others are asked to be better than.

    Attributes:
        words: in a sentence; head: above a column.
        method: its name; "" stands for the key of the question.
        options: those of the method that are meant.
        few_labels: whether it is asked only where some training windows have no label.
        blind: whether its targets say nothing of the class of a window. Such a control is far below all others, so that
            figures leave it out of the band of the controls.
    """

    words: str
    head: str
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    few_labels: bool = False
    blind: bool = False


QUESTIONS: Mapping[str, Question] = {
    "student": Question("the student alone", "student alone"),
    "label-smoothing": Question("label smoothing", "label smoothing"),
    "virtual-teacher": Question("a virtual teacher, as sure of each label", "virtual teacher"),
    "noise-logits": Question("noise of the teacher's entropy", "noise", blind=True),
    "random-teacher": Question("a teacher that was never trained", "untrained teacher", blind=True),
    "shuffled-class": Question(
        "targets of another window of its class", "shuffled in class", "shuffled-teacher", {"scope": "class"}
    ),
    "shuffled-any": Question(
        "targets of any other window", "shuffled", "shuffled-teacher", {"scope": "any"}, blind=True
    ),
    "born-again": Question("a born-again student, taught by its own like", "born-again"),
    "longer": Question("a longer training, of the same compute", "longer"),
    "pseudo-label": Question("the teacher's classes as labels", "pseudo-labels", few_labels=True),
    "self-training": Question("self-training, by its own like", "self-training", few_labels=True),
}
"""The first says whether there is a gain at all."""

Answer = Literal["yes", "no", "not shown", "not run"]


@dataclass(frozen=True)
class Verdict:
    """The answer to: is this row better than that one?

    Attributes:
        control: whom it is about, a key of `QUESTIONS`; row: the row that was compared.
        answer: "yes" or "no" where the interval of the difference leaves out 0, "not shown" where it holds 0 or there
            is none, "not run" where the method is not on record.
        mean: mean difference of the score, above 0 where this row is better; low, high: its 95 % interval by Student's
            t over n pairs, None of one pair.
        of: what a pair is of, "seed" or "fold".
    """

    control: str
    row: str = ""
    answer: Answer = "not run"
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    of: str = "seed"

    @property
    def whom(self) -> str:
        """Who is asked about, in words."""
        return QUESTIONS[self.control].words

    @property
    def numbers(self) -> str:
        """`+1.2 points [+0.3, +2.1]`; empty where it was not run."""
        if self.mean is None:
            return ""
        interval = (
            "" if self.low is None or self.high is None else f" [{100 * self.low:+z.1f}, {100 * self.high:+z.1f}]"
        )
        return f"{100 * self.mean:+z.1f} points{interval}"

    @property
    def cell(self) -> str:
        """`yes, +1.2 [+0.3, +2.1]`, as a table has it."""
        return f"{self.answer}, {self.numbers.replace(' points', '')}" if self.numbers else self.answer

    @property
    def brief(self) -> str:
        """`yes, +1.2`, as a narrow table has it."""
        return self.answer if self.mean is None else f"{self.answer}, {100 * self.mean:+z.1f}"

    @property
    def against(self) -> str:
        """` against NAME` of a row whose name says more than the question."""
        question = QUESTIONS[self.control]
        usual = question.method or self.control
        form = " ".join([usual, *(f"{name}={value}" for name, value in question.options.items())])
        return "" if self.row in ("", usual, form) else f" against {self.row}"

    @property
    def sentence(self) -> str:
        """`Better than label smoothing? Yes: +1.2 points [+0.3, +2.1], 5 seeds.`"""
        text = f"Better than {self.whom}? {self.answer.capitalize()}"
        if self.mean is None:
            return f"{text}." if not self.row else f"{text}: no {self.of} in common with {self.row}."
        pairs = f"one {self.of}, too few to tell" if self.n == 1 else f"{self.n} {self.of}s"
        return f"{text}: {self.numbers}{self.against}, {pairs}."


def named(verdicts: Sequence[Verdict], most: int = 4) -> str:
    """Whom these are about, in short; of many the first and how many there are."""
    heads = [QUESTIONS[verdict.control].head for verdict in verdicts]
    if len(heads) <= most:
        return ", ".join(heads)
    return f"{', '.join(heads[: most - 1])} and {len(heads) - most + 1} more"


def conclude(verdicts: Sequence[Verdict]) -> str:
    """What the answers for one method say together, a sentence; empty where nothing was asked."""
    if not verdicts:
        return ""
    gain, *controls = verdicts
    if not controls:
        return ""
    if gain.answer == "not run":
        return "Without the student alone on record nothing can be said of a gain."
    if gain.answer == "no":
        return "It is worse than the student alone."
    if gain.answer == "not shown":
        return "No gain over the student alone is shown, so there is nothing for a teacher to explain."
    run = [verdict for verdict in controls if verdict.answer != "not run"]
    missing = named([verdict for verdict in controls if verdict.answer == "not run"])
    equal = named([verdict for verdict in run if verdict.answer != "yes"])
    if not run:
        return f"There is a gain; whether it is the teacher's is not known, because no control was run ({missing})."
    if equal:
        return f"There is a gain, but it is not shown to be more than that of {equal}: it need not be the teacher's."
    if missing:
        return f"It is better than every control that was run; not run: {missing}."
    return "It is better than every control: here the teacher is the reason, as far as these rows can tell."
