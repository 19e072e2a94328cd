"""Run a file in ONNX Runtime, on one thread of the CPU."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 64
REPEATS = 200
WARM_UP = 10
"""Windows of a latency, and those before that do not count."""
Arrays = Mapping[str, NDArray[Any]]


def open_session(path: Path) -> Any:
    """A session of ONNX Runtime on one thread; its warnings are not printed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_in_batches(session: Any, inputs: Arrays, batch: int = BATCH) -> NDArray[np.float32]:
    """The first output for all rows of the inputs."""
    count = len(next(iter(inputs.values())))
    parts = [
        session.run(None, {name: values[start : start + batch] for name, values in inputs.items()})[0]
        for start in range(0, count, batch)
    ]
    return np.concatenate(parts)


def latencies(sessions: Mapping[str, Any], inputs: Arrays) -> dict[str, float]:
    """Times in ms of single windows, median and 95th percentile of `REPEATS`, of several sessions in turn.

    Args:
        sessions: prefix of the names -> session.
        inputs: of one window.
    """
    times: dict[str, list[float]] = {prefix: [] for prefix in sessions}
    for _ in range(WARM_UP + REPEATS):
        for prefix, session in sessions.items():
            start = time.perf_counter()
            session.run(None, inputs)
            times[prefix].append(1000 * (time.perf_counter() - start))
    found = {}
    for prefix, values in times.items():
        found[f"{prefix}latency_ms"] = float(np.median(values[WARM_UP:]))
        found[f"{prefix}latency_p95_ms"] = float(np.percentile(values[WARM_UP:], 95))
    return found
