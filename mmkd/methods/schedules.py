"""A value that changes over the epochs, written as one text such as `linear:8,2`."""

import math
from dataclasses import dataclass
from typing import ClassVar

from mmkd.core.errors import MmkdError


@dataclass(frozen=True)
class Schedule:
    """A value for every point of the training, from 0 (first epoch) to 1 (last epoch).

    Attributes:
        form: "constant" (always 1), "linear" or "cosine" (from `start` to `end`), or "step" (`start` up to `border`,
            then `end`).
        start: the first value.
        end: the last value.
        border: for "step" only, the share of the training at which the value changes.
    """

    FORMS: ClassVar[str] = "constant, linear:A,B, cosine:A,B, or step:A,B,S (A up to share S of the epochs, then B)"
    form: str = "constant"
    start: float = 1.0
    end: float = 1.0
    border: float = 1.0

    @classmethod
    def parse(cls, text: str, name: str) -> "Schedule":
        """Parse a schedule.

        >>> Schedule.parse("linear:8,2", "temperature-schedule").at(0.5)
        5.0

        Args:
            text: in one of the forms `FORMS`.
            name: the name of the option, for messages.

        Raises:
            MmkdError: The form is unknown, the number of values is wrong, or a value is negative or not finite.
        """
        form, _, rest = text.partition(":")
        count = {"constant": 0, "linear": 2, "cosine": 2, "step": 3}.get(form)
        try:
            values = [float(part) for part in rest.split(",")] if rest else []
        except ValueError:
            values = [-1.0]
        if len(values) != count or not all(0 <= v < math.inf for v in values) or (form == "step" and values[2] > 1):
            raise MmkdError(f"{name} {text!r} is not one of {cls.FORMS}; values are finite and at least 0")
        return cls(form, *values)

    def at(self, share: float) -> float:
        """Return the value after a share of the training in [0, 1]."""
        if self.form == "step":
            return self.start if share < self.border else self.end
        if self.form == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share
