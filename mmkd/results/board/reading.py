"""The board of a protocol, from the tables of its folder."""

from collections.abc import Iterable
from dataclasses import replace

from mmkd.core.errors import MmkdError
from mmkd.core.text import one_line, shown
from mmkd.drawing.svg import standalone
from mmkd.results.board.decisions import FILE, Decisions, read_decisions, read_tried
from mmkd.results.board.figures import change_file
from mmkd.results.board.page import board_files
from mmkd.results.board.regime import BoardRegime, Plan
from mmkd.results.making import Made
from mmkd.results.protocol import Protocol
from mmkd.results.submission.joining import submitted_lines
from mmkd.results.tables import read_lines
from mmkd.units.methods import CONTROL, own_statuses


def protocol_board(protocol: Protocol) -> tuple[dict[str, str], list[str]]:
    """The board of a protocol, with the results that others sent in: file name -> text, and a note on what is left out.

    Regimes without results say so.

    Raises:
        MmkdError: a table or decisions.toml is damaged.
    """
    own = [line for name in protocol.regimes for line in read_lines(protocol, name)]
    submitted, notes = submitted_lines(protocol)
    lines = [line for line in (*own, *submitted) if line.protocol == protocol.title]
    others = sorted({line.protocol for line in own} - {protocol.title})
    notes += [
        f"results of {one_line(name, 40)!r} are left out: the files of this protocol are {protocol.title}"
        for name in others
    ]
    plans = [plan_of(protocol, name) for name in protocol.regimes]
    title = f"mmkd-bench {protocol.version}"
    return board_files(title, plans, lines, _decisions(protocol), notes), notes


def result_figures(protocol: Protocol, made: Iterable[Made]) -> dict[str, str]:
    """File name -> SVG: `REGIME-change.svg`, the change of each row over all sets of a regime that has two or more."""
    figures = {}
    for one in made:
        regime = BoardRegime(plan_of(protocol, one.regime), one.lines, Decisions())
        drawn = change_file(regime)
        if drawn is not None:
            figures[f"{one.regime}-change.svg"] = standalone(drawn)
    return figures


def plan_of(protocol: Protocol, name: str) -> Plan:
    regime = protocol.regimes[name]
    return Plan(name, regime.title, regime.what, regime.metric, regime.datasets, protocol.seeds, protocol.subject_sets)


def _decisions(protocol: Protocol) -> dict[str, Decisions]:
    names = {str(own.get("short", name)): name for name, own in protocol.datasets.items()}
    decided = read_decisions(protocol.folder, protocol.title)
    where = protocol.folder / FILE
    for name, own in decided.items():
        if name not in protocol.regimes:
            raise MmkdError(f"{where}: regime {shown(name)} is none of the protocol ({', '.join(protocol.regimes)})")
        sets = protocol.regimes[name].datasets
        short = {short for short, full in names.items() if full in sets}
        if unknown := sorted({*(own.teachable or ()), *own.gaps} - {*short, *sets}):
            raise MmkdError(f"{where}, {name}: data set {shown(unknown[0])} is none of the regime ({', '.join(sets)})")
        base = own.best_control.partition(" ")[0]
        if base and own_statuses().get(base) != CONTROL:
            raise MmkdError(f"{where}, {name}: best_control = {shown(own.best_control)} is no control")
    read = {name: Decisions() for name in protocol.regimes} | decided
    tried = {name: read_tried(protocol.folder / "tuned" / name) for name in read}
    return {name: replace(_named(own, names), tried=tried[name]) for name, own in read.items()}


def _named(decisions: Decisions, names: dict[str, str]) -> Decisions:
    """With the names of data sets as results have them, in place of their short ones."""
    teachable = decisions.teachable
    return replace(
        decisions,
        teachable=None if teachable is None else frozenset(names.get(name, name) for name in teachable),
        gaps={names.get(name, name): gap for name, gap in decisions.gaps.items()},
    )
