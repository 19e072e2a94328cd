"""Scores against scikit-learn and against loops."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from mmkd.metrics import classes
from mmkd.metrics.scores import window_scores


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 4)) * 2
    p = np.exp(logits)
    return rng.integers(0, 4, 200), p / p.sum(1, keepdims=True)


def test_scores_equal_scikit_learns(case):
    y, p = case
    found = window_scores(y, p)
    assert found["accuracy"] == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert found["macro_f1"] == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    assert found["nll"] == pytest.approx(log_loss(y, p, labels=range(4)))


def test_calibration_error_equals_a_loop(case):
    y, p = case
    error = 0.0
    for low in range(15):
        inside = [i for i in range(len(y)) if low / 15 < p[i].max() <= (low + 1) / 15]
        if inside:
            accuracy = np.mean([p[i].argmax() == y[i] for i in inside])
            error += len(inside) / len(y) * abs(accuracy - np.mean([p[i].max() for i in inside]))
    assert window_scores(y, p)["ece"] == pytest.approx(error)


def test_calibration_error_is_of_15_bins():
    """Answers are surer than right in every other bin, and less sure in the others: wider bins would level them out."""
    confidence = np.repeat((np.arange(6, 15) + 0.5) / 15, 2)  # the middle of each bin, twice
    right = np.repeat(np.arange(9) % 2 == 0, 2)
    p = np.stack([confidence, 1 - confidence - 0.01, np.full(18, 0.01)], 1)
    y = np.where(right, p.argmax(1), 2)
    wanted = np.mean([abs(hit - sure) for hit, sure in zip(right, p.max(1), strict=True)])
    assert window_scores(y, p)["ece"] == pytest.approx(wanted)
    assert classes.reliability(y, p, bins=10).error < 0.9 * wanted


def test_a_certain_error_has_a_finite_likelihood():
    found = window_scores(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert np.isfinite(found["nll"])
    assert found["accuracy"] == 0.5


def test_perfect_predictions_are_perfect():
    found = window_scores(np.array([0, 1, 2]), np.eye(3))
    assert (found["accuracy"], found["macro_f1"], found["nll"], found["ece"]) == (1, 1, 0, 0)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_is_over_the_classes_in_truth():
    y, predicted = np.array([0, 0, 0, 2, 2]), np.array([0, 0, 1, 2, 3])
    found = window_scores(y, np.eye(4)[predicted])["balanced_accuracy"]
    assert found == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found == pytest.approx(balanced_accuracy_score(y, predicted))


@pytest.mark.parametrize(("y", "predicted"), [([0, 0, 1, 1], [0, 2, 1, 1]), ([0, 0, 3], [0, 1, 1]), ([2, 2], [2, 2])])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_macro_f1_is_over_the_classes_in_truth_or_prediction(y, predicted):
    """A class that is only predicted counts with an F1 of 0; one that is in neither does not count."""
    y, predicted = np.array(y), np.array(predicted)
    wanted = f1_score(y, predicted, average="macro")
    assert classes.macro_f1(y, predicted) == pytest.approx(wanted)
    assert window_scores(y, np.eye(4)[predicted])["macro_f1"] == pytest.approx(wanted)


def test_confidence_on_the_border_of_two_bins_belongs_to_the_lower_one():
    """Guo et al. 2017: the bin from i / M to (i + 1) / M leaves its lower end out."""
    found = classes.reliability(np.array([0, 0]), np.array([[0.5, 0.5], [0.75, 0.25]]), bins=4)
    assert found.share == (0.0, 0.5, 0.5, 0.0)
