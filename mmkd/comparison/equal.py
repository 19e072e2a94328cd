"""Rows that are equal to the bit: other units with the same predictions under every seed, and fold.

Two methods may be one where they are used: `kd` and `full-kd` with the same options, or methods that weigh teachers
with a single one. Their rows are shown in one line, so that nobody takes them for two findings.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from mmkd.comparison.rows import Row
from mmkd.store.record import LAST_EPOCH, Record

T = TypeVar("T")
SAME = "{}: the same predictions to the bit"
PREDICTIONS = ("predictions.npz", "scores.npz", "series.csv")
"""What a record has of its test windows, or of its series."""


def prediction_mark(record: Record) -> str | None:
    """The checksum of what a network predicts; None if the record has none."""
    files = record.result.get("files") or {}
    names = [LAST_EPOCH.get(name, name) if record.epoch == "last" else name for name in PREDICTIONS]
    marks = [str(files[name]["sha256"]) for name in names if name in files]
    return " ".join(marks) or None


def fold_equal(rows: Sequence[T], mark: Callable[[T], Hashable | None]) -> list[list[T]]:
    """Rows with the same mark together, in the order of the first of each; those without a mark alone."""
    together: dict[Hashable, list[T]] = {}
    for number, row in enumerate(rows):
        own = mark(row)
        together.setdefault(("alone", number) if own is None else ("alike", own), []).append(row)
    return list(together.values())


def enter_equals(rows: Sequence[Row], notes: dict[str, None]) -> None:
    """Enter into rows which others they are equal to."""
    for equal in fold_equal(rows, _row_mark):
        if len(equal) == 1:
            continue
        names = [row.name for row in equal]
        for row in equal:
            row.equals = tuple(name for name in names if name != row.name)
            row.folded_into = None if row is equal[0] else names[0]
        notes[SAME.format(" = ".join(names))] = None


def _row_mark(row: Row) -> Hashable | None:
    """Seed, fold and predictions of all units of a row; None if one has no predictions."""
    marks = [(unit.seed, unit.fold, prediction_mark(unit.record) if unit.record else None) for unit in row.members]
    return (row.kind, tuple(sorted(marks))) if marks and all(mark for _, _, mark in marks) else None
