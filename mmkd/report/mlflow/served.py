"""A student as `mlflow.pyfunc.load_model` gives it, read from `result.json` and weights; nothing of it is pickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.store.record import Record, read_json


class ServedStudent:
    """The student of a record behind the `predict` of MLflow.

    Args:
        folder: with the record's `result.json` and `student.safetensors`, whose checksum is compared.

    Raises:
        MmkdError: one of them is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        from mmkd.training.student_model import StudentModel

        self.student = StudentModel.load(Record(folder, read_json(folder / "result.json")))

    def predict(self, windows: NDArray[Any], params: Mapping[str, Any] | None = None) -> NDArray[Any]:
        """Class probabilities (N, K) of raw windows (N, C, W); labels (N,) with `labels=True` among the parameters.

        Of a student that labels each step (N, K, W) and (N, W).
        """
        rows = np.asarray(windows)
        return self.student.predict(rows) if (params or {}).get("labels") else self.student.predict_proba(rows)


def _load_pyfunc(path: str) -> ServedStudent:
    """What MLflow calls with the folder in the model."""
    return ServedStudent(Path(path))
