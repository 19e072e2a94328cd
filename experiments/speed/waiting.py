"""Threads: as many as a step is worth beside all of them, and such that sleep while they wait beside such that spin."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pairs import Row, Times, pairs, seconds
from torch.nn import functional as F

from mmkd.nets import build_teacher
from mmkd.training.step_threads import StepThreads

THREADS = 2
STEPS = """
import os, sys, time
os.sched_setaffinity(0, {cores})
{first}
import torch
from torch import nn
torch.set_num_threads({threads})
torch.manual_seed(0)
net = nn.Sequential(*[nn.Sequential(nn.Conv2d(c, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
                      for c in (9, 16, 16, 16, 16)], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 6))
optimizer = torch.optim.AdamW(net.parameters())
x, y = torch.randn(64, 9, 32, 32), torch.randint(6, (64,))
def step():
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
for _ in range(3):
    step()
started, steps = time.perf_counter(), 0
while time.perf_counter() - started < 2 or steps < 5:
    step()
    steps += 1
print((time.perf_counter() - started) / steps)
"""
"""Prints the mean time of a training step on some threads, all on the same cores."""
BUSY = "import os\nos.sched_setaffinity(0, {cores})\nwhile True:\n    pass"


def step_seconds(first: str, cores: set[int], threads: int = THREADS) -> float:
    """The mean time of a step in a fresh interpreter.

    Args:
        first: code that runs before PyTorch is loaded.
        cores: the cores that it may use.
    """
    code = STEPS.format(first=first, cores=cores, threads=threads)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=variables)
    return float(done.stdout)


@contextmanager
def busy(processes: int, cores: set[int]) -> Iterator[None]:
    """Other work on these cores: processes that never wait."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY.format(cores=cores)]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def worth(rounds: int) -> Iterator[Row]:
    """A training step on as many threads as mmkd takes for it, and on all."""
    for name, shape in (("micro", (6, 128)), ("WRN16-1", (6, 100)), ("WRN16-3", (9, 256)), ("WRN16-1", (6, 64, 64))):
        torch.manual_seed(0)
        view = "sig" if len(shape) == 2 else "gaf"
        net, x, y = build_teacher(name, view, shape, 6), torch.randn(64, *shape), torch.arange(64) % 6

        def step(net=net, view=view, x=x, y=y) -> None:
            net.zero_grad(set_to_none=True)
            F.cross_entropy(net({view: x}).logits, y).backward()

        with StepThreads(torch.device("cpu")) as threads, threads.counting():
            step()

        def chosen(threads=threads, step=step) -> None:
            with threads:
                for _ in range(5):
                    step()

        def on_all(step=step) -> None:
            for _ in range(5):
                step()

        times = pairs(chosen, on_all, rounds, clock=seconds)
        size = " x ".join(map(str, shape))
        what = f"a training step of {name}, batch 64 x {size}, on {threads.used} of {threads.available} threads"
        yield Row(what, "on all threads", times.faster, 0.9)


def rows(rounds: int) -> Iterator[Row]:
    """Of the threads that a step is worth, and of waiting."""
    yield from worth(rounds)
    yield from waiting(rounds)


def waiting(rounds: int) -> Iterator[Row]:
    """Without other work, and beside one busy process on the same two cores; nothing where there are fewer cores."""
    cores = set(sorted(os.sched_getaffinity(0))[:THREADS])
    if len(cores) < THREADS:
        return
    for others in (0, 1):
        times, one = Times(), []
        with busy(others, cores):
            for round_ in range(rounds):
                for ours in (True, False) if round_ % 2 == 0 else (False, True):
                    (times.ours if ours else times.peers).append(step_seconds("import mmkd" * ours, cores))
                one.append(step_seconds("import mmkd", cores, threads=1))
        milliseconds = [1000 * sorted(part)[len(part) // 2] for part in (times.ours, times.peers, one)]
        beside = "beside a busy process" if others else "without other work of ours"
        yield Row(
            f"a training step on {THREADS} threads and as many cores, {beside}",
            "threads that spin, the default of OpenMP",
            times.faster,
            None,
            note="{:.0f} ms, spinning {:.0f} ms, on one thread {:.0f} ms".format(*milliseconds),
        )
