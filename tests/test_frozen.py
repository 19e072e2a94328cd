"""Keys of units and teachers stay what they were, and records made by older code still answer."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mmkd
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.data import load_dataset
from mmkd.evaluation.detectors import detector_spec
from mmkd.specs.unit import UnitSpec
from mmkd.store.records import Records
from mmkd.training import loop as train
from mmkd.units.expansion import expand
from mmkd.units.suites import read_suite

ROOT = Path(__file__).parents[1]
FROZEN = Path(__file__).parent / "frozen"
DATA_ROOT = os.environ.get("MMKD_DATA")
ROWS = [json.loads(line) for line in (FROZEN / "keys.jsonl").read_text(encoding="utf-8").splitlines()]
CHANGED = json.loads((FROZEN / "changed.json").read_text(encoding="utf-8"))
COMMANDS = [
    "--data windows.npz --method student,kd --student sig --teachers sig --teacher-net sig=small --image-size 16",
    "--data windows.npz --method kd --student sig --teachers sig --teacher-net sig=small --folds 3 --fold 2 --seed 1",
    "--data steps.npz --task segmentation --method student,kd --student-net unet-small --teacher-net sig=unet-small",
]
"""What made the records of the archive, with `--epochs 2` besides; networks then were those of their best epoch."""
COMMANDS = [f"{command} --epoch-rule val-best --teacher-epoch best" for command in COMMANDS]


def now(row):
    """The key that a row of the list has today."""
    return CHANGED.get(row["key"], {"key": row["key"]})["key"]


def test_the_list_is_whole():
    suites = {path.name for path in (ROOT / "experiments").glob("*.toml")}  # some are younger than the list
    assert {row["suite"] for row in ROWS} <= suites
    assert sum(row["kind"] == "unit" for row in ROWS) == 417
    assert sum(row["kind"] == "teacher" for row in ROWS) == 141
    assert sum(row["kind"] == "reference" for row in ROWS) == 15
    assert all(change["key"] and change["reason"] for change in CHANGED.values())


@pytest.mark.parametrize("suite", sorted({row["suite"] for row in ROWS}))
def test_keys_of_specs(suite):
    """A spec that says everything keeps its key, whatever the defaults of today are."""
    rows = [row for row in ROWS if row["suite"] == suite]
    teachers = {(row["of"], row["modality"]): row for row in rows if row["kind"] == "teacher"}
    specs = {row["key"]: row for row in rows if "spec" in row}
    assert specs
    for key, row in specs.items():
        spec = UnitSpec.parse(row["spec"])
        assert spec.key == row["key"]
        for modality in spec.teachers:
            if (key, modality) in teachers:
                assert spec.teacher(modality).key == teachers[key, modality]["key"]


def test_keys_of_simple_detectors():
    specs = {row["key"]: UnitSpec.parse(row["spec"]) for row in ROWS if "spec" in row}
    rows = [row for row in ROWS if row["kind"] == "reference"]
    assert [detector_spec(row["detector"], specs[row["of"]]).key for row in rows] == [row["key"] for row in rows]


@pytest.mark.parametrize(("suite", "dataset"), sorted({(row["suite"], row["dataset"]) for row in ROWS}))
def test_keys_of_suites(suite, dataset):
    """A suite is resolved to the same units, where its data are on this machine."""
    try:
        load_dataset(dataset, DATA_ROOT)
    except MmkdError as error:
        pytest.skip(str(error))
    request = read_suite(ROOT / "experiments" / suite, datasets=(dataset,), data_root=DATA_ROOT)
    rows = [row for row in ROWS if (row["suite"], row["dataset"]) == (suite, dataset)]
    units = [spec for spec, _ in expand(request)]
    assert [spec.key for spec in units] == [now(row) for row in rows if row["kind"] == "unit"]
    teachers = {spec.teacher(modality).key for spec in units for modality in spec.teachers}
    assert teachers == {now(row) for row in rows if row["kind"] == "teacher"}


YOUNG = [json.loads(line) for line in (FROZEN / "methods.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", YOUNG, ids=lambda row: row["method"])
def test_keys_of_younger_methods(row):
    """With the spec that is written down, and as the defaults of today resolve it."""
    assert UnitSpec.parse(row["spec"]).key == row["key"]
    parts = importlib.util.spec_from_file_location("frozen_update", FROZEN / "update.py")
    update = importlib.util.module_from_spec(parts)
    parts.loader.exec_module(update)
    assert update.key_of(row["method"])[0] == now(row)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The old records, in the present folder, with the files that they were made from."""
    zipfile.ZipFile(FROZEN / "records.zip").extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_old_records_are_answered_without_work(archive, monkeypatch, capsys):
    monkeypatch.setattr(train, "train_epoch", lambda *_, **__: pytest.fail("something was trained"))
    before = {path: path.stat().st_mtime_ns for path in archive.glob("records/*/result.json")}
    assert len(before) == 8
    found = []
    for command in COMMANDS:
        assert main([*command.split(), *["--epochs", "2", "--runs", "records", "--json", "--quiet"]]) == 0
        found += json.loads(capsys.readouterr().out)
    assert [unit["status"] for unit in found] == ["cached"] * 5
    assert {path: path.stat().st_mtime_ns for path in archive.glob("records/*/result.json")} == before


def test_the_last_epoch_of_the_teachers_is_another_unit(archive, capsys):
    """The default of today: the students alone are answered, and `kd` is not."""
    for command in COMMANDS:
        argv = [*command.removesuffix(" --teacher-epoch best").split(), *PLANNED.split()]
        assert main(argv) == 0
        units = json.loads(capsys.readouterr().out)["units"]
        assert {(unit["method"], unit["on_record"]) for unit in units} <= {("student", True), ("kd", False)}


def test_old_records_are_compared_and_their_students_load(archive):
    records = list(Records("records"))
    assert len(records) == 8
    comparison = compare(records)
    assert comparison.left_out == []
    assert sorted(group.task for group in comparison.groups) == ["classification", "classification", "segmentation"]
    for record in records:
        if record.kind == "student":
            student = mmkd.load_student(record)
            assert len(student.classes) == 3


SCRIPT = """
import contextlib, io, json, sys
from mmkd.bench import main
from mmkd.specs.unit import UnitSpec

def bench(arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(arguments.split()) == 0
    return json.loads(out.getvalue())

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
keys = {row["key"]: UnitSpec.parse(row["spec"]).key for row in rows if "spec" in row}
print(json.dumps({"keys": keys, "results": [bench(command) for command in sys.argv[2:]]}))
"""
"""Prints the keys of the list, and what commands with `--json` print."""


@pytest.fixture
def changed_checkout(tmp_path):
    """Makes a copy of the source with some texts replaced, and runs code in it."""

    def make(*changes):
        folder = tmp_path / "checkout"
        for name in ("mmkd", "baselines", "datasets"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for path, old, new in changes:
            text = (folder / path).read_text(encoding="utf-8")
            assert text.count(old) == 1
            (folder / path).write_text(text.replace(old, new), encoding="utf-8")

        def run(*commands):
            env = {**os.environ, "PYTHONPATH": str(folder)}
            arguments = [sys.executable, "-c", SCRIPT, FROZEN / "keys.jsonl", *commands]
            done = subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        return run

    return make


EPOCHS = '    epochs: int = option(20, "passes'
BRANCH_WEIGHT = "    branch_weight: float = option(0.5,"
ADDED = [  # a field of a training, and an option of all methods, as somebody would add them
    ("mmkd/specs/unit.py", EPOCHS, f'    ema: float = option(0.0, "average of weights", since=9)\n{EPOCHS}'),
    (
        "mmkd/methods/configs.py",
        BRANCH_WEIGHT,
        f'    clip: float = option(1.5, "gradient clipping", since=9)\n{BRANCH_WEIGHT}',
    ),
]


SEEN = "--epochs 2 --runs records --json --quiet --existing only"
PLANNED = "--epochs 2 --runs records --json --dry-run"


def test_an_option_that_is_added_keeps_every_key_and_record(changed_checkout, archive):
    run = changed_checkout(*ADDED)
    output = run(*(f"{command} {SEEN}" for command in COMMANDS), f"{COMMANDS[0]} --clip 2 {PLANNED}")
    assert output["keys"] == {row["key"]: row["key"] for row in ROWS if "spec" in row}
    *seen, other = output["results"]
    units = [unit for result in seen for unit in result]
    assert len(units) == 5
    assert {unit["status"] for unit in units} == {"cached"}
    assert all("clip" not in unit["options"] for unit in units)
    assert not any(unit["on_record"] for unit in other["units"])


@pytest.mark.parametrize(
    ("change", "which"),
    [
        (("mmkd/specs/unit.py", "lr: float = option(2e-3,", "lr: float = option(3e-3,"), "all"),
        (("mmkd/methods/configs.py", "option(0.5,", "option(0.25,"), "all"),
        (("baselines/kd.py", "option(4.0,", "option(5.0,"), "kd"),
        (("baselines/kd.py", "    tasks = ", "    revision = 9\n    tasks = "), "kd"),
    ],
)
def test_another_default_makes_other_keys(changed_checkout, archive, change, which):
    """Whoever changes a default on purpose enters each changed key into `changed.json`; by mistake, sees it here."""
    (result,) = changed_checkout(change)(f"{COMMANDS[0]} {PLANNED}")["results"]
    units = result["units"]
    assert len(units) == 2
    for unit in units:
        assert unit["on_record"] == (which != "all" and unit["method"] != which)
