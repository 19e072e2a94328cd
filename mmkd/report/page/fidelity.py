"""What students have of their teachers, and whether methods are better than their controls, as tables of the page."""

from collections.abc import Callable, Sequence
from math import isfinite

from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.comparison.verdicts import QUESTIONS
from mmkd.metrics.fidelity import ASYMMETRY, MEASURES, Fidelity
from mmkd.report.fidelity import (
    HEADS,
    asked_rows,
    difference_text,
    excess_text,
    fidelity_cells,
    named_lines,
    samples_text,
    taught_rows,
    value_text,
    verdict_cells,
    verdict_heads,
)
from mmkd.report.page.album import Table
from mmkd.report.page.context import GroupContext

NAMES = {"agreement": "agreement", **{name: measure.label for name, measure in MEASURES.items() if name != "agreement"}}
"""The measures as the tables of one network name them."""


def group_tables(context: GroupContext) -> list[Table]:
    """The fidelity of all students, and whether each is better than the controls; as far as it is known."""
    group = context.group
    tables = []
    taught = taught_rows(group)
    if taught:
        heads = ["network", *(head for head, _, _ in HEADS)]
        body = _body(taught, group, lambda row: fidelity_cells(row.fidelity[0]))
        tables.append(Table("Fidelity: what students have of their teachers, beyond the student alone", heads, body))
    asked = asked_rows(group)
    heads = verdict_heads(asked)
    if heads:
        body = _body(asked, group, lambda row: verdict_cells(row, heads))
        words = [QUESTIONS[head].head for head in heads]
        body = [[name, *(cell.replace(" [", "\n[") for cell in cells)] for name, *cells in body]
        tables.append(Table("Is it the teacher? Whether a method is better than", ["network", *words], body))
    return tables


def _body(rows: Sequence[Row], group: Group, cells: Callable[[Row], Sequence[str]]) -> list[list[str]]:
    """A line a row, the controls below a heading, which has a cell alone."""
    return [[name, *own] for name, own in named_lines(rows, group, cells)]


def row_tables(row: Row, samples: str) -> list[Table]:
    """The fidelity of one row to its teachers together and to each, a table each."""
    return [_measures(fidelity, samples) for fidelity in row.fidelity]


def _measures(fidelity: Fidelity, samples: str) -> Table:
    """Every measure of one fidelity; differences in points where the measure is a share."""
    heads = ["measure", "student", "student alone", "beyond alone", "beyond alone, other seed", "two seeds alone"]
    body = []
    for name in (*MEASURES, ASYMMETRY):
        own, alone, excess = (numbers.get(name) for numbers in (fidelity.own, fidelity.alone, fidelity.excess))
        others = []
        for values, sign in ((fidelity.other_seed, "+"), (fidelity.noise, "")):
            value = values.get(name)
            others.append(difference_text(name, value, sign) if value is not None and isfinite(value) else "")
        label = NAMES.get(name, name)
        cells = [label, value_text(own), value_text(alone), excess_text(name, excess), *others]
        if any(cells[1:]):
            body.append(cells)
    kept = [number for number in range(len(heads)) if any(line[number] for line in body)]
    title = f"Fidelity to {fidelity.teacher}, {samples_text(fidelity, samples)}; differences of shares in points"
    return Table(title, [heads[n] for n in kept], [[line[n] for n in kept] for line in body])
