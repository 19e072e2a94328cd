"""The frame of an export, with targets of its own: files whole or not at all, what is kept, and bad input."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

import mmkd
from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.deploy import export, targets
from mmkd.deploy.job import Written
from mmkd.deploy.targets import TARGETS, Calibration, Target
from mmkd.deploy.windows import RecordWindows
from mmkd.export import main
from mmkd.store import records as records_module
from mmkd.store.records import Records
from mmkd.store.travelling import read_travelling, travelling, write_travelling


@dataclass(frozen=True)
class OwnOptions(Options):
    times: int = option(1, "how often", ge=1)


def write_text(job):
    for name in ("one.txt", "two.txt"):
        (job.folder / name).write_text(f"{job.record.key} {job.options.times}")
    return Written(["two texts"], {"times": job.options.times})


def write_one_and_fail(job):
    (job.folder / "one.txt").write_text("half")
    raise MmkdError("it cannot be written so")


@pytest.fixture
def own_targets(monkeypatch):
    own = {
        "text": Target("text", "texts", f"{__name__}:write_text", ("one.txt", "two.txt"), OwnOptions),
        "fails": Target("fails", "fails", f"{__name__}:write_one_and_fail", ("one.txt",)),
        "needs": Target("needs", "needs", f"{__name__}:write_text", ("one.txt",), packages=("no_such",), extra="own"),
    }
    functions = {target.function: globals()[target.function.rpartition(":")[2]] for target in own.values()}
    monkeypatch.setattr(targets, "import_function", functions.__getitem__)
    monkeypatch.setattr("mmkd.deploy.targets.TARGETS", own)
    monkeypatch.setattr("mmkd.cli.export.TARGETS", own)


@pytest.fixture(scope="module")
def record(sines, shared_cache, tmp_path_factory):
    runs = tmp_path_factory.mktemp("exports") / "runs"
    settings = {"student": "sig", "student_net": "tiny", "steps": 3, "peers": "none", "epoch_rule": "val-best"}
    return mmkd.run("student", data=sines, runs=runs, cache=shared_cache, **settings)


def refused(capsys, *arguments):
    """What a command says that ends with exit code 2: one line on stderr, nothing on stdout."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mmkd.export: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.usefixtures("own_targets")
def test_files_are_moved_to_their_place_and_the_record_keeps_what_was_measured(record, tmp_path, capsys):
    Records(record.folder.parent).add_measurements(record, {"deployment.json": b'{"macs": 3}'})
    out = tmp_path / "a" / "b"
    assert (
        main([record.key, "--runs", str(record.folder.parent), "--to", "text", "--times", "2", "--out", str(out)]) == 0
    )
    assert capsys.readouterr().out.splitlines() == ["two texts", f"files: {out / 'one.txt'}, {out / 'two.txt'}"]
    assert sorted(path.name for path in out.iterdir()) == ["one.txt", "two.txt"]
    assert (out / "two.txt").read_text() == f"{record.key} 2"
    assert record.measurement("deployment.json") == {"macs": 3, "exports": {"text": {"times": 2}}}
    (out / "one.txt").unlink()
    assert "two.txt is there already; --force" in refused(capsys, record.folder, "--to", "text", "--out", out)
    assert main([str(record.folder), "--to", "text", "--out", str(out), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == {"times": 1}
    assert (out / "two.txt").read_text() == f"{record.key} 1"
    exports = record.measurement("deployment.json")["exports"]
    assert exports == {"text": {"times": 1}}


@pytest.mark.usefixtures("own_targets")
def test_a_target_that_fails_leaves_nothing(record, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert "it cannot be written so" in refused(capsys, record.folder, "--to", "fails", "--out", out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir(parents=True)
    (out / "one.txt").write_text("mine")
    refused(capsys, record.folder, "--to", "fails", "--out", out, "--force")
    assert [path.read_text() for path in out.iterdir()] == ["mine"]


@pytest.mark.usefixtures("own_targets")
def test_bad_arguments(record, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert "name one RECORD" in refused(capsys, "--to", "text")
    assert "--to is missing; give one of text, fails" in refused(capsys, record.folder)
    assert "unknown target 'txet'; did you mean 'text'?" in refused(capsys, record.folder, "--to", "txet")
    assert "--times is an option of --to text, not of --to fails" in refused(
        capsys, record.folder, "--to", "fails", "--times", 2
    )
    assert "times = 0 must be >= 1" in refused(capsys, record.folder, "--to", "text", "--times", 0, *out)
    assert "unknown option --ouut; did you mean '--out'?" in refused(capsys, record.folder, "--ouut", "x")
    assert "--out '': it is empty" in refused(capsys, record.folder, "--to", "text", "--out", "")
    assert "install the extra mmkd[own], in a clone: python -m pip install -c constraints.txt -e '.[own]'" in refused(
        capsys, record.folder, "--to", "needs", *out
    )
    taken = tmp_path / "file"
    taken.write_text("")
    assert "is not a folder" in refused(capsys, record.folder, "--to", "text", "--out", taken / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("own_targets")
def test_bad_records(record, tmp_path, capsys):
    to = ("--to", "text", "--out", tmp_path / "out")
    assert "0123 is no record of a unit" in refused(capsys, "0123", "--runs", tmp_path, *to)
    travelled = travelling(record, {})
    with pytest.raises(MmkdError, match="without student.safetensors; run its unit again"):
        mmkd.export_student(travelled, "text", tmp_path / "out")
    copy = tmp_path / "runs" / record.key
    copy.mkdir(parents=True)
    for path in record.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = copy / "student.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "is damaged (student.safetensors has another checksum" in refused(capsys, copy, *to)
    weights.unlink()
    assert "student.safetensors is missing" in refused(capsys, copy, *to)
    weights.write_bytes(whole)
    assert main([str(copy), *map(str, to)]) == 0


@pytest.mark.usefixtures("own_targets")
def test_the_record_of_a_teacher_and_of_a_detector_are_refused(tiny, tmp_path, capsys):
    settings = {**tiny, "steps": 3, "epochs": None, "student": "sig", "teachers": "sig"}
    taught = mmkd.run("kd", runs=tmp_path / "runs", peers="none", **settings)
    (teacher,) = taught.teachers.values()
    text = refused(capsys, tmp_path / "runs" / teacher, "--to", "text", "--out", tmp_path / "out")
    assert "is the record of a teacher, not of a student" in text
    anomaly = replace(taught, result={**taught.result, "spec": {**taught.result["spec"], "task": "anomaly"}})
    with pytest.raises(MmkdError, match="it scores whole series"):
        mmkd.export_student(anomaly, "text", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_for_calibration_are_training_windows_drawn_by_their_seed(record, sines):
    windows = RecordWindows(record, sines)
    drawn = windows.for_calibration(20, 0)
    split = windows.split
    assert len(split.test) > 0
    assert len(split.validation) > 0
    assert set(drawn.facts["windows"]) <= set(split.train.tolist())
    assert not set(drawn.facts["windows"]) & {*split.test.tolist(), *split.validation.tolist()}
    assert len(set(drawn.facts["windows"])) == 20 == len(drawn.x)
    np.testing.assert_array_equal(drawn.x, windows.data.x[drawn.facts["windows"]])
    assert windows.for_calibration(20, 0).facts == drawn.facts
    assert windows.for_calibration(20, 1).facts["windows"] != drawn.facts["windows"]
    every = windows.for_calibration(None, 0)
    assert every.facts["windows"] == split.train.tolist()
    assert (every.facts["number"], every.facts["of"]) == (len(split.train), len(split.train))
    with pytest.raises(MmkdError, match=f"needs {len(split.train) + 1} training windows, and sines has"):
        windows.for_calibration(len(split.train) + 1, 0)
    with pytest.raises(MmkdError, match="must be >= 16"):
        Calibration(calibration_windows=15)


def test_windows_for_a_check(record, sines):
    windows = RecordWindows(record, sines)
    sample = windows.for_check(5)
    assert sample.text == "5 test windows of sines"
    rows = {window.tobytes() for window in windows.data.x[windows.split.test]}
    assert all(window.tobytes() in rows for window in sample.x)
    without = RecordWindows(record)
    made_up = without.for_check(500)
    assert "500 made-up windows (the data are not at hand" in made_up.text
    state = record.result["views"]["sig"]["state"]
    np.testing.assert_allclose(made_up.x.mean((0, 2)), state["mean"], atol=0.05)
    np.testing.assert_allclose(made_up.x.std((0, 2)), state["std"], rtol=0.3)
    np.testing.assert_array_equal(without.for_check(500).x, made_up.x)
    with pytest.raises(MmkdError, match="give --data FILE"):
        without.for_calibration(None, 0)


def test_other_data_than_those_of_the_record_are_refused(record, tmp_path, windows_file):
    other = windows_file(tmp_path / "sines.npz", seed=1)
    with pytest.raises(MmkdError, match="is not what the record was trained on"):
        RecordWindows(record, other)


def test_what_cannot_be_kept_is_said(record, tmp_path):
    gone = replace(record, folder=tmp_path / record.key)
    (line,) = export._keep(gone, TARGETS["onnx"], Written([], {"bytes": 1}))
    assert line.startswith("note: what was measured is not kept")
    assert export._keep(gone, TARGETS["onnx"], Written([])) == []


def test_two_exports_of_one_record_at_once_are_both_kept(record, monkeypatch):
    """Both have something to add before either has written."""
    together = threading.Barrier(2)
    write = records_module.write_atomically

    def slow(path, content):
        time.sleep(0.3)
        write(path, content)

    def keep(name):
        target = replace(TARGETS["onnx"], name=name)
        together.wait(60)
        return export._keep(record, target, Written([], {"bytes": len(name)}))

    monkeypatch.setattr(records_module, "write_atomically", slow)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(keep, ["first", "second"])) == [[], []]
    exports = record.measurement("deployment.json")["exports"]
    assert (exports["first"], exports["second"]) == ({"bytes": 5}, {"bytes": 6})


def test_a_line_of_a_record_gets_what_was_measured_of_its_files_later(record, tmp_path):
    path = tmp_path / "records.jsonl"
    own = {"macs": 3, "exports": {"text": {"times": 1}}}

    def with_measured(values):
        return travelling(replace(record, replaced={"deployment.json": values}), {})

    write_travelling(path, [with_measured({"macs": 3})])
    write_travelling(path, [with_measured({"macs": 4, "exports": own["exports"]})])
    read = read_travelling([path])[record.key].measurement("deployment.json")
    assert read == own
    assert write_travelling(path, [with_measured({"macs": 3, "exports": {"c": {"bytes": 1}}})]) == (1, 0)
    both = {"macs": 3, "exports": {"c": {"bytes": 1}, "text": {"times": 1}}}
    assert read_travelling([path])[record.key].measurement("deployment.json") == both


@pytest.mark.usefixtures("own_targets")
def test_the_folder_of_the_record_and_names_that_are_taken_are_refused(record, tmp_path, capsys):
    before = sorted(path.name for path in record.folder.iterdir())
    link = tmp_path / "link"
    link.symlink_to(record.folder)
    for out in (record.folder, record.folder / "device", link / "device"):
        said = refused(capsys, record.folder, "--to", "text", "--out", out, "--force")
        assert "it is in the folder of the record" in said
    assert sorted(path.name for path in record.folder.iterdir()) == before
    out = tmp_path / "out"
    (out / "two.txt").mkdir(parents=True)
    assert "two.txt is a folder there" in refused(capsys, record.folder, "--to", "text", "--out", out, "--force")
    assert [path.name for path in out.iterdir()] == ["two.txt"]
    (out / "two.txt").rmdir()
    (out / "two.txt").symlink_to(tmp_path / "nowhere")
    assert "two.txt is there already" in refused(capsys, record.folder, "--to", "text", "--out", out)
    assert [path.name for path in out.iterdir()] == ["two.txt"]


@pytest.mark.usefixtures("own_targets")
def test_files_that_another_export_wrote_in_the_meantime_stay(record, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"

    def slow(job):
        out.mkdir(exist_ok=True)
        (out / "two.txt").write_text("of the other one")
        return write_text(job)

    monkeypatch.setattr(targets, "import_function", lambda function: slow)
    assert "two.txt is there already" in refused(capsys, record.folder, "--to", "text", "--out", out)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("two.txt", "of the other one")]
    assert main([str(record.folder), "--to", "text", "--out", str(out), "--force"]) == 0
    assert (out / "two.txt").read_text() == f"{record.key} 1"
