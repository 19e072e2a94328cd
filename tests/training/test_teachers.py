"""`--teacher-checkpoint`: teachers of one's own, checked before anything is done, and taken as they are."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mmkd
import mmkd.report.mlflow
import mmkd.training.teachers
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.report.mlflow import runs as store_runs
from mmkd.store.records import Records
from mmkd.training.preparation import prepare_unit
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A unit whose two teachers were trained here, and taught with the weights that their records hold."""
    more = {"teacher_epoch": "best", "runs": tmp_path_factory.mktemp("trained")}
    return mmkd.run("kd", student="sig", teachers="sig,gaf", **tiny, **more)


def weights(record, modality="sig") -> Path:
    return record.folder.parent / record.result["teachers"][modality] / "teacher.safetensors"


def teacher_of(record, modality="sig"):
    return Records(record.folder.parent).get(record.result["teachers"][modality])


def given(tiny, trained, tmp_path, **more):
    files = {"sig": weights(trained)}
    settings = {
        **tiny,
        "student": "sig",
        "teachers": "sig,gaf",
        "runs": tmp_path / "runs",
        "teacher_checkpoints": files,
    }
    return mmkd.run("kd", **{**settings, **more})


def test_it_predicts_what_it_predicted_and_teaches_what_it_taught(tiny, trained, tmp_path, monkeypatch):
    labels, real = [], mmkd.training.teachers.train
    monkeypatch.setattr("mmkd.training.teachers.train", lambda *a, **k: labels.append(k["label"]) or real(*a, **k))
    record = given(tiny, trained, tmp_path, cache=tmp_path / "cache", teacher_epoch="best")
    assert labels == ["teacher gaf"], "the other one is trained as ever"
    before, after = teacher_of(trained), teacher_of(record)
    assert after.key != before.key
    with np.load(before.folder / "predictions.npz") as one, np.load(after.folder / "predictions.npz") as two:
        assert set(one) == set(two)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert after.metrics["test"] == before.metrics["test"]
    assert after.metrics["validation"] == pytest.approx(before.metrics["validation"])
    assert record.metrics == trained.metrics
    assert record.key != trained.key
    one, two = load_file(weights(trained)), load_file(weights(record))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_its_record_has_no_epochs(tiny, trained, tmp_path):
    teacher = teacher_of(given(tiny, trained, tmp_path))
    assert teacher.result["best_epoch"] == 0
    assert teacher.result["seconds"] == 0
    assert teacher.spec.training.epochs == 0
    assert teacher.spec.checkpoint_file == str(weights(trained))
    assert len(teacher.spec.checkpoint_sha256) == 64
    with (teacher.folder / "history.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == []
    assert {path.name for path in teacher.folder.iterdir()} >= {
        "confusion.svg",
        "teacher.safetensors",
        "predictions.npz",
    }
    assert not (teacher.folder / "curves.svg").exists()
    store_runs.history_rows(teacher)


def test_flags_a_suite_and_python_mean_the_same(tiny, trained, tmp_path, capsys):
    expected = given(tiny, trained, tmp_path)
    path = weights(trained)
    flags = [
        "--data",
        str(tiny["data"]),
        "--image-size",
        "16",
        "--epochs",
        "3",
        "--cache",
        str(tiny["cache"]),
        "--json",
    ]
    flags += ["--runs", str(tmp_path / "runs"), "--quiet", "--existing", "only", "--epoch-rule", "val-best"]
    asked = ["--method", "kd", "--student", "sig", "--teachers", "sig,gaf", "--teacher-checkpoint", f"sig={path}"]
    assert main([*asked, *flags]) == 0
    assert [u["key"] for u in json.loads(capsys.readouterr().out)] == [expected.key]
    suite = tmp_path / "mine.toml"
    suite.write_text(
        f'methods = ["kd"]\nstudents = "sig"\nteachers = "sig,gaf"\nteacher_checkpoints = {{sig = "{path}"}}\n'
    )
    assert main(["--suite", str(suite), *flags]) == 0
    assert [u["key"] for u in json.loads(capsys.readouterr().out)] == [expected.key]
    assert main([*asked, *[flag for flag in flags if flag != "--json"]]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("teacher sig")]
    assert len(lines) == 1
    assert lines[0].endswith("0.0 s")


def test_the_student_alone_is_the_same_unit(tiny, trained):
    settings = {"methods": ("kd",), "data": str(tiny["data"]), "image_size": 16, "students": ("sig",)}
    mine = Request(**settings, teacher_checkpoints={"sig": weights(trained)})
    ((with_one, _),), ((without, _),) = expand(mine), expand(Request(**settings))
    assert with_one.key != without.key
    assert student_alone(with_one) == student_alone(without)
    ((student, _),) = expand(replace(mine, methods=("student",)))
    assert student.checkpoint_files == {}


def refused(tiny, tmp_path, capsys, value, *args) -> str:
    """The one line of a command that refuses; nothing is written."""
    own = ["--data", str(tiny["data"]), "--image-size", "16", "--runs", str(tmp_path / "runs")]
    own += ["--cache", str(tmp_path / "cache"), "--student", "sig", "--teachers", "sig"]
    assert main(["--method", "kd", *own, "--teacher-checkpoint", value, *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()
    return err


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sig", "'sig' is not of the form sig=FILE.safetensors"),
        ("sig=a,sig=b", "sig is named twice"),
        ("sgi=a", "unknown modality 'sgi'"),
        ("gaf=a", "there is no gaf teacher; add it to --teachers"),
        ("sig=nowhere.safetensors", "sig=nowhere.safetensors: No such file or directory; name a .safetensors file"),
        ("sig=/", "sig=/: it is a folder"),
    ],
)
def test_bad_flags(tiny, tmp_path, capsys, value, words):
    err = refused(tiny, tmp_path, capsys, value)
    assert words in err
    assert "--teacher-checkpoint" in err


def renamed(state):
    state["classifier.weigth"] = state.pop("classifier.weight")


def first(state, kind=lambda tensor: tensor.is_floating_point() and tensor.ndim > 1):
    return next(name for name, tensor in state.items() if kind(tensor))


CHANGES = {
    "NaN": (lambda s: s[first(s)].view(-1)[:1].fill_(float("nan")), "holds NaN or infinity"),
    "shape": (lambda s: s.update({first(s): torch.zeros(3, 2, 1)}), "has shape (3, 2, 1) instead of ("),
    "missing": (lambda s: s.pop(first(s)), "is missing"),
    "more": (lambda s: s.update(extra=torch.zeros(2)), "tensor extra is not one of WRN16-1 on sig"),
    "kind": (lambda s: s.update({first(s): s[first(s)].to(torch.int32)}), "holds torch.int32 instead of torch.float32"),
    "empty": (lambda s: s.clear(), "is missing"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit(tiny, trained, tmp_path, capsys, change):
    state = load_file(weights(trained))
    how, words = CHANGES[change]
    name = first(state) if change not in ("more", "empty") else ""
    how(state)
    save_file(state, tmp_path / "odd.safetensors")
    err = refused(tiny, tmp_path, capsys, f"sig={tmp_path / 'odd.safetensors'}")
    assert words in err
    assert f"sig={tmp_path / 'odd.safetensors'}: tensor {name}" in err


def test_weights_of_another_network_or_modality_or_cut_off(tiny, trained, tmp_path, capsys):
    path = weights(trained)
    assert "shape" in refused(tiny, tmp_path, capsys, f"sig={path}", "--teacher-net", "sig=WRN16-3")
    assert "tensor" in refused(tiny, tmp_path, capsys, f"sig={weights(trained, 'gaf')}")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-10])
    assert "no intact safetensors file" in refused(tiny, tmp_path, capsys, f"sig={tmp_path / 'cut'}")
    (tmp_path / "empty").touch()
    assert "no intact safetensors file" in refused(tiny, tmp_path, capsys, f"sig={tmp_path / 'empty'}")


def test_half_precision_weights_are_taken(tiny, trained, tmp_path):
    state = {name: t.half() if t.is_floating_point() else t for name, t in load_file(weights(trained)).items()}
    save_file(state, tmp_path / "half.safetensors")
    record = given(tiny, trained, tmp_path, teacher_checkpoints={"sig": tmp_path / "half.safetensors"})
    assert load_file(weights(record))[first(state)].dtype == torch.float32


def test_a_file_that_changed_in_between_fails_its_unit(tiny, trained, tmp_path):
    from mmkd.training.teachers import load_checkpoint, make_network

    path = tmp_path / "mine.safetensors"
    path.write_bytes(weights(trained).read_bytes())
    settings = {"methods": ("kd",), "data": str(tiny["data"]), "image_size": 16, "teachers": ("sig",)}
    ((spec, _),) = expand(Request(**settings, teacher_checkpoints={"sig": str(path)}))
    net = make_network("classification", "WRN16-1", "sig", (2, 32), 3, window=32)
    load_checkpoint(net, spec.teacher("sig"))
    path.write_bytes(b"another")
    with pytest.raises(MmkdError, match="the file changed since the command began"):
        load_checkpoint(net, spec.teacher("sig"))


def test_values_that_are_no_mapping(tmp_path):
    for value in ("sig=a", ["a"], {"sig": 3}, {3: "a"}):
        with pytest.raises(MmkdError, match="teacher-checkpoints"):
            Request(methods=("kd",), teacher_checkpoints=value)
    suite = tmp_path / "mine.toml"
    suite.write_text('methods = ["kd"]\nteacher_checkpoints = "sig=a"\n')
    with pytest.raises(MmkdError, match="mine.toml: teacher-checkpoints = 'sig=a' is not a mapping"):
        read_suite(suite)


def test_methods_share_the_network_of_a_teacher(tiny, tmp_path):
    """It is built and read once, unless its file is written anew."""
    settings = {"data": str(tiny["data"]), "students": ("sig",), "teachers": ("sig",), "epochs": 1, "teacher_epochs": 1}
    units = list(expand(Request(("kd", "dkd"), **settings)))
    workspace = Workspace(tmp_path / "runs", cache_folder=tmp_path / "cache")

    def networks():
        return [prepare_unit(spec, data, workspace).teachers["sig"].network for spec, data in units]

    one, other = networks()
    assert one is other
    os.utime(workspace.cache.path("teachers", units[0][0].teacher("sig").key) / "last.safetensors", (1, 1))
    anew = networks()[0]
    assert anew is not one
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), anew.state_dict().values(), strict=True))
    assert not anew.training
    assert not any(parameter.requires_grad for parameter in anew.parameters())
