"""Statistics over sets of made-up results with known answers, against scipy and slow formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mmkd.core.refusal import Refusal
from mmkd.metrics.crossed import crossed_interval
from mmkd.results.scores import Case, regime_scores
from mmkd.results.standing import against_all, against_each, best_on, mean_ranks, set_change, standing
from tests.results.board_lines import BETTER, SEEDS, SETS, made_lines


@pytest.fixture(scope="module")
def regime():
    return regime_scores(made_lines(), "A", "macro_f1")


def compared(regime):
    return regime.of("student", "method", "control")


def by_hand(regime, row, base, name):
    """Differences of one set, seed by seed, read from the lines themselves."""
    found = {
        (line.row, line.seed): line.value
        for line in made_lines()
        if line.dataset == name and line.metric == "macro_f1" and not line.subject
    }
    return [found[row, seed] - found[base, seed] for seed in SEEDS]


def test_a_change_on_a_set_is_paired_by_seed_with_an_interval_of_student(regime):
    for name in SETS[:3]:
        change = set_change(regime.find("good"), regime.student, Case(name, "sig"))
        differences = by_hand(regime, "good", "student", name)
        low, high = stats.t.interval(0.95, 4, np.mean(differences), stats.sem(differences))
        assert (change.mean, change.low, change.high) == pytest.approx((np.mean(differences), low, high))
        assert (change.seeds, change.subjects, change.over) == (5, 0, "5 seeds")
        assert change.answer == "better"
    assert set_change(regime.find("bad"), regime.student, Case(SETS[0], "sig")).answer == "worse"


@pytest.mark.parametrize(("subjects", "over"), [(4, "5 seeds"), (6, "6 test subjects and 5 seeds")])
def test_from_five_subjects_on_the_interval_is_over_them_too(subjects, over):
    rng = np.random.default_rng(5)
    whole = [line for line in made_lines(sets=SETS[:1], costs=False) if line.row in ("student", "good")]
    single = [replace(line, subject=str(n), value=rng.uniform()) for line in whole for n in range(subjects)]
    regime = regime_scores([*whole, *single], "A", "macro_f1")
    change = set_change(regime.find("good"), regime.student, regime.cases[0])
    assert change.over == over
    assert change.mean == pytest.approx(np.mean(by_hand(regime, "good", "student", SETS[0])))
    if subjects == 6:
        values = {(line.row, line.subject, line.seed): line.value for line in single}
        names = [str(n) for n in range(6)]
        table = np.array([[values["good", n, s] - values["student", n, s] for s in SEEDS] for n in names])
        assert change.centre == pytest.approx(table.mean())
        assert (change.low, change.high) == pytest.approx(crossed_interval(table))


def test_only_seeds_that_both_have_are_paired():
    lines = [line for line in made_lines() if not (line.row == "good" and line.seed > 1)]
    regime = regime_scores(lines, "A", "macro_f1")
    change = set_change(regime.find("good"), regime.student, Case(SETS[4], "sig"))
    assert change.seeds == 2
    assert change.mean == pytest.approx(np.mean(by_hand(regime, "good", "student", SETS[4])[:2]))
    one = regime_scores([line for line in made_lines() if line.row != "good" or line.seed == 9], "A", "macro_f1")
    assert one.find("good") is None
    other = [replace(line, seed=9) if line.row == "good" else line for line in made_lines()]
    assert isinstance(
        set_change(regime_scores(other, "A", "macro_f1").find("good"), regime.student, Case(SETS[0], "sig")), Refusal
    )


def test_against_the_student_alone_it_is_wilcoxon_with_holm(regime):
    tests = against_all(regime, compared(regime), regime.student, SETS)
    means = {name: [np.mean(by_hand(regime, name, "student", one)) for one in SETS] for name in tests}
    plain = {name: stats.wilcoxon(values, method="exact").pvalue for name, values in means.items()}
    ordered = sorted(plain, key=plain.get)
    highest = 0.0
    for place, name in enumerate(ordered):  # Holm 1979, step by step
        highest = max(highest, min(1.0, plain[name] * (len(plain) - place)))
        assert tests[name].pair.p_holm == pytest.approx(highest), name
        assert tests[name].mean == pytest.approx(np.mean(means[name]))
    assert tests["good"].mean == pytest.approx(BETTER, abs=0.003)
    assert {name: test.answer for name, test in tests.items()} == {
        "good": "better",
        "bad": "worse",
        "equal": "open",
        "like-smoothing": "better",
        "label-smoothing": "better",
    }
    assert (tests["good"].better, tests["good"].worse) == (12, 0)
    assert tests["bad"].worse == 12


def test_a_row_beside_the_family_is_corrected_as_if_it_alone_stood_in_it(regime):
    rows = compared(regime)
    whole = against_all(regime, rows, regime.student, SETS)
    family = {name: test for name, test in whole.items() if name not in ("bad", "equal")}
    beside = against_each(regime, [regime.find("bad"), regime.find("equal")], regime.student, SETS, family)
    assert list(beside) == ["bad", "equal"]
    for name, test in beside.items():
        joined = against_all(regime, [row for row in rows if row.name in (*family, name)], regime.student, SETS)
        assert test == joined[name]
    assert beside["bad"].pair.p_holm == pytest.approx(2**-11 * 4), "the smallest p of four, of 12 sets"
    assert against_each(regime, rows, None, SETS, family) == {}


def test_what_a_control_reaches_too_is_not_the_teacher(regime):
    found = standing(regime, SETS, compared(regime), "label-smoothing")
    assert found.control == "label-smoothing"
    answers = {name: test.answer for name, test in found.against_control.items()}
    assert answers["good"] == "better"
    assert answers["like-smoothing"] == "open"
    assert answers["equal"] == "worse"


def test_below_six_sets_there_is_no_test_and_below_ten_there_are_no_ranks(regime):
    few = standing(regime, SETS[:5], compared(regime))
    assert all(test.answer == "" and test.pair.p_holm is None for test in few.against_student.values())
    assert few.against_student["good"].better == 5
    nine = standing(regime, SETS[:9], compared(regime))
    assert isinstance(nine.ranks, Refusal)
    assert isinstance(nine.diagram, Refusal)
    assert nine.against_student["good"].answer == "better"
    assert standing(regime, SETS[:1], compared(regime)).ranks.why.startswith("1 data set: ranks are given from 10")
    ten = standing(regime, SETS[:10], compared(regime))
    assert list(ten.ranks) == list(ten.diagram.ranks)


def test_ranks_are_means_of_ranks_on_sets_with_an_interval_over_sets(regime):
    found = standing(regime, SETS, compared(regime))
    assert found.ranks["good"].mean == 1
    assert found.ranks["bad"].mean == 6
    names = [row.name for row in compared(regime)]
    table = {name: [np.mean([regime.find(name).on(case)[s] for s in SEEDS]) for case in regime.cases] for name in names}
    for name in names:
        ranks = [1 + sum(table[other][n] > table[name][n] for other in names) for n in range(len(SETS))]
        assert found.ranks[name].mean == pytest.approx(np.mean(ranks))
        resampled = np.random.default_rng(4).choice(ranks, (20_000, len(SETS))).mean(1)
        assert found.ranks[name].low == pytest.approx(np.quantile(resampled, 0.025), abs=0.1)
        assert found.ranks[name].high == pytest.approx(np.quantile(resampled, 0.975), abs=0.1)
    tied = mean_ranks({"a": [0.5] * 10, "b": [0.5] * 10, "c": [0.1] * 10}, SETS[:10])
    assert [rank.mean for rank in tied.values()] == [1.5, 1.5, 3.0]


def test_the_best_row_and_those_that_are_not_told_apart(regime):
    found = standing(regime, SETS, compared(regime))
    assert (found.best, found.alike) == ("good", {"good"})
    without = [row for row in compared(regime) if row.name != "good"]
    found = standing(regime, SETS, without)
    assert found.alike == {"like-smoothing", "label-smoothing"}
    assert isinstance(standing(regime, SETS[:3], without).told_by, Refusal)
    name, alike = best_on(regime, regime.cases[0], compared(regime))
    assert (name, alike) == ("good", {"good"})
    same = [line for line in made_lines(seeds=(0,)) if line.row != "bad"]
    same = [replace(line, value=0.9) if line.row in ("good", "equal") else line for line in same]
    ties = regime_scores(same, "A", "macro_f1")
    assert best_on(ties, ties.cases[0], compared(ties))[1] == {"good", "equal"}, "one seed, no interval"


def test_rows_that_miss_seeds_are_left_out_of_ranks_and_said_to_be():
    lines = [line for line in made_lines() if not (line.row == "equal" and line.dataset == SETS[2] and line.seed == 4)]
    regime = regime_scores(lines, "A", "macro_f1")
    found = standing(regime, SETS, compared(regime))
    assert "equal" not in found.ranks
    assert found.left_out == {"equal": f"seed 4 is missing on {SETS[2]}"}
    assert found.against_student["equal"].pair.n == 12, "pairs of the seeds that there are"
    absent = [line for line in made_lines() if line.dataset != SETS[0] or line.row in ("student", "good")]
    regime = regime_scores(absent, "A", "macro_f1")
    found = standing(regime, SETS, compared(regime))
    assert found.sets == SETS[1:], "a set that most rows do not have yet is not ranked on"
    assert found.left_out == {}


def test_a_seed_that_is_missing_on_all_sets_is_said_without_their_names():
    gone = {"equal": (SETS, (4,)), "bad": (SETS[:5], (3, 4))}
    lines = [
        line
        for line in made_lines()
        if line.row not in gone or line.dataset not in gone[line.row][0] or line.seed not in gone[line.row][1]
    ]
    regime = regime_scores(lines, "A", "macro_f1")
    assert standing(regime, SETS, compared(regime)).left_out == {
        "equal": "seed 4 is missing",
        "bad": "seeds 3, 4 are missing on 5 of 12 sets",
    }


def test_two_students_of_one_set_are_one_set():
    first = made_lines(sets=SETS[:6])
    second = [replace(line, student="other", value=line.value - 0.1) for line in first]
    regime = regime_scores([*first, *second], "A", "macro_f1")
    tests = against_all(regime, compared(regime), regime.student, SETS[:6])
    assert tests["good"].pair.n == 6
    assert tests["good"].better == 12
    assert regime.find("teacher sig").on(Case(SETS[0], "other"))


def test_a_lower_score_is_better_where_the_metric_says_so():
    lines = [replace(line, metric="nll") for line in made_lines(costs=False)]
    regime = regime_scores(lines, "A", "nll")
    tests = against_all(regime, compared(regime), regime.student, SETS)
    assert (tests["good"].answer, tests["bad"].answer) == ("worse", "better")
    assert standing(regime, SETS, compared(regime)).best == "bad"
    assert best_on(regime, regime.cases[0], compared(regime))[0] == "bad"


@pytest.mark.parametrize("other", [{"machine": "there"}, {"commit": "fedcba987654"}])
def test_times_are_compared_on_one_machine_and_of_one_commit_only(other):
    lines = made_lines()
    regime = regime_scores(lines, "A", "macro_f1")
    assert regime.cost_ratio(regime.find("good"), "seconds") == pytest.approx((2.0, 12, 12))
    assert regime.cost_ratio(regime.find("teacher sig"), "macs") == pytest.approx((9.0, 12, 12))
    moved = [replace(line, **other) if line.row in ("good", "teacher sig") else line for line in lines]
    regime = regime_scores(moved, "A", "macro_f1")
    assert regime.cost_ratio(regime.find("good"), "seconds") is None
    assert regime.cost_ratio(regime.find("teacher sig"), "macs") == pytest.approx((9.0, 12, 12)), (
        "they do not depend on it"
    )


def test_a_ratio_says_of_how_many_sets_it_is_and_is_none_of_fewer_than_half():
    def ratio(moved):
        lines = [replace(line, machine="there") if line.row == "good" and line.dataset in moved else line
                 for line in made_lines()]  # fmt: skip
        scores = regime_scores(lines, "A", "macro_f1")
        return scores.cost_ratio(scores.find("good"), "seconds")

    assert ratio(SETS[:6]) == pytest.approx((2.0, 6, 12))
    assert ratio(SETS[:7]) is None


def test_operations_are_compared_whatever_the_seeds():
    lines = [line for line in made_lines() if not (line.row == "student" and line.metric == "macs" and line.seed == 0)]
    scores = regime_scores([line for line in lines if line.row == "student" or line.seed == 0], "A", "macro_f1")
    assert scores.cost_ratio(scores.find("good"), "macs") == pytest.approx((1.0, 12, 12))


def test_where_no_test_can_tell_rows_apart_none_is_said_to_be_alike(regime):
    """Six rows make five tests, of which one can be significant from eight sets on."""
    seven = standing(regime, SETS[:7], compared(regime))
    assert (seven.best, seven.alike) == ("good", frozenset())
    assert seven.told_by == Refusal("with 6 rows the test needs 8 sets, and there are 7")
    assert standing(regime, SETS[:8], compared(regime)).alike == {"good"}


def test_ranks_are_of_the_first_seeds_that_half_of_the_rows_have():
    """More seeds of a few rows do not take the ranks away from all: they are then of fewer seeds, and it is said."""
    few = ("student", "good", "label-smoothing")  # of six rows

    def found(*seeds_of_others):
        lines = [line for line in made_lines() if line.row in few or line.seed in seeds_of_others]
        scores = regime_scores(lines, "A", "macro_f1")
        return standing(scores, SETS, compared(scores)), scores

    half, _ = found(0)
    assert set(half.seeds.values()) == {SEEDS}
    assert set(half.ranks) == set(few)
    few = ("student", "good")
    less, scores = found(0)
    assert set(less.seeds.values()) == {(0,)}
    assert set(less.ranks) == {row.name for row in compared(scores)}
    assert less.left_out == {}
    only = [line for line in made_lines() if line.seed == 0]
    first = regime_scores(only, "A", "macro_f1")
    assert less.ranks == standing(first, SETS, compared(first)).ranks
    assert set(found(0, 1, 3)[0].seeds.values()) == {(0, 1)}, "the first ones without a gap"
