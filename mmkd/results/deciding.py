"""What is decided before methods are compared: which sets have room, and which control methods are held against.

Both follow from the rules under `[selection]` of protocol.toml. A set is teachable where the mean gap, the best teacher
minus the student alone in folds of the training part, is two points or more and the lower bound of its 90 % interval is
above 0. The best control is that with the highest mean change of the regime's metric against the student alone on
development sets, which no regime reports. Both are read off records that travel.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmkd.comparison.gap import LEVEL, Gap
from mmkd.comparison.parts import is_of_selection, is_part_of_another
from mmkd.comparison.predictions import with_current_scores
from mmkd.comparison.selection import selections
from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS
from mmkd.results.fitting import differences, method_differences
from mmkd.results.making import record_files
from mmkd.results.naming import kind_of, row_names
from mmkd.results.protocol import DECISIONS, Protocol, Regime
from mmkd.store.record import Record
from mmkd.store.travelling import read_travelling
from mmkd.units.methods import named_methods
from mmkd.units.suites import read_suites

BOUNDS = frozenset({"student-ensemble"})
"""Controls that are an upper bound at several times the cost, and no rival."""


@dataclass(frozen=True)
class Decided:
    """What is decided of one regime.

    Attributes:
        gaps: short name of a data set -> its gap in the selection phase.
        best_control: name of its row; "" where it is not decided.
        changes: name of a control -> its mean change on the development sets, as a share.
        notes: a line for each thing that is lacking.
    """

    regime: str
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    best_control: str = ""
    changes: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def teachable(self) -> list[str]:
        """The sets with room: a gap of two points or more whose lower bound is above 0."""
        return [name for name, gap in self.gaps.items() if gap.has_room and gap.low is not None and gap.low > 0]


def decide(protocol: Protocol) -> list[Decided]:
    """The decisions of all regimes, from the records in the folder of the protocol.

    Raises:
        MmkdError: protocol.toml has no phase before, or a file of records or a suite is malformed.
    """
    phase = protocol.table.get("selection")
    if not isinstance(phase, dict) or not isinstance(phase.get("folds"), int) or not _are_seeds(phase.get("seeds")):
        raise MmkdError(f"{protocol.folder}: protocol.toml has no [selection] with folds and seeds")
    pairs = {(seed, fold) for seed in phase["seeds"] for fold in range(1, phase["folds"] + 1)}
    decided = []
    for name, paths in record_files(protocol).items():
        records = list(read_travelling(paths, "records").values()) if paths else []
        gaps, notes = _gaps(records, protocol, protocol.regimes[name], pairs)
        best, changes, more = _controls(protocol, name, phase.get("development") or {})
        decided.append(Decided(name, gaps, best, changes, [*notes, *more]))
    return decided


def _are_seeds(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(seed) is int for seed in value)


def _gaps(
    records: Iterable[Record], protocol: Protocol, regime: Regime, pairs: set[tuple[int, int]]
) -> tuple[dict[str, Gap], list[str]]:
    """The gap of each data set that has all pairs of seed and fold, and a line for each that has some."""
    folds = max(fold for _, fold in pairs)
    found: dict[str, list[Record]] = {}
    for record in filter(is_of_selection, records):
        data = record.spec.data
        pair = record.spec.seed, data.inner_fold[0]
        if data.inner_fold[1] == folds and pair in pairs and not differences(_as_whole(record), protocol, regime):
            found.setdefault(data.name, []).append(record)
    gaps, notes = {}, []
    for name in (name for name in regime.datasets if name in found):
        short = str(protocol.datasets[name]["short"])
        best = max((gap for one in selections(found[name]) for gap in one.gaps), key=lambda gap: gap.mean, default=None)
        if best is None or best.n < len(pairs):
            notes.append(f"gap of {short}: {best.n if best else 0} of {len(pairs)} pairs of seed and fold; not decided")
        else:
            gaps[short] = best
    return gaps, notes


def _as_whole(record: Record) -> Record:
    """The record as of the whole training part, whose number of windows says how long its networks are trained."""
    spec, data = record.result["spec"], record.result["data"]
    counts = data["windows"]
    windows = {**counts, "train": counts["train"] + counts["test"]}
    whole = {name: own for name, own in spec["data"].items() if name != "inner_fold"}
    return replace(
        record, result={**record.result, "spec": {**spec, "data": whole}, "data": {**data, "windows": windows}}
    )


def _controls(protocol: Protocol, name: str, development: Mapping[str, Any]) -> tuple[str, dict[str, float], list[str]]:
    """The best control on development sets, the mean change of each, and a line for each thing that is lacking."""
    if name not in development:
        return "", {}, []
    suite = protocol.folder / f"{development[name]}.toml"
    requests = read_suites(suite, records=())
    regime = replace(
        protocol.regimes[name],
        suites=(suite,),
        datasets=tuple(dict.fromkeys(data for request in requests for data in request.datasets)),
    )
    places = {(data, seed) for request in requests for data in request.datasets for seed in request.seeds}
    paths = sorted(protocol.records.glob(f"{suite.stem}*.jsonl"))
    records = [
        with_current_scores(record)
        for record in (read_travelling(paths, "records").values() if paths else ())
        if record.kind == "student" and not is_part_of_another(record) and _fits(record, protocol, regime)
    ]
    names = row_names(records, regime)
    scores: dict[str, dict[tuple[str, int], float]] = {}
    for record in records:
        if kind_of(record) in ("control", "student") and record.unit.method not in BOUNDS:
            place = record.spec.data.name, record.spec.seed
            scores.setdefault(names[record.key], {})[place] = record.metrics.test[regime.metric]
    alone = scores.pop("student", {})
    named = {method for request in requests for method in named_methods(request.methods, request.with_controls)}
    found = {record.unit.method for record in records}
    lacking = [method for method in sorted(named - found - BOUNDS) if METHODS.get(method).status == "control"]
    changes: dict[str, float] = {}
    notes = [f"{method} on development sets: 0 of {len(places)} pairs of set and seed" for method in lacking]
    for row, own in scores.items():
        common = places & own.keys() & alone.keys()
        if len(common) < len(places):
            notes.append(f"{row} on development sets: {len(common)} of {len(places)} pairs of set and seed")
        else:
            changes[row] = float(np.mean([own[place] - alone[place] for place in common]))
    if notes or not changes:
        why = "the best control is not decided: records of development sets are missing"
        return "", changes, [*notes, why] if records else [why]
    return max(changes, key=lambda row: changes[row]), changes, []


def _fits(record: Record, protocol: Protocol, regime: Regime) -> bool:
    """Whether a record is of the suite of a development set."""
    seeds = tuple(dict.fromkeys(seed for request in regime.requests for seed in request.seeds))
    if differences(record, replace(protocol, seeds=seeds), regime):
        return False
    return any(not method_differences(record, request) for request in regime.requests_of(record.spec.data.name))


def decisions_text(decided: Sequence[Decided], protocol: Protocol) -> str:
    """The content of decisions.toml."""
    lines = [
        f"# {DECISIONS}: made by python -m mmkd.results decide, by the rules under [selection] of protocol.toml.",
        f"# Gaps as shares, with {LEVEL:.0%} intervals by Student's t over pairs of seed and fold.",
        f'protocol = "{protocol.title}"',
    ]
    for one in (one for one in decided if one.gaps or one.changes):
        lines += ["", f"[regimes.{one.regime}]"]
        if one.gaps:
            lines.append(f"teachable = {_names(one.teachable)}")
        if one.best_control:
            lines.append(f'best_control = "{one.best_control}"')
        if one.gaps:
            lines += ["", f"[regimes.{one.regime}.gaps]"]
            lines += [f"{name} = {_gap(gap)}" for name, gap in one.gaps.items()]
        if one.changes:
            lines += ["", f"[regimes.{one.regime}.controls]"]
            lines += [f'"{row}" = {change:.6f}' for row, change in sorted(one.changes.items(), key=lambda i: -i[1])]
    return "\n".join(lines) + "\n"


def _names(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _gap(gap: Gap) -> str:
    bounds = "" if gap.low is None or gap.high is None else f", low = {gap.low:.6f}, high = {gap.high:.6f}"
    return f"{{ mean = {gap.mean:.6f}{bounds}, n = {gap.n} }}"
