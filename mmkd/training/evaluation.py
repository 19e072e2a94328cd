"""Scores of a network on some windows, and its predictions for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmkd.metrics.classes import log_loss
from mmkd.metrics.recordings import StepScores
from mmkd.metrics.steps import confusion_matrix
from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.finite import check_outputs
from mmkd.training.precision import autocast
from mmkd.training.prediction import predict


def validate(network: nn.Module, windows: TrainingData, training: Training) -> dict[str, float]:
    """Scores on the validation windows."""
    return evaluate(network, windows, windows.validation, training)[0]


def evaluate(
    network: nn.Module, windows: TrainingData, indices: NDArray[np.int64], training: Training
) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """Scores of the network on the windows with these indices, and its predictions for them.

    If every pixel of images has a label, a few images are predicted at a time: the probabilities of all pixels would
    not fit into memory. They are not returned, and there is no `ece`.

    Returns:
        The scores; and the arrays `predicted` (classes) and `probabilities`.

    Raises:
        UnitFailed: outputs of the network are not finite.
    """
    if windows.grid is None or not windows.per_step:
        context = autocast(training, windows.device)
        probabilities = predict(network, windows.load_views, indices, context, windows.prediction_batch)
        check_outputs(probabilities)
        predictions = {"predicted": probabilities.argmax(1), "probabilities": probabilities}
        return windows.scores(indices, probabilities), predictions
    scores = StepScores(windows.names)
    labels = []
    loss = 0.0
    steps = 0
    for start in range(0, len(indices), windows.prediction_batch):
        batch = indices[start : start + windows.prediction_batch]
        y = windows.y[batch]
        context = autocast(training, windows.device)
        probabilities = predict(network, windows.load_views, batch, context, windows.prediction_batch)
        check_outputs(probabilities)
        labels.append(probabilities.argmax(1).astype(np.int16))
        for true, predicted in zip(y, labels[-1], strict=True):
            scores.add(confusion_matrix(true, predicted, windows.classes))
        known = y >= 0
        if known.any():
            loss += log_loss(y[known], probabilities.transpose(0, 2, 1)[known]) * int(known.sum())
            steps += int(known.sum())
    return scores.all() | {"nll": loss / steps}, {"predicted": np.concatenate(labels)}
