"""Single sets of a regime: the map of changes, the scores, the room that teachers leave, and what networks cost."""

from collections.abc import Sequence

import numpy as np

from mmkd.comparison.gap import t_interval
from mmkd.core.text import capital
from mmkd.metrics.registry import METRICS
from mmkd.results.board.entries import (
    NETWORKS,
    PEERS,
    REFERENCES,
    BoardTable,
    Body,
    Cell,
    Entry,
    Head,
    badges,
    bodies,
    sorted_body,
)
from mmkd.results.board.regime import BoardRegime
from mmkd.results.board.words import POINTS, change_words, count, interval, listed, points, span
from mmkd.results.scores import Case, Row
from mmkd.results.standing import SetChange, best_on

STEPS = (0.005, 0.015, 0.03)
"""Sizes of changes, as shares, from which a cell of the map of changes has its next colour."""


def change_map(regime: BoardRegime) -> BoardTable:
    """The change of each row on each set, as a map of colours with numbers."""
    cases = regime.cases
    decided = regime.decisions.teachable is not None
    heads = []
    for case in cases:
        room = f", room: {room_of(regime, case.dataset)}" if decided else ""
        heads.append(Head(regime.label(case), f"change in points{room}", "higher"))
    order = {name: test.mean for name, test in regime.room.against_student.items()}

    def make(row: Row) -> Entry | None:
        cells = [_map_cell(regime, row, case) for case in cases]
        return Entry(row.name, cells, badges(regime, row), kind=row.kind) if any(cell.text for cell in cells) else None

    found = [
        Body(body.heading, sorted(body.rows, key=lambda entry: -order.get(entry.name, -np.inf)))
        for body in bodies(regime, make, (*NETWORKS, PEERS))
    ]
    kinds = sorted({change.subjects > 0 for change in regime.changes.values()})
    over = {True: "over test subjects and seeds (sets with five test subjects or more)", False: "over seeds"}
    how = [
        "Each cell: mean score minus that of the student alone, paired by seed, in points. Blue is better, orange is "
        f"worse; colours change at {', '.join(f'{POINTS * step:g}' for step in STEPS)} points.",
        f"▲ better and ▼ worse: the 95 % interval leaves out 0. Intervals are "
        f"{' or '.join(over[kind] for kind in kinds)}; the pointer on a cell shows them. "
        "Of so many cells some leave out 0 by chance.",
    ]
    if decided and regime.without_room:
        how.append("Sets with room stand first; those without are behind the line.")
    return BoardTable(f"{regime.name}-map", "Change on each set, in points", "row", heads, found, how)


def _map_cell(regime: BoardRegime, row: Row, case: Case) -> Cell:
    edge = " edge" if regime.without_room and case.dataset == regime.without_room[0] and regime.with_room else ""
    return _coloured(row, case, regime.changes.get((row.name, case)), edge)


def _coloured(row: Row, case: Case, change: SetChange | None, edge: str = "", of_subjects: bool = False) -> Cell:
    """A change with the colour of its size; `of_subjects`: that in which each subject weighs the same."""
    if change is None:
        return Cell("", None, edge.strip())
    mean = change.centre if of_subjects else change.mean
    size = sum(abs(mean) >= step for step in STEPS)
    colour = f"m{'u' if mean > 0 else 'd'}{size}" if size else "m0"
    sign = {"better": "▲ ", "worse": "▼ "}.get(change.answer, "")
    ends = interval(change.low, change.high) if of_subjects else ""
    words = f"{row.name}, {case.dataset}: {change_words(change)}"
    return Cell(f"{sign}{points(mean)}{ends}", mean, f"{colour}{edge}", words)


def subject_table(regime: BoardRegime) -> BoardTable | None:
    """Changes of accuracy over test subjects and seeds; None where no set has five subjects with scores."""
    found = regime.subject_changes
    cases = [case for case in regime.cases if any(place[1] == case for place in found)]
    if not cases:
        return None

    def make(row: Row) -> Entry | None:
        cells = [_coloured(row, case, found.get((row.name, case)), of_subjects=True) for case in cases]
        return Entry(row.name, cells, badges(regime, row), kind=row.kind) if any(cell.text for cell in cells) else None

    heads = []
    for case in cases:
        many = max(change.subjects for (_, other), change in found.items() if other == case)
        heads.append(Head(regime.label(case), f"change of accuracy in points, {many} test subjects", "higher"))
    how = [
        "Each cell: accuracy minus that of the student alone, in points, as the mean over test subjects and seeds, "
        "each subject weighs the same; its 95 % interval is by the pigeonhole bootstrap over both. It says what may "
        "happen with other people, not only with other seeds.",
        "Only sets with five test subjects or more; of single subjects the results have accuracy alone.",
    ]
    title = "Change over test subjects and seeds: accuracy, in points"
    return BoardTable(f"{regime.name}-subjects", title, "row", heads, bodies(regime, make, NETWORKS), how)


def units_table(regime: BoardRegime) -> BoardTable | None:
    """The change of each row on sets that are split by subject, and on the others; None where not both are there."""
    found = regime.by_units
    if not any(own.subject_sets and own.other_sets for own in found.values()):
        return None

    def make(row: Row) -> Entry | None:
        own = found.get(row.name)
        if own is None:
            return None
        least, most = regime.paired_seeds(row)
        cells = [
            Cell(points(own.on_subjects), own.on_subjects),
            Cell(str(own.subject_sets), float(own.subject_sets)),
            Cell(points(own.on_others), own.on_others),
            Cell(str(own.other_sets), float(own.other_sets)),
            Cell(span(least, most), float(most)),
        ]
        return Entry(row.name, cells, badges(regime, row), kind=row.kind)

    heads = [
        Head("split by subject", "mean change over these sets, in points against the student alone", "higher"),
        Head("sets", "that are split by subject", "higher"),
        Head("other sets", "mean change over these sets, in points against the student alone", "higher"),
        Head("sets", "that are not split by subject", "higher"),
        Head("seeds", "on each set, that it has in common with the student alone", "higher"),
    ]
    named = listed([regime.short(name) for name in regime.scores.datasets if name in regime.plan.subject_sets], 20)
    how = [
        f"Split by subject: {named}. The people of their test windows are in no training window, as those who wear a "
        "device later are not. The others have the split of their archive.",
        "Means over few sets, without a test: they show where the mean over all sets comes from, and prove nothing.",
    ]
    rows = [sorted_body(body, 0, "higher") for body in bodies(regime, make, (*NETWORKS, PEERS))]
    return BoardTable(f"{regime.name}-units", "Change by kind of set, in points", "row", heads, rows, how, by=0)


def score_table(regime: BoardRegime) -> BoardTable:
    """The score of every row on each set, teachers and peers too."""
    scores = regime.scores
    metric = METRICS.get(scores.metric)
    rows = [row for row in scores.of("student", "method", "control") if row in regime.compared or row.tuned]
    best = {case: best_on(scores, case, rows) for case in regime.cases}
    better = "lower" if scores.sign < 0 else "higher"
    heads = [
        Head(regime.label(case), f"{metric.label}, mean over seeds ± standard deviation", better)
        for case in regime.cases
    ]

    def make(row: Row) -> Entry | None:
        cells = []
        for case in regime.cases:
            values = list(row.on(case).values())
            name, alike = best[case]
            mark = "best" if row.name == name else "alike" if row.name in alike else ""
            mark = mark if row in rows else ""
            cells.append(_score_cell(values, mark, len(regime.seeds)))
        return Entry(row.name, cells, badges(regime, row), kind=row.kind) if any(cell.text for cell in cells) else None

    how = [
        f"{metric.label} on the test windows, mean over seeds ± standard deviation; (n) where it is of n seeds only. "
        "A first click on a set puts its best on top, within methods, controls, teachers and peers.",
        "Of each set the best of methods and controls is marked, and those whose 95 % interval of the difference to it "
        "holds 0, of rows that have as many seeds as any; nothing is corrected for the number of rows.",
        "Peers and teachers are for reference: they are no students of this size.",
    ]
    title = f"{capital(metric.label)} on each set"
    return BoardTable(
        f"{regime.name}-scores", title, "row", heads, bodies(regime, make, (*NETWORKS, *REFERENCES)), how, True
    )


def _score_cell(values: Sequence[float], mark: str, seeds: int) -> Cell:
    if not values:
        return Cell("")
    text = f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
    return Cell(text + (f" ({len(values)})" if len(values) < seeds else ""), float(np.mean(values)), mark)


def gap_table(regime: BoardRegime) -> BoardTable | None:
    """Each set with its room: the gap of the selection phase, and that on the test windows."""
    student = regime.scores.student
    if student is None:
        return None
    label = METRICS.get(regime.scores.metric).label
    heads = [
        Head("room", "decided in the selection phase", "", False),
        Head(
            "accuracy gap, selection", "best teacher minus student alone on folds of the training part, 90 %", "higher"
        ),
        Head(f"{label} gap, test", "teacher minus student alone on the test windows, 95 % over seeds", "higher"),
        Head("teacher", f"mean {label} on the test windows, of the same seeds", "higher"),
        Head("student alone", f"mean {label} on the test windows, of the same seeds", "higher"),
        Head("which teacher", "of those with most seeds the one with the best mean on the test windows", "", False),
        Head("seeds", "that teacher and student alone have in common", "higher"),
    ]
    rows = []
    for case in regime.cases:
        room = room_of(regime, case.dataset)
        gap = regime.decisions.gaps.get(case.dataset)
        teacher = regime.best_teacher(case)
        chosen = Cell(
            "" if gap is None else f"{points(gap.mean)}{interval(gap.low, gap.high)}", None if gap is None else gap.mean
        )
        cells = [Cell(room, room), chosen, *_test_gap(regime, teacher, student, case)]
        rows.append(Entry(regime.label(case), cells))
    how = [
        "room: whether the gap of the selection phase is two points or more, with a 90 % lower bound above 0; decided "
        "by a rule that was fixed before any method ran, and never from test windows.",
        f"The gap of the selection phase is of accuracy, as its rule has it; all else here is {label} on the test "
        "windows, of one teacher and of the seeds that it has in common with the student alone: teacher minus student "
        "is the gap. It decides nothing.",
    ]
    return BoardTable(
        f"{regime.name}-gaps", f"Teachers and room on each set, {label}", "set", heads, [Body("", rows)], how
    )


def room_of(regime: BoardRegime, dataset: str) -> str:
    """`yes`, `no` or `not decided`."""
    if regime.decisions.teachable is None or dataset in regime.undecided:
        return "not decided"
    return "yes" if dataset in regime.with_room else "no"


def _test_gap(regime: BoardRegime, teacher: Row | None, student: Row, case: Case) -> list[Cell]:
    """Gap, teacher and student on the test windows, all of the seeds that both have; the teacher, and these seeds."""
    own, other = (teacher.on(case) if teacher else {}), student.on(case)
    seeds = sorted(own.keys() & other.keys())
    if teacher is None or not seeds:
        alone = student.mean(case)
        return [Cell(""), Cell(""), Cell("" if alone is None else f"{alone:.3f}", alone), Cell("", ""), Cell("")]
    differences = [regime.scores.sign * (own[seed] - other[seed]) for seed in seeds]
    means = [float(np.mean([scores[seed] for seed in seeds])) for scores in (own, other)]
    gap = float(np.mean(differences))
    return [
        Cell(f"{points(gap)}{interval(*t_interval(differences, 0.95))}", gap),
        *(Cell(f"{mean:.3f}", mean) for mean in means),
        Cell(teacher.name, teacher.name),
        Cell(str(len(seeds)), float(len(seeds))),
    ]


COSTS = (
    ("parameters", "parameters", 1, "of the network", ",.0f"),
    ("macs", "MACs", 1, "multiply-accumulates of one window", ",.0f"),
    ("latency_ms", "latency, ms", 1, "of one window, median, its views included", ".2f"),
    ("bytes", "size, kB", 1000, "of the weights on disk, in thousands of bytes", ",.1f"),
    ("seconds", "training, s", 1, "in seconds", ",.1f"),
)
"""Metric, head with its unit, what a value is divided by for it, meaning, and format."""
UNKNOWN = "not measured"


def network_table(regime: BoardRegime) -> BoardTable | None:
    """What the student alone and the best teacher of each set cost; None where nothing is known."""
    found = []
    for case in regime.cases:
        for row, what in ((regime.scores.student, "student"), (regime.best_teacher(case), "teacher")):
            costs = [row.cost(name, case) if row is not None else None for name, *_ in COSTS]
            if any(cost is not None for cost in costs):
                found.append((f"{regime.label(case)}: {what}", costs))
    if not found:
        return None
    kept = [n for n in range(len(COSTS)) if any(costs[n] is not None for _, costs in found)]
    rows = [
        Entry(name, [_cost_cell(costs[n], COSTS[n][2], COSTS[n][4]) for n in kept], kind=name.rpartition(" ")[2])
        for name, costs in found
    ]
    heads = [Head(COSTS[n][1], COSTS[n][3], "lower") for n in kept]
    how = [
        "Medians over seeds. Methods change how a student is trained: their students are deployed at the cost of the "
        "student alone unless the table above says otherwise. What is deployed is measured of students; of teachers "
        f"nothing but their weights and their training is. {count(len(regime.scores.datasets), 'set')}.",
    ]
    return BoardTable(f"{regime.name}-networks", "What the networks cost", "network", heads, [Body("", rows)], how)


def _cost_cell(value: float | None, scale: int, pattern: str) -> Cell:
    return Cell(UNKNOWN, None, "unknown") if value is None else Cell(format(value / scale, pattern), value)
