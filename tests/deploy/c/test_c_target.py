"""`--to c` of a record: what is printed and kept, and what is refused leaves nothing behind."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import mmkd
from mmkd.compare import main as compare
from mmkd.core.errors import MmkdError
from mmkd.deploy.c import cortex, target
from mmkd.deploy.c.host import COMPILER, FLAGS, compile_host, has_compiler, run_host, run_tool
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
    assert kept["float32_macro_f1"] == pytest.approx(record.metrics.test["macro_f1"])
    assert kept["float32_accuracy"] == pytest.approx(record.metrics.test["accuracy"])
    assert f"macro-F1 {kept['macro_f1']:.4f} in integers beside {kept['float32_macro_f1']:.4f}" in said
    assert "calibrated on 20 training windows, seed 3" in said
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
    assert exported.measured["macro_f1"] == macro_f1(true, classes)
    assert exported.measured["agreement_on"] == f"{len(own.test)} test windows"


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
    assert "flash_bytes" not in document["measured"]
    assert document["measured"]["arena_bytes"] > 0


@pytest.mark.usefixtures("no_device")
def test_a_comparison_has_the_columns_of_c(record, sines, tmp_path, capsys, monkeypatch):
    device = {"flash_bytes": 9000, "instructions": 123456, "device_arena_bytes": 1, "device_windows": 2}
    monkeypatch.setattr(target, "_measure_device", lambda *arguments: device)
    measured = mmkd.export_student(record, to="c", out=tmp_path / "device", data=sines).measured
    assert compare(["--runs", str(record.folder.parent), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    with (tmp_path / "out" / "leaderboard.csv").open(newline="") as stream:
        (row,) = [row for row in csv.DictReader(stream) if row["kind"] == "student"]
    for name in ("macro_f1", "weight_bytes", "arena_bytes", "flash_bytes", "instructions"):
        assert float(row[f"c_{name}"]) == measured[name]
    lost = 100 * (measured["float32_macro_f1"] - measured["macro_f1"])
    assert float(row["c_points_lost"]) == pytest.approx(lost)
    assert "C flash" in (tmp_path / "out" / "tables.md").read_text()


@pytest.mark.skipif(not has_compiler(), reason="there is no C compiler (cc) here")
@pytest.mark.usefixtures("no_device")
def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs" / "deploy-c.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(python|c)\n(.*?)```", page, re.S)
    assert [language for language, _ in blocks] == ["python", "c", "python"]
    for language, code in blocks:
        if language == "python":
            exec(compile(code, "deploy-c.md", "exec"), {})
        else:
            Path("own.c").write_text(code)
            run_tool([COMPILER, *FLAGS, "-I", "device", "-c", "own.c", "-o", "own.o"])
    said = capsys.readouterr().out
    assert "macro-F1" in said
    assert said.rstrip().splitlines()[-1].split()[0] in {"0", "1", "2", "3"}


@pytest.mark.slow
@pytest.mark.skipif(bool(cortex.missing_tools()), reason=f"not installed: {', '.join(cortex.missing_tools())}")
def test_the_command_measures_a_cortex_m4(record, sines, tmp_path, capsys):
    exported = mmkd.export_student(record, to="c", out=tmp_path / "device", data=sines)
    device = exported.measured
    assert device["device_arena_bytes"] == device["arena_bytes"]
    line = next(line for line in exported.lines if line.startswith("Cortex-M4"))
    assert f"{device['instructions']:,} instructions a window (not cycles)" in line
    assert f"flash {device['flash_bytes']:,} bytes" in line
