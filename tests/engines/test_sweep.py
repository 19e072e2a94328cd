"""Sweeps: what is skipped, done anew, tried again, and what a failure costs."""

import json
from dataclasses import dataclass, field, replace

import pytest

from mmkd import MmkdError
from mmkd.core.errors import UnitFailed
from mmkd.engines.sweep import run_units
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.record import Record, Records
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


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "runs")


@pytest.fixture
def worker(records):
    return Worker(records)


def statuses(done) -> list[str]:
    return [d.status for d in done]


def test_skip_does_each_unit_once(records, worker):
    first = run_units(UNITS, records, worker)
    assert statuses(first) == ["done"] * 3
    again = run_units(UNITS, records, worker)
    assert statuses(again) == ["cached"] * 3
    assert worker.worked == [0, 1, 2]
    assert [d.record for d in again] == [d.record for d in first]
    assert [d.spec for d in again] == [spec for spec, _ in UNITS]


def test_skip_does_what_is_missing(records, worker):
    run_units(UNITS[1:2], records, worker)
    assert statuses(run_units(UNITS, records, worker)) == ["done", "cached", "done"]
    assert worker.worked == [1, 0, 2]


def test_rerun_does_all_anew_and_replaces_the_records(records, worker):
    run_units(UNITS, records, worker)
    again = run_units(UNITS, records, worker, "rerun")
    assert statuses(again) == ["done"] * 3
    assert [d.record.result["turn"] for d in again] == [4, 5, 6]
    assert [records.get(spec.key).result["turn"] for spec, _ in UNITS] == [4, 5, 6]


def test_only_does_nothing_and_writes_nothing(records, worker):
    assert statuses(run_units(UNITS, records, worker, "only")) == ["missing"] * 3
    assert not records.runs.exists()
    run_units(UNITS[:1], records, worker)
    found = run_units(UNITS, records, worker, "only")
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
def test_a_failing_unit_stops_nobody_and_is_tried_again(records, worker, error, line):
    worker.fails[1] = error
    first = run_units(UNITS, records, worker)
    assert statuses(first) == ["done", "failed", "done"]
    assert first[1].error == line
    assert first[1].record is None
    log = records.failure_path(UNITS[1][0].key)
    assert first[1].log == str(log)
    assert "Traceback" in log.read_text()
    assert type(error).__name__ in log.read_text()
    assert len(list(records)) == 2

    assert statuses(run_units(UNITS, records, worker)) == ["cached", "failed", "cached"]
    worker.fails.clear()
    assert statuses(run_units(UNITS, records, worker)) == ["cached", "done", "cached"]
    assert not log.exists()
    assert worker.worked == [0, 1, 2, 1, 1]


def test_a_failing_rerun_keeps_the_old_record(records, worker):
    run_units(UNITS, records, worker)
    worker.fails[1] = UnitFailed("no")
    assert statuses(run_units(UNITS, records, worker, "rerun")) == ["done", "failed", "done"]
    assert records.get(UNITS[1][0].key).result["turn"] == 2


def test_runs_that_cannot_be_written_stop_the_sweep(tmp_path, worker):
    (tmp_path / "file").write_text("")
    with pytest.raises(MmkdError, match="--runs"):
        run_units(UNITS, Records(tmp_path / "file"), worker)
    assert worker.worked == []


def test_ctrl_c_stops_the_sweep_and_keeps_what_is_done(records, worker):
    worker.fails[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_units(UNITS, records, worker)
    worker.fails.clear()
    assert statuses(run_units(UNITS, records, worker)) == ["cached", "done", "done"]


def test_each_unit_is_told_as_it_ends(records, worker):
    told = []
    worker.fails[1] = UnitFailed("no")
    done = run_units(UNITS, records, worker, tell=lambda d: told.append((d.spec.seed, d.status, list(worker.worked))))
    assert told == [(0, "done", [0]), (1, "failed", [0, 1]), (2, "done", [0, 1, 2])]
    assert [d.status for d in done] == [status for _, status, _ in told]


def test_a_unit_done_by_another_process_meanwhile_is_taken(records, worker, monkeypatch):
    """Between the first look and the lock another process may have finished the unit."""
    spec = UNITS[0][0]
    lock = records.lock

    def slow(key):
        Worker(records)(spec, None)
        return lock(key)

    monkeypatch.setattr(records, "lock", slow)
    assert statuses(run_units(UNITS[:1], records, worker)) == ["cached"]
    assert worker.worked == []


def test_the_unit_is_locked_while_it_is_worked_on(records, worker):
    import filelock

    held = []

    def work(spec, data):
        path = records.runs / ".locks" / f"{spec.key}.lock"
        try:
            filelock.FileLock(path, timeout=0).acquire()
        except filelock.Timeout:
            held.append(spec.seed)
        return worker(spec, data)

    run_units(UNITS, records, work)
    assert held == [0, 1, 2]


def test_as_json(records, worker):
    worker.fails[1] = UnitFailed("no")
    found = json.loads(json.dumps([as_json(done) for done in run_units(UNITS, records, worker)]))
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
    (missing,) = run_units([(replace(UNIT, seed=9), None)], records, worker, "only")
    assert as_json(missing)["status"] == "missing"
