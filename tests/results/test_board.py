"""The board as text: what it says of made-up results whose answers are known, and of what is missing."""

import re
from dataclasses import asdict, replace

import pytest

from mmkd.cli import results as command
from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS
from mmkd.report.page.album import Album
from mmkd.results.board import board_files
from mmkd.results.board.answers import answers, status
from mmkd.results.board.decisions import Decisions, Gap, read_decisions, read_tried
from mmkd.results.board.entries import Body, Cell, Entry, sorted_body
from mmkd.results.board.figures import change_figure, change_file, regime_figures
from mmkd.results.board.overview import overview
from mmkd.results.board.regime import TAUGHT, BoardRegime, Plan
from mmkd.results.board.set_tables import change_map, gap_table, network_table, score_table, subject_table, units_table
from mmkd.results.board.tables import standing_table, tuned_table
from mmkd.results.board.words import rank_seeds
from mmkd.results.columns import Line, csv_text
from mmkd.results.protocol import read_protocol
from mmkd.results.tables import load_results
from tests.results.board_lines import ROWS, SETS, made_lines

SEEDS = (0, 1, 2, 3, 4)
ROOM = frozenset(SETS[:10])
DECIDED = Decisions(ROOM, "label-smoothing", {name: Gap(0.08, 0.06, 0.1) for name in SETS})


def regime(lines=None, decisions=DECIDED, datasets=SETS):
    plan = Plan("A", "few labels", "Five subjects.", "macro_f1", datasets, SEEDS)
    return BoardRegime(plan, made_lines() if lines is None else lines, decisions)


def test_the_answers_are_those_that_the_results_were_made_with():
    found = dict(answers(regime()))
    assert found["Is there anything to teach?"].startswith("On 10 of 12 sets there is room; there the best teacher")
    assert "+8.0 points of accuracy (median)" in found["Is there anything to teach?"]
    helps = found["Which methods help?"]
    assert re.search(
        r"Over 10 sets with room, 2 of 4 methods are better than the student alone, in points: good \(\+[34]\.\d\)",
        helps,
    )
    assert re.search(r"like-smoothing \(\+[01]\.\d\); worse: bad \(-[34]\.\d\) \(Wilcoxon", helps)
    never = (
        "bad is shown to be better than the student alone on none of the 10 sets with room, even by intervals of each "
        "set by itself, not corrected for their number."
    )
    assert found["Which never do?"] == never, "and equal is on one set, by chance"
    assert re.fullmatch(
        r"1 of 4 is better than the control that was best in the selection phase, label-smoothing, in points: "
        r"good \(\+[23]\.\d\)\. Controls without a teacher that are better than the student alone, in points: "
        r"label-smoothing \(\+[01]\.\d\)\.",
        found["Is it the teacher?"],
    )
    assert "too few for a test over sets (it needs 6)" in found["And where there is no room?"]


def test_the_first_table_has_a_line_for_each_regime_with_results():
    lines = [line for line in made_lines() if line.row != "equal" or line.seed < 2]
    late = [replace(line, row="late", method="late") for line in lines if line.row == "good" and line.seed == 0]
    late = [replace(line, value=line.value + 0.02) if line.metric == "macro_f1" else line for line in late]
    few = [line for line in made_lines("B", SETS[:3]) if line.dataset != SETS[2] or line.row != "random-forest"]
    regimes = [
        BoardRegime(Plan("A", "few labels", "", "macro_f1", SETS, SEEDS), [*lines, *late], DECIDED),
        BoardRegime(Plan("B", "", "", "macro_f1", SETS, SEEDS), few, Decisions()),
        BoardRegime(Plan("C"), [], Decisions()),
    ]
    table = overview(regimes)
    rows = {
        entry.name: dict(zip((h.text for h in table.heads), entry.cells, strict=True)) for entry in table.bodies[0].rows
    }
    assert list(rows) == ["A: few labels", "B", "C"]
    assert [cell.text for cell in rows["C"].values()] == ["no results yet", "", "", "", "", "", "0"]
    assert [entry.part for entry in table.bodies[0].rows] == ["regime-1", "regime-2", "regime-3"]
    text = {name: {head: cell.text for head, cell in cells.items()} for name, cells in rows.items()}
    assert text["A: few labels"]["shown to help, all sets"] == "late, good and like-smoothing"
    assert re.fullmatch(r"late \+[56]\.\d \(1 seed\), good \+[34]\.\d", text["A: few labels"]["best method, points"])
    assert re.fullmatch(r"label-smoothing \+[01]\.\d", text["A: few labels"]["best control, points"])
    assert re.fullmatch(r"random-forest \+[45]\.\d", text["A: few labels"]["best peer, points"])
    assert text["A: few labels"]["beat the chosen control"] == "late and good"
    assert text["A: few labels"]["sets"] == "12 (10 with room)"
    assert (text["B"]["shown to help, all sets"], text["B"]["beat the chosen control"]) == (
        "too few sets",
        "not decided",
    )
    assert text["B"]["best peer, points"].endswith(", on 2 sets"), "of 3"
    assert text["B"]["sets"] == "3 of 12"
    assert (text["A: few labels"]["seeds"], text["B"]["seeds"]) == ("1 to 5 of 5", "5 of 5")
    assert rows["A: few labels"]["best method, points"].value == pytest.approx(0.06, abs=0.004)
    assert overview(regimes[1:]) is None, "one tab says it all"
    six = BoardRegime(Plan("D", "", "", "macro_f1", SETS, SEEDS), made_lines("D", SETS[:6]), Decisions())
    (own,) = (row for row in overview([regimes[0], six]).bodies[0].rows if row.name == "D")
    assert own.cells[0].text == "too few sets", "a test over six can tell one row apart, and not one of five"


def test_what_is_not_known_is_said_and_not_made_up():
    undecided = regime(decisions=Decisions())
    found = dict(answers(undecided))
    assert "not decided here" in found["Is there anything to teach?"]
    assert found["Is it the teacher?"].startswith("Not answered yet")
    assert dict(answers(regime(decisions=Decisions(ROOM, "never-run"))))["Is it the teacher?"] == (
        "Not answered: never-run has no ranked row here (verified, with its defaults)."
    )
    lines = [line for line in made_lines(sets=SETS[:3]) if not (line.row == "equal" and line.seed > 1)]
    few = regime(lines)
    said = " ".join(status(few))
    assert "3 of 12 sets have results, under 5 seeds of 5" in said
    assert "Without results so far: set03, set04" in said
    assert "Rows have 2 to 5 of 5 seeds on a set: the column seeds says how many." in said
    assert "ranks are given from 10 on" in said
    table = standing_table(few, few.room, "room", "")
    rows = {entry.name: entry for body in table.bodies for entry in body.rows}
    assert rows["equal"].cells[1].text == "2"
    heads = [head.text for head in table.heads]
    assert heads == ["change", "seeds", "better", "worse", "vs control", "training", "MACs"], "no empty column"
    fewer = regime([line for line in lines if line.row != "equal" or line.dataset != SETS[0]])
    assert "sets" in [head.text for head in standing_table(fewer, fewer.room, "room", "").heads]
    nothing = regime([line for line in made_lines() if line.kind != "student"])
    assert "no student alone" in answers(nothing)[0][1]
    stranger = [replace(line, verified=line.kind == "student") for line in made_lines()]
    found = dict(answers(regime(stranger)))
    assert found["Which methods help?"].startswith("No ranked method (verified")
    page = board_files("v1", [regime().plan], stranger, {"A": DECIDED})["index.html"]
    assert "No verified method of knowledge distillation on 12 data sets" in page
    control = [replace(line, verified=line.row != "label-smoothing") for line in made_lines()]
    found = dict(answers(regime(control)))
    assert (
        found["Is it the teacher?"]
        == "Not answered: label-smoothing has no ranked row here (verified, with its defaults)."
    )
    assert "regime-1" in board_files("v1", [regime().plan], control, {"A": DECIDED})["index.html"]


def test_a_row_says_how_many_seeds_it_has():
    of_two = [line for line in made_lines(sets=SETS[:3]) if line.seed < 2]
    assert "Rows have 2 of 5 seeds on a set: the column seeds says how many." in status(regime(of_two))
    other = regime(
        [line for line in of_two if not (line.row == "equal" and line.seed == 1 and line.dataset == SETS[0])]
    )
    assert "Rows have 1 to 2 of 5 seeds on a set: the column seeds says how many." in status(other)
    rows = {e.name: e for body in standing_table(other, other.room, "room", "").bodies for e in body.rows}
    assert {rows[name].cells[1].text for name in ("student", "good", "random-forest")} == {"2"}
    assert rows["equal"].cells[1].text == "1 to 2"
    assert not any("seeds says how many" in line for line in status(regime()))


def test_rows_of_fewer_seeds_stand_below_by_their_change_and_are_not_said_to_help_nowhere():
    lines = [line for line in made_lines() if line.row not in ("bad", "like-smoothing") or line.seed == 0]
    some = regime(lines, Decisions())
    (body, *_) = standing_table(some, some.room, "room", "").bodies
    names = [entry.name for entry in body.rows]
    assert names[-2:] == ["like-smoothing", "bad"], "in the order of their changes, below those with a rank"
    assert body.rows[-1].cells[1].text == "1"
    page = board_files("v1", [some.plan], lines, {})["index.html"]
    assert "no rank: bad and like-smoothing, for seeds 1, 2, 3, 4 are missing." in page
    assert "Which never do?" not in dict(answers(some)), "of two seeds and fewer nothing is said"


def test_where_the_sets_with_room_are_too_few_all_sets_stand_beside_them():
    few = Decisions(frozenset(SETS[:4]), "label-smoothing", DECIDED.gaps)
    found = dict(answers(regime(decisions=few)))
    assert "4 sets with room: too few for a test over sets" in found["And where there is room?"]
    over = "Over 12 sets with and without room, 2 of 4 methods are better than the student alone, in points: good "
    assert found["Which methods help?"].startswith(over), "what can be answered stands first"
    assert re.match("1 of 4 is better than .*, label-smoothing, in points: good", found["Is it the teacher?"])
    assert "And over all sets?" not in found
    assert dict(answers(regime()))["And over all sets?"].startswith(over), "where those with room can tell, they do"
    assert list(found).index("Which methods help?") < list(found).index("And where there is room?")
    undivided = dict(answers(regime(decisions=Decisions())))
    assert not undivided.keys() & {"And over all sets?", "And where there is room?"}
    page = board_files("v1", [regime().plan], made_lines(), {"A": few})["index.html"]
    assert "Mean ranks over 12 sets, with and without room, as those with room are too few for ranks" in page
    assert "Over all 12 sets, with and without room" in page
    page = board_files("v1", [regime().plan], made_lines(), {"A": DECIDED})["index.html"]
    assert "Mean ranks over 10 sets, seeds" in page


def test_where_no_set_has_room_the_others_are_answered_for():
    none = regime(decisions=replace(DECIDED, teachable=frozenset()))
    found = dict(answers(none))
    assert found["Which methods help?"].startswith("Over 12 sets without room, 2 of 4 methods are better")
    assert "label-smoothing, in points: good" in found["Is it the teacher?"]
    assert "And where there is no room?" not in found
    page = board_files("v1", [none.plan], made_lines(), {"A": none.decisions})["index.html"]
    assert page.count("Over the 12 sets without room") == 1
    lines = [line for line in made_lines() if line.seed == 0 or line.row == "equal" or line.kind == "student"]
    assert "A row of fewer seeds" in board_files("v1", [none.plan], lines, {"A": none.decisions})["index.html"]
    some = Decisions(frozenset(), "label-smoothing", {name: Gap(0.0) for name in SETS[:8]})
    found = dict(answers(regime(decisions=some)))
    assert found["Is there anything to teach?"] == "On 0 of 12 sets there is room. On 4 it is not decided."
    assert found["Which methods help?"].startswith("Over 12 sets without room and not decided, 2 of 4")
    page = board_files("v1", [none.plan], made_lines(), {"A": some})["index.html"]
    assert "Over the 8 sets without room" in page
    assert "Over all 12 sets, without room and not decided" in page


def test_more_sets_of_controls_alone_do_not_let_methods_be_tested():
    lines = [line for line in made_lines() if line.kind != "method" or line.dataset in SETS[:4]]
    some = regime(lines, Decisions(frozenset(SETS[:4]), "label-smoothing", DECIDED.gaps))
    assert dict(answers(some))["Which methods help?"].startswith("4 sets with room: too few for a test")


def test_ranks_say_of_which_seeds_they_are():
    assert rank_seeds({"a": (0,), "b": (1,)}) == "the first seed of each"
    assert rank_seeds({}) == "no seed"
    few = ("student", "good")  # of six rows
    one = regime([line for line in made_lines() if line.seed == 0 or line.row in few], Decisions())
    table = standing_table(one, one.room, "room", "")
    assert all(row.cells[table.by].text for body in table.bodies[:2] for row in body.rows), "each has a rank, by seed 0"
    assert "seed 0 on each," in table.heads[table.by].meaning
    table = standing_table(regime(), regime().room, "room", "")
    assert "seeds 0, 1, 2, 3 and 4 on each," in table.heads[table.by].meaning
    fewer = regime([line for line in made_lines() if line.seed < 3 or line.dataset != SETS[1]], Decisions())
    table = standing_table(fewer, fewer.room, "room", "")
    assert "mean over the sets, the first 3 to 5 seeds of each, 1 is best" in table.heads[table.by].meaning
    assert "among all rows that have the first 3 to 5 seeds of each, 1 is best." in " ".join(table.how)


def test_of_a_control_that_the_teacher_teaches_too_it_is_said():
    lines = [
        replace(line, row="pseudo-label", method="pseudo-label") if line.row == "good" else line
        for line in made_lines()
    ]
    lines = [replace(line, kind="control") if line.row == "pseudo-label" else line for line in lines]
    changes = {"pseudo-label": 0.04, "label-smoothing": 0.01, "shuffled-teacher": 0.02}
    said = dict(answers(regime(lines, Decisions(ROOM, "pseudo-label", DECIDED.gaps, changes))))["Is it the teacher?"]
    assert said == (
        "Not shown: over 10 sets with room no method is better than the control that was best in the selection phase, "
        "pseudo-label, which learns the teacher's class and nothing else: that more of the teacher helps is not shown; "
        "against label-smoothing, the best of the controls that no teacher teaches, no method is shown to be better "
        "either. Controls without a teacher that are better than the student alone, in points: label-smoothing (+1.1)."
    )
    lines = [line for line in lines if line.row != "label-smoothing"]
    lines += [
        replace(line, row="label-smoothing", kind="control", method="label-smoothing")
        for line in made_lines()
        if line.row == "equal"
    ]
    said = dict(answers(regime(lines, Decisions(ROOM, "pseudo-label", DECIDED.gaps, changes))))["Is it the teacher?"]
    assert re.search(r"no teacher teaches, better, in points: like-smoothing \(\+[01]\.\d\)\.$", said)


def test_the_controls_that_a_teacher_teaches_are_those_that_read_its_outputs():
    for name in ("label-smoothing", "virtual-teacher", "born-again", "self-training"):
        assert not METHODS.get(name).distils
    assert all(METHODS.get(name).distils and METHODS.get(name).status == "control" for name in TAUGHT)


def test_peers_stand_below_the_table_and_in_the_answers():
    one = regime()
    *_, peers = standing_table(one, one.room, "room", "").bodies
    assert peers.heading.startswith("peers")
    ((name, change),) = [(row.name, row.cells[0].text) for row in peers.rows]
    assert name == "random-forest"
    assert change.startswith("+5.")
    assert dict(answers(one))["And without a network?"] == (
        "Over 10 sets with room, in points against the student alone: random-forest +5.0; the largest change of a "
        "method is +4.0 (good)."
    )
    alone = regime([line for line in made_lines() if line.kind != "peer"])
    assert "And without a network?" not in dict(answers(alone))


def test_peers_and_methods_of_other_sets_say_so():
    on_one = [line for line in made_lines() if line.kind != "peer" or line.dataset == SETS[0]]
    assert dict(answers(regime(on_one)))["And without a network?"].endswith(
        "; the largest change of a method is +4.0 (good, over 10 sets)."
    )
    few = ("student", "random-forest", "good", "bad")
    once = [line for line in made_lines() if line.row in few and (line.row != "good" or line.dataset == SETS[0])]
    assert "(bad" in dict(answers(regime(once)))["And without a network?"], "that on all sets, not that on one"
    peers = [line for line in made_lines() if line.row in ("student", "random-forest")]
    assert dict(answers(regime(peers)))["And without a network?"] == (
        "Over 10 sets with room, in points against the student alone: random-forest +5.0."
    )


def test_changes_on_sets_that_are_split_by_subject_stand_beside_the_others():
    of_subjects = frozenset(SETS[:4])
    lines = [
        replace(line, value=line.value - 0.1)
        if line.row in ("good", "random-forest") and line.dataset in of_subjects and line.metric == "macro_f1"
        else line
        for line in made_lines()
    ]
    plan = replace(regime().plan, subject_sets=of_subjects)
    decided = replace(DECIDED, teachable=frozenset(SETS[3:10]))
    found = BoardRegime(plan, lines, decided).by_units
    assert found["good"] == pytest.approx((-0.06, 4, 0.04, 8), abs=0.004)
    assert found["random-forest"] == pytest.approx((-0.05, 4, 0.05, 8), abs=0.004)
    assert "teacher sig" not in found
    said = dict(answers(BoardRegime(plan, lines, decided)))["And for people who are new?"]
    assert re.fullmatch(
        r"On the 4 sets split by subject \(on the other 8\), in points: like-smoothing \+1\.\d \(\+1\.\d\), .*"
        r"random-forest -[45]\.\d \(\+[45]\.\d\); \d of 6 rows change sign between them\. "
        r"There is room on 1 of the 4, and 4 sets prove nothing by themselves\.",
        said,
    )
    more = [replace(line, row="theirs", verified=False) for line in lines if line.row == "good"]
    assert dict(answers(BoardRegime(plan, [*lines, *more], decided)))["And for people who are new?"] == said
    table = units_table(BoardRegime(plan, lines, decided))
    rows = {entry.name: [cell.text for cell in entry.cells] for body in table.bodies for entry in body.rows}
    assert rows["good"][1::2] == ["4", "8"]
    assert rows["good"][4] == "5"
    assert rows["random-forest"][0].startswith("-4.")
    every = BoardRegime(replace(plan, subject_sets=frozenset(SETS)), lines, decided)
    assert units_table(every) is None
    assert dict(answers(every))["And for people who are new?"].startswith(
        "All 12 sets here are split by subject. There"
    )
    assert "And for people who are new?" not in dict(answers(regime()))


def test_sets_of_which_nothing_was_decided_are_on_neither_side():
    gaps = {name: Gap(0.08) for name in SETS[:11]}
    one = regime(decisions=Decisions(ROOM, "label-smoothing", gaps))
    assert one.without_room == (SETS[10],)
    assert one.undecided == (SETS[11],)
    assert any("Room not decided" in line and SETS[11] in line for line in status(one))
    assert [row.cells[0].text for row in gap_table(one).bodies[0].rows][-2:] == ["no", "not decided"]


def test_of_one_seed_there_are_no_intervals_and_nothing_is_told_apart():
    one = regime([line for line in made_lines(sets=SETS[:3]) if line.seed == 0], Decisions())
    found = dict(answers(one))
    helps = found["Which methods help?"]
    assert helps.startswith(
        "3 sets: too few for a test (it needs 6), and under one seed no set has an interval over seeds"
    )
    assert "those of the table are over the sets" in helps, "where there are some"
    assert "Which never do?" not in found
    assert (one.room.best, one.room.alike) == ("good", frozenset())
    table = standing_table(one, one.room, "room", "Over all sets")
    assert table.bodies[0].rows[0].cells[0].text.startswith("+4.0 [")
    assert {row.mark for body in table.bodies for row in body.rows} == {""}
    (note,) = table.notes
    assert note.startswith("No row is marked as the best, or as not told apart from it: with 6 rows the test needs 8 ")
    assert note.endswith(" sets, and there are 3.")
    assert not {"better", "worse"} & {head.text for head in table.heads}, "no interval, so no set is counted as open"
    several = regime()
    heads = {head.text for head in standing_table(several, several.room, "room", "Over all sets").heads}
    assert {"better", "worse"} <= heads


def test_a_page_of_no_results_says_so():
    page = board_files("mmkd-bench v1", [Plan("A"), Plan("B")], [], {})["index.html"]
    assert "There are no results yet for A and B." in page
    assert "<table" not in page


def test_the_best_row_stands_on_top_and_is_marked():
    one = regime()
    table = standing_table(one, one.room, "room", "")
    assert table.heads[table.by].text == "rank"
    assert table.order == "ascending"
    first = table.bodies[0].rows
    assert first[0].name == "good"
    assert [row.mark for row in first] == ["best", "", "", "", ""]
    assert list(table.notes) == []
    assert table.how[0].endswith("are marked; by: Wilcoxon's signed-rank test over 10 sets, Holm, 0.05.")
    without = regime([line for line in made_lines() if line.row != "good"])
    table = standing_table(without, without.room, "room", "")
    assert [row.mark for body in table.bodies for row in body.rows].count("alike") == 1
    assert table.notes[0].startswith("\u2248: not told apart from the best row")
    assert first[-1].name == "bad"
    body = sorted_body(
        Body("", [Entry("a", [Cell("")]), Entry("b", [Cell("", 1.0)]), Entry("c", [Cell("", 2.0)])]), 0, "lower"
    )
    assert [row.name for row in body.rows] == ["b", "c", "a"]


def test_cells_of_the_map_say_size_and_certainty():
    one = regime()
    table = change_map(one)
    rows = {entry.name: entry for body in table.bodies for entry in body.rows}
    assert all(cell.text.startswith("▲ +") and cell.style.startswith("mu3") for cell in rows["good"].cells)
    assert all(cell.text.startswith("▼ -") and cell.style.startswith("md3") for cell in rows["bad"].cells)
    assert sum("▲" in cell.text or "▼" in cell.text for cell in rows["equal"].cells) <= 3
    assert [cell.style.endswith("edge") for cell in rows["good"].cells].index(True) == 10, "those without room are last"
    assert "95 % interval" in rows["good"].cells[0].title
    assert "random-forest" in rows


def test_a_title_leaves_the_name_of_a_metric_as_it_is():
    lines = [replace(line, metric="miou") for line in made_lines(sets=SETS[:2]) if line.metric == "macro_f1"]
    of_steps = BoardRegime(Plan("A", metric="miou"), lines, Decisions())
    assert score_table(of_steps).title == "mIoU on each set"
    assert score_table(regime()).title == "Macro-F1 on each set"


def test_scores_mark_the_best_students_of_a_set_and_count_seeds():
    lines = [line for line in made_lines() if line.row != "bad" or line.seed < 3]
    table = score_table(regime(lines))
    rows = {entry.name: entry for body in table.bodies for entry in body.rows}
    assert {cell.style for cell in rows["good"].cells} == {"best"}
    assert {cell.style for cell in rows["random-forest"].cells} == {""}, "it is no student"
    assert rows["bad"].cells[0].text.endswith(" (3)")
    assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3}", rows["good"].cells[0].text)
    assert [body.heading[:8] for body in table.bodies] == ["", "controls", "teachers", "peers: n"]


def test_gaps_of_the_selection_phase_stand_beside_those_of_the_test():
    table = gap_table(regime())
    cells = table.bodies[0].rows[0].cells
    assert cells[0].text == "yes"
    assert cells[1].text == "+8.0 [+6.0, +10.0]"
    assert cells[2].value == pytest.approx(0.08, abs=0.01)
    assert cells[5].text == "teacher sig"
    heads = [head.text for head in table.heads]
    assert heads[1] == "accuracy gap, selection", "of another score than the rest"
    assert heads[2] == "macro-F1 gap, test"
    assert "macro-F1" in table.title
    assert gap_table(regime()).bodies[0].rows[-1].cells[0].text == "no"


def test_teacher_student_and_gap_are_of_one_teacher_and_of_the_same_seeds():
    best = [
        replace(line, row="teacher sig best epoch", value=line.value + 0.05)
        for line in made_lines()
        if line.row == "teacher sig" and line.seed == 4
    ]
    lines = [line for line in made_lines() if line.row != "teacher sig" or line.seed in (1, 2)]
    one = regime([*lines, *best])
    for row, case in zip(gap_table(one).bodies[0].rows, one.cases, strict=True):
        gap, teacher, alone = (cell.value for cell in row.cells[2:5])
        assert teacher - alone == pytest.approx(gap)
        assert row.cells[5].text == "teacher sig", "not the better one, that has one seed"
        assert row.cells[6].text == "2"
        student = one.scores.student.on(case)
        assert alone == pytest.approx((student[1] + student[2]) / 2)


def test_rows_of_fewer_seeds_are_marked_in_every_table_and_figure():
    lines = [line for line in made_lines() if line.row not in ("bad", "equal") or line.seed == 0]
    lines = [line for line in lines if line.row != "random-forest" or line.seed < 2]
    one = regime(lines)
    tables = [change_map(one), score_table(one), standing_table(one, one.room, "room", "")]
    for table in tables:
        found = {row.name: list(row.badges) for body in table.bodies for row in body.rows}
        assert found["bad"] == found["equal"] == ["1 seed"]
        assert found["random-forest"] == ["2 seeds"]
        assert found["good"] == found.get("student", []) == []
    notes = " ".join(tables[-1].notes)
    assert "held against it under the seeds that the row has" in notes
    assert re.search(r"Under seed 0 alone \(under all of their seeds\) others have good \+\d\.\d \(\+\d\.\d\)", notes)
    _, caption, chart = change_figure(one)
    names = [text.text for text in chart.iter("text")]
    assert "bad (1 seed)" in names
    assert "good" in names
    hollow = [each for each in chart.iter("polygon") if each.get("class").startswith("hollow")]
    assert len(hollow) == 2
    assert "a hollow mark is of fewer seeds" in caption
    assert "Hollow: fewer seeds." in "".join(text.text for text in change_file(one).iter("text"))
    assert "1 seed" not in str(standing_table(regime(), regime().room, "room", "")), "where none has fewer"
    assert "the largest change of a method is" in dict(answers(one))["And without a network?"]


def test_the_note_on_fewer_seeds_is_of_those_that_most_of_these_rows_have():
    lines = [line for line in made_lines() if line.row not in ("bad", "equal") or line.seed == 0]
    lines = [line for line in lines if line.row != "like-smoothing" or line.seed < 2]
    notes = " ".join(standing_table(regime(lines), regime(lines).room, "room", "").notes)
    assert "Under seed 0 alone (under all of their seeds) others have good" in notes


def test_of_rows_with_other_seeds_none_is_the_best_of_a_set():
    lines = [line for line in made_lines() if line.row != "good" or line.seed == 0]
    table = score_table(regime(lines))
    rows = {entry.name: entry for body in table.bodies for entry in body.rows}
    assert {cell.style for cell in rows["good"].cells} == {""}, "its mean is of one seed"
    assert "best" in {cell.style for cell in rows["like-smoothing"].cells}


def test_where_all_rows_have_one_seed_none_is_marked_and_the_note_says_what_they_are_held_against():
    one = regime([line for line in made_lines() if line.seed == 0 or (line.row == "student" and line.seed == 1)])
    table = standing_table(one, one.room, "room", "")
    assert {tuple(row.badges) for body in table.bodies for row in body.rows} == {()}
    assert table.notes[-1] == (
        "A row of fewer seeds than the student alone is held against it under the seeds that the row has."
    )


def test_a_ratio_of_costs_has_three_digits_and_says_of_how_many_sets_it_is():
    moved = [
        replace(line, machine="there") if line.row == "good" and line.dataset in SETS[:3] else line
        for line in made_lines()
    ]
    one = regime([replace(line, value=line.value * 1.2345) if line.row == "good" else line for line in moved])
    table = standing_table(one, one.room, "room", "")
    training = [head.text for head in table.heads].index("training")
    rows = {row.name: row.cells[training].text for body in table.bodies for row in body.rows}
    assert rows["good"] == "x2.47 (7 sets)"
    assert rows["bad"] == "x1"


def test_costs_of_networks_have_their_units_and_say_what_was_not_measured():
    lines = [line for line in made_lines() if line.metric != "macs" or line.kind != "teacher"]
    lines += [
        replace(line, metric="bytes", value=14_300.0)
        for line in lines
        if line.metric == "seconds" and line.row == "student"
    ]
    table = network_table(regime(lines))
    assert [head.text for head in table.heads] == ["MACs", "size, kB", "training, s"]
    rows = {row.name: [cell.text for cell in row.cells] for row in table.bodies[0].rows}
    assert rows["set00: student"] == ["1,000,000", "14.3", "10.0"]
    assert rows["set00: teacher"] == ["not measured", "not measured", "60.0"]


def test_how_many_sets_are_needed_counts_all_rows_that_are_tested():
    few = regime(made_lines(sets=SETS[:6]), Decisions())
    said = dict(answers(few))["Which methods help?"]
    assert "With 5 rows tested (4 methods, 1 control) 8 sets would be needed before any could be." in said


def test_the_colours_of_kinds_are_those_of_all_figures():
    one = regime()
    found = [figure for group in regime_figures(one, 1, Album()) for figure in group]
    assert [figure.id.rpartition("regime-1-")[2] for figure in found][:2] == ["change", "ranks"]
    for figure in found:
        assert "Methods are blue, controls and the student alone grey" in figure.caption
        assert "s1" not in re.findall(r'class="(?:solid|hollow|line) (s\d)"', str(figure.svg) + str(figure.wide))


def test_tuned_rows_stand_beside_their_defaults_and_are_not_ranked():
    lines = made_lines(rows=(*ROWS, ("method", "good (tuned)", 0.06)))
    one = regime(lines)
    assert "good (tuned)" not in one.room.ranks
    row = tuned_table(one).bodies[0].rows[0]
    assert row.name == "good (tuned)"
    assert row.cells[0].value == pytest.approx(0.02, abs=0.004)
    assert row.cells[2].value == pytest.approx(0.06, abs=0.004)
    assert tuned_table(regime()) is None


def test_the_changes_of_a_tuned_row_are_of_the_sets_and_seeds_that_its_default_has_too():
    lines = made_lines(rows=(*ROWS, ("method", "good (tuned)", 0.06)))
    few = [line for line in lines if not line.tuned or (line.seed == 1 and line.dataset in SETS[:7])]
    odd = [replace(line, value=0.1) if line.row == "good" and line.seed != 1 else line for line in few]
    row = tuned_table(regime(odd)).bodies[0].rows[0]
    difference, default, tuned, *_, sets = (cell.value for cell in row.cells)
    assert (sets, tuned) == (7, pytest.approx(0.06, abs=0.006))
    assert default == pytest.approx(tuned - difference)


def test_rows_of_others_and_bounds_are_shown_with_a_mark_and_are_not_ranked():
    rows = (*ROWS, ("method", "theirs", 0.09), ("control", "student-ensemble", 0.1))
    lines = [replace(line, verified=line.row != "theirs") for line in made_lines(rows=rows)]
    one = regime(lines)
    assert one.room.best == "good"
    assert not {"theirs", "student-ensemble"} & set(one.room.ranks)
    table = standing_table(one, one.room, "room", "")
    found = {entry.name: entry for body in table.bodies for entry in body.rows}
    assert found["theirs"].badges == ["not verified"]
    assert found["student-ensemble"].badges == ["a bound: several students"]
    assert found["theirs"].cells[0].value == pytest.approx(0.09, abs=0.004)
    p = [head.text for head in table.heads].index("p alone")
    assert found["theirs"].cells[p].value == pytest.approx(6 * 2**-9), "the smallest of ten sets, with five ranked rows"
    page = board_files("v1", [one.plan], lines, {"A": DECIDED})["index.html"]
    assert "4 methods of knowledge distillation on 12 data sets" in page


def test_intervals_over_subjects_are_of_accuracy_where_only_that_is_known():
    lines = made_lines(sets=SETS[:2])
    scores = [replace(line, metric="accuracy") for line in lines if line.metric == "macro_f1"]
    single = [replace(line, subject=str(n), value=line.value + 0.01 * n) for line in scores for n in range(5)]
    one = regime([*lines, *scores, *[line for line in single if line.dataset == SETS[0]]])
    table = subject_table(one)
    assert [head.text for head in table.heads] == [SETS[0]]
    rows = {entry.name: entry for body in table.bodies for entry in body.rows}
    assert re.fullmatch(r"▲ \+\d\.\d \[\+\d\.\d, \+\d\.\d\]", rows["good"].cells[0].text)
    assert "5 test subjects and 5 seeds" in rows["good"].cells[0].title
    assert subject_table(regime()) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[A]\nteachable = 3", "no list of names"),
        ("[A]\nbest_control = 3", "no name"),
        ("[A]\ngaps = 3", "no table"),
        ("[A.gaps]\nx = 'a'", "no number"),
        ("[A.gaps]\nx = {low = 1.0}", "no mean"),
        ("[A", "decisions"),
    ],
)
def test_a_damaged_file_of_decisions_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "decisions.toml").write_text(text)
    with pytest.raises(MmkdError, match=words) as error:
        read_decisions(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('protocol = "v1-000000000000"\n', "it is of protocol 'v1-000000000000', and this is v1-0123456789ab; "),
        ("protocol = 3\n", "it is of protocol 3, and this is v1-0123456789ab; "),
        ('[regimes]\nA = "x"\n', "decisions.toml, A: 'x' is no table"),
    ],
)
def test_decisions_of_another_protocol_are_refused(tmp_path, text, words):
    (tmp_path / "decisions.toml").write_text(text)
    with pytest.raises(MmkdError, match=re.escape(words)):
        read_decisions(tmp_path, "v1-0123456789ab")


def test_decisions_are_read(tmp_path):
    assert read_decisions(tmp_path) == {}
    text = """[A]
teachable = ["x"]
best_control = "label-smoothing"
[A.gaps]
x = 0.03
y = {mean = 0.01, low = -0.01, high = 0.03}
[B]
"""
    (tmp_path / "decisions.toml").write_text(text)
    assert read_decisions(tmp_path) == {
        "A": Decisions(frozenset({"x"}), "label-smoothing", {"x": Gap(0.03), "y": Gap(0.01, -0.01, 0.03)}),
        "B": Decisions(),
    }


PROTOCOL = """
version = "v1"
seeds = [0, 1, 2, 3, 4]
metric = "macro_f1"
[datasets.one]
name = "set00"
[datasets.two]
name = "set01"
[regimes.A]
title = "few <labels>"
datasets = ["one", "two"]
[regimes.B]
datasets = ["one"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "protocol.toml").write_text(PROTOCOL)
    (tmp_path / "results").mkdir()
    title = read_protocol(tmp_path).title
    lines = [replace(Line(**asdict(line)), protocol=title) for line in made_lines(sets=SETS[:2])]
    (tmp_path / "results" / "A.csv").write_text(csv_text(lines))
    (tmp_path / "decisions.toml").write_text(
        '[A]\nteachable = ["one"]\nbest_control = "label-smoothing"\n[A.gaps]\none = 0.05\n'
    )
    return tmp_path


def test_the_command_writes_the_page_of_a_folder(folder, capsys):
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 0
    assert capsys.readouterr().out.strip().endswith("index.html")
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "few &lt;labels&gt;" in page
    assert "On 1 of 2 sets there is room; there the best teacher leads by +5.0 points" in page
    assert re.search(r"0 of 1 set has results", page)
    assert not re.search(r"(src|href)=\"?(https?:)?//", page)


def test_results_of_another_protocol_are_left_out_with_a_note(folder, capsys):
    path = folder / "results" / "A.csv"
    path.write_text(path.read_text().replace(read_protocol(folder).title, "v1-0123456789ab"))
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 0
    assert "results of 'v1-0123456789ab' are left out: the files of this protocol are v1-" in capsys.readouterr().err
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "There are no results yet" in page
    assert "are left out: the files of this protocol are v1-" in page


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: [*lines, lines[3]], "repeats one above it"),
        (
            lambda lines: [lines[0], *lines[1:3], lines[3].replace(",student,", ",winner,", 1)],
            "kind 'winner' is none of",
        ),
    ],
)
def test_a_table_that_repeats_a_line_or_has_an_unknown_kind_is_refused(folder, capsys, change, why):
    path = folder / "results" / "A.csv"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    assert why in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_carried_protocol_is_not_written_into(folder, tmp_path_factory, monkeypatch):
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    monkeypatch.setattr(command, "__file__", str(folder.parent / "cli" / "results.py"))
    assert command.main(["page", "--folder", str(folder)]) == 0
    assert (here / "board" / "index.html").is_file()
    assert not (folder / "page").exists()
    monkeypatch.setattr(command, "__file__", str(here / "cli" / "results.py"))
    assert command.main(["page", "--folder", str(folder)]) == 0
    assert (folder / "page" / "index.html").is_file()


def test_bad_input_writes_nothing(folder, capsys):
    (folder / "results" / "A.csv").write_text("a,b\n1,2\n")
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (folder / "out").exists()
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "protocol.toml")]) == 2
    assert "not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results/A.csv", "decisions.toml"])
def test_what_is_no_plain_file_is_refused(folder, capsys, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "out").exists()


def test_a_mark_at_the_start_and_an_empty_line_at_the_end_are_right(folder):
    path = folder / "results" / "A.csv"
    before = load_results(folder)
    path.write_text("\ufeff" + path.read_text() + "\n", encoding="utf-8")
    assert load_results(folder).equals(before)


@pytest.mark.parametrize("value", ["inf", "true", "{mean = 1e400}"])
def test_a_gap_is_a_number(folder, capsys, value):
    path = folder / "decisions.toml"
    path.write_text(path.read_text().replace("one = 0.05", f"one = {value}"))
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    assert "is no number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('teachable = ["one"]', 'teachable = ["one", "won"]', "A: data set 'won' is none of the regime ("),
        ("one = 0.05", "won = 0.05", "A: data set 'won' is none of the regime ("),
        ("one = 0.05", "one = 9.9", "A, gap of one: 9.9: a difference of shares is between -1 and 1"),
        ("one = 0.05", "one = {mean = 0.1, low = 0.3, high = 0.2}", "and low not above high"),
        ("one = 0.05", "one = {mean = 0.1, low = 0.0, high = -0.1}", "and low not above high"),
        ("one = 0.05", "one = {mean = 0.1, low = 0.1, high = 0.0}", "and low not above high"),
        ('["one"]', '["one", "one"]', "has a name twice"),
        ('control = "label-smoothing"', 'control = "kd"', "A: best_control = 'kd' is no control"),
        ('control = "label-smoothing"', 'control = "nonsense"', "A: best_control = 'nonsense' is no control"),
        ("[A]\n", "[a]\n[A]\n", "regime 'a' is none of the protocol ("),
    ],
)
def test_decisions_on_what_the_protocol_lacks_are_refused(folder, capsys, old, new, said):
    path = folder / "decisions.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (folder / "out").exists()


def test_the_folder_of_the_page_is_an_option_of_page_alone(folder, capsys):
    assert command.main(["decide", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    assert capsys.readouterr().err == "mmkd.results: --out goes with make and page\n"
    assert not (folder / "out").exists()


@pytest.mark.parametrize(("old", "new"), [(r",0\.\d+,", ",nan,"), (r",0\.\d+,", ",-inf,"), (r",0,,", f",{'9' * 30},,")])
def test_a_table_with_no_finite_numbers_is_refused(folder, capsys, old, new):
    path = folder / "results" / "A.csv"
    text, changed = re.subn(old, new, path.read_text(), count=1)
    assert changed == 1
    path.write_text(text)
    assert command.main(["page", "--folder", str(folder), "--out", str(folder / "out")]) == 2
    said = capsys.readouterr().err
    assert "it is no table of results" in said
    assert said.count("\n") == 1
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", [{"regime": 3}, {"regime": []}, {"dataset": ["one"]}, {"dataset": 0}])
def test_what_is_no_name_is_said(folder, name):
    with pytest.raises(MmkdError, match="is not a name"):
        load_results(folder, **name)


def of(*kinds):
    """Lines of rows of these kinds."""
    return [line for line in made_lines() if line.kind in kinds]


def test_without_a_student_or_a_shared_seed_no_reason_is_made_up():
    """It was said that no row has results on all sets, "and there are 0" of them; and that a control has no results."""
    alone = regime(of("method", "control", "teacher"))
    assert "No ranks over the sets (with room): there is no student alone." in status(alone)
    page = board_files("v1", [alone.plan], of("method", "control"), {"A": DECIDED})["index.html"]
    assert "and there are 0" not in page
    assert "0 of 0 rows" not in page, "a table without a row"
    apart = regime([line for line in made_lines() if (line.kind == "student") == (line.seed < 2)])
    reason = "on no set do half of the rows have the first seed of the student alone"
    assert f"No ranks over the sets (with room): {reason}." in status(apart)
    found = dict(answers(apart))
    assert found["Which methods help?"].startswith("No method has a seed in common with the student alone")
    notes = standing_table(apart, apart.room, "room", "").notes
    unpaired = "good, equal, bad, like-smoothing, label-smoothing and random-forest"
    assert notes[-1] == f"No seed in common with the student alone, and so no change: {unpaired}."
    lines = made_lines()
    lines = [line for line in lines if line.kind == "student" or (line.row == "label-smoothing") == (line.seed < 2)]
    found = dict(answers(regime(lines)))
    assert found["Is it the teacher?"] == "Not answered: no method has a seed in common with label-smoothing here."
    complete = standing_table(regime(), regime().room, "room", "").notes
    assert not any("in common" in note for note in complete)


def test_peers_alone_are_no_results_of_students():
    found = regime(of("peer"))
    assert status(found)[0].startswith("0 of 12 sets have results of students,")
    assert "1 row of teachers and peers: they are shown beside students." in status(found)
    page = board_files("v1", [found.plan], of("peer"), {"A": DECIDED})["index.html"]
    assert "There are no results of students yet for A." in page
    assert "<table" not in page
    unverified = [replace(line, verified=line.kind != "method") for line in made_lines()]
    for lines in (of("student", "control", "peer"), unverified):
        said = dict(answers(regime(lines)))["Which methods help?"]
        assert said == "No ranked method (verified, with its defaults) has results here."


def test_seeds_are_those_that_a_change_is_of():
    """A row that was sent in has all seeds, and the student alone may have fewer."""
    lines = [line for line in made_lines() if line.kind != "student" or line.seed < 2]
    found = regime(lines)
    table = standing_table(found, found.room, "room", "")
    seeds = [head.text for head in table.heads].index("seeds")
    assert {entry.cells[seeds].text for body in table.bodies for entry in body.rows} == {"2"}
    assert "Which never do?" not in dict(answers(found)), "intervals over two seeds nearly always hold 0"
    _, caption, _ = change_figure(found)
    assert "over 10 sets, 2 seeds;" in caption


def test_a_row_of_fewer_sets_says_so_and_leads_over_none_that_it_lacks():
    """`good` is on one set that is split by subject: it has no change on the four, and its mean is of one set."""
    lines = [line for line in made_lines() if line.row != "good" or line.dataset == SETS[0]]
    plan = replace(regime().plan, subject_sets=frozenset(SETS[:4]))
    found = BoardRegime(plan, lines, replace(DECIDED, teachable=frozenset(SETS[:5])))
    said = dict(answers(found))
    assert "on 1 set)" in said["And where there is room?"]
    assert "good" not in said["And for people who are new?"]
    assert "of 5 rows with results on both change" in said["And for people who are new?"]
    halves = [
        line
        for line in made_lines()
        if line.kind == "student" or (line.dataset in SETS[:4]) == (line.row in ("good", "equal"))
    ]
    said = dict(answers(BoardRegime(plan, halves, DECIDED)))["And for people who are new?"]
    assert said.startswith("No row has results on all of the 4 sets split by subject and the other 8. There")


def test_sets_that_are_not_decided_are_not_said_to_be_with_or_without_room():
    found = regime(decisions=replace(DECIDED, teachable=frozenset(SETS[:6]), gaps={SETS[0]: Gap(0.08)}))
    assert found.kinds_of_sets == "with room and not decided"
    assert "Over 12 sets with room and not decided, " in dict(answers(found))["Which methods help?"]
    assert any("no statistic over sets with room or without: set06" in line for line in status(found))
    assert regime().kinds_of_sets == "with and without room"


def test_on_one_set_it_is_not_none_of_the_1_set():
    found = regime(made_lines(sets=SETS[:1]), Decisions(), SETS[:1])
    said = dict(answers(found))["Which never do?"]
    assert re.fullmatch(r"[a-z, -]+ (is|are) not shown to be better than the student alone on the 1 set\.", said)


def test_the_board_shows_what_more_configurations_would_have_found(tmp_path):
    """Each curve begins with the default; with all configurations it ends with the best."""
    for name, scores in (("good", [0.5, 0.9, 0.4]), ("equal", [0.7]), ("bad", [0.2, 0.3])):
        (tmp_path / f"{name}.toml").write_text(f'method = "{name}"\nscores = {scores}\n', encoding="utf-8")
    (tmp_path / "older.toml").write_text('method = "older"\n', encoding="utf-8")
    tried = read_tried(tmp_path)
    assert tried == {"bad": [0.2, 0.3], "equal": [0.7], "good": [0.5, 0.9, 0.4]}
    _, costs = regime_figures(regime(decisions=replace(DECIDED, tried=tried)), 1, Album())
    (figure,) = [figure for figure in costs if "budget" in figure.id]
    shown = [tip for tip in re.findall(r"<title>(.*?)</title>", str(figure.svg)) if " at " in tip]
    assert shown == ["good: 0.5 at 1", "good: 0.7 at 2", "good: 0.9 at 3", "bad: 0.2 at 1", "bad: 0.3 at 2"]
    assert not [figure for figure in regime_figures(regime(), 1, Album())[1] if "budget" in figure.id]
    assert read_tried(tmp_path / "nowhere") == {}
    (tmp_path / "bad.toml").write_text('scores = [0.5, "x"]\n', encoding="utf-8")
    with pytest.raises(MmkdError, match="are no numbers"):
        read_tried(tmp_path)


def test_the_first_table_of_rows_that_nobody_has_verified():
    lines = [replace(line, verified=False) for line in (*made_lines(), *made_lines("B", SETS[:3]))]
    plans = [Plan(name, "", "", "macro_f1", SETS, SEEDS) for name in "AB"]
    table = overview([BoardRegime(plan, lines, DECIDED) for plan in plans])
    texts = [[cell.text for cell in entry.cells] for entry in table.bodies[0].rows] if table else []
    assert all(text[5].endswith(" of 5") for text in texts)


def test_a_student_that_few_rows_have_counts_for_them_alone():
    """`kd` exists for a second fusion beside a method that asks for it: its mean is of the usual students."""
    lines = []
    for name, gain, students in (
        ("student", 0.0, ("sig concat", "sig attention")),
        ("kd", 0.02, ("sig concat",)),
        ("kd", 0.2, ("sig attention",)),
        ("fam", 0.01, ("sig concat",)),
        ("aver", 0.03, ("sig concat",)),
        ("at", 0.01, ("sig concat",)),
        ("rld", 0.01, ("sig concat",)),
        ("dkd", 0.01, ("sig concat",)),
        ("ebkd", 0.05, ("sig attention",)),
    ):
        kind = "student" if name == "student" else "method"
        for dataset in ("one", "two"):
            for student in students:
                lines += [line_of(kind, name, dataset, student, seed, 0.5 + gain) for seed in (0, 1)]
    regime = BoardRegime(Plan("A", "", "", "macro_f1", ("one", "two"), (0, 1)), lines, Decisions())
    assert {case.student for case in regime.scores.usual_cases} == {"sig concat"}
    means = {name: test.mean for name, test in regime.all_sets.against_student.items()}
    assert means["kd"] == pytest.approx(0.02)
    assert means["ebkd"] == pytest.approx(0.05), "of its own student"
    assert regime.all_sets.sets == ("one", "two")
    (table,) = [standing_table(regime, regime.all_sets, "all", "")]
    assert any(line.startswith("Students of a set that few rows have") for line in table.how)


def line_of(kind, row, dataset, student, seed, value):
    return Line(
        "v1-0", "A", dataset, student, kind, row, row, seed, "", "macro_f1", value, False, False, True, "", "", ""
    )
