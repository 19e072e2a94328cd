"""The rows of a regime over its sets: ranks, changes and tests; and tuned rows beside their defaults."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from mmkd.core.refusal import Refusal
from mmkd.metrics.pairs import LEAST_DATA_SETS
from mmkd.results.board.entries import (
    NETWORKS,
    PEERS,
    BoardTable,
    Body,
    Cell,
    Entry,
    Head,
    badges,
    bodies,
    sorted_body,
    without_empty,
)
from mmkd.results.board.regime import BoardRegime
from mmkd.results.board.words import count, interval, listed, p_text, points, rank_seeds, seeds_text, span
from mmkd.results.scores import COMPARED, CostRatio, Row
from mmkd.results.standing import OverSets, Standing, against_all, against_each, changes_by_set


def standing_table(regime: BoardRegime, standing: Standing, which: str, title: str) -> BoardTable:
    """The rows over some sets: ranks, changes, tests, runs and costs.

    Args:
        which: "room", "no-room" or "all", the sets of `standing`.
    """
    ranked = not isinstance(standing.ranks, Refusal)
    seeds = rank_seeds(standing.seeds)
    heads = [
        Head("change", "mean over the sets, in points against the student alone, 95 % over sets", "higher"),
        Head("seeds", "on each set, that it has in common with the student alone", "higher"),
        *([Head("rank", f"mean over the sets, {seeds}, 1 is best, 95 % over sets", "lower")] if ranked else []),
        Head("better", "sets on which it is better than the student alone, by the set's own interval", "higher"),
        Head("worse", "sets on which it is worse", "lower"),
        Head("p alone", "Wilcoxon signed-rank against the student alone, after Holm", "lower"),
        *([Head("vs control", f"in points against {standing.control}", "higher")] if standing.control else []),
        *([Head("p control", f"Wilcoxon against {standing.control}, after Holm", "lower")] if standing.control else []),
        Head("sets", "with a seed in common with the student alone", "higher"),
        Head(
            "training",
            "time of training over that of the student alone, on the same machine, of the same commit",
            "lower",
        ),
        Head("MACs", "over those of the student alone", "lower"),
        Head("latency", "over that of the student alone, on the same machine, of the same commit", "lower"),
    ]
    cases = [case for case in regime.scores.cases if case.dataset in standing.sets] or list(regime.scores.cases)
    sets = {"room": regime.with_room, "no-room": regime.without_room}.get(which, regime.scores.datasets)
    held = regime.scores.find(standing.control) if standing.control else None
    alone, peers = regime.scores.student, regime.scores.of("peer")
    more = against_all(regime.scores, peers, alone, sets)
    more |= against_each(regime.scores, regime.others, alone, sets, standing.against_student)
    more_control = against_all(regime.scores, peers, held, sets)
    more_control |= against_each(regime.scores, regime.others, held, sets, standing.against_control)

    alike = len({test.pair.n for test in (*standing.against_student.values(), *more.values())}) < 2  # the title says it

    def make(row: Row) -> Entry | None:
        test = {**standing.against_student, **more}.get(row.name)
        if test is None and row is not alone:
            return None
        cells = [_change_cell(test, row is alone), _seeds_cell(*regime.paired_seeds(row, sets))]
        if not isinstance(standing.ranks, Refusal):
            rank = standing.ranks.get(row.name)
            text = "" if rank is None else f"{rank.mean:.2f} [{rank.low:.1f}, {rank.high:.1f}]"
            cells.append(Cell(text, None if rank is None else rank.mean))
        cells += _test_cells(test)
        if standing.control:
            against = {**standing.against_control, **more_control}.get(row.name)
            own = None if against is None else against.mean
            cells += [Cell(points(own), own), _p_cell(against)]
        number = 0 if test is None else test.pair.n
        cells.append(Cell("" if alike else str(number or len(cases)), float(number or len(cases))))
        cells += [_ratio(regime.scores.cost_ratio(row, name, cases)) for name in ("seconds", "macs", "latency_ms")]
        mark = "" if row.name not in standing.alike else "best" if row.name == standing.best else "alike"
        return Entry(row.name, cells, badges(regime, row), mark, row.kind)

    how = [
        "change: mean over sets of the score minus that of the student alone under the same seeds, in points; each set "
        "weighs the same. Its interval is a bootstrap over sets: how it might be on other sets like these.",
        *(
            ["Students of a set that few rows have, such as those of another fusion, count for rows without others."]
            if len(regime.scores.usual_cases) < len(regime.scores.cases)
            else []
        ),
        "vs control: the same against the control, by the seeds that both have.",
        "better, worse: on how many sets the set's own 95 % interval leaves out 0.",
        "p: Wilcoxon's signed-rank test over sets, two-sided and exact, after Holm's correction over all rows that are "
        f"tested; there is none below {LEAST_DATA_SETS} sets. "
        "Rows that are tuned, not verified, a bound or with extra data are in no answer and have no rank; p of each is "
        "corrected as if it alone stood among the ranked rows. Peers are a family of their own.",
        "Blank: better and worse where one seed gives no interval, a cost where it was not measured beside that of the "
        "student alone.",
        "training, MACs, latency: times those of the student alone, geometric mean over sets. Times count where both "
        "were measured on one machine, of one commit: behind the number stands of how many sets it is, where these are "
        "not all of the row; of fewer than half there is none.",
    ]
    if ranked:
        how.insert(1, f"rank: mean over sets of the place among all rows that have {seeds}, 1 is best.")
        how += _without_rank(standing)
    notes = []
    if isinstance(standing.told_by, Refusal):
        notes.append(f"No row is marked as the best, or as not told apart from it: {standing.told_by.why}.")
    else:
        asked = "with a rank" if ranked else f"that have {seeds}"
        marked = f"Of the rows {asked} the best one and those that are not told apart from it are marked"
        how.insert(0, f"{marked}; by: {standing.told_by}.")
        if len(standing.alike) > 1:
            notes.append("\u2248: not told apart from the best row, which does not show that it is as good.")
    notes += seeds_notes(regime, sets) if which == "room" or not regime.with_room else []
    unpaired = [
        row.name
        for row in regime.scores.of(*COMPARED, "peer")
        if any(row.on(case) for case in cases) and make(row) is None
    ]
    if unpaired and regime.scores.student is not None:
        notes.append(f"No seed in common with the student alone, and so no change: {listed(unpaired)}.")
    by = 2 if ranked else 0
    by_change = [sorted_body(body, 0, heads[0].better) for body in bodies(regime, make, (*NETWORKS, PEERS))]
    found = [sorted_body(body, by, heads[by].better) for body in by_change]  # those without a rank stay in their order
    kept, found = without_empty(heads, found)
    return BoardTable(f"{regime.name}-{which}", title, "row", kept, found, how, True, by, notes)


def seeds_notes(regime: BoardRegime, sets: Sequence[str]) -> list[str]:
    """What rows of fewer seeds are held against, and how methods of more stand under these alone."""
    student = regime.scores.student
    cases = [case for case in regime.cases if case.dataset in sets]
    if student is None or not any(0 < len(r.on(c)) < len(student.on(c)) for r in regime.compared for c in cases):
        return []
    few = {row.name: row for row in regime.compared if regime.few_seeds(row)}
    text = "A row of fewer seeds than the student alone is held against it under the seeds that the row has."
    having = Counter(frozenset(row.on(case)) for row in few.values() for case in cases if row.on(case))
    seeds = max(having, key=lambda own: having[own], default=frozenset())  # those that most of these rows have
    told = []
    for row in (row for row in regime.methods if row.name not in few):
        means = [_mean_change(regime, own, student, sets) for own in (_only(row, seeds), row)]
        if None not in means and any(set(row.on(case)) - seeds for case in cases):
            told.append(f"{row.name} {points(means[0])} ({points(means[1])})")
    if told:
        text += f" Under {seeds_text(sorted(seeds))} alone (under all of their seeds) others have {listed(told)}."
    return [text]


def _only(row: Row, seeds: Collection[int]) -> Row:
    """The row with scores of these seeds alone."""
    scores = {case: {seed: value for seed, value in own.items() if seed in seeds} for case, own in row.scores.items()}
    return replace(row, scores=scores)


def _mean_change(regime: BoardRegime, row: Row, base: Row, sets: Sequence[str]) -> float | None:
    """Over these sets, each of which weighs the same; None without a common seed."""
    found = changes_by_set(regime.scores, row, base, sets)
    return float(np.mean([np.mean([change.mean for change in own]) for own in found.values()])) if found else None


def _without_rank(standing: Standing) -> list[str]:
    """A line for each reason why rows have no rank."""
    reasons: dict[str, list[str]] = {}
    for name, why in standing.left_out.items():
        reasons.setdefault(why, []).append(name)
    return [f"no rank: {listed(names, len(names))}, for {why}." for why, names in reasons.items()]


def _change_cell(test: OverSets | None, alone: bool) -> Cell:
    if test is None:
        return Cell("0" if alone else "", 0.0 if alone else None)
    return Cell(f"{points(test.mean)}{interval(test.low, test.high)}", test.mean)


def _seeds_cell(least: int, most: int) -> Cell:
    return Cell(span(least, most), float(most))


def _test_cells(test: OverSets | None) -> list[Cell]:
    if test is None:
        return [Cell("")] * 3
    known = test.intervals > 0
    counts = [Cell(str(number), float(number)) if known else Cell("") for number in (test.better, test.worse)]
    return [*counts, _p_cell(test)]


def _p_cell(test: OverSets | None) -> Cell:
    p = None if test is None else test.pair.p_holm
    return Cell(p_text(p), p, {"better": "up", "worse": "down"}.get(test.answer, "") if test else "")


def _ratio(ratio: CostRatio | None) -> Cell:
    """`x1.23`, with three significant digits; `x18.4 (2 sets)` where these are not all sets of the row."""
    if ratio is None:
        return Cell("", None)
    text = f"x{ratio.value:.3g}" if ratio.value < 1000 else f"x{ratio.value:,.0f}"
    return Cell(text + (f" ({count(ratio.sets, 'set')})" if ratio.sets < ratio.of else ""), ratio.value)


def tuned_table(regime: BoardRegime) -> BoardTable | None:
    """Tuned rows against those of the same method with its published defaults; None where nothing is tuned."""
    rows = [row for row in regime.scores.of("student", "method", "control") if row.tuned]
    entries = []
    for row in rows:
        default = default_of(regime, row)
        if default is None:
            continue
        tests = against_all(regime.scores, [row], default, regime.scores.datasets)
        both = [_shared(default, row), _shared(row, default)]
        alone = against_all(regime.scores, both, regime.scores.student, regime.scores.datasets)
        test = tests.get(row.name)
        if test is None:
            continue
        others = [alone[name].mean if name in alone else None for name in (default.name, row.name)]
        cells = [
            Cell(f"{points(test.mean)}{interval(test.low, test.high)}", test.mean),
            *(Cell(points(value), value) for value in others),
            Cell(str(test.better), float(test.better)),
            Cell(str(test.worse), float(test.worse)),
            Cell(str(test.pair.n), float(test.pair.n)),
        ]
        entries.append(Entry(row.name, cells, badges(regime, row), kind=row.kind))
    if not entries:
        return None
    heads = [
        Head("tuned minus default", "mean over sets in points, 95 % over sets", "higher"),
        Head("default vs alone", "in points", "higher"),
        Head("tuned vs alone", "in points", "higher"),
        Head("better", "sets on which tuning helped, by their own intervals", "higher"),
        Head("worse", "sets on which it harmed", "lower"),
        Head("sets", "", "higher"),
    ]
    how = [
        "tuned: options chosen by equal tuning on sets that are not reported. All changes are of the sets and seeds "
        "that both rows have, none of which was used for tuning.",
    ]
    return BoardTable(
        f"{regime.name}-tuned", "Published defaults against tuned", "row", heads, [Body("", entries)], how
    )


def _shared(row: Row, other: Row) -> Row:
    """The row with the scores of those sets and seeds that the other has too."""
    found = {case: {s: v for s, v in own.items() if s in other.on(case)} for case, own in row.scores.items()}
    return replace(row, scores={case: own for case, own in found.items() if own})


def default_of(regime: BoardRegime, row: Row) -> Row | None:
    """The row of the same method with its defaults: that of the same name without its ending, else the first."""
    same = [other for other in regime.scores.rows if other.method == row.method and not other.tuned]
    same = [other for other in same if other.kind == row.kind]
    named = [other for other in same if row.name.startswith(other.name)]
    return max(named, key=lambda other: len(other.name), default=next(iter(same), None))
