"""Simple detectors of anomalies. They are in every table, because they are often better than networks.

Each is fitted on one series: on the part of its normal prefix that networks use for training and validation.
Sub-sequences are as long as the windows of the networks.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import describe_error
from mmkd.core.keys import seed_for
from mmkd.data import Dataset
from mmkd.data.series import Series
from mmkd.metrics.detections import (
    evaluate_detector,
    mean_metrics,
    overlapped,
    series_counts,
    starts_in,
    write_series_results,
)
from mmkd.metrics.series import Floats
from mmkd.specs.unit import DetectorSpec, UnitSpec
from mmkd.store.environment import environment
from mmkd.store.record import Record, write_history
from mmkd.training.workspace import Workspace

MAX_FITTED = 5000  # sub-sequences that a detector is fitted on, evenly spaced
COMPONENTS = 8  # of PCA
CLUSTERS = 10  # of k-means


def random_scores(series: Series, window: int, seed: int) -> Floats:
    """Uniform random numbers; a useful detector must be better."""
    return np.random.default_rng([seed, len(series.labels)]).uniform(size=len(series.labels))


def constant_scores(series: Series, window: int, seed: int) -> Floats:
    """0 everywhere."""
    return np.zeros(len(series.labels))


def moving_median(series: Series, window: int, seed: int) -> Floats:
    """Distance of each step from the median of the window around it, summed over channels."""
    from scipy.ndimage import median_filter

    parts = [series.x[:, low:high].astype(np.float64) for low, high in series.continuous_ranges()]
    return np.concatenate([np.abs(x - median_filter(x, size=(1, window), mode="nearest")).sum(0) for x in parts])


def principal_components(series: Series, window: int, seed: int) -> Floats:
    """Squared error of sub-sequences reconstructed from 8 principal components, averaged over those with a step.

    Values that are constant in all fitted sub-sequences are in no component: their error is the squared distance from
    that constant.
    """
    from sklearn.decomposition import PCA

    starts, fitted, segments = _sub_sequences(series, window)
    constant = (fitted == fitted[0]).all(0)
    constant &= not constant.all()
    error = ((segments[:, constant] - fitted[0, constant]) ** 2).sum(1)
    fitted = fitted[:, ~constant]
    segments = segments[:, ~constant]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # fractions of a variance of 0, if the prefix is constant
        model = PCA(min(COMPONENTS, *fitted.shape), svd_solver="covariance_eigh").fit(fitted)
    error += ((segments - model.inverse_transform(model.transform(segments))) ** 2).sum(1)
    return _steps(error, starts, window)


def nearest_cluster(series: Series, window: int, seed: int) -> Floats:
    """Distance of sub-sequences from the nearest of 10 k-means centres, averaged over those with a step."""
    from sklearn.cluster import KMeans

    starts, fitted, segments = _sub_sequences(series, window)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there may be fewer different sub-sequences than clusters
        model = KMeans(min(CLUSTERS, len(fitted)), n_init=3, random_state=seed % 2**32).fit(fitted)
        distance = model.transform(segments).min(1)
    return _steps(distance, starts, window)


def _sub_sequences(series: Series, window: int) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """Starts (N,) of all sub-sequences, the sub-sequences to fit on (n, C W), and all sub-sequences (N, C W)."""
    starts = starts_in(series, 0, window, 1)
    x = series.x.astype(np.float64)
    segments = np.lib.stride_tricks.sliding_window_view(x, window, axis=1).transpose(1, 0, 2)[starts]
    segments = segments.reshape(len(segments), -1)
    fitted = segments[: series.validation_end - window + 1]
    return starts, fitted[:: -(-len(fitted) // MAX_FITTED)], segments


def _steps(scores: Floats, starts: NDArray[np.int64], window: int) -> Floats:
    """Scores of steps: the mean of the scores of the sub-sequences that contain a step."""
    return overlapped(np.repeat(scores[:, None], window, 1), starts)


SIMPLE_DETECTORS: Mapping[str, Callable[[Series, int, int], Floats]] = {
    "random": random_scores,
    "constant": constant_scores,
    "moving-median": moving_median,
    "pca": principal_components,
    "kmeans": nearest_cluster,
}
"""Name -> detector: called with a series, the length of sub-sequences and a seed, it returns a score for each step."""


def detector_spec(name: str, unit: UnitSpec) -> DetectorSpec:
    """The spec of a simple detector for the data and seed of a unit."""
    return DetectorSpec(data=unit.data, seed=unit.seed, method=name, task=unit.task)


def reference_records(
    unit: UnitSpec, data: Dataset, workspace: Workspace, names: Sequence[str], make: bool
) -> tuple[list[Record], list[str]]:
    """The records of simple detectors for the data and seed of a unit, and one line for each that failed.

    Args:
        names: of the detectors.
        make: whether detectors that are not on record are run first.
    """
    records = workspace.records
    problems = []
    keys = {name: detector_spec(name, unit).key for name in names}
    for name, key in keys.items() if make else ():
        with records.lock(key):
            if records.get(key) is None:
                try:
                    records.write(key, partial(_write_files, name=name, key=key, unit=unit, data=data))
                except Exception as error:  # the other detectors still run
                    problems.append(f"simple detector {name} on {data.name}: {describe_error(error)}")
    return [record for record in map(records.get, keys.values()) if record is not None], problems


def _write_files(folder: Path, name: str, key: str, unit: UnitSpec, data: Dataset) -> Mapping[str, Any]:
    assert data.series is not None
    seed = seed_for(unit.seed, f"simple/{name}")
    start = time.perf_counter()
    results = evaluate_detector(
        data.series,
        lambda series: SIMPLE_DETECTORS[name](series, data.window, seed)[series.validation_end :],
        data.window,
    )
    seconds = time.perf_counter() - start
    write_series_results(folder, results)
    write_history(folder / "history.csv", [])
    return {
        "kind": "simple",
        "key": key,
        "status": "done",
        "spec": asdict(detector_spec(name, unit)),
        "metrics": {"test": mean_metrics(results)},
        "parameters": 0,
        "seconds": seconds,
        "process_peak_memory_mib": getrusage(RUSAGE_SELF).ru_maxrss / 1024,
        "series": series_counts(data.series),
        "environment": environment("cpu", 1),
    }
