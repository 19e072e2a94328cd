"""aeon's own checks of `mmkd.aeon.DistilledClassifier`, all of them; `make test-aeon` runs them, where aeon is."""

import numpy as np
import pytest
from aeon.classification import BaseClassifier
from aeon.classification.deep_learning import BaseDeepClassifier
from aeon.datasets import load_unit_test
from aeon.testing.estimator_checking import parametrize_with_checks

import mmkd
from mmkd.aeon import DistilledClassifier


@parametrize_with_checks([DistilledClassifier], use_first_parameter_set=True)
def test_a_check_of_aeon(check):
    check()


def test_it_is_a_classifier_of_aeon_and_none_of_its_networks():
    assert issubclass(DistilledClassifier, BaseClassifier)
    assert not issubclass(DistilledClassifier, BaseDeepClassifier)
    assert DistilledClassifier.get_class_tag("X_inner_type") == "numpy3D"
    assert DistilledClassifier.get_class_tag("capability:multivariate")


def test_it_is_the_classifier_of_scikit_learn():
    x, y = load_unit_test("train")
    settings = DistilledClassifier._get_test_params()
    ours = mmkd.DistilledClassifier(**settings).fit(x, y)
    theirs = DistilledClassifier(**settings).fit(x, y)
    np.testing.assert_array_equal(ours.predict_proba(x), theirs.predict_proba(x))
    assert theirs.predict(x).tolist() == ours.predict(x).tolist()
    assert theirs.record_.data["windows"] == {"train": 20, "validation": 0, "test": 0}


def test_bad_input_is_refused_in_one_line():
    x, y = load_unit_test("train")
    with pytest.raises(ValueError, match="unknown method 'kdd'; did you mean 'kd'") as caught:
        DistilledClassifier(method="kdd").fit(x, y)
    assert "\n" not in str(caught.value)
