"""The statistics over data sets on the page."""

from collections.abc import Sequence
from typing import Any

from mmkd.comparison.ranking import Ranking
from mmkd.core.refusal import Refusal
from mmkd.core.text import slug
from mmkd.drawing.ranks import rank_chart
from mmkd.metrics.pairs import Against, Diagram
from mmkd.report.page.album import Album, Table
from mmkd.report.phrases import POINTS
from mmkd.report.statistics import ranking_lines


def statistics_section(number: int, ranking: Ranking, album: Album) -> dict[str, Any]:
    """What can be said over data sets of one task and student, for the template."""
    figures = []
    diagram = ranking.diagram
    if isinstance(diagram, Diagram):
        title = "Critical difference"
        caption = (
            f"Mean ranks over {diagram.n} data sets, 1 is best; methods under one bar are not told apart "
            f"(Nemenyi, 0.05; the tests of the table are Wilcoxon's, which may tell more apart). Friedman p "
            f"{diagram.p:.3g}."
        )
        folder = f"ranks-{number}-{slug(ranking.title)}"
        chart = rank_chart(title, caption, ranks=diagram.ranks, difference=diagram.difference, cliques=diagram.cliques)
        figures.append(album.figure(folder, "critical-difference", title, caption, chart))
    return {
        "title": ranking.title,
        "lines": [line.strip().replace(f", {ranking.title}", "", 1) for line in ranking_lines(ranking)],
        "figures": figures,
        "tables": [] if isinstance(ranking.pairs, Refusal) else [_matrix(ranking.pairs)],
    }


def _matrix(pairs: Sequence[Against]) -> Table:
    """All pairs: the row's method against that of the column."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    cells: dict[tuple[str, str], str] = {}
    for pair in pairs:
        p = f"p {pair.p_holm:.3g}" if pair.p_holm is not None else "not tested"
        cells[pair.first, pair.second] = f"{POINTS * pair.mean:+z.1f}, {pair.wins}/{pair.ties}/{pair.losses}, {p}"
        cells[pair.second, pair.first] = f"{-POINTS * pair.mean:+z.1f}, {pair.losses}/{pair.ties}/{pair.wins}, {p}"
    rows = [[row, *(cells.get((row, column), "") for column in names)] for row in names]
    title = "All pairs: the row's mean lead in points, data sets won/tied/lost, p after Holm"
    return Table(title, ["", *names], rows)
