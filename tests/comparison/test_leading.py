"""The best student of a group and those not told apart from it, by numbers whose intervals are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from mmkd.comparison.leading import Leaders, leaders
from mmkd.metrics.registry import METRICS


class Row(SimpleNamespace):
    """A row as `leaders` reads it."""

    is_student = True
    kind = "student"
    score = "accuracy"

    @property
    def units(self):
        return dict(enumerate(self.found))

    def values(self, name):
        assert name == self.score
        return list(self.found)

    def scores(self, repeats):
        return [self.found[number] for number in repeats]


def group(*rows, metric="accuracy"):
    return SimpleNamespace(rows=rows, repeats=range(max(len(row.found) for row in rows)), score=METRICS.get(metric))


NOISE = np.array([0.0, 0.01, -0.01, 0.005, -0.005])


def test_the_best_and_those_whose_interval_holds_0():
    best, near, far = (
        Row(name="best", found=(0.8 + NOISE).tolist()),
        Row(name="near", found=(0.795 - NOISE).tolist()),
        Row(name="far", found=(0.7 - NOISE).tolist()),
    )
    for row, inside in ((near, True), (far, False)):
        low, high = stats.t.interval(0.95, 4, np.mean(2 * NOISE + 0.8 - row.found[0]), stats.sem(2 * NOISE))
        assert (low <= 0 <= high) == inside
    assert leaders(group(best, near, far)) == Leaders("best", frozenset({"near"}))
    low = [Row(name=row.name, found=[-value for value in row.found], score="nll") for row in (best, near, far)]
    assert leaders(group(*low, metric="nll")) == Leaders("best", frozenset({"near"}))


def test_controls_and_rows_with_fewer_seeds_are_no_leaders():
    rows = [Row(name="a", found=[0.6, 0.6]), Row(name="b", found=[0.5, 0.5])]
    control = Row(name="control", found=[0.9, 0.9], kind="control")
    assert leaders(group(*rows, control, Row(name="one", found=[0.9]))) == Leaders("a", frozenset())
    assert leaders(group(rows[0])) == Leaders()


@pytest.mark.parametrize("other", [0.5, 0.6])
def test_of_one_seed_nothing_is_told_apart(other):
    assert leaders(group(Row(name="a", found=[0.6]), Row(name="b", found=[other]))) == Leaders("a", frozenset())
