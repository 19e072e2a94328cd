"""The scores of predicted classes that every record of windows with one label has."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError, describe_error
from mmkd.metrics.classes import Probabilities
from mmkd.metrics.registry import METRICS, count_metrics
from mmkd.metrics.steps import Ints, confusion_matrix


def window_scores(true: Ints, probabilities: Probabilities, strict: bool = True) -> dict[str, float]:
    """Every registered metric of windows with one label, by name.

    Args:
        true: (n,) classes from 0 to K - 1.
        probabilities: (n, K).
        strict: whether a metric that fails is an error; else it is left out.

    Raises:
        MmkdError: a metric fails on these classes, or gives no finite number for them.

    >>> import numpy as np
    >>> window_scores(np.array([0, 1]), np.eye(2))["accuracy"]
    1.0
    """
    counts = confusion_matrix(true, probabilities.argmax(1), probabilities.shape[1])
    scores = count_scores(counts, "window", strict)
    for metric in METRICS.values():
        if metric.of_probabilities is not None:
            with nullcontext() if strict else suppress(MmkdError):
                scores[metric.name] = _score(metric.name, metric.of_probabilities, true, probabilities)
    return scores


def count_scores(counts: Ints, form: str, strict: bool = True) -> dict[str, float]:
    """The metrics of a data form that are computed from a confusion matrix (K, K), by name.

    Args:
        strict: whether a metric that fails is an error; else it is left out.

    Raises:
        MmkdError: a metric fails on these classes, or gives no finite number for them.
    """
    scores = {}
    for metric in count_metrics(form):
        if metric.of_counts is not None:
            with nullcontext() if strict else suppress(MmkdError):
                scores[metric.name] = _score(metric.name, metric.of_counts, counts)
    return scores


def _score(name: str, metric: Callable[..., Any], *classes: Any) -> float:
    """The score of a metric, which may be of a plugin, as a number that a record can hold."""
    try:
        value = metric(*classes)
    except Exception as error:  # somebody else's function may raise anything
        raise MmkdError(f"metric {name!r} fails on the classes of this network: {describe_error(error)}") from error
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise MmkdError(f"metric {name!r} gives {value!r} for the classes of this network; return a finite number")
    return float(value)
