"""The evaluation on the test windows: they are read once, after a network is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.evaluation import evaluate, validate
from mmkd.training.loop import TrainingResult

VALIDATION_METRICS = ("accuracy", "macro_f1", "nll")
"""The scores on validation windows that a record holds."""


def evaluate_on_test(
    result: TrainingResult, windows: TrainingData, test: NDArray[np.int64], training: Training
) -> tuple[dict[str, dict[str, float]], dict[str, Any], dict[str, Any]]:
    """Evaluate a trained network on the test windows, with the weights of its best and of its last epoch.

    Afterwards the network has the weights of its best epoch.

    Args:
        test: indices of the test windows.

    Returns:
        Scores by part: "test", "test_last" (none without test windows) and, if there are validation windows,
        "validation"; the arrays of `predictions.npz`, by the weights of the best epoch, from which
        `metrics.reproduction.prediction_scores` computes the scores "test" again; and the same by those of the last. If
        every pixel of images has a label, `true`, `predicted` and `true_probability` are (n, H, W), without
        `probabilities`.
    """
    scores: dict[str, dict[str, float]] = {}
    arrays: dict[str, dict[str, Any]] = {"test": {}, "test_last": {}}
    for name, state in (("test_last", result.last), ("test", result.best)):
        if name == "test" and result.best is result.last:  # without validation: one pass over the test windows
            scores |= {name: dict(scores["test_last"])} if len(test) else {}
            arrays[name] = arrays["test_last"]
            continue
        result.network.load_state_dict(state)
        if len(test):
            scores[name], arrays[name] = evaluate_weights(result.network, windows, test, training)
    if len(windows.validation):
        scores["validation"] = _validation_scores(result, windows, training)
    return scores, arrays["test"], arrays["test_last"]


def evaluate_weights(
    network: nn.Module, windows: TrainingData, test: NDArray[np.int64], training: Training
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scores of a network on the test windows with its present weights, and the arrays of `predictions.npz`.

    Args:
        test: indices of the test windows.
    """
    scores, predictions = evaluate(network, windows, test, training)
    return scores, _prediction_arrays(predictions, windows, test)


def _prediction_arrays(
    predictions: Mapping[str, NDArray[Any]], windows: TrainingData, test: NDArray[np.int64]
) -> dict[str, Any]:
    """The arrays of `predictions.npz`."""
    arrays: dict[str, Any] = {"window": test, "true": windows.y[test], **predictions}
    if windows.locations is not None:
        recording, start = windows.locations
        arrays |= {"recording": recording[test], "start": start[test]}
    if "true_probability" in arrays and windows.grid is not None:
        arrays["true"] = arrays["true"].astype(np.int16)
        names = ("true", "predicted", "true_probability")
        arrays |= {name: arrays[name].reshape(-1, *windows.grid) for name in names}
    if windows.subject is not None:
        arrays["subject"] = windows.subject[test]
    return arrays


def _validation_scores(result: TrainingResult, windows: TrainingData, training: Training) -> dict[str, float]:
    """Scores of the best epoch, from the history; for a network that was not trained here they are computed."""
    if result.history:
        row = result.history[result.best_epoch]
        return {name: row[f"val_{name}"] for name in VALIDATION_METRICS}
    scores = validate(result.network, windows, training)
    return {name: scores[name] for name in VALIDATION_METRICS}
