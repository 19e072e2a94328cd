"""Simple detectors, which are in every table: they often win, and the table must show it.

Each is fitted on one series, on the part of its prefix that networks are trained and chosen on. Sub-sequences are as
long as the windows of the networks.
"""

import time
import warnings
from collections.abc import Callable, Mapping
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
from mmkd.store.record import Record, Records, write_history

FITTED = 5000  # sub-sequences at most that a detector is fitted on, evenly spread
COMPONENTS = 8
CLUSTERS = 10


def by_chance(series: Series, window: int, seed: int) -> Floats:
    """Uniform random numbers: what no detector may fall below."""
    return np.random.default_rng([seed, len(series.labels)]).uniform(size=len(series.labels))


def constant(series: Series, window: int, seed: int) -> Floats:
    """0 everywhere."""
    return np.zeros(len(series.labels))


def moving_median(series: Series, window: int, seed: int) -> Floats:
    """Distance of each step from the median of the window around it, summed over channels."""
    from scipy.ndimage import median_filter

    each = [series.x[:, low:high].astype(np.float64) for low, high in series.continuous_ranges()]
    return np.concatenate([np.abs(x - median_filter(x, size=(1, window), mode="nearest")).sum(0) for x in each])


def principal_components(series: Series, window: int, seed: int) -> Floats:
    """Squared error of sub-sequences rebuilt from 8 principal components, mean over those that hold a step.

    Channels that are constant where it is fitted are in no component: their error is the distance from that value.
    """
    from sklearn.decomposition import PCA

    starts, fitted, every = _sub_sequences(series, window)
    same = (fitted == fitted[0]).all(0)
    same &= not same.all()
    error = ((every[:, same] - fitted[0, same]) ** 2).sum(1)
    fitted, every = fitted[:, ~same], every[:, ~same]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # shares of no variance, of a prefix that is constant
        model = PCA(min(COMPONENTS, *fitted.shape), svd_solver="covariance_eigh").fit(fitted)
    error += ((every - model.inverse_transform(model.transform(every))) ** 2).sum(1)
    return _steps(error, starts, window)


def nearest_cluster(series: Series, window: int, seed: int) -> Floats:
    """Distance of sub-sequences from the nearest of 10 k-means centres, mean over those that hold a step."""
    from sklearn.cluster import KMeans

    starts, fitted, every = _sub_sequences(series, window)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different sub-sequences than clusters
        model = KMeans(min(CLUSTERS, len(fitted)), n_init=3, random_state=seed % 2**32).fit(fitted)
        distance = model.transform(every).min(1)
    return _steps(distance, starts, window)


def _sub_sequences(series: Series, window: int) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """Where all begin, those that are fitted on, and all, (N, C W)."""
    starts = starts_in(series, 0, window, 1)
    x = series.x.astype(np.float64)
    every = np.lib.stride_tricks.sliding_window_view(x, window, axis=1).transpose(1, 0, 2)[starts]
    every = every.reshape(len(every), -1)
    fitted = every[: series.validation_end - window + 1]
    return starts, fitted[:: -(-len(fitted) // FITTED)], every


def _steps(scores: Floats, starts: NDArray[np.int64], window: int) -> Floats:
    """Of each sub-sequence to the mean of each step."""
    return overlapped(np.repeat(scores[:, None], window, 1), starts)


SIMPLE: Mapping[str, Callable[[Series, int, int], Floats]] = {
    "random": by_chance,
    "constant": constant,
    "moving-median": moving_median,
    "pca": principal_components,
    "kmeans": nearest_cluster,
}
"""Name -> detector: a series, the length of sub-sequences and a seed to the scores (n,) of its steps."""


def detector_spec(name: str, unit: UnitSpec) -> DetectorSpec:
    """The spec of a simple detector beside a unit."""
    return DetectorSpec(data=unit.data, seed=unit.seed, method=name, task=unit.task)


def reference_records(unit: UnitSpec, data: Dataset, records: Records, make: bool) -> tuple[list[Record], list[str]]:
    """The records of the simple detectors beside a unit, and a line for each detector that broke off.

    Args:
        make: whether those that are not on record are made first.
    """
    problems = []
    keys = {name: detector_spec(name, unit).key for name in SIMPLE}
    for name, key in keys.items() if make else ():
        with records.lock(key):
            if records.get(key) is None:
                try:
                    records.write(key, partial(_fill, name=name, key=key, unit=unit, data=data))
                except Exception as error:  # one detector stops neither the others nor the units
                    problems.append(f"simple detector {name} on {data.name}: {describe_error(error)}")
    return [record for record in map(records.get, keys.values()) if record is not None], problems


def _fill(folder: Path, name: str, key: str, unit: UnitSpec, data: Dataset) -> Mapping[str, Any]:
    assert data.series is not None
    seed, began = seed_for(unit.seed, f"simple/{name}"), time.perf_counter()
    results = evaluate_detector(
        data.series, lambda series: SIMPLE[name](series, data.window, seed)[series.validation_end :], data.window
    )
    seconds = time.perf_counter() - began
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
