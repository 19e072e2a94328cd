"""Records compared from Python: a table of units, a leaderboard, and the page."""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkd.comparison.compare import Comparison, compare, read_records
from mmkd.comparison.parts import is_part_of_another
from mmkd.comparison.ranking import rankings
from mmkd.comparison.units import unit_metrics
from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.text import shown
from mmkd.report.page import page_files
from mmkd.report.reproducibility import failures, reproducibility
from mmkd.report.spreadsheet import plain_row
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Record
from mmkd.store.records import Records, open_record
from mmkd.units.names import method_options, tuned_name

if TYPE_CHECKING:
    import pandas as pd


class ComparedRecords:
    """Records on their way into tables of pandas, or onto the page of `python -m mmkd.compare`.

    Attributes:
        records: those of units and of their teachers.
        left_out: one line for each record that could not be read.
        control: the method that each row's change is measured against.
    """

    def __init__(
        self,
        records: Sequence[Record],
        left_out: Sequence[str] = (),
        control: str = "student",
        runs: Path | None = None,
    ) -> None:
        self.records = list(records)
        self.left_out = list(left_out)
        self.control = control
        self._runs = runs

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """One row a unit: what it is, its test scores and costs, its key and folder.

        Students, simple detectors and peers have rows; teachers and what a choice was made by have none. A unit
        without test windows has no scores (NaN).
        """
        import pandas as pd

        units = [record for record in self.records if record.kind != "teacher" and not is_part_of_another(record)]
        lines = []
        for record in units:
            try:
                lines.append({**_identity(record), **unit_metrics(record), "folder": str(record.folder)})
            except (KeyError, TypeError, ValueError, AttributeError, MmkdError) as error:
                self.left_out.append(f"record {record.folder.name}: {describe_error(error)}; left out")
        names = dict.fromkeys(name for line in lines for name in line if name != "folder")
        return pd.DataFrame(lines, columns=[*names, "folder"])

    @cached_property
    def comparison(self) -> Comparison:
        """The groups of comparable rows with their statistics.

        Raises:
            MmkdError: no unit with test scores is among the records, or none of the control.
        """
        return compare(self.records, self.control, self.left_out)

    def leaderboard(self) -> "pd.DataFrame":
        """One row a method of each data set and student, as in `leaderboard.csv`, the best of each group first.

        Raises:
            MmkdError: as `comparison`.
        """
        import pandas as pd

        lines = []
        for group in self.comparison.groups:
            head = f"{group.score.name}_mean"
            rows = [plain_row(row, group) for row in group.rows]
            best_first = [(row[head] is None, -group.score.sign * (row[head] or 0.0)) for row in rows]
            lines += [rows[n] for n in sorted(range(len(rows)), key=best_first.__getitem__)]
        return pd.DataFrame(lines)

    def to_html(self, path: str | PathLike[str] | None = None, windows: bool = True) -> str:
        """The page of `python -m mmkd.compare`, with all of its figures, as one text.

        Args:
            path: a file to write it to as well.
            windows: whether measured values of windows may be shown.

        Raises:
            MmkdError: as `comparison`; or the file cannot be written.
        """
        facts = reproducibility(self.comparison, failures(self._runs) if self._runs else {})
        text = page_files(self.comparison, rankings(self.comparison), facts, [], windows)["report.html"]
        if path is not None:
            try:
                Path(path).write_text(text, encoding="utf-8")
            except OSError as error:
                raise MmkdError(f"to_html {shown(str(path))}: {error.strerror or error}") from None
        return text

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        methods = ", ".join(dict.fromkeys(self.frame["method"])) if len(self) else "none"
        return f"ComparedRecords({len(self)} units: {methods})"

    def _repr_html_(self) -> str:
        shown_columns = ("method", "student", "data", "seed", "accuracy", "macro_f1", "seconds", "key")
        html: str = self.frame[[name for name in shown_columns if name in self.frame]].to_html(index=False)
        return html


def compare_records(
    records: Record | str | PathLike[str] | Iterable[Record | str | PathLike[str]], control: str = "student"
) -> ComparedRecords:
    """Compare records in Python: tables of pandas, and the page.

    >>> compared = mmkd.compare_records("runs")  # doctest: +SKIP
    >>> compared.frame.groupby("method")["macro_f1"].mean(), compared.leaderboard()  # doctest: +SKIP

    Args:
        records: a folder of records ("runs"); or records, as `mmkd.run` returns them, or their folders. The records of
            teachers that lie beside those of units are read too.
        control: the method that each row's change is measured against.

    Raises:
        MmkdError: there is no such folder or record.
    """
    if not isinstance(control, str):
        raise MmkdError(f"control {shown(control)} is no name of a method")
    if isinstance(records, str | PathLike) and not os.path.isfile(Path(records) / "result.json"):
        runs = Path(records)
        if not os.path.isdir(runs):  # of `pathlib` a name that is too long is an error
            raise MmkdError(f"{shown(str(records))}: there is no such folder of records; mmkd.run makes records")
        found, left_out = read_records(Records(runs))
        if not found:
            raise MmkdError(f"{shown(str(records))} holds no record" + (f" ({left_out[0]})" if left_out else ""))
        return ComparedRecords(found, left_out, control, runs)
    if isinstance(records, str | PathLike | Record):
        records = [records]
    if not isinstance(records, Iterable):
        raise MmkdError(f"{shown(records)} is no folder of records, and no list of them")
    units = [open_record(record) for record in records]
    if not units:
        raise MmkdError("compare_records: the list is empty; give records, as mmkd.run returns them, or their folder")
    beside = [Records(unit.folder.parent).get(key) for unit in units for key in unit.teachers.values()]
    every = {record.key: record for record in (*units, *beside) if record is not None}
    return ComparedRecords(list(every.values()), (), control)


def _identity(record: Record) -> dict[str, Any]:
    """What a unit is, in names and plain texts."""
    spec = record.spec
    cells: dict[str, Any] = {"method": getattr(spec, "method", ""), "kind": record.kind}
    cells |= {"student": "", "student_net": ""}
    cells |= {"teachers": "", "data": spec.data.name, "fold": spec.data.fold, "seed": spec.seed, "task": spec.task}
    cells |= {"options": "", "status": record.status, "key": record.key}
    if isinstance(spec, UnitSpec):
        cells |= {"method": tuned_name(spec), "student": spec.student_name, "student_net": spec.student_net}
        cells["teachers"] = ",".join(f"{name}={net}" for name, net in spec.teachers.items())
        cells["options"] = " ".join(f"{name}={_text(value)}" for name, value in method_options(spec).items())
    for name in ("accuracy", "macro_f1", "nll"):
        if name in record.metrics.validation:
            cells[f"validation_{name}"] = float(record.metrics.validation[name])
    return cells


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
