"""The comparison as CSV, in plain numbers."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.comparison.spectra import record_spectra
from mmkd.comparison.units import Unit
from mmkd.core.refusal import Refusal
from mmkd.drawing.spectra import ring_lines
from mmkd.metrics.pairs import Paired
from mmkd.metrics.registry import METRICS, file_scores
from mmkd.report.fidelity import fidelity_lines, fidelity_row
from mmkd.report.tuning import budget_lines, configuration_lines, tuned_lines


def leaderboard_csv(comparison: Comparison) -> str:
    """One line a row of a group."""
    return _csv([plain_row(row, group) for group in comparison.groups for row in group.rows])


def results_csv(comparison: Comparison) -> str:
    """Tidy: one line a unit and metric."""
    return _csv(
        [
            {**_identity(row, group), **seed_and_fold(unit, group), "key": unit.key, "metric": name, "value": value}
            for group in comparison.groups
            for row in group.rows
            for unit in row.members
            for name, value in unit.metrics.items()
        ]
    )


def fidelity_csv(comparison: Comparison) -> str:
    """What students have of their teachers: one line a row, teacher and measure."""
    return _csv(fidelity_lines(comparison)) or "task,dataset,student,group,row,teacher,measure\n"


def tuning_files(comparison: Comparison) -> dict[str, str]:
    """`tuning.csv`, one line a configuration; `budgets.csv`, one line a method and budget; `tuned.csv`, one line a
    tuned row. Those without a line are left out.
    """
    lines = {
        "tuning.csv": configuration_lines(comparison.tunings),
        "budgets.csv": budget_lines(comparison.tunings),
        "tuned.csv": tuned_lines(comparison.groups),
    }
    return {name: _csv(found) for name, found in lines.items() if found}


def spectra_files(comparison: Comparison, notes: list[str]) -> dict[str, str]:
    """`spectra.csv`, one line a unit, spectral filter and frequency; of images, a ring of frequencies around the mean.

    It is left out where no record has spectra.
    """
    lines = [
        {**_identity(row, group), **seed_and_fold(unit, group), "key": unit.key, "filter": one.name, **line}
        for group in comparison.groups
        for row in group.rows
        for unit in row.members
        if unit.record is not None
        for one in record_spectra(unit.record, notes)
        for line in ring_lines(one)
    ]
    return {"spectra.csv": _csv(lines)} if lines else {}


def _identity(row: Row, group: Group) -> dict[str, Any]:
    return {
        "task": group.task,
        "dataset": group.dataset,
        "student": group.student,
        "group": group.title,
        "kind": row.kind,
        "row": row.name,
    }


def seed_and_fold(unit: Unit, group: Group) -> dict[str, Any]:
    """The seed of a unit, and its fold where its group has some."""
    return {"seed": unit.seed, **({"fold": group.folds[unit.fold - 1]} if group.folds else {})}


def plain_row(row: Row, group: Group) -> dict[str, Any]:
    """A row as names and numbers; what is not known is None."""
    seeds = sorted({unit.seed for unit in row.units.values()})
    cells = _identity(row, group) | {"n": len(row.units), "seeds": " ".join(map(str, seeds))}
    if group.folds:
        cells |= {"n_of": f"{group.by}s", "folds": f"{len(group.folds)} of {group.all_folds}"}
        cells["incomplete"] = "; ".join(row.incomplete)
    cells["status"] = row.status or None
    cells["same_as"] = " = ".join(row.equals) or None
    cells["teacher_epoch"] = row.settings.get("epoch") or row.settings.get("teacher_epoch")
    scores = file_scores(group.task_object)
    for metric in scores:
        values = row.values(metric.name)
        cells[f"{metric.name}_mean"] = float(np.mean(values)) if values else None
        cells[f"{metric.name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    change = row.change if isinstance(row.change, Paired) else None
    for name in ("mean", "sd", "n", "low", "high"):
        cells[f"change_{name}"] = getattr(change, name, None)
    cells["control"] = row.control
    cells["change_why"] = row.change.why if isinstance(row.change, Refusal) else None
    for name, value in (("gap_closed", row.gap), ("time_ratio", row.time)):
        cells[name] = value if isinstance(value, float) else None
        cells[f"{name}_why"] = value.why if isinstance(value, Refusal) else None
    for metric in METRICS.values():
        if metric.source in ("network", "deployment", "export"):
            values = row.values(metric.name)
            if values or metric.source != "export":  # few students are exported: no empty columns for the others
                cells[metric.name] = float(np.mean(values)) if values else None
    return cells | _teacher_cells(row, group) | fidelity_row(row)


def _teacher_cells(row: Row, group: Group) -> dict[str, Any]:
    """Of a teacher its gap to the student alone, in shares of test windows, and how it fits its training windows."""
    gap = next((gap for gap in group.gaps if row.kind == "teacher" and gap.teacher == row.name), None)
    cells = {f"teacher_gap_{name}": getattr(gap, name, None) for name in ("mean", "n", "low", "high")}
    cells["teacher_has_room"] = None if gap is None else gap.has_room
    fit = None if gap is None else gap.fit
    return cells | {f"training_{name}": getattr(fit, name, None) for name in ("accuracy", "wrong", "nll")}


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return ""
    stream = io.StringIO(newline="")
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
