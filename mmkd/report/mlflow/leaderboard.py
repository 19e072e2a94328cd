"""The comparison of a suite as MLflow shows it: metrics, a table, and charts."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.metrics.registry import METRICS, Metric
from mmkd.report.document import document
from mmkd.report.mlflow.experiments import runs_view
from mmkd.tasks import TASKS

MEMBERS = "mmkd.comparisons"
"""The tag of a run with the ids of the comparisons that it is part of."""


def _leaderboard() -> list[Metric]:
    return [metric for metric in METRICS.values() if metric.leaderboard]


def table_columns() -> list[str]:
    """The columns of the leaderboard as a table, names of `leaderboard.csv`."""
    scores = [f"{metric.name}_{value}" for metric in _leaderboard() for value in ("mean", "sd")]
    return [
        *("group", "kind", "row", "status", "n", *scores, "change_mean", "change_low", "change_high", "gap_closed"),
        *("nll_mean", "ece_mean", "agreement_mean", "time_ratio", "parameters", "macs", "latency_ms", "bytes"),
    ]


def row_label(row: Row, group: Group) -> str:
    """A row's name among all rows of an experiment."""
    if row.kind == "teacher":
        return f"teacher {row.name}"
    return f"{row.prefix}{row.name} | {group.title.removeprefix(group.dataset).lstrip(', ').removeprefix('student ')}"


def row_labels(groups: Sequence[Group]) -> dict[str, str]:
    """Key of a record -> the row that it is part of."""
    return {unit.key: row_label(row, group) for group in groups for row in group.rows for unit in row.members}


def leaderboard_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """The leaderboard as metrics, `leaderboard/macro_f1 <row>`: means over the seeds; of teachers their gaps too.

    `gap/<teacher> <student>` is the teacher's test accuracy minus that of the student alone.
    """
    means: dict[str, float] = {}
    by_label = {row_label(row, group): row for group in groups for row in group.rows}
    for metric in _leaderboard():
        for label, row in by_label.items():
            values = row.values(metric.name)
            if values:
                name = " ".join(re.sub(r"[^\w\-.:]+", " ", label).split())
                means[_free_name(f"leaderboard/{metric.name} {name[:200]}", means)] = sum(values) / len(values)
    for group in groups:
        for gap in group.gaps:
            name = " ".join(re.sub(r"[^\w\-.:]+", " ", f"{gap.teacher} {group.student}").split())
            means[_free_name(f"gap/{name[:200]}", means)] = gap.mean
    return means


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number where it is taken."""
    candidates = (name, *(f"{name} {number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def view_state(comparison: str, task: str) -> dict[str, Any]:
    """What MLflow's page of runs shows of a comparison, as its button "Share" stores it: rows, scores, four charts.

    The format is not documented; a page that does not know it says so and shows all runs.

    Args:
        comparison: the id that its runs have among those of their tag `mmkd.comparisons`.
    """
    charts = TASKS.get(task).charts
    names = [f"test/{metric}" for metric in charts]
    bars: list[dict[str, Any]] = [{"type": "BAR", "metricKey": name} for name in names]
    axes = {"xaxis": {"key": "parameters", "type": "METRIC"}, "yaxis": {"key": names[0], "type": "METRIC"}}
    shared = {"metricSectionId": "mmkd", "deleted": False, "isGenerated": False}
    return {
        **runs_view(task),
        "searchFilter": f"tags.`{MEMBERS}` LIKE '%{comparison}%'",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "mmkd.row"}]},
        "isAccordionReordered": True,
        "compareRunSections": [{"uuid": "mmkd", "name": "Comparison", "display": True, "isReordered": True}],
        "compareRunCharts": [
            {**shared, **chart, "uuid": f"mmkd-{number}"}
            for number, chart in enumerate([*bars, {"type": "SCATTER", **axes}])
        ],
    }


def leaderboard_table(comparison: Comparison, groups: Sequence[Group]) -> str:
    """The leaderboard as MLflow shows a table: JSON with `columns` and `data`, best row first."""
    titles = {group.title for group in groups}
    columns = table_columns()
    rows = [
        [row.get(name) if name != "group" else group["title"] for name in columns]
        for group in document(comparison, [])["groups"]
        if group["title"] in titles
        for row in group["rows"]
    ]
    return json.dumps({"columns": columns, "data": rows}, indent=1)
