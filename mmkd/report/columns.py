"""The columns of a comparison's tables: the metrics by their entries, and what a row says against its control.

A new metric needs no line here; see `mmkd.metrics.registry`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.core.refusal import Refusal
from mmkd.metrics.pairs import Paired
from mmkd.metrics.registry import METRICS, Metric, score_columns
from mmkd.report.phrases import POINTS, control_name, kinds_of_repeats, mean_and_deviation, score_names

STATUSES = ("current", "classic", "notes", "control")
"""By which the column of statuses is sorted."""
STATUS = "current: of 2021 or later; classic: of before; notes: of the project's notes; control: no method"


@dataclass(frozen=True)
class Column:
    """A column of the tables.

    Attributes:
        text: a row's cell; `brief` is what stands in a terminal where that is less.
        value: what rows are sorted by, None where there is none.
        wide: left out in a terminal.
        spare: left out in a terminal where names would have no room beside it.
        meaning: what a reader of the head may ask.
        better: "higher" or "lower" where one end is best; a first click on the head puts it on top.
    """

    head: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None]
    brief: Callable[[Row], str] | None = None
    wide: bool = False
    spare: bool = False
    meaning: str = ""
    better: str = ""


def columns(groups: Iterable[Group], control: str) -> list[Column]:
    """The columns for which at least one row has a value."""
    groups = list(groups)
    repeats = kinds_of_repeats(groups)
    pairs = repeats.replace("seeds", "seed").replace("folds", "fold")
    scores = scores_of(groups)
    others = [metric for metric in METRICS.values() if metric not in scores and not metric.forms and not metric.hidden]
    details = [metric for metric in others if metric.source in ("predictions", "teachers")]
    costs = [metric for metric in others if metric.source not in ("predictions", "teachers")]
    every = [
        *(_score_column(metric, f"mean over {repeats} ± standard deviation") for metric in scores),
        Column("n", lambda row: str(len(row.units)), lambda row: float(len(row.units)), meaning=f"{repeats} on record"),
        Column(
            f"vs {control_name(control)}",
            _change,
            lambda row: row.change.mean if isinstance(row.change, Paired) else None,
            meaning=f"{score_names(groups)} in points, paired by {pairs}, with a 95 % bootstrap interval",
            better="higher",
        ),
        Column(
            "gap",
            _gap,
            lambda row: _known(row.gap),
            meaning="share closed of the gap to the best teacher",
            better="higher",
        ),
        *(_mean_column(metric) for metric in details),
        Column(
            "time",
            _time,
            lambda row: _known(row.time),
            meaning="of training, against the student alone",
            better="lower",
        ),
        *(_mean_column(metric) for metric in costs),
        Column("status", lambda row: row.status, _status_order, wide=True, meaning=STATUS),
    ]
    rows = [row for group in groups for row in group.rows]
    return [column for column in every if any(column.text(row) for row in rows)]


def scores_of(groups: Iterable[Group]) -> list[Metric]:
    """The scores that stand first in the tables of these groups, in the order of their tasks."""
    scores = {metric.name: metric for group in groups for metric in score_columns(group.task_object)}
    return list(scores.values())


def _score_column(metric: Metric, meaning: str) -> Column:
    return Column(
        head=metric.label,
        text=lambda row: mean_and_deviation(row.values(metric.name)),
        value=lambda row: _mean(row, metric),
        brief=(lambda row: _mean_text(row, metric)) if metric.brief else None,
        wide=metric.wide,
        spare=metric.spare,
        meaning=f"{metric.meaning}; {meaning}" if metric.meaning else meaning,
        better=metric.direction,
    )


def _mean_column(metric: Metric) -> Column:
    return Column(
        head=metric.label,
        text=lambda row: _mean_text(row, metric),
        value=lambda row: _mean(row, metric),
        wide=metric.wide,
        spare=metric.spare,
        meaning=metric.meaning,
        better=metric.direction,
    )


def _mean(row: Row, metric: Metric) -> float | None:
    return float(np.mean(values)) if (values := row.values(metric.name)) else None


def _mean_text(row: Row, metric: Metric) -> str:
    mean = _mean(row, metric)
    return "" if mean is None else metric.format(mean)


def _known(value: float | Refusal | None) -> float | None:
    return value if isinstance(value, float) else None


def _change(row: Row) -> str:
    """`+1.2 [-0.3, +2.5]`, in points; of fewer pairs than the row has seeds with their number."""
    change = row.change
    if not isinstance(change, Paired):
        return ""
    text = f"{POINTS * change.mean:+z.1f}"
    if change.low is not None and change.high is not None:
        text += f" [{POINTS * change.low:+z.1f}, {POINTS * change.high:+z.1f}]"
    return text if change.n == len(row.units) else f"{text} n={change.n}"


def _gap(row: Row) -> str:
    return f"{round(100 * row.gap)} %" if isinstance(row.gap, float) else ""


def _status_order(row: Row) -> float | None:
    if not row.status:
        return None
    return float(STATUSES.index(row.status)) if row.status in STATUSES else float(len(STATUSES))


def _time(row: Row) -> str:
    return f"x{row.time:.2f}" if isinstance(row.time, float) else ""
