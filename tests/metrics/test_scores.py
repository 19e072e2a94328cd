"""Scores of metrics that a plugin brings: numbers that a record can hold, or one line that names the metric."""

import json
from functools import partial

import numpy as np
import pytest

from mmkd import METRICS, Metric, MmkdError
from mmkd.comparison.predictions import Predictions, combine
from mmkd.metrics.recordings import StepScores
from mmkd.metrics.scores import window_scores

TRUE = np.array([0, 1, 2, 2])
PROBABILITIES = np.eye(3)[[0, 1, 2, 1]]


def scores(score=window_scores, arguments=(TRUE, PROBABILITIES), **functions):
    METRICS.register("mine")(Metric("mine", "mine", forms=("window", "step"), **functions))
    try:
        return score(*arguments)
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


@pytest.mark.parametrize("which", ["of_counts", "of_probabilities"])
def test_of_records_a_metric_that_fails_is_left_out_alone(which, tmp_path):
    """Of an edited metric a command had said that it is left out, and then it ended with an error; others went too."""

    def fails(*classes):
        return 1 / 0 if np.shape(classes[0]) not in ((3, 3), (3,)) or classes[0].sum() == len(TRUE) else 0.0

    everything = window_scores(TRUE, PROBABILITIES)
    assert scores(partial(window_scores, strict=False), **{which: fails}) == everything
    read = Predictions(np.arange(4), TRUE, PROBABILITIES.argmax(1), PROBABILITIES)
    joint = scores(combine, ([read, read],), **{which: fails})
    assert (joint.scores, joint.bound.keys()) == (everything, everything.keys())


def test_of_recordings_a_metric_that_fails_on_one_has_no_mean():
    def means():
        found = StepScores(3, strict=False)
        for size in (1, 3):
            found.add(size * np.eye(3, dtype=np.int64))
        return found.means()

    assert scores(means, (), of_counts=lambda counts: 1 / int(counts.sum() != 9)) == means()
