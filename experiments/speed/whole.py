"""A unit as a whole: its memory, what 16 times the windows take, and how it stands other work on the machine."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pairs import Row, Times
from startup import python
from waiting import busy

import mmkd
from mmkd.data import load_dataset

FEW, TIMES, SHAPE = 1_000, 16, (3, 128)
EPOCHS = 2
UNIT = """
import json, resource, sys, time
import torch
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # loads what every training with torch loads
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
import mmkd
from mmkd.core.memory import keep_freed_memory
keep_freed_memory()  # as the command does
settings = json.loads(sys.argv[1])
user, started = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
record = mmkd.run("kd", existing="rerun", peers=("none",), **settings)
print(json.dumps({
    "seconds": time.perf_counter() - started, "user": resource.getrusage(resource.RUSAGE_SELF).ru_utime - user,
    "mib": peak() - before, "parameters": record.result["parameters"],
}))
"""
"""Runs a unit, and prints its time, its processor time and its peak memory above that of torch with an optimizer."""


def unit(folder: str, **settings: object) -> dict[str, float]:
    """What `UNIT` prints of a unit whose views, teacher and its outputs are in the cache, from the second call on."""
    own = {"student": "sig", "teachers": "sig", "epochs": EPOCHS, "teacher_epochs": 1}
    places = {"runs": f"{folder}/runs", "cache": f"{folder}/cache"}
    found: dict[str, float] = json.loads(python("-c", UNIT, json.dumps(own | places | settings)).splitlines()[-1])
    return found


def memory(rounds: int) -> Iterator[Row]:
    """Peak memory of a unit; nothing where the data set is not here."""
    try:
        data = load_dataset("motionsense")
    except mmkd.MmkdError as error:
        print(f"left out: {error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        unit(folder, dataset="motionsense")
        found = unit(folder, dataset="motionsense")
    own = (data.x.nbytes + 4 * found["parameters"]) / 2**20
    yield Row(
        "peak memory of a kd unit on motionsense above its view, its network and torch with an optimizer",
        "300 MiB",
        [(found["mib"] - own) / 300],
        1.0,
        cost=True,
        note=f"{found['mib'] - own:.0f} MiB; the view {own:.0f} MiB",
    )


def made_up(path: Path, windows: int) -> None:
    """A file of windows of noise whose mean tells the class."""
    rng = np.random.default_rng(0)
    y = np.arange(windows) % 6
    x = rng.standard_normal((windows, *SHAPE), dtype=np.float32) + y[:, None, None].astype(np.float32) / 10
    np.savez(path, x=x, y=y, test=np.arange(windows) % 4 == 0)


def windows(rounds: int) -> Iterator[Row]:
    """16 times the windows beside one time."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few.npz"), Path(folder, "many.npz")
        made_up(few, FEW)
        made_up(many, FEW * TIMES)
        for path in (few, many):
            unit(folder, data=str(path))
        found = [(unit(folder, data=str(many)), unit(folder, data=str(few))) for _ in range(min(rounds, 2))]
    more = 4 * FEW * (TIMES - 1) * int(np.prod(SHAPE)) / 2**20  # of one copy of the windows
    what = f"a kd unit on {TIMES} times {FEW:,} windows of {SHAPE[0]} x {SHAPE[1]}, views and teacher in the cache"
    yield Row(f"{what}: processor time", "one time", [a["user"] / b["user"] for a, b in found], TIMES + 0.5, cost=True)
    gaps = [a["mib"] - b["mib"] for a, b in found]
    yield Row(
        f"{what}: memory that is added",
        "twice the bytes of the windows that are added: as data and as a view",
        [gap / (2 * more) for gap in gaps],
        1.0,
        cost=True,
        note=f"{np.median(gaps):.0f} MiB, the windows {more:.0f} MiB",
    )


def beside_others(rounds: int) -> Iterator[Row]:
    """A unit beside two processes that never wait, on the same two cores, and alone; nothing with fewer cores."""
    cores = set(sorted(os.sched_getaffinity(0))[:2])
    if len(cores) < 2:
        return
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "windows.npz")
        made_up(path, 4 * FEW)
        unit(folder, data=str(path))
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            for _ in range(min(rounds, 2)):
                times.peers.append(unit(folder, data=str(path))["seconds"])
                with busy(2, cores):
                    times.ours.append(unit(folder, data=str(path))["seconds"])
        finally:
            os.sched_setaffinity(0, before)
    yield Row("a kd unit beside two busy processes, on two cores", "the same alone", times.cost, 2.5, cost=True)


def rows(rounds: int) -> Iterator[Row]:
    """Of the memory, of many windows, and beside other work."""
    for part in (memory, windows, beside_others):
        yield from part(rounds)
