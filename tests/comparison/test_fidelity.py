"""Fidelity of rows from records by hand, and the answers whether a method is better than its controls."""

import csv
import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd.comparison import compare as comparison
from mmkd.comparison.controls import enter_verdicts
from mmkd.comparison.ranking import rankings
from mmkd.comparison.rows import Row
from mmkd.comparison.units import Unit
from mmkd.comparison.verdicts import QUESTIONS, Verdict, conclude
from mmkd.metrics.fidelity import MEASURES
from mmkd.report.document import document
from mmkd.report.fidelity import (
    fidelity_notes,
    verdict_heads,
    verdict_lead,
    verdict_notes,
    verdict_pairs,
    verdict_words,
)
from mmkd.report.markup import markdown_tables
from mmkd.report.page import page_files
from mmkd.report.reproducibility import reproducibility
from mmkd.report.spreadsheet import fidelity_csv, leaderboard_csv
from mmkd.report.terminal import print_comparison
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records

N, K = 240, 4
KD = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(epochs=9),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)
ALONE = replace(KD, method="student", options={}, views={"sig": {}}, teachers={}, teacher_training=None)
TRUE = np.arange(N) % K


def network(number, skill, towards=None, share=0.0):
    """Probabilities (n, K) of a made-up network; a student leans to its teacher by a share."""
    rng = np.random.default_rng(number)
    logits = rng.normal(size=(N, K))
    logits[np.arange(N), TRUE] += skill
    if towards is not None:
        logits += share * np.log(towards)
    p = np.exp(logits)
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def write(runs, spec, p, keep=slice(None), subjects=True):
    """A record with these predictions, of all windows or some."""
    y, p, window = TRUE[keep], p[keep], np.arange(N)[keep]
    subject = np.array([f"p{n % 6}" for n in window])
    scores = {"accuracy": float((p.argmax(1) == y).mean()), "nll": 1.0, "ece": 0.1}
    scores["macro_f1"] = scores["accuracy"]
    student = isinstance(spec, UnitSpec)

    def fill(folder):
        more = {"subject": subject} if subjects else {}
        np.savez(folder / "predictions.npz", window=window, true=y, predicted=p.argmax(1), probabilities=p, **more)
        (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
        return {
            "kind": "student" if student else "teacher",
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": scores, "validation": {"accuracy": 1.0}},
            "parameters": 10,
            "seconds": 1.0,
            "process_peak_memory_mib": 1.0,
            "teachers": {name: spec.teacher(name).key for name in spec.teachers} if student else {},
            "data": {"classes": list("abcd"), "window": 32, "split": {"unit": "subject", "sha256": "cd" * 32}},
            "environment": {},
        }

    Records(runs).write(spec.key, fill)


def teachers_of(seed):
    return {"sig": network(100 + seed, 2.0), "gaf": network(200 + seed, 0.8)}


def mean_of(both):
    return np.mean([p.astype(float) for p in both.values()], axis=0)


def alone_of(seed):
    return network(300 + seed, 1.2)


def taught_by(seed):
    return network(300 + seed, 1.2, mean_of(teachers_of(seed)), 1.5)


def suite(runs, seeds=(0, 1, 2), methods=("kd",), **how):
    for seed in seeds:
        kd = replace(KD, seed=seed)
        for name, p in teachers_of(seed).items():
            write(runs, kd.teacher(name), p, **how)
        write(runs, replace(ALONE, seed=seed), alone_of(seed), **how)
        for method in methods:
            forms = [{"scope": scope} for scope in ("class", "any")] if method == "shuffled-teacher" else [{}]
            for form in forms:
                write(runs, replace(kd, method=method, options={**kd.options, **form}), taught_by(seed), **how)


def compared(runs):
    records, left_out = comparison.read_records(Records(runs))
    found = comparison.compare(records, "student", left_out)
    (group,) = found.groups
    return found, group, {row.name: row for row in group.rows}


def naive(teacher, student):
    """Agreement, copied errors and kept right, window by window."""
    t, s = teacher.argmax(1), student.argmax(1)
    wrong = [n for n in range(N) if t[n] != TRUE[n]]
    right = [n for n in range(N) if t[n] == TRUE[n]]
    return {
        "agreement": sum(t[n] == s[n] for n in range(N)) / N,
        "copied_errors": sum(t[n] == s[n] for n in wrong) / len(wrong),
        "kept_right": sum(t[n] == s[n] for n in right) / len(right),
    }


# Fidelity -------------------------------------------------------------------------------------------------------------


def test_fidelity_is_of_the_same_seed_and_of_the_teachers_together_and_each(tmp_path):
    suite(tmp_path)
    _, _, rows = compared(tmp_path)
    found = rows["kd"].fidelity
    assert [one.teacher for one in found] == ["mean of sig, gaf", "sig WRN16-1", "gaf WRN16-1"]
    for one, pick in zip(found, (mean_of, lambda both: both["sig"], lambda both: both["gaf"]), strict=True):
        teachers = [pick(teachers_of(seed)) for seed in range(3)]
        for name in ("agreement", "copied_errors", "kept_right"):
            own = [naive(t, taught_by(seed))[name] for seed, t in enumerate(teachers)]
            alone = [naive(t, alone_of(seed))[name] for seed, t in enumerate(teachers)]
            other = [naive(t, alone_of((seed + 1) % 3))[name] for seed, t in enumerate(teachers)]
            assert one.own[name].mean == pytest.approx(np.mean(own))
            assert one.alone[name].mean == pytest.approx(np.mean(alone))
            assert one.excess[name].mean == pytest.approx(np.mean(np.subtract(own, alone)))
            assert one.excess[name].sd == pytest.approx(np.std(np.subtract(own, alone), ddof=1))
            assert one.other_seed[name] == pytest.approx(np.mean(np.subtract(own, other)))
            assert one.noise[name] == pytest.approx(np.mean(np.abs(np.subtract(alone, other))))
        assert (one.of, one.clusters, one.samples["all"]) == ("subject", 6, N)
    assert found[0].excess["agreement"].low > 0, "this student does follow its teachers"
    assert found[0].excess["jensen_shannon"].high < 0
    assert rows["student"].fidelity[0].own["agreement"].mean == pytest.approx(found[0].alone["agreement"].mean)
    assert rows["student"].fidelity[0].excess == {}
    agreement = rows["kd"].units[1].metrics["agreement"]
    assert agreement == pytest.approx(naive(mean_of(teachers_of(1)), taught_by(1))["agreement"])


def test_a_method_without_teachers_is_held_against_those_of_the_others(tmp_path):
    suite(tmp_path)
    for seed in range(3):
        write(tmp_path, replace(ALONE, seed=seed, method="label-smoothing"), network(400 + seed, 1.4))
    _, _, rows = compared(tmp_path)
    one = rows["label-smoothing"].fidelity[0]
    wanted = [naive(mean_of(teachers_of(seed)), network(400 + seed, 1.4))["agreement"] for seed in range(3)]
    assert one.own["agreement"].mean == pytest.approx(np.mean(wanted))
    assert one.excess["agreement"].n == 3


def test_the_samples_of_a_seed_are_those_of_all_its_folds(tmp_path):
    """Two folds of unlike size: errors are counted over both, not averaged; a seed that lacks one is left out."""
    parts = {"1": slice(0, 60), "2": slice(60, N)}
    for seed in range(3):
        for fold, keep in parts.items():
            if (seed, fold) == (2, "2"):
                continue
            data = replace(KD.data, fold=fold, test_subjects=(int(fold),))
            kd = replace(KD, seed=seed, data=data)
            for name, p in teachers_of(seed).items():
                write(tmp_path, kd.teacher(name), p, keep)
            write(tmp_path, replace(ALONE, seed=seed, data=data), alone_of(seed), keep)
            write(tmp_path, kd, taught_by(seed), keep)
    _, group, rows = compared(tmp_path)
    assert group.by == "seed"
    one = rows["kd"].fidelity[0]
    assert one.own["copied_errors"].n == 2
    for name in ("agreement", "copied_errors", "kept_right"):
        pairs = [(taught_by(seed), alone_of(seed), mean_of(teachers_of(seed))) for seed in range(2)]
        assert one.own[name].mean == pytest.approx(np.mean([naive(t, s)[name] for s, _, t in pairs]))
        assert one.excess[name].mean == pytest.approx(
            np.mean([naive(t, s)[name] - naive(t, a)[name] for s, a, t in pairs])
        )


def test_without_subjects_the_bootstrap_is_over_windows_and_that_is_said(tmp_path):
    suite(tmp_path / "with")
    suite(tmp_path / "without", subjects=False)
    _, group, rows = compared(tmp_path / "without")
    one = rows["kd"].fidelity[0]
    assert one.of == "window"
    assert 150 < one.clusters <= 200
    assert one.excess["agreement"].low is not None
    assert any("the bootstrap draws windows" in line for line in fidelity_notes(group))
    _, group, rows = compared(tmp_path / "with")
    assert not any("draws" in line for line in fidelity_notes(group))
    for name, estimate in rows["kd"].fidelity[0].excess.items():
        assert estimate.mean == pytest.approx(one.excess[name].mean), "only intervals differ"


def test_groups_of_windows_give_the_width_that_single_windows_give(tmp_path):
    from mmkd.metrics import fidelity as fd

    suite(tmp_path, seeds=(0,), subjects=False)
    _, _, rows = compared(tmp_path)
    found = rows["kd"].fidelity[0].excess["agreement"]
    t = mean_of(teachers_of(0))
    sums = [
        fd.pair_sums(TRUE, *(fd.Answers(p.argmax(1), p.astype(float)) for p in (t, s)), K, np.arange(N), N)
        for s in (taught_by(0), alone_of(0))
    ]
    wanted = fd.fidelity("t", [fd.SeedSums(*sums)]).excess["agreement"]
    assert found.mean == pytest.approx(wanted.mean)
    assert found.high - found.low == pytest.approx(wanted.high - wanted.low, rel=0.2)


def test_some_units_without_subjects_leave_no_interval(tmp_path):
    suite(tmp_path, seeds=(0, 1))
    suite(tmp_path, seeds=(2,), subjects=False)
    _, _, rows = compared(tmp_path)
    estimate = rows["kd"].fidelity[0].excess["agreement"]
    assert estimate.low is None
    assert "some of its units" in estimate.why
    assert estimate.n == 3


def test_without_the_student_alone_there_is_no_excess(tmp_path):
    for seed in range(2):
        kd = replace(KD, seed=seed)
        for name, p in teachers_of(seed).items():
            write(tmp_path, kd.teacher(name), p)
        write(tmp_path, kd, taught_by(seed))
    found, _, rows = compared(tmp_path)
    assert rows["kd"].fidelity[0].excess == {}
    assert rows["kd"].fidelity[0].own["kappa"].mean > 0
    assert rows["kd"].verdicts[0].answer == "not run"
    write(tmp_path, replace(ALONE, seed=1), alone_of(1))
    _, _, rows = compared(tmp_path)
    assert rows["kd"].fidelity[0].excess["agreement"].n == 1, "the seed that both have"
    assert found.groups[0].task == "classification"


def test_labels_of_steps_are_samples_and_those_that_are_unknown_are_none(tmp_path):
    """Teachers have no mean there, so each is shown by itself; measures of probabilities are missing."""
    rng = np.random.default_rng(0)
    true = rng.integers(-1, K, (30, 8))
    predicted = {name: rng.integers(0, K, (30, 8)) for name in ("sig", "gaf", "student", "kd")}

    def cut(runs, spec, name):
        write(runs, spec, network(0, 1.0))
        folder = Records(runs).get(spec.key).folder
        arrays = {"window": np.arange(30), "true": true, "predicted": predicted[name]}
        np.savez(folder / "predictions.npz", **arrays, subject=np.arange(30) % 3)
        result = json.loads((folder / "result.json").read_text())
        del result["sha256"], result["files"]  # as older records are, without checksums
        (folder / "result.json").write_text(json.dumps(result))

    kd = replace(KD, task="segmentation")
    for name in ("sig", "gaf"):
        cut(tmp_path, kd.teacher(name), name)
    cut(tmp_path, replace(ALONE, task="segmentation"), "student")
    cut(tmp_path, kd, "kd")
    _, _, rows = compared(tmp_path)
    found = rows["kd"].fidelity
    assert [one.teacher.split()[0] for one in found] == ["sig", "gaf"]
    known = true >= 0
    hits = {name: (predicted[name] == predicted["gaf"])[known].mean() for name in ("kd", "student")}
    assert found[1].own["agreement"].mean == pytest.approx(hits["kd"])
    assert found[1].excess["agreement"].mean == pytest.approx(hits["kd"] - hits["student"])
    assert (found[1].samples["all"], found[1].clusters) == (known.sum(), 3)
    assert np.isnan(found[1].own["jensen_shannon"].mean)


def test_other_test_windows_are_not_compared(tmp_path):
    suite(tmp_path, seeds=(0, 1))
    write(tmp_path, replace(ALONE, seed=1), alone_of(1), keep=slice(0, 100))
    _, _, rows = compared(tmp_path)
    assert rows["kd"].fidelity[0].excess["agreement"].n == 1


# Controls -------------------------------------------------------------------------------------------------------------


def row(name, scores, kind="student", teachers=(), **settings):
    units = {seed: Unit(f"{name}{seed}", seed, {"macro_f1": score}) for seed, score in enumerate(scores)}
    return Row(kind, name.split()[0], name, settings, units, teachers=teachers)


def answers(rows, name="kd"):
    enter_verdicts(rows)
    (found,) = [one for one in rows if one.name == name]
    return {verdict.control: verdict for verdict in found.verdicts}


def test_a_method_is_asked_against_each_control_by_its_name():
    rows = [
        row("student", [0.80, 0.81, 0.79]),
        row("kd", [0.85, 0.861, 0.84]),
        row("label-smoothing", [0.85, 0.84, 0.86], kind="control"),
        row("longer", [0.90, 0.912, 0.89]),
    ]
    found = answers(rows)
    assert list(found) == [name for name, question in QUESTIONS.items() if not question.few_labels]
    run = {"student": "yes", "label-smoothing": "not shown", "longer": "no"}
    assert {name: verdict.answer for name, verdict in found.items()} == {**dict.fromkeys(found, "not run"), **run}
    assert found["student"].mean == pytest.approx(np.mean([0.05, 0.051, 0.05]))
    half = 4.30265 * np.std([0.05, 0.051, 0.05], ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    assert found["student"].low == pytest.approx(found["student"].mean - half, rel=1e-4)
    assert [verdict.control for verdict in rows[2].verdicts] == ["student"], "a control is asked for its gain alone"
    assert rows[0].verdicts == ()
    other = [*rows[:2], replace(row("noise-logits", [0.8, 0.8, 0.8]), status="control")]
    assert list(answers(other, "noise-logits")) == ["student"]


def test_of_several_rows_of_a_control_the_best_with_the_same_teachers_counts():
    rows = [
        row("student", [0.8, 0.8]),
        row("kd", [0.85, 0.86], teachers=(0, 1)),
        row("shuffled-teacher scope=any", [0.87, 0.89], teachers=(0, 1), scope="any"),
        row("shuffled-teacher scope=class redraw=epoch", [0.84, 0.851], teachers=(0, 1), scope="class"),
        row("shuffled-teacher scope=class", [0.5, 0.5], teachers=(0, 1), scope="class"),
        row("shuffled-teacher", [0.9, 0.9], teachers=(0,), scope="class"),
    ]
    found = answers(rows)
    assert found["shuffled-class"].row == "shuffled-teacher scope=class redraw=epoch"
    assert "against shuffled-teacher scope=class redraw=epoch" in found["shuffled-class"].sentence
    assert found["shuffled-any"].row == "shuffled-teacher scope=any", "the two forms are two questions"
    assert "against" not in found["shuffled-any"].sentence


def test_what_needs_few_labels_is_asked_where_there_are_few():
    rows = [row("student", [0.8, 0.8]), row("kd", [0.85, 0.86]), row("self-training", [0.7, 0.69])]
    assert "self-training" not in answers(rows)
    enter_verdicts(rows, few_labels=True)
    assert {verdict.control: verdict.answer for verdict in rows[1].verdicts}["self-training"] == "yes"
    assert [verdict.control for verdict in rows[2].verdicts] == ["student"]


def test_where_lower_is_better_the_lower_one_is_better():
    rows = [row("student", [0.8, 0.81]), row("kd", [0.7, 0.709])]
    for one in rows:
        one.score = "nll"
        for seed, unit in one.units.items():
            one.units[seed] = replace(unit, metrics={"nll": unit.metrics["macro_f1"]})
    assert answers(rows)["student"].answer == "yes"


def test_one_seed_tells_nothing():
    found = answers([row("student", [0.8]), row("kd", [0.9])])["student"]
    assert (found.answer, found.low, found.n) == ("not shown", None, 1)
    assert found.sentence == "Better than the student alone? Not shown: +10.0 points, one seed, too few to tell."
    nothing = answers([row("student", [0.8]), replace(row("kd", [0.9]), units={7: Unit("k", 7, {"macro_f1": 0.9})})])
    assert nothing["student"].sentence == "Better than the student alone? Not shown: no seed in common with student."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("yes", "not run", "not run", "not run", "not run"), "because no control was run"),
        (
            ("yes", "yes", "not run", "yes", "yes"),
            "better than every control that was run; not run: shuffled in class.",
        ),
        (("yes", "yes", "yes", "yes", "yes"), "the teacher is the reason"),
        (("yes", "not shown", "yes", "no", "not run"), "more than that of label smoothing, longer"),
        (("not shown", "yes", "yes", "yes", "yes"), "No gain over the student alone is shown"),
        (("no", "no", "no", "no", "no"), "worse than the student alone"),
        (("not run", "yes", "yes", "yes", "yes"), "Without the student alone"),
    ],
)
def test_the_conclusion(given, words):
    asked = ("student", "label-smoothing", "shuffled-class", "longer", "born-again")
    assert words in conclude([Verdict(name, answer=answer) for name, answer in zip(asked, given, strict=True)])


def test_many_controls_are_told_in_short():
    every = [Verdict(name, answer="yes" if name == "student" else "not run") for name in QUESTIONS]
    assert "(label smoothing, virtual teacher, noise and 7 more)" in conclude(every)


def test_the_conclusion_of_a_control_is_nothing():
    assert conclude([Verdict("student", answer="yes")]) == conclude([]) == ""


# Reports --------------------------------------------------------------------------------------------------------------


def test_words_and_numbers_stand_in_every_report(tmp_path):
    suite(tmp_path, methods=("kd", "shuffled-teacher"))
    found, group, rows = compared(tmp_path)
    kd = rows["kd"]
    ranked = rankings(found)
    page = page_files(found, ranked, reproducibility(found, {}), [])["report.html"]
    stream = io.StringIO()
    print_comparison(found, ranked, stream)
    terminal = stream.getvalue()
    sentences = verdict_words(kd)
    assert "Not run: label smoothing, virtual teacher, noise, untrained teacher, born-again, longer." in sentences
    for whom, answer in verdict_pairs(kd):
        assert f"<dt>{whom.replace(chr(39), '&#39;')}</dt><dd>{answer}</dd>" in page
    assert sentences[-1].replace("'", "&#39;") in page
    assert verdict_lead(kd) == "Better than, in points with a 95 % interval over 3 seeds:"
    assert verdict_heads(group.rows) == ["student", "shuffled-class", "shuffled-any"]
    assert "not run, so it is not told whether a method is better: label smoothing, virtual teacher" in terminal
    assert "> shuffled in class?" in terminal
    assert verdict_notes(group)[0] in page
    excess = kd.fidelity[0].excess["agreement"]
    text = f"{100 * excess.mean:+.1f} [{100 * excess.low:+.1f}, {100 * excess.high:+.1f}]"
    assert text in terminal
    assert text in page
    assert text.replace("[", "\\[").replace("]", "\\]") in markdown_tables(found, ranked)
    lines = [line for line in csv.DictReader(io.StringIO(fidelity_csv(found))) if line["row"] == "kd"]
    assert len(lines) == 3 * (len(MEASURES) + 1)
    first = next(line for line in lines if line["measure"] == "agreement")
    assert float(first["excess_low"]) == pytest.approx(excess.low)
    assert (first["drawn"], first["n_drawn"], first["n"]) == ("subject", "6", "3")
    line = next(line for line in csv.DictReader(io.StringIO(leaderboard_csv(found))) if line["row"] == "kd")
    assert float(line["agreement_excess"]) == pytest.approx(excess.mean)
    assert line["better_than_label_smoothing"] == "not run"
    told = json.dumps(document(found, ranked), allow_nan=False)
    assert "copied_errors" in told


def test_a_suite_without_teachers_has_an_empty_file_and_no_tables(tmp_path):
    for seed in range(2):
        write(tmp_path, replace(ALONE, seed=seed), alone_of(seed))
    found, group, rows = compared(tmp_path)
    assert rows["student"].fidelity == ()
    assert fidelity_csv(found).count("\n") == 1
    assert fidelity_notes(group) == verdict_notes(group) == []
    assert "Fidelity" not in page_files(found, rankings(found), reproducibility(found, {}), [])["report.html"]
