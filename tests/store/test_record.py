"""Records: written whole or not at all, read back as they were."""

import csv
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.core.errors import DamageWarning
from mmkd.evaluation import deployment
from mmkd.store import records as store_records
from mmkd.store.environment import environment, git_state, processor
from mmkd.store.record import Record, write_history
from mmkd.store.records import Records

ROOT = Path(__file__).parents[2]


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "runs")


def content(value=1, key="k"):
    """A `fill` that writes one more file."""

    def fill(folder):
        (folder / "student.safetensors").write_text(str(value))
        return {"key": key, "kind": "student", "spec": {"seed": value}, "metrics": {"test": {"accuracy": value}}}

    return fill


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize(("rate", "kept"), [(None, False), (50.0, True)])
def test_an_older_boundary_score_of_150_steps_is_left_out(tmp_path, rate, kept):
    scores = {"boundary_f1": 0.97, "accuracy": 0.5}
    old = Record(tmp_path, {"metrics": {"test": scores, "test_last": scores}, "data": {"rate_hz": rate}})
    expected = scores if kept else {"accuracy": 0.5}
    assert old.metrics == {"test": expected, "test_last": expected}


def test_round_trip(records):
    assert records.get("k") is None
    assert list(records) == []
    written = records.write("k", content(0.5))
    read = records.get("k")
    assert read == written
    assert (read.key, read.kind, read.result["spec"], read.metrics) == (
        "k",
        "student",
        {"seed": 0.5},
        {"test": {"accuracy": 0.5}},
    )
    assert read.folder == records.runs / "k"
    assert names(read.folder) == {"result.json", "student.safetensors"}
    assert names(records.runs) == {"k"}


def test_replaced_whole(records):
    def first(folder):
        (folder / "only-in-the-first").touch()
        return content(1)(folder)

    records.write("k", first)
    records.write("k", content(2))
    assert records.get("k").result["spec"] == {"seed": 2}
    assert names(records.runs / "k") == {"result.json", "student.safetensors"}
    assert names(records.runs) == {"k"}


def test_read_once_as_long_as_its_files_do_not_change(records, monkeypatch):
    read = []
    monkeypatch.setattr(store_records, "_check", lambda result, key: read.append(result["spec"]["seed"]))
    records.write("k", content(1))
    read.clear()
    again = Records(records.runs)
    first = again.get("k")
    assert again.get("k") is first
    assert [record.key for record in again] == ["k"]
    assert read == [1]
    records.write("k", content(2))
    assert again.get("k").result["spec"] == {"seed": 2}


def test_damage_after_the_first_reading_is_noticed(records):
    records.write("k", content(1))
    assert records.get("k") is not None
    weights = records.runs / "k" / "student.safetensors"
    text = weights.read_bytes()
    weights.write_bytes(bytes(byte ^ 1 for byte in text))
    assert "another checksum" in records.describe_damage("k")
    weights.write_bytes(text)
    assert records.describe_damage("k") == ""
    result = records.runs / "k" / "result.json"
    result.write_text(result.read_text().replace('"seed": 1', '"seed": 2'))
    assert "it was changed after it was written" in records.describe_damage("k")
    shutil.rmtree(records.runs / "k")
    assert (records.get("k"), records.describe_damage("k")) == (None, "")


def test_kept_records_are_limited(records, monkeypatch):
    monkeypatch.setattr(store_records, "KEPT_RECORDS", 2)
    for key in "abc":
        records.write(key, content(1, key))
    assert [record.key for record in records] == ["a", "b", "c"]
    assert list(records._kept) == ["b", "c"]


def interrupted(folder):
    (folder / "student.safetensors").write_text("half")
    raise KeyboardInterrupt


def fails(folder):
    (folder / "student.safetensors").write_text("half")
    raise ValueError("broke off")


def without_json(folder):
    return {"key": "k", "metrics": {"accuracy": float("nan")}}


@pytest.mark.parametrize(
    ("fill", "error"), [(interrupted, KeyboardInterrupt), (fails, ValueError), (without_json, MmkdError)]
)
def test_a_write_that_fails_leaves_nothing_and_the_old_record(records, fill, error):
    with pytest.raises(error):
        records.write("k", fill)
    assert names(records.runs) == set()
    assert records.get("k") is None
    old = records.write("k", content(1))
    with pytest.raises(error):
        records.write("k", fill)
    assert records.get("k") == old
    assert (old.folder / "student.safetensors").read_text() == "1"
    assert names(records.runs) == {"k"}


def test_full_disk_is_one_line_and_keeps_the_old_record(records):
    old = records.write("k", content(1))

    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(MmkdError, match=r"--runs .*: No space left on device; nothing of unit k is kept"):
        records.write("k", full)
    assert records.get("k") == old
    assert names(records.runs) == {"k"}


def test_runs_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    records = Records(tmp_path / "file")
    with pytest.raises(MmkdError, match=r"--runs .*file: .*nothing of unit k is kept"):
        records.write("k", content())
    with pytest.raises(MmkdError, match=r"--runs .*file: .*name a folder that can be written"), records.lock("k"):
        pass
    with pytest.raises(MmkdError, match=r"--runs .*file: .*the log of unit k is lost"):
        records.write_failure("k", "log")
    assert records.get("k") is None
    assert list(records) == []


OTHER = '{"key": "another", "kind": "student", "spec": {}, "metrics": {}}'


@pytest.mark.parametrize("text", ["", "{", '{"key": "k"', "[]", "null", "3", "\0\0\0\0", "{}", OTHER])
def test_damaged_record(records, text):
    folder = records.write("k", content()).folder
    (folder / "result.json").write_text(text)
    with pytest.warns(DamageWarning, match=r"record .*k is damaged \(result\.json: .* does not count"):
        assert records.get("k") is None
    assert "result.json" in records.describe_damage("k")


def test_record_of_another_unit(records):
    """A folder that somebody copied: its content is whole, and it is not that of this unit."""
    shutil.copytree(records.write("k", content()).folder, records.runs / "other")
    with pytest.warns(DamageWarning, match="it is of unit 'k'"):
        assert records.get("other") is None
    with pytest.warns(DamageWarning, match="it is of unit 'k'"):
        assert [record.key for record in records] == ["k"]


def test_record_that_is_no_text(records):
    folder = records.write("k", content()).folder
    (folder / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(DamageWarning, match="result.json: .*decode"):
        assert records.get("k") is None


def test_record_whose_numbers_were_changed(records):
    path = records.write("k", content(0.25)).folder / "result.json"
    path.write_text(path.read_text().replace('"accuracy": 0.25', '"accuracy": 0.75'))
    with pytest.warns(DamageWarning, match="it was changed after it was written"):
        assert records.get("k") is None
    result = json.loads(path.read_text())
    del result["sha256"]
    path.write_text(json.dumps(result))
    with pytest.warns(DamageWarning, match="it lacks sha256"):
        assert records.get("k") is None


def test_one_damaged_record_stops_no_other(records):
    for key in ("a", "b", "c"):
        records.write(key, content(1, key))
    (records.runs / "b" / "student.safetensors").unlink()
    with pytest.warns(DamageWarning, match=r"record .*b is damaged \(student.safetensors is missing\)") as found:
        assert [record.key for record in records] == ["a", "c"]
    assert len(found) == 1
    assert (records.describe_damage("a"), records.describe_damage("nothing")) == ("", "")


def test_damaged_record_is_set_aside_when_its_successor_is_whole(records):
    folder = records.write("k", content(1)).folder
    (folder / "student.safetensors").write_text("22")
    with pytest.raises(ValueError, match="broke off"):
        records.write("k", fails)
    assert (folder / "student.safetensors").read_text() == "22"
    records.write("k", content(3))
    assert (folder / "student.safetensors").read_text() == "3"
    assert (records.runs / ".damaged" / "k-1" / "student.safetensors").read_text() == "22"
    assert records.get("k").file("student.safetensors") == folder / "student.safetensors"
    assert [record.key for record in records] == ["k"]


def test_what_json_makes_of_a_result_is_what_is_hashed(records):
    result = {"key": "k", "kind": "student", "spec": {"a": (1, 2)}, "metrics": {}, "of": {3: 1e-17, 20: None}}
    assert records.write("k", lambda folder: result).result["of"] == {"3": 1e-17, "20": None}


def test_folder_without_result_is_no_record(records):
    (records.runs / "k").mkdir(parents=True)
    assert records.get("k") is None


def test_iteration_gives_the_finished_records_in_order(records):
    for key in ("c", "a", "b"):
        records.write(key, content(1, key))
    for other in (".making-x", ".replaced-x", "cache/teachers/t", "failed/f", ".locks/l"):
        folder = records.runs / other
        folder.mkdir(parents=True)
        (folder / "result.json").write_text('{"key": "no record"}')
    (records.runs / "mlflow.db").touch()
    (records.runs / "empty").mkdir()
    assert [record.key for record in records] == ["a", "b", "c"]


def test_records_can_be_read_by_whom_the_user_lets(records):
    record = records.write("k", content())
    assert record.folder.stat().st_mode == records.runs.stat().st_mode


def test_failure_log_stays_until_the_unit_succeeds(records):
    path = records.write_failure("k", "Traceback é")
    assert path == records.failure_path("k")
    assert path.read_text(encoding="utf-8") == "Traceback é"
    assert records.get("k") is None
    assert list(records) == []
    records.write_failure("other", "stays")
    with pytest.raises(ValueError, match="broke off"):
        records.write("k", fails)
    assert path.exists()
    records.write("k", content())
    assert not path.exists()
    assert records.failure_path("other").exists()


def test_history_round_trip(tmp_path):
    history = [
        {"epoch": 1, "loss": 0.1 + 0.2, "loss/ce": 1e-17},
        {"epoch": 2, "loss": 1 / 3, "loss/ce": 2.5, "val_macro_f1": 0.5},
    ]
    write_history(tmp_path / "history.csv", history)
    text = (tmp_path / "history.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "epoch,loss,loss/ce,val_macro_f1"
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as stream:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    assert rows == history  # every digit


def test_lock_lets_the_second_wait(records):
    order = []
    holds = threading.Event()

    def first():
        with records.lock("k"):
            holds.set()
            time.sleep(0.15)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert holds.wait(10)
    with records.lock("other"):
        order.append("another key")
    with records.lock("k"):
        order.append("second")
    thread.join()
    assert order == ["another key", "first", "second"]


def test_lock_is_let_go_when_the_work_fails(records, monkeypatch):
    made = []  # kept alive: a lock that is thrown away lets go by itself
    make = filelock.FileLock
    monkeypatch.setattr(filelock, "FileLock", lambda path: made.append(make(path)) or made[-1])
    with pytest.raises(ValueError, match="broke off"), records.lock("k"):
        raise ValueError("broke off" if made[0].is_locked else "not even locked")
    assert not made[0].is_locked


def test_lock_of_a_killed_process_is_free(records):
    code = (
        "import os, sys\nfrom mmkd.store.records import Records\n"
        "lock = Records(sys.argv[1]).lock('k')\nlock.__enter__()\nos._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(records.runs)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 9
    with records.lock("k"):
        pass


def test_environment_is_json_and_says_what_matters():
    found = environment("cpu", 2)
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert found["threads"] == 2
    assert {"torch", "numpy"} <= set(found["versions"])
    assert found["created"].endswith("Z")


def test_the_processor_is_that_of_the_measurements_of_costs():
    assert environment("cpu", 1)["processor"] == deployment.conditions()["processor"] == processor()


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model\t\t: 1\nmodel name\t: Some CPU 3000\nflags: fpu\nmodel name\t: Some CPU 3000\n", "Some CPU 3000"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", "arm"),
        (None, "arm"),
    ],
)
def test_the_processor_is_its_model_where_the_system_tells_it(monkeypatch, cpuinfo, name):
    def opened(path, **_):
        assert path == "/proc/cpuinfo"
        if cpuinfo is None:
            raise FileNotFoundError
        return io.StringIO(cpuinfo)

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert processor.__wrapped__() == name


def test_git_state_is_a_commit_or_nothing():
    state = git_state()
    if state:
        assert len(state["commit"]) == 40
        assert isinstance(state["dirty"], bool)
    else:
        assert not (ROOT / ".git").exists() or not any(
            (Path(folder) / "git").exists() for folder in os.environ["PATH"].split(os.pathsep)
        )


def test_a_record_that_is_replaced_while_it_is_read_is_not_damaged(records, monkeypatch, recwarn):
    """Two commands with --existing rerun: one looks at the files while the other puts others in their place."""
    records.write("k", content(0.25))
    real = store_records.find_damage

    def replaced_meanwhile(folder, files, hashed):
        monkeypatch.setattr(store_records, "find_damage", real)
        Records(records.runs).write("k", content(0.75))
        return real(folder, files, hashed)

    monkeypatch.setattr(store_records, "find_damage", replaced_meanwhile)
    assert records.get("k").result["spec"] == {"seed": 0.75}
    assert not recwarn.list


def test_a_record_whose_folder_is_away_for_a_moment_is_read_again(records, monkeypatch, recwarn):
    record = records.write("k", content())
    away = record.folder.with_name(".replaced")
    real = store_records.find_damage

    def in_between(folder, files, hashed):
        monkeypatch.setattr(store_records, "find_damage", real)
        os.replace(folder, away)
        return real(folder, files, hashed)

    monkeypatch.setattr(store_records, "find_damage", in_between)
    monkeypatch.setattr(store_records.time, "sleep", lambda _: os.replace(away, record.folder))
    assert records.get("k") == record
    assert not recwarn.list


def test_a_file_of_a_replaced_record_is_not_called_damaged(records):
    old = records.write("k", content(0.25))
    records.write("k", content(0.75))
    with pytest.raises(MmkdError, match="was replaced or removed after it was read"):
        old.file("student.safetensors")
    shutil.rmtree(old.folder)
    with pytest.raises(MmkdError, match="was replaced or removed after it was read"):
        old.file("student.safetensors")


WRONG = {
    "views": ([1], "x", {"sig": 1}),
    "metrics": ([1], "x", {"test": 1}, {"test": {"accuracy": "0.5"}}, None),
    "spec": ([1], "x", None, {"student_net": 5}, {"data": {"rate": "x"}}, {"student": ["sig", 1]}, {"teachers": "x"}),
    "data": ([1], "x", {"classes": "ab"}, {"windows": {"test": "x"}}, {"split": 1}),
    "parameters": ("7", [], {}, True, 10**400),
    "seconds": ("7", [], {}),
    "environment": ([1], "x", {"git": "x"}, {"versions": {"torch": 2}}, {"device": 1}),
    "teachers": ([1], "x", {"sig": 1}),
    "training_fit": ([1], {"best": 1}),
    "files": ([1], "x", {"student.safetensors": 1}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_signed_record_of_another_form_is_damaged(records, name):
    """The checksum is right, and yet nobody wrote this as a record."""
    path = records.write("k", content()).folder / "result.json"
    result = json.loads(path.read_text())
    for value in WRONG[name]:
        changed = {**result, name: value}
        path.write_text(json.dumps({**changed, "sha256": store_records._content_hash(changed)}))
        with pytest.warns(DamageWarning, match=r"record .*k is damaged \(result\.json: its .* is no .* does not count"):
            assert Records(records.runs).get("k") is None


RIGHT = {
    "teacher_weights": ("sig=0.7000,gaf=0.3000", None),  # of --teacher-weights search
    "teacher_checkpoint": ("best", None),
    "fold_teachers": ({"sig": ["1a", "2b"]}, {}),
    "best_epoch": (0, 3),
    "notes": ([], ["minirocket: fitted on 5 of 6 windows"]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_a_run_writes_has_the_form_of_a_record(records, name):
    for value in RIGHT[name]:
        records.write("k", lambda folder, value=value: {**content()(folder), name: value})
        assert Records(records.runs).get("k").result[name] == value


def test_what_is_no_record_is_not_written(records):
    def fill(folder):
        return {**content()(folder), "metrics": {"test": {"accuracy": "good"}}}

    with pytest.raises(MmkdError, match="the record of unit k is none: its metrics is no object of objects of num"):
        records.write("k", fill)
    assert not list(records.runs.iterdir())


@pytest.mark.parametrize("value", [float("nan"), np.float32(0.5)])
def test_a_score_that_is_no_number_of_json_is_named(records, value):
    with pytest.raises(
        MmkdError, match=r"the record of unit k is none: metrics\.test\.rmse = .* cannot be kept in a rec"
    ):
        records.write("k", lambda folder: {**content()(folder), "metrics": {"test": {"rmse": value}}})
