"""The gap between teachers and the student alone, and how teachers fit their training windows."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

import mmkd
from mmkd.comparison.gap import Fit, Gap, describe_gap, fit_of, gap_lines, paired_gap, record_gaps
from mmkd.core.refusal import Refusal
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


def test_lines_begin_with_the_best_teacher_and_warn_of_weak_ones():
    fit = Fit(accuracy=0.75, wrong=0.25, nll=0.5)
    lines = gap_lines([gap(-0.01, teacher="pi", fit=fit), gap(0.04, teacher="gaf", low=0.01, high=0.07, n=3)])
    assert lines[0].startswith("gap: +4.0 points [+1.0, +7.0], best teacher gaf")
    assert lines[1] == "gap of teacher pi: -1.0 points"
    assert [line for line in lines if "warning" in line] == [
        "warning: teacher pi is weaker than the student alone (0.900 against 0.800 test accuracy)"
    ]
    assert lines[-1] == "teacher pi on its training windows: accuracy 0.750, wrong on 25.0 %, NLL of the labels 0.500"
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
    assert not any("on its training windows" in line for line in gap_lines([found]))
