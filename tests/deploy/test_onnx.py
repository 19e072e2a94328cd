"""ONNX files against the students that they were made from. Exports take seconds each, so that tests share them."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

import mmkd
from mmkd.compare import main as compare
from mmkd.core.errors import MmkdError
from mmkd.deploy import onnx_file
from mmkd.deploy.onnx_run import open_session, run_in_batches
from mmkd.deploy.student_graph import StudentGraph
from mmkd.deploy.view_graph import view_graph
from mmkd.deploy.windows import RecordWindows
from mmkd.export import main
from mmkd.methods.outputs import Outputs
from mmkd.training.student_model import StudentModel
from mmkd.views import Signal
from mmkd.views.channels import make_modality

onnx = pytest.importorskip("onnx", reason="the extra mmkd[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra mmkd[onnx] is not installed")


# Views in the graph ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walks():
    """(60, 3, 128) random walks around 0, 9.81 and 1013; channels of the first two are constant."""
    x = np.cumsum(np.random.default_rng(0).normal(size=(60, 3, 128)), -1) * 0.3 + np.array([0, 9.81, 1013.0])[:, None]
    x[0], x[1, 1] = 5, 0.1
    return x.astype(np.float32)


VIEWS = [
    ("sig", {}),
    ("gaf", {"size": 32}),
    ("gaf", {"size": 50}),
    ("gaf", {"size": 128}),
    ("gaf", {"size": 50, "method": "difference"}),
    ("gaf", {"size": 32, "range": "train"}),
    ("gaf", {"size": 50, "range": "train"}),
    ("sig@g", {"channels": [2, 0]}),
    ("gaf@g", {"size": 32, "channels": [1]}),
    ("sig@25Hz", {"rate_hz": 25.0, "from_hz": 50.0}),
    ("sig@g@20Hz", {"rate_hz": 20.0, "from_hz": 50.0, "channels": [0, 1]}),
]


@pytest.mark.parametrize(("name", "config"), VIEWS, ids=str)
def test_views_of_a_graph_are_those_of_the_modality(name, config, walks):
    modality = make_modality(name, config).fit(walks[:30])
    expected = modality.transform(walks)
    found = view_graph(modality, 3, 128)(torch.from_numpy(walks))
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_a_channel_that_was_constant_in_training_is_zero_and_its_field_one():
    x = np.random.default_rng(0).normal(size=(9, 2, 16)).astype(np.float32)
    x[:, 1] = 3.25
    later = x + np.float32(1)
    for name, config in (("sig", {}), ("gaf", {"size": 8, "range": "train"})):
        modality = make_modality(name, config).fit(x)
        found = view_graph(modality, 2, 16)(torch.from_numpy(later)).numpy()
        np.testing.assert_allclose(found, modality.transform(later), atol=2e-5)
        assert (found[:, 1] == {"sig": 0, "gaf": 1}[name]).all()


def test_a_mean_that_float32_does_not_hold_is_subtracted_all_the_same():
    x = (20_000 + 0.3 * np.random.default_rng(0).normal(size=(50, 1, 32))).astype(np.float32)
    modality = Signal().fit(x)
    (mean,) = modality.state()["mean"]
    assert abs(np.float64(np.float32(mean)) - mean) > 1e-5
    found = view_graph(modality, 1, 32)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, modality.transform(x), atol=1e-6)


@pytest.mark.parametrize("name", ["pi", "mtf", "rp", "stft", "cwt"])
def test_views_that_a_graph_does_not_have(name):
    assert view_graph(make_modality(name, {}), 3, 128) is None
    assert view_graph(make_modality(f"{name}@g", {"channels": [1]}), 3, 128) is None


# Files ----------------------------------------------------------------------------------------------------------------


def unit(tmp_path_factory, cache, student, net, **more):
    runs = tmp_path_factory.mktemp("onnx") / "runs"
    settings = {"student": student, "student_net": net, "steps": 3, "peers": "none", "epoch_rule": "last"}
    return mmkd.run("student", runs=runs, cache=cache, **{"dataset": "basic-motions", **settings, **more})


@pytest.fixture(scope="module")
def all_views(tmp_path_factory, shared_cache):
    """A student of sig, gaf and pi on basic-motions, and its file."""
    record = unit(tmp_path_factory, shared_cache, "sig+gaf+pi", "tiny")
    return record, mmkd.export_student(record, out=record.folder.parent / "out")


def session_and_graph(record, exported):
    return open_session(exported.files[0]), StudentGraph(mmkd.load_student(record))


def test_a_file_computes_what_the_student_does_for_any_batch_and_constant_windows(all_views):
    record, exported = all_views
    session, graph = session_and_graph(record, exported)
    assert [tuple(entry.shape) for entry in session.get_inputs()] == [("batch", 6, 100), ("batch", 6, 32, 32)]
    assert [entry.name for entry in session.get_inputs()] == ["windows", "pi"]
    x = np.random.default_rng(0).normal(size=(64, 6, 100)).astype(np.float32) * 5
    x[3] = 0
    x[5, 2] = -1.7
    expected = graph.student.predict_proba(x)
    for batch in (1, 2, 7, 64):
        found = run_in_batches(session, graph.feed(x), batch)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(expected.sum(1), 1)


def test_what_the_file_says_of_itself(all_views):
    record, exported = all_views
    model = onnx.load(exported.files[0])
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert (facts["mmkd_key"], facts["dataset"], facts["window"]) == (record.key, "basic-motions", "100")
    assert json.loads(facts["classes"]) == ["Badminton", "Running", "Standing", "Walking"]
    assert json.loads(facts["channels"])[0] == "acc_x"
    assert (json.loads(facts["views_in_graph"]), json.loads(facts["views_as_inputs"])) == (["sig", "gaf"], ["pi"])
    assert json.loads(facts["views"])["gaf"]["size"] == 32
    assert (facts["mmkd_version"], float(facts["rate_hz"])) == (mmkd.__version__, 10)
    assert "citation" in facts["dataset_licence"]
    content = exported.files[0].read_bytes()
    assert b".py" not in content, "paths of this machine"
    assert any("inputs of their own: pi" in line for line in exported.lines)
    assert any("40 test windows of basic-motions" in line for line in exported.lines)


def test_the_example_of_six_lines_runs_without_mmkd(all_views, tmp_path):
    code = (
        "import sys, numpy as np, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "inputs = {i.name: np.zeros((3, *i.shape[1:]), np.float32) for i in session.get_inputs()}\n"
        "print(session.run(None, inputs)[0].shape, 'torch' in sys.modules, 'mmkd' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(all_views[1].files[0])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, timeout=120)
    assert done.stdout == "(3, 4) False False\n"


NETS = [("sig", "micro"), ("gaf", "small"), ("sig", "WRN16-1"), ("sig", "InceptionTime")]


@pytest.mark.slow
@pytest.mark.parametrize(("student", "net"), NETS, ids=str)
def test_other_networks(student, net, tmp_path_factory, shared_cache):
    if net == "InceptionTime":
        pytest.importorskip("tsai", reason="tsai is not installed")
    record = unit(tmp_path_factory, shared_cache, student, net)
    exported = mmkd.export_student(record, out=record.folder.parent / "out")
    session, graph = session_and_graph(record, exported)
    x = np.random.default_rng(1).normal(size=(7, 6, 100)).astype(np.float32)
    np.testing.assert_allclose(run_in_batches(session, graph.feed(x)), graph.student.predict_proba(x), atol=1e-5)


def test_a_file_of_ones_own_with_offsets_and_a_slower_sensor(tmp_path_factory, shared_cache, windows_file, tmp_path):
    file = windows_file(tmp_path / "mine.npz", n=96, rate_hz=50.0)
    with np.load(file) as arrays:
        content = dict(arrays)
    content["x"] = content["x"].astype(np.float64) + np.array([1e9, 0])[:, None]
    np.savez(file, **content)
    more = {"dataset": None, "data": file, "student_rate": 25.0}
    record = unit(tmp_path_factory, shared_cache, "sig", "tiny", **more)
    assert record.data["offset"][0] == pytest.approx(1e9, abs=5)
    out = record.folder.parent / "out"
    exported = mmkd.export_student(record, out=out, data=file)
    assert any("windows are float64" in line for line in exported.lines)
    session, graph = session_and_graph(record, exported)
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type) == ("windows", "tensor(double)")
    found = session.run(None, {"windows": content["x"][:9]})[0]
    np.testing.assert_allclose(found, graph.student.predict_proba(content["x"][:9]), atol=1e-5)


def test_a_student_that_labels_steps(tmp_path_factory, shared_cache, windows_file, tmp_path, capsys):
    y = np.arange(32) // 8 % 3
    y = np.stack([np.roll(y, n) for n in range(24)])
    file = windows_file(tmp_path / "steps.npz", n=24, y=y, subject=np.arange(24) // 4)
    more = {"dataset": None, "data": file, "task": "segmentation", "teachers": "sig", "preset": "quick"}
    record = unit(tmp_path_factory, shared_cache, "sig", "segnext-small", **more)
    exported = mmkd.export_student(record, out=record.folder.parent / "out", data=file)
    assert exported.lines[0].startswith("student.onnx: windows (B, 2, 32) -> probabilities (B, 3, 32)")
    session, graph = session_and_graph(record, exported)
    x = np.random.default_rng(1).normal(size=(5, 2, 32)).astype(np.float32)
    np.testing.assert_allclose(run_in_batches(session, graph.feed(x)), graph.student.predict_proba(x), atol=1e-5)
    for to in ("onnx-int8", "c"):
        capsys.readouterr()
        flags = ["--to", to, "--data", str(file), "--out", str(tmp_path / "out")]
        assert main([str(record.folder), *flags]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"mmkd.export: --to {to} is for students that label windows; this one labels steps")
        assert not (tmp_path / "out").exists()


def test_a_classifier_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2, 24)), np.arange(40) % 2
    classifier = mmkd.DistilledClassifier("student", student="sig", student_net="tiny", steps=3).fit(x, y)
    exported = classifier.export(tmp_path / "out")
    assert "made-up windows" in exported.lines[-1]
    found = run_in_batches(open_session(exported.files[0]), {"windows": x.astype(np.float32)})
    np.testing.assert_allclose(found, classifier.predict_proba(x), atol=1e-5)
    with pytest.raises(MmkdError, match="the windows of the record are needed"):
        classifier.export(tmp_path / "int8", "onnx-int8")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# What goes wrong ------------------------------------------------------------------------------------------------------


class Untraceable(nn.Module):
    def forward(self, views):
        x = views["sig"]
        return Outputs(x.mean(-1) if float(x.sum()) > 0 else x.amax(-1), x)


def test_a_network_that_cannot_be_traced_leaves_no_file(all_views, tmp_path, monkeypatch):
    record, _ = all_views
    sig = Signal().load_state(record.result["views"]["sig"]["state"])
    student = StudentModel(Untraceable(), {"sig": sig}, classes=tuple("abcdef"), channels=6, window=100)
    monkeypatch.setattr(StudentModel, "load", lambda *arguments: student)
    with pytest.raises(MmkdError, match="the network tiny cannot be traced as ONNX"):
        mmkd.export_student(record, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_compute_what_the_student_does_is_not_left(all_views, tmp_path, monkeypatch):
    record, exported = all_views
    model = onnx.load(exported.files[0])
    monkeypatch.setattr(onnx_file, "make_model", lambda *arguments: model)
    (bias,) = [value for value in model.graph.initializer if value.name.endswith("classifier.bias")]
    values = onnx.numpy_helper.to_array(bias)
    for error, fails in ((1e-5, False), (2e-3, True)):
        bias.CopyFrom(onnx.numpy_helper.from_array(values + np.float32([error, 0, 0, 0]), bias.name))
        out = tmp_path / str(fails)
        if fails:
            with pytest.raises(MmkdError, match="a probability differs by 0.0.*more than 0.0001; nothing is written"):
                mmkd.export_student(record, out=out)
        else:
            mmkd.export_student(record, out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["False"]


# int8 -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantised(tmp_path_factory, shared_cache):
    """A student of sig and gaf that learned something, its int8 file, and its float32 file."""
    record = unit(tmp_path_factory, shared_cache, "sig+gaf", "small", steps=60)
    out = record.folder.parent / "out"
    exported = mmkd.export_student(record, "onnx-int8", out, calibration_windows=32, calibration_seed=1)
    mmkd.export_student(record, "onnx", out)
    return record, exported


def test_weights_are_in_int8_and_views_in_float32(quantised):
    model = onnx.load(quantised[1].files[0])
    assert quantised[1].files[0].name == "student-int8.onnx"
    types = {value.name: value.data_type for value in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(convolutions) > 5
    for node in convolutions:
        weight = made[node.input[1]]
        assert weight.op_type == made[node.input[0]].op_type == "DequantizeLinear"
        assert types[weight.input[0]] == onnx.TensorProto.INT8
    views = [node for node in model.graph.node if node.name.startswith(onnx_file.VIEW_PREFIX)]
    assert {"Sqrt", "Sub", "MatMul"} <= {node.op_type for node in views}
    for node in views:
        assert all(made[name].op_type != "DequantizeLinear" for name in node.input if name in made)


def test_what_is_measured_of_an_int8_file(quantised):
    record, exported = quantised
    measured = record.measurement("deployment.json")["exports"]["onnx-int8"]
    assert measured == json.loads(json.dumps(exported.measured))
    data = RecordWindows(record)
    x, y = data.data.x[data.split.test], data.data.y[data.split.test]
    folder = exported.folder
    one, other = (
        run_in_batches(open_session(folder / name), {"windows": x}).argmax(1)
        for name in ("student.onnx", "student-int8.onnx")
    )
    assert measured["float32_accuracy"] == float((one == y).mean()) > 0.5
    assert measured["accuracy"] == float((other == y).mean())
    assert measured["agreement"] == float((one == other).mean()) >= 0.8
    assert measured["macro_f1"] == pytest.approx(f1_score(y, other, average="macro"))
    assert measured["bytes"] == (folder / "student-int8.onnx").stat().st_size
    assert measured["float32_bytes"] == (folder / "student.onnx").stat().st_size
    for prefix in ("", "float32_"):
        assert 0 < measured[f"{prefix}latency_ms"] <= measured[f"{prefix}latency_p95_ms"]
    calibration = measured["calibration"]
    assert (calibration["number"], calibration["seed"], calibration["part"]) == (32, 1, "train")
    assert calibration["windows"] == data.for_calibration(32, 1).facts["windows"]
    assert set(calibration["windows"]) <= set(data.split.train.tolist())
    text = "\n".join(exported.lines)
    assert f"accuracy {measured['accuracy']:.4f} beside {measured['float32_accuracy']:.4f}" in text
    assert "calibrated on 32 of 40 training windows, seed 1" in text


def test_a_comparison_has_the_columns_of_int8_where_there_are_some(quantised, tmp_path, capsys):
    record, exported = quantised
    measured = exported.measured
    runs = record.folder.parent
    travelled = tmp_path / "records.jsonl"
    assert compare(["--runs", str(runs), "--out", str(tmp_path / "a"), "--write-records", str(travelled)]) == 0
    assert compare(["--records", str(travelled), "--runs", str(tmp_path / "no"), "--out", str(tmp_path / "b")]) == 0
    for folder in ("a", "b"):
        with (tmp_path / folder / "leaderboard.csv").open(newline="") as stream:
            (row,) = [row for row in csv.DictReader(stream) if row["kind"] == "student"]
        assert float(row["int8_accuracy"]) == measured["accuracy"]
        lost = 100 * (measured["float32_accuracy"] - measured["accuracy"])
        assert float(row["int8_points_lost"]) == pytest.approx(lost)
        assert float(row["int8_bytes"]) == measured["bytes"]
        assert "int8 acc" in (tmp_path / folder / "tables.md").read_text()
    plain = tmp_path / "plain"
    shutil.copytree(record.folder, plain / "runs" / record.key)
    (plain / "runs" / record.key / "deployment.json").unlink()
    assert compare(["--runs", str(plain / "runs"), "--out", str(plain / "out")]) == 0
    assert "int8" not in (plain / "out" / "leaderboard.csv").read_text()
    assert "int8" not in (plain / "out" / "tables.md").read_text()
    capsys.readouterr()


def test_int8_needs_training_windows_and_one_label_a_window(all_views, quantised, tmp_path, monkeypatch):
    record, _ = quantised
    with pytest.raises(MmkdError, match="calibration needs 41 training windows, and basic-motions has 40"):
        mmkd.export_student(record, "onnx-int8", tmp_path / "out", calibration_windows=41)
    with pytest.raises(MmkdError, match="calibration-windows = 15 must be >= 16"):
        mmkd.export_student(record, "onnx-int8", tmp_path / "out", calibration_windows=15)
    with pytest.raises(MmkdError, match="onnx has no option 'calibration_windows'"):
        mmkd.export_student(record, "onnx", tmp_path / "out", calibration_windows=32)
    student = mmkd.load_student(record)
    student.dense = True
    monkeypatch.setattr(StudentModel, "load", lambda *arguments: student)
    with pytest.raises(MmkdError, match="this one labels steps: take --to onnx"):
        mmkd.export_student(record, "onnx-int8", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# The page of documentation --------------------------------------------------------------------------------------------


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "deploy.md"
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        exec(compile(code, str(page), "exec"), {})
    assert "student.onnx: windows (B, 6, 100)" in capsys.readouterr().out
    assert (tmp_path / "device" / "student.onnx").is_file()
