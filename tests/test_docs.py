"""What the documents show works as it stands there."""

import json
import posixpath
import re
from pathlib import Path

import numpy as np
import pytest

import mmkd
from mmkd import METHODS
from mmkd.bench import main
from mmkd.cli.flags import make_parser
from mmkd.compare import main as compare
from mmkd.core.options import describe
from mmkd.core.registry import REGISTRIES
from mmkd.units.suites import read_suite, read_suites

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.S)


def test_the_method_of_contributing_runs_as_a_plugin_and_is_listed(tiny, tmp_path, capsys):
    text = blocks("CONTRIBUTING.md", "python")[0]
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


def sections(document):
    """Heading -> text, of the sections with a whole example in Python."""
    parts = re.split(r"^## (.*)\n", (ROOT / document).read_text(encoding="utf-8"), flags=re.M)
    return {head: text for head, text in zip(parts[1::2], parts[2::2], strict=True) if "```python" in text}


EXAMPLES = sections("CONTRIBUTING.md")


def test_there_is_an_example_of_every_kind():
    text = "".join(blocks("CONTRIBUTING.md", "python"))
    names = ("METHODS", "MODALITIES", "BACKBONES", "DENSE", "FUSIONS", "STAGE_FUSIONS", "METRICS", "TASKS", "READERS")
    names += ("AUGMENTATIONS",)
    assert [name for name in names if f"{name}.register(" not in text] == []
    groups = [getattr(mmkd, name).group for name in names]
    assert set(groups) == {registry.group for registry in REGISTRIES if registry.group}
    assert [group for group in groups if f"`{group}`" not in (ROOT / "CONTRIBUTING.md").read_text()] == []


@pytest.fixture
def data_of_sections(tmp_path, sines, windows_file, monkeypatch):
    """Flags that name small data: by the end of a command."""
    y = np.arange(32) // 8 % 3
    y = np.stack([np.roll(y, n) for n in range(24)])
    steps = windows_file(tmp_path / "steps.npz", n=24, y=y, subject=np.arange(24) // 4)
    rows = [[n % 2, *np.sin((1 + n % 2) * np.arange(24))] for n in range(30)]
    np.savetxt(tmp_path / "lines.txt", rows)
    monkeypatch.setattr("mmkd.data.cards.cards_folder", lambda: tmp_path / "datasets")

    def flags(command, text):
        if "--dataset lines" in command:
            (tmp_path / "datasets" / "lines").mkdir(parents=True)
            (card,) = re.findall(r"```toml\n(.*?)```", text, re.S)
            (tmp_path / "datasets" / "lines" / "card.toml").write_text(card, encoding="utf-8")
            return ["--data-root", str(tmp_path)]
        return ["--data", str(steps if "--task segmentation" in command else sines)]

    return flags


@pytest.mark.parametrize("section", EXAMPLES)
def test_an_example_of_contributing_works_as_it_stands_there(
    section, data_of_sections, shared_cache, tmp_path, monkeypatch, capsys
):
    text = EXAMPLES[section]
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (name,) = re.findall(r"Save it as `(\w+\.py)`, then", text)
    Path(name).write_text(code, encoding="utf-8")
    commands = re.findall(r"^    python -m mmkd\.(bench|compare) (.*)", text, re.M)
    assert any(f"--plugin {name}" in command for _, command in commands)
    trained = 0
    for program, command in commands:
        arguments = command.split()
        if program == "compare":
            assert compare(arguments) == 0
            assert "worst recall" in Path("runs/comparison/tables.md").read_text()
            continue
        if "--list" not in arguments and "--help" not in arguments:
            arguments += [*data_of_sections(command, text), "--epochs", "1", "--image-size", "16"]
            arguments += ["--cache", str(shared_cache), "--json", "--quiet"]
        assert main(arguments) == 0, capsys.readouterr().err
        if "--json" in arguments:
            out, err = capsys.readouterr()
            assert err == ""
            (unit,) = json.loads(out)
            assert unit["status"] == "done"
            trained += 1
    assert trained
    for folder in Path("runs").glob("[!.]*/student.safetensors"):
        mmkd.load_student(folder.parent)


def test_the_arrays_of_the_page_are_trained_on(sines, tmp_path, monkeypatch):
    code = "".join(text for text in blocks("docs/python.md", "python") if "from_arrays" in text or "clf" in text)
    with np.load(sines) as z:
        names = {"x": z["x"], "y": np.array(["sit", "walk", "run"])[z["y"]], "who": z["subject"], "x_new": z["x"][:7]}
    monkeypatch.chdir(tmp_path)
    exec(code, names)
    assert names["record"].metrics["test"]["accuracy"] > 0
    assert len(names["compared"].frame) == 1
    assert set(names["labels"]) <= {"sit", "walk", "run"}
    assert names["shares"].shape == (7, 3)
    assert set(names["clf"].teachers_) == {"sig", "gaf"}


def test_the_suite_of_the_quick_start_is_one(tmp_path):
    (text,) = blocks("docs/quick-start.md", "toml")
    (tmp_path / "page.toml").write_text(text)
    request = read_suite(tmp_path / "page.toml")
    assert request.students == ("sig", "sig+gaf+pi")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_is_one(path):
    assert all(request.methods for request in read_suites(path))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_and_files_that_documents_name_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    flags = {option for action in make_parser()._actions for option in action.option_strings}
    flags |= {f"--{option}" for name in METHODS for option, *_ in describe(METHODS.get(name).Config)}
    for line in re.findall(r"python -m mmkd\.bench[^\n`]*", text):
        for flag in re.findall(r"--[a-z-]+", line.split("#")[0]):
            assert flag in flags, f"{document}: {flag}"
    for path in re.findall(r"\b((?:experiments|datasets|tests|mmkd|baselines)/[\w./-]+\.(?:toml|py|md))", text):
        assert (ROOT / path).exists(), f"{document}: {path}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_documents_lead_to_files(document):
    """So they work where the repository is read, without the site; the maker of the site turns them into its own."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#\s]+)[^)]*\)", text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(document), link))
        assert (ROOT / path).exists(), f"{document}: {link}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
