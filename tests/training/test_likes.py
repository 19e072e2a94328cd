"""Students like that of a unit, trained alone under another training seed, and the methods that need them."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.engines.plan import make_plan
from mmkd.specs.unit import UnitSpec
from mmkd.store.records import Records
from mmkd.training import loop
from mmkd.training.preparation import prepare_unit
from mmkd.training.student import run_unit
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.likes import like, likes_of
from mmkd.units.request import Request
from mmkd.units.splits import split_for


@pytest.fixture
def units(sines, tmp_path):
    """A function from settings to units by method, their data and a workspace."""

    def make(*methods, **settings):
        usual = {"students": ("sig",), "teachers": ("sig",), "epochs": 2, "image_size": 16, "peers": ("none",)}
        request = Request(methods=methods, data=str(sines), **{**usual, **settings})
        found = list(expand(request))
        workspace = Workspace.for_request(request, runs=tmp_path / "runs", cache_folder=tmp_path / "cache")
        return {spec.method: spec for spec, _ in found}, found[0][1], workspace

    return make


def weights(record):
    return load_file(record.folder / "student.safetensors")


def probabilities(record):
    with np.load(record.folder / "predictions.npz") as arrays:
        return arrays["probabilities"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_like_differs_in_its_training_seed_alone(units):
    specs, _, _ = units("born-again", "kd", seeds=(3,))
    spec = specs["born-again"]
    (other,) = likes_of(spec).values()
    alone = student_alone(spec)
    assert other.training_seed == 1003
    assert replace(other, training_seed=None) == alone
    assert other.key != alone.key
    assert like(spec, 3).key == alone.key, "its own seed needs no name"
    assert UnitSpec.parse(json.loads(json.dumps(asdict(other)))).key == other.key
    assert "training_seed" not in mmkd.core.options.recorded(alone)
    assert likes_of(specs["kd"]) == {}


def test_the_training_seed_decides_the_training_and_the_seed_the_windows(units):
    specs, data, workspace = units("student", seeds=(2,), labelled_subjects=2, augment=("gain:0.3",))
    alone = specs["student"]
    named = replace(alone, seed=0, training_seed=2)
    other = replace(alone, seed=0)
    prepared = {spec.key: prepare_unit(spec, data, workspace) for spec in (alone, named, other)}
    own, mixed, plain = prepared.values()
    np.testing.assert_array_equal(mixed.windows.train, plain.windows.train)
    assert not np.array_equal(mixed.windows.train, own.windows.train)
    assert same(mixed.student.state_dict(), own.student.state_dict())
    assert not same(mixed.student.state_dict(), plain.student.state_dict())
    assert mixed.windows.augmented.pipeline.streams._seed == own.windows.augmented.pipeline.streams._seed
    assert mixed.windows.augmented.pipeline.streams._seed != plain.windows.augmented.pipeline.streams._seed


def test_on_all_windows_a_like_is_the_student_alone_of_that_seed(units):
    """Where the split does not depend on the seed, both train on the same windows and end at the same weights."""
    specs, data, workspace = units("student", seeds=(5,))
    alone = specs["student"]
    named = like(replace(alone, seed=0), 5)
    assert split_for(data, alone.data, 5).train.tolist() == split_for(data, alone.data, 0).train.tolist()
    assert same(weights(run_unit(named, data, workspace)), weights(run_unit(alone, data, workspace)))


@pytest.mark.parametrize("augment", [{}, {"augment": ("gain:0.3",), "augment_copies": 2}, {"augment": ("gain:0.3",)}])
def test_born_again_is_kd_with_the_like_as_teacher(units, augment, tmp_path):
    """To the bit: the weights of the like are given to a teacher of the same network and view."""
    specs, data, workspace = units("born-again", **augment)
    record = run_unit(specs["born-again"], data, workspace)
    (key,) = record.result["likes"].values()
    other = workspace.records.get(key)
    assert other.unit.training_seed == 1000
    assert not record.teachers
    files = {"sig": str(other.folder / "student.safetensors")}
    specs, _, _ = units("kd", teacher_nets={"sig": "small"}, teacher_checkpoints=files, **augment)
    taught = run_unit(specs["kd"], data, workspace)
    assert same(weights(record), weights(taught))
    assert not same(weights(record), weights(other))


def test_the_teacher_of_born_again_has_the_weights_of_its_last_epoch(units, monkeypatch):
    falling = count(start=0, step=-0.01)
    scores = lambda *_: {"accuracy": 0.5, "macro_f1": 0.9 + next(falling), "nll": 1.0}  # noqa: E731
    monkeypatch.setattr(loop, "validate", scores)
    specs, data, workspace = units("born-again", epoch_rule="val-best", epochs=3)
    (alone,) = likes_of(specs["born-again"]).values()
    record = run_unit(alone, data, workspace)
    last = load_file(record.folder / "student_last.safetensors")
    assert record.result["best_epoch"] == 1
    prepared = prepare_unit(specs["born-again"], data, workspace)
    assert same(prepared.likes["student"].network.state_dict(), last)
    assert not same(weights(record), last)
    plain = run_unit(student_alone(replace(alone, training_seed=None)), data, workspace)
    assert "student_last.safetensors" not in plain.result["files"]


def test_a_plan_has_the_like_before_the_unit(units):
    specs, data, workspace = units("born-again")
    spec = specs["born-again"]
    plan = make_plan([(spec, data)], workspace.records, workspace.cache)
    trained = [job for job in plan if job.kind == "unit"]
    assert [job.key for job in trained] == [likes_of(spec)["student"].key, spec.key]
    assert trained[0].id in trained[1].needs
    assert not [job for job in plan if job.kind == "teacher"]


def test_tables_and_mlflow_do_not_show_likes(sines, tmp_path, capsys):
    runs = tmp_path / "runs"
    flags = f"--data {sines} --student sig --epochs 1 --image-size 16 --peers none --runs {runs} --quiet"
    assert main([*flags.split(), "--method", "student,born-again"]) == 0
    capsys.readouterr()
    records = list(Records(runs))
    assert sorted(record.unit.method for record in records) == ["born-again", "student", "student"]
    (group,) = compare(records).groups
    assert sorted(row.base for row in group.rows) == ["born-again", "student"]
    assert all(len(row.units) == 1 for row in group.rows)
    assert main(["--publish", "--runs", str(runs)]) == 0
    assert "2 records sent" in capsys.readouterr().out


def test_a_student_of_several_branches_is_taught_by_one_of_several_branches(units):
    specs, data, workspace = units("born-again", students=("sig+gaf",), epochs=1)
    record = run_unit(specs["born-again"], data, workspace)
    assert set(record.result["views"]) == {"sig", "gaf"}


def test_the_ensemble_is_the_mean_of_students_that_are_there_already(units, monkeypatch):
    """One of the members is the student alone of the unit's own seed; nothing is trained for the ensemble itself."""
    specs, data, workspace = units("student", "student-ensemble", options={"student-ensemble": {"members": 3}})
    spec = specs["student-ensemble"]
    members = list(likes_of(spec).values())
    assert [member.own_seed for member in members] == [0, 1, 2]
    assert members[0].key == specs["student"].key
    found = [run_unit(member, data, workspace) for member in members]
    monkeypatch.setattr(loop, "train_epoch", lambda *_, **__: pytest.fail("something was trained"))
    record = run_unit(spec, data, workspace)
    assert record.seconds == pytest.approx(sum(member.seconds for member in found))
    assert record.parameters == 3 * found[0].parameters
    tests = data.x[split_for(data, spec.data, spec.seed).test]
    mean = np.mean([mmkd.load_student(member.folder).predict_proba(tests) for member in found], 0)
    assert np.abs(mean - probabilities(found[0])).max() > 1e-3
    np.testing.assert_allclose(probabilities(record), mean, atol=1e-6)
    np.testing.assert_allclose(mmkd.load_student(record.folder).predict_proba(tests), mean, atol=1e-6)
    assert not (record.folder / "history.csv").read_text().strip()


def test_the_members_of_an_ensemble_depend_on_the_seed(units):
    specs, _, _ = units("student-ensemble", seeds=(2,))
    assert [member.own_seed for member in likes_of(specs["student-ensemble"]).values()] == list(range(2000, 2005))


FEW = {"labelled_subjects": 2, "epoch_rule": "last"}


def test_with_few_labels_born_again_reads_labelled_windows_and_self_training_all(units):
    """The same student teaches in both; it was trained on labelled windows."""
    specs, data, workspace = units("born-again", "self-training", **FEW)
    again, training = specs["born-again"], specs["self-training"]
    (alone,) = likes_of(again).values()
    assert [other.key for other in likes_of(training).values()] == [alone.key]
    split = split_for(data, again.data, 0)
    assert 0 < len(split.train) < len(split.pool)
    own = prepare_unit(again, data, workspace)
    np.testing.assert_array_equal(own.windows.train, split.train)
    of_all = prepare_unit(training, data, workspace)
    np.testing.assert_array_equal(of_all.windows.train, split.pool)
    taught = of_all.source.outputs(np.arange(len(split.pool)), {})["student"].logits
    with torch.no_grad():
        logits = of_all.likes["student"].network(of_all.windows.load_views(split.pool)).logits
    torch.testing.assert_close(taught, logits)
    like_windows = prepare_unit(alone, data, workspace).windows
    np.testing.assert_array_equal(like_windows.train, split.train)
    steps = {prepare_unit(spec, data, workspace).training.steps for spec in (alone, again, training)}
    assert len(steps) == 1, "all of them take as many steps"


@pytest.mark.parametrize("method", ["born-again", "self-training", "student-ensemble", "longer"])
def test_labels_of_unlabelled_windows_change_nothing(method, units, tmp_path):
    """With another class for each of them, weights and predictions are equal to the bit."""
    options = {"student-ensemble": {"members": 2}} if method == "student-ensemble" else {}
    specs, data, workspace = units(method, options=options, **FEW)
    spec = specs[method]
    split = split_for(data, spec.data, 0)
    y = data.y.copy()
    y[split.unlabelled] = (y[split.unlabelled] + 1) % len(data.classes)
    other = replace(workspace, runs=tmp_path / "other", cache_folder=tmp_path / "cache2")
    first = run_unit(spec, data, workspace)
    second = run_unit(spec, replace(data, y=y), other)
    assert same(weights(first), weights(second))
    np.testing.assert_array_equal(probabilities(first), probabilities(second))


def test_self_training_is_refused_where_every_window_has_a_label(sines, tmp_path, capsys):
    flags = f"--data {sines} --student sig --epochs 1 --runs {tmp_path / 'runs'} --quiet --method self-training"
    assert main(flags.split()) == 2
    said = capsys.readouterr().err
    assert "--labelled-subjects" in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


OF_LIKES = ("born-again", "student-ensemble", "longer")


@pytest.mark.slow
@pytest.mark.parametrize(
    "start", [["-m"], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]]
)
def test_a_command_in_one_process_by_torchrun_and_by_workers(sines, tmp_path, start):
    """Each like is trained once, by whoever needs it; with two workers the weights are those of one process."""
    runs = tmp_path / "runs"
    flags = f"--data {sines} --student sig --teachers sig --epochs 2 --image-size 16 --peers none --quiet".split()
    flags += ["--method", ",".join(OF_LIKES), "--members", "2", "--runs"]
    environment = os.environ | {"PYTHONPATH": str(Path(mmkd.__file__).parents[1])}
    done = subprocess.run([sys.executable, *start, "mmkd.bench", *flags, str(runs)], env=environment, timeout=300)
    assert done.returncode == 0
    found = {record.key: record for record in Records(runs)}
    own = {record.unit.method: record for record in found.values() if record.unit.training_seed is None}
    assert set(own) == {"student", *OF_LIKES}, "a member of the ensemble is the student alone"
    assert sorted(r.unit.training_seed for r in found.values() if r.unit.training_seed is not None) == [1, 1000]
    if start == ["-m"]:
        assert main([*flags, str(tmp_path / "jobs"), "--jobs", "2"]) == 0
        others = {record.key: record for record in Records(tmp_path / "jobs")}
        assert others.keys() == found.keys()
        assert all(same(weights(record), weights(others[key])) for key, record in found.items())
