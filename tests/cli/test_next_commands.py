"""The commands that stand below a table in which no teacher has anything to give."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmkd.cli import bench
from mmkd.cli.flags import make_parser
from mmkd.report import run_rows, table


def printed(capsys, monkeypatch, runs, *rooms):
    """What stands below a table whose gaps have room or not."""
    rows = [SimpleNamespace(gaps=[SimpleNamespace(has_room=room) for room in rooms])]
    monkeypatch.setattr(run_rows, "rows", lambda *_: rows)
    monkeypatch.setattr(table, "print_tables", lambda *_: None)
    names = ("results", "teachers", "references", "selections", "tunings", "untuned", "data_warnings")
    bench.print_outcome(SimpleNamespace(students_alone={}, **dict.fromkeys(names, ())), Path(runs))
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


@pytest.mark.parametrize("rooms", [(), (True,), (True, False)])
def test_where_there_is_room_or_no_gap_nothing_is_said(rooms, capsys, monkeypatch):
    assert printed(capsys, monkeypatch, "runs", *rooms) == ""
