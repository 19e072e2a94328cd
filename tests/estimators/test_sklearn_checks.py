"""scikit-learn's own checks of a classifier, all of them."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from mmkd import DistilledClassifier

EXPECTED_FAILURES: dict[str, str] = {}
"""Name of a check -> the property of windows for which it fails. None fails."""
CLASSIFIER = DistilledClassifier(
    teachers="sig", student_net="micro", epochs=5, settings={"teacher_nets": {"sig": "micro"}, "lr": 0.02}
)


CHECKS = list(estimator_checks_generator(CLASSIFIER, expected_failed_checks=EXPECTED_FAILURES, mark="xfail"))
"""What `parametrize_with_checks` makes; pytest 9 refuses the generator that it makes it with."""


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[check.func.__name__ for _, check in CHECKS])
def test_a_check_of_scikit_learn(estimator, check, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check(estimator)
    assert list(tmp_path.iterdir()) == []


def test_expected_failures_are_few_and_of_checks_that_exist():
    assert len(EXPECTED_FAILURES) <= 5
    names = {check.func.__name__ for _, check in estimator_checks_generator(CLASSIFIER)}
    assert set(EXPECTED_FAILURES) <= names
    assert {"check_classifiers_train", "check_estimators_pickle", "check_fit_idempotent"} <= names


def test_a_classifier_that_changes_in_predict_fails_its_check():
    """The checks can fail: one of them does for an estimator that keeps what it was asked."""

    class Changing(DistilledClassifier):
        def predict(self, X):
            self.asked_ = len(X)
            return super().predict(X)

    checks = {check.func.__name__: check for _, check in estimator_checks_generator(CLASSIFIER)}
    with pytest.raises(AssertionError, match="changes __dict__ during predict"):
        checks["check_dict_unchanged"].func("Changing", Changing(**CLASSIFIER.get_params()))
