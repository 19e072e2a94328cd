"""From a detector's scores of time steps to the scores of a data set: threshold, metrics a series, their mean."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.series import Series, SeriesSet
from mmkd.metrics.series import SERIES_METRICS, Floats, evaluate, events, mean_scores, window_length


@dataclass(frozen=True)
class SeriesResult:
    """What a detector found in one series.

    Attributes:
        score: from `series.validation_end` on: the last part of the prefix, then the test part.
        threshold: the highest score of that part of the prefix, of the steps that no window shares with what comes
            after it (of all where the series is in two parts); what is above it is predicted.
        window: the largest buffer of VUS.
        metrics: of the test part.
    """

    series: Series
    score: Floats
    threshold: float
    window: int
    metrics: dict[str, float]


def evaluate_detector(series_set: SeriesSet, detect: Callable[[Series], Floats], length: int) -> list[SeriesResult]:
    """Run a detector over all series that are kept.

    Args:
        length: of the windows that it reads, in steps.
        detect: a series to the scores of its steps from `series.validation_end` on, in float64.
    """
    results = []
    for series in series_set.scored:
        score = np.asarray(detect(series), np.float64)
        calibration, test = np.split(score, [series.prefix_end - series.validation_end])
        shared = 0 if series.has_gap else length - 1
        threshold = float(calibration[: len(calibration) - shared].max())
        window = window_length(series.x[0])
        labels = series.labels[series.prefix_end :]
        metrics = evaluate(test, labels, test > threshold, window)
        results.append(SeriesResult(series, score, threshold, window, metrics))
    return results


def mean_metrics(results: Sequence[SeriesResult]) -> dict[str, float]:
    """The mean over series of each metric."""
    return mean_scores({result.series.name: result.metrics for result in results})


def write_series_results(folder: Path, results: Sequence[SeriesResult]) -> None:
    """Write `series.csv`, a row a series, and `scores.npz`, from which `read_series_scores` computes the scores again.

    `scores.npz` has, for series number I, the scores `sI` (n,) of its steps from the end of its validation part on, and
    their labels `sI_y`.
    """
    with (folder / "series.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["series", "steps", "prefix", "events", "window", "threshold", *SERIES_METRICS])
        for result in results:
            series = result.series
            facts = [
                len(series.labels),
                series.prefix_end,
                len(events(series.labels)[0]),
                result.window,
                result.threshold,
            ]
            table.writerow([series.name, *facts, *(result.metrics[name] for name in SERIES_METRICS)])
    arrays: dict[str, Any] = {f"s{i}": result.score for i, result in enumerate(results)}
    arrays |= {f"s{i}_y": result.series.labels[-len(result.score) :] for i, result in enumerate(results)}
    np.savez_compressed(folder / "scores.npz", **arrays)


def read_series_scores(table: Path, scores: Path) -> dict[str, float]:
    """The mean over series of each metric, from the files that `write_series_results` wrote.

    Args:
        table: `series.csv`.
        scores: `scores.npz`.

    Raises:
        MmkdError: the scores are from before labels were stored beside them, or the two do not fit together.
    """
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with np.load(scores, allow_pickle=False) as z:
        missing = [f"s{i}_y" for i in range(len(rows)) if f"s{i}_y" not in z.files]
        if missing or not rows:
            raise MmkdError(f"{scores}: there is no {', '.join(missing[:1]) or 'series'}; run its unit again")
        found = {}
        for i, row in enumerate(rows):
            steps = int(row["steps"]) - int(row["prefix"])
            score = z[f"s{i}"][-steps:].astype(np.float64)
            found[row["series"]] = evaluate(
                score, z[f"s{i}_y"][-steps:], score > float(row["threshold"]), int(row["window"])
            )
    return mean_scores(found)


def series_counts(series_set: SeriesSet) -> dict[str, Any]:
    """What a record says of the series: how many are scored, and which are not, with the reason."""
    return {"scored": len(series_set.scored), "left_out": dict(series_set.excluded)}


def window_starts(low: int, high: int, window: int, step: int) -> NDArray[np.int64]:
    """Where windows begin that cover low..high (excluded), the last one aligned with the end."""
    return np.unique(np.append(np.arange(low, high - window + 1, step), high - window))


def starts_in(series: Series, first: int, window: int, step: int) -> NDArray[np.int64]:
    """Where windows begin that cover a series from `first` on, each in one of its stretches."""
    return np.concatenate([window_starts(low, high, window, step) for low, high in series.continuous_ranges(first)])


def overlapped(scores: Floats, starts: NDArray[np.int64]) -> Floats:
    """The mean score of each step over the windows that hold it.

    Args:
        scores: (n, W) of windows that begin at `starts` (n,), in order; every step is in one of them.

    Returns:
        From the first window's first step to the last one's last.
    """
    steps = (starts[:, None] - starts[0] + np.arange(scores.shape[1])).ravel()
    return np.bincount(steps, scores.ravel()) / np.bincount(steps)
