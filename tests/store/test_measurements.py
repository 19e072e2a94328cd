"""Measurements beside a record: each whole or not there, and never part of what the record is."""

import json
import os
import subprocess
import sys

import pytest

from mmkd import MmkdError
from mmkd.store.record import CHECKSUMS
from mmkd.store.records import Records

OLD, NEW = b'{"macs": 1}', b'{"macs": 2}'


@pytest.fixture
def record(tmp_path):
    def fill(folder):
        (folder / "student.safetensors").write_text("weights")
        return {"key": "k", "kind": "student", "spec": {"seed": 0}, "metrics": {"test": {"accuracy": 0.5}}}

    return Records(tmp_path / "runs").write("k", fill)


def records(record):
    return Records(record.folder.parent)


def test_a_measurement_is_added_and_read(record):
    assert record.measurement("deployment.json") == {}
    records(record).add_measurements(record, {"deployment.json": OLD})
    assert record.measurement("deployment.json") == {"macs": 1}
    assert list(record.measurements) == ["deployment.json"]
    records(record).add_measurements(record, {"deployment.json": NEW})
    assert record.measurement("deployment.json") == {"macs": 2}
    assert records(record).get("k").result == record.result, "the record is what it was"


@pytest.mark.parametrize("step", [0, 1])
def test_a_measurement_that_breaks_off_is_not_half_there(record, monkeypatch, step):
    """Whether the disk is full while the file is written or when it is renamed: the old one is still there, whole."""
    records(record).add_measurements(record, {"deployment.json": OLD})

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == 0:
            patch.setattr("pathlib.Path.write_bytes", lambda path, data: path.touch() or full())
        else:
            patch.setattr(os, "replace", full)
        with pytest.raises(MmkdError, match=r"No space left on device; what was measured of unit k is not kept"):
            records(record).add_measurements(record, {"deployment.json": NEW})
    assert (record.folder / "deployment.json").read_bytes() == OLD
    assert record.measurement("deployment.json") == {"macs": 1}
    assert {path.name for path in record.folder.iterdir()} == {
        *("result.json", "student.safetensors", "deployment.json", CHECKSUMS),
    }


@pytest.mark.parametrize("content", [NEW, b'{"macs": ', b"", b"[1]"])
def test_a_changed_measurement_counts_as_not_measured(record, content):
    records(record).add_measurements(record, {"deployment.json": OLD, "robustness.json": OLD})
    (record.folder / "deployment.json").write_bytes(content)
    again = records(record).get("k")
    assert again is not None, "the record is not damaged"
    assert again.measurement("deployment.json") == {}
    assert list(again.measurements) == ["robustness.json"]


def test_one_without_a_checksum_is_read(record):
    """Older commands wrote none."""
    (record.folder / "deployment.json").write_bytes(OLD)
    assert record.measurement("deployment.json") == {"macs": 1}
    (record.folder / CHECKSUMS).write_text(json.dumps({"robustness.json": {"bytes": 1, "sha256": "0"}}))
    assert record.measurement("deployment.json") == {"macs": 1}


ADD = """
import json, sys
from mmkd.store.records import Records

records = Records(sys.argv[1])
for number in range(20):
    def extend(own):
        return json.dumps({**own, f"{sys.argv[2]}{number}": number}).encode()
    records.add_measurements(records.get("k"), {"deployment.json": extend})
"""


def test_what_two_processes_add_to_one_file_is_all_there(record):
    records(record).add_measurements(record, {"deployment.json": OLD})
    command = [sys.executable, "-c", ADD, str(record.folder.parent)]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    expected = {f"{name}{number}": number for name in ("a", "b") for number in range(20)}
    assert record.measurement("deployment.json") == {"macs": 1, **expected}
    assert list(record.measurements) == ["deployment.json"], "and has its checksum"
