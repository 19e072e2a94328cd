"""What random predictions score: no metric with a tolerance in time makes chance look good."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.metrics.boundaries import boundary_tolerance, mean_segment
from mmkd.metrics.delineation import delineation
from mmkd.metrics.recordings import dense_scores
from mmkd.metrics.series import SERIES_METRICS, evaluate
from mmkd.tasks import TASKS

CLASSES = 4


def stream(rng, mean, segments=80):
    """Labels of a recording: segments of random classes whose lengths are exponential."""
    lengths = np.maximum(1, rng.exponential(mean, segments).astype(int))
    return np.repeat(np.cumsum(rng.integers(1, CLASSES, segments)) % CLASSES, lengths)


def shuffled(rng, true):
    """As many segments of the same classes, with boundaries at random places."""
    starts = np.flatnonzero(np.diff(true)) + 1
    edges = np.sort(rng.choice(np.arange(1, len(true)), len(starts), replace=False))
    return true[np.r_[0, starts]][np.searchsorted(edges, np.arange(len(true)), side="right")]


@pytest.mark.parametrize("rate", [None, 10.0, 50.0, 250.0, 1000.0])
@pytest.mark.parametrize("mean", [5, 20, 100, 1000])
def test_boundaries_at_random_are_not_good(rate, mean):
    rng = np.random.default_rng(0)
    truth = [stream(rng, mean) for _ in range(10)]
    found = dense_scores([(true, shuffled(rng, true)) for true in truth], CLASSES, rate)
    name, tolerance = boundary_tolerance(truth, rate)
    assert found[name] < 0.25
    assert ("boundary_f1" in found) != ("boundary_f1_steps" in found)
    assert found.get("boundary_tolerance_steps", tolerance) == tolerance
    perfect = dense_scores([(true, true) for true in truth], CLASSES, rate)
    assert perfect[name] == 1
    assert perfect.get("boundary_tolerance_steps", tolerance) == tolerance, "it depends on the truth alone"


@pytest.mark.parametrize("mean", [20, 100])
def test_a_class_drawn_for_every_step_is_not_good(mean):
    rng = np.random.default_rng(0)
    truth = [stream(rng, mean) for _ in range(5)]
    found = dense_scores([(true, rng.integers(0, CLASSES, len(true))) for true in truth], CLASSES, None)
    assert found["boundary_f1_steps"] < 0.25
    assert found["f1_10"] < 0.25
    assert found["f1_50"] < 0.1


def test_150_is_never_a_number_of_steps():
    """The fault that was: without a rate 150 ms were read as 150 steps, and chance scored 0.97."""
    rng = np.random.default_rng(0)
    truth = [stream(rng, 40) for _ in range(10)]
    pairs = [(true, shuffled(rng, true)) for true in truth]
    assert dense_scores(pairs, CLASSES, None, 150)["boundary_f1"] > 0.8
    assert boundary_tolerance(truth, None) == ("boundary_f1_steps", int(0.05 * mean_segment(truth)))
    with pytest.raises(MmkdError, match="without a rate; give a tolerance in steps"):
        delineation(pairs, CLASSES, None)


def test_the_mean_segment_by_hand():
    labels = np.array([-1, -1, 0, 0, 0, 1, 1, -1, 1, 0])
    assert mean_segment([labels, np.zeros(7, int), np.full(3, -1)]) == (7 + 7) / (3 + 1)
    assert mean_segment([]) == 0


@pytest.mark.parametrize(("rate", "mean", "name"), [(50.0, 70, "boundary_f1_steps"), (50.0, 80, "boundary_f1")])
def test_150_ms_may_be_a_tenth_of_a_segment(rate, mean, name):
    """7.5 steps at 50 Hz, by the side of segments of 70 and of 80 steps."""
    truth = [np.repeat([0, 1, 0, 2], mean)]
    assert boundary_tolerance(truth, rate) == (name, {"boundary_f1": 7.5, "boundary_f1_steps": 3.0}[name])


def test_onsets_at_random_within_the_usual_150_ms():
    """Of an ECG of 75 beats a minute: the limit is the field's, chance reaches a third."""
    rng = np.random.default_rng(0)
    true = np.tile(np.repeat([0, 1, 0], [60, 25, 115]), 100)  # 250 Hz, a beat of 0.8 s
    for points in delineation([(true, shuffled(rng, true))], 2, 250.0).values():
        assert points.f1 < 0.4


def test_random_scores_of_series():
    """Of 10 % anomalies in events of 40 steps; thresholds as in the task, the highest score of a normal part."""
    rng = np.random.default_rng(0)
    means = {name: [] for name in SERIES_METRICS}
    for _ in range(40):
        labels = np.zeros(4000, int)
        for start in range(360, 4000, 400):
            labels[start : start + 40] = 1
        score = rng.random(4000)
        for name, value in evaluate(score, labels, score > rng.random(200).max(), 100).items():
            means[name].append(value)
    chance = {name: float(np.mean(values)) for name, values in means.items()}
    for name in ("vus_pr", "auc_pr", "range_f1", "event_f1"):
        assert chance[name] < 0.3, name
    assert abs(chance["auc_roc"] - 0.5) < 0.02
    notes = " ".join(TASKS.get("anomaly").notes)
    for name, said in (("point_adjusted_f1", "PA F1"), ("affiliation_f1", "affil. F1"), ("vus_roc", "VUS-ROC")):
        if chance[name] >= 0.3:
            assert said in notes, f"{name} of random scores is {chance[name]:.2f}"
