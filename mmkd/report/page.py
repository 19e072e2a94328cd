"""The comparison as one HTML page with its figures, and each figure as a file of its own.

The page asks for nothing: style, script and pictures are in it, and its content security policy names them by their
hashes. Every text goes through jinja2's escaping, every figure through ElementTree's.

What others may hold on to: `section#group-N` with `table[data-table=N]`, `input[data-filter=N]`,
`output[data-shown=N]` and `button[data-open=N]`; heads are `th[aria-sort]` with a button, cells have `data-value` (""
where nothing is known); `details#method-N-NAME` and `details#teacher-N-NAME`, each with `data-group=N`; `figure` with
`svg[role=img]`, which has a `title`; `#cost`, `#statistics`, `#left-out`, `#reproducibility`. A first click on a column
of numbers sorts downwards, on the names upwards; a second turns it round.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mmkd import __version__
from mmkd.comparison import evidence as details
from mmkd.comparison.groups import FOLDS_SHARE, STUDENT_ONLY, WORDS, Comparison, Group, Row, Unit, common_places
from mmkd.comparison.identity import as_key, flat
from mmkd.comparison.ranking import Ranking
from mmkd.core.registry import group_of, kind_of
from mmkd.core.text import printable, shorten, slug
from mmkd.drawing.changes import Change, change_chart
from mmkd.drawing.confusion import confusion_chart, reliability_chart
from mmkd.drawing.cost import Point, cost_chart
from mmkd.drawing.images import heatmap_grid, strips
from mmkd.drawing.lines import Line, Plot, line_chart, thin_epochs
from mmkd.drawing.ranks import rank_chart
from mmkd.drawing.scales import value_range
from mmkd.drawing.style import DARK, LIGHT, css
from mmkd.drawing.svg import inline, standalone
from mmkd.drawing.views import upright, views_chart
from mmkd.metrics import pairs as st
from mmkd.report.files import FIGURES
from mmkd.report.table import mean_and_deviation
from mmkd.report.text import (
    POINTS,
    columns,
    legend,
    notes,
    ranking_lines,
    row_name,
    seed_list,
    seeds_said,
    values_of,
    values_said,
)
from mmkd.store.record import Record

WEB = Path(__file__).parent / "web"
SOFT = {"light": "#f1f3f5", "dark": "#20252b"}  # behind what is pointed at
TRAINED = ("teacher", "student")  # rows that are networks, with records of their own
CURVES_SHOWN = 8  # learning curves of one network in one picture
CURVES = {
    "noise": "noise",
    "missing": "missing segments",
    "dead-channel": "one channel dead",
    "shift": "shift in time",
}


@dataclass(frozen=True)
class Figure:
    """One figure of the page; `svg` is markup."""

    id: str
    title: str
    caption: str
    svg: Any


@dataclass
class Album:
    """The figures of a page, and their files: path below the folder of the report -> SVG; and an index of them."""

    files: dict[str, str] = field(default_factory=dict)
    index: dict[str, dict[str, str]] = field(default_factory=dict)

    def figure(self, folder: str, name: str, title: str, caption: str, chart: ET.Element) -> Figure:
        from markupsafe import Markup

        path = f"figures/{folder}/{name}.svg"
        text = self.files[path] = standalone(chart)
        self.index[path] = {"title": title, "caption": caption, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        return Figure(f"{folder}-{name}", title, caption, Markup(inline(chart)))


@dataclass(frozen=True)
class Table:
    """A plain table: the first cell of a row is its head."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def page_files(
    comparison: Comparison,
    found: Sequence[Ranking],
    facts: Mapping[str, Any],
    said: Sequence[str],
    windows: bool = True,
) -> dict[str, str]:
    """`report.html`, and the figures below `figures/`.

    Args:
        facts: what `export.reproducibility` gives.
        said: notes on files that could not be made.
        windows: whether the measured values of a window may be shown.
    """
    album, lost = Album(), dict.fromkeys(said)
    groups = [
        _Section(number, group, comparison.control, album, windows) for number, group in enumerate(comparison.groups, 1)
    ]
    shown = [section.context() for section in groups]
    lost |= dict.fromkeys(note for section in groups for note in section.lost)
    costs = _costs(comparison, album)
    context = {
        "title": _title(comparison),
        "lead": _lead(comparison),
        "sections": _sections(comparison, bool(costs)),
        "groups": shown,
        "costs": costs,
        "statistics": [_statistics(n, each, album) for n, each in enumerate(found, 1)],
        "left_out": [
            *(f"failed: {key}: {why}" for key, why in facts["failed"].items()),
            *comparison.left_out,
            *lost,
        ],
        "reproducibility": _reproducibility(facts),
        "legend": legend(comparison),
        "version": __version__,
    }
    return {"report.html": _render(context), **album.files, FIGURES: json.dumps(album.index, indent=1) + "\n"}


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    style = f"{_colours()}\n{(WEB / 'page.css').read_text(encoding='utf-8')}{css()}\n"
    script = (WEB / "page.js").read_text(encoding="utf-8")
    engine = Environment(
        loader=FileSystemLoader(WEB),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    fixed = {"style": Markup(style), "script": Markup(script), "style_hash": _hash(style), "script_hash": _hash(script)}
    return engine.get_template("page.html").render({**context, **fixed}) + "\n"


def _hash(text: str) -> str:
    """As a content security policy names a text."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _colours() -> str:
    """The colours of both schemes; paper is always light."""

    def rule(scheme: Mapping[str, str], soft: str) -> str:
        return ":root{" + ";".join(f"--{name}:{value}" for name, value in {**scheme, "soft": soft}.items()) + "}"

    dark = rule(DARK, SOFT["dark"])
    return f"{rule(LIGHT, SOFT['light'])}\n@media screen and (prefers-color-scheme:dark){{{dark}}}"


def _title(comparison: Comparison) -> str:
    names = list(dict.fromkeys(group.dataset for group in comparison.groups))
    return shorten(f"Comparison on {', '.join(names)}", 120)


def _lead(comparison: Comparison) -> str:
    students = [row for group in comparison.groups for row in group.rows if row.kind == "student"]
    units = sum(len(row.members) for row in students)
    methods = len({row.base for row in students})
    seeds = seeds_said(sorted({seed for group in comparison.groups for seed in group.seeds}))
    return (
        f"{_count(units, 'student')} on record, trained by {_count(methods, 'method')} under {seeds}, in "
        f"{_count(len(comparison.groups), 'group')} whose units may be compared. All scores are of test windows."
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _sections(comparison: Comparison, costs: bool) -> list[tuple[str, str]]:
    found = [(f"group-{n}", group.title) for n, group in enumerate(comparison.groups, 1)]
    found += [("cost", "Score and cost")] if costs else []
    return [
        *found,
        ("statistics", "Over data sets"),
        ("left-out", "Failed and left out"),
        ("reproducibility", "To make these numbers again"),
    ]


# A group --------------------------------------------------------------------------------------------------------------


class _Section:
    """What the page shows of one group; `lost` are notes on what could not be read."""

    def __init__(self, number: int, group: Group, control: str, album: Album, windows: bool) -> None:
        self.number, self.group, self.control, self.album = number, group, control, album
        self.windows = windows
        self.folder = slug(group.title)
        self.lost: list[str] = []
        self.students = [row for row in group.rows if row.kind == "student"]
        self.curves = {id(row): details.robustness(row, self.lost) for row in self.students}

    def context(self) -> dict[str, Any]:
        group = self.group
        maps = self._maps()
        return {
            "number": self.number,
            "title": group.title,
            "lead": self._lead(),
            "columns": columns([group], self.control),
            "rows": self._rows(),
            "notes": notes(group),
            "figures": [*self._changes(), *self._robustness(), *maps],
            "tables": self._robustness_table(),
            "details": [self._details(row) for row in group.rows if row.kind in TRAINED],
        }

    def _lead(self) -> str:
        places = self.group.places
        whole = [row for row in self.students if len(row.units) == len(places)] or self.students
        score, word = self.group.score, WORDS[self.group.score]
        best = max(whole, key=lambda row: float(np.mean(row.values(score))))
        text = f"{values_said(self.group).capitalize()}. The highest mean {word} of a student is "
        text += f"{mean_and_deviation(best.values(score))} ({best.name})"
        alone = next((row for row in self.students if row.base == STUDENT_ONLY), None)
        return text + (
            f"; the student alone has {mean_and_deviation(alone.values(score))}." if alone not in (None, best) else "."
        )

    def _rows(self) -> list[dict[str, Any]]:
        shown = columns([self.group], self.control)
        before, found = self.group.rows[0].kind, []
        for row in self.group.rows:
            cells = [{"text": column.text(row), "value": _sortable(column.value(row))} for column in shown]
            found.append(
                {
                    "name": row_name(row, self.group),
                    "kind": row.kind,
                    "first": row.kind != before,
                    "link": self._id(row) if row.kind in TRAINED else "",
                    "cells": cells,
                }
            )
            before = row.kind
        return found

    def _id(self, row: Row) -> str:
        return f"{'teacher' if row.kind == 'teacher' else 'method'}-{self.number}-{slug(row.name)}"

    def _figure(self, name: str, title: str, caption: str, chart: ET.Element) -> Figure:
        return self.album.figure(self.folder, name, title, caption, chart)

    # Changes and robustness

    def _control(self, row: Row) -> Row | None:
        return next((other for other in self.students if other.name == row.control), None)

    def _changes(self) -> list[Figure]:
        found = []
        for row in self.students:
            control = self._control(row)
            if control is None or not isinstance(row.change, st.Paired):
                continue
            each = [
                POINTS * (row.units[p].metrics[row.score] - control.units[p].metrics[row.score])
                for p in common_places(row, control)
            ]
            low, high = (None if end is None else POINTS * end for end in (row.change.low, row.change.high))
            found.append(Change(row.name, POINTS * row.change.mean, low, high, each))
        if not found:
            return []
        found.sort(key=lambda change: -change.mean)
        title = f"Change against {'the student alone' if self.control == STUDENT_ONLY else shorten(self.control, 40)}"
        few = max(len(change.values) for change in found)
        by = self.group.by
        word = WORDS[self.group.score]
        caption = f"{word[0].upper()}{word[1:]} in points, paired by {by}"
        caption += f": mean (diamond), 95 % bootstrap interval (line), {by}s (rings)." if few > 1 else f", of one {by}."
        caption += f" Of {few} {by}s the interval is at most their range, and too narrow." if 1 < few < 6 else ""
        caption += f" {FOLDS_SHARE.capitalize()}: intervals are too narrow." if by == "fold" else ""
        chart = change_chart(title, f"{len(found)} rows; {caption}", found, f"change of {word} in points")
        return [self._figure("change", title, caption, chart)]

    def _robustness(self) -> list[Figure]:
        rows = [row for row in self.students if self.curves[id(row)]]
        kinds = list(dict.fromkeys(curve.disturbance for row in rows for curve in self.curves[id(row)]))
        if not rows:
            return []
        lines = {kind: [self._line(row, kind, n, False) for n, row in enumerate(rows)] for kind in kinds}
        caption = (
            f"Macro-F1 on disturbed test windows, mean over {self.group.by}s, without retraining. Intervals are drawn "
            f"for each method below, and the numbers stand in a table. {_noise(kinds)}{self._how(rows[0])}"
        )
        title = "Robustness"
        chart = line_chart(title, caption, [self._plot(kind, rows[0], lines[kind]) for kind in kinds])
        return [self._figure("robustness", title, caption, chart)]

    @staticmethod
    def _how(row: Row) -> str:
        for unit in row.members:
            said = unit.record.measurement("robustness.json") if unit.record is not None else {}
            if said.get("how"):
                return f"How: {printable(str(said['how']))}."
        return ""

    def _curve(self, row: Row, kind: str) -> details.Curve | None:
        return next((curve for curve in self.curves[id(row)] if curve.disturbance == kind), None)

    def _line(self, row: Row, kind: str, number: int, ends: bool) -> Line | None:
        curve = self._curve(row, kind)
        if curve is None:
            return None
        mean, low, high = details.interval(curve.scores)
        x = list(range(len(mean))) if curve.named else [float(level) for level in curve.levels]
        wanted = ends and len(curve.scores) > 1
        return Line(row.name, number, x, mean, low if wanted else None, high if wanted else None)

    def _plot(self, kind: str, row: Row, lines: Iterable[Line | None]) -> Plot:
        curve = self._curve(row, kind)
        there = [line for line in lines if line is not None]
        names = [str(level) for level in curve.levels] if curve is not None and curve.named else None
        unit = curve.unit if curve is not None else ""
        return Plot(CURVES.get(kind, kind), unit, "macro-F1", there, names)

    def _own_robustness(self, row: Row, name: str) -> list[Figure]:
        curves = self.curves.get(id(row), [])
        if not curves:
            return []
        control = self._control(row)
        pairs = [(row, 0), *([(control, 1)] if control is not None else [])]
        given = [
            self._plot(c.disturbance, row, [self._line(each, c.disturbance, n, True) for each, n in pairs])
            for c in curves
        ]
        seeds = max(len(curve.scores) for curve in curves)
        said = f", mean and 95 % bootstrap interval over {seeds} {self.group.by}s" if seeds > 1 else ""
        caption = f"Macro-F1 on disturbed test windows{said}"
        caption += f", beside {control.name}." if control is not None else "."
        caption += f" {_noise([curve.disturbance for curve in curves])}".rstrip()
        chart = line_chart("Robustness", caption, given)
        return [self._figure(f"{name}-robustness", "Robustness", caption, chart)]

    def _robustness_table(self) -> list[Table]:
        rows = [row for row in self.students if self.curves[id(row)]]
        heads: dict[tuple[str, Any], str] = {}
        for row in rows:
            for curve in self.curves[id(row)]:
                undisturbed = "none" if curve.named else 0
                for level in curve.levels:
                    shown = f"{curve.disturbance} {level}" if level != undisturbed else "undisturbed"
                    heads[("", 0) if shown == "undisturbed" else (curve.disturbance, level)] = shown
        if not rows:
            return []
        lines = []
        for row in rows:
            cells: dict[tuple[str, Any], str] = {}
            for curve in self.curves[id(row)]:
                for n, level in enumerate(curve.levels):
                    clean = level == ("none" if curve.named else 0)
                    cells[("", 0) if clean else (curve.disturbance, level)] = mean_and_deviation(
                        curve.scores[:, n].tolist()
                    )
            lines.append([row.name, *(cells.get(head, "") for head in heads)])
        title = f"Robustness: macro-F1 on disturbed test windows, mean over {self.group.by}s ± standard deviation"
        return [Table(title, ["network", *heads.values()], lines)]

    # Maps

    def _maps(self) -> list[Figure]:
        """The views of one window, and what teachers and students make of it and of a batch."""
        found: list[tuple[Row, details.Maps]] = []
        for seed, fold in sorted({(unit.seed, unit.fold) for row in self.students for unit in row.members}):
            units = [(row, unit) for row in self.students for unit in row.members]
            records = [(row, unit.record) for row, unit in units if (unit.seed, unit.fold) == (seed, fold)]
            there = [(row, details.maps(record, self.lost)) for row, record in records if record is not None]
            found = [(row, maps) for row, maps in there if maps is not None]
            if found:
                break
        if not found:
            return []
        usual, _ = Counter((maps.index, maps.label) for _, maps in found).most_common(1)[0]
        most = [each for each in found if (each[1].index, each[1].label) == usual]
        first_row, first = max(most, key=lambda each: (len(each[1].window), len(each[1].similarity)))
        record = next(unit.record for unit in first_row.members if unit.record is not None)
        classes = details.class_names(record)
        label = classes[first.label] if 0 <= first.label < len(classes) else f"class {first.label}"
        what = f"window {first.index} of the validation part, {label}"
        channels = _channel_names(record, first.window)
        return [
            *(self._views(first, what, channels) if self.windows else ()),
            *self._similarities(found, first),
            *self._cams(found, first, what),
        ]

    def _views(self, first: details.Maps, what: str, channels: Mapping[str, Sequence[str]]) -> list[Figure]:
        title = f"One window in {_count(len(first.window), 'view')}"
        caption = f"{what}: {', '.join(first.window)}, channel by channel, as the networks see it."
        if any(kind_of(name) == "pi" for name in first.window):
            caption += " In pi, birth goes to the right and persistence up."
        return [self._figure("views", title, caption, views_chart(title, caption, first.window, channels))]

    def _similarities(self, found: Sequence[tuple[Row, details.Maps]], first: details.Maps) -> list[Figure]:
        teachers = [(f"teacher {name}", array) for name, array in details.networks(first.similarity, "teacher")]
        own = [
            (row.name, array)
            for row, maps in found
            if maps.same_batch(first)
            for _, array in details.networks(maps.similarity, "student")
        ]
        panels = [*teachers, *own]
        if not panels:
            return []
        ends = [value_range(array) for _, array in panels]
        span = min(low for low, _ in ends), max(high for _, high in ends)
        title = "Who is alike"
        caption = (
            f"Cosine similarity of the embeddings of {len(panels[0][1])} validation windows, sorted by class: blocks "
            "on the diagonal are classes that a network holds together. Teachers first."
        )
        chart = heatmap_grid(title, caption, panels, span)
        return [self._figure("similarity", title, caption, chart)]

    def _cams(self, found: Sequence[tuple[Row, details.Maps]], first: details.Maps, what: str) -> list[Figure]:
        figures = []
        for modality, view in first.window.items():
            panels = [
                (f"teacher {name}", array) for name, array in details.networks(first.cam, "teacher") if name == modality
            ]
            panels += [
                (row.name, array)
                for row, maps in found
                if maps.same_window(first)
                for name, array in details.networks(maps.cam, "student")
                if name == modality
            ]
            panels = [(name, array) for name, array in panels if array.shape == view.shape[1:]]
            if not panels:
                continue
            title = f"Where they look: {modality}"
            caption = f"Grad-CAM of the true class, scaled to [0, 1], on {what}. Bright speaks for the class."
            if view.ndim == 2:
                chart = strips(title, caption, view if self.windows else None, panels, (0, 1))
            else:
                turned = [(name, upright(modality, array)) for name, array in panels]
                chart = heatmap_grid(title, caption, turned, (0, 1))
            figures.append(self._figure(f"cam-{slug(modality)}", title, caption, chart))
        return figures

    # One network

    def _details(self, row: Row) -> dict[str, Any]:
        name = self._id(row).replace(f"-{self.number}-", "-", 1)
        tested = details.tested(row, self.lost) if self.group.task != "anomaly" else None
        figures = [*self._learning(row, name), *self._tested(row, tested, name), *self._own_robustness(row, name)]
        records = [unit.record for unit in row.members if unit.record is not None]
        facts = [
            ("Options", [(key, _text(value)) for key, value in flat(row.settings).items()]),
            ("Units", [(self.group.label(unit), f"{unit.key}, {unit.metrics[row.score]:.4f}") for unit in row.members]),
        ]
        costs = next((cost for record in records if (cost := details.deployment(record))), None)
        if costs:
            facts.append(("Deployed", list(costs.items())))
        return {
            "id": self._id(row),
            "name": row_name(row, self.group),
            "score": f"{WORDS[row.score]} {mean_and_deviation(row.values(row.score))}",
            "figures": figures,
            "tables": [_class_table(tested, self._units_said)] if tested is not None else [],
            "facts": [(head, pairs) for head, pairs in facts if pairs],
        }

    @property
    def _units_said(self) -> str:
        return "seeds and folds" if self.group.folds else "seeds"

    def _short(self, unit: Unit) -> str:
        """A unit as a legend names it."""
        label = self.group.label(unit)
        return label.partition(", ")[2] if self.group.by == "fold" else label

    def _learning(self, row: Row, name: str) -> list[Figure]:
        losses: list[Line] = []
        scores: list[Line] = []
        shown = row.members[:CURVES_SHOWN]
        for n, unit in enumerate(shown):
            epochs = details.history(unit.record, self.lost) if unit.record is not None else []
            if not epochs or unit.record is None:
                continue
            best = unit.record.result.get("best_epoch")
            drawn = thin_epochs(epochs, best)
            x = [each["epoch"] for each in drawn]
            kept = [i for i, epoch in enumerate(x) if epoch == best] if len(x) > 2 else None
            for key, lines in (("loss", losses), ("val_macro_f1", scores)):
                if all(key in each for each in drawn):
                    lines.append(Line(self._short(unit), n, x, [each[key] for each in drawn], marks=kept))
        given = [
            *([Plot("training loss", "epoch", "loss", losses, integer=True)] if losses else []),
            *([Plot("validation", "epoch", "macro-F1", scores, integer=True)] if scores else []),
        ]
        if not given:
            return []
        caption = "Loss summed over its terms, and macro-F1 on the validation part. A marker stands at the kept epoch."
        if len(shown) < len(row.members):
            caption += f" The first {len(shown)} of {len(row.members)} units."
        chart = line_chart("Learning curves", f"{row.name}: {caption}", given)
        return [self._figure(f"{name}-learning", "Learning curves", caption, chart)]

    def _tested(self, row: Row, tested: details.Tested | None, name: str) -> list[Figure]:
        if tested is None:
            return []
        units = _count(len(tested.counts), "unit" if self.group.folds else "seed")
        thing = "windows" if self.group.task == "classification" else "labelled steps"
        caption = (
            f"Test {thing} of {units}{', added up' * (len(tested.counts) > 1)}; shade is the share of the true class."
        )
        chart = confusion_chart("Confusion", f"{row.name}: {caption}", tested.counts.sum(0), tested.classes)
        found = [self._figure(f"{name}-confusion", "Confusion", caption, chart)]
        if tested.reliability is not None:
            error = tested.reliability.error
            several = (
                f"{mean_and_deviation(row.values('ece'))} over {self.group.by}s, {error:.3f} of their windows together"
            )
            caption = f"ECE {several if len(tested.counts) > 1 else f'{error:.3f}'}. Bars: accuracy in 15 bins of "
            caption += "confidence; line in each bar: mean confidence; below: share of windows."
            chart = reliability_chart(
                "Reliability",
                f"{row.name}: {caption}",
                share=tested.reliability.share,
                confidence=tested.reliability.confidence,
                accuracy=tested.reliability.accuracy,
            )
            found.append(self._figure(f"{name}-reliability", "Reliability", caption, chart))
        return found


def _channel_names(record: Record, window: Mapping[str, NDArray[Any]]) -> dict[str, list[str]]:
    """View -> the names of its channels: all of the data set, or those of its group; numbers if they have no name."""
    names = [shorten(str(channel), 40) for channel in (record.result.get("data") or {}).get("channels") or []]
    views = record.unit.views
    channels = {}
    for view in window:
        numbers = list(range(len(names)))
        if group_of(view):
            numbers = views.get(view, {}).get("channels") or []
        if not numbers:
            same_group = [len(array) for other, array in window.items() if group_of(other) == group_of(view)]
            numbers = list(range(min(same_group)))
        channels[view] = [names[n] if n < len(names) else f"channel {n + 1}" for n in numbers]
    return channels


def _noise(disturbances: Iterable[str]) -> str:
    """What a level of noise means, where there is noise."""
    if "noise" not in disturbances:
        return ""
    return (
        "Noise levels are in units of a channel's whole range in training: even 0.06 can be large beside the signal "
        "itself. "
    )


def _sortable(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _text(value: Any) -> str:
    """A setting as a reader sees it."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return shorten(", ".join(value), 400)
    return shorten(value if isinstance(value, str) else json.dumps(value, default=str)) or "none"


def _class_table(tested: details.Tested, over: str) -> Table:
    rows = []
    for each in details.class_scores(tested):
        scores = ["none" if v is None else f"{v:.3f}" for v in (each.precision, each.recall, each.f1)]
        rows.append([each.name, *scores, f"{each.support:,.0f}"])
    return Table(f"Class by class, means over {over}", ["class", "precision", "recall", "F1", "windows"], rows)


# Cost -----------------------------------------------------------------------------------------------------------------


def _costs(comparison: Comparison, album: Album) -> list[Figure]:
    """Score against parameters, and MACs and latency where they were measured, a figure each data set."""
    by_data: dict[str, list[Group]] = {}
    for group in comparison.groups:
        by_data.setdefault(as_key([group.task, group.settings["data"]]), []).append(group)
    figures = []
    for number, groups in enumerate(by_data.values(), 1):
        folder = f"cost-{number}-{slug(groups[0].dataset)}"
        for metric, label in (("parameters", "parameters"), ("macs", "MACs"), ("latency_ms", "latency in ms")):
            names, points = _points(groups, metric)
            if len(points) < 2 or len({point.cost for point in points}) < 2:
                continue
            score = WORDS[groups[0].score]
            title = f"{groups[0].dataset}: {score} against {label}"
            caption = (
                f"{len(points)} networks, means over {values_of(groups)}, bars ± a standard deviation. The broken line "
                "is the Pareto front of the means; its networks are named where there is room, all where the pointer "
                "rests. A hollow marker is a student alone."
            )
            chart = cost_chart(title, caption, points, label, score, names)
            figures.append(album.figure(folder, slug(metric), title, caption, chart))
    return figures


def _points(groups: Sequence[Group], metric: str) -> tuple[list[str], list[Point]]:
    """The networks whose cost is known, teachers once; and the names of their series, a number each."""
    students = [group.title.removeprefix(group.dataset).lstrip(", ") for group in groups]
    found, seen = [], set()
    for number, group in enumerate(groups):
        for row in group.rows:
            keys = tuple(unit.key for unit in row.members)
            costs, scores = row.values(metric), row.values(row.score)
            if row.kind not in TRAINED or not costs or not scores or keys in seen:
                continue
            seen.add(keys)
            teacher, alone = row.kind == "teacher", row.base == STUDENT_ONLY
            deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
            point = Point(
                f"teacher {row.name}" if teacher else row.name,
                float(np.mean(costs)),
                float(np.mean(scores)),
                len(groups) if teacher else number,
                deviation,
                alone and not teacher,
                alone and not teacher,
            )
            found.append(point)
    used = sorted({point.number for point in found})
    renumbered = [Point(p.name, p.cost, p.score, used.index(p.number), p.spread, p.hollow, p.labelled) for p in found]
    return [[*students, "teachers"][n] for n in used], renumbered


# Statistics -----------------------------------------------------------------------------------------------------------


def _statistics(number: int, found: Ranking, album: Album) -> dict[str, Any]:
    figures = []
    if isinstance(found.diagram, st.Diagram):
        title = "Critical difference"
        caption = (
            f"Mean ranks over {found.diagram.n} data sets, 1 is best; methods under one bar are not told apart "
            f"(Nemenyi, 0.05). Friedman p {found.diagram.p:.3g}."
        )
        chart = rank_chart(
            title,
            caption,
            ranks=found.diagram.ranks,
            difference=found.diagram.difference,
            cliques=found.diagram.cliques,
        )
        figures.append(
            album.figure(f"ranks-{number}-{slug(found.title)}", "critical-difference", title, caption, chart)
        )
    return {
        "title": found.title,
        "lines": [line.strip().replace(f", {found.title}", "", 1) for line in ranking_lines(found)],
        "figures": figures,
        "tables": [] if isinstance(found.pairs, st.Refusal) else [_matrix(found.pairs)],
    }


def _matrix(pairs: Sequence[st.Against]) -> Table:
    """All pairs: the row's method against that of the column."""
    names = list(dict.fromkeys(name for each in pairs for name in (each.first, each.second)))
    cells: dict[tuple[str, str], str] = {}
    for each in pairs:
        p = f"p {each.p_holm:.3g}" if each.p_holm is not None else "not tested"
        cells[each.first, each.second] = f"{POINTS * each.mean:+.1f}, {each.wins}/{each.ties}/{each.losses}, {p}"
        cells[each.second, each.first] = f"{-POINTS * each.mean:+.1f}, {each.losses}/{each.ties}/{each.wins}, {p}"
    rows = [[row, *(cells.get((row, column), "") for column in names)] for row in names]
    title = "All pairs: the row's mean lead in points, data sets won/tied/lost, p after Holm"
    return Table(title, ["", *names], rows)


# Reproducibility ------------------------------------------------------------------------------------------------------


def _reproducibility(facts: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    found: list[tuple[str, list[tuple[str, str]]]] = []
    code = []
    for each in facts["code"]:
        state = ", with changes not committed" if each.get("dirty") else ""
        code.append((_count(each["records"], "record"), f"commit {each.get('commit', 'unknown')}{state}"))
    found.append(("Code", code))
    for head, name in (("Versions", "versions"), ("Machine", "machines")):
        for each in facts[name]:
            rest = {key: value for key, value in each.items() if key != "records"}
            found.append((f"{head}, {_count(each['records'], 'record')}", _pairs(rest)))
    found += [(f"Data: {each['name']}", _pairs(flat(each))) for each in facts["data"]]
    found.append(("Kept epoch", _pairs(facts["epoch_rules"])))
    values = seed_list(facts["seeds"]["values"])
    found.append(("What each seed controls", [("seeds", values), *_pairs(facts["seeds"]["control"])]))
    found.append(("Commands", [(str(n), printable(each)) for n, each in enumerate(facts["commands"], 1)]))
    found += [(f"Settings of {each['title']}", _pairs(each["settings"])) for each in facts["groups"]]
    return [(printable(head), pairs) for head, pairs in found if pairs]


def _pairs(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(printable(str(name)), _text(value)) for name, value in found.items() if value not in (None, "")]
