"""Scores against costs: a figure for each data set and cost."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.identity import as_key
from mmkd.comparison.rows import STUDENT_ONLY, Row
from mmkd.core.text import slug
from mmkd.drawing.bands import Band
from mmkd.drawing.cost import Point, cost_chart
from mmkd.report.page.album import Album, Figure
from mmkd.report.page.bands import caption_of, control_band
from mmkd.report.phrases import kinds_of_repeats

COSTS = {"parameters": "parameters", "macs": "MACs", "latency_ms": "latency in ms"}


def cost_figures(comparison: Comparison, album: Album) -> list[Figure]:
    """Score against parameters, and MACs and latency where they were measured, a figure each data set."""
    by_data: dict[str, list[Group]] = {}
    for group in comparison.groups:
        by_data.setdefault(as_key([group.task, group.settings["data"]]), []).append(group)
    figures = []
    for number, groups in enumerate(by_data.values(), 1):
        folder = f"cost-{number}-{slug(groups[0].dataset)}"
        for metric, label in COSTS.items():
            names, points = _points(groups, metric)
            if len(points) < 2 or len({point.cost for point in points}) < 2:
                continue
            score = groups[0].score.label
            title = f"{groups[0].data}: {score} against {label}"
            caption = (
                f"{len(points)} networks, means over {kinds_of_repeats(groups)}, bars ± a standard deviation. The "
                "broken line is the Pareto front of the means; its networks are named where there is room, all where "
                "the pointer rests. A hollow marker is a student alone."
            )
            bands = _bands(groups, names)
            caption += caption_of(bands[0] if bands else None)
            chart = cost_chart(title, caption, points, label, score, names, bands)
            figures.append(album.figure(folder, slug(metric), title, caption, chart))
    return figures


def _points(groups: Sequence[Group], metric: str) -> tuple[list[str], list[Point]]:
    """The networks whose cost is known, teachers once; and the names of their series, a number each."""
    students = [_title(group) for group in groups]
    points: list[Point] = []
    seen: set[tuple[str, ...]] = set()
    for number, group in enumerate(groups):
        for row in _drawn(group):
            keys = (str(row.settings.get("epoch")), *(unit.key for unit in row.members))
            if not row.values(metric) or not row.values(row.score) or keys in seen:
                continue
            seen.add(keys)
            points.append(_point(row, metric, len(groups) if row.kind == "teacher" else number))
    used = sorted({point.number for point in points})
    points = [replace(point, number=used.index(point.number)) for point in points]
    return [[*students, "teachers"][number] for number in used], points


def _title(group: Group) -> str:
    """The student of a group, as the legend has it."""
    return group.title.removeprefix(group.data).lstrip(", ")


def _bands(groups: Sequence[Group], names: Sequence[str]) -> list[Band]:
    """What the controls of each group score; of several groups in the colour of their students.

    Args:
        names: of the series.
    """
    found = []
    for group in groups:
        rest = [row for row in group.shown_rows if row not in _drawn(group)]
        title = _title(group)
        several = len(groups) > 1 and title in names
        how = {"number": names.index(title), "name": f"controls, {title}"} if several else {}
        band = control_band(rest, lambda row: float(np.mean(row.values(row.score))), **how)
        found += [band] if band is not None else []
    return found


def _drawn(group: Group) -> list[Row]:
    """The networks of a group that are points: teachers and methods, and controls where there is no method."""
    methods = any(row.kind == "student" for row in group.shown_rows)
    return [row for row in group.shown_rows if row.kind in ("teacher", "student" if methods else "control")]


def mean_cost(values: Sequence[float]) -> float:
    """The mean; of equal values exactly that value, so that equal networks are one place whatever their seeds."""
    return values[0] if len(set(values)) == 1 else float(np.mean(values))


def _point(row: Row, metric: str, number: int) -> Point:
    scores = row.values(row.score)
    teacher = row.kind == "teacher"
    alone = row.base == STUDENT_ONLY and not teacher
    return Point(
        f"teacher {row.title}" if teacher else row.title,
        mean_cost(row.values(metric)),
        float(np.mean(scores)),
        number,
        float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        alone,
        alone,
    )
