"""What a tuning phase found: from records made by hand to curves, files, page and terminal."""

import csv
import io
import itertools
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd.compare import main as compare_main
from mmkd.comparison.compare import compare
from mmkd.comparison.tuned import tuned_changes
from mmkd.comparison.tuning import Tried, Tuning, is_of_tuning, tuning_phases
from mmkd.core.refusal import Refusal
from mmkd.report.tuning import choice_line, duration, option_words, tuned_cells
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records

TABLE, OTHER = "ab" * 16, "cd" * 16
FOLD = DataSpec("sines", "ab" * 32, inner_fold=(1, 3))
KD = UnitSpec(
    data=FOLD,
    seed=10000,
    method="kd",
    options={"temperature": 4.0, "kd_weight": 0.7},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1"},
    teacher_training=Training(epochs=9),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
    tuning={"table": TABLE, "number": 0},
)


def configuration(number, table=TABLE, base=KD, **options):
    """Configuration `number`: of a temperature of its own, the default at 0."""
    own = {"temperature": 4.0 + number, **options}
    return replace(base, options={**base.options, **own}, tuning={"table": table, "number": number})


def write(runs, spec, score, seconds=10.0, threads=1):
    """A record of a unit or teacher by hand."""
    kind = "student" if isinstance(spec, UnitSpec) else "teacher"

    def fill(folder):
        return {
            "kind": kind,
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": {"accuracy": score, "macro_f1": score, "nll": 1.0}},
            "parameters": 12,
            "seconds": seconds,
            "best_epoch": 4,
            "teachers": {n: spec.teacher(n).key for n in spec.teachers} if kind == "student" else {},
            "data": {"classes": ["a", "b"]},
            "environment": {"platform": "p", "processor": "c", "device": "cpu", "threads": threads, "processes": 1},
        }

    return Records(runs).write(spec.key, fill)


SCORES = (0.70, 0.65, 0.80, 0.72, 0.80, 0.61)


def phase_of(runs):
    (phase,) = tuning_phases(list(Records(runs)))
    return phase


@pytest.fixture
def runs(tmp_path):
    """Six configurations of `kd`, three of `at`, and the teacher in the fold."""
    for number, score in enumerate(SCORES):
        write(tmp_path, configuration(number), score, seconds=10.0 + number)
    at = replace(KD, method="at", options={"weight": 1000.0})
    for number, score in enumerate((0.75, 0.60, 0.74)):
        write(tmp_path, configuration(number, OTHER, at), score, seconds=20.0)
    write(tmp_path, KD.teacher("sig"), 0.9, seconds=33.0)
    return tmp_path


def test_scores_by_number_and_what_is_best(runs):
    phase = phase_of(runs)
    assert [tuning.name for tuning in phase.tunings] == ["kd", "at"], "the best score first"
    kd, at = phase.tunings
    assert [tried.number for tried in kd.tried] == list(range(6))
    assert [tried.score for tried in kd.tried] == list(SCORES)
    assert kd.best.number == 2, "of equal scores the lower number"
    assert kd.chosen == {"temperature": 6.0}
    assert kd.better_than_default == 3
    assert at.best.number == 0
    assert (at.chosen, choice_line(at)) == ({}, "at: best is 0, the default")
    assert (phase.trainings, phase.seconds) == (9, 6 * 10 + 15 + 60)
    assert (phase.teachers, phase.teacher_seconds, phase.part) == (1, 33.0, "1 of 3")
    assert phase.budgets == [1, 5, 6]
    assert phase.notes == []


def test_a_budget_is_simulated_over_all_orders_after_the_default(runs):
    kd = phase_of(runs).tunings[0]
    for budget in range(1, 7):
        orders = itertools.permutations(range(1, 6), budget - 1)
        picks = [[0, *order] for order in orders]
        found = kd.budget(budget)
        assert found.score == pytest.approx(np.mean([max(SCORES[n] for n in pick) for pick in picks]))
        assert found.seconds == pytest.approx(np.mean([sum(10.0 + n for n in pick) for pick in picks]))
        assert found.low <= found.score + 1e-12 <= found.high + 2e-12
    assert [budget.trainings for budget in kd.usual] == [1, 5, 6]
    assert kd.curve[0].score == SCORES[0]
    assert kd.curve[-1].score == max(SCORES)


def test_where_lower_is_better_the_best_is_the_lowest(monkeypatch):
    tried = [Tried(n, score, 1.0, {"weight": n}) for n, score in enumerate((0.5, 0.3, 0.9))]
    tuning = Tuning("kd", "kd", TABLE, tried, "nll")
    assert tuning.sign == -1
    assert tuning.best.number == 1
    assert tuning.better_than_default == 1
    assert tuning.budget(2).score == pytest.approx((0.3 + 0.5) / 2)
    assert tuning.budget(3).score == 0.3
    assert (tuning.budget(2).low, tuning.budget(2).high) == (0.3, 0.5)


def test_tables_of_other_options_are_not_put_together(runs):
    for number, score in enumerate((0.90, 0.95)):
        write(runs, configuration(number, OTHER, kd_weight=0.5), score)
    phase = phase_of(runs)
    named = {tuning.name: [tried.score for tried in tuning.tried] for tuning in phase.tunings if tuning.method == "kd"}
    assert named == {f"kd table={OTHER[:8]}": [0.90, 0.95], f"kd table={TABLE[:8]}": list(SCORES)}


def test_other_data_and_students_are_phases_of_their_own(runs):
    other = replace(KD, data=replace(FOLD, name="others"))
    write(runs, other, 0.5)
    write(runs, replace(KD, student_net="medium"), 0.5)
    write(runs, replace(KD, training=Training(epochs=7, given=("epochs",))), 0.5)
    phases = tuning_phases(list(Records(runs)))
    assert [phase.dataset for phase in phases] == ["others", "sines", "sines", "sines"]
    assert len({phase.title for phase in phases}) == 4
    assert [phase.trainings for phase in phases if len(phase.tunings) == 2] == [9]


def test_several_seeds_are_averaged_and_who_lacks_one_is_left_out(runs):
    again = replace(KD, seed=10001)
    for number, score in enumerate(SCORES[:-1]):
        write(runs, configuration(number, base=again), score - 0.1 * (number == 4), seconds=10.0)
    phase = phase_of(runs)
    kd = phase.tunings[0]
    assert [tried.number for tried in kd.tried] == [0, 1, 2, 3, 4]
    assert kd.tried[4].score == pytest.approx(SCORES[4] - 0.05)
    assert kd.tried[0].seconds == 20.0
    assert "kd: without all seeds of its default, left out: 5" in phase.notes


def test_what_is_missing_is_said(tmp_path):
    for number in (1, 2):
        write(tmp_path, configuration(number), 0.5)
    assert tuning_phases(list(Records(tmp_path))) == [], "without the default there is nothing to begin with"
    write(tmp_path, configuration(0), 0.6, threads=4)
    write(tmp_path, configuration(5), 0.7)
    phase = phase_of(tmp_path)
    assert phase.notes == [
        "kd: configurations that are not on record: 3, 4",
        "trained on several kinds of machine, so that seconds are not those of one",
    ]


def test_only_units_that_say_so_are_of_tuning(runs):
    selected = replace(KD, tuning={}, seed=3)
    write(runs, selected, 0.1)
    records = list(Records(runs))
    assert sum(map(is_of_tuning, records)) == 9
    assert phase_of(runs).trainings == 9
    final = replace(KD, data=replace(FOLD, inner_fold=()), seed=0, tuning={})
    write(runs, final, 0.8)
    write(runs, final.teacher("sig"), 0.8)
    found = compare(Records(runs))
    assert [unit.key for group in found.groups for row in group.rows for unit in row.members if row.kind == "student"]
    assert all(not record.unit.tuning for record in found.records if record.kind == "student")
    assert len(found.tunings) == 1


def test_the_folds_of_the_test_part_have_phases_of_their_own(tmp_path):
    for fold, score in ((1, 0.9), (2, 0.5)):
        data = replace(FOLD, stratified_fold=(fold, 5), fold=f"fold {fold} of 5")
        for number in range(2):
            write(tmp_path, configuration(number, base=replace(KD, data=data)), score + 0.01 * number)
    phases = tuning_phases(list(Records(tmp_path)))
    assert [phase.dataset for phase in phases] == ["sines, fold 1 of 5", "sines, fold 2 of 5"]
    assert [phase.tunings[0].best.score for phase in phases] == [0.91, 0.51]


FINAL = replace(KD, data=replace(FOLD, inner_fold=()), tuning={})
CHOSEN = {"table": TABLE, "number": 2, "budget": 6, "on": ["sines"]}


def tuned(seed, number=2):
    options = {**KD.options, "temperature": 4.0 + number}
    return replace(FINAL, seed=seed, options=options, tuned={**CHOSEN, "number": number})


@pytest.fixture
def final(tmp_path):
    """Three seeds of the student alone, of `kd`, of `kd` with another share, and of `kd` tuned."""
    alone = replace(FINAL, method="student", options={}, views={"sig": {}}, teachers={}, teacher_training=None)
    for seed, gain in enumerate((0.02, 0.03, 0.04)):
        write(tmp_path, replace(alone, seed=seed), 0.7)
        write(tmp_path, replace(FINAL, seed=seed), 0.8)
        write(tmp_path, tuned(seed), 0.8 + gain)
        write(tmp_path, replace(FINAL, seed=seed).teacher("sig"), 0.9)
    return tmp_path


def test_a_tuned_row_stands_beside_its_default(final):
    (group,) = compare(Records(final)).groups
    (found,) = tuned_changes(group)
    assert (found.tuned.name, found.default.name) == ("kd (tuned)", "kd")
    assert found.change.mean == pytest.approx(0.03)
    assert found.change.n == 3
    assert found.answer == "yes"
    assert found.chosen == {2: {"temperature": 6.0}}
    assert (found.budget, found.on) == (6, ["sines"])


def test_only_its_own_method_is_its_default(final):
    for seed in range(3):
        write(final, replace(FINAL, seed=seed, method="aver"), 0.2)
        write(final, replace(tuned(seed), method="at"), 0.2)
    (group,) = compare(Records(final)).groups
    (found,) = tuned_changes(group)
    assert found.default.name == "kd", "at (tuned) has no default on record"


def test_without_a_common_seed_no_change_is_made_up(final):
    for record in list(Records(final)):
        if record.kind == "student" and record.unit.method == "kd" and record.unit.seed < 2 + bool(record.unit.tuned):
            shutil.rmtree(record.folder)
    write(final, tuned(7), 0.9)
    (group,) = compare(Records(final)).groups
    (found,) = tuned_changes(group)
    assert isinstance(found.change, Refusal)
    assert found.answer == "not shown"
    assert tuned_cells(found)[2:4] == ["", "not shown"]


def test_tuned_rows_in_every_format(final, capsys):
    assert compare_main(["--runs", str(final), "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert group["tuned"][0]["numbers"] == "2"
    assert group["tuned"][0]["change_mean"] == pytest.approx(0.03)
    assert compare_main(["--runs", str(final)]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  Default and tuned, on the test windows: macro-F1 and its change in points, paired by seed")
    assert lines[at + 1].split() == ["default", "tuned", "change", "better"]
    assert " ".join(lines[at + 2].split()) == "kd (tuned) 0.800 ± 0.000 0.830 ± 0.010 +3.0 [+2.0, +4.0] yes"
    assert lines[at + 3] == "  kd (tuned): configuration 2: temperature=6 (of 6, tried on sines)"
    folder = final / "comparison"
    (line,) = csv.DictReader(io.StringIO((folder / "tuned.csv").read_text()))
    assert (line["row"], line["default"], line["options"]) == ("kd (tuned)", "kd", "temperature=6.0")
    assert not (folder / "tuning.csv").exists(), "the tuning phase is not on record here"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<li>kd (tuned): configuration 2: temperature=6 (of 6, tried on sines)</li>" in page
    assert list((folder / "figures").glob("*/tuned.svg"))


@pytest.fixture
def compared(runs, capsys):
    """The output of the command, and the folder of its files."""
    final = replace(KD, data=replace(FOLD, inner_fold=()), tuning={})
    for seed in (0, 1):
        write(runs, replace(final, seed=seed), 0.8)
        write(runs, replace(final, seed=seed).teacher("sig"), 0.8)

    def call(*flags):
        assert compare_main(["--runs", str(runs), *flags]) == 0
        return capsys.readouterr().out, runs / "comparison"

    return call


def test_the_terminal_has_a_table_and_the_choices(compared):
    out, _ = compared()
    lines = out.splitlines()
    assert lines[0] == "tuning: sines, student sig (small)"
    assert lines[1:4] == [
        "  2 methods, 9 trainings of students (2 min), scored in part 1 of 3 of the training part",
        "  1 teacher without that part (33 s), shared by all",
        "  macro-F1 in the inner fold, by budget:",
    ]
    heads = lines[4].split()
    assert heads == ["default", "best", "of", "5", "best", "of", "6", "better", "than", "default", "time"]
    assert lines[5].split() == ["kd", "0.700", "0.800", "0.800", "3", "of", "5", "75", "s"]
    assert lines[6].split() == ["at", "0.750", "0", "of", "2", "60", "s"]
    assert "  kd: best is 2: temperature=6" in lines
    assert "  at: best is 0, the default" in lines
    assert "  fewer configurations than 6: at 3" in lines
    assert "Tuning: scores of the inner fold" in " ".join(lines)


def test_the_files_have_every_configuration_and_budget(compared):
    out, folder = compared("--json")
    lines = list(csv.DictReader(io.StringIO((folder / "tuning.csv").read_text())))
    assert [(line["method"], int(line["number"]), float(line["score"])) for line in lines[:6]] == [
        ("kd", number, score) for number, score in enumerate(SCORES)
    ]
    assert [line["number"] for line in lines if line["chosen"] == "True"] == ["2", "0"]
    assert lines[2]["options"] == "temperature=6.0 kd_weight=0.7"
    budgets = list(csv.DictReader(io.StringIO((folder / "budgets.csv").read_text())))
    assert [int(line["trainings"]) for line in budgets] == [1, 2, 3, 4, 5, 6, 1, 2, 3]
    assert float(budgets[5]["score"]) == max(SCORES)
    (phase,) = json.loads(out)["tunings"]
    assert phase["methods"][0]["chosen"] == {"number": 2, "options": {"temperature": 6.0}}
    assert [budget["trainings"] for budget in phase["methods"][0]["budgets"]] == [1, 5, 6]


def test_the_page_has_a_section_with_two_figures(compared):
    _, folder = compared()
    page = (folder / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="tuning">') :]
    section = section[: section.index("</section>")]
    assert section.count("<figure") == 2
    assert '<a href="#tuning">Equal tuning</a>' in page
    assert "<li>kd: best is 2: temperature=6</li>" in section
    assert (folder / "figures" / "tuning-1-sines" / "budget-trainings.svg").is_file()
    assert (folder / "figures" / "tuning-1-sines" / "budget-seconds.svg").is_file()


def test_without_tuning_nothing_is_said(compared, runs):
    for record in list(Records(runs)):
        if is_of_tuning(record):
            (record.folder / "result.json").unlink()
    out, folder = compared()
    assert "tuning: " not in out.lower()
    assert "inner fold" not in out
    assert not (folder / "tuning.csv").exists()
    assert 'id="tuning"' not in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (48, "48 s"), (89.9, "90 s"), (720, "12 min"), (12240, "3.4 h")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_options_in_words():
    assert option_words({"kd_weight": 0.123, "stages": "all", "grid": 2}) == "kd-weight=0.123, stages=all, grid=2"
