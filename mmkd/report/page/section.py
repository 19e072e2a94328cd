"""What the page shows of one group: its table, changes, robustness, maps, and the details of each network."""

from typing import Any

import numpy as np

from mmkd.comparison.gap import gap_lines
from mmkd.comparison.leading import leaders
from mmkd.comparison.repeats import FOLDS_SHARE
from mmkd.comparison.rows import STUDENT_ONLY, Row, common_repeats
from mmkd.core.text import capital, shorten
from mmkd.drawing.changes import Change, change_chart
from mmkd.metrics.pairs import Paired
from mmkd.report.columns import columns
from mmkd.report.fidelity import fidelity_notes, verdict_notes
from mmkd.report.page.album import Figure
from mmkd.report.page.bands import caption_of, control_band
from mmkd.report.page.context import NETWORKS, GroupContext
from mmkd.report.page.fidelity import group_tables
from mmkd.report.page.maps import map_figures
from mmkd.report.page.network import network_details
from mmkd.report.page.robustness import RobustnessCurves
from mmkd.report.phrases import CONTROLS, POINTS, first_control, group_notes, mean_and_deviation, name_repeats, row_name


def group_section(context: GroupContext) -> dict[str, Any]:
    """One group, for the template."""
    group = context.group
    curves = RobustnessCurves(context)
    maps = map_figures(context)
    rows = _rows(context)
    return {
        "number": context.number,
        "title": group.title,
        "lead": _lead(context),
        "understood": _understood(context),
        "gaps": gap_lines(group.gaps),
        "columns": columns([group], context.control),
        "rows": [row for row in rows if row["kind"] != "control"],
        "controls": [row for row in rows if row["kind"] == "control"],
        "heading": CONTROLS,
        "how": how_lines(context),
        "notes": [*group_notes(group), *fidelity_notes(group), *verdict_notes(group)],
        "figures": [*_change_figures(context), *curves.group_figures(), *maps],
        "tables": [*group_tables(context), *curves.tables()],
        "details": [
            {**network_details(context, row, curves), "heading": CONTROLS if row is first_control(group) else ""}
            for row in group.shown_rows
            if row.kind in NETWORKS
        ],
    }


def _lead(context: GroupContext) -> str:
    group = context.group
    students = context.methods
    complete = [row for row in students if len(row.units) == len(group.repeats)] or students
    score = group.score
    best = max(complete, key=lambda row: score.sign * float(np.mean(row.values(score.name))))
    extreme = "lowest" if score.direction == "lower" else "highest"
    text = f"{name_repeats(group).capitalize()}. The {extreme} mean {score.label} of a student is "
    text += f"{mean_and_deviation(best.values(score.name))} ({best.title})"
    alone = next((row for row in students if row.base == STUDENT_ONLY), None)
    if alone is None or alone is best:
        return f"{text}."
    return f"{text}; the student alone has {mean_and_deviation(alone.values(score.name))}."


def _understood(context: GroupContext) -> str:
    """What was understood of the data, as its first unit says it, and of folds of which it says it."""
    units = [unit for row in context.students for unit in row.members if unit.record is not None]
    for unit in units:
        if unit.record is not None and (text := unit.record.data.get("understood")):
            fold = f", {context.group.folds[unit.fold - 1]}" if unit.fold else ""
            return shorten(f"Data as understood{fold}: {text}.", 600)
    return ""


def _rows(context: GroupContext) -> list[dict[str, Any]]:
    group = context.group
    shown = columns([group], context.control)
    kind = group.shown_rows[0].kind
    found = leaders(group)
    marks = {found.best: "best", **dict.fromkeys(found.alike, "not told apart")}
    rows = []
    for row in group.shown_rows:
        cells = [{"text": column.text(row), "value": _sortable(column.value(row))} for column in shown]
        rows.append(
            {
                "name": row_name(row, group),
                "kind": row.kind,
                "first": row.kind != kind,
                "link": context.id(row) if row.kind in NETWORKS else "",
                "mark": marks.get(row.name, "") if row.is_student else "",
                "cells": cells,
            }
        )
        kind = row.kind
    return rows


def how_lines(context: GroupContext) -> list[str]:
    """How to read the table of a group: its marks, and what its columns are."""
    group = context.group
    found = leaders(group)
    lines = []
    if found.best:
        text = f"best: the highest mean {group.score.label} of the methods with the most {group.by}s, controls left out"
        if group.score.direction == "lower":
            text = text.replace("highest", "lowest", 1)
        many = len(group.repeats)
        told = f"the 95 % interval of its difference to the best, paired by {group.by}, holds 0"
        text += f"; not told apart: {told}" if many > 1 else f"; of one {group.by} nothing is told apart"
        lines.append(f"{text}.")
    lines += [f"{column.head}: {column.meaning}." for column in columns([group], context.control) if column.meaning]
    return lines


def _sortable(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _change_figures(context: GroupContext) -> list[Figure]:
    changes = []
    for row in context.methods:
        control = context.control_of(row)
        if control is None or not isinstance(row.change, Paired):
            continue
        repeats = common_repeats(row, control)
        values = [POINTS * (a - b) for a, b in zip(row.scores(repeats), control.scores(repeats), strict=True)]
        low, high = (None if end is None else POINTS * end for end in (row.change.low, row.change.high))
        changes.append(Change(row.title, POINTS * row.change.mean, low, high, values))
    if not changes:
        return []
    changes.sort(key=lambda change: -change.mean)
    control_name = "the student alone" if context.control == STUDENT_ONLY else shorten(context.control, 40)
    title = f"Change against {control_name}"
    most = max(len(change.values) for change in changes)
    by = context.group.by
    label = context.group.score.label
    caption = f"{capital(label)} in points, paired by {by}"
    caption += f": mean (diamond), 95 % bootstrap interval (line), {by}s (rings)." if most > 1 else f", of one {by}."
    caption += f" Of {most} {by}s the interval is at most their range, and too narrow." if 1 < most < 6 else ""
    caption += f" {FOLDS_SHARE.capitalize()}: intervals are too narrow." if by == "fold" else ""
    rest = [row for row in context.students if row not in context.methods]
    band = control_band(rest, lambda row: _change_mean(row, context))
    caption += caption_of(band)
    description = f"{len(changes)} rows; {caption}"
    chart = change_chart(title, description, changes, f"change of {label} in points", band)
    return [context.figure("change", title, caption, chart)]


def _change_mean(row: Row, context: GroupContext) -> float | None:
    """The mean change of a control in points; 0 of the one that changes are against."""
    if isinstance(row.change, Paired):
        return POINTS * row.change.mean
    return 0.0 if row.base == context.control else None
