"""The figures of a regime: change of each row over sets, ranks with the critical difference, change against cost."""

from xml.etree import ElementTree as ET

import numpy as np

from mmkd.comparison.tuning import USUAL
from mmkd.core.refusal import Refusal
from mmkd.core.text import capital
from mmkd.drawing.bands import GREY
from mmkd.drawing.budgets import budget_chart
from mmkd.drawing.changes import Change, change_chart
from mmkd.drawing.cost import Point, cost_chart
from mmkd.drawing.lines import Line
from mmkd.drawing.rank_rows import RankRow, rank_rows_chart
from mmkd.drawing.svg import NARROW, add_heading
from mmkd.metrics.budgets import best_of, budgets_up_to
from mmkd.metrics.pairs import Diagram
from mmkd.metrics.registry import METRICS
from mmkd.report.page.album import Album, Figure
from mmkd.results.board.regime import BoardRegime
from mmkd.results.board.words import POINTS, count, rank_seeds
from mmkd.results.scores import Row

COSTS = {"seconds": "time of training", "macs": "MACs", "latency_ms": "latency"}
BROAD = 552.0
"""Width of a figure of which two stand beside each other on a wide screen, and of a file."""
LOOKS = {"method": 0, "student": GREY, "control": GREY, "teacher": 3, "peer": 4}
"""Kind of a row -> number of its colour, the same in all figures: what methods are held against is grey."""
GROUPS = {0: "methods", GREY: "controls and the student alone", 3: "teachers", 4: "peers"}
COLOURS = "Methods are blue, controls and the student alone grey"
FEW = "a hollow mark is of fewer seeds than others, and of the student alone under the same ones"


def regime_figures(regime: BoardRegime, number: int, album: Album) -> tuple[list[Figure], list[Figure]]:
    """Figures of changes and ranks, and of costs and budgets of tuning."""
    folder = f"regime-{number}"
    drawn, wide = change_figure(regime), change_figure(regime, BROAD)
    changes = [album.figure(folder, "change", *drawn, wide[2])] if drawn is not None and wide is not None else []
    costs = [*_cost_figures(regime, folder, album), *_budget_figure(regime, folder, album)]
    return [*changes, *_rank_figures(regime, folder, album)], costs


def change_figure(regime: BoardRegime, width: float = NARROW) -> tuple[str, str, ET.Element] | None:
    """Title, caption and chart of the change of each row over the sets with room; None without two sets.

    The rows are those that have at least half of the sets of the row with the most.
    """
    tests = regime.room.against_student
    most = max((test.pair.n for test in tests.values()), default=0)
    if most < 2:
        return None
    rows = {row.name: row for row in regime.compared}
    changes = []
    for name, test in tests.items():
        if 2 * test.pair.n < most:
            continue
        low, high = (None if end is None else POINTS * end for end in (test.low, test.high))
        of_sets = (
            [
                regime.changes[name, case].mean
                for case in regime.scores.cases
                if case.dataset == dataset and (name, case) in regime.changes
            ]
            for dataset in regime.with_room
        )
        values = [POINTS * float(np.mean(own)) for own in of_sets if own]
        few = regime.few_seeds(rows[name])
        said = [count(test.pair.n, "set")] * (test.pair.n < most) + [few] * bool(few)
        label = f"{name} ({', '.join(said)})" if said else name
        changes.append(Change(label, POINTS * test.mean, low, high, values, rows[name].kind != "method", bool(few)))
    changes.sort(key=lambda change: -change.mean)
    metric = METRICS.get(regime.scores.metric).label
    numbers = [regime.paired_seeds(rows[name], regime.with_room) for name in tests]
    least, highest = min(number for number, _ in numbers), max(number for _, number in numbers)
    seeds = count(highest, "seed") if least == highest else f"{least} to {highest} seeds"
    title = f"{regime.name}: change against the student alone"
    caption = (
        f"{capital(metric)} in points over {count(most, 'set')}, {seeds}; where a row has fewer of "
        "them, that is said behind its name. Mean (diamond), 95 % bootstrap interval over sets (line), sets (rings). "
        f"{COLOURS}"
    )
    caption += f"; {FEW}." if any(change.hollow for change in changes) else "."
    return title, caption, change_chart(title, caption, changes, f"change of {metric} in points", width=width)


def change_file(regime: BoardRegime) -> ET.Element | None:
    """The chart of the change of each row, with what its colours mean, as it stands in a file."""
    drawn = change_figure(regime, BROAD)
    if drawn is None:
        return None
    title, _, chart = drawn
    few = any(regime.few_seeds(row) for row in regime.compared)
    note = f"Lines: 95 % over sets. Rings: sets. Grey: controls.{' Hollow: fewer seeds.' * few}"
    return add_heading(chart, f"Regime {title}", note)


def _budget_figure(regime: BoardRegime, folder: str, album: Album) -> list[Figure]:
    """What more configurations would have found on the development sets, of the methods that were tuned."""
    tried = {name: scores for name, scores in regime.decisions.tried.items() if len(scores) > 1}
    if not tried:
        return []
    metric = METRICS.get(regime.scores.metric)
    title = f"{regime.name}: budget of tuning"
    caption = (
        f"Expected {metric.label} of the best of so many configurations, over all orders in which they may be tried; "
        "each curve begins with the published default. In a fold of the training part of the development sets, where "
        "the choice is made: the best of many is too good there, and what it is worth say the tuned rows below."
    )
    lines = []
    for number, (name, scores) in enumerate(sorted(tried.items(), key=lambda pair: -metric.sign * pair[1][0])):
        own, *others = (metric.sign * score for score in scores)
        budgets = range(1, len(scores) + 1)
        found = [metric.sign * best_of(own, others, budget) for budget in budgets]
        lines.append(Line(name, number, [float(budget) for budget in budgets], found))
    ticks = budgets_up_to(max(map(len, tried.values())), USUAL)
    label = f"{metric.label} in the inner fold"
    chart = budget_chart(title, caption, lines, "configurations", label, [float(tick) for tick in ticks])
    return [album.figure(folder, "budget", title, caption, chart)]


def _rank_figures(regime: BoardRegime, folder: str, album: Album) -> list[Figure]:
    room = not isinstance(regime.room.ranks, Refusal)
    standing = regime.room if room else regime.all_sets
    diagram, ranks = standing.diagram, standing.ranks
    if not isinstance(diagram, Diagram) or isinstance(ranks, Refusal):
        return []
    which = "" if room else f", {regime.kinds_of_sets}, as those with room are too few for ranks"
    title = f"{regime.name}: ranks and critical difference"
    caption = (
        f"Mean ranks over {count(diagram.n, 'set')}{which}, {rank_seeds(standing.seeds)} (diamond, 1 is best), with "
        f"95 % intervals by the bootstrap over sets (line). Rows beside one bar are not told apart: their ranks differ "
        f"by less than {diagram.difference:.2f} (Nemenyi, 0.05; the tables mark by Wilcoxon's "
        f"test, which may tell more apart). {COLOURS}. Friedman p {diagram.p:.3g}."
    )
    kinds = {row.name: row.kind for row in regime.compared}
    rows = [RankRow(name, rank.mean, rank.low, rank.high, kinds.get(name) != "method") for name, rank in ranks.items()]
    narrow, wide = (rank_rows_chart(title, caption, rows, diagram.cliques, width) for width in (NARROW, BROAD))
    return [album.figure(folder, "ranks", title, caption, narrow, wide)]


def _cost_figures(regime: BoardRegime, folder: str, album: Album) -> list[Figure]:
    figures = []
    for metric, label in COSTS.items():
        points = [point for row in regime.scores.rows if (point := _point(regime, row, metric)) is not None]
        if len({point.cost for point in points}) < 2:
            continue
        groups = {number: name for number, name in GROUPS.items() if any(p.number == number for p in points)}
        title = f"{regime.name}: change against {label}"
        caption = (
            f"Mean change over sets in points against the student alone, over its {label} as a multiple of that of the "
            "student alone (geometric mean), over the sets where both were measured on one machine, of one commit; a "
            "row has a point if these are half of the sets. The broken line is the front: nothing gains more for less; "
            f"its rows, methods and the student alone are named where there is room. {COLOURS}"
        )
        caption += f"; {FEW}." if any(point.hollow for point in points) else "."
        narrow, wide = (
            cost_chart(
                title,
                caption,
                points,
                f"{label}, times the student alone",
                "change in points",
                groups,
                width=width,
            )
            for width in (NARROW, BROAD)
        )
        figures.append(album.figure(folder, f"cost-{metric}", title, caption, narrow, wide))
    return figures


def _point(regime: BoardRegime, row: Row, metric: str) -> Point | None:
    """A row's mean change over the sets where its cost is known."""
    cases = [
        case
        for case in regime.scores.cases
        if case.dataset in regime.with_room and regime.scores.cost_ratio(row, metric, [case]) is not None
    ]
    alone = row is regime.scores.student
    changes = [regime.changes[row.name, case].mean for case in cases if (row.name, case) in regime.changes]
    if 2 * len(cases) < len([case for case in regime.scores.cases if case.dataset in regime.with_room]):
        return None  # a mean over few sets does not stand beside means over many
    ratio = regime.scores.cost_ratio(row, metric, cases)
    if row.kind not in LOOKS or ratio is None or not (changes or alone):
        return None
    score = 0.0 if alone else POINTS * float(np.mean(changes))
    return Point(
        row.name, ratio.value, score, LOOKS[row.kind], 0.0, bool(regime.few_seeds(row)), alone or row.kind == "method"
    )
