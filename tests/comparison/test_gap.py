"""The gap between teachers and the student alone, and how teachers fit their training windows."""

import csv
import io
import json
import math
import shutil
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch

import mmkd
from mmkd.bench import main as bench
from mmkd.compare import main as compare_main
from mmkd.comparison.compare import compare
from mmkd.comparison.gap import Fit, Gap, describe_gap, fit_of, gap_lines, paired_gap, record_gaps
from mmkd.core.refusal import Refusal
from mmkd.report.markup import markdown
from mmkd.report.mlflow.leaderboard import leaderboard_metrics
from mmkd.report.mlflow.runs import read_record
from mmkd.specs.unit import Training
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.training.data import TrainingData
from mmkd.training.evaluation import training_fit


def gap(mean, **more):
    ends = {"low": None, "high": None, "accuracy": 0.9, "alone": 0.8}
    return Gap(**{"teacher": "sig", "mean": mean, "n": 1, "of": "seed", **ends, **more})


def test_pairs_are_those_that_both_have_and_the_interval_is_by_students_t():
    found = paired_gap("gaf", {0: 0.90, 1: 0.88, 2: 0.95, 7: 0.1}, {2: 0.90, 1: 0.85, 0: 0.89, 8: 0.2})
    differences = [0.01, 0.03, 0.05]
    mean = sum(differences) / 3
    sd = math.sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    half = 2.919986 * sd / math.sqrt(3)  # the 95 % point of t with two degrees of freedom, from a table
    assert found.n == 3
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-6)
    assert found.accuracy == pytest.approx((0.90 + 0.88 + 0.95) / 3)
    assert found.alone == pytest.approx((0.89 + 0.85 + 0.90) / 3)


def test_one_pair_has_no_interval_and_none_is_refused():
    found = paired_gap("gaf", {"fold 1": 0.9}, {"fold 1": 0.8}, of="fold")
    assert (found.low, found.high, found.n) == (None, None, 1)
    assert "one fold, no interval" in describe_gap(found)
    refused = paired_gap("gaf", {0: 0.9}, {1: 0.8})
    assert isinstance(refused, Refusal)
    assert "no seed is on record for both" in refused.why


@pytest.mark.parametrize(
    ("mean", "room"), [(0.0199, False), (0.02, True), (0.92 - 0.9, True), (0.03, True), (0.0, False), (-0.05, False)]
)
def test_no_room_below_two_points(mean, room):
    assert gap(mean).has_room is room
    assert ("no room" in describe_gap(gap(mean))) is not room


@pytest.mark.parametrize(("low", "said"), [(0.001, False), (0.0, True), (-0.02, True), (None, False)])
def test_a_gap_whose_interval_holds_zero_is_said_not_to_be_shown(low, said):
    assert describe_gap(gap(0.05, low=low, high=0.1)).endswith("that there is room is not shown") is said


def test_lines_begin_with_the_best_teacher_and_warn_of_weak_ones():
    fit = Fit(accuracy=0.75, wrong=0.25, nll=0.5)
    lines = gap_lines([gap(-0.01, teacher="pi", fit=fit), gap(0.04, teacher="gaf", low=0.01, high=0.07, n=3)])
    assert lines[0].startswith("gap: +4.0 points [+1.0, +7.0], best teacher gaf")
    assert lines[1:] == [
        "teacher gaf: +4.0 points [+1.0, +7.0]",
        "warning: teacher pi is weaker than the student alone: -1.0 points; wrong on 25.0 % of its training windows, "
        "NLL of its targets there 0.500",
    ]
    assert gap_lines([]) == []


def slow_fit(probabilities, labels):
    """Accuracy, share of errors and NLL, one window at a time."""
    right = surprise = count = 0
    for p, label in zip(probabilities, labels, strict=True):
        if label < 0:
            continue
        count += 1
        right += max(range(len(p)), key=lambda k: p[k]) == label
        surprise -= math.log(p[label])
    return {"accuracy": right / count, "wrong": (count - right) / count, "nll": surprise / count}


class Table(torch.nn.Module):
    """Its logits are its view; it forgets half of them in training mode."""

    def forward(self, views):
        (logits,) = views.values()
        return mmkd.Outputs(torch.nn.functional.dropout(logits, 0.5, self.training), torch.zeros(len(logits), 1))


@pytest.mark.parametrize("shape", [(), (7,)])
def test_fit_is_that_of_labelled_training_windows_in_evaluation_mode(shape):
    rng = np.random.default_rng(0)
    y = rng.integers(-1, 3, (600, *shape))
    y[0] = -1
    train = rng.permutation(600)[:400]
    logits = rng.normal(0, 2, (600, 3, *shape)).astype(np.float32)
    windows = TrainingData({"sig": logits}, y, train, train[:0], ["a", "b", "c"], torch.device("cpu"))
    found = training_fit(Table().train(), windows, Training())
    p = torch.softmax(torch.from_numpy(logits[train]).double(), 1).numpy()
    rows = np.moveaxis(p, 1, -1).reshape(-1, 3)
    assert found == pytest.approx(slow_fit(rows.tolist(), y[train].ravel().tolist()))
    unlabelled = TrainingData({"sig": logits}, y * 0 - 1, train, train[:0], ["a", "b", "c"], torch.device("cpu"))
    assert training_fit(Table(), unlabelled, Training()) == {}


@pytest.fixture(scope="module")
def records(tiny, tmp_path_factory):
    """Two seeds of a student alone and of one that a signal teacher teaches."""
    runs = tmp_path_factory.mktemp("gap")
    for seed in (0, 1):
        for method in ("student", "kd"):
            mmkd.run(method, student="sig", teachers="sig", seed=seed, **tiny, runs=runs)
    return list(Records(runs))


def split(records):
    teachers = [record.at_epoch("last") for record in records if record.kind == "teacher"]
    return [record for record in records if record.kind == "student" and record.unit.method == "student"], teachers


def test_records_are_paired_by_seed_and_split(records):
    alone, teachers = split(records)
    (found,) = record_gaps(alone, teachers)
    expected = [
        teacher.metrics.test["accuracy"] - student.metrics.test["accuracy"]
        for teacher in teachers
        for student in alone
        if student.spec.seed == teacher.spec.seed
    ]
    assert (found.n, found.teacher) == (2, "sig WRN16-1")
    assert found.mean == pytest.approx(sum(expected) / 2)
    assert record_gaps(alone[:1], [t for t in teachers if t.spec.seed != alone[0].spec.seed]) == []


def with_spec(record, **parts):
    """A record with other values in parts of its spec."""
    spec = {**record.result["spec"], **{name: {**record.result["spec"][name], **new} for name, new in parts.items()}}
    return Record(record.folder, {**record.result, "spec": spec}, epoch=record.epoch)


def test_teachers_of_one_name_that_were_trained_otherwise_are_told_apart(records):
    alone, teachers = split(records)
    longer = [with_spec(teacher, training={"epochs": 5}) for teacher in teachers]
    found = record_gaps(alone, [*teachers, *longer])
    assert [gap.n for gap in found] == [2, 2]
    assert {gap.teacher for gap in found} == {"sig WRN16-1 training.epochs=3", "sig WRN16-1 training.epochs=5"}


def test_a_file_of_unlabelled_windows_which_teachers_do_not_read_parts_no_pair(records):
    alone, teachers = split(records)
    fed = [with_spec(record, data={"unlabelled_sha256": "ab", "unlabelled_file": "more.npz"}) for record in alone]
    assert record_gaps(fed, teachers) == record_gaps(alone, teachers)


def test_the_fit_of_a_teacher_is_on_record_and_older_records_do_without(records, tmp_path):
    alone, teachers = split(records)
    (found,) = record_gaps(alone, teachers)
    fits = [teacher.result["training_fit"]["last"] for teacher in teachers]
    assert found.fit.nll == pytest.approx(sum(fit["nll"] for fit in fits) / 2)
    assert all(fit["accuracy"] == pytest.approx(1 - fit["wrong"]) for fit in fits)
    moved = [teacher for teacher in teachers if teacher.epoch == "last"]
    assert moved, "else the epochs are not told apart"
    assert any(r.result["training_fit"]["best"] != r.result["training_fit"]["last"] for r in moved)
    old = tmp_path / teachers[0].key
    shutil.copytree(teachers[0].folder, old)
    result = json.loads((old / "result.json").read_text())
    del result["training_fit"]
    older = Record(old, result)
    assert fit_of(older) is None
    (found,) = record_gaps(alone, [older, teachers[1]])
    assert found.fit is None
    assert not any("training windows" in line for line in gap_lines([found]))


def only_gap(records):
    alone, teachers = split(records)
    (found,) = record_gaps(alone, teachers)
    return found


def test_it_stands_above_the_table_of_a_run(records, tiny, capsys):
    flags = ["--data", str(tiny["data"]), "--epochs", "3", "--image-size", "16", "--cache", str(tiny["cache"])]
    flags += ["--student", "sig", "--teachers", "sig", "--seeds", "0-1", "--existing", "only", "--quiet"]
    flags += ["--epoch-rule", "val-best"]
    runs = ["--runs", str(records[0].folder.parent)]
    assert bench(["--method", "student,kd", *flags, *runs]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert "student sig" in title
    assert lines[:2] == gap_lines([only_gap(records)])
    assert "test acc" in lines[2]
    assert bench(["--method", "kd", *flags, *runs]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == lines[:2], "the student alone is on record"


def test_without_the_student_alone_it_is_not_known(records, tiny, tmp_path, capsys):
    for record in records:
        if record.kind == "teacher" or record.unit.method != "student":
            shutil.copytree(record.folder, tmp_path / record.folder.name)
    flags = ["--data", str(tiny["data"]), "--epochs", "3", "--image-size", "16", "--cache", str(tiny["cache"])]
    flags += ["--student", "sig", "--teachers", "sig", "--existing", "only", "--runs", str(tmp_path), "--quiet"]
    flags += ["--epoch-rule", "val-best"]
    assert bench(["--method", "kd", *flags]) == 0
    assert "gap: not known without the student alone" in capsys.readouterr().out


def test_it_stands_in_every_form_of_a_comparison(records, tmp_path, capsys):
    found = only_gap(records)
    first, second = gap_lines([found])
    comparison = compare(records)
    (group,) = comparison.groups
    (own,) = group.gaps
    assert own == replace(found, mean=pytest.approx(found.mean), low=pytest.approx(found.low), high=own.high)
    assert compare_main(["--runs", str(records[0].folder.parent), "--out", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.index(first) < printed.index(second) < printed.index("macro-F1")
    html = unescape((tmp_path / "report.html").read_text())
    assert html.index(f"<li>{first}</li>") < html.index(f"<li>{second}</li>") < html.index("<table data-table")
    assert f"- {markdown(first)}" in (tmp_path / "tables.md").read_text()
    assert f"% {first}" in (tmp_path / "tables.tex").read_text()
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert document["groups"][0]["gaps"][0]["mean"] == pytest.approx(found.mean)
    assert document["groups"][0]["gaps"][0]["has_room"] is found.has_room
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    teacher, *students = sorted(rows, key=lambda row: row["kind"] != "teacher")
    assert float(teacher["teacher_gap_mean"]) == pytest.approx(found.mean)
    assert float(teacher["training_nll"]) == pytest.approx(found.fit.nll)
    assert teacher["teacher_has_room"] == str(found.has_room)
    assert not any(row["teacher_gap_mean"] or row["training_nll"] for row in students)
    metrics = leaderboard_metrics(comparison.groups)
    assert [value for name, value in metrics.items() if name.startswith("gap/sig WRN16-1")] == [own.mean]
    sent = {name: value for name, value, _ in read_record(split(records)[1][0]).metrics}
    assert {"train/accuracy", "train/wrong", "train/nll"} <= set(sent)
