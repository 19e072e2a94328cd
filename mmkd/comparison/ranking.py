"""Methods over data sets: each against the control, all pairs, ranks; as far as the number of data sets carries it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row, common_repeats
from mmkd.core.refusal import Refusal
from mmkd.metrics import pairs as st


@dataclass(frozen=True)
class Ranking:
    """What can be said over the data sets on which one student was trained.

    Attributes:
        control: the row that `tests` are against; None where there is none.
        tests: each other row against the control, by data set; p adjusted by Holm over them.
        smallest: the smallest p that this number of data sets can reach; `least`: data sets that Holm's correction of
            so many tests needs.
        pairs: every pair of the rows that are on all data sets; diagram: their ranks.
    """

    title: str
    datasets: tuple[str, ...]
    control: str | None
    tests: Sequence[st.Against]
    smallest: float
    least: int
    pairs: Sequence[st.Against] | Refusal
    diagram: st.Diagram | Refusal
    notes: Sequence[str]


def rankings(comparison: Comparison) -> list[Ranking]:
    """One for each task and student, whatever the number of its data sets."""
    by_student: dict[tuple[str, str], list[Group]] = {}
    for group in comparison.groups:
        by_student.setdefault((group.task, group.student), []).append(group)
    return [_rank(f"{task}, {student}", groups, comparison.control) for (task, student), groups in by_student.items()]


def _rank(title: str, groups: Sequence[Group], control: str) -> Ranking:
    notes: list[str] = []
    table = _rows_by_data_set(groups, notes)
    if not table:
        none = Refusal("no data set is left")
        return Ranking(title, (), None, [], st.smallest_p(0), st.least_data_sets(0), none, none, notes)
    datasets = tuple(dict.fromkeys(name for by_name in table.values() for name in by_name))
    tests, base = _tests(table, control, notes)
    controls = [name for name, rows in table.items() if next(iter(rows.values())).kind == "control"]
    if controls:
        notes.append(f"controls, neither tested nor ranked: {', '.join(controls)}")
    table = {name: rows for name, rows in table.items() if name not in controls}
    complete = {name: rows for name, rows in table.items() if len(rows) == len(datasets)}
    if len(complete) < len(table):
        partial = ", ".join(name for name in table if name not in complete)
        notes.append(f"not on all {len(datasets)} data sets, so in neither pairs nor ranks: {partial}")
    scores = _scores(complete, datasets)
    no_seed = Refusal("no seed that all methods have")
    return Ranking(
        title=title,
        datasets=datasets,
        control=base,
        tests=tests,
        smallest=st.smallest_p(len(datasets)),
        least=st.least_data_sets(len(tests)),
        pairs=st.all_pairs(scores) if scores else no_seed,
        diagram=st.diagram(scores) if scores else no_seed,
        notes=notes,
    )


def _rows_by_data_set(groups: Sequence[Group], notes: list[str]) -> dict[str, dict[str, Row]]:
    """Variant of a method -> data set -> row; what is there twice under other settings is left out."""
    table: dict[str, dict[str, Row]] = {}
    for dataset in dict.fromkeys(group.dataset for group in groups):
        members = [group for group in groups if group.dataset == dataset]
        if len(members) > 1:
            notes.append(f"{dataset} is left out: it was done under {len(members)} settings, which are never mixed")
            continue
        students = [row for row in members[0].rows if row.is_student]
        rows = [row for row in students if members[0].by == "seed" or not row.incomplete]
        if len(rows) < len(students):
            partial = ", ".join(row.name for row in students if row not in rows)
            notes.append(f"left out on {dataset}, without all its folds: {partial}")
        names = [row.variant for row in rows]
        for row in rows:
            if names.count(row.variant) == 1:
                table.setdefault(row.variant, {})[dataset] = row
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            notes.append(f"left out on {dataset}, done there with several sets of teachers: {', '.join(doubled)}")
    return table


def _tests(
    table: Mapping[str, Mapping[str, Row]], control: str, notes: list[str]
) -> tuple[list[st.Against], str | None]:
    """Each row against the control, on the data sets and seeds that both have; and the control's name."""
    controls = [name for name, rows in table.items() if next(iter(rows.values())).base == control]
    if not controls:
        notes.append(f"no unit of {control!r}: no method is tested against it")
        return [], None
    base = max(controls, key=lambda name: len(table[name]))
    if len(controls) > 1:
        notes.append(f"the control is {base}, of {len(controls)} rows of {control!r}")
    family = []
    methods = {name: rows for name, rows in table.items() if next(iter(rows.values())).kind != "control"}
    for name, rows in methods.items():
        means = [_means(rows[dataset], table[base][dataset]) for dataset in rows if dataset in table[base]]
        pairs = [pair for pair in means if pair is not None]
        if name != base and pairs:
            family.append(st.against(name, base, [pair[0] for pair in pairs], [pair[1] for pair in pairs]))
    return st.corrected(family), base


def _means(*rows: Row) -> tuple[float, ...] | None:
    """The mean score of each row over the seeds, or folds, that all of them have; None where there is none."""
    repeats = common_repeats(*rows)
    return tuple(float(np.mean(row.scores(repeats))) for row in rows) if repeats else None


def _scores(complete: Mapping[str, Mapping[str, Row]], datasets: Sequence[str]) -> dict[str, Any]:
    """Row name -> its score on each data set, of the seeds that all rows have there; empty where one has none."""
    if not complete:
        return {}
    columns = []
    for dataset in datasets:
        means = _means(*[rows[dataset] for rows in complete.values()])
        if means is None:
            return {}
        columns.append(means)
    return {name: [column[number] for column in columns] for number, name in enumerate(complete)}
