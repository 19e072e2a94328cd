"""The README shows v1's results: the numbers beside its figures are those of the tables."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmkd.peers import PEERS
from mmkd.results.board.decisions import Decisions, read_decisions
from mmkd.results.board.reading import plan_of
from mmkd.results.board.regime import BoardRegime
from mmkd.results.board.tables import tuned_table
from mmkd.results.by_units import by_units
from mmkd.results.columns import Line
from mmkd.results.protocol import read_protocol
from mmkd.results.tables import load_results
from mmkd.tasks.classification import PRESETS

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/measured.md"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["A", "C"])
def test_the_text_of_the_figures_has_the_changes_of_v1(page, name):
    protocol = read_protocol("v1")
    lines = [Line(*row) for row in load_results("v1", regime=name).itertuples(index=False, name=None)]
    regime = BoardRegime(plan_of(protocol, name), lines, Decisions())
    tests = regime.room.against_student
    most = max(test.pair.n for test in tests.values())
    changes = {row: 100 * test.mean for row, test in tests.items() if 2 * test.pair.n >= most}
    ordered = sorted(changes, key=lambda row: -changes[row])
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    alt = re.search(rf"!\[Regime {name}: ([^\]]*)\]\([^)]*v1/results/{name}-change\.svg\)", text)
    assert alt, f"{page} does not show {name}-change.svg"
    said = [f"{row} {changes[row]:+z.1f}" for row in ordered]
    if page == "README.md" and len(said) > 10:
        said = [*said[:6], "...", *said[-2:]]
    assert alt.group(1) == ", ".join(said)
    assert f"{most} data sets" in text
    ahead = []
    for case in regime.scores.cases:
        peer, alone = regime.scores.find("minirocket").on(case), regime.scores.student.on(case)
        ahead.append(np.mean([peer[seed] - alone[seed] for seed in peer.keys() & alone.keys()]))
    assert f"{100 * np.mean(ahead):+z.1f}" in text
    helped = {row for row, test in tests.items() if test.answer == "better"}
    if name == "A":
        assert helped == {"kd", "dkd", "rld", "pseudo-label", "self-training"}
        assert {row for row, test in tests.items() if test.answer == "worse"} == {"at"}
        gains = [change.mean for (row, _), change in regime.changes.items() if row == "kd"]
        assert f"`kd` gains on {sum(gain > 0 for gain in gains)} of {most} sets" in text
        decided = read_decisions(protocol.folder)[name]
        assert decided.best_control == "pseudo-label"
        against = BoardRegime(plan_of(protocol, name), lines, decided).room.against_control
        assert against
        assert "better" not in {against[row.name].answer for row in regime.methods if row.name in against}
    else:
        pairs = {row.name: row.cells for row in tuned_table(regime).bodies[0].rows}
        for row in ("at", "sp", "crd", "kd") if page != "README.md" else ():
            _, default, own, *_ = (cell.text for cell in pairs[f"{row} (tuned)"])
            assert f"`{row}` {own} ({default})" in text
        assert not helped
        assert {row for row, test in tests.items() if test.answer == "worse"} == {"at", "sp", "crd"}
        tuned = [change.mean for (row, _), change in regime.changes.items() if row == "at (tuned)"]
        assert f"`at` {'has ' * (page == 'README.md')}{100 * np.mean(tuned):+z.1f}" in text
        assert "better" not in {test.answer for row, test in regime.all_sets.against_student.items() if "tuned" in row}
    apart = by_units(regime.scores, protocol.subject_sets)
    known = {"kd": "`kd`", "pseudo-label": "`pseudo-label`", "freekd": "`freekd`", "minirocket": "MiniRocket"}
    for row, shown in known.items() if name == "A" else ():
        own, other = 100 * apart[row].on_subjects, 100 * apart[row].on_others
        if page != "README.md":
            assert re.search(rf"{re.escape(shown)} (has )?{own:+z.1f} \({other:+z.1f}".replace("+", r"\+"), text), row
        elif row in ("kd", "minirocket"):
            assert f"{shown} {own:+z.1f}" in text.partition("little is gained with few labels: ")[2][:40]
    room = read_decisions(protocol.folder)[name].teachable
    if page != "README.md":
        names = {str(own.get("short", full)): full for full, own in protocol.datasets.items()}
        board = BoardRegime(plan_of(protocol, name), lines, Decisions(frozenset(names.get(one, one) for one in room)))
        found = board.room.against_student
        best = max((row.name for row in board.methods if row.name in found), key=lambda row: found[row].mean)
        assert re.search(
            rf"On these alone the largest changes are [^;]*\{100 * found[best].mean:+z.1f} \(`{best}`", text
        )
        few, everywhere = f"on {len(room)} of the 14 sets with few", f"on {len(room)} with all"
        assert (few if name == "A" else everywhere) in text
    assert ("one seed", "two seeds", "three seeds", "four seeds", "five seeds")[len(regime.scores.seeds) - 1] in text


def test_the_carried_tables_and_figures_are_those_of_the_records(monkeypatch):
    from mmkd.results.board.reading import result_figures
    from mmkd.results.columns import csv_text
    from mmkd.results.making import make_results

    protocol = read_protocol("v1")
    monkeypatch.setitem(PRESETS, "standard", replace(PRESETS["standard"], peers=tuple(PEERS)))  # tests have none
    made = make_results(protocol)
    drawn = result_figures(protocol, made)
    assert {"A-change.svg", "C-change.svg"} <= set(drawn)
    for name, text in drawn.items():
        assert (protocol.results / name).read_text(encoding="utf-8") == text, "python -m mmkd.results make"
    for one in made:
        lines = [line for line in csv_text(one.lines).splitlines()[1:] if ",latency_" not in line]  # others in tests
        path = protocol.results / f"{one.regime}.csv"
        carried = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
        assert [line for line in carried if ",latency_" not in line] == lines, "python -m mmkd.results make"


def test_the_changes_of_regime_b_are_those_of_v1():
    protocol = read_protocol("v1")
    lines = [Line(*row) for row in load_results("v1", regime="B").itertuples(index=False, name=None)]
    regime = BoardRegime(plan_of(protocol, "B"), lines, Decisions())
    text = " ".join((ROOT / "docs/measured.md").read_text(encoding="utf-8").partition("### Fewer sensors")[2].split())
    found = by_units(regime.scores, protocol.subject_sets)
    said = ", ".join(f"`{row}` {100 * found[row].on_subjects:+z.1f}" for row in ("longer", "fam-1d", "kd"))
    seeds = ("one seed", "two seeds", "three seeds")[len(regime.scores.seeds) - 1]
    assert f"over these three sets, {seeds}, in points: {said}." in text
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").partition("Fewer sensors")[2].split())
    longer, kd = (f"{100 * found[row].on_subjects:+z.1f}" for row in ("longer", "kd"))
    assert f"training `longer` gains {longer}, `kd` {kd}." in readme
    methods = [row.name for row in regime.scores.of("method")]
    assert all(found["longer"].on_subjects > found[name].on_subjects for name in methods)
    gaps = tomllib.loads((protocol.folder / "decisions.toml").read_text(encoding="utf-8"))["regimes"]["B"]["gaps"]
    lead = [round(100 * gaps[name]["mean"]) for name in ("hapt6", "motionsense", "dsads")]
    assert f"lead by {lead[0]}, {lead[1]} and {lead[2]} points" in text
    assert readme.startswith(f"(three sets): teachers lead by {min(lead)} to {max(lead)} points;")
    regimes = (ROOT / "docs/regimes.md").read_text(encoding="utf-8")
    assert f"lead by {min(lead)} to {max(lead)} points" in " ".join(regimes.split())


def test_the_changes_of_three_views_and_of_steps_are_those_of_v1():
    protocol = read_protocol("v1")
    page = " ".join((ROOT / "docs/measured.md").read_text(encoding="utf-8").split())
    tests = {}
    for name in ("C-views", "dense"):
        lines = [Line(*row) for row in load_results("v1", regime=name).itertuples(index=False, name=None)]
        regime = BoardRegime(plan_of(protocol, name), lines, Decisions())
        tests[name] = {row: 100 * test.mean for row, test in regime.all_sets.against_student.items()}
    views, steps = tests["C-views"], tests["dense"]
    ordered = sorted(views, key=lambda row: -views[row])
    text = ", ".join(f"`{row}` {views[row]:+z.1f}" for row in ordered)
    assert f"over the six in points: {text}." in page
    said = {"freq-lh strategy=basic": "freq-lh"}
    text = ", ".join(f"`{said.get(row, row)}` {steps[row]:+z.1f}" for row in sorted(steps, key=lambda row: -steps[row]))
    assert f"with both students: {text}." in page
    results = load_results("v1", regime="dense", dataset="hapt-dense")
    means = results[(results.metric == "miou") & (results.subject == "")].groupby(["student", "row"]).value.mean()
    lead = 100 * (means["sig", "sig segformer"] - means["sig fast-scnn-small", "student"])
    assert f"leads Fast-SCNN by {lead:.0f} points" in page
    assert max(means["sig fast-scnn-small"]) < means["sig", "sig segformer"] - 0.2
