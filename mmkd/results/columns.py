"""The form of results: one line a unit and metric, in plain text."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.metrics.registry import METRICS

KINDS = ("student", "method", "control", "peer", "teacher")
"""What a row is: the student alone, a method, what methods are held against, a peer of networks, or a teacher."""
DIGITS = 6
"""Significant digits of a value that is no whole number."""
SUBJECT_METRICS = ("accuracy",)
"""The metrics that single test subjects have, where a record has what they follow from."""


@dataclass(frozen=True)
class Line:
    """One value of one unit. The fields are the columns, in order; their meanings are in `docs/results.md`."""

    protocol: str
    regime: str
    dataset: str
    student: str
    kind: str
    method: str
    row: str
    seed: int
    subject: str
    metric: str
    value: float
    tuned: bool
    extra_data: bool
    verified: bool
    key: str = ""
    commit: str = ""
    machine: str = ""

    @property
    def order(self) -> tuple[Any, ...]:
        """What sorts lines."""
        kind = KINDS.index(self.kind)
        place = self.regime, self.dataset, self.student, kind, self.method, self.row, self.seed
        return *place, natural(self.subject), METRIC_ORDER.get(self.metric, len(METRIC_ORDER)), self.metric

    @property
    def identity(self) -> tuple[Any, ...]:
        """What no two lines have in common."""
        return tuple(getattr(self, name) for name in IDENTITY)

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> "Line":
        """The line of a text a column.

        Raises:
            ValueError, KeyError: a text has not the type of its column, or there is none; or the value is not finite,
                or none of its metric.
        """
        texts: dict[str, Any] = dict(fields)
        truths = {name: {"true": True, "false": False}[texts[name]] for name in ("tuned", "extra_data", "verified")}
        value = float(texts["value"])
        if not math.isfinite(value):
            raise ValueError(f"the value {value} is not finite")
        metric = texts["metric"]
        if metric in METRICS and METRICS.get(metric).source == "predictions" and (why := out_of_range(metric, value)):
            raise ValueError(f"the value {texts['value']} of {metric} {why}")
        return cls(**{**texts, **truths, "seed": int(texts["seed"]), "value": value})


IDENTITY = ("regime", "dataset", "student", "kind", "row", "seed", "subject", "metric")
"""The columns that no two lines have in common."""
COLUMNS = tuple(field.name for field in fields(Line))
COUNTS = ("parameters", "macs", "bytes")
UNBOUNDED = ("nll",)
"""Scores without an upper end."""
METRIC_ORDER = {name: number for number, name in enumerate(m.name for m in METRICS.values())}


def out_of_range(metric: str, value: float) -> str:
    """Why a value cannot be one of a metric; empty if it can."""
    if metric in UNBOUNDED:
        return "" if value >= 0 else "is below 0"
    if metric in COUNTS and (value != int(value) or value < 0):
        return "is no whole number of at least 0"
    if METRICS.get(metric).source != "predictions":
        return "" if value > 0 or metric in COUNTS else "is not above 0"
    return "" if 0 <= value <= 1 else "is not between 0 and 1"


def natural(text: str) -> tuple[int, int, str]:
    """What sorts names of subjects: no name first, then whole numbers by their value, then other texts.

    >>> sorted(["b", "10", "", "9"], key=natural)
    ['', '9', '10', 'b']
    """
    if not text:
        return 0, 0, ""
    return (1, int(text), text) if text.isascii() and text.isdigit() else (2, 0, text)


def number_text(value: float) -> str:
    """A value as results have it: a whole number in full, others with six significant digits.

    >>> number_text(7690496.0), number_text(0.9192256341789052), number_text(28294)
    ('7690496', '0.919226', '28294')
    """
    if not math.isfinite(value):
        raise MmkdError(f"{value} is no value of results")
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.{DIGITS}g}"


def csv_text(lines: Iterable[Line]) -> str:
    """The lines as CSV, sorted, with their head and line ends "\\n"."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(line, name)) for name in COLUMNS] for line in sorted(lines, key=lambda x: x.order))
    return stream.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)
