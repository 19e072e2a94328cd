"""Tuned rows beside those of the same method with its published defaults, on the test windows. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmkd.comparison.changes import change, nearest
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.comparison.tuning import changed_options
from mmkd.comparison.units import Unit
from mmkd.core.refusal import Refusal
from mmkd.metrics.pairs import Paired
from mmkd.metrics.registry import METRICS
from mmkd.specs.unit import UnitSpec


@dataclass(frozen=True)
class TunedChange:
    """What tuning changed for one method.

    Attributes:
        tuned, default: the two rows.
        chosen: number of the configuration in its table (0 is the default) -> its options that differ from the default
            row's; several where each fold has a choice of its own.
        budget: how many configurations were tried.
        on: names of the data sets on which they were tried.
        change: score of the tuned row minus that of the default, paired by seed or fold.
    """

    tuned: Row
    default: Row
    chosen: Mapping[int, Mapping[str, Any]]
    budget: int
    on: Sequence[str]
    change: Paired | Refusal

    @property
    def answer(self) -> str:
        """Whether the tuned row is better: "yes" or "no" where the interval leaves out 0, else "not shown"."""
        change = self.change
        if isinstance(change, Refusal) or change.low is None or change.high is None or change.low <= 0 <= change.high:
            return "not shown"
        return "yes" if METRICS.get(self.tuned.score).sign * change.mean > 0 else "no"

    @property
    def method(self) -> str:
        """The method of both rows."""
        return self.tuned.base


def tuned_changes(group: Group) -> list[TunedChange]:
    """Every tuned row of a group that has a row of its method's defaults beside it, in the order of the table.

    Of several such rows it is the one that agrees in most of its other settings, such as its teachers.
    """
    students = [row for row in group.rows if row.kind == "student"]
    found = []
    for row in students:
        spec = _spec(row)
        if spec is None or not spec.tuned:
            continue
        plain = [other for other in students if other.base == row.base and not _is_tuned(other)]
        default = nearest(row, [other for other in plain if other.teachers == row.teachers] or plain)
        own = None if default is None else _spec(default)
        if default is None or own is None:
            continue
        chosen = {
            int(each.tuned["number"]): changed_options(own.options, each.options)
            for each in map(_unit_spec, row.members)
            if each is not None
        }
        on = [str(name) for name in spec.tuned.get("on", ())]
        found.append(TunedChange(row, default, chosen, int(spec.tuned["budget"]), on, change(row, default)))
    return found


def _spec(row: Row) -> UnitSpec | None:
    """The spec of a row's first unit."""
    return _unit_spec(row.members[0])


def _unit_spec(unit: Unit) -> UnitSpec | None:
    record = unit.record
    return record.spec if record is not None and isinstance(record.spec, UnitSpec) else None


def _is_tuned(row: Row) -> bool:
    spec = _spec(row)
    return spec is not None and bool(spec.tuned)
