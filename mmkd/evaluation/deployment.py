"""The cost of a deployed student for one window: multiply-accumulates, latency, and bytes on disk."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.nets.cost import count_macs
from mmkd.store.environment import processor
from mmkd.training.step_threads import on_threads
from mmkd.training.student_model import StudentModel
from mmkd.units.costs import is_steady

ATTEMPTS = 3
"""How often a latency is measured that is unsteady, as on a busy machine."""
REPEATS = 100
WARM_UP = 10
HOW = (
    f"float32 on one CPU thread, batch 1, inference mode: median and 95th percentile of {REPEATS} windows after "
    f"{WARM_UP} to warm up; latency = views + network. MACs of the network: half the floating-point operations of its "
    "convolutions, matrix products and Fourier transforms (5 n log2 n of n points, half of it where they are real); "
    "element-wise work, and that of the views, is not counted"
)


def measure_deployment(student: StudentModel, windows: NDArray[np.float32]) -> dict[str, Any]:
    """Measure the cost of a student on this machine, except for its size.

    Args:
        windows: (n, C, W); each repetition takes the next one.

    Returns:
        `macs` of the network; `latency_ms` and `latency_p95_ms`, the median and 95th percentile of the time from raw
        window to logits; `network_ms` and `views_ms` {modality: ms}, medians of its parts; and how they were measured,
        see `conditions`.
    """
    images = windows[:1].reshape(1, student.channels, *student.positions)  # of signals, `positions` is (W,)
    return {
        "macs": count_macs(student.network, student.views(images)),
        **steadiest_latency(student, windows),
        **conditions(),
    }


def conditions() -> dict[str, Any]:
    """How and where costs are measured: `threads`, `repeats`, `how`, `processor`, `torch`."""
    return {
        "threads": 1,
        "repeats": REPEATS,
        "how": HOW,
        "processor": processor(),
        "torch": str(torch.__version__),
    }


def steadiest_latency(student: StudentModel, windows: NDArray[np.float32]) -> dict[str, Any]:
    """The first of `ATTEMPTS` latencies that is steady; if none is, that with the lowest 95th percentile."""
    attempts = []
    for _ in range(ATTEMPTS):
        attempts.append(latency(student, windows))
        if is_steady(attempts[-1]):
            return attempts[-1]
    return min(attempts, key=lambda times: float(times["latency_p95_ms"]))


def latency(student: StudentModel, windows: NDArray[np.float32]) -> dict[str, Any]:
    """Times in ms of single windows on one thread; the keys are explained in `measure_deployment`."""
    names = list(student.modalities)
    student.eval()
    times = []
    with single_thread(), torch.inference_mode():
        for number in range(WARM_UP + REPEATS):
            window = np.ascontiguousarray(windows[number % len(windows)][None])
            marks = [time.perf_counter()]
            views = {}
            for name in names:
                views[name] = torch.from_numpy(student.modalities[name].transform(window))
                marks.append(time.perf_counter())
            student.network(views)
            marks.append(time.perf_counter())
            times.append([*np.diff(marks), marks[-1] - marks[0]])
    milliseconds = 1000 * np.array(times[WARM_UP:])
    *view_times, network_time, total = np.median(milliseconds, axis=0).tolist()
    return {
        "latency_ms": total,
        "latency_p95_ms": float(np.percentile(milliseconds[:, -1], 95)),
        "network_ms": network_time,
        "views_ms": dict(zip(names, view_times, strict=True)),
    }


@contextmanager
def single_thread() -> Iterator[None]:
    """PyTorch on one thread, and no garbage collection."""
    gc_enabled = gc.isenabled()
    gc.disable()
    try:
        with on_threads(1):
            yield
    finally:
        if gc_enabled:
            gc.enable()
