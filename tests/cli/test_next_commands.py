"""The commands that stand below a table in which no teacher has anything to give."""

import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmkd
from mmkd.cli import bench
from mmkd.cli.flags import make_parser
from mmkd.deploy.c import cortex
from mmkd.deploy.c.host import has_compiler
from mmkd.export import main as export
from mmkd.report import run_rows, table


def printed(capsys, monkeypatch, runs, *rooms, cache=None):
    """What stands below a table whose gaps have room or not."""
    rows = [SimpleNamespace(gaps=[SimpleNamespace(has_room=room) for room in rooms])]
    monkeypatch.setattr(run_rows, "rows", lambda *_: rows)
    monkeypatch.setattr(table, "print_tables", lambda *_: None)
    names = ("results", "teachers", "references", "selections", "unselected", "tunings", "untuned", "data_warnings")
    bench.print_outcome(SimpleNamespace(students_alone={}, **dict.fromkeys(names, ())), Path(runs), cache=cache)
    return capsys.readouterr().out


def test_without_room_three_commands_are_named(capsys, monkeypatch):
    out = printed(capsys, monkeypatch, "runs", False, False)
    commands = re.findall(r"^  python -m mmkd\.(\w+)(.*?)(?:   #.*)?$", out, re.M)
    assert [program for program, _ in commands] == ["compare", "bench", "bench"]
    assert "runs/comparison/report.html" in out
    known = {flag for action in make_parser()._actions for flag in action.option_strings}
    assert {word for _, words in commands for word in words.split() if word.startswith("--")} <= known


def test_they_name_the_folder_of_the_records(capsys, monkeypatch):
    out = printed(capsys, monkeypatch, "elsewhere", False)
    assert "python -m mmkd.compare --runs elsewhere " in out
    assert "elsewhere/comparison/report.html" in out
    assert out.count(" --runs elsewhere") == 3


def test_they_name_both_folders_as_a_shell_reads_them(capsys, monkeypatch):
    out = printed(capsys, monkeypatch, "my runs", False, cache="a cache")
    compared, *trained = [shlex.split(line, comments=True) for line in out.splitlines() if " python -m mmkd." in line]
    assert compared[3:] == ["--runs", "my runs"]
    assert [command[-4:] for command in trained] == [["--runs", "my runs", "--cache", "a cache"]] * 2
    assert "--runs" not in printed(capsys, monkeypatch, "runs", False)


@pytest.mark.parametrize("rooms", [(), (True,), (True, False)])
def test_where_there_is_room_or_no_gap_nothing_is_said(rooms, capsys, monkeypatch):
    assert printed(capsys, monkeypatch, "runs", *rooms) == ""


def device(record, data="", place=""):
    """The words of each command that `device_commands` names for a student."""
    outcome = SimpleNamespace(results=[SimpleNamespace(record=None), SimpleNamespace(record=record)])
    printed = bench.device_commands(outcome, data, place)
    assert printed.startswith("\n  ") or not printed
    return [shlex.split(line, comments=True)[2:] for line in printed.splitlines()[1:]]


def alike(record, **changes):
    """A record with another spec or other facts of its data."""
    spec = SimpleNamespace(task=record.unit.task, student=record.unit.student, data=record.unit.data)
    facts = {"unit": SimpleNamespace(**{**vars(spec), **changes.pop("unit", {})}), "data": record.data, **changes}
    return SimpleNamespace(**{"has_files": True, "folder": record.folder, **facts})


@pytest.fixture(scope="module")
def record(sines, shared_cache, tmp_path_factory):
    runs = tmp_path_factory.mktemp("next") / "my runs"
    settings = {"student": "sig", "student_net": "micro", "steps": 3, "peers": "none", "epoch_rule": "last"}
    return mmkd.run("student", data=sines, runs=runs, cache=shared_cache, **settings)


@pytest.mark.skipif(not has_compiler(), reason="there is no C compiler (cc) here")
def test_the_command_of_a_signal_student_makes_a_program(record, sines, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cortex, "missing_tools", lambda: ["arm-none-eabi-gcc"])  # its emulation takes seconds
    request = SimpleNamespace(data=str(sines), data_root=None)
    ((program, *arguments),) = device(record, bench.data_flags(request))
    assert program == "mmkd.export"
    assert arguments[1:4] == ["--to", "c", "--out"]
    assert export(arguments) == 0
    assert "bit for bit, on" in capsys.readouterr().out
    subprocess.run(["make", "-s", "-C", "device"], check=True)
    window = np.zeros((2, 2, 32), np.float32).tobytes()
    out = subprocess.run(["device/student"], input=window, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert len(out.splitlines()) == 2


def test_the_commands_of_other_students(record):
    image = alike(record, unit={"student": ("sig", "gaf")})
    onnx, smaller = device(image, " --data 'my file.npz'")
    assert onnx == ["mmkd.export", str(record.folder), "--to", "onnx", "--out", "device", "--data", "my file.npz"]
    assert smaller[:3] == ["mmkd.bench", "--data", "my file.npz"]
    assert device(image, place=" --cache 'my cache'")[1][3:5] == ["--cache", "my cache"]
    assert device(image)[1][:3] == ["mmkd.bench", "--dataset", record.unit.data.name]
    known = {flag for action in make_parser()._actions for flag in action.option_strings}
    assert {word for word in smaller if word.startswith("--")} <= known
    for other in ({"unit": {"task": "segmentation"}}, {"data": {**record.data, "grid": [4, 8]}}):
        assert [words[3] for words in device(alike(record, **other))] == ["onnx"]
    assert [words[3] for words in device(alike(record, unit={"student": ("sig@25Hz",)}))] == ["onnx", "--method"]
    assert device(alike(record, unit={"task": "anomaly"})) == []
    assert device(alike(record, has_files=False)) == []
