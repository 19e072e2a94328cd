"""The table at the end of a run: teachers, the student alone, the methods. Needs records, neither torch nor mlflow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .record import Record
from .sweep import Done


@dataclass(frozen=True)
class Row:
    """One line: the scores of one teacher or method over its seeds.

    Attributes:
        accuracy, macro_f1: one value a seed, on the test windows; `miou` where every time step has a label, else empty.
        change: macro-F1 minus that of the student alone under the same seed, for the seeds where that is on record.
        seconds: mean training time.
    """

    group: str
    kind: str
    name: str
    accuracy: tuple[float, ...]
    macro_f1: tuple[float, ...]
    miou: tuple[float, ...]
    change: tuple[float, ...]
    parameters: int
    seconds: float


def rows(results: Sequence[Done], teachers: Iterable[Record], alone: dict[str, Record]) -> list[Row]:
    """Rows of a sweep, grouped by data set and student.

    Args:
        teachers: the records of all teachers of these units.
        alone: key of a unit -> the record of the student alone under the same seed.
    """
    by_key = {record.key: record for record in teachers}
    found: list[Row] = []
    groups: dict[str, list[Done]] = {}
    for done in results:
        groups.setdefault(f"{done.spec.data.name}, {done.spec.student_title}", []).append(done)
    for group, members in groups.items():
        taught: dict[tuple[str, str], dict[str, Record]] = {}
        for done in members:
            for modality, net_name in done.spec.teachers.items():
                key = done.spec.teacher(modality).key
                if key in by_key:
                    taught.setdefault((modality, net_name), {})[key] = by_key[key]
        for (modality, net_name), each in taught.items():
            found.append(_row(group, "teacher", f"{modality} {net_name}", list(each.values()), {}))
        names = option_names([done.spec for done in members])
        lines: dict[str, list[Record]] = {}
        base: dict[str, Record] = {}
        for done, name in zip(members, names, strict=True):
            if done.record is not None:
                lines.setdefault(name, []).append(done.record)
                if done.spec.key in alone:
                    base[done.spec.key] = alone[done.spec.key]
        on_record = {record.key: record for record in base.values()}
        shown = {record.key for each in lines.values() for record in each}
        if on_record and not shown & set(on_record):
            found.append(_row(group, "student", "student", list(on_record.values()), {}))
        for name, records in lines.items():
            found.append(_row(group, "student", name, records, base))
    return found


def option_names(specs: Sequence[Any]) -> list[str]:
    """The method of each unit, with the options in which the units of one method differ."""
    differing: dict[str, set[str]] = {}
    first: dict[str, Any] = {}
    for spec in specs:
        other = first.setdefault(spec.method, spec)
        changed = {k for k, v in spec.options.items() if other.options.get(k) != v}
        differing.setdefault(spec.method, set()).update(changed)
        if dict(spec.teachers) != dict(other.teachers):
            differing[spec.method].add("teachers")
    names = []
    for spec in specs:
        keys = sorted(differing[spec.method])
        values = [f"{k}={','.join(spec.teachers) if k == 'teachers' else spec.options[k]}" for k in keys]
        names.append(" ".join([spec.method, *values]))
    return names


def _row(group: str, kind: str, name: str, records: Sequence[Record], base: dict[str, Record]) -> Row:
    tests = [record.metrics["test"] for record in records]
    change = [
        record.metrics["test"]["macro_f1"] - base[record.key].metrics["test"]["macro_f1"]
        for record in records
        if record.key in base and base[record.key].key != record.key
    ]
    return Row(
        group,
        kind,
        name,
        tuple(t["accuracy"] for t in tests),
        tuple(t["macro_f1"] for t in tests),
        tuple(t["miou"] for t in tests if "miou" in t),
        tuple(change),
        int(records[0].result["parameters"]),
        float(np.mean([record.result["seconds"] for record in records])),
    )


def spread(values: Sequence[float], scale: float = 1.0, sign: str = "") -> str:
    """`0.934` of one value, `0.934 ± 0.006` (standard deviation, ddof 1) of several, empty of none."""
    if not values:
        return ""
    digits = 3 if scale == 1.0 else 1
    text = f"{scale * float(np.mean(values)):{sign}.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {scale * float(np.std(values, ddof=1)):.{digits}f}"


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def show(found: Sequence[Row], stream: Any, width: int | None = None) -> None:
    """Print one table a group; on a stream that is no terminal 100 columns wide, without colour."""
    from rich.console import Console
    from rich.table import Table

    terminal = stream.isatty()
    width = width or (None if terminal else 100)
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    for group in dict.fromkeys(row.group for row in found):
        members = [row for row in found if row.group == group]
        seeds = max(len(row.macro_f1) for row in members)
        console.print(f"{group}, {seeds} seed{'s' if seeds > 1 else ''}", style="bold", soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True, overflow="ellipsis")
        dense = any(row.miou for row in members)
        for name in ("test acc", "macro-F1", *(["mIoU"] if dense else []), "vs alone", "params", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        for kind in ("teacher", "student"):
            for row in (r for r in members if r.kind == kind):
                table.add_row(
                    (f"teacher {row.name}" if kind == "teacher" else row.name)
                    + (f" ({len(row.macro_f1)} of {seeds})" if len(row.macro_f1) < seeds else ""),
                    spread(row.accuracy),
                    spread(row.macro_f1),
                    *([spread(row.miou)] if dense else []),
                    spread(row.change, 100, "+"),
                    f"{row.parameters:,}",
                    duration(row.seconds),
                )
            if kind == "teacher" and any(r.kind == "teacher" for r in members):
                table.add_section()
        console.print(table)
    if any(row.change for row in found):
        console.print("vs alone: macro-F1 in points against the student without a teacher, same seeds")
