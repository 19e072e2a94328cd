"""Scores on disturbed test windows: a figure and a table of a group, and a figure of each network."""

from collections.abc import Iterable
from typing import Any

from mmkd.comparison.controls import is_blind
from mmkd.comparison.robustness import Curve, robustness_curves
from mmkd.comparison.rows import BOUND, Row
from mmkd.core.text import printable
from mmkd.drawing.bands import GREY
from mmkd.drawing.lines import Line, Plot, line_chart
from mmkd.drawing.svg import NARROW
from mmkd.metrics.registry import METRICS, SELECTION
from mmkd.report.page.album import Figure, Table
from mmkd.report.page.bands import CAPTION
from mmkd.report.page.context import GroupContext
from mmkd.report.phrases import mean_and_deviation

DISTURBANCES = {
    "noise": "noise",
    "missing": "missing segments",
    "dead-channel": "one channel dead",
    "shift": "shift in time",
}


class RobustnessCurves:
    """The curves of the students of a group, and what is drawn of them."""

    def __init__(self, context: GroupContext) -> None:
        self.context = context
        self._curves = {id(row): robustness_curves(row, context.notes) for row in context.students}
        self.by = context.group.by
        self.label = METRICS.get(SELECTION).label

    def _tested(self) -> list[Row]:
        return [row for row in self.context.students if self._curves[id(row)]]

    def _curve(self, row: Row, kind: str) -> Curve | None:
        return next((curve for curve in self._curves[id(row)] if curve.disturbance == kind), None)

    def group_figures(self) -> list[Figure]:
        """All students, a plot each disturbance; none where nobody was tested."""
        rows = self._tested()
        if not rows:
            return []
        drawn = [row for row in rows if row in self.context.methods] or rows
        kinds = list(dict.fromkeys(curve.disturbance for row in rows for curve in self._curves[id(row)]))
        lines = {
            kind: [*self._range(kind), *(self._line(row, kind, n, False) for n, row in enumerate(drawn))]
            for kind in kinds
        }
        caption = (
            f"Macro-F1 on disturbed test windows, mean over {self.by}s, without retraining. Intervals are drawn "
            f"for each method below, and the numbers stand in a table. {_explain_noise(kinds)}{_method(rows[0])}"
        )
        caption += f" {CAPTION}." if any(self._range(kind) for kind in kinds) else ""
        plots = [self._plot(kind, rows[0], lines[kind]) for kind in kinds]
        chart = line_chart("Robustness", caption, plots, columns=1, width=NARROW, named=True)
        return [self.context.figure("robustness", "Robustness", caption, chart)]

    def row_figures(self, row: Row) -> list[Figure]:
        """One student beside its control, with intervals."""
        curves = self._curves.get(id(row), [])
        if not curves:
            return []
        control = self.context.control_of(row)
        compared = [(row, 0), *([(control, 1)] if control is not None else [])]
        plots = []
        for curve in curves:
            kind = curve.disturbance
            plots.append(self._plot(kind, row, [self._line(other, kind, n, True) for other, n in compared]))
        repeats = max(len(curve.scores) for curve in curves)
        interval = f", mean and 95 % bootstrap interval over {repeats} {self.by}s" if repeats > 1 else ""
        caption = f"Macro-F1 on disturbed test windows{interval}"
        caption += f", beside {control.name}." if control is not None else "."
        caption += f" {_explain_noise([curve.disturbance for curve in curves])}".rstrip()
        chart = line_chart("Robustness", caption, plots, columns=1, width=NARROW, named=True)
        return [self.context.figure(f"{self.context.file_name(row)}-robustness", "Robustness", caption, chart)]

    def tables(self) -> list[Table]:
        """The numbers of the figure: a line a student, a column a level."""
        rows = self._tested()
        if not rows:
            return []
        heads: dict[tuple[str, Any], str] = {}
        lines: list[dict[tuple[str, Any], str]] = []
        for row in rows:
            cells: dict[tuple[str, Any], str] = {}
            for curve in self._curves[id(row)]:
                for n, level in enumerate(curve.levels):
                    clean = level == curve.clean
                    key = ("", 0) if clean else (curve.disturbance, level)
                    heads[key] = "undisturbed" if clean else f"{curve.disturbance} {level}"
                    cells[key] = mean_and_deviation(curve.scores[:, n].tolist())
            lines.append(cells)
        title = f"Robustness: {self.label} on disturbed test windows, mean over {self.by}s ± standard deviation"
        body = [[row.name, *(cells.get(key, "") for key in heads)] for row, cells in zip(rows, lines, strict=True)]
        return [Table(title, ["network", *heads.values()], body)]

    def _line(self, row: Row, kind: str, number: int, with_interval: bool) -> Line | None:
        curve = self._curve(row, kind)
        if curve is None:
            return None
        mean, low, high = curve.interval()
        x = list(range(len(mean))) if curve.named else [float(level) for level in curve.levels]
        drawn = with_interval and len(curve.scores) > 1
        return Line(row.name, number, x, mean, low if drawn else None, high if drawn else None)

    def _range(self, kind: str) -> list[Line]:
        """From the lowest to the highest mean of the controls at each level, without what is a bound."""
        rows = [row for row in self._tested() if row.kind == "control" and row not in self.context.methods]
        lines = [self._line(row, kind, GREY, False) for row in rows if row.base != BOUND and not is_blind(row)]
        known = [line for line in lines if line is not None]
        if not known:
            return []
        alike = [line.y for line in known if line.x == known[0].x]
        low, high = (list(map(end, zip(*alike, strict=True))) for end in (min, max))
        return [Line("controls, lowest to highest mean", GREY, known[0].x, high, low, high, range_only=True)]

    def _plot(self, kind: str, row: Row, lines: Iterable[Line | None]) -> Plot:
        curve = self._curve(row, kind)
        names = [str(level) for level in curve.levels] if curve is not None and curve.named else None
        unit = curve.unit if curve is not None else ""
        drawn = [line for line in lines if line is not None]
        return Plot(DISTURBANCES.get(kind, kind), unit, self.label, drawn, names)


def _method(row: Row) -> str:
    """How the students were tested."""
    for unit in row.members:
        measured = unit.record.measurement("robustness.json") if unit.record is not None else {}
        if measured.get("how"):
            return f"How: {printable(str(measured['how']))}."
    return ""


def _explain_noise(disturbances: Iterable[str]) -> str:
    """What a level of noise means, where there is noise."""
    if "noise" not in disturbances:
        return ""
    return (
        "Noise levels are in units of a channel's whole range in training: even 0.06 can be large beside the signal "
        "itself. "
    )
