"""The scripts of `experiments/` refuse wrong options as commands do: one line, exit code 2."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mmkd.cli.flags import Parser
from mmkd.cli.script import run_script
from mmkd.core.errors import MmkdError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SCRIPTS = {
    "controls.py": ["leaderboard.csv"],
    "dense_latency.py": [],
    "method_cost.py": [],
    "method_scale.py": [],
    "own_recordings.py": ["--data-root", "data"],
    "quantise.py": [],
    "recipe.py": ["table"],
    "speed/__main__.py": [],
    "speed/suite.py": [],
    "tables.py": ["segnext"],
}
"""Script -> arguments that it needs."""


def load(name, monkeypatch):
    """The module of a script, which finds its neighbours as `python SCRIPT` does."""
    path = EXPERIMENTS / name
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def refused(main, argv, capsys):
    """What a script says of wrong arguments."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_every_script_with_flags_is_among_them():
    files = [*EXPERIMENTS.glob("*.py"), *EXPERIMENTS.glob("speed/*.py")]
    run = [path for path in files if "def main(" in path.read_text(encoding="utf-8")]
    assert {path.relative_to(EXPERIMENTS).as_posix() for path in run} == {*SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrong_option_is_one_line(name, monkeypatch, capsys):
    main = load(name, monkeypatch).main
    assert "unknown option --bogus" in refused(main, [*SCRIPTS[name], "--bogus"], capsys)
    if SCRIPTS[name]:
        assert "the following arguments are required: " in refused(main, [], capsys)


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("controls.py", ["nowhere.csv"], "nowhere.csv: No such file or directory"),
        ("quantise.py", ["--rnus", "x"], "unknown option --rnus; did you mean '--runs'?"),
        ("recipe.py", ["tabel"], "argument what: invalid choice: 'tabel'"),
        ("recipe.py", ["table", "--parts", "A,C"], "unknown part 'C' (known: A, B, factors, gaf, targets)"),
        ("recipe.py", ["table", "--sets", "hapt"], "unknown data set 'hapt'; did you mean 'hapt6'?"),
        ("recipe.py", ["table", "--seeds", "x"], "x"),
        ("speed/__main__.py", ["--rounds", "0"], "--rounds 1 or more"),
        ("tables.py", ["segnxt"], "unknown page 'segnxt'; did you mean 'segnext'?"),
        ("tables.py", ["segnext", "x.csv"], "segnext takes no 'x.csv'"),
        ("tables.py", ["keep", "x.csv"], "keep takes two files"),
    ],
)
def test_a_wrong_value_is_one_line(name, argv, message, monkeypatch, capsys):
    assert message in refused(load(name, monkeypatch).main, argv, capsys)


def test_a_right_script_runs_its_body(capsys):
    parser = Parser(prog="some.py")
    parser.add_argument("--rounds", type=int, default=1)
    seen = []
    assert run_script(parser, lambda args: seen.append(args.rounds), ["--rounds", "3"]) == 0
    assert seen == [3]
    assert refused(lambda argv: run_script(parser, print, argv), ["--rounds", "x"], capsys) == (
        "some.py: argument --rounds: invalid int value: 'x'\n"
    )


def test_an_error_of_a_body_is_one_line(capsys):
    def fail(args):
        raise MmkdError("nothing to measure")

    assert refused(lambda argv: run_script(Parser(prog="some.py"), fail, argv), [], capsys) == (
        "some.py: nothing to measure\n"
    )
