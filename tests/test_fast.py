"""`pytest --fast`: what trains or starts another Python is skipped, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent

LONG_AND_SHORT = """
import multiprocessing, subprocess, sys
import pytest, torch, mmkd

def steps(count):
    p = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.ones(1)
    optimizer = torch.optim.SGD([p], 0.1)
    for _ in range(count):
        optimizer.step()

@pytest.fixture(scope="module")
def record(tiny, tmp_path_factory):
    return mmkd.run("student", student="sig", runs=tmp_path_factory.mktemp("runs"), **tiny)

def test_long_of_its_own(tiny, tmp_path):
    with pytest.raises(Exception):
        mmkd.run("student", student="sig", runs=tmp_path, **tiny)

def test_long_by_its_fixture(record):
    raise AssertionError

def test_long_by_its_fixture_too(record):
    raise AssertionError

def test_long_steps():
    steps(5)
    raise AssertionError

def test_long_python():
    subprocess.run([sys.executable, "-c", "print()"])
    raise AssertionError

def test_long_worker():
    multiprocessing.get_context("spawn").Process(target=print).start()
    raise AssertionError

def test_short_steps():
    steps(4)

def test_short_program():
    assert subprocess.run(["true"]).returncode == 0

def test_short_refusal(tiny, tmp_path):
    with pytest.raises(mmkd.MmkdError):
        mmkd.run("studen", runs=tmp_path, **tiny)
"""


def test_what_takes_long_is_skipped(tmp_path):
    path = tmp_path / "test_some.py"
    path.write_text(LONG_AND_SHORT)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--fast", "-rs", str(path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        env.pop(name, None)
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 6 skipped" in done.stdout
