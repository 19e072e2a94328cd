"""Own records beside the results of a protocol: which regime each is of, and tables of both."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmkd.comparison.compare import why_unusable
from mmkd.comparison.identity import as_key, group_settings
from mmkd.core.text import shorten
from mmkd.metrics.registry import METRICS
from mmkd.results.columns import Line
from mmkd.results.fitting import Difference, describe, differences
from mmkd.results.making import lines_of, record_files, sort_out
from mmkd.results.naming import method_of, row_names
from mmkd.results.protocol import Protocol, Regime
from mmkd.results.summary import STUDENT, Row, rows_of, student_alone
from mmkd.results.tables import content_sha256, read_lines
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.store.travelling import read_travelling
from mmkd.units.methods import own_statuses

PREFIX = {"peer": "peer ", "teacher": "teacher "}
ROUNDING = 1e-5
"""Difference of two scores that is none: results have six digits."""
OWN = "* "
"""Stands before the name of an own row."""


@dataclass(frozen=True)
class Placed:
    """Own records by the regime that they are of, and a line for each reason why others are of none."""

    records: dict[str, list[Record]]
    left_out: list[str]


def place_records(records: Iterable[Record], protocol: Protocol) -> Placed:
    """The regime of each student on record.

    A record is of a regime if its data set, content, seed, labels, rate, student, networks, teachers, training and
    epoch rule are those of the regime's suite; its method and the method's options are its own.

    Raises:
        MmkdError: a suite of the protocol is malformed.
    """
    content = content_sha256(protocol)
    of: dict[str, str] = {}

    def why_not(record: Record) -> str:
        regime, found = _nearest(record, protocol)
        expected = content.get(regime.name, {}).get(record.spec.data.name, record.spec.data.sha256)
        if not found and record.spec.data.sha256 != expected:
            found = [("content of the data", record.spec.data.sha256[:8], expected[:8])]
        if found:
            what = "; ".join(map(describe, found))
            return f"of no regime of {protocol.version}, nearest is {regime.name}: {what}"
        of[record.key] = regime.name
        return ""

    students = [record for record in records if record.kind == "student"]
    kept, left_out = sort_out(students, why_not)
    by_regime: dict[str, list[Record]] = {}
    for record in kept:
        by_regime.setdefault(of[record.key], []).append(record)
    return Placed({name: by_regime[name] for name in protocol.regimes if name in by_regime}, left_out)


def _nearest(record: Record, protocol: Protocol) -> tuple[Regime, list[Difference]]:
    """The regime that a record differs least from, and in what; a regime without its data set comes last."""
    found = [(regime, differences(record, protocol, regime)) for regime in protocol.regimes.values()]
    return min(found, key=lambda pair: (record.spec.data.name not in pair[0].datasets, len(pair[1])))


def records_beside(placed: Placed, protocol: Protocol, own: Iterable[Record]) -> list[Record]:
    """The protocol's records that belong in a table with own ones, which have no predictions.

    Those of the student alone and of controls on the data set, with the student and training of an own record, under
    any seed; and those of the teachers of these and of own students, where they are not among the own ones: they say
    what there was to teach. Empty without the folder of the protocol's records, which a checkout has and the wheel has
    not.

    Args:
        own: all own records.

    Raises:
        MmkdError: a file of records is malformed.
    """
    statuses = own_statuses()
    found: dict[str, Record] = {}
    for name, paths in record_files(protocol).items():
        mine = placed.records.get(name, ())
        if not mine or not paths:
            continue
        groups = {as_key(group_settings(record)) for record in mine}
        theirs = {key: record for key, record in read_travelling(paths, "records").items() if not why_unusable(record)}
        controls = [
            record
            for record in theirs.values()
            if record.kind == "student" and statuses.get(record.unit.method) == "control"
            if as_key(group_settings(record)) in groups
        ]
        taught = [key for record in (*mine, *controls) for key in record.teachers.values()]
        found |= {record.key: record for record in (*controls, *(theirs[key] for key in taught if key in theirs))}
    known = {record.key for record in own}
    return [record for key, record in found.items() if key not in known]


def trained_again(placed: Placed, protocol: Protocol, own: Iterable[Record]) -> list[str]:
    """A line for each regime of which own records have units, teachers or peers of the protocol, with other scores.

    Args:
        own: all own records, among them those of teachers and peers.

    Raises:
        MmkdError: a table of the protocol is damaged.
    """
    every = {record.key: record for record in own}
    version = protocol.version
    notes = []
    peers = [record for record in every.values() if record.kind == "reference"]
    for name in protocol.regimes if peers else placed.records:
        records = placed.records.get(name, [])
        metric = protocol.regimes[name].metric
        lines = [line for line in read_lines(protocol, name) if line.metric == metric and not line.subject]
        known = {line.key: line.value for line in lines}
        taught = dict.fromkeys(key for record in records for key in record.teachers.values())
        teachers = [every[key] for key in taught if key in every]
        for kind, found, then in (
            ("units", records, f"tables and page have those here, the table beside {version} has its own"),
            ("teachers", teachers, f"own rows and those of {version} had other teachers then"),
            ("peers", peers, f"the table beside {version} has its own"),
        ):
            again = [record for record in found if _has_another_score(record, metric, known)]
            if again:
                first = again[0]
                done = "fitted" if kind == "peers" else "trained"
                many = f"{len(again)} of its {kind} {'were' if len(again) > 1 else 'was'} {done} again"
                what = f"{first.teacher.modality} {first.teacher.net}" if kind == "teachers" else method_of(first)
                scores = f"{METRICS.get(metric).label} {first.metrics.test[metric]:.3f}, {known[first.key]:.3f}"
                notes.append(
                    f"regime {name}: {many} with another score ({what} on {first.spec.data.name}, "
                    f"seed {first.spec.seed}: {scores} in {version}); {then}"
                )
    return notes


def _has_another_score(record: Record, metric: str, known: Mapping[str, float]) -> bool:
    """Whether a record has a score that differs from the known one of its key, if there is one."""
    score, other = record.metrics.test.get(metric), known.get(record.key)
    if score is None or other is None:
        return False
    return not math.isclose(score, other, rel_tol=ROUNDING, abs_tol=ROUNDING)


def own_methods(records: Iterable[Record]) -> tuple[list[Record], int]:
    """The students on record whose method is none of mmkd, and how many other records there are."""
    records = list(records)
    own = [
        record
        for record in records
        if record.kind == "student" and isinstance(record.spec, UnitSpec) and record.spec.method not in own_statuses()
    ]
    return own, len(records) - len(own)


@dataclass(frozen=True)
class Table:
    """The rows of a regime on one data set for one student, the largest change first; own ones among them.

    Attributes:
        seeds: those of own rows but the student alone. Rows of the protocol have their scores under these alone; one
            that has none of them has all of its scores, and no change.
        rows: (row, mean change against the student alone and how many seeds both have, None where there are none). The
            student alone is that of the protocol, under other seeds the own one.
    """

    version: str
    regime: str
    title: str
    dataset: str
    student: str
    metric: str
    seeds: tuple[int, ...] = ()
    rows: Sequence[tuple[Row, tuple[float, int] | None]] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            **{name: getattr(self, name) for name in ("version", "regime", "dataset", "student", "metric")},
            "seeds": list(self.seeds),
            "rows": [
                {
                    "row": row.name,
                    "kind": row.kind,
                    "own": row.own,
                    "mean": row.mean,
                    "n": len(row.scores),
                    "change": change[0] if change else None,
                    "change_n": change[1] if change else 0,
                }
                for row, change in self.rows
            ],
        }


def tables_beside(placed: Placed, protocol: Protocol) -> list[Table]:
    """A table for each regime, data set and student that own records are of.

    Raises:
        MmkdError: a table of the protocol is damaged.
    """
    tables = []
    for name, records in placed.records.items():
        regime = protocol.regimes[name]
        theirs = read_lines(protocol, name)
        known = {line.key for line in theirs}
        new = [record for record in records if record.key not in known]
        made = lines_of(new, row_names(records, regime), protocol, regime, verified=False)
        rows = rows_of(theirs, regime.metric)
        own = rows_of(_told_apart(made.lines, theirs), regime.metric, own=True)
        for dataset, student in sorted({(row.dataset, row.student) for row in own}):
            tables.append(_table(protocol.version, regime, dataset, student, [*rows, *own]))
    return tables


def _told_apart(own: Sequence[Line], theirs: Sequence[Line]) -> list[Line]:
    """Own lines; those of a row of which the protocol has the same seed, from another unit, say so in its name."""
    taken = {(line.dataset, line.student, line.row, line.seed) for line in theirs}
    again = {
        (line.dataset, line.student, line.row)
        for line in own
        if line.kind != STUDENT and (line.dataset, line.student, line.row, line.seed) in taken
    }
    return [
        replace(line, row=f"{line.row}, other options") if (line.dataset, line.student, line.row) in again else line
        for line in own
    ]


def _table(version: str, regime: Regime, dataset: str, student: str, rows: Sequence[Row]) -> Table:
    members = [
        row for row in rows if row.dataset == dataset and (row.student == student or row.kind in ("peer", "teacher"))
    ]
    theirs = student_alone([row for row in members if not row.own], dataset, student)
    own = student_alone([row for row in members if row.own], dataset, student)
    alone = theirs
    if theirs is not None and own is not None:
        alone = replace(theirs, scores={**own.scores, **theirs.scores})
    mine = [row for row in members if row.own and row is not own] or [row for row in members if row.own]
    seeds = tuple(sorted({seed for row in mine for seed in row.scores}))
    sign = METRICS.get(regime.metric).sign

    def with_change(row: Row) -> tuple[Row, tuple[float, int] | None]:
        """The row under the seeds of own rows, if it has some, and its change."""
        if not row.own and seeds:
            shared = {seed: score for seed, score in row.scores.items() if seed in seeds}
            if not shared:
                return row, None
            row = replace(row, scores=shared)
        return row, None if _is_alone(row) else row.change(alone, regime.metric)

    def place(pair: tuple[Row, tuple[float, int] | None]) -> tuple[float, bool, str, str]:
        row, change = pair
        if alone is None:
            value = sign * row.mean
        else:  # means over other seeds do not stand beside each other; a row without a common seed comes last
            value = change[0] if change is not None else 0.0 if _is_alone(row) else -math.inf
        return -value, row.own, row.kind, row.name

    changes = sorted(map(with_change, members), key=place)
    return Table(version, regime.name, regime.title, dataset, student, regime.metric, seeds, tuple(changes))


def _is_alone(row: Row) -> bool:
    return row.kind == STUDENT and row.name == STUDENT


def table_text(table: Table) -> str:
    """A table as plain text, with its head."""
    version = table.version
    metric = METRICS.get(table.metric)
    title = f", {table.title}" if table.title else ""
    lines = [
        f"beside {version}, regime {table.regime}{title}: {table.dataset}, student {table.student} ({OWN.strip()}: own)"
    ]
    names = [(OWN if row.own else "  ") + PREFIX.get(row.kind, "") + shorten(row.name, 60) for row, _ in table.rows]
    width = max(map(len, names))
    said = ", ".join(map(str, table.seeds))
    lines.append(f"rows of {version} by the seed{'s' * (len(table.seeds) != 1)} of own rows: {said}")
    lines.append(f"{'':{width}}  {metric.label:>10}  n  vs {STUDENT} alone, of the same seeds")
    for name, (row, change) in zip(names, table.rows, strict=True):
        against = "" if change is None else f"{100 * change[0]:+.1f} points of {change[1]} seed{'s' * (change[1] != 1)}"
        if not row.own and not set(row.scores) & set(table.seeds):
            against = "not of these seeds"
        lines.append(f"{name:{width}}  {metric.format(row.mean):>10}  {len(row.scores)}  {against}".rstrip())
    if not any(not row.own for row, _ in table.rows):
        lines.append(f"{version} has no results on it yet")
    return "\n".join(lines)
