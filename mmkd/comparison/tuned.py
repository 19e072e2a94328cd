"""Tuned rows beside those of the same method with its published defaults, on the test windows. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmkd.comparison.changes import change, nearest
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.comparison.tuning import changed_options
from mmkd.core.refusal import Refusal
from mmkd.metrics.pairs import Paired
from mmkd.specs.unit import UnitSpec


@dataclass(frozen=True)
class TunedChange:
    """What tuning changed for one method.

    Attributes:
        tuned, default: the two rows.
        number: of the chosen configuration in its table, 0 is the default; budget: how many were tried.
        on: names of the data sets on which they were tried.
        options: those that differ from the default row's.
        change: score of the tuned row minus that of the default, paired by seed or fold.
    """

    tuned: Row
    default: Row
    number: int
    budget: int
    on: Sequence[str]
    options: Mapping[str, Any]
    change: Paired | Refusal

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
        options = changed_options(own.options, spec.options)
        number, budget = int(spec.tuned["number"]), int(spec.tuned["budget"])
        on = [str(name) for name in spec.tuned.get("on", ())]
        found.append(TunedChange(row, default, number, budget, on, options, change(row, default)))
    return found


def _spec(row: Row) -> UnitSpec | None:
    """The spec of a row's first unit."""
    record = row.members[0].record
    return record.spec if record is not None and isinstance(record.spec, UnitSpec) else None


def _is_tuned(row: Row) -> bool:
    spec = _spec(row)
    return spec is not None and bool(spec.tuned)
