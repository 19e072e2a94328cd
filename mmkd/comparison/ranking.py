"""Methods over data sets: each against the control, all pairs, ranks; as far as the number of data sets carries it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmkd.comparison.groups import Comparison, Group, Row, common_places
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
    pairs: Sequence[st.Against] | st.Refusal
    diagram: st.Diagram | st.Refusal
    notes: Sequence[str]


def rankings(comparison: Comparison) -> list[Ranking]:
    """One for each task and student, whatever the number of its data sets."""
    students: dict[tuple[str, str], list[Group]] = {}
    for group in comparison.groups:
        students.setdefault((group.task, group.student), []).append(group)
    return [_ranking(f"{task}, {student}", each, comparison.control) for (task, student), each in students.items()]


def _ranking(title: str, groups: Sequence[Group], control: str) -> Ranking:
    notes: list[str] = []
    table = _table(groups, notes)
    if not table:
        none = st.Refusal("no data set is left")
        return Ranking(title, (), None, [], st.smallest_p(0), st.least_data_sets(0), none, none, notes)
    datasets = tuple(dict.fromkeys(name for by_name in table.values() for name in by_name))
    tests, against = _tests(table, control, notes)
    whole = {row: each for row, each in table.items() if len(each) == len(datasets)}
    if len(whole) < len(table):
        left = ", ".join(row for row in table if row not in whole)
        notes.append(f"not on all {len(datasets)} data sets, so in neither pairs nor ranks: {left}")
    scores = _scores(whole, datasets)
    return Ranking(
        title,
        datasets,
        against,
        tests,
        st.smallest_p(len(datasets)),
        st.least_data_sets(len(tests)),
        st.all_pairs(scores) if scores else st.Refusal("no seed that all methods have"),
        st.diagram(scores) if scores else st.Refusal("no seed that all methods have"),
        notes,
    )


def _table(groups: Sequence[Group], notes: list[str]) -> dict[str, dict[str, Row]]:
    """Row name -> data set -> row; what is there twice under other settings is left out."""
    found: dict[str, dict[str, Row]] = {}
    for dataset in dict.fromkeys(group.dataset for group in groups):
        members = [group for group in groups if group.dataset == dataset]
        if len(members) > 1:
            notes.append(f"{dataset} is left out: it was done under {len(members)} settings, which are never mixed")
            continue
        students = [row for row in members[0].rows if row.kind == "student"]
        rows = [row for row in students if members[0].by == "seed" or not row.lacks]
        if len(rows) < len(students):
            left = ", ".join(row.name for row in students if row not in rows)
            notes.append(f"left out on {dataset}, without all its folds: {left}")
        names = [row.everywhere for row in rows]
        for row in rows:
            if names.count(row.everywhere) == 1:
                found.setdefault(row.everywhere, {})[dataset] = row
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            notes.append(f"left out on {dataset}, done there with several sets of teachers: {', '.join(twice)}")
    return found


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
    for name, rows in table.items():
        pairs = [_means(rows[d], table[base][d]) for d in rows if d in table[base]]
        both = [pair for pair in pairs if pair is not None]
        if name != base and both:
            family.append(st.against(name, base, [pair[0] for pair in both], [pair[1] for pair in both]))
    return st.corrected(family), base


def _means(*rows: Row) -> tuple[float, ...] | None:
    """The mean score of each row over the seeds, or folds, that all of them have; None where there is none."""
    places = common_places(*rows)
    return tuple(float(np.mean([row.units[p].metrics[row.score] for p in places])) for row in rows) if places else None


def _scores(whole: Mapping[str, Mapping[str, Row]], datasets: Sequence[str]) -> dict[str, Any]:
    """Row name -> its score on each data set, of the seeds that all rows have there; empty where one has none."""
    columns = [_means(*[rows[dataset] for rows in whole.values()]) if whole else None for dataset in datasets]
    there = [column for column in columns if column is not None]
    if len(there) < len(datasets) or not there:
        return {}
    return {name: [column[n] for column in there] for n, name in enumerate(whole)}
