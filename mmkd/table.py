"""The table at the end of a run: teachers, the student alone, the methods. Needs records, neither torch nor mlflow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from .progress import duration
from .record import Record
from .registry import METHODS
from .sweep import Done

FOLDS = " in folds"  # of a group's title: its rows are means over folds and seeds


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
        folds = FOLDS if done.spec.data.fold else ""
        groups.setdefault(f"{done.spec.data.name}{folds}, {done.spec.student_title}", []).append(done)
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
    """The method of each unit, with the options in which the units of one method differ.

    Where they differ in several options, those that have their default are left out.
    """
    given = [(spec.method, {**spec.options, "teachers": dict(spec.teachers)}) for spec in specs]
    return variant_names(given, lambda method: asdict(METHODS.get(method).Config()))


def variant_names(
    given: Sequence[tuple[str, Mapping[str, Any]]], usual: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """Each name with those of its settings in which the settings under one name differ.

    Where they differ in several, those that have their `usual(name)` value are left out. `teachers`, modality ->
    network, is written as its modalities.
    """
    differing: dict[str, set[str]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for name, settings in given:
        other = first.setdefault(name, settings)
        changed = {k for k in {*settings, *other} if settings.get(k) != other.get(k)}
        differing.setdefault(name, set()).update(changed)
    names = []
    for name, settings in given:
        keys = sorted(differing[name])
        if len(keys) > 1:
            common = usual(name)
            keys = [k for k in keys if k not in common or settings.get(k) != common[k]]
        values = [f"{k}={','.join(settings[k]) if k == 'teachers' else settings.get(k)}" for k in keys]
        names.append(" ".join([name, *values]))
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


def headline(record: Record) -> str:
    """The scores of a unit that has just ended, in a few words."""
    test = record.metrics["test"]
    if "vus_pr" in test:
        return f"VUS-PR {test['vus_pr']:.3f}, VUS-ROC {test['vus_roc']:.3f}"
    return f"accuracy {test['accuracy']:.3f}, macro-F1 {test['macro_f1']:.3f}"


def spread(values: Sequence[float], scale: float = 1.0, sign: str = "") -> str:
    """`0.934` of one value, `0.934 ± 0.006` (standard deviation, ddof 1) of several, empty of none."""
    if not values:
        return ""
    digits = 3 if scale == 1.0 else 1
    text = f"{scale * float(np.mean(values)):{sign}.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {scale * float(np.std(values, ddof=1)):.{digits}f}"


def show(found: Sequence[Row], stream: Any, width: int | None = None) -> None:
    """Print one table a group. A terminal that is narrow cuts names, never figures; a file has what the names need."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for group in dict.fromkeys(row.group for row in found):
        members = [row for row in found if row.group == group]
        seeds = max(len(row.macro_f1) for row in members)
        what = "unit" if FOLDS in group else "seed"
        console.print(f"{group}, {seeds} {what}{'s' if seeds > 1 else ''}", style="bold")
        dense = any(row.miou for row in members)
        heads = ["", "test acc", "macro-F1", *(["mIoU"] if dense else []), "vs alone", "params", "time"]
        ordered = sorted(members, key=lambda row: row.kind != "teacher")
        lines = [cells(row, seeds, dense) for row in ordered]
        widths = [max(len(line[n]) for line in [heads, *lines]) for n in range(len(heads))]
        if width or stream.isatty():
            widths[0] = max(8, min(widths[0], console.width - sum(w + 2 for w in widths[1:])))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=sum(w + 2 for w in widths) - 2)
        for head, size in zip(heads, widths, strict=True):
            side: Literal["left", "right"] = "right" if head else "left"
            table.add_column(head, justify=side, no_wrap=True, overflow="ellipsis", min_width=size, max_width=size)
        for row, line in zip(ordered, lines, strict=True):
            table.add_row(*line, end_section=row.kind == "teacher")
        console.print(table)
    if any(row.change for row in found):
        console.print("vs alone: macro-F1 in points against the student without a teacher, same seeds")


def cells(row: Row, seeds: int, dense: bool) -> list[str]:
    """The texts of a row; of one that has fewer seeds than others with their number."""
    return [
        (f"teacher {row.name}" if row.kind == "teacher" else row.name)
        + (f" ({len(row.macro_f1)} of {seeds})" if len(row.macro_f1) < seeds else ""),
        spread(row.accuracy),
        spread(row.macro_f1),
        *([spread(row.miou)] if dense else []),
        spread(row.change, 100, "+"),
        f"{row.parameters:,}",
        duration(row.seconds),
    ]
