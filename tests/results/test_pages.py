"""What docs/results.md and docs/submit.md show works as it stands there."""

import json
import re
from pathlib import Path

import pytest

from mmkd.bench import main as bench
from mmkd.cli.results import main
from mmkd.results.columns import COLUMNS
from mmkd.results.protocol import read_protocol
from mmkd.results.submission.method_file import registered_methods

DOCS = Path(__file__).parents[2] / "docs"


def block(page):
    (text,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    return text


def test_the_code_of_the_page_of_results(capsys):
    exec(compile(block("results.md"), "results.md", "exec"), {})
    assert "mean" in capsys.readouterr().out


def test_the_page_of_results_explains_every_column():
    rows = re.findall(r"^\| (`.*?`) \|", (DOCS / "results.md").read_text(encoding="utf-8"), re.M)
    assert tuple(re.findall(r"`(\w+)`", " ".join(rows))) == COLUMNS


def test_the_method_of_the_page_trains_and_is_found_by_the_check(tiny, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(block("submit.md"))
    assert registered_methods(path) == ["mine"]
    where = ["--runs", str(tmp_path / "runs"), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    command = [
        "--method",
        "mine",
        "--plugin",
        str(path),
        "--student",
        "sig",
        "--steps",
        "3",
        "--peers",
        "none",
        "--json",
    ]
    assert bench([*command, "--quiet", *where]) == 0
    (unit,) = json.loads(capsys.readouterr().out)
    assert unit["status"] == "done"


@pytest.mark.parametrize("page", ["results.md", "submit.md"])
def test_commands_of_the_pages_have_flags_that_there_are(page, capsys):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert main(["--help"]) == 0
    known = capsys.readouterr().out
    flags = re.findall(r"python -m mmkd\.results (.*)", text)
    assert flags
    for flag in re.findall(r"--[a-z-]+", " ".join(flags)):
        assert flag in known
    for suite in re.findall(r"`([A-Z]-dev)`", text):
        assert (read_protocol("v1").folder / f"{suite}.toml").is_file()
