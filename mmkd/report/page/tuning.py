"""Equal tuning on the page: budget curves, what each method's configurations scored, and what they changed."""

from collections.abc import Sequence
from typing import Any

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import common_repeats
from mmkd.comparison.tuned import TunedChange, tuned_changes
from mmkd.comparison.tuning import Tuning, TuningPhase
from mmkd.core.refusal import Refusal
from mmkd.core.text import capital, slug
from mmkd.drawing.budgets import budget_chart
from mmkd.drawing.changes import Change, change_chart
from mmkd.drawing.lines import Line
from mmkd.report.page.album import Album, Figure, Table
from mmkd.report.phrases import POINTS
from mmkd.report.tuning import (
    TUNED_HEADS,
    choice_line,
    phase_lead,
    phase_notes,
    table_cells,
    table_heads,
    tuned_cells,
    tuned_title,
)


def tuning_sections(comparison: Comparison, album: Album) -> list[dict[str, Any]]:
    """Every phase, and every group with tuned rows, for the template."""
    phases = [
        {
            "title": f"{phase.title}: in the training part",
            "lead": f"{'; '.join(phase_lead(phase))}.",
            "figures": _figures(number, phase, album),
            "tables": [_table(phase)],
            "notes": [*map(choice_line, phase.tunings), *phase_notes(phase)],
        }
        for number, phase in enumerate(comparison.tunings, 1)
    ]
    tuned = [(group, tuned_changes(group)) for group in comparison.groups]
    return [*phases, *(_tuned(group, found, album) for group, found in tuned if found)]


def _tuned(group: Group, found: Sequence[TunedChange], album: Album) -> dict[str, Any]:
    """Tuned rows beside their defaults."""
    changes = []
    for each in found:
        if isinstance(each.change, Refusal):
            continue
        repeats = common_repeats(each.tuned, each.default)
        pairs = zip(each.tuned.scores(repeats), each.default.scores(repeats), strict=True)
        low, high = (None if end is None else POINTS * end for end in (each.change.low, each.change.high))
        values = [POINTS * (own - other) for own, other in pairs]
        changes.append(Change(each.tuned.name, POINTS * each.change.mean, low, high, values))
    figures = []
    if changes:
        label = group.score.label
        title = "Change by tuning"
        several = max(len(change.values) for change in changes) > 1
        drawn = f"of one {group.by}."
        if several:
            drawn = f"paired by {group.by}: mean (diamond), 95 % bootstrap interval (line), {group.by}s (rings)."
        caption = (
            f"{capital(label)} of the tuned row minus that of its published defaults, in points on the "
            f"test windows, {drawn}"
        )
        chart = change_chart(title, caption, changes, f"change of {label} in points")
        figures.append(album.figure(slug(group.title), "tuned", title, caption, chart))
    cells = [(each.tuned.name, tuned_cells(each)) for each in found]
    body = [[name, *own[:-1]] for name, own in cells]
    return {
        "title": f"{group.title}: on the test windows",
        "lead": "",
        "figures": figures,
        "tables": [Table(tuned_title(group), ["method", *TUNED_HEADS[:-1]], body)],
        "notes": [f"{name}: {own[-1]}" for name, own in cells],
    }


def _table(phase: TuningPhase) -> Table:
    heads = ["method", *table_heads(phase)]
    body = [[tuning.name, *table_cells(tuning, phase)] for tuning in phase.tunings]
    label = phase.metric.label
    return Table(f"{capital(label)} in the inner fold, by budget", heads, body)


def _figures(number: int, phase: TuningPhase, album: Album) -> list[Figure]:
    """The budget curves, over student trainings and over seconds; none where only defaults were tried."""
    if phase.budgets[-1] == 1:
        return []
    label = phase.metric.label
    how = (
        f"Expected {label} in the inner fold of the best of so many configurations, over all orders in which they may "
        f"be tried; each curve begins with its published default. It is no test score."
    )
    folder = f"tuning-{number}-{slug(phase.dataset)}"
    figures = []
    for name, title, axis, ticks in (
        ("budget-trainings", "Budget in student trainings", "student trainings", phase.budgets),
        ("budget-seconds", "Budget in time", "seconds of training students", None),
    ):
        lines = [_line(tuning, n, in_time=ticks is None) for n, tuning in enumerate(phase.tunings)]
        caption = f"{how} Teachers are not counted: all methods share them." if ticks is None else how
        chart = budget_chart(title, caption, lines, axis, f"{label} in the inner fold", ticks)
        figures.append(album.figure(folder, name, title, caption, chart))
    return figures


def _line(tuning: Tuning, number: int, in_time: bool) -> Line:
    x = [budget.seconds if in_time else float(budget.trainings) for budget in tuning.curve]
    marks = [budget.trainings - 1 for budget in tuning.usual]
    return Line(tuning.name, number, x, [budget.score for budget in tuning.curve], marks=marks)
