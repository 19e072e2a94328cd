"""Records as lines of results: their scores and costs, and no window and no prediction."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmkd.comparison.network_pairs import NetworkPair
from mmkd.comparison.teachers import FIDELITY
from mmkd.comparison.units import unit_metrics
from mmkd.core.text import printable
from mmkd.results.columns import Line
from mmkd.results.fitting import uses_extra_data
from mmkd.results.naming import kind_of, method_of, student_of
from mmkd.results.protocol import Protocol, Regime
from mmkd.results.subjects import accuracies
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.store.travelling import TravellingRecord

COMMIT = re.compile(r"[0-9a-f]{12,64}\Z")


def unit_lines(
    record: Record, row: str, protocol: Protocol, regime: Regime, subjects: Mapping[str, float], verified: bool
) -> Iterator[Line]:
    """The lines of one unit.

    Args:
        row: the name of its row.
        subjects: test subject -> accuracy; empty where that is not known.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the record was edited by hand.
    """
    spec = record.spec
    scores = [("", name, value) for name, value in unit_metrics(record).items()]
    scores += [(subject, "accuracy", value) for subject, value in subjects.items()]
    for subject, metric, value in scores:
        yield Line(
            protocol=protocol.title,
            regime=regime.name,
            dataset=spec.data.name,
            student=student_of(record, regime),
            kind=kind_of(record),
            method=method_of(record),
            row=row,
            seed=spec.seed,
            subject=subject,
            metric=metric,
            value=float(value),
            tuned=isinstance(spec, UnitSpec) and bool(spec.tuned),
            extra_data=uses_extra_data(record),
            verified=verified,
            key=record.key,
            commit=commit_of(record),
            machine=machine_of(record),
        )


def commit_of(record: Record) -> str:
    """The first 12 digits of the commit, with "+" where there were changes; empty where it is not known."""
    git = record.environment.get("git") or {}
    commit = str(git.get("commit", ""))
    return commit[:12] + "+" * bool(git.get("dirty")) if COMMIT.match(commit) else ""


def machine_of(record: Record) -> str:
    """Processor, device and threads, such as "AMD EPYC, cpu, 1 thread"; empty where it is not known."""
    environment = record.environment
    if "device" not in environment:
        return ""
    processor = record.measurement("deployment.json").get("processor") or environment.get("processor") or "unknown"
    threads = environment.get("threads")
    return printable(f"{processor} {environment['device']} {threads} thread{'s' * (threads != 1)}")[:80]


def subject_accuracies(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Key of a record -> test subject -> accuracy, of students and of teachers, where their sums say it."""
    found: dict[str, dict[str, float]] = {}
    for record in records:
        for teachers, pair in _pairs(record):
            own, taught = accuracies(pair)
            found.setdefault(record.key, own)
            keys = teachers.split("+")
            if len(keys) == 1 and keys[0].endswith("@best"):
                found.setdefault(keys[0].partition("@")[0], taught)
    return {key: scores for key, scores in found.items() if scores}


def _pairs(record: Record) -> Iterator[tuple[str, NetworkPair]]:
    """The sums of a record beside each set of its teachers that are by subject and can be read."""
    pairs: Mapping[str, Any] = {}
    if isinstance(record, TravellingRecord):
        pairs = record.functional.get(FIDELITY) or {}
    for teachers in sorted(pairs):
        try:
            pair = NetworkPair.from_json(pairs[teachers])
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # the comparison of these records says so
        if pair.of == "subject" and pair.names is not None and pair.sums is not None:
            yield teachers, pair
