"""The dense task through the runner: a class for every time step, from a file to record, table and stored student."""

import csv
import json
import math
import warnings
from dataclasses import replace
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch

import mmkd
import mmkd.training.evaluation
import mmkd.training.loop
from mmkd import METHODS, Batch, Method, MmkdError
from mmkd.bench import main
from mmkd.core.progress import Progress
from mmkd.data import load_file, split_windows
from mmkd.metrics.recordings import stitch
from mmkd.report.mlflow import store as mlflow_store
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.teacher_outputs import CachedTeachers, LiveTeachers, make_teacher_source
from mmkd.training.teachers import get_teacher
from mmkd.training.trial import Trial, make_method, make_student
from mmkd.training.unit_windows import training_data
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import split_for

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")

CLASSES, LENGTH, STEP = 3, 64, 32
SMALL = {"task": "segmentation", "student_net": "unet-small", "teacher_nets": {"sig": "unet-small"}, "epochs": 1}
DEFINED = [name for name in METHODS if "segmentation" in METHODS.get(name).tasks]
SEVERAL = [name for name in DEFINED if METHODS.get(name).minimum_teachers > 1]  # in test_segmentation_branches.py
DEFINED = [name for name in DEFINED if name not in SEVERAL]
OTHERS = [name for name in METHODS if "segmentation" not in METHODS.get(name).tasks]


def recordings(subjects=6, each=2, length=LENGTH, step=STEP, windows=5, seed=0):
    """Windows of recordings in which one of three frequencies is on at a time; -1 at both ends of a recording."""
    rng = np.random.default_rng(seed)
    found = {name: [] for name in ("x", "y", "subject", "recording", "start")}
    total = length + (windows - 1) * step
    for number in range(subjects * each):
        edges = np.sort(rng.choice(np.arange(12, total - 12, 4), 4, replace=False))
        label = (np.searchsorted(edges, np.arange(total), side="right") + number) % CLASSES
        phase = np.cumsum(2 * np.pi * np.array([0.02, 0.1, 0.25])[label])
        x = np.stack([np.sin(phase), np.cos(phase)]) + 0.1 * rng.normal(size=(2, total))
        label[:6] = label[-6:] = -1
        for start in range(0, total - length + 1, step):
            part = slice(start, start + length)
            row = (x[:, part], label[part], number // each, number, start)
            for name, value in zip(found, row, strict=True):
                found[name].append(value)
    arrays = {name: np.array(values) for name, values in found.items()}
    return {**arrays, "x": arrays["x"].astype(np.float32)}


def saved(path, **arrays):
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """The settings of a unit of a second; teachers are shared by all tests of this module."""
    folder = tmp_path_factory.mktemp("dense")
    return {**SMALL, "data": saved(folder / "steps.npz", **recordings()), "cache": folder / "cache"}


@pytest.fixture(scope="module")
def records(dense, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    made = {**dense, "epochs": 2}
    return {name: mmkd.run(name, **made, runs=runs) for name in ("student", "kd", "fitnet")}


@pytest.fixture
def bench(dense, tmp_path, capsys):
    """The command on the windows of `dense`; returns exit code, stdout, stderr."""

    def call(*args, data=dense["data"]):
        nets = ("--student-net", "unet-small") if "--student-net" not in args else ()
        own = ("--task", "segmentation", "--data", str(data), "--epochs", "1", *nets)
        code = main([*own, *args, "--runs", str(tmp_path / "runs"), "--cache", str(dense["cache"])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def refused(bench, tmp_path):
    """Exit 2, one line on stderr with these words, nothing on stdout and nothing written."""

    def call(words, *args, **more):
        code, out, err = bench(*args, **more)
        assert (code, out) == (2, ""), (out, err)
        assert err.count("\n") == 1, err
        assert not (tmp_path / "runs").exists()
        for word in words:
            assert word in err
        return err

    return call


def loaded(record):
    with np.load(record.folder / "predictions.npz", allow_pickle=False) as z:
        return {name: z[name] for name in z.files}


def naive_stitch(windows, recording, start):
    """The mean of what covers each step, one step after the other; (n, K, T) to {recording: (steps, K)}."""
    found = {}
    for number in sorted(set(recording.tolist())):
        own = [n for n in range(len(start)) if recording[n] == number]
        steps = []
        for step in range(max(int(start[n]) for n in own) + windows.shape[2]):
            over = [windows[n, :, step - start[n]] for n in own if start[n] <= step < start[n] + windows.shape[2]]
            steps.append(np.mean(over, axis=0) if over else np.full(windows.shape[1], np.nan))
        found[number] = np.array(steps)
    return found


def naive_scores(true, probabilities, recording, start):
    """Accuracy, macro-F1, mIoU and IoU a class, by counting; each of a recording, then their mean."""
    said = naive_stitch(probabilities, recording, start)
    accuracies, f1s, mious, ious = [], [], [], {k: [] for k in range(CLASSES)}
    for number, p in said.items():
        t = np.full(len(p), -1)
        for y, r, s in zip(true, recording, start, strict=True):
            if r == number:
                t[s : s + len(y)] = np.where(y >= 0, y, t[s : s + len(y)])
        steps = [(int(a), int(b.argmax())) for a, b in zip(t, p, strict=True) if a >= 0]
        accuracies.append(sum(a == b for a, b in steps) / len(steps))
        f1, iou = [], []
        for k in range(CLASSES):
            both = sum(a == k and b == k for a, b in steps)
            either = sum(a == k or b == k for a, b in steps)
            if either:
                ious[k].append(both / either)
                iou.append(both / either)
                f1.append(2 * both / (either + both))
        f1s.append(sum(f1) / len(f1))
        mious.append(sum(iou) / len(iou))
    found = {"accuracy": accuracies, "macro_f1": f1s, "miou": mious, **{f"iou_{k}": v for k, v in ious.items()}}
    return {name: sum(values) / len(values) for name, values in found.items()}


# The record -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student", "kd", "fitnet"])
def test_the_record_is_whole(records, name, picture_size):
    record = records[name]
    files = {p.name for p in record.folder.iterdir()}
    assert files >= {"result.json", "history.csv", "predictions.npz", "student.safetensors", "events.log"}
    assert files >= {"curves.svg", "confusion.svg", "recording.svg"}
    assert "views.svg" not in files
    assert "left out" not in (record.folder / "events.log").read_text()
    for picture in ("curves.svg", "confusion.svg", "recording.svg"):
        assert min(picture_size(record.folder / picture)) > 200
    assert record.result["spec"]["task"] == "segmentation"


def test_the_metrics_have_their_names(records):
    names = {"accuracy", "macro_f1", "balanced_accuracy", "miou"}
    names |= {f"pooled_{name}" for name in names}
    names |= {"edit", "boundary_f1_steps", "boundary_tolerance_steps", "f1_10", "f1_25", "f1_50", "nll", "ece"}
    names |= {f"iou_{k}" for k in range(CLASSES)}
    for record in records.values():
        assert set(record.metrics["test"]) == set(record.metrics["test_last"]) == names
        assert all(math.isfinite(v) for v in record.metrics["test"].values())
        assert set(record.metrics["validation"]) == {"accuracy", "macro_f1", "nll"}


def test_the_predictions_are_of_the_test_windows(records, dense):
    data, z = load_file(dense["data"]), loaded(records["kd"])
    assert sorted(z["window"]) == np.flatnonzero(data.test).tolist()
    assert z["probabilities"].shape == (len(z["window"]), CLASSES, LENGTH)
    for name in ("subject", "recording", "start"):
        np.testing.assert_array_equal(z[name], getattr(data, name)[z["window"]])
    np.testing.assert_array_equal(z["true"], data.y[z["window"]])
    np.testing.assert_allclose(z["probabilities"].astype(float).sum(1), 1, atol=2e-3)


@pytest.mark.parametrize("name", ["student", "kd", "fitnet"])
def test_the_metrics_are_those_of_a_slow_formula(records, dense, name):
    """On what the stored student says of the raw windows, stitched step by step."""
    record, z = records[name], loaded(records[name])
    x = load_file(dense["data"]).x[z["window"]]
    probabilities = mmkd.load_student(record).predict_proba(x)
    expected = naive_scores(z["true"], probabilities, z["recording"], z["start"])
    for metric, value in expected.items():
        assert record.metrics["test"][metric] == pytest.approx(value, abs=1e-9), metric
    known = z["true"] >= 0
    likelihood = np.take_along_axis(probabilities, np.maximum(z["true"], 0)[:, None], 1)[:, 0][known]
    assert record.metrics["test"]["nll"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-4)


def test_a_stored_student_predicts_as_it_did(records, dense):
    for record in records.values():
        z, model = loaded(record), mmkd.load_student(record)
        x = load_file(dense["data"]).x[z["window"]]
        np.testing.assert_allclose(model.predict_proba(x), z["probabilities"], atol=1e-3)  # stored as halves
        assert (model.predict(x) == z["predicted"]).mean() > 0.999
        assert model.predict(x[:0]).shape == (0, LENGTH)
        with pytest.raises(MmkdError, match=r"takes \(N, 2, 64\)"):
            model.predict(x[:, :, :-1])


def test_the_stitch_is_that_of_a_slow_one(records):
    z = loaded(records["kd"])
    p = z["probabilities"].astype(np.float64)
    order = np.random.default_rng(1).permutation(len(p))
    found = stitch(p[order].transpose(0, 2, 1), z["recording"][order], z["start"][order])
    expected = naive_stitch(p, z["recording"], z["start"])
    assert found.keys() == expected.keys()
    for number, labels in found.items():
        np.testing.assert_array_equal(labels, expected[number].argmax(1))
    assert any(len(labels) > LENGTH for labels in found.values())


def test_history_terms_and_the_best_epoch(records):
    for name, record in records.items():
        with (record.folder / "history.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        own = {"student": set(), "kd": {"loss/kd"}, "fitnet": {"loss/fitnet_sig"}}[name]
        assert {"loss", "loss/ce", "val_macro_f1", "val_nll", *own} <= set(rows[0]), sorted(rows[0])
        ranks = [(float(r["val_macro_f1"]), -float(r["val_nll"])) for r in rows]
        assert record.result["best_epoch"] == ranks.index(max(ranks)) + 1


def test_the_best_epoch_is_that_of_the_validation_windows(dense, tmp_path, monkeypatch):
    """The validation windows are made to speak for each epoch in turn; the test windows have no say."""
    real = mmkd.training.loop.validate
    for best in range(3):
        spoken = iter(range(3))

        def rigged(*args, best=best, spoken=spoken):
            return {**real(*args), "macro_f1": float(next(spoken) == best)}

        monkeypatch.setattr("mmkd.training.loop.validate", rigged)
        record = mmkd.run("student", **{**dense, "epochs": 3}, runs=tmp_path / str(best))
        assert record.result["best_epoch"] == best + 1
        same = record.metrics["test"] == record.metrics["test_last"]
        assert same == (best == 2)


def test_the_test_windows_are_read_after_training(dense, tmp_path, monkeypatch):
    calls = []
    real = mmkd.training.evaluation.predict
    monkeypatch.setattr(
        "mmkd.training.evaluation.predict", lambda n, at, w, *a: calls.append(set(w)) or real(n, at, w, *a)
    )
    mmkd.run("student", **{**dense, "epochs": 2}, runs=tmp_path)
    data = load_file(dense["data"])
    test = set(np.flatnonzero(data.test))
    assert len(calls) == 4
    assert not any(windows & test for windows in calls[:2])
    assert all(windows == test for windows in calls[2:])


def test_a_second_call_does_no_work(records, dense, monkeypatch):
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("the unit was done again"))
    monkeypatch.setattr("mmkd.training.teachers.train", lambda *_: pytest.fail("a teacher was trained again"))
    for name, record in records.items():
        again = mmkd.run(name, **{**dense, "epochs": 2}, runs=record.folder.parent)
        assert again.result == record.result


def test_methods_share_the_teacher(records, dense, monkeypatch):
    assert records["kd"].result["teachers"] == records["fitnet"].result["teachers"]
    folder = records["kd"].folder.parent / records["kd"].result["teachers"]["sig"]
    result = json.loads((folder / "result.json").read_text())
    assert (result["kind"], result["spec"]["task"]) == ("teacher", "segmentation")
    assert "miou" in result["metrics"]["test"]


def test_the_table_shows_miou_and_mlflow_has_the_metrics(dense, tmp_path, capsys):
    pytest.importorskip("mlflow")
    from mmkd.report import mlflow as track
    from mmkd.store.records import Records

    own = ["--task", "segmentation", "--data", str(dense["data"]), "--epochs", "1", "--student-net", "unet-small"]
    own += ["--teacher-net", "sig=unet-small", "--runs", str(tmp_path), "--cache", str(dense["cache"])]
    assert main(["--method", "student,kd", *own]) == 0
    out = capsys.readouterr().out
    head = next(line for line in out.splitlines() if "mIoU" in line)
    assert head.split() == ["test", "acc", "macro-F1", "mIoU", "bal.", "acc", "vs", "alone", "params", "time"]
    found = {r.result["spec"].get("method", "teacher"): r for r in Records(tmp_path)}
    for label, name in (("teacher sig unet-small", "teacher"), ("student", "student"), ("kd", "kd")):
        line = next(line for line in out.splitlines() if line.startswith(label + " "))
        values = line.removeprefix(label).split()
        test = found[name].metrics["test"]
        shown = ("accuracy", "macro_f1", "miou", "balanced_accuracy")
        assert values[:4] == [f"{test[metric]:.3f}" for metric in shown]
    track.publish(tmp_path, list(Records(tmp_path)))
    client = mlflow_store.connect(tmp_path)
    experiment = client.get_experiment_by_name("mmkd/steps/segmentation")
    sent = {run.data.tags["mmkd.key"]: run.data.metrics for run in client.search_runs([experiment.experiment_id])}
    for record in found.values():
        for metric, value in record.metrics["test"].items():
            assert sent[record.key][f"test/{metric}"] == pytest.approx(value)


def test_a_student_learns_it(dense, tmp_path):
    untrained = mmkd.run("student", **dense, runs=tmp_path).metrics["test"]["miou"]
    record = mmkd.run("student", **{**dense, "student_net": "unet", "epochs": 20}, runs=tmp_path)
    assert record.metrics["test"]["miou"] > max(0.7, untrained + 0.2)


# Steps without a label ------------------------------------------------------------------------------------------------


class Table(torch.nn.Module):
    """Logits (K, T) of each window, free parameters; the first sample of a window is its number."""

    def __init__(self, windows):
        super().__init__()
        torch.manual_seed(0)
        self.logits = torch.nn.Parameter(torch.randn(windows, CLASSES, LENGTH))

    def forward(self, views):
        x = views["sig"]
        logits = self.logits[x[:, 0, 0].long()]
        return mmkd.Outputs(logits, x.flatten(1), {"only": x})


class Said:
    """Teachers with a table of logits; the training windows are the first ones."""

    networks: ClassVar = {}

    def __init__(self, logits):
        self.logits = logits

    def outputs(self, positions, views):
        logits = self.logits[torch.from_numpy(positions)]
        return {"sig": mmkd.Outputs(logits, views["sig"].flatten(1), {"only": views["sig"]})}


def table_windows(y, train, validation):
    x = np.zeros((len(y), 2, LENGTH), np.float32)
    x[:, 0, 0] = np.arange(len(y))
    places = np.arange(len(y)), np.zeros(len(y), np.int64)
    names, cpu = ("0", "1", "2"), torch.device("cpu")
    return TrainingData({"sig": x}, y, np.array(train), np.array(validation), names, cpu, locations=places)


def half_known(count=8, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, (count, LENGTH))
    y[rng.random(y.shape) < 0.4] = -1
    return y


def fitted(name, windows, said=None, epochs=2, batch_size=4):
    """The table after training, and the history without times."""
    net = Table(len(windows.y))
    training = mmkd.training.loop.Training(epochs=epochs, batch_size=batch_size, weight_decay=0.0, lr=0.1)
    source = mmkd.training.teacher_outputs.NoTeachers() if said is None else Said(said)
    trained = train(net, METHODS.get(name)(), windows, source, training=training, seed=0, label="", progress=Progress())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history]
    return trained.last["logits"], rows


@pytest.mark.parametrize("name", ["student", "kd", "dist", "dkd", "ctkd", "evidential"])
def test_steps_without_a_label_get_no_gradient(name):
    """And what the teacher says of them changes nothing."""
    y = half_known()
    windows = table_windows(y, range(6), [6, 7])
    torch.manual_seed(1)
    said = torch.randn(6, CLASSES, LENGTH)
    taught = METHODS.get(name).distils
    before = Table(len(y)).logits.detach()
    after, history = fitted(name, windows, said if taught else None)
    moved = (after != before).any(1).numpy()
    assert not moved[:6][y[:6] < 0].any()
    assert moved[:6][y[:6] >= 0].all()
    assert not moved[6:].any(), "validation windows are trained on"
    if taught:
        other = said.clone().movedim(1, -1)
        other[torch.from_numpy(y[:6] < 0)] = 9.0
        again, same = fitted(name, windows, other.movedim(-1, 1))
        assert torch.equal(after, again)
        assert history == same
        other = said + torch.randn(said.shape)
        assert not torch.equal(after, fitted(name, windows, other)[0])


def test_the_loss_is_the_mean_over_the_steps_that_count():
    y = half_known(4)
    windows = table_windows(y, range(3), [3])
    start = Table(4).logits.detach().double().log_softmax(1)
    expected = -np.mean([start[n, y[n, t], t] for n in range(3) for t in range(LENGTH) if y[n, t] >= 0])
    _, history = fitted("student", windows, epochs=1)
    assert history[0]["loss/ce"] == pytest.approx(expected, rel=1e-5)


def test_steps_without_a_label_are_not_scored(records, dense):
    data, z = load_file(dense["data"]), loaded(records["kd"])
    windows = training_data(data, split_windows(data, 0), {}, records["kd"].unit, Workspace(device="cpu"))
    p = z["probabilities"].astype(np.float64).transpose(0, 2, 1)
    first = windows.scores(z["window"], p.transpose(0, 2, 1))
    other = p.copy()
    other[z["true"] < 0] = np.random.default_rng(0).dirichlet(np.ones(CLASSES), int((z["true"] < 0).sum()))
    assert windows.scores(z["window"], other.transpose(0, 2, 1)) == first
    other = p.copy()
    other[:, LENGTH // 2] = other[:, LENGTH // 2, [1, 2, 0]]
    assert windows.scores(z["window"], other.transpose(0, 2, 1)) != first


def test_batches_without_a_label_are_passed_over():
    y = half_known(8)
    y[:4] = -1
    y[5] = -1
    windows = table_windows(y, range(6), [6, 7])
    _, history = fitted("kd", windows, torch.randn(6, CLASSES, LENGTH), epochs=3, batch_size=2)
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert all(row["loss/ce"] > 0 for row in history)


def test_windows_without_a_label_in_a_file(dense, tmp_path):
    arrays = recordings()
    arrays["y"][arrays["start"] > 0] = -1
    record = mmkd.run(
        "kd", **{**dense, "data": saved(tmp_path / "few.npz", **arrays), "cache": tmp_path}, runs=tmp_path / "runs"
    )
    assert np.isfinite(list(record.metrics["test"].values())).all()


# Teachers -------------------------------------------------------------------------------------------------------------


def unit_of(dense, method, folder, **more):
    """Spec, data, windows, teachers of a unit, trained as `run_unit` does."""
    settings = {name: value for name, value in dense.items() if name not in ("data", "cache")}
    request = Request(
        methods=(method,), data=str(dense["data"]), **{**settings, "student_net": (settings["student_net"],), **more}
    )
    ((spec, data),) = expand(request)
    split = split_for(data, spec.data, spec.seed)
    views = {"sig": (data.x - data.x.mean()) / data.x.std()}
    workspace = Workspace(cache_folder=folder, device="cpu")
    windows = training_data(data, split, views, spec, workspace)
    teacher = get_teacher(spec.teacher("sig"), windows, split.test, workspace)
    return spec, windows, {"sig": teacher}, workspace.cache


@pytest.mark.parametrize("method", ["kd", "fitnet", "fam-1d"])
def test_stored_outputs_of_teachers_are_the_live_ones(dense, tmp_path, method):
    spec, windows, teachers, cache = unit_of(dense, method, tmp_path, epochs=2)
    needs, found = METHODS.get(method).needs, []
    for budget in (1 << 30, 0):
        source = make_teacher_source(teachers, needs, windows, cache=cache, progress=Progress(), budget=budget)
        expected = CachedTeachers if budget or "features" not in needs else LiveTeachers
        assert isinstance(source, expected)
        source = source if budget else LiveTeachers(teachers)
        net = make_student(spec, {"sig": (2, LENGTH)}, CLASSES, LENGTH)
        trained = train(
            net, make_method(spec), windows, source, training=spec.training, seed=0, label="", progress=Progress()
        )
        found.append([{k: v for k, v in row.items() if k != "seconds"} for row in trained.history])
    for stored, live in zip(*found, strict=True):
        assert stored == pytest.approx(live, rel=1e-3)


# Subjects -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_training_subjects(dense, tmp_path, count):
    data = load_file(dense["data"])
    whole, few = split_windows(data, 3), split_windows(data, 3, train_subjects=count)
    of = {name: set(data.subject[getattr(few, name)]) for name in ("train", "validation", "test")}
    assert len(of["train"]) == count
    assert not of["train"] & (of["validation"] | of["test"])
    for name in ("validation", "test"):
        np.testing.assert_array_equal(getattr(few, name), getattr(whole, name))
    assert few.sha256 == split_windows(data, 3, train_subjects=count).sha256
    assert set(few.train) == set(np.flatnonzero(np.isin(data.subject, list(of["train"])))), "windows are left out"
    if count == 1:
        assert len({split_windows(data, seed, train_subjects=1).sha256 for seed in range(8)}) > 1
    record = mmkd.run("student", train_subjects=count, **dense, runs=tmp_path)
    assert record.result["data"]["windows"]["train"] == 10 * count


def test_more_subjects_than_there_are(refused):
    refused(["--train-subjects 9", "left for training"], "--method", "student", "--train-subjects", "9")


def test_a_subject_with_every_label_may_be_cut_off():
    """-1 is no class: that one subject alone has it does not bind this subject to the training part."""
    arrays = recordings(subjects=3)
    arrays["y"] = np.where(arrays["y"] < 0, 0, arrays["y"])
    arrays["y"][(arrays["subject"] == 1) & (arrays["start"] == 0), :3] = -1
    data = data_of(**arrays, test=arrays["subject"] == 0)
    held = {int(data.subject[split_windows(data, seed).validation[0]]) for seed in range(20)}
    assert held == {1, 2}


def data_of(folder=None, **arrays):
    """A `Dataset` of these arrays, by way of a file."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        return load_file(saved(Path(name) / "d.npz", **arrays))


# Suites ---------------------------------------------------------------------------------------------------------------


def test_suites_expand(dense, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmkd.report.mlflow.publish", lambda *_, **__: None)
    suite = tmp_path / "dense.toml"
    suite.write_text(
        f"""
        task = "segmentation"
        data = "{dense["data"]}"
        methods = ["student", "kd"]
        student_net = ["unet-small", "fast-scnn-small"]
        teacher_nets = {{ sig = "unet-small" }}
        epochs = 1

        [options.kd]
        temperature = [2.0, 4.0]

        [[variants]]
        method = "kd"
        kd_weight = 0.5
        """
    )
    args = ["--suite", str(suite), "--runs", str(tmp_path / "runs"), "--cache", str(dense["cache"]), "--json"]
    assert main(args) == 0
    units = json.loads(capsys.readouterr().out)
    assert {u["status"] for u in units} == {"done"}
    kd = [u["options"] for u in units if u["method"] == "kd"]
    each = [(2.0, 0.7), (4.0, 0.7), (2.0, 0.5), (4.0, 0.5)]
    assert [(o["temperature"], o["kd_weight"]) for o in kd] == 2 * each
    assert len({u["key"] for u in units}) == len(units) == 2 * (1 + 4)
    assert len({u["parameters"] for u in units}) == 2
    assert main(args) == 0
    assert {u["status"] for u in json.loads(capsys.readouterr().out)} == {"cached"}


# Methods --------------------------------------------------------------------------------------------------------------


@cache
def recorded(length):
    return data_of(**recordings(length=length, step=length // 2))


def trial(method, student="unet-small", teacher="segformer-small", length=LENGTH):
    """A unit's untrained networks and method; teachers in evaluation mode."""
    data = recorded(length)
    request = Request(
        methods=(method,),
        data="unused.npz",
        task="segmentation",
        student_net=(student,),
        teacher_nets={"sig": teacher} if METHODS.get(method).distils else {},
        epochs=4,
    )
    from dataclasses import asdict

    from mmkd.units.expansion import resolve

    options = asdict(METHODS.get(method).Config())
    spec = resolve(
        request,
        data,
        seed=0,
        student="sig",
        teachers="sig",
        method=method,
        options=options,
        student_net=student,
        fusion=None,
    )
    targets = torch.from_numpy(data.y[split_for(data, spec.data, 0).train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return Trial.make(spec, shape=(2, length), classes=CLASSES, targets=targets, validated=True)


@pytest.mark.parametrize("student", ["unet-small", "fast-scnn-small", "mamba"])
@pytest.mark.parametrize("name", DEFINED)
def test_every_parameter_gets_a_gradient(name, student):
    """From the method's own terms some of the student's do, from all terms every one, the method's too."""
    found = trial(name, student)
    y = torch.from_numpy(half_known(4))
    known = y >= 0
    every = torch.arange(4 * LENGTH).reshape(4, LENGTH)[known]
    taught = {m: replace(o, logits=o.logits[every]) for m, o in found.teacher_outputs.items()}
    found.student.train()
    batch = Batch(y[known], torch.arange(4), 3, 4)
    torch.manual_seed(0)
    terms = found.method.terms(found.student(found.views).steps(known), taught, batch)
    assert all(value.shape == () and math.isfinite(value.item()) for value in terms.values())
    own = [value for term, value in terms.items() if term != "ce"]
    if METHODS.get(name).distils and own:
        grads = torch.autograd.grad(
            torch.stack(own).sum(), list(found.student.parameters()), retain_graph=True, allow_unused=True
        )
        assert sum(float(g.abs().sum()) for g in grads if g is not None) > 0, "the student is not moved"
    torch.stack(list(terms.values())).sum().backward()
    for part in (found.student, found.method):
        left = [n for n, p in part.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        if name == "simkd":  # it deploys the teacher's classifier in place of the student's
            left = [n for n in left if "head.conv" not in n]
        assert not left, left


@pytest.mark.parametrize("name", [n for n in DEFINED if METHODS.get(n).distils and METHODS.get(n).needs])
def test_the_teacher_changes_the_loss(name):
    first, second = trial(name), trial(name)
    for outputs in second.teacher_outputs.values():
        for x in (outputs.logits, outputs.embedding, *outputs.features.values(), outputs.classifier):
            x.data.add_(torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    y = torch.from_numpy(half_known(4)).clamp(min=0)
    said = []
    for found in (first, second):
        torch.manual_seed(0)
        own = found.student(found.views).steps(torch.ones_like(y, dtype=torch.bool))
        terms = found.method.terms(own, found.teacher_outputs, Batch(y.flatten(), torch.arange(4), 3, 4))
        said.append(torch.stack(list(terms.values())).sum().item())
    assert said[0] != pytest.approx(said[1], rel=1e-6)


@pytest.fixture(scope="module")
def alone(dense, tmp_path_factory):
    """The record of the student trained alone."""
    return mmkd.run("student", **dense, runs=tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("name", DEFINED)
def test_every_method_for_this_task_ends(dense, alone, tmp_path, name):
    record = mmkd.run(name, **(dense if METHODS.get(name).distils else {**dense, "teacher_nets": {}}), runs=tmp_path)
    assert 0 <= record.metrics["test"]["miou"] <= 1
    x = load_file(dense["data"]).x[loaded(record)["window"]]
    np.testing.assert_allclose(mmkd.load_student(record).predict_proba(x), loaded(record)["probabilities"], atol=1e-3)
    if METHODS.get(name).distils:
        assert record.metrics["test"]["nll"] != alone.metrics["test"]["nll"], "the teacher changes nothing"


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_method_is_refused_with_its_reason(refused, monkeypatch, name):
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("something is trained"))
    err = refused([f"{name} is not defined for --task segmentation: it", "; use another --method"], "--method", name)
    if "branches" in METHODS.get(name).needs:
        assert "on whole windows" in err
    elif METHODS.get(name).minimum_teachers > 1:
        assert "by window" in err
    else:
        assert "one label a window" in err


def test_there_are_methods_of_both_kinds():
    assert {"student", "kd", "fitnet", "freq-lh", "fam", "fam-1d", "fam-review", "reviewkd"} <= set(DEFINED)
    assert {"mlkd", "pskd", "camkd", "mst-distill"} <= set(OTHERS)


def test_all_methods_leave_those_out(bench, monkeypatch):
    monkeypatch.setattr("mmkd.report.mlflow.publish", lambda *_, **__: None)
    for name in set(METHODS) - {"student", "kd", "mlkd", "ebkd"}:
        METHODS.unregister(name)
    code, out, err = bench("--method", "all", "--teacher-net", "sig=unet-small", "--json")
    assert code == 0, err
    found = {u["method"]: u for u in json.loads(out)}
    assert {name: u["status"] for name, u in found.items()} == {
        "student": "done",
        "kd": "done",
        "mlkd": "refused",
        "ebkd": "refused",
    }
    assert "one label a window" in found["mlkd"]["error"]


def test_the_review_takes_the_encoders():
    """The decoders, which lie behind the deepest feature, are not in it."""
    for name in ("fam-review", "reviewkd"):
        found = trial(name)
        assert len(found.teacher_outputs["sig"].features) == 5
        one, other = [], []
        y = torch.zeros(4 * LENGTH, dtype=torch.long)
        for place, said in (("encoder", one), ("decoder", other)):
            for factor in (1.0, 3.0):
                taught = found.teacher_outputs["sig"]
                changed = {
                    k: v + (factor * v.flip(-1) if k.startswith(place) else 0) for k, v in taught.features.items()
                }
                own = found.student(found.views).steps(torch.ones(4, LENGTH, dtype=torch.bool))
                terms = found.method.losses(own, {"sig": replace(taught, features=changed)}, Batch(y, torch.arange(4)))
                said.append(torch.stack(list(terms.values())).sum().item())
        assert one[0] != pytest.approx(one[1], rel=1e-4)
        assert other[0] == pytest.approx(other[1], rel=1e-6)


def test_the_value_of_fam_1d_is_that_of_its_formula():
    """Squared error of each predicted map and the teacher's over its root mean square, summed, beside the labels."""
    found = trial("fam-1d")
    own = found.student(found.views).steps(torch.ones(4, LENGTH, dtype=torch.bool))
    y = torch.arange(4 * LENGTH) % CLASSES
    found.method.train()
    state = {k: v.clone() for k, v in found.method.state_dict().items()}
    terms = found.method.losses(own, found.teacher_outputs, Batch(y, torch.arange(4), 3, 4))
    found.method.load_state_dict(state)
    expected, stages = 0.0, []
    for route in found.method.routes:
        s, t = own.features[route.student_stage], found.teacher_outputs["sig"].features[route.teacher_stage]
        assert s.ndim == t.ndim == 3
        predicted = found.method.paths[route.key](s).detach().double().numpy()
        t = t.double().numpy()
        expected += np.mean((predicted - t / np.sqrt(np.mean(t**2))) ** 2)
        stages.append(route.teacher_stage)
    assert stages == ["decoder1", "encoder4", "encoder3", "encoder2", "encoder1"]
    assert terms["fam_sig"].item() == pytest.approx(expected, rel=1e-4)
    log_p = own.logits.detach().double().log_softmax(1)
    assert terms["ce"].item() == pytest.approx(-log_p[torch.arange(len(y)), y].mean().item(), rel=1e-5)
    assert set(terms) == {"ce", "fam_sig"}


def test_crd_draws_negatives_without_classes():
    """A window of many labels has none that another could share."""
    found = trial("crd")
    assert found.method.targets is None
    negatives = found.method.negatives(torch.tensor([0, 3]))
    assert negatives.sum(1).tolist() == [found.method.samples - 1] * 2
    assert not negatives[0, 0]
    assert not negatives[1, 3]


# Lengths and networks -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lengths_cache(tmp_path_factory):
    """The students of one length have the same teacher."""
    return tmp_path_factory.mktemp("lengths")


@pytest.mark.parametrize("student", ["fast-scnn-small", "mamba", "segnext-small-ham", "unet-small"])
@pytest.mark.parametrize(("length", "windows"), [(32, 4), (45, 5), (77, 3)])
def test_lengths_and_networks(tmp_path, lengths_cache, student, length, windows):
    """With a SegFormer teacher; the last batch of an epoch is of one or two windows in some of these."""
    data = saved(tmp_path / "d.npz", **recordings(length=length, step=length // 2, windows=windows))
    made = {**SMALL, "data": data, "student_net": student, "teacher_nets": {"sig": "segformer-small"}}
    record = mmkd.run("fam-1d", **made, cache=lengths_cache, runs=tmp_path / "runs")
    z = loaded(record)
    assert z["probabilities"].shape[1:] == (CLASSES, length)
    model = mmkd.load_student(record)
    x = load_file(data).x
    assert model.predict(x[:1]).shape == (1, length)
    np.testing.assert_allclose(model.predict_proba(x[z["window"]]), z["probabilities"], atol=1e-3)
    expected = naive_scores(z["true"], model.predict_proba(x[z["window"]]), z["recording"], z["start"])
    assert record.metrics["test"]["miou"] == pytest.approx(expected["miou"], abs=1e-9)


@pytest.mark.parametrize("count", [9, 10, 17, 18])
def test_a_last_batch_of_one_or_two(dense, tmp_path, count):
    arrays = recordings(subjects=4)
    train = np.flatnonzero(arrays["subject"] > 1)[:count]
    kept = np.concatenate([np.flatnonzero(arrays["subject"] <= 1), train])
    arrays = {name: array[kept] for name, array in arrays.items()}
    data = saved(tmp_path / "d.npz", **arrays, test=arrays["subject"] == 0)
    record = mmkd.run(
        "kd", **{**dense, "data": data, "cache": tmp_path, "student_net": "fast-scnn-small"}, epoch_rule="last",
        runs=tmp_path / "runs",
    )  # fmt: skip
    assert record.result["data"]["windows"]["train"] == count + 10
    assert record.metrics["test"] == record.metrics["test_last"]


# Bad input ------------------------------------------------------------------------------------------------------------


def spoilt(name):
    """The arrays of a file with one fault, and words of the line that it is refused with."""
    a = recordings(subjects=4, windows=3)
    y = a["y"]
    faults = {
        "too few labels": ({"y": y[:, :-1]}, ["y has shape (24, 63)"]),
        "labels of channels": ({"y": np.stack([y, y], 1)}, ["y has shape (24, 2, 64)"]),
        "floats": ({"y": y.astype(float)}, ["y holds float64", "whole number"]),
        "texts": ({"y": y.astype(str)}, ["y holds <U", "whole number"]),
        "below -1": ({"y": np.where(y < 0, -2, y)}, ["labels from -2"]),
        "nothing known": ({"y": np.full_like(y, -1)}, ["labels from -1 to -1"]),
        "null alone": ({"y": np.minimum(y, 0)}, ["labels from -1 to 0"]),
        "one class": ({"y": np.where(y < 0, -1, 2)}, ["one class only ('2')"]),
        "a huge label": ({"y": np.where(y == 2, 10**6, y)}, ["to 1000000"]),
        "negative start": ({"start": a["start"] - 1}, ["start must hold whole numbers of at least 0"]),
        "far start": ({"start": a["start"] + 10**9}, ["start goes up to 1000000", "samples"]),
        "start of floats": ({"start": a["start"] + 0.5}, ["start must hold whole numbers"]),
        "start of another length": ({"start": a["start"][1:]}, ["start has shape (23,)"]),
        "recording without start": ({"start": None}, ["3 windows of one recording start at its sample 0", "'start'"]),
        "recordings numbered anew for each subject": (
            {"recording": a["recording"] % 2},
            ["a recording has windows of two subjects"],
        ),
        "places for one label a window": ({"y": y[:, 30]}, ["goes with a label for every sample"]),
        "a class of the test part alone": (
            {"y": np.where((a["subject"] > 0)[:, None] & (y == 2), 1, y), "test": a["subject"] == 0},
            ["class '2'", "none for training"],
        ),
        "a test part without labels": (
            {"y": np.where((a["subject"] == 0)[:, None], -1, y), "test": a["subject"] == 0},
            ["the test windows have no label"],
        ),
        "a subject on both sides": ({"test": np.arange(24) % 2 == 0}, ["both sides of 'test'"]),
        "one subject": ({"subject": np.zeros(24, int)}, ["one subject only"]),
        "a missing value": ({"x": np.where(np.arange(64) == 9, np.nan, a["x"])}, ["NaN", "--nan"]),
    }
    changes, words = faults[name]
    return {**a, **changes}, words


FAULTS = (
    "too few labels", "labels of channels", "floats", "texts", "below -1", "nothing known", "null alone", "one class",
    "a huge label", "negative start", "start of floats", "start of another length", "recording without start",
    "recordings numbered anew for each subject", "places for one label a window", "a class of the test part alone",
    "a test part without labels", "a subject on both sides", "one subject", "a missing value",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_refused(refused, tmp_path, fault):
    arrays, words = spoilt(fault)
    refused(words, "--method", "student", data=saved(tmp_path / "bad.npz", **arrays))


def test_a_validation_part_without_labels_is_not_chosen():
    arrays = recordings(subjects=4)
    arrays["y"][arrays["subject"] == 1] = -1
    data = data_of(**arrays, test=arrays["subject"] == 0)
    for seed in range(10):
        assert 1 not in data.subject[split_windows(data, seed).validation]


def test_own_test_subjects_have_labels():
    arrays = recordings(subjects=3)
    arrays["y"][arrays["subject"] != 1] = np.where(np.arange(LENGTH) % 2, 2, arrays["y"][arrays["subject"] != 1])
    for silent in range(3):
        y = arrays["y"].copy()
        y[arrays["subject"] == silent] = -1
        data = data_of(**{**arrays, "y": y})
        assert (data.y[data.test] >= 0).any()


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["pi: a persistence image has no axis of time", "--student sig+pi"], ("--method", "kd", "--teachers", "pi")),
        (["pi: a persistence image has no axis of time"], ("--method", "student", "--student", "pi")),
        (["stft: the segments", "use cwt"], ("--method", "student", "--student", "sig+stft")),
        (["--fusion WRN16-1", "attention, carafe"], ("--method", "kd", "--student", "sig+gaf", "--fusion", "WRN16-1")),
        (["unknown dense network 'WRN16-1'"], ("--method", "kd", "--student-net", "WRN16-1")),
        (["'mamba' joins no"], ("--method", "kd", "--fusion", "gated", "--student-net", "mamba")),
        (["train-subjects = 0"], ("--method", "kd", "--train-subjects", "0")),
        (["no gaf teacher"], ("--method", "kd", "--teacher-net", "gaf=unet")),
    ],
)
def test_what_has_no_meaning_here_is_refused(refused, words, args):
    refused(words, *args)


def test_the_task_must_be_that_of_the_data(dense, tmp_path, capsys, sines):
    for task, data, words in (
        ("classification", dense["data"], "--task segmentation"),
        ("segmentation", sines, "--task classification"),
    ):
        assert main(["--method", "student", "--task", task, "--data", str(data), "--runs", str(tmp_path / "runs")]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "runs").exists()


def test_balanced_weights_are_of_labelled_steps_of_training_windows(tmp_path, monkeypatch):
    """Not of windows, margins, validation or test windows; the same of teachers and student."""
    path = tmp_path / "steps.npz"
    arrays = recordings()
    arrays["y"][arrays["subject"] == 5] = 2
    np.savez(path, **arrays)
    weights = []
    weigh = Method.weigh_classes

    def spy(self, labels, classes):
        weigh(self, labels, classes)
        weights.append(self.weight_of_class)

    monkeypatch.setattr(Method, "weigh_classes", spy)
    settings = {**SMALL, "class_weights": "balanced", "focal_gamma": 2.0, "epoch_rule": "val-best"}
    record = mmkd.run("kd", data=path, runs=tmp_path / "runs", cache=tmp_path / "cache", **settings)
    data = load_file(path)
    counts = [0] * CLASSES
    for window in split_for(data, record.unit.data, record.unit.seed).train:
        for label in data.y[window].tolist():
            if label >= 0:
                counts[label] += 1
    assert len(weights) == 2
    for found in weights:
        torch.testing.assert_close(found, torch.tensor([sum(counts) / (CLASSES * n) for n in counts]))
    assert record.unit.teacher_training.focal_gamma == record.unit.options["focal_gamma"] == 2.0
    assert record.unit.training.focal_gamma == 0
