"""`--to c` of a record: what is printed and kept, and what is refused leaves nothing behind."""

import json
import shutil

import numpy as np
import pytest

import mmkd
from mmkd.core.errors import MmkdError
from mmkd.deploy.c import cortex, target
from mmkd.deploy.c.host import compile_host, has_compiler, run_host
from mmkd.deploy.windows import RecordWindows
from mmkd.export import main
from mmkd.metrics.classes import macro_f1
from mmkd.store.records import open_record

FILES = ["Makefile", "main.c", "student.c", "student.h"]


@pytest.fixture(scope="module")
def record(sines, shared_cache, tmp_path_factory):
    runs = tmp_path_factory.mktemp("c") / "runs"
    settings = {"student": "sig", "student_net": "micro", "steps": 3, "peers": "none", "epoch_rule": "last"}
    return mmkd.run("student", data=sines, runs=runs, cache=shared_cache, **settings)


@pytest.fixture
def no_device(monkeypatch):
    """No emulation, which takes seconds."""
    monkeypatch.setattr(cortex, "missing_tools", lambda: ["arm-none-eabi-gcc"])


@pytest.mark.usefixtures("no_device")
@pytest.mark.parametrize("standardise", ["float", "int"])
def test_the_command_writes_source_and_says_what_is_reached(record, sines, tmp_path, capsys, standardise):
    out = tmp_path / "device"
    flags = ["--to", "c", "--data", str(sines), "--out", str(out), "--standardise", standardise]
    assert main([str(record.folder), *flags, "--calibration-windows", "20", "--calibration-seed", "3"]) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == FILES
    kept = open_record(record.folder).measurement("deployment.json")["exports"]["c"]
    assert kept["standardise"] == standardise
    assert (kept["calibration"]["number"], kept["calibration"]["seed"]) == (20, 3)
    assert f"arena {kept['arena_bytes']:,} bytes, weights {kept['weight_bytes']:,} bytes" in said
    assert "arm-none-eabi-gcc is not installed: flash and instructions" in said
    student = mmkd.load_student(record)
    scores = kept["test"]
    assert scores["fp32"]["macro_f1"] == pytest.approx(record.metrics.test["macro_f1"])
    assert f"macro-F1 {scores['integer']['macro_f1']:.3f} in integers, {scores['fp32']['macro_f1']:.3f} in" in said
    header = (out / "student.h").read_text()
    for text in (f"mmkd_key: {record.key}", "dataset_licence: ", *student.classes):
        assert text in header
    if has_compiler():
        assert "compiled here with no warning; equal to the integer model, bit for bit, on" in said


@pytest.mark.usefixtures("no_device")
@pytest.mark.skipif(not has_compiler(), reason="there is no C compiler (cc) here")
def test_scores_are_those_of_the_c_program(record, sines, tmp_path):
    exported = mmkd.export_student(record, to="c", out=tmp_path / "device", data=sines)
    own = RecordWindows(record, sines)
    compile_host(tmp_path / "device", tmp_path / "student")
    windows = target.raw(mmkd.load_student(record), own.data.x[own.test]).astype(np.float32)
    classes, _ = run_host(tmp_path / "student", windows, len(record.data["classes"]))
    true = own.data.y[own.test]
    assert exported.measured["test"]["integer"]["macro_f1"] == macro_f1(true, classes)
    assert exported.measured["test"]["windows"] == len(own.test)


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mmkd.export: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.usefixtures("no_device")
def test_what_is_refused_leaves_nothing(record, sines, tmp_path, capsys, monkeypatch):
    out = tmp_path / "device"
    asked = (record.folder, "--to", "c", "--out", out)
    assert "windows of the record are needed, and not at hand" in refused(capsys, *asked)
    assert "calibration needs 9999 training windows" in refused(
        capsys, *asked, "--data", sines, "--calibration-windows", 9999
    )
    assert "standardise" in refused(capsys, *asked, "--data", sines, "--standardise", "double")
    damaged = tmp_path / "damaged" / record.key
    shutil.copytree(record.folder, damaged)
    (damaged / "student.safetensors").unlink()
    assert "student.safetensors is missing" in refused(capsys, damaged, "--to", "c", "--out", out, "--data", sines)
    monkeypatch.setattr(target, "extract", _no_form)
    assert "no C form" in refused(capsys, *asked, "--data", sines)
    assert not out.exists()


def _no_form(student):
    raise MmkdError("--to c: the network has a layer 'x', which has no C form")


@pytest.mark.usefixtures("no_device")
@pytest.mark.skipif(not has_compiler(), reason="there is no C compiler (cc) here")
def test_source_that_computes_something_else_is_not_written(record, sines, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmkd.deploy.c.kernels.CUT", target_cut())
    out = tmp_path / "device"
    said = refused(capsys, record.folder, "--to", "c", "--out", out, "--data", sines)
    assert "does not compute what the integer model does; nothing is written" in said
    assert not out.exists()


def target_cut():
    from mmkd.deploy.c.kernels import CUT

    assert CUT.count("127") == 2
    return CUT.replace("127", "100")


def test_without_a_compiler_it_says_so(record, sines, tmp_path, capsys, monkeypatch, no_device):
    monkeypatch.setattr(target, "has_compiler", lambda: False)
    out = tmp_path / "device"
    assert main([str(record.folder), "--to", "c", "--out", str(out), "--data", str(sines), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert any("no C compiler (cc) here" in line for line in document["lines"])
    assert "cortex_m4" not in document["measured"]


@pytest.mark.slow
@pytest.mark.skipif(bool(cortex.missing_tools()), reason=f"not installed: {', '.join(cortex.missing_tools())}")
def test_the_command_measures_a_cortex_m4(record, sines, tmp_path, capsys):
    exported = mmkd.export_student(record, to="c", out=tmp_path / "device", data=sines)
    device = exported.measured["cortex_m4"]
    line = next(line for line in exported.lines if line.startswith("Cortex-M4"))
    assert f"{device['instructions']:,} instructions a window (not cycles)" in line
    assert f"flash {device['flash_bytes']:,} bytes" in line
