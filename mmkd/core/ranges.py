"""What equal tuning tries of an option: a range of numbers, or a few values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

DIGITS = 3
"""How many digits a number that is tried has; more would say nothing."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        log: whether a doubling is as likely anywhere, as it should be for weights and temperatures.

    Raises:
        ValueError: `low` is not below `high`, or a range on a log scale begins at 0 or below.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not all(map(math.isfinite, (self.low, self.high))):
            raise ValueError(f"a range from {self.low:g} to {self.high:g} has no numbers")
        if self.log and self.low <= 0:
            raise ValueError(f"a range from {self.low:g} has no log scale; begin above 0")

    def at(self, share: float) -> float:
        """The number at a share of the way, 0 to 1, to three digits.

        >>> Range(1, 16, log=True).at(0.5), Range(0, 1).at(0.25)
        (4.0, 0.25)
        """
        factor, width = self.high / self.low if self.log else 1.0, self.high - self.low
        value = self.low * factor**share if self.log else self.low + width * share
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log scale' if self.log else ''}"


Tune = Range | tuple[Any, ...]
"""What is tried: a range, or the values themselves, such as a few schedules."""


def tuned_in(config: type) -> Mapping[str, Tune]:
    """Option -> what equal tuning tries of it, of the options that have it, in their order.

    Args:
        config: a dataclass of options.
    """
    tried = {f.name: f.metadata.get("tune") for f in fields(config)}
    return {name: tune for name, tune in tried.items() if tune is not None}


def in_words(tune: Tune) -> str:
    """What is tried, as the help says it.

    >>> in_words(Range(0.1, 10, log=True)), in_words(("constant", "linear:1:0"))
    ('0.1 to 10, log scale', 'constant or linear:1:0')
    """
    return str(tune) if isinstance(tune, Range) else " or ".join(str(value) for value in tune)
