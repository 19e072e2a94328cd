"""The tuning phase on the page: budget curves, and a table of what each method's configurations scored."""

from collections.abc import Sequence
from typing import Any

from mmkd.comparison.tuning import Tuning, TuningPhase
from mmkd.core.text import slug
from mmkd.drawing.budgets import budget_chart
from mmkd.drawing.lines import Line
from mmkd.report.page.album import Album, Figure, Table
from mmkd.report.tuning import phase_lead, phase_notes, table_cells, table_heads


def tuning_sections(phases: Sequence[TuningPhase], album: Album) -> list[dict[str, Any]]:
    """Every phase, for the template."""
    return [
        {
            "title": phase.title,
            "lead": f"{phase_lead(phase)}.",
            "notes": phase_notes(phase),
            "figures": _figures(number, phase, album),
            "tables": [_table(phase)],
        }
        for number, phase in enumerate(phases, 1)
    ]


def _table(phase: TuningPhase) -> Table:
    heads = ["method", *table_heads(phase)]
    body = [[tuning.name, *table_cells(tuning, phase)] for tuning in phase.tunings]
    return Table(f"{phase.metric.label.capitalize()} in the inner fold, by budget", heads, body)


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
