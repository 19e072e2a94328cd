"""The answer of a function that has no value to give, and says why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A question that these data cannot answer, and why.

    Functions return it in place of a value: `Predictions | Refusal`. It is no error; callers show the reason.
    """

    why: str
