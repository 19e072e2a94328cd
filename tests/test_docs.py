"""What the documents show works as it stands there."""

import json
import re
from pathlib import Path

import pytest

from mmkd import METHODS
from mmkd.bench import main
from mmkd.cli.flags import make_parser
from mmkd.core.options import describe
from mmkd.units.request import read_suite

ROOT = Path(__file__).parents[1]


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.S)


def test_the_method_of_contributing_runs_as_a_plugin_and_is_listed(tiny, tmp_path, capsys):
    (text,) = blocks("CONTRIBUTING.md", "python")
    plugin = tmp_path / "example.py"
    plugin.write_text(text)
    assert main(["--list", "methods", "--plugin", str(plugin)]) == 0
    assert "example" in capsys.readouterr().out
    where = ["--runs", str(tmp_path / "runs"), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    size = ["--epochs", "3", "--image-size", "16", "--json", "--quiet"]
    for student in ("sig", "sig+gaf+pi"):
        assert main(["--method", "example", "--plugin", str(plugin), "--student", student, *where, *size]) == 0
        (unit,) = json.loads(capsys.readouterr().out)
        assert unit["options"]["weight"] == 1.0
        history = (Path(unit["paths"]["record"]) / "history.csv").read_text()
        assert "loss/example_gaf" in history


def test_the_suite_of_the_readme_is_one(tmp_path):
    (text,) = blocks("README.md", "toml")
    (tmp_path / "readme.toml").write_text(text)
    request = read_suite(tmp_path / "readme.toml")
    assert request.students == ("sig", "sig+gaf+pi")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_is_one(path):
    assert read_suite(path).methods


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_flags_and_files_that_documents_name_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    flags = {option for action in make_parser()._actions for option in action.option_strings}
    flags |= {f"--{option}" for name in METHODS for option, *_ in describe(METHODS.get(name).Config)}
    for line in re.findall(r"python -m mmkd\.bench[^\n`]*", text):
        for flag in re.findall(r"--[a-z-]+", line.split("#")[0]):
            assert flag in flags, f"{document}: {flag}"
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / path).exists(), f"{document}: {path}"
    for path in re.findall(r"\b((?:experiments|datasets|tests|mmkd|baselines)/[\w./-]+\.(?:toml|py|md))", text):
        assert (ROOT / path).exists(), f"{document}: {path}"
