"""A small suite, killed at random moments and started again, ends as if nothing had happened.

`make test-faults` kills it fifty times (MMKD_FAULTS sets another number); a few times are part of `make test-slow`.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

RARELY = 4
STAGES = ("views", "teachers", "outputs", "checkpoints", "records", "mlflow")


def suite(path, data):
    """Four units: two methods under two seeds, with the teachers of two modalities."""
    path.write_text(
        f'methods = ["student", "kd"]\ndata = "{data}"\nseeds = [0, 1]\nstudents = ["sig"]\nteachers = ["sig,gaf"]\n'
        'epochs = 6\nimage_size = 16\npeers = "none"\n'
    )
    return path


def start(toml, runs, *more):
    where = ["--suite", str(toml), "--runs", str(runs)]
    command = [sys.executable, "-m", "mmkd.bench", *where, "--quiet", "--json", *more]
    env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    )


def content(folder):
    """What of a record must be the same again: all but times and places."""
    header, *rows = (folder / "history.csv").read_text().splitlines()
    at = header.split(",").index("seconds")
    with np.load(folder / "predictions.npz", allow_pickle=False) as z:
        said = {name: z[name].tobytes() for name in sorted(z.files)}
    weights = next(folder.glob("*.safetensors")).read_bytes()
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    return said, weights, metrics, [",".join(v for i, v in enumerate(r.split(",")) if i != at) for r in rows]


def records(runs):
    return {path.parent.name: content(path.parent) for path in runs.glob("[!.]*/result.json")}


def in_store(runs):
    """Key -> statuses of its runs in the MLflow store."""
    query = (
        "select tags.value, runs.status from runs join tags on tags.run_uuid = runs.run_uuid "
        "where tags.key = 'mmkd.key' and runs.lifecycle_stage = 'active'"
    )
    found = {}
    with closing(sqlite3.connect(runs / "mlflow.db")) as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        for key, status in store.execute(query):
            found.setdefault(key, []).append(status)
    return found


def killed_suites(tmp_path, data, kills, jobs):
    """Kill until there were so many kills, starting over whenever a suite came to its end; check every end."""
    toml = suite(tmp_path / "suite.toml", data)
    started = time.monotonic()
    whole = start(toml, tmp_path / "whole")
    out, err = whole.communicate(timeout=600)
    assert whole.returncode == 0, err
    length, expected = time.monotonic() - started, records(tmp_path / "whole")
    asked = {unit["key"] for unit in json.loads(out)}
    assert len(asked) == 4
    assert len(expected) == 8  # with four teachers
    moments, done, ends, seen = random.Random(0), 0, 0, set()
    totals = {"lost": 0, "doubled": 0, "differing": 0}
    while done < kills:
        runs = tmp_path / f"runs{ends}"
        while True:
            process = start(toml, runs, *jobs)
            try:
                # start-up alone takes a third of the time; later moments are of more interest
                _, err = process.communicate(timeout=length * moments.uniform(0.2, 0.9) if done < kills else 600)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                done += 1
                seen |= {stage for stage in STAGES if (runs / "cache" / stage).is_dir()}
                seen |= {"records"} if list(runs.glob("[!.]*/result.json")) else set()
                seen |= {"mlflow"} if (runs / "mlflow.db").is_file() else set()
                continue
            assert process.returncode == 0, err
            break
        found, store = records(runs), in_store(runs)
        totals["lost"] += len(expected.keys() - found.keys()) + len(expected.keys() - store.keys())
        totals["doubled"] += len(found.keys() - expected.keys()) + sum(len(each) != 1 for each in store.values())
        totals["differing"] += sum(found[key] != expected[key] for key in expected.keys() & found.keys())
        assert {status for each in store.values() for status in each} == {"FINISHED"}
        assert not list((runs / "cache" / "checkpoints").glob("*"))
        ends += 1
    print(f"\n{done} kills, {ends} suites ended: units {totals}; there was already, at a kill: {sorted(seen)}")
    assert totals == {"lost": 0, "doubled": 0, "differing": 0}


@pytest.mark.faults
@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")], ids=["one process", "two jobs"])
def test_fifty_kills(tmp_path, sines, jobs):
    killed_suites(tmp_path, sines, int(os.environ.get("MMKD_FAULTS", "50")) // 2, jobs)


@pytest.mark.slow
def test_a_few_kills(tmp_path, sines):
    killed_suites(tmp_path, sines, RARELY, ())
