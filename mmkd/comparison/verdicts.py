"""Whether a method is better than the student alone and than its controls: the questions, and their answers in words.

That a method is better than the student alone does not say that its teacher taught anything: label smoothing, the
targets of another window or a longer training may do as well. Each question is about one method, by its name; where it
is not on record the answer is "not run".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

QUESTIONS: Mapping[str, str] = {
    "student": "the student alone",
    "label-smoothing": "label smoothing",
    "shuffled-teacher": "a shuffled teacher",
    "longer": "a longer training, of the same compute",
    "born-again": "a born-again student, taught by its own like",
}
"""Name of a method -> whom others are asked to be better than; the first says whether there is a gain at all."""

Answer = Literal["yes", "no", "not shown", "not run"]


@dataclass(frozen=True)
class Verdict:
    """The answer to: is this row better than that one?

    Attributes:
        control: the method that is asked about, a key of `QUESTIONS`; row: the row of it that was compared.
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
        return QUESTIONS[self.control]

    @property
    def numbers(self) -> str:
        """`+1.2 points [+0.3, +2.1]`; empty where it was not run."""
        if self.mean is None:
            return ""
        interval = "" if self.low is None or self.high is None else f" [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        return f"{100 * self.mean:+.1f} points{interval}"

    @property
    def cell(self) -> str:
        """`yes, +1.2 [+0.3, +2.1]`, as a table has it."""
        return f"{self.answer}, {self.numbers.replace(' points', '')}" if self.numbers else self.answer

    @property
    def brief(self) -> str:
        """`yes, +1.2`, as a narrow table has it."""
        return self.answer if self.mean is None else f"{self.answer}, {100 * self.mean:+.1f}"

    @property
    def sentence(self) -> str:
        """`Better than label smoothing? Yes: +1.2 points [+0.3, +2.1], 5 seeds.`"""
        text = f"Better than {self.whom}? {self.answer.capitalize()}"
        if self.mean is None:
            return f"{text}." if not self.row else f"{text}: no {self.of} in common with {self.row}."
        row = "" if self.row == self.control else f" against {self.row}"
        pairs = f"one {self.of}, too few to tell" if self.n == 1 else f"{self.n} {self.of}s"
        return f"{text}: {self.numbers}{row}, {pairs}."


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
    missing = ", ".join(verdict.control for verdict in controls if verdict.answer == "not run")
    equal = ", ".join(verdict.control for verdict in run if verdict.answer != "yes")
    if not run:
        return f"There is a gain; whether it is the teacher's is not known, because no control was run ({missing})."
    if equal:
        return f"There is a gain, but it is not shown to be more than that of {equal}: it need not be the teacher's."
    if missing:
        return f"It is better than every control that was run; not run: {missing}."
    return "It is better than every control: here the teacher is the reason, as far as these rows can tell."
