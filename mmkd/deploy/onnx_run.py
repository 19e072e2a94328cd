"""Run a file in ONNX Runtime, on one thread of the CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 64
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
