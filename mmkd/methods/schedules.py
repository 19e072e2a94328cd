"""A number over the epochs, as one text: `linear:8,2`."""

import math
from dataclasses import dataclass
from typing import ClassVar

from mmkd.core.errors import MmkdError


@dataclass(frozen=True)
class Schedule:
    """A value for every share of the training, from 0 (first epoch) to 1 (last).

    Attributes:
        form: "constant" (1), "linear" or "cosine" from `start` to `end`, or "step" from one to the other at `border`.
        border: a share of the training; of "step" only.
    """

    FORMS: ClassVar[str] = "constant, linear:A,B, cosine:A,B, or step:A,B,S (A up to share S of the epochs, then B)"
    form: str = "constant"
    start: float = 1.0
    end: float = 1.0
    border: float = 1.0

    @classmethod
    def parse(cls, text: str, name: str) -> "Schedule":
        """The schedule that a text stands for; `name` is that of its option, for messages.

        >>> Schedule.parse("linear:8,2", "temperature-schedule").at(0.5)
        5.0

        Raises:
            MmkdError: an unknown form, the wrong number of values, or a value that is negative or not finite.
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
        """The value at a share of the training in [0, 1]."""
        if self.form == "step":
            return self.start if share < self.border else self.end
        if self.form == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share
