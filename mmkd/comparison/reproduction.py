"""The test scores of a record, computed again from its files. Needs neither torch nor mlflow."""

from os import PathLike
from zipfile import BadZipFile

import numpy as np

from mmkd.core.errors import MmkdError, describe_error
from mmkd.metrics.detections import read_series_scores
from mmkd.metrics.reproduction import prediction_scores
from mmkd.store.record import Record
from mmkd.store.records import open_record


def recompute_scores(run: Record | str | PathLike[str]) -> dict[str, float]:
    """Every test score of a record from `predictions.npz`, or from `series.csv` and `scores.npz`.

    They equal `record.metrics.test` to the last bit; of records from before this was so, to the precision of what they
    have stored: steps have probabilities of half precision there, so that a tie may fall otherwise.

    Args:
        run: a record, as `mmkd.run` returns it, or the folder of a record (`runs/<key>`).

    Raises:
        MmkdError: there is no such record, its files are missing or damaged, or an older record lacks an array.
    """
    record = open_record(run)
    if not record.metrics.test:
        raise MmkdError(f"record {record.folder} has no test windows, and so no scores to compute again")
    try:
        if "scores.npz" in record.result.get("files", {}):
            return read_series_scores(record.file("series.csv"), record.file("scores.npz"))
        with np.load(record.file("predictions.npz"), allow_pickle=False) as z:
            arrays = {name: z[name] for name in z.files}
        classes = record.data.get("classes") or int(max(arrays["true"].max(), arrays["predicted"].max())) + 1
        delineated = "delineated" in record.data or any(name.startswith("onset_") for name in record.metrics.test)
        return prediction_scores(arrays, classes, record.data.get("rate_hz"), delineated)
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile) as error:
        raise MmkdError(
            f"record {record.folder}: its scores cannot be computed again: {describe_error(error)}"
        ) from None
