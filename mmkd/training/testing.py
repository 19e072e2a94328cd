"""The one reading of the test windows, after a network is trained."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.specs.unit import Training
from mmkd.training.loop import TrainingData, TrainingResult, evaluate, validate

VALIDATED = ("accuracy", "macro_f1", "nll")
"""Scores of the validation windows that a record holds."""


def evaluate_on_test(
    trained: TrainingResult, windows: TrainingData, test: NDArray[np.int64], training: Training
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Scores on the test windows after the best and the last epoch, and the predictions of the best.

    Of images whose pixels have labels the predictions are the maps `true` and `predicted` (n, H, W) alone. The network
    is left with the best weights.

    Returns:
        Scores by part: "test", "test_last" and, where there are validation windows, "validation"; and the arrays of
        `predictions.npz`.
    """
    scores: dict[str, dict[str, float]] = {}
    for name, state in (("test_last", trained.last), ("test", trained.best)):
        trained.network.load_state_dict(state)
        scores[name], outputs = evaluate(trained.network, windows, test, training)
    arrays: dict[str, Any] = {"window": test, "true": windows.y[test], **outputs}
    if windows.places is not None:
        recording, start = windows.places
        arrays |= {"recording": recording[test], "start": start[test]}
    if "probabilities" in arrays:
        precision = np.float16 if windows.per_step else np.float32  # one for every sample: half is enough
        arrays["probabilities"] = arrays["probabilities"].astype(precision)
    elif windows.grid is not None:
        arrays |= {name: arrays[name].astype(np.int16).reshape(-1, *windows.grid) for name in ("true", "predicted")}
    if windows.subject is not None:
        arrays["subject"] = windows.subject[test]
    if len(windows.validation):
        scores["validation"] = _validation_scores(trained, windows, training)
    return scores, arrays


def _validation_scores(trained: TrainingResult, windows: TrainingData, training: Training) -> dict[str, float]:
    """Of the best epoch; of a network that was not trained here they are computed."""
    if trained.history:
        row = trained.history[trained.best_epoch]
        return {name: row[f"val_{name}"] for name in VALIDATED}
    validated = validate(trained.network, windows, training)
    return {name: validated[name] for name in VALIDATED}
