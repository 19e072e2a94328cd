"""The table at the end of a run: teachers, the student alone, the methods. Needs records, neither torch nor mlflow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mmkd.core.progress import duration
from mmkd.specs.data import fold_count, fold_kind
from mmkd.store.record import Record
from mmkd.units.names import option_names
from mmkd.units.result import UnitResult


@dataclass(frozen=True)
class TableRow:
    """One line: the scores of one teacher or method over its seeds.

    In folds the value of a seed is the mean over all of them, and a seed that lacks one has none; of a single seed each
    fold has a value.

    Attributes:
        accuracy, macro_f1: one value a seed, on the test windows; `miou` where every time step has a label, else empty.
        change: macro-F1 minus that of the student alone under the same seed, for the seeds where that is on record.
        seconds: mean training time.
        of: what each value is of, "seed" or "fold"; folds: how many there are, 0 of the data set's own split.
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
    of: str = "seed"
    folds: int = 0


@dataclass(frozen=True)
class _Cut:
    """Seed and fold of the records of a group, by their keys; `folds` are all that were asked for."""

    places: dict[str, tuple[int, str]]
    folds: frozenset[str]
    of: str

    def values(self, scores: Iterable[tuple[str, float]]) -> tuple[float, ...]:
        """One value a seed, or fold, of (key, score) of each record."""
        if not self.folds or self.of == "fold":
            return tuple(score for _, score in scores)
        by_seed: dict[int, list[float]] = {}
        for key, score in scores:
            by_seed.setdefault(self.places[key][0], []).append(score)
        return tuple(float(np.mean(each)) for each in by_seed.values() if len(each) == len(self.folds))


def rows(results: Sequence[UnitResult], teachers: Iterable[Record], alone: dict[str, Record]) -> list[TableRow]:
    """Rows of a sweep, grouped by data set and student.

    Args:
        teachers: the records of all teachers of these units.
        alone: key of a unit -> the record of the student alone under the same seed.
    """
    by_key = {record.key: record for record in teachers}
    found: list[TableRow] = []
    groups: dict[tuple[str, str, str], list[UnitResult]] = {}
    for done in results:
        rate = f" at {done.spec.data.rate:g} Hz" if done.spec.data.rate else ""
        kind = fold_kind(done.spec.data.fold) if done.spec.data.fold else ""
        groups.setdefault((f"{done.spec.data.name}{rate}", kind, done.spec.student_title), []).append(done)
    for (data, kind, student), members in groups.items():
        cut = _cut(members)
        group = f"{data}{_in_folds(members, kind, len(cut.folds))}, {student}"
        taught: dict[tuple[str, str], dict[str, Record]] = {}
        for done in members:
            for modality, net_name in done.spec.teachers.items():
                key = done.spec.teacher(modality).key
                if key in by_key:
                    taught.setdefault((modality, net_name), {})[key] = by_key[key]
                    cut.places[key] = done.spec.seed, done.spec.data.fold
        for (modality, net_name), each in taught.items():
            found.append(_row(group, "teacher", f"{modality} {net_name}", list(each.values()), {}, cut))
        names = option_names([done.spec for done in members])
        lines: dict[str, list[Record]] = {}
        base: dict[str, Record] = {}
        for done, name in zip(members, names, strict=True):
            if done.record is not None:
                lines.setdefault(name, []).append(done.record)
                cut.places[done.record.key] = done.spec.seed, done.spec.data.fold
                if done.spec.key in alone:
                    base[done.spec.key] = alone[done.spec.key]
                    cut.places[alone[done.spec.key].key] = done.spec.seed, done.spec.data.fold
        on_record = {record.key: record for record in base.values()}
        shown = {record.key for each in lines.values() for record in each}
        if on_record and not shown & set(on_record):
            found.append(_row(group, "student", "student", list(on_record.values()), {}, cut))
        for name, records in lines.items():
            found.append(_row(group, "student", name, records, base, cut))
    return found


def _cut(members: Sequence[UnitResult]) -> _Cut:
    folds = frozenset(done.spec.data.fold for done in members) - {""}
    alone = folds and len({done.spec.seed for done in members}) == 1
    return _Cut({}, folds, "fold" if alone else "seed")


def _in_folds(members: Sequence[UnitResult], kind: str, there: int) -> str:
    """` in 5 folds`, ` in 3 of 5 folds`; empty of the data set's own split."""
    if not kind:
        return ""
    known = [(done.record.result.get("data") or {}).get("subjects") for done in members if done.record is not None]
    every = fold_count(kind, there, max((number for number in known if number), default=None))
    return f" in {there}{f' of {every}' * (there < every)} fold{'s' * (every > 1)}"


def _row(group: str, kind: str, name: str, records: Sequence[Record], base: dict[str, Record], cut: _Cut) -> TableRow:
    tests = [(record.key, record.metrics["test"]) for record in records]
    change = [
        (record.key, record.metrics["test"]["macro_f1"] - base[record.key].metrics["test"]["macro_f1"])
        for record in records
        if record.key in base and base[record.key].key != record.key
    ]
    return TableRow(
        group,
        kind,
        name,
        cut.values((key, test["accuracy"]) for key, test in tests),
        cut.values((key, test["macro_f1"]) for key, test in tests),
        cut.values((key, test["miou"]) for key, test in tests if "miou" in test),
        cut.values(change),
        int(records[0].result["parameters"]),
        float(np.mean([record.result["seconds"] for record in records])),
        cut.of,
        len(cut.folds),
    )


def headline(record: Record) -> str:
    """The scores of a unit that has just ended, in a few words."""
    test = record.metrics["test"]
    if "vus_pr" in test:
        return f"VUS-PR {test['vus_pr']:.3f}, VUS-ROC {test['vus_roc']:.3f}"
    return f"accuracy {test['accuracy']:.3f}, macro-F1 {test['macro_f1']:.3f}"


def mean_and_deviation(values: Sequence[float], scale: float = 1.0, sign: str = "") -> str:
    """`0.934` of one value, `0.934 ± 0.006` (standard deviation, ddof 1) of several, empty of none."""
    if not values:
        return ""
    digits = 3 if scale == 1.0 else 1
    text = f"{scale * float(np.mean(values)):{sign}.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {scale * float(np.std(values, ddof=1)):.{digits}f}"


def print_tables(found: Sequence[TableRow], stream: Any, width: int | None = None) -> None:
    """Print one table a group. A terminal that is narrow cuts names, never figures; a file has what the names need."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for group in dict.fromkeys(row.group for row in found):
        members = [row for row in found if row.group == group]
        seeds = max(len(row.macro_f1) for row in members)
        console.print(f"{group}, {seeds} {members[0].of}{'' if seeds == 1 else 's'}", style="bold")
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
        same = "same seeds and folds" if any(row.folds for row in found) else "same seeds"
        console.print(f"vs alone: macro-F1 in points against the student without a teacher, {same}")
    if any(row.folds and row.of == "seed" for row in found):
        console.print("in folds: the value of a seed is the mean over its folds; a seed that lacks one has none")
    if any(row.of == "fold" for row in found):
        console.print("one seed in folds: ± is over the folds, which share training data, and says nothing of seeds")


def cells(row: TableRow, seeds: int, dense: bool) -> list[str]:
    """The texts of a row; of one that has fewer seeds than others with their number."""
    return [
        (f"teacher {row.name}" if row.kind == "teacher" else row.name)
        + (f" ({len(row.macro_f1)} of {seeds})" if len(row.macro_f1) < seeds else ""),
        mean_and_deviation(row.accuracy),
        mean_and_deviation(row.macro_f1),
        *([mean_and_deviation(row.miou)] if dense else []),
        mean_and_deviation(row.change, 100, "+"),
        f"{row.parameters:,}",
        duration(row.seconds),
    ]
