"""Students of several branches that label every time step: from the command to the stored student."""

import warnings

import numpy as np
import pytest
import torch

import mmkd
from mmkd import METHODS, Batch
from mmkd.bench import main
from mmkd.data import load_file
from mmkd.evaluation.deployment import measure_deployment
from mmkd.training.trial import Trial, preflight
from mmkd.units.expansion import expand
from mmkd.units.request import Request

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")

CLASSES, LENGTH = 3, 64
DEFINED = [name for name in METHODS if "segmentation" in METHODS.get(name).tasks]
SMALL = {
    "task": "segmentation",
    "student": "sig+gaf",
    "teachers": "sig,gaf",
    "student_net": "unet-small",
    "teacher_nets": {"sig": "unet-small", "gaf": "unet-small"},
    "image_size": 16,
    "epochs": 1,
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Ten recordings of three windows; one of three frequencies is on at a time, the first steps have no label."""
    rng = np.random.default_rng(0)
    label = np.repeat(rng.integers(0, CLASSES, (10, 3 * LENGTH // 16)), 16, axis=1)
    phase = np.cumsum(2 * np.pi * np.array([0.02, 0.1, 0.25])[label], axis=1)
    x = np.stack([np.sin(phase), np.cos(phase)], 1) + 0.1 * rng.normal(size=(10, 2, 3 * LENGTH))
    label[:, :5] = -1
    arrays = {
        "x": np.concatenate(np.split(x, 3, axis=2)).astype(np.float32),
        "y": np.concatenate(np.split(label, 3, axis=1)),
        "subject": np.tile(np.arange(10) // 2, 3),
        "recording": np.tile(np.arange(10), 3),
        "start": np.repeat(np.arange(3) * LENGTH, 10),
        "rate_hz": np.array(50.0),
    }
    path = tmp_path_factory.mktemp("steps") / "steps.npz"
    np.savez(path, **arrays)
    return path


def unit(path, method, **more):
    settings = {**SMALL, **more}
    students, teachers = (settings.pop(name) for name in ("student", "teachers"))
    wanted = Request(methods=(method,), data=str(path), students=(students,), teachers=(teachers,), **settings)
    ((spec, data),) = expand(wanted)
    return spec, data


@pytest.mark.parametrize("name", DEFINED)
def test_every_method_of_the_task_teaches_branches(steps, name):
    """Losses, hooks and the deployed network, on random windows."""
    more = {} if METHODS.get(name).distils else {"teacher_nets": {}}
    if name == "freekd":  # it needs maps that it can divide
        more = {"image_size": 32}
    if name == "born-again":
        more = {"teachers": "sig", "teacher_nets": {"sig": "unet-small"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        preflight(*unit(steps, name, **more))


@pytest.mark.parametrize("method", ["kd", "simkd"])
def test_from_the_command_to_the_stored_student(steps, tmp_path, method):
    fusion = "attention" if method == "kd" else "gated"
    record = mmkd.run(method, data=steps, runs=tmp_path / "runs", fusion=fusion, **SMALL)
    files = {path.name for path in record.folder.iterdir()}
    assert files >= {"curves.svg", "confusion.svg", "recording.svg"}
    assert "left out" not in (record.folder / "events.log").read_text()
    student = mmkd.load_student(record)
    data = load_file(steps)
    with np.load(record.folder / "predictions.npz") as stored:
        x = data.x[stored["window"]]
        np.testing.assert_allclose(student.predict_proba(x), stored["probabilities"], atol=1e-3)
    assert student.predict(x).shape == (len(x), LENGTH)
    found = measure_deployment(student, data.x[:2])
    assert set(found["views_ms"]) == {"sig", "gaf"}
    assert found["macs"] > 0
    if method == "kd":
        outputs = student(student.views(x))
        assert list(outputs.branches) == ["sig", "gaf"]
        assert list(outputs.attention) == ["gaf"]


def test_each_teacher_guides_the_branch_of_its_modality(steps):
    spec, data = unit(steps, "at")
    targets = torch.from_numpy(data.y)
    trial = Trial.make(spec, shape=(2, LENGTH), classes=CLASSES, targets=targets, validated=False)
    trial.student.train()
    known = torch.ones(4, LENGTH, dtype=torch.bool)
    outputs = trial.student(trial.views).steps(known)
    assert all(branch.logits.shape == (4 * LENGTH, CLASSES) for branch in outputs.branches.values())
    labels = torch.arange(4 * LENGTH) % CLASSES
    terms = trial.method.terms(outputs, trial.teacher_outputs, Batch(labels, torch.arange(4)))
    branches = dict(trial.student.named_views())
    for modality in ("sig", "gaf"):
        for other, branch in branches.items():
            grads = torch.autograd.grad(
                terms[f"at_{modality}"], list(branch.parameters()), retain_graph=True, allow_unused=True
            )
            moved = any(g is not None and bool(g.any()) for g in grads)
            assert moved == (modality == other)
    heads = [torch.nn.functional.cross_entropy(branch.logits, labels) for branch in outputs.branches.values()]
    torch.testing.assert_close(terms["branch_ce"], 0.5 * sum(heads) / 2)


def test_a_student_of_a_picture_alone(steps, tmp_path):
    settings = {**SMALL, "student": "gaf", "teachers": "gaf", "teacher_nets": {"gaf": "unet-small"}}
    record = mmkd.run("kd", data=steps, runs=tmp_path / "runs", **settings)
    x = load_file(steps).x[:2]
    assert mmkd.load_student(record).predict(x).shape == (2, LENGTH)


def test_concat_is_the_default_and_keys_differ(steps):
    keys = [unit(steps, "kd", **more)[0].key for more in ({}, {"fusion": ("concat",)}, {"fusion": ("attention",)})]
    assert keys[0] == keys[1] != keys[2]
    assert unit(steps, "kd", student="sig")[0].fusion is None


def test_what_would_be_run(steps, tmp_path, capsys):
    flags = ["--task", "segmentation", "--data", str(steps), "--method", "student,kd", "--student", "sig+gaf+pi"]
    nets = ["--teachers", "sig,gaf", "--fusion", "attention,gated", "--student-net", "unet-small"]
    assert main([*flags, *nets, "--dry-run", "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "student sig+gaf+pi (unet-small, attention), kd, seed 0" in out
    assert "4 units" in out
    assert not (tmp_path / "runs").exists()
