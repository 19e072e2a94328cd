"""Scores of a network on some windows, and its predictions for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmkd.metrics.classes import log_loss
from mmkd.metrics.reproduction import prediction_scores
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

    Probabilities are rounded to float32, as they are stored, before they are scored. If every pixel of images has a
    label, a few images are predicted at a time: the probabilities of all pixels would not fit into memory. They are not
    returned, and there is no `ece`.

    Returns:
        The scores; and the arrays `predicted` (classes), and `probabilities` or, of pixels, `true_probability`: that of
        the true class, NaN where it is unknown.

    Raises:
        UnitFailed: outputs of the network are not finite.
    """
    if windows.grid is None or not windows.per_step:
        context = autocast(training, windows.device)
        exact = predict(network, windows.load_views, indices, context, windows.prediction_batch)
        check_outputs(exact)
        stored = exact.astype(np.float32)
        return windows.scores(indices, stored), {"predicted": stored.argmax(1), "probabilities": stored}
    labels = []
    likelihoods = []
    for start in range(0, len(indices), windows.prediction_batch):
        batch = indices[start : start + windows.prediction_batch]
        y = windows.y[batch]
        context = autocast(training, windows.device)
        probabilities = predict(network, windows.load_views, batch, context, windows.prediction_batch)
        check_outputs(probabilities)
        labels.append(probabilities.argmax(1).astype(np.int16))
        of_true = np.take_along_axis(probabilities, np.maximum(y, 0)[:, None], 1)[:, 0]
        likelihoods.append(np.where(y >= 0, of_true, np.nan).astype(np.float32))
    predictions = {"predicted": np.concatenate(labels), "true_probability": np.concatenate(likelihoods)}
    return prediction_scores({"true": windows.y[indices], **predictions}, windows.names), predictions


def training_fit(network: nn.Module, windows: TrainingData, training: Training) -> dict[str, float]:
    """How a network does on the windows that it was trained on, in evaluation mode and without augmentation.

    Windows, or steps, without a label do not count.

    Returns:
        `accuracy`; `wrong`, the share whose most probable class is not the label; and `nll`, the mean negative
        log-likelihood of the labels in nats. Empty if no training window has a label.

    Raises:
        UnitFailed: outputs of the network are not finite.
    """
    count = right = 0
    surprise = 0.0
    for start in range(0, len(windows.train), windows.prediction_batch):
        batch = windows.train[start : start + windows.prediction_batch]
        context = autocast(training, windows.device)
        probabilities = predict(network, windows.load_views, batch, context, windows.prediction_batch)
        check_outputs(probabilities)
        y = windows.y[batch]
        by_class = np.moveaxis(probabilities, 1, -1)[y >= 0]
        known = y[y >= 0]
        if not len(known):
            continue
        count += len(known)
        right += int((by_class.argmax(-1) == known).sum())
        surprise += len(known) * log_loss(known, by_class)
    if not count:
        return {}
    return {"accuracy": right / count, "wrong": 1 - right / count, "nll": surprise / count}
