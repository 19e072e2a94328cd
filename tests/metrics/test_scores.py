"""Scores of metrics that a plugin brings: numbers that a record can hold, or one line that names the metric."""

import json

import numpy as np
import pytest

from mmkd import METRICS, Metric, MmkdError
from mmkd.metrics.scores import window_scores

TRUE = np.array([0, 1, 2, 2])
PROBABILITIES = np.eye(3)[[0, 1, 2, 1]]


def scores(**functions):
    METRICS.register("mine")(Metric("mine", "mine", forms=("window",), **functions))
    try:
        return window_scores(TRUE, PROBABILITIES)
    finally:
        METRICS.unregister("mine")


@pytest.mark.parametrize("kind", [np.float32, np.int64, bool, int])
def test_numbers_of_any_type_become_those_of_json(kind):
    assert json.dumps(scores(of_counts=lambda counts: kind(1))["mine"]) == "1.0"
    assert json.dumps(scores(of_probabilities=lambda true, probabilities: kind(1))["mine"]) == "1.0"


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (lambda: float("nan"), "metric 'mine' gives nan for the classes of this network; return a finite number"),
        (lambda: None, "metric 'mine' gives None for"),
        (lambda: 1 / 0, "metric 'mine' fails on the classes of this network: ZeroDivisionError"),
    ],
)
def test_what_is_no_score_is_one_line_that_names_the_metric(odd, words):
    """On the made-up classes of `METRICS.register` it is 0, and only later it is not."""
    with pytest.raises(MmkdError, match=words):
        scores(of_counts=lambda counts: odd() if counts.sum() == len(TRUE) and counts[2, 2] else 0.0)
