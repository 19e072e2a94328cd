"""How threads wait, and how many there are: set before PyTorch is loaded, and never against the user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmkd.core.threads import count_cores, count_threads, cpu_quota, wait_passively, waiting_variables

ROOT = Path(__file__).parents[2]


def openmp_settings(code, **variables):
    """What OpenMP says of itself when it is loaded."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stderr


@pytest.mark.parametrize("door", ["mmkd", "mmkd.bench", "mmkd.engines.worker", "mmkd.data.__main__"])
def test_threads_sleep_while_they_wait(door):
    said = openmp_settings(f"import {door}, sys\nassert 'torch' not in sys.modules\nimport torch")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said


def test_the_users_own_value_is_kept():
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in openmp_settings("import mmkd, torch", OMP_WAIT_POLICY="active")
    said = openmp_settings("import mmkd, torch", GOMP_SPINCOUNT="1234")
    assert "GOMP_SPINCOUNT = '1234'" in said


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_each_variable_of_the_user_counts(name):
    variables = {name: "7"}
    wait_passively(variables)
    assert variables == {name: "7"}
    none = {"PATH": "/bin"}
    wait_passively(none)
    assert none == {"PATH": "/bin", "OMP_WAIT_POLICY": "PASSIVE"}


def test_processes_elsewhere_wait_as_this_one(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert waiting_variables() == {"GOMP_SPINCOUNT": "5"}


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [count_threads(share) for share in (8, 2.7, 0.3)] == [8, 2, 1]
    for limit, counts in (("2", [2, 1]), ("0", [8, 1]), ("many", [8, 1]), ("3,1", [3, 1])):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert [count_threads(share) for share in (8, 1.0)] == counts


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "0\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == cores


def test_a_quota_limits_the_cores_that_count(monkeypatch):
    monkeypatch.setattr("mmkd.core.threads.os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr("mmkd.core.threads.cpu_quota", lambda: 2)
    assert count_cores() == 2
    monkeypatch.setattr("mmkd.core.threads.cpu_quota", lambda: 100)
    assert count_cores() == 64
    monkeypatch.setattr("mmkd.core.threads.cpu_quota", lambda: None)
    assert count_cores() == 64
