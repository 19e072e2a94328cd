"""The study of what rounding to int8 costs: its page says what its file says, and its arithmetic is right."""

import importlib.util
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import mmkd
from mmkd.deploy.windows import RecordWindows
from mmkd.metrics.pairs import holm
from mmkd.store.records import Records
from mmkd.units.suites import read_suites
from tests.test_controls_page import RESULTS, ROOT

_SPEC = importlib.util.spec_from_file_location("quantise_study", ROOT / "experiments" / "quantise.py")
study = sys.modules["quantise_study"] = importlib.util.module_from_spec(_SPEC)  # its dataclasses look for their module
_SPEC.loader.exec_module(study)


def measured(method, seed, float32, int8, qat=0.0, role="method", dataset="a"):
    key = f"{method}{seed}{qat:g}{dataset}"
    return study.Measured(dataset, method, role, qat, seed, float32, int8, 0.99, 512, 1000, 2086, key)


DROPS = {"student": (1.0, 2.0, 1.5), "steady": (5.0, 6.0, 5.501), "loose": (0.0, 9.0, 1.0), "same": (1.0, 2.0, 1.5)}
"""Points that each loses under seeds 0, 1, 2."""


def rows():
    made = []
    for method, points in DROPS.items():
        role = "control" if method in ("student", "same") else "method"
        for seed, lost in enumerate(points):
            made.append(measured(method, seed, 0.9, 0.9 - lost / 100, role=role))
            made.append(measured(method, seed, 0.88, 0.88 - lost / 200, qat=0.5, role=role))
    return made


def test_a_row_is_compared_with_the_student_alone_by_seed():
    made = {line.method: line for line in study.lines(study.after_training(rows(), "a"))}
    assert list(made) == ["student", "same", "loose", "steady"], "those that lose least first"
    assert made["student"].more is None
    assert made["student"].differs == "-"
    gaps = {name: np.subtract(DROPS[name], DROPS["student"]) for name in ("steady", "loose", "same")}
    for name in ("steady", "loose"):
        test = stats.ttest_1samp(gaps[name], 0)
        more = made[name].more
        assert (more.mean, more.n) == (pytest.approx(gaps[name].mean()), 3)
        assert (more.low, more.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert more.p == pytest.approx(test.pvalue)
        low, high = stats.ttest_1samp(DROPS[name], 0).confidence_interval(0.95)
        assert (made[name].drop.low, made[name].drop.high) == pytest.approx((low, high))
    assert made["same"].more.p == 1, "no difference at all"
    raw = [made[name].more.p for name in gaps]
    assert [made[name].p for name in gaps] == pytest.approx(holm(raw))
    assert [made[name].differs for name in gaps] == ["more", "not shown", "not shown"]
    assert made["steady"].scores == pytest.approx({"float32": 0.9, "int8": 0.9 - np.mean(DROPS["steady"]) / 100})


def test_training_for_int8_is_held_against_the_student_that_was_not():
    own = {line.method: line for line in study.lines(study.in_training(rows(), "a"))}
    assert own["steady"].drop.mean == pytest.approx(2 + np.mean(DROPS["steady"]) / 2)
    assert own["steady"].scores == pytest.approx({"float32 without": 0.9, "int8 with": 0.88 - own_drop("steady")})
    assert study.own_rounding(rows(), "a").drop["loose"] == pytest.approx({0: 0, 1: 4.5, 2: 0.5})
    said = study.spread(rows(), "a")
    before = np.mean(list(DROPS.values()))
    assert f"costs {before:+.2f} points on average over 4 rows, and {before / 2:+.2f} after" in said
    without = [row for row in rows() if row.qat == 0]
    assert study.in_training(without, "a").drop == {}
    assert study.spread(without, "a") == ""


def own_drop(name):
    return np.mean(DROPS[name]) / 200


def test_pairs_are_of_seeds_that_both_have():
    some = [row for row in rows() if (row.method, row.seed) not in {("student", 2), ("loose", 0)}]
    made = {line.method: line for line in study.lines(study.after_training(some, "a"))}
    assert (made["loose"].drop.n, made["loose"].more.n) == (2, 1)
    assert (made["loose"].more.mean, made["loose"].more.p, made["loose"].differs) == (7, None, "not shown")
    assert made["steady"].more.n == 2
    assert made["steady"].more.p is None, "two equal differences have no spread"
    assert made["same"].p == 1, "adjusted over the one row that has a test"
    alone = [row for row in some if row.method == "student"]
    assert "nothing can be said" in study.answer(study.after_training(alone, "a"))
    assert "nothing can be said" in study.answer(study.after_training([r for r in some if r not in alone], "a"))


def test_the_answer_names_who_differs_and_what_all_lose_together():
    said = study.answer(study.after_training(rows(), "a"))
    assert said.startswith("the student alone loses +1.50")
    assert "Holm's correction over 3 other rows: `steady` loses more." in said
    together = (np.subtract(DROPS["steady"], DROPS["student"]) + np.subtract(DROPS["loose"], DROPS["student"])) / 2
    assert f"the 2 methods on average {together.mean():+.2f} (" in said
    assert "the 1 control on average +0.00 (+0.00 to +0.00) against it" in said
    calm = [row for row in rows() if row.method != "steady"]
    assert "Of 2 other rows, none can be told apart" in study.answer(study.after_training(calm, "a"))
    own = [row for row in rows() if row.method == "student"]
    better = [measured("kind", seed, 0.9, 0.9 - lost / 100) for seed, lost in enumerate((0.5, 1.5, 1.001))]
    assert "over 1 other row: `kind` loses less." in study.answer(study.after_training([*own, *better], "a"))


def test_the_conclusion_names_every_row_that_differs():
    plain = [row for row in rows() if row.qat == 0]
    shown = study.conclusion(plain, ["a"])
    assert shown == "**Beside the student alone `steady` loses more on a; the others cannot be told apart from it.**"
    assert "more on a, `steady` loses more on a with `--qat`;" in study.conclusion(rows(), ["a"])
    calm = [row for row in rows() if row.method != "steady"]
    assert study.conclusion(calm, ["a"]).startswith("**It cannot be told: no row is shown to lose more, or less")
    one = [row for row in rows() if row.seed == 0]
    assert "The 3 other rows cannot be tested: that takes two seeds." in study.answer(study.after_training(one, "a"))


def test_a_set_without_all_rows_has_no_table(tmp_path):
    (tmp_path / "own.toml").write_text('methods = ["student", "steady"]\nstudent_net = "micro"\nsteps = 3\n')
    requests = read_suites(tmp_path / "own.toml")
    other = [measured("student", 0, 0.9, 0.8, dataset="b")]
    text = study.page([*rows(), *other], requests)
    assert "- a, rounded after training: the student alone loses" in text
    assert "- b: 1 student measured so far, too few for a table" in text
    assert "## a, 1,000 test windows" in text
    assert "## b" not in text
    assert "No data set has all of its rows yet." in study.page(other, requests)


def test_a_table_has_a_line_a_method():
    text = study.table(study.after_training(rows(), "a")).splitlines()
    assert text[0] == "| | seeds | float32 | int8 | points lost | more than `student` | p (Holm) | differs |"
    assert text[1].count("|") == text[0].count("|")
    assert text[2].startswith("| `student` | 3 | 0.9000 | 0.8850 | +1.50 (")
    assert text[2].endswith("| - | - | - |")
    assert text[3].startswith("| `same` (control) | 3 |")
    assert text[-1].startswith("| `steady` | 3 |")
    assert text[-1].endswith("| more |")


def test_the_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "quantise.csv"
    assert study.read(path) == []
    study.write(path, rows())
    assert sorted(study.read(path), key=lambda row: row.unit) == sorted(rows(), key=lambda row: row.unit)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("method,role", "role,method", 1), "its columns are not dataset, method"),
        (lambda text: text.replace("0.9,", "much,", 1), "line 2: could not convert"),
        (lambda text: text.replace("0.9,", "1.9,", 1), "line 2: a score is not between 0 and 1"),
        (lambda text: text.replace("0.9,", "nan,", 1), "line 2: a score is not between 0 and 1"),
        (lambda text: text.replace(",control,", ",peer,", 1), "neither method nor control"),
        (lambda text: text + text.splitlines()[1] + "\n", "is there twice"),
        (lambda text: text.replace("512,1000", "512", 1), "line 2: "),
        (lambda text: "\0", "its columns are not"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, capsys, change, words):
    path = tmp_path / "quantise.csv"
    study.write(path, rows())
    path.write_text(change(path.read_text()))
    assert study.main(["--out", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert [each.name for each in tmp_path.iterdir()] == ["quantise.csv"]


def test_bad_arguments_are_refused_in_one_line(tmp_path, capsys):
    for arguments, words in (
        (["--out", "page.md"], "ends in .csv"),
        (["--runs", str(tmp_path / "none")], "there is no such folder"),
        (["--suite", str(tmp_path / "none.toml")], "--suite"),
        (["--out", str(tmp_path / "none.csv")], "nothing is measured yet"),
    ):
        assert study.main(arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert words in err
    assert list(tmp_path.iterdir()) == []


SUITE = """
methods = ["student", "label-smoothing"]
data = "{data}"
students = "sig"
student_net = "micro"
steps = 3
epoch_rule = "last"
peers = "none"
[options]
student.qat = [0.0, 0.5]
label-smoothing.qat = [0.0, 0.5]
"""


def test_students_on_record_are_measured_once(sines, shared_cache, tmp_path, capsys, monkeypatch):
    suite, out, runs = tmp_path / "own.toml", tmp_path / "out" / "quantise.csv", tmp_path / "runs"
    suite.write_text(SUITE.format(data=sines))
    runs.mkdir()
    arguments = ["--suite", str(suite), "--out", str(out), "--runs", str(runs)]
    assert study.main(arguments) == 2
    assert "no student of the suite is on record there" in capsys.readouterr().err
    assert not out.exists()
    settings = {"student": "sig", "student_net": "micro", "steps": 3, "epoch_rule": "last", "peers": "none"}
    (request,) = read_suites(suite)
    plain = mmkd.run("student", data=sines, runs=runs, cache=shared_cache, **settings)
    assert study.main(arguments) == 0
    assert "1 of 4 students of the suite are measured" in capsys.readouterr().out
    (row,) = study.read(out)
    assert (row.method, row.role, row.qat, row.seed, row.key) == ("student", "control", 0, 0, plain.key)
    assert row.float32 == pytest.approx(plain.metrics.test["macro_f1"], abs=1e-6)
    exported = mmkd.export_student(plain, "c", tmp_path / "device", data=sines).measured
    assert (row.int8, row.agreement) == pytest.approx((exported["macro_f1"], exported["agreement"]), abs=1e-6)
    assert row.test == len(RecordWindows(plain, sines).test)
    assert "1 of 4 students are measured" in out.with_suffix(".md").read_text()
    monkeypatch.setattr(study, "measure", lambda *_: pytest.fail("it is measured already"))
    before = out.read_bytes()
    assert study.main(arguments) == 0
    assert out.read_bytes() == before
    monkeypatch.undo()
    mmkd.run("student", data=sines, runs=runs, cache=shared_cache, qat=0.5, **settings)
    assert study.main(arguments) == 0
    assert [(each.qat, each.key != plain.key) for each in study.read(out)] == [(0, False), (0.5, True)]
    study.write(out, [replace(study.read(out)[0], key="another")])
    assert study.main(arguments) == 2
    assert f"is unit {plain.key}, and another is another one of that name" in capsys.readouterr().err
    assert len(list(Records(runs))) == 2
    assert len(request.methods) == 2


def test_the_suite_trains_each_row_without_and_with_rounding():
    parts = read_suites(ROOT / "experiments" / "quantise.toml")
    for request in parts:
        assert set(request.options) == set(request.methods)
        assert all(tuple(request.options[name]["qat"]) == (0, 0.5) for name in request.methods)
    statuses = [mmkd.METHODS.get(name).status for name in parts[0].methods]
    assert statuses.count("control") >= 6
    assert len(statuses) - statuses.count("control") >= 12


def test_the_page_is_that_of_its_file():
    found = study.read(RESULTS / "quantise.csv")
    requests = read_suites(ROOT / "experiments" / "quantise.toml")
    assert {row.dataset for row in found} == {name for request in requests for name in request.datasets}
    assert {row.method for row in found} == set(requests[0].methods)
    text = (RESULTS / "quantise.md").read_text(encoding="utf-8")
    assert text.startswith(study.page(found, requests))
    assert not re.search(r"\bnan\b|None", text)
