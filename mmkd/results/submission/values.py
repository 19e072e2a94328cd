"""The fields of a line of results, each by itself: whether it names what the protocol has, and is in range."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

from mmkd.core.errors import did_you_mean
from mmkd.core.text import shown
from mmkd.metrics.registry import METRICS, Metric
from mmkd.results.columns import KINDS, SUBJECT_METRICS, Line, out_of_range
from mmkd.results.protocol import Protocol
from mmkd.results.summary import students_of
from mmkd.results.tables import read_lines
from mmkd.specs.teacher_nets import PEER_NETS
from mmkd.tasks import TASKS
from mmkd.units.methods import own_statuses
from mmkd.units.names import TUNED

METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}\Z")
ROW = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+=,:/()-]{0,79}\Z")
"""A name that is no formula of a spreadsheet, no markup, and looks like no other name."""
SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")
MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+,:/()-]{0,79}\Z")
KEY = re.compile(r"[0-9a-f]{16}\Z")
COMMIT = re.compile(r"[0-9a-f]{7,64}\+?\Z")
WHOLE = re.compile(r"(0|[1-9][0-9]{0,8})\Z")
NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?\Z")
NO_NUMBERS = ("nan", "inf", "infinity")
TUNED_WORD = re.compile(r"(?<![\w-])tuned(?![\w=-])", re.IGNORECASE)
FORMULA = "=+-@\t\r"
"""First characters of a text that a spreadsheet takes for a formula."""


@dataclass
class Known:
    """What there is in a protocol, and in its results."""

    protocol: Protocol
    _lines: dict[str, list[Line]] = field(default_factory=dict)
    _subjects: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _scores: dict[str, dict[str, dict[tuple[str, str], dict[int, float]]]] = field(default_factory=dict)

    def lines(self, regime: str) -> list[Line]:
        """The results of a regime, read once."""
        if regime not in self._lines:
            self._lines[regime] = read_lines(self.protocol, regime)
        return self._lines[regime]

    def scores(self, regime: str) -> Mapping[str, Mapping[tuple[str, str], Mapping[int, float]]]:
        """Row -> (data set, student) -> seed -> score, of the results of a regime; made once."""
        if regime not in self._scores:
            metric = self.protocol.regimes[regime].metric
            found: dict[str, dict[tuple[str, str], dict[int, float]]] = {}
            for line in self.lines(regime):
                if line.metric == metric and not line.subject:
                    found.setdefault(line.row, {}).setdefault((line.dataset, line.student), {})[line.seed] = line.value
            self._scores[regime] = found
        return self._scores[regime]

    @cached_property
    def students(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """(regime, data set) -> its students."""
        return {
            (name, dataset): students_of(regime, dataset)
            for name, regime in self.protocol.regimes.items()
            for dataset in regime.datasets
        }

    @cached_property
    def metrics(self) -> Mapping[str, Sequence[str]]:
        """Regime -> the metrics that its results may have."""
        return {name: metrics_of(TASKS.get(own.requests[0].task).form) for name, own in self.protocol.regimes.items()}

    def subjects(self, regime: str, dataset: str) -> set[str]:
        """The test subjects that results of a data set name; empty if they name none."""
        if (regime, dataset) not in self._subjects:
            found = {line.subject for line in self.lines(regime) if line.dataset == dataset}
            self._subjects[regime, dataset] = found - {""}
        return self._subjects[regime, dataset]


def metrics_of(form: str) -> list[str]:
    """The metrics of results of a data form, "window" or "step": scores and costs of a network by itself."""

    def belongs(metric: Metric) -> bool:
        if metric.source == "predictions":
            return form in metric.forms or (not metric.forms and form in ("window", "step"))
        return metric.source != "teachers"

    return [metric.name for metric in METRICS.values() if belongs(metric)]


def field_problems(fields: Mapping[str, str], known: Known) -> Iterator[str]:
    """A sentence for each field of a line that is not what it must be; of fields that depend on a wrong one none."""
    for name, text in fields.items():
        if text[:1] and text[0] in FORMULA and name != "value" and not (name == "seed" and WHOLE.match(text[1:])):
            yield f"{name} {shown(text)} begins like a formula of a spreadsheet"
            return
        if text != text.strip():
            yield f"{name} {shown(text)} has spaces around it"
            return
    if fields["protocol"] != known.protocol.title:
        yield (
            f"protocol {shown(fields['protocol'])} is not {known.protocol.title}; results of another version are not "
            f"compared"
        )
    yield from _place_problems(fields, known)
    yield from _name_problems(fields)
    yield from _number_problems(fields, known)
    for name in ("tuned", "extra_data", "verified"):
        if fields[name] not in ("true", "false"):
            yield f"{name} {shown(fields[name])} is neither true nor false"
    yield from _tuned_problems(fields)
    if fields["verified"] == "true":
        yield "verified is true; that is said by who verifies it, so write false"
    for name, pattern, what in (
        ("key", KEY, "16 digits 0-9a-f"),
        ("commit", COMMIT, "the digits of a commit"),
        ("machine", MACHINE, "plain words of at most 80 characters"),
    ):
        if fields[name] and not pattern.match(fields[name]):
            yield f"{name} {shown(fields[name])} is not empty and not {what}"


def _place_problems(fields: Mapping[str, str], known: Known) -> Iterator[str]:
    """Regime, data set, student, seed and subject."""
    protocol = known.protocol
    regime, dataset = fields["regime"], fields["dataset"]
    seeds = ", ".join(map(str, protocol.seeds))
    if not WHOLE.match(fields["seed"].removeprefix("-")):
        yield f"seed {shown(fields['seed'])} is no whole number"
    elif fields["seed"] == "-0":
        yield "seed '-0' is written 0"
    elif int(fields["seed"]) not in protocol.seeds:
        yield f"seed {fields['seed']} is none of {protocol.version} ({seeds})"
    if regime not in protocol.regimes:
        yield f"unknown regime {shown(regime)} (known: {', '.join(protocol.regimes)})"
        return
    if dataset not in protocol.regimes[regime].datasets:
        names = protocol.regimes[regime].datasets
        yield f"regime {regime} has no data set {shown(dataset)}{did_you_mean(dataset, names)}"
        return
    students = known.students[regime, dataset]
    if fields["student"] not in students:
        yield f"regime {regime} has no student {shown(fields['student'])} on {dataset} (it has {', '.join(students)})"
    if fields["subject"]:
        yield from _subject_problems(fields, known)


def _subject_problems(fields: Mapping[str, str], known: Known) -> Iterator[str]:
    subject, regime, dataset = fields["subject"], fields["regime"], fields["dataset"]
    if fields["metric"] not in SUBJECT_METRICS:
        yield f"single subjects have {', '.join(SUBJECT_METRICS)}, and no {shown(fields['metric'])}"
    subjects = known.subjects(regime, dataset)
    if not SUBJECT.match(subject):
        yield f"subject {shown(subject)} is no name of a subject"
    elif known.protocol.datasets[dataset].get("units") != "subjects" and not subjects:
        yield f"{dataset} has no subjects; leave subject empty"
    elif subjects and subject not in subjects:
        yield f"{dataset} has no test subject {shown(subject)}{did_you_mean(subject, subjects)}"


def _name_problems(fields: Mapping[str, str]) -> Iterator[str]:
    """Kind, method and row."""
    kind, method, row = fields["kind"], fields["method"], fields["row"]
    if kind not in KINDS:
        yield f"kind {shown(kind)} is none (results of others are of kind method)"
    elif kind != "method":
        yield f"kind {kind}: students alone, controls, teachers and peers are those of the benchmark; submit methods"
    if not METHOD.match(method):
        yield f"method {shown(method)} is no name: letters, digits and _.+- only, at most 40"
    elif method.lower() in ours():
        yield f"method {shown(method)} is one of mmkd; give yours a name of its own"
    if not ROW.match(row):
        yield f"row {shown(row)} is no name: letters, digits, spaces and _.+=,:/()- only, at most 80"
    elif row != method and not row.startswith(f"{method} "):
        yield f"row {shown(row)} does not begin with its method {shown(method)}"


def _tuned_problems(fields: Mapping[str, str]) -> Iterator[str]:
    """The name of a row says that it is tuned, as `mmkd.results make` writes it, where its flag says so."""
    method, row, tuned = fields["method"], fields["row"], fields["tuned"]
    says = TUNED_WORD.search(row.removeprefix(method)) is not None
    if says and tuned == "false":
        yield f"row {shown(row)} says that it is tuned, and tuned is false"
    elif tuned == "true" and not (row + " ").startswith(f"{method}{TUNED} "):
        yield f"tuned is true, and row {shown(row)} does not say so; write {shown(method + TUNED)}"


@cache
def ours() -> frozenset[str]:
    """The names of the methods and peers of mmkd, in small letters."""
    return frozenset(name.lower() for name in (*own_statuses(), *PEER_NETS))


def _number_problems(fields: Mapping[str, str], known: Known) -> Iterator[str]:
    """Metric and value."""
    metric, text = fields["metric"], fields["value"]
    metrics = known.metrics.get(fields["regime"], list(METRICS))
    if metric not in metrics:
        yield f"unknown metric {shown(metric)}{did_you_mean(metric, metrics)} (known: {', '.join(metrics)})"
    if text.lower().lstrip("+-") in NO_NUMBERS:
        yield f"value {shown(text)} is no finite number"
        return
    if not NUMBER.match(text) or not math.isfinite(float(text)):
        yield f"value {shown(text)} is no number, such as 0.912 or 1e-05"
        return
    if metric in metrics and (why := out_of_range(metric, float(text))):
        yield f"value {text} of {metric} {why}"
