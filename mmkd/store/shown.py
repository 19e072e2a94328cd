"""A record as a notebook or a terminal shows it: one line, and a small table."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten
from mmkd.specs.unit import TeacherSpec, UnitSpec

if TYPE_CHECKING:
    from mmkd.store.record import Record

SHOWN = ("accuracy", "macro_f1", "vus_pr")
"""The scores that are shown, of those that a record has."""


def one_line(record: "Record") -> str:
    """A record in words, such as "kd on gunpoint, student sig, seed 0: accuracy 0.973, macro_f1 0.972"."""
    facts = _facts(record)
    if not facts:
        return f"{record.result.get('kind', 'unknown')} {record.result.get('key', '')}, which cannot be read"
    what = f"{facts['method']} on {facts['data']}" if "method" in facts else f"{facts['teacher']} on {facts['data']}"
    student = f", student {facts['student']}" if "student" in facts else ""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in _scores(record).items())
    return shorten(f"{what}{student}, seed {facts['seed']}: {scores or 'no test windows'}")


def small_table(record: "Record") -> str:
    """A record as an HTML table of names and values."""
    facts = _facts(record) | {f"test {name}": f"{value:.3f}" for name, value in _scores(record).items()}
    facts |= {"record": str(record.folder)}
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _facts(record: "Record") -> dict[str, Any]:
    """What the record is of; empty if it was edited so that nothing can be said."""
    try:
        spec = record.spec
        seed: Mapping[str, Any] = {"data": spec.data.name, "seed": spec.seed}
        if isinstance(spec, TeacherSpec):
            return {"teacher": f"teacher {spec.modality} ({spec.net})", **seed}
        if not isinstance(spec, UnitSpec):
            return {"method": f"{record.kind} {spec.method}", **seed}
        options = ", ".join(f"{name}={value}" for name, value in spec.options.items())
        teachers = ", ".join(f"{name}={net}" for name, net in spec.teachers.items())
        facts = {"method": spec.method, **seed, "student": f"{spec.student_name} ({spec.student_net})"}
        return facts | ({"teachers": teachers} if teachers else {}) | ({"options": options} if options else {})
    except (MmkdError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _scores(record: "Record") -> dict[str, float]:
    """The test scores that are shown; none of a record without test windows, or one that was edited."""
    try:
        test = record.metrics.test
        return {name: float(test[name]) for name in SHOWN if name in test}
    except (MmkdError, KeyError, TypeError, ValueError, AttributeError):
        return {}
