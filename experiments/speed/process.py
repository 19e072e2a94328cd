"""Whole processes: how much memory views take."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pairs import Row
from startup import python

WINDOWS, SHAPE, SIZE = 200_000, (3, 128), 32
MEASURE = """
import sys, threading
import numpy as np
from mmkd.core.memory import keep_freed_memory
from mmkd.core.progress import Progress
from mmkd.data import Dataset
from mmkd.data.splits import Split
from mmkd.specs.data import DataSpec
from mmkd.store.cache import Cache
from mmkd.views.cached import view_configs, get_view

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

name, path, folder, size = sys.argv[1:]
x = np.load(path, mmap_mode="r")
keep_freed_memory()  # as the command does
def data(x):
    n = len(x)
    return Dataset("made-up", x, np.zeros(n, np.int64), None, np.zeros(n, bool), ("a",), ("x",) * x.shape[1], None, "")
def make(x, folder):
    split = Split(np.arange(0, len(x), 2), np.arange(0), np.arange(0), "window")
    config = view_configs((name,), int(size))[name]
    get_view(name, config, data(x), DataSpec("made-up", ""), split, cache=Cache(folder), progress=Progress())
make(x[:64].copy(), folder + "/warm")
before, peak, done = anonymous(), 0.0, threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, anonymous())
thread = threading.Thread(target=watch)
thread.start()
make(x, folder)
done.set()
thread.join()
print(peak - before)
"""


def memory(rounds: int) -> Iterator[Row]:
    """Anonymous memory while views are made from a memory map into a memory map."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "windows.npy")
        x = np.lib.format.open_memmap(path, "w+", np.float32, (WINDOWS, *SHAPE))
        rng = np.random.default_rng(0)
        for start in range(0, WINDOWS, 10_000):
            x[start : start + 10_000] = rng.standard_normal((10_000, *SHAPE), dtype=np.float32)
        x.flush()
        del x
        for name in ("sig", "gaf", "pi"):
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                peak = float(python("-c", MEASURE, name, str(path), cache, str(SIZE)))
            yield Row(
                f"view {name} of {WINDOWS:,} windows of {SHAPE[0]} x {SHAPE[1]}, images of side {SIZE}: "
                f"peak memory above the memory maps",
                "256 MiB",
                [peak / 256],
                1.0,
                cost=True,
                note=f"{peak:.0f} MiB",
            )


def rows(rounds: int) -> Iterator[Row]:
    """Of the memory of views."""
    yield from memory(rounds)
