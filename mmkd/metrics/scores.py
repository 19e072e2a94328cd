"""The scores of predicted classes that every record of windows with one label has."""

from mmkd.metrics.classes import Probabilities
from mmkd.metrics.registry import METRICS, count_metrics
from mmkd.metrics.steps import Ints, confusion_matrix


def window_scores(true: Ints, probabilities: Probabilities) -> dict[str, float]:
    """Every registered metric of windows with one label, by name.

    Args:
        true: (n,) classes from 0 to K - 1.
        probabilities: (n, K).

    >>> import numpy as np
    >>> window_scores(np.array([0, 1]), np.eye(2))["accuracy"]
    1.0
    """
    counts = confusion_matrix(true, probabilities.argmax(1), probabilities.shape[1])
    scores = count_scores(counts, "window")
    for metric in METRICS.values():
        if metric.of_probabilities is not None:
            scores[metric.name] = metric.of_probabilities(true, probabilities)
    return scores


def count_scores(counts: Ints, form: str) -> dict[str, float]:
    """The metrics of a data form that are computed from a confusion matrix (K, K), by name."""
    return {metric.name: metric.of_counts(counts) for metric in count_metrics(form) if metric.of_counts is not None}
