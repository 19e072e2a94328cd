"""Sweeps: what is skipped, done anew, tried again, and what a failure costs."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mmkd import MmkdError
from mmkd.core.errors import UnitFailed
from mmkd.engines.sweep import run_units
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.record import Record
from mmkd.store.records import Records
from mmkd.tasks import TASKS, Task
from mmkd.training.workspace import Workspace
from mmkd.units.result import as_json

UNIT = UnitSpec(
    data=DataSpec("gunpoint", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0},
    views={"sig": {}},
    teachers={"sig": "WRN16-1"},
    teacher_training=Training(),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(),
    task="fake",
)
UNITS = [(replace(UNIT, seed=seed), None) for seed in range(3)]


@dataclass
class Worker:
    """Writes a record a unit; `fails` maps a seed to what it raises."""

    records: Records
    fails: dict = field(default_factory=dict)
    worked: list = field(default_factory=list)

    def __call__(self, spec, data) -> Record:
        self.worked.append(spec.seed)
        if spec.seed in self.fails:
            raise self.fails[spec.seed]
        result = {
            "key": spec.key,
            "kind": "student",
            "spec": {},
            "metrics": {"test": {"macro_f1": 0.5}},
            "parameters": 7,
            "turn": len(self.worked),
        }
        return self.records.write(spec.key, lambda folder: result)


@dataclass(frozen=True)
class Fake(Task):
    """A task whose units are done by `work`."""

    work: Any = None

    def run_unit(self, spec, data, workspace):
        return self.work(spec, data)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "runs")


@pytest.fixture
def records(workspace):
    return workspace.records


@pytest.fixture
def do_units_by():
    """Gives units of the task "fake" to a function."""

    def register(work):
        TASKS.unregister("fake")
        TASKS.register("fake")(Fake("fake", "a window", "window", {}, (), (), (), work=work))

    yield register
    TASKS.unregister("fake")


@pytest.fixture
def worker(records, do_units_by):
    worker = Worker(records)
    do_units_by(worker)
    return worker


def statuses(done) -> list[str]:
    return [d.status for d in done]


def test_skip_does_each_unit_once(workspace, worker):
    first = run_units(UNITS, workspace)
    assert statuses(first) == ["done"] * 3
    again = run_units(UNITS, workspace)
    assert statuses(again) == ["cached"] * 3
    assert worker.worked == [0, 1, 2]
    assert [d.record for d in again] == [d.record for d in first]
    assert [d.spec for d in again] == [spec for spec, _ in UNITS]


def test_skip_does_what_is_missing(workspace, worker):
    run_units(UNITS[1:2], workspace)
    assert statuses(run_units(UNITS, workspace)) == ["done", "cached", "done"]
    assert worker.worked == [1, 0, 2]


def test_rerun_does_all_anew_and_replaces_the_records(workspace, records, worker):
    run_units(UNITS, workspace)
    again = run_units(UNITS, workspace, "rerun")
    assert statuses(again) == ["done"] * 3
    assert [d.record.result["turn"] for d in again] == [4, 5, 6]
    assert [records.get(spec.key).result["turn"] for spec, _ in UNITS] == [4, 5, 6]


def test_only_does_nothing_and_writes_nothing(workspace, records, worker):
    assert statuses(run_units(UNITS, workspace, "only")) == ["missing"] * 3
    assert not records.runs.exists()
    run_units(UNITS[:1], workspace)
    found = run_units(UNITS, workspace, "only")
    assert statuses(found) == ["cached", "missing", "missing"]
    assert found[0].record is not None
    assert found[1].record is None
    assert worker.worked == [0]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UnitFailed("loss is not finite in epoch 3"), "loss is not finite in epoch 3"),
        (RuntimeError("shapes\n  do not fit"), "RuntimeError: shapes do not fit"),
        (ZeroDivisionError(), "ZeroDivisionError: "),
        (MmkdError("needs a teacher"), "needs a teacher"),
        (SystemExit(3), "SystemExit: 3"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_a_failing_unit_stops_nobody_and_is_tried_again(workspace, records, worker, error, line):
    worker.fails[1] = error
    first = run_units(UNITS, workspace)
    assert statuses(first) == ["done", "failed", "done"]
    assert first[1].error == line
    assert first[1].record is None
    log = records.failure_path(UNITS[1][0].key)
    assert first[1].log == str(log)
    assert "Traceback" in log.read_text()
    assert type(error).__name__ in log.read_text()
    assert len(list(records)) == 2

    assert statuses(run_units(UNITS, workspace)) == ["cached", "failed", "cached"]
    worker.fails.clear()
    assert statuses(run_units(UNITS, workspace)) == ["cached", "done", "cached"]
    assert not log.exists()
    assert worker.worked == [0, 1, 2, 1, 1]


def test_a_failing_rerun_keeps_the_old_record(workspace, records, worker):
    run_units(UNITS, workspace)
    worker.fails[1] = UnitFailed("no")
    assert statuses(run_units(UNITS, workspace, "rerun")) == ["done", "failed", "done"]
    assert records.get(UNITS[1][0].key).result["turn"] == 2


def test_runs_that_cannot_be_written_stop_the_sweep(tmp_path, worker):
    (tmp_path / "file").write_text("")
    with pytest.raises(MmkdError, match="--runs"):
        run_units(UNITS, Workspace(tmp_path / "file"))
    assert worker.worked == []


def test_ctrl_c_stops_the_sweep_and_keeps_what_is_done(workspace, worker):
    worker.fails[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_units(UNITS, workspace)
    worker.fails.clear()
    assert statuses(run_units(UNITS, workspace)) == ["cached", "done", "done"]


def test_each_unit_is_told_as_it_ends(workspace, worker):
    told = []
    worker.fails[1] = UnitFailed("no")
    done = run_units(UNITS, workspace, on_result=lambda d: told.append((d.spec.seed, d.status, list(worker.worked))))
    assert told == [(0, "done", [0]), (1, "failed", [0, 1]), (2, "done", [0, 1, 2])]
    assert [d.status for d in done] == [status for _, status, _ in told]


def test_a_unit_done_by_another_process_meanwhile_is_taken(workspace, records, worker, monkeypatch):
    """Between the first look and the lock another process may have finished the unit."""
    spec = UNITS[0][0]
    lock = records.lock

    def slow(key):
        Worker(records)(spec, None)
        return lock(key)

    monkeypatch.setattr(records, "lock", slow)
    assert statuses(run_units(UNITS[:1], workspace)) == ["cached"]
    assert worker.worked == []


def test_the_unit_is_locked_while_it_is_worked_on(workspace, records, worker, do_units_by):
    import filelock

    held = []

    def work(spec, data):
        path = records.runs / ".locks" / f"{spec.key}.lock"
        try:
            filelock.FileLock(path, timeout=0).acquire()
        except filelock.Timeout:
            held.append(spec.seed)
        return worker(spec, data)

    do_units_by(work)
    run_units(UNITS, workspace)
    assert held == [0, 1, 2]


def test_as_json(workspace, records, worker):
    worker.fails[1] = UnitFailed("no")
    found = json.loads(json.dumps([as_json(done) for done in run_units(UNITS, workspace)]))
    spec = UNITS[0][0]
    assert found[0] == {
        "key": spec.key,
        "method": "kd",
        "dataset": "gunpoint",
        "seed": 0,
        "student": "sig",
        "teachers": {"sig": "WRN16-1"},
        "options": {"temperature": 4.0},
        "status": "done",
        "metrics": {"test": {"macro_f1": 0.5}},
        "parameters": 7,
        "paths": {
            "record": str(records.runs / spec.key),
            "student": str(records.runs / spec.key / "student.safetensors"),
        },
    }
    assert found[1]["status"] == "failed"
    assert found[1]["error"] == "no"
    assert found[1]["log"].endswith(f"{UNITS[1][0].key}.log")
    assert "metrics" not in found[1]
    (missing,) = run_units([(replace(UNIT, seed=9), None)], workspace, "only")
    assert as_json(missing)["status"] == "missing"
