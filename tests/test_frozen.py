"""Keys of units and teachers stay what they were, and records made by older code still answer."""

import json
import os
import zipfile
from pathlib import Path

import pytest

import mmkd
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.comparison.groups import compare
from mmkd.data import load_dataset
from mmkd.specs.unit import UnitSpec
from mmkd.store.record import Records
from mmkd.training import loop as train
from mmkd.units.expansion import expand
from mmkd.units.request import read_suite

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
"""What made the records of the archive, with `--epochs 2` besides."""


def now(row):
    """The key that a row of the list has today."""
    return CHANGED.get(row["key"], {"key": row["key"]})["key"]


def test_the_list_is_whole():
    assert {row["suite"] for row in ROWS} == {path.name for path in (ROOT / "experiments").glob("*.toml")}
    assert sum(row["kind"] == "unit" for row in ROWS) == 417
    assert sum(row["kind"] == "teacher" for row in ROWS) == 141
    assert all(change["key"] and change["reason"] for change in CHANGED.values())


@pytest.mark.parametrize("suite", sorted({row["suite"] for row in ROWS}))
def test_keys_of_specs(suite):
    rows = [row for row in ROWS if row["suite"] == suite]
    teachers = {(row["of"], row["modality"]): row for row in rows if row["kind"] == "teacher"}
    specs = {row["key"]: row for row in rows if "spec" in row}
    assert specs
    for key, row in specs.items():
        spec = UnitSpec.parse(row["spec"])
        assert spec.key == now(row)
        for modality in spec.teachers:
            if (key, modality) in teachers:
                assert spec.teacher(modality).key == now(teachers[key, modality])


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


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The old records, in the present folder, with the files that they were made from."""
    zipfile.ZipFile(FROZEN / "records.zip").extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_old_records_are_answered_without_work(archive, monkeypatch, capsys):
    monkeypatch.setattr(train, "_epoch", lambda *_, **__: pytest.fail("something was trained"))
    before = {path: path.stat().st_mtime_ns for path in archive.glob("records/*/result.json")}
    assert len(before) == 8
    found = []
    for command in COMMANDS:
        assert main([*command.split(), *["--epochs", "2", "--runs", "records", "--json", "--quiet"]]) == 0
        found += json.loads(capsys.readouterr().out)
    assert [unit["status"] for unit in found] == ["cached"] * 5
    assert {path: path.stat().st_mtime_ns for path in archive.glob("records/*/result.json")} == before


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
