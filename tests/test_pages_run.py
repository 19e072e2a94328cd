"""Every command and block of code of the README and of docs/ is run, or is marked as one that cannot be.

A line `<!-- not run: REASON -->` above a block marks it. Others: a command of mmkd.bench is planned in the quick tests
(`--dry-run`: flags, data, networks and methods are checked, nothing is trained) and run with two steps in the slow
ones; the other commands and the blocks of Python are run as they stand, by small files of the names that pages use.
Commands of data sets that are not bundled are planned where a data folder has them, and suites are only planned.
"""

import json
import os
import re
import shlex
import shutil
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import mmkd
from docs.maker.pages import ROOT
from mmkd.bench import main as bench
from mmkd.cli.commands import find_commands
from mmkd.cli.commands import main as overview
from mmkd.compare import main as compare
from mmkd.data.__main__ import main as data
from mmkd.export import main as export
from mmkd.results.__main__ import main as results
from tests.conftest import make_windows

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
REASONS = ("installs", "downloads", "cluster", "server", "long", "own files")
BLOCK = re.compile(r"(?:^<!-- not run: (.*?) -->\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)
BUNDLED = {"basic-motions", "gunpoint", "coffee", "pigcvp"}
EXTRAS = {"docs/deploy.md": "onnxruntime"}
"""Pages whose commands need a package of an extra."""
SMALL = {"--peers": ["none"], "--image-size": ["16"], "--quiet": [], "--json": []}
"""Flags that make a training small and its result readable, where a command does not give them itself."""
PROGRAMS = {
    "mmkd": overview,
    "mmkd.compare": compare,
    "mmkd.data": data,
    "mmkd.export": export,
    "mmkd.results": results,
}


class Block(NamedTuple):
    """A block of code of a page: why it is not run (empty if it is), its language and its text."""

    page: str
    reason: str
    language: str
    text: str


@cache
def blocks():
    """All blocks of all pages."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        found += [Block(page, *(part or "" for part in match)) for match in BLOCK.findall(text)]
    return found


def commands():
    """(page, command) of all blocks of the shell that are run; a command may go on over several lines."""
    found = []
    for block in blocks():
        if block.language == "sh" and not block.reason:
            lines = block.text.replace("\\\n", " ").splitlines()
            found += [(block.page, " ".join(line.split())) for line in lines if line and not line.startswith("#")]
    return found


def words_of(command):
    return shlex.split(command, comments=True)


def is_bench(command):
    return command.startswith("python -m mmkd.bench ")


def is_shown(command):
    return bool({"--help", "--list"} & set(words_of(command)))


def is_plain(command):
    """Whether a command trains nothing, and cannot be planned."""
    return "--publish" in words_of(command)


def is_planned_only(command):
    """Whether a command takes a suite, or data that are not bundled."""
    words = words_of(command)
    named = words[words.index("--dataset") + 1].split(",") if "--dataset" in words else ()
    dense = "segmentation" in words and not {"--data", "--dataset"} & set(words)  # its default data set is none of ours
    return "--suite" in words or dense or not set(named) <= BUNDLED


def case(page, command, *marks):
    return pytest.param(page, command, id=f"{page}: {command}", marks=marks)


ELSEWHERE = "docs/own-recordings.md"
"""The page whose commands are run one after the other by tests/cli/test_window.py."""
RUN = [(page, command) for page, command in commands() if page != ELSEWHERE]
BENCH = [
    case(page, command, *([pytest.mark.slow] if "--dataset" in command else []))
    for page, command in RUN
    if is_bench(command)
]
TRAINED = [
    case(page, command)
    for page, command in RUN
    if is_bench(command) and not (is_shown(command) or is_plain(command) or is_planned_only(command))
]
OTHERS = [case(page, command) for page, command in RUN if not is_bench(command)]


@pytest.fixture(scope="module")
def record(tiny, tmp_path_factory):
    """A folder of records of one student and its teacher."""
    runs = tmp_path_factory.mktemp("pages") / "runs"
    small = {"data": tiny["data"], "cache": tiny["cache"], "student": "sig", "teachers": "sig", "steps": 2}
    mmkd.run("student", runs=runs, **small)
    mmkd.run("kd", runs=runs, **small)
    return runs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that pages name."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    make_windows(folder / "my.npz")
    with np.load(folder / "my.npz") as arrays:
        np.savez(folder / "more.npz", x=arrays["x"][:12] + 1)
        ids = np.array(["ann", "ben", "eve"])[arrays["subject"] % 3]
        (folder / "ward").mkdir()
        np.savez(
            folder / "ward" / "w.npz",
            x=np.repeat(arrays["x"], 2, 1)[:, :3],
            y=np.array(["sit", "walk"])[arrays["y"] % 2],
            subject=ids,
        )
        for part, rows in (("TRAIN", slice(None, 60)), ("TEST", slice(60, None))):
            write_ts(folder / f"Name_{part}.ts", arrays["x"][rows], arrays["y"][rows])
    pictures = rng.normal(size=(40, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "images.npz", x=pictures, y=np.arange(40) % 3)
    np.savez(folder / "masks.npz", x=pictures, y=rng.integers(0, 3, (40, 32, 32)))
    labels = np.zeros(600, bool)
    labels[450:460] = True
    np.savez(folder / "series.npz", series=np.sin(np.arange(600) / 5) + 3 * labels, labels=labels)
    (card,) = [block.text for block in blocks() if block.text.startswith('task = "classification"')]
    (folder / "ward" / "card.toml").write_text(card, encoding="utf-8")
    (suite,) = [block.text for block in blocks() if block.text.startswith("methods = ")]
    (folder / "suite.toml").write_text(suite, encoding="utf-8")
    (folder / "experiments").mkdir()
    for path in (ROOT / "experiments").iterdir():
        if path.name == "v1":  # commands of pages write into it
            shutil.copytree(path, folder / "experiments" / "v1")
        else:
            (folder / "experiments" / path.name).symlink_to(path)
    return folder


@pytest.fixture
def place(files, tmp_path, monkeypatch):
    """A copy of these files as the current folder."""
    shutil.copytree(files, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write_ts(path, x, y):
    """Write windows as a file of the UEA archive."""
    head = "@problemName Name\n@timeStamps false\n@univariate false\n@classLabel true 0 1 2\n@data\n"
    lines = [":".join(",".join(map(str, row)) for row in case) + f":{label}" for case, label in zip(x, y, strict=True)]
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def needs_extra(page):
    """Skip a page whose commands need a package of an extra that is not installed."""
    if page in EXTRAS:
        pytest.importorskip(EXTRAS[page])


def own_files(page, words):
    """The words of a command, with the file that fits the page where several pages give one name to several things."""
    if "anomaly" in words:
        words = ["series.npz" if word == "my.npz" else word for word in words]
    if "segmentation" in words:
        words = ["masks.npz" if word == "images.npz" else word for word in words]
    folder = os.environ.get("MMKD_DATA", "")
    return [folder if word == "DIR" else word for word in words]


def run_bench(words, capsys):
    """Run `mmkd.bench`; data that are not on this machine skip the test."""
    code = bench(words)
    said = capsys.readouterr()
    if code == 2 and " is missing; it is " in said.err:
        pytest.skip("the data set is not here")
    assert code == 0, said.err
    return said.out


@pytest.mark.parametrize(("page", "command"), BENCH)
def test_a_command_of_a_page_can_be_planned(page, command, place, request, capsys):
    words = own_files(page, words_of(command)[3:])
    if "DIR" in command and not os.environ.get("MMKD_DATA"):
        pytest.skip("there is no data folder")
    if is_shown(command):
        assert len(run_bench(words, capsys)) > 100
        return
    if is_plain(command):
        shutil.copytree(request.getfixturevalue("record"), "runs")
        run_bench(words, capsys)
        return
    if "--records" in words:
        runs = request.getfixturevalue("record")
        assert compare(["--runs", str(runs), "--write-records", "records/here.jsonl"]) == 0
    if "my.safetensors" in command:
        shutil.copy(next(request.getfixturevalue("record").glob("*/teacher.safetensors")), "my.safetensors")
        words += ["--data", "my.npz"]
    words += [] if "--dry-run" in words else ["--dry-run"]
    out = run_bench([*words, "--cache", str(place / "cache")], capsys)
    assert re.search(r"\d units?, \d+ on record|\"on_record\": ", out)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command"), TRAINED)
def test_a_command_of_a_page_runs(page, command, place, shared_cache, request, capsys):
    words = own_files(page, words_of(command)[3:])
    if "my.safetensors" in command:
        shutil.copy(next(request.getfixturevalue("record").glob("*/teacher.safetensors")), "my.safetensors")
        words += ["--data", "my.npz"]
    less = {"--seeds": "0", "--tune": "2"}
    words = [less.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    size = ["--epochs", "1"] if "anomaly" in words else ["--epochs", "3"] if "schedule" in command else ["--steps", "2"]
    own_size = {"images.npz", "masks.npz"} & set(words)
    leave_out = {*words, *(["--image-size"] if own_size else [])}
    more = [word for flag, values in SMALL.items() if flag not in leave_out for word in (flag, *values)]
    out = run_bench([*words, *more, *size, "--cache", str(shared_cache)], capsys)
    statuses = {result["status"] for result in json.loads(out) if "status" in result}
    assert "done" in statuses
    assert statuses <= {"done", "refused"}


@pytest.mark.parametrize(("page", "command"), OTHERS)
def test_another_command_of_a_page_runs(page, command, place, request, capsys):
    needs_extra(page)
    words = words_of(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return
    if words[:2] == ["python", "-c"]:
        exec(words[2], {})
        return
    assert words[:2] == ["python", "-m"], f"{page}: mark it as not run, or say here how it is run: {command}"
    program, *rest = words[2:]
    if program == "mmkd.compare":
        shutil.copytree(request.getfixturevalue("record"), "runs")
        if "--records" in rest:
            assert compare(["--runs", "runs", "--write-records", "records/here.jsonl"]) == 0
    if "RECORD" in rest:
        students = [path.parent for path in request.getfixturevalue("record").glob("*/student.safetensors")]
        rest = [str(students[0]) if word == "RECORD" else word for word in rest] + ["--data", "my.npz"]
    assert PROGRAMS[program](*([rest] if program != "mmkd" else [])) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", sorted({block.page for block in blocks() if block.language == "python"}))
def test_blocks_of_python_run(page, place, monkeypatch, request):
    needs_extra(page)
    with np.load("my.npz") as arrays:
        x, y, who = arrays["x"], np.array(["sit", "walk", "run"])[arrays["y"]], arrays["subject"]
    real, cache = mmkd.run, request.getfixturevalue("shared_cache")

    def sized(more):
        return {"image_size": 16, "cache": cache, **({} if "epochs" in more else {"steps": 2}), **more}

    monkeypatch.setattr(mmkd, "run", lambda *args, **more: real(*args, **sized(more)), raising=False)
    windows = np.zeros((3, 6, 100), np.float32)
    if page == "docs/mlflow.md":  # its block reads what a command above it has sent
        student = ["--method", "student", "--student", "sig", "--steps", "2", "--peers", "none", "--quiet"]
        assert bench([*student, "--cache", str(cache), "--mlflow-models"]) == 0
        import mlflow

        request.addfinalizer(lambda: mlflow.set_tracking_uri(None))
    for block in blocks():
        if (block.page, block.language, block.reason) == (page, "python", ""):
            named = {"x": x, "y": y, "who": who, "x_new": x[:7], "windows": windows, "np": np, "torch": torch}
            named["__name__"] = "page"
            exec(compile(block.text, block.page, "exec"), named)


def test_blocks_of_toml_are_read():
    texts = [block.text for block in blocks() if block.language == "toml"]
    assert all(tomllib.loads(text) for text in texts)


def test_what_is_not_run_has_a_reason_and_all_commands_stand_in_blocks():
    for block in blocks():
        assert block.reason in ("", *REASONS), f"{block.page}: {block.reason}"
        assert block.language in ("sh", "python", "toml", "text", "c", "json"), block.page
    for page in PAGES:
        text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
        assert not re.search(r"^ {4}(?:python|make|pip) ", text, re.M), f"{page}: a command outside of a block"
    assert set(find_commands(Path(mmkd.__file__).parent)) >= {name.removeprefix("mmkd.") for name in PROGRAMS} - {
        "mmkd"
    }
