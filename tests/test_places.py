"""What is found by its place on disk or by its dotted name, and is lost without a word when modules move."""

import importlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mmkd
import mmkd.baselines
from mmkd.data import find_cards
from mmkd.report.page import render as page
from mmkd.store.environment import environment
from mmkd.training import checkpoint

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python_files(*folders):
    return {path for folder in folders for path in folder.rglob("*.py")}


def test_a_checkpoint_knows_every_source_file():
    """A change of any of them makes older checkpoints void."""
    assert set(checkpoint.source_files()) == python_files(ROOT / "mmkd", ROOT / "baselines")


def test_a_checkpoint_knows_whatever_takes_part_in_a_training(tiny, tmp_path):
    mmkd.run("kd", runs=tmp_path, **tiny)
    loaded = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    ours = {Path(path) for name, path in loaded.items() if path and name.partition(".")[0] == "mmkd"}
    assert len(ours) > 50
    assert ours <= set(checkpoint.source_files())


def test_a_changed_source_file_makes_another_checkpoint(tmp_path):
    code = "from mmkd.training import checkpoint; print(checkpoint.code_hash())"

    def code_hash():
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    copy_of_the_checkout(tmp_path)
    first = code_hash()
    source = next((tmp_path / "mmkd").rglob("masks.py"))
    source.write_text(source.read_text(encoding="utf-8") + "\n# another line\n", encoding="utf-8")
    second = code_hash()
    method = tmp_path / "baselines" / "kd.py"
    method.write_text(method.read_text(encoding="utf-8") + "\n# another line\n", encoding="utf-8")
    assert len({first, second, code_hash()}) == 3


def copy_of_the_checkout(folder):
    for name in ("mmkd", "baselines", "datasets"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_records_hold_the_commit_and_whether_there_were_changes(tmp_path):
    code = (
        "import json; from mmkd.store.environment import environment; print(json.dumps(environment('cpu', 1)['git']))"
    )

    def git(*args):
        names = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        done = subprocess.run(["git", *names, *args], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def state():
        command = [sys.executable, "-B", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    copy_of_the_checkout(tmp_path)
    assert state() == {}
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "All")
    assert state() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "baselines" / "kd.py").write_text("", encoding="utf-8")
    assert state() == {"commit": git("rev-parse", "HEAD"), "dirty": True}


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="no checkout of git")
def test_the_commit_of_this_checkout():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert environment("cpu", 1)["git"]["commit"] == head.stdout.strip()


def test_cards_are_found():
    cards, wrong = find_cards()
    assert set(cards) == {path.parent.name for path in (ROOT / "datasets").glob("*/card.toml")}
    assert len(cards) > 30
    assert wrong == {}


def test_the_files_of_the_page_are_found():
    assert page.WEB.is_relative_to(ROOT / "mmkd")
    assert {path.name for path in page.WEB.iterdir()} == {"page.css", "page.html", "page.js", "tables.js"}


def test_methods_are_those_of_the_checkout():
    assert [Path(path) for path in mmkd.baselines.__path__] == [ROOT / "baselines"]
    for name in ("kd", "fam", "student"):
        assert mmkd.METHODS.get(name).__module__.startswith("mmkd.baselines.")
        assert mmkd.METHODS.source_sha256(name) == ""


def test_commands_and_dotted_names_of_the_project_are_there():
    named = [*PROJECT["project"]["scripts"].values()]
    calls = PROJECT["tool"]["ruff"]["lint"]["flake8-bugbear"]["extend-immutable-calls"]
    named += [":".join(name.rsplit(".", 1)) for name in calls]
    assert len(named) >= 5
    for text in named:
        module, _, attribute = text.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
    assert "__version__" in (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["bench", "compare", "data", "results"])
def test_commands_run_as_modules(command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"mmkd.{command}", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"mmkd.{command}" in done.stdout
