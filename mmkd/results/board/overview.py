"""The first table of the board: what was found in each regime, a line each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mmkd.results.board.entries import BoardTable, Body, Cell, Entry, Head
from mmkd.results.board.regime import BoardRegime
from mmkd.results.board.words import listed, points, span
from mmkd.results.standing import OverSets, against_all, can_tell

HEADS = (
    Head("shown to help, all sets", "methods that are better than the student alone, over all sets", "", number=False),
    Head(
        "beat the chosen control",
        "methods better than the control that was best in the selection phase",
        "",
        number=False,
    ),
    Head("best method, points", "of a method: the largest mean change, in points against the student alone", "higher"),
    Head("best control, points", "the largest mean change of a control", "higher"),
    Head("best peer, points", "the largest mean change of a peer", "higher"),
    Head("seeds", "of rows of students on a set, of those that the protocol asks for", "higher"),
    Head("sets", "with results; with room: where the best teacher leads, in folds of the training part", "higher"),
)


def panel_id(number: int) -> str:
    """The id of the part of the page that shows a regime; 1 is the first."""
    return f"regime-{number}"


def overview(regimes: Iterable[BoardRegime]) -> BoardTable | None:
    """A row a regime; None where fewer than two have results against a student alone."""
    every = list(regimes)
    if sum(bool(regime.all_sets.against_student) for regime in every) < 2:
        return None
    rows = [replace(_entry(regime), part=panel_id(number)) for number, regime in enumerate(every, 1)]
    how = [
        "All columns are over all sets of the regime, with room and without; each set weighs the same. Those with room "
        "may be too few to show what all sets show: the answers of a regime say what is found on which.",
        "shown to help, beat the chosen control: by Wilcoxon's signed-rank test over sets, after Holm's correction "
        "over all rows. None: not shown, which does not mean that there is no difference. Too few sets: no such test "
        "can show one. Not decided: the selection phase has chosen no control.",
        "best method, control, peer: the largest mean change of a row, in points against the student alone; where "
        "it has fewer seeds than others, the largest of those with most seeds too. Of rows that have most sets. It "
        "need not be better than the student alone, nor the control be the one that the selection phase chose.",
    ]
    return BoardTable("overview", "All regimes", "regime", HEADS, [Body("", rows)], how)


def _entry(regime: BoardRegime) -> Entry:
    total = len(regime.scores.datasets)
    if not regime.all_sets.against_student:
        why = "no results yet" if not total else "no change against a student alone"
        return Entry(_name(regime), [Cell(why), *[Cell("")] * (len(HEADS) - 2), Cell(str(total), float(total))])
    room = f" ({len(regime.with_room)} with room)" if regime.decisions.teachable is not None else ""
    of = f" of {len(regime.datasets)}" if total < len(regime.datasets) else ""
    standing = regime.all_sets
    methods = {row.name for row in regime.methods}
    controls = {row.name for row in regime.compared if row.kind == "control"}
    tests = standing.against_student
    control = _shown(standing.against_control, methods) if standing.control else "not decided"
    if regime.decisions.best_control and not standing.control:
        control = f"no ranked row of {regime.decisions.best_control}"
    peers = against_all(regime.scores, regime.scores.of("peer"), regime.scores.student, regime.scores.datasets)
    cells = [
        Cell(_shown(tests, methods)),
        Cell(control),
        _largest(regime, {name: test for name, test in tests.items() if name in methods}),
        _largest(regime, {name: test for name, test in tests.items() if name in controls}),
        _largest(regime, peers),
        _seeds(regime),
        Cell(f"{total}{of}{room}", float(total)),
    ]
    return Entry(_name(regime), cells)


def _name(regime: BoardRegime) -> str:
    return f"{regime.name}: {regime.plan.title}" if regime.plan.title else regime.name


def _seeds(regime: BoardRegime) -> Cell:
    """How many seeds rows of students have on a set."""
    counts = [regime.seed_counts(row) for row in regime.compared or regime.others]
    least, most = min(low for low, _ in counts), max(high for _, high in counts)
    return Cell(f"{span(least, most)} of {len(regime.seeds)}", float(most))


def _shown(tests: Mapping[str, OverSets], names: Iterable[str]) -> str:
    """The rows that are better, or why none is named."""
    own = {name: tests[name] for name in names if name in tests}
    if not own:
        return "no method"
    if not can_tell(tests, own):
        return "too few sets"
    better = sorted((name for name in own if own[name].answer == "better"), key=lambda name: -own[name].mean)
    return listed(better) or "none"


def _largest(regime: BoardRegime, tests: Mapping[str, OverSets]) -> Cell:
    """The largest mean change of rows that have as many sets as any, and that of those with most seeds."""
    most = max((test.pair.n for test in tests.values()), default=0)
    whole = sorted((name for name in tests if tests[name].pair.n == most), key=lambda name: -tests[name].mean)
    if not whole:
        return Cell("")
    few = {name: regime.few_seeds(row) for name in whole if (row := regime.scores.find(name)) is not None}
    of_most: Sequence[str] = [name for name in whole if not few.get(name)]
    named = dict.fromkeys([whole[0], *of_most[:1]])
    texts = [f"{name} {points(tests[name].mean)}{f' ({few[name]})' if few.get(name) else ''}" for name in named]
    where = f", on {most} sets" if most < len(regime.scores.datasets) else ""
    return Cell(f"{', '.join(texts)}{where}", tests[whole[0]].mean)
