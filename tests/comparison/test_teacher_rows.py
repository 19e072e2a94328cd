"""The rows of teachers have the epoch with which they taught; rows that are equal to the bit are one line."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd.bench import main as bench
from mmkd.compare import main as compare_main
from mmkd.comparison.compare import compare
from mmkd.comparison.equal import fold_equal
from mmkd.evaluation.runner import MeasurementJob, MeasurementRunner
from mmkd.metrics.scores import window_scores
from mmkd.report.spreadsheet import leaderboard_csv
from mmkd.store.cache import Cache
from mmkd.store.record import MEASUREMENTS, Record
from mmkd.store.records import Records
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

METHODS = ("student", "kd", "eskd", "full-kd")


@pytest.fixture(scope="module")
def units(tiny, tmp_path_factory):
    """Two seeds of four methods of one signal teacher, whose best epoch is not its last under one seed at least."""
    runs = tmp_path_factory.mktemp("taught")
    for seed in (0, 1):
        for method in METHODS:
            mmkd.run(method, student="sig", teachers="sig", seed=seed, **tiny, runs=runs)
    records = list(Records(runs))
    assert not all(record.has_one_epoch for record in records if record.kind == "teacher"), "else nothing is to be seen"
    return runs, records


def only(group, kind):
    return [row for row in group.rows if row.kind == kind]


def test_a_row_for_each_epoch_with_the_scores_of_that_epoch(units):
    _, records = units
    (group,) = compare(records).groups
    rows = {row.settings["epoch"]: row for row in only(group, "teacher")}
    assert set(rows) == {"best", "last"}
    teachers = {record.key: record for record in records if record.kind == "teacher"}
    for epoch, part in (("best", "test"), ("last", "test_last")):
        for unit in rows[epoch].units.values():
            assert unit.metrics["macro_f1"] == teachers[unit.key].metrics[part]["macro_f1"]
    numbers = {row.base: [group.rows[n].settings["epoch"] for n in row.teachers] for row in only(group, "student")}
    assert numbers == {"student": [], "kd": ["last"], "full-kd": ["last"], "eskd": ["best"]}
    assert any("a row for each epoch with which they taught" in note for note in group.notes)


@pytest.mark.parametrize(("method", "words"), [("kd", "last epoch"), ("eskd", "best epoch on validation")])
def test_of_one_epoch_the_row_is_named_as_ever_and_a_note_says_which(units, method, words):
    _, records = units
    chosen = [r for r in records if r.kind == "teacher" or r.spec.method in ("student", method)]
    (group,) = compare(chosen).groups
    (row,) = only(group, "teacher")
    assert row.name == "sig WRN16-1"
    assert [note for note in group.notes if words in note and "with which they taught" in note]


def test_the_predictions_of_the_last_epoch_give_its_scores(units):
    _, records = units
    for record in (r for r in records if r.kind == "teacher"):
        last = record.at_epoch("last")
        with np.load(last.file("predictions.npz")) as z:
            scores = window_scores(z["true"], z["probabilities"].astype(np.float64))
        for name in ("accuracy", "macro_f1", "nll"):
            assert scores[name] == pytest.approx(record.metrics["test_last"][name], abs=1e-6)
        assert record.at_epoch("best") is record
        assert last.at_epoch("last") is last


def test_a_record_that_is_older_than_the_predictions_of_the_last_epoch_says_so(units, tmp_path):
    _, records = units
    record = next(r for r in records if r.kind == "teacher" and not r.has_one_epoch)
    files = {name: value for name, value in record.result["files"].items() if "last" not in name}
    older = Record(record.folder, {**record.result, "files": files})
    with pytest.raises(mmkd.MmkdError, match="older than predictions_last.npz.*--existing rerun"):
        older.at_epoch("last").file("predictions.npz")
    assert older.at_epoch("last").metrics.test == record.metrics.test_last


@pytest.fixture
def older(units, tiny, tmp_path):
    """`kd` and its teacher as they were before a teacher's last epoch was kept: in the record, and in the cache."""
    _, records = units
    teacher = next(r for r in records if r.kind == "teacher" and not r.has_one_epoch)
    student = next(
        r for r in records if r.kind == "student" and r.spec.method == "kd" and r.spec.seed == teacher.spec.seed
    )
    shutil.copytree(student.folder, tmp_path / "runs" / student.key)
    for name in (*MEASUREMENTS, "measured.json"):
        (tmp_path / "runs" / student.key / name).unlink(missing_ok=True)

    def without_last(folder):
        for path in teacher.folder.iterdir():
            if "last" not in path.name and path.name != "result.json":
                shutil.copy(path, folder)
        return {name: value for name, value in teacher.result.items() if name not in ("files", "sha256")}

    def older_entry(folder):
        for path in Cache(tiny["cache"]).path("teachers", teacher.key).iterdir():
            if path.name not in ("predictions_last.npz", "manifest.json"):
                shutil.copy(path, folder)

    own = Records(tmp_path / "runs")
    own.write(teacher.key, without_last)
    assert not own.get(teacher.key).knows_last_epoch
    Cache(tmp_path / "cache").get_or_create("teachers", teacher.key, older_entry)
    settings = {**tiny, "cache": tmp_path / "cache", "runs": tmp_path / "runs", "seed": teacher.spec.seed}
    return own, teacher, student, {"student": "sig", "teachers": "sig", **settings}


def check_last_epoch(own, teacher):
    found = own.get(teacher.key)
    assert found.knows_last_epoch
    assert found.metrics == teacher.metrics
    one, two = (load_file(record.at_epoch("last").file("teacher.safetensors")) for record in (found, teacher))
    assert all(torch.equal(one[name], two[name]) for name in two)
    with np.load(found.file("predictions_last.npz")) as z, np.load(teacher.file("predictions_last.npz")) as expected:
        assert set(z) == set(expected)
        for name in z:
            np.testing.assert_array_equal(z[name], expected[name])


def test_an_older_record_of_a_teacher_gets_its_last_epoch_when_it_teaches_again(older):
    own, teacher, _, settings = older
    mmkd.run("at", **settings)
    check_last_epoch(own, teacher)


def test_an_older_record_of_a_teacher_gets_its_last_epoch_when_maps_are_measured(older, capsys):
    own, teacher, student, settings = older
    names = {"data": "data", "student": "student", "teachers": "teachers", "image_size": "image-size"}
    names |= {"epochs": "epochs", "seed": "seeds", "cache": "cache", "runs": "runs", "epoch_rule": "epoch-rule"}
    flags = [word for name, flag in names.items() for word in (f"--{flag}", str(settings[name]))]
    assert bench(["--method", "kd", *flags]) == 0
    assert "not measured" not in capsys.readouterr().out
    assert own.get(student.key).result == student.result, "it was not trained again"
    with np.load(own.get(student.key).measurements["maps.npz"]) as z:
        assert "similarity/teacher-sig" in z
    check_last_epoch(own, teacher)


def test_where_the_cache_lacks_the_teacher_maps_are_left_out_in_one_line(older, tmp_path):
    own, teacher, student, settings = older
    shutil.rmtree(tmp_path / "cache" / "teachers")
    workspace = Workspace(tmp_path / "runs", tmp_path / "cache")
    runner = MeasurementRunner(workspace)
    ((_, data),) = expand(Request(("kd",), data=str(settings["data"]), students=("sig",), teachers=("sig",)))
    runner.run([MeasurementJob(own.get(student.key), data, ("maps.npz",))])
    (problem,) = runner.problems
    assert "older than teacher_last.safetensors" in problem
    assert "with --existing rerun adds it" in problem
    assert not (tmp_path / "cache" / "teachers").exists(), "nothing was trained"
    mmkd.run("kd", **settings, existing="rerun")
    assert own.get(teacher.key).knows_last_epoch


def test_equal_rows_are_one_line_in_every_table(units, capsys, tmp_path):
    runs, records = units
    (group,) = compare(records).groups
    assert [row.title for row in group.shown_rows if row.kind == "student"].count("full-kd = kd") == 1
    assert len(only(group, "student")) == 4, "statistics read all of them"
    assert "full-kd = kd: the same predictions to the bit" in group.notes
    assert compare_main(["--runs", str(runs), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for text in (printed, (tmp_path / "tables.md").read_text(), (tmp_path / "report.html").read_text()):
        assert "full-kd = kd" in text
        assert "full-kd = kd: the same predictions to the bit" in text
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(compare(records)))))
    assert {line["row"]: line["same_as"] for line in lines if line["kind"] == "student"} == {
        "student": "",
        "eskd": "",
        "kd": "full-kd",
        "full-kd": "kd",
    }
    assert {line["row"]: line["teacher_epoch"] for line in lines if line["row"] in METHODS} == {
        "student": "",
        "eskd": "best",
        "kd": "last",
        "full-kd": "last",
    }
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["row"]: row["same_as"] for row in document["groups"][0]["rows"]}["kd"] == "full-kd"


def test_the_table_at_the_end_of_a_run(units, tiny, capsys):
    runs, _ = units
    flags = ["--data", str(tiny["data"]), "--image-size", "16", "--epochs", "3", "--cache", str(tiny["cache"])]
    flags += ["--student", "sig", "--teachers", "sig", "--seeds", "0-1", "--runs", str(runs), "--existing", "only"]
    flags += ["--epoch-rule", "val-best"]
    assert bench(["--method", ",".join(METHODS), *flags]) == 0
    printed = capsys.readouterr().out
    for words in ("kd = full-kd  ", "teacher sig WRN16-1, last epoch", "teacher sig WRN16-1, best epoch"):
        assert words in printed
    assert "kd = full-kd: the same predictions to the bit" in printed
    assert bench(["--method", "student,kd", *flags]) == 0
    printed = capsys.readouterr().out
    assert "teacher sig WRN16-1  " in printed
    assert "teachers: scores of their last epoch, with which they taught" in printed


def test_without_validation_windows_the_table_says_whose_teachers_have_some(tiny, tmp_path, capsys):
    flags = ["--data", str(tiny["data"]), "--image-size", "16", "--epochs", "3", "--cache", str(tiny["cache"])]
    flags += ["--student", "sig", "--teachers", "sig", "--runs", str(tmp_path), "--epoch-rule", "last", "--quiet"]
    assert bench(["--method", "kd,eskd", *flags]) == 0
    words = "teachers of eskd: 18 windows that the student trains on chose their epoch instead"
    assert words in capsys.readouterr().out
    (group,) = compare(Records(tmp_path), "kd").groups
    assert words in group.notes
    assert len(only(group, "teacher")) == 2


def test_rounded_scores_that_are_equal_are_no_reason(units):
    """Only what is equal to the bit is one line."""
    _, records = units
    changed = []
    for record in records:
        if record.kind == "student" and record.spec.method == "full-kd" and record.spec.seed == 1:
            files = {**record.result["files"], "predictions.npz": {"bytes": 1, "sha256": "0" * 64}}
            record = Record(record.folder, {**record.result, "files": files})
        changed.append(record)
    (group,) = compare(changed).groups
    assert all(row.equals == () for row in group.rows)
    assert group.shown_rows == group.rows
    assert fold_equal(["a", "b", "c", "d"], {"a": 1, "c": 1}.get) == [["a", "c"], ["b"], ["d"]]
