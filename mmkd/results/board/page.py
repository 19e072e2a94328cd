"""The board as one page, from lines of results.

The page loads nothing. Without script all regimes stand below each other; with it each is a tab. What other tools may
rely on: `section.regime#regime-NAME`, `button[role=tab]`, `table[data-table]` with heads `th[data-better]`, cells with
`data-value` ("" where nothing is known), `li` in `.answers`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd import __version__
from mmkd.core.text import shorten
from mmkd.report.page.album import Album
from mmkd.report.template import fill_template
from mmkd.results.board.answers import answers, status
from mmkd.results.board.decisions import Decisions
from mmkd.results.board.figures import regime_figures
from mmkd.results.board.overview import overview, panel_id
from mmkd.results.board.regime import BoardRegime, Plan
from mmkd.results.board.set_tables import change_map, gap_table, network_table, score_table, subject_table, units_table
from mmkd.results.board.tables import standing_table, tuned_table
from mmkd.results.board.words import count, listed
from mmkd.results.columns import Line

TEMPLATE = Path(__file__).parent / "web" / "board.html"
FILE = "index.html"
GLOSSARY = (
    ("student alone", "the same small network, trained without any teacher, under the same seeds and batches"),
    ("method", "a way to train that student with a teacher"),
    ("control", "no method: a training that does a part of what a method does, without what a teacher knows or with a "
     "part of it; what a method owes to the rest of its teacher is what it has over a control"),
    ("peer", "a cheap classifier without a network, fitted on the same windows"),
    ("room", "a set has room where, in folds of the training part, the best teacher is ahead of the student alone by "
     "two points of accuracy or more, and by more than 0 at the lower end of the 90 % interval"),
    ("points", "hundredths of the score: from 0.80 to 0.82 is +2 points"),
    ("not told apart", "the data do not show a difference; they do not show that there is none"),
    ("not verified", "sent in by others, and not run again by the keepers of the board"),
)  # fmt: skip


def board_files(
    title: str,
    plans: Sequence[Plan],
    lines: Iterable[Line],
    decisions: Mapping[str, Decisions],
    notes: Sequence[str] = (),
) -> dict[str, str]:
    """File name -> text: `index.html`.

    Args:
        title: of the protocol.
        plans: one a regime, in the order of tabs; regimes that only lines know come behind them.
        notes: on what could not be read.
    """
    every = list(lines)
    named = {plan.name for plan in plans}
    others = [Plan(name) for name in dict.fromkeys(line.regime for line in every) if name not in named]
    regimes = [BoardRegime(plan, every, decisions.get(plan.name, Decisions())) for plan in (*plans, *others)]
    album = Album()
    context = {
        "title": shorten(f"{title}: board", 120),
        "lead": _lead(regimes),
        "notes": list(notes),
        "overview": overview(regimes),
        "regimes": [_regime(regime, number, album) for number, regime in enumerate(regimes, 1)],
        "glossary": GLOSSARY,
        "protocols": sorted({line.protocol for line in every if line.protocol}),
        "version": __version__,
    }
    return {FILE: fill_template(TEMPLATE, ["page.css", "board.css"], ["tables.js", "board.js"], context)}


def _lead(regimes: Sequence[BoardRegime]) -> str:
    """What is on the board."""
    methods = {row.method for regime in regimes for row in regime.scores.of("method") if row.verified}
    sets = {name for regime in regimes for name in regime.scores.datasets}
    have = [regime.name for regime in regimes if regime.scores.cases]
    students = " of students" if any(regime.scores.rows for regime in regimes) else ""
    which = count(len(methods), "method") if methods else "No verified method"
    text = f"{which} of knowledge distillation on {count(len(sets), 'data set')}, "
    text += (
        f"in {count(len(have), 'regime')} of {len(regimes)}. Scores are of test windows that were read once; gaps of "
    )
    text += "the selection phase and budget curves are of folds of the training part."
    return text if have else f"There are no results{students} yet for {listed([regime.name for regime in regimes])}."


def _regime(regime: BoardRegime, number: int, album: Album) -> dict[str, Any]:
    """One tab, for the template."""
    base = {
        "id": panel_id(number),
        "name": regime.name,
        "title": regime.plan.title,
        "what": regime.plan.what,
        "status": status(regime),
    }
    if not regime.scores.cases:
        return {
            **base,
            "answers": [],
            "main": None,
            "map": None,
            "tables": [],
            "figures": [],
            "cost_figures": [],
        }
    decided = regime.decisions.teachable is not None
    title = f"Over the {count(len(regime.with_room), 'set')} with room" if decided else "Over all sets"
    main = standing_table(regime, regime.room, "room", title) if regime.with_room else None
    no_room = every = None
    if regime.without_room and main is None:
        name = f"Over the {count(len(regime.without_room), 'set')} without room"
        main = standing_table(regime, regime.no_room, "no-room", name)
    elif regime.without_room:
        name = f"Over the {count(len(regime.without_room), 'set')} without room"
        no_room = standing_table(regime, regime.no_room, "no-room", name)
    if regime.is_split or (regime.undecided and not regime.with_room):
        name = f"Over all {count(len(regime.scores.datasets), 'set')}, {regime.kinds_of_sets}"
        every = standing_table(regime, regime.all_sets, "all", name)
    later = [
        units_table(regime),
        subject_table(regime),
        tuned_table(regime),
        gap_table(regime),
        score_table(regime),
        network_table(regime),
    ]
    main, changes, *tables = (
        table if table is not None and table.count else None
        for table in (main, change_map(regime), no_room, every, *later)
    )
    ranks, costs = regime_figures(regime, number, album)
    return {
        **base,
        "answers": answers(regime),
        "main": main,
        "figures": ranks,
        "cost_figures": costs,
        "map": changes,
        "tables": [table for table in tables if table is not None],
    }
