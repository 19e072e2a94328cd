"""Trainings with few labels: no label but those drawn is read, all methods take as many steps, teachers see labels."""

import csv
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd import METHODS, Method, MmkdError
from mmkd.comparison.compare import compare
from mmkd.methods.contract import UNLABELLED
from mmkd.nets import build_teacher
from mmkd.specs.unit import Training
from mmkd.store.records import Records
from mmkd.training import loop, preparation
from mmkd.training import student as student_module
from mmkd.training.student import run_unit
from mmkd.training.teacher_outputs import NoTeachers
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import split_for

FEW = {"labelled_subjects": 2, "students": ("sig",), "teachers": ("sig",), "epochs": 2, "batch_size": 8}
READ_LABELS = ("student", "kd", "dkd", "crd", "meta-mkd", "shuffled-teacher", "noise-logits", "pseudo-label")
"""Methods that read labels in all ways: not at all without one, as targets, in a hook, and through `Step.read`."""


def units(path, methods, **changes):
    teachers = ("sig,gaf",) if "meta-mkd" in methods else ("sig",)
    settings = {**FEW, "teachers": teachers, "image_size": 16, **changes}
    return list(expand(Request(methods=methods, data=str(path), **settings)))


def poisoned(data, split):
    """The data set with other labels on its unlabelled windows."""
    y = data.y.copy()
    y[split.unlabelled] = (y[split.unlabelled] + 1) % len(data.classes)
    return replace(data, y=y, splits={})


@pytest.mark.parametrize("rule", ["last", "val-best"])
@pytest.mark.parametrize("method", READ_LABELS)
def test_no_label_of_an_unlabelled_window_is_read(method, rule, sines, tmp_path):
    """Student, history, predictions and teachers are the same to the bit when those labels are others."""
    ((spec, data),) = units(sines, (method,), epoch_rule=rule)
    split = split_for(data, spec.data, spec.seed)
    assert len(split.unlabelled) > 20
    other = poisoned(data, split)
    assert (split_for(other, spec.data, spec.seed).sha256, (other.y != data.y).any()) == (split.sha256, True)
    results = []
    for name, part in (("own", data), ("other", other)):
        workspace = Workspace(tmp_path / name / "runs", cache_folder=tmp_path / name / "cache")
        record = run_unit(spec, part, workspace)
        folders = [record.folder, *(workspace.records.runs / key for key in record.teachers.values())]
        results.append([_content(folder) for folder in folders])
    assert results[0] == results[1]


def _content(folder: Path):
    weights = {path.name: load_file(path) for path in folder.glob("*.safetensors")}
    tensors = {name: {key: value.tolist() for key, value in state.items()} for name, state in weights.items()}
    with (folder / "history.csv").open() as file:
        history = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    with np.load(folder / "predictions.npz") as predictions:
        arrays = {name: predictions[name].tolist() for name in predictions.files}
    assert min(len(tensors), len(history), len(arrays)) > 0
    return tensors, history, arrays


def spy_on_training(monkeypatch):
    """What the loop is called with: method name -> (windows, training, method)."""
    seen = {}
    real = student_module.train

    def train(network, method, windows, teachers, **more):
        seen[METHODS.name_of(type(method))] = windows, more["training"], method
        return real(network, method, windows, teachers, **more)

    monkeypatch.setattr(student_module, "train", train)
    return seen


def test_every_method_takes_as_many_steps_whatever_windows_it_trains_on(sines, tmp_path, monkeypatch):
    steps = {}
    real = torch.optim.AdamW.step
    count = [0]

    def step(self, *args, **kwargs):
        count[0] += 1
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    seen = spy_on_training(monkeypatch)
    for spec, data in units(sines, ("student", "kd"), epoch_rule="last"):
        workspace = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache")
        preparation.prepare_unit(spec, data, workspace)  # trains the teacher
        count[0] = 0
        run_unit(spec, data, workspace)
        steps[spec.method] = count[0]
    pool = len(seen["kd"][0].train)
    assert len(seen["student"][0].train) < pool
    assert steps["student"] == steps["kd"] == FEW["epochs"] * (pool // FEW["batch_size"])
    assert seen["student"][1] == seen["kd"][1]


def test_the_student_alone_and_teachers_train_on_labelled_windows_and_kd_on_all(sines, tmp_path, monkeypatch):
    seen = spy_on_training(monkeypatch)
    taught = {}
    real = preparation.get_teacher

    def get_teacher(spec, windows, *args):
        taught[spec.key] = windows
        return real(spec, windows, *args)

    monkeypatch.setattr(preparation, "get_teacher", get_teacher)
    workspace = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache")
    for spec, data in units(sines, ("student", "kd", "dkd"), epoch_rule="last"):
        run_unit(spec, data, workspace)
        split = split_for(data, spec.data, spec.seed)
    (teacher_windows,) = taught.values()
    for windows in (teacher_windows, seen["student"][0]):
        np.testing.assert_array_equal(windows.train, split.train)
        assert windows.labelled is None
    for name in ("kd", "dkd"):
        windows = seen[name][0]
        np.testing.assert_array_equal(windows.train, split.pool)
        assert windows.labelled.tolist() == [True] * len(split.train) + [False] * len(split.unlabelled)
    for windows in (teacher_windows, *(windows for windows, _, _ in seen.values())):
        assert (windows.y[split.unlabelled] == -1).all() == (windows is not seen["dkd"][0])
        np.testing.assert_array_equal(windows.y[split.test], data.y[split.test])


class Spy(Method):
    """Keeps the targets of every batch."""

    def build(self, setup):
        self.setup_targets = setup.targets
        self.batches = []

    def losses(self, student, teachers, batch):
        self.batches.append((batch, student.logits, {name: teacher.logits for name, teacher in teachers.items()}))
        return {**self.supervised(student, batch), "kd": self.soft(student, teachers, 1.0)}


@pytest.mark.parametrize("kind", ["all", "teacher", "labelled"])
def test_what_a_method_gets_for_windows_without_labels(kind, sines, tmp_path, monkeypatch):
    monkeypatch.setattr(Spy, "unlabelled", kind)
    METHODS.register("spy")(Spy)
    seen = spy_on_training(monkeypatch)
    ((spec, data),) = units(sines, ("spy",), epoch_rule="last", teachers=("sig,gaf",))
    run_unit(spec, data, Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache"))
    windows, _, method = seen["spy"]
    split = split_for(data, spec.data, spec.seed)
    for batch, _, teachers in method.batches:
        chosen = windows.train[batch.index.numpy()]
        true = torch.from_numpy(data.y[chosen])
        assert torch.equal(batch.targets, method.setup_targets[batch.index])
        if kind == "labelled":
            assert batch.labelled is None
            assert np.isin(chosen, split.train).all()
            assert torch.equal(batch.targets, true)
            continue
        assert batch.labelled.tolist() == np.isin(chosen, split.train).tolist()
        mean = torch.stack([logits.softmax(1) for logits in teachers.values()]).mean(0)
        others = torch.full_like(true, -1) if kind == "all" else mean.argmax(1)
        assert torch.equal(batch.targets, torch.where(batch.labelled, true, others))
    if kind != "labelled":
        assert any(not batch.labelled.all() for batch, _, _ in method.batches)


def balanced(labels, classes):
    """Number of all labels over that of the classes and of each class's own."""
    return torch.tensor([len(labels) / (classes * max((labels == k).sum(), 1)) for k in range(classes)])


@pytest.mark.parametrize("method", ["kd", "dkd"])
def test_weights_of_classes_are_of_true_labels(method, sines, tmp_path, monkeypatch):
    """What teachers predict for windows without a label counts for nothing."""
    seen = spy_on_training(monkeypatch)
    ((spec, data),) = units(sines, (method,), epoch_rule="last", class_weights="balanced")
    run_unit(spec, data, Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache"))
    windows, _, trained = seen[method]
    true = data.y[split_for(data, spec.data, spec.seed).train]
    torch.testing.assert_close(trained.weight_of_class, balanced(true, 3).float())
    if method == "dkd":
        assert not torch.allclose(trained.weight_of_class, balanced(windows.y[windows.train], 3).float())


def test_every_method_says_what_it_does_without_labels():
    kinds = {name: METHODS.get(name).unlabelled for name in METHODS}
    assert set(kinds.values()) <= set(UNLABELLED)
    labelled = {name for name, kind in kinds.items() if kind == "labelled"}
    assert {METHODS.get(name).status for name in labelled} == {"control"}
    assert {"student", "label-smoothing", "virtual-teacher"} <= labelled
    assert not {"pseudo-label", "shuffled-teacher", "noise-logits", "random-teacher"} & labelled
    assert Method.unlabelled == "labelled", "a plugin that says nothing gets labelled windows only"


def test_processes_of_a_group_refuse_windows_without_labels():
    windows = preparation.TrainingData(
        {"sig": np.zeros((4, 2, 16), np.float32)},
        np.array([0, 1, -1, -1]),
        np.arange(4),
        np.zeros(0, int),
        ("a", "b"),
        torch.device("cpu"),
        labelled=np.array([True, True, False, False]),
    )
    group = SimpleNamespace(world_size=2, synchronized=lambda *_: nullcontext())
    network = build_teacher("small", "sig", (2, 16), 2)
    with pytest.raises(MmkdError, match="in one process; use python in place of torchrun"):
        loop.train(
            network,
            METHODS.get("student")(),
            windows,
            NoTeachers(),
            training=Training(epochs=1),
            seed=0,
            label="x",
            progress=None,
            group=group,
        )


def more_windows(tmp_path, name="more.npz", seed=5, count=20):
    """A file of windows like those of `sines`, without labels."""
    np.savez(tmp_path / name, x=np.random.default_rng(seed).normal(size=(count, 2, 32)).astype(np.float32))
    return str(tmp_path / name)


@pytest.mark.parametrize(("method", "rule"), [("kd", "val-best"), ("dkd", "last"), ("eskd", "last")])
def test_windows_of_a_file_are_trained_on(method, rule, sines, tmp_path, monkeypatch):
    """Of `eskd` the teachers have validation windows of their own, and views of their own of the file's windows."""
    seen = spy_on_training(monkeypatch)
    path = more_windows(tmp_path)
    teachers = ("sig,gaf",)
    units_of = units(sines, (method,), epoch_rule=rule, unlabelled=path, labelled_subjects=None, teachers=teachers)
    ((spec, data),) = units_of
    record = run_unit(spec, data, Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache", data=str(sines)))
    windows = seen[method][0]
    assert windows.train[-20:].tolist() == list(range(96, 116))
    assert windows.views["sig"].shape[0] == 116
    view = preparation.load_view("sig", spec, data, Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache"))
    np.testing.assert_array_equal(windows.views["sig"][96:], view.modality.transform(data.unlabelled))
    assert record.data["windows"]["unlabelled"] == 20
    assert "20 unlabelled windows of more.npz" in record.data["understood"]
    for key in record.teachers.values():
        teacher = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache").records.get(key)
        assert teacher.teacher.data.unlabelled_sha256 == ""
        assert "unlabelled" not in teacher.data["windows"]


def test_the_content_of_the_file_is_in_the_key_and_its_name_is_not(sines, tmp_path):
    def key(path):
        ((spec, _),) = units(sines, ("kd",), unlabelled=path)
        return spec.key

    own = key(more_windows(tmp_path))
    assert key(more_windows(tmp_path, "renamed.npz")) == own
    assert key(more_windows(tmp_path, "other.npz", seed=6)) != own
    ((without, _),) = units(sines, ("kd",))
    assert without.key != own


def test_outputs_of_teachers_for_one_file_are_not_those_for_another(sines, tmp_path):
    """As many windows, so that only the content tells the entries of the cache apart."""
    workspace = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache")
    logits = []
    for seed in (5, 6):
        ((spec, data),) = units(sines, ("kd",), epoch_rule="last", unlabelled=more_windows(tmp_path, seed=seed))
        unit = preparation.prepare_unit(spec, data, workspace)
        last = np.arange(len(unit.windows.train) - 20, len(unit.windows.train))
        logits.append(unit.source.outputs(last, {})["sig"].logits)
    assert not torch.equal(logits[0], logits[1])


def test_a_worker_loads_the_file_again_and_refuses_a_changed_one(sines, tmp_path):
    path = more_windows(tmp_path)
    ((spec, data),) = units(sines, ("kd",), unlabelled=path)
    workspace = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache", data=str(sines))
    loaded = workspace.load(spec.data)
    np.testing.assert_array_equal(loaded.unlabelled, data.unlabelled)
    assert loaded.sha256 == spec.data.sha256
    more_windows(tmp_path, seed=6)
    workspace = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache", data=str(Path(sines).parent / sines.name))
    with pytest.raises(MmkdError, match="the file changed since the command began"):
        workspace.load(replace(spec.data, nan="drop"))


def test_from_python_and_the_record_says_how_many_labels(sines, tmp_path):
    record = mmkd.run(
        "kd",
        data=sines,
        student="sig",
        teachers="sig",
        epochs=1,
        labelled_subjects=2,
        unlabelled=more_windows(tmp_path),
        runs=tmp_path / "runs",
        cache=tmp_path / "cache",
    )
    assert "labels of 33 of 86 training windows" in record.data["understood"]
    assert record.data["windows"]["unlabelled"] == 53
    assert record.unit.data.labelled_subjects == 2


@pytest.mark.parametrize("number", [1, 2])
def test_selection_leaves_one_labelled_subject_out_at_a_time(number, sines):
    ((spec, data),) = units(sines, ("student",), epoch_rule="last")
    outer = split_for(data, spec.data, spec.seed)
    inner = split_for(data, replace(spec.data, inner_fold=(number, 2)), spec.seed)
    held_out = np.unique(data.subject[inner.test])
    assert len(held_out) == 1
    assert np.isin(inner.test, outer.train).all()
    assert np.isin(inner.train, outer.train).all()
    assert held_out not in data.subject[inner.train]
    np.testing.assert_array_equal(inner.unlabelled, outer.unlabelled)
    assert not np.isin(outer.test, np.concatenate([inner.train, inner.test, inner.unlabelled])).any()


def test_units_with_other_labels_are_never_in_one_group(sines, tmp_path):
    for few in ({}, {"labelled_subjects": 2}, {"labelled_subjects": 3}):
        mmkd.run(
            "student", data=sines, student="sig", epochs=1, runs=tmp_path / "runs", cache=tmp_path / "cache", **few
        )
    titles = [group.title.partition(",")[0] for group in compare(Records(tmp_path / "runs")).groups]
    assert sorted(titles) == ["sines", "sines with labels of 2 subjects", "sines with labels of 3 subjects"]
