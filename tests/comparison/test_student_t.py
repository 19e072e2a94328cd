"""The quantiles of Student's t that are in a table, and the others."""

import sys

import pytest
from scipy.special import stdtrit

from mmkd.comparison.gap import t_interval
from mmkd.comparison.student_t import QUANTILES, t_quantile


@pytest.mark.parametrize("level", QUANTILES)
def test_the_table_is_that_of_scipy(level):
    assert len(QUANTILES[level]) == 100
    expected = [float(stdtrit(n, (1 + level) / 2)) for n in range(1, 103)]
    assert [t_quantile(n, level) for n in range(1, 103)] == pytest.approx(expected, rel=1e-14)


def test_other_levels_are_computed():
    assert t_quantile(5, 0.8) == pytest.approx(1.4758840488, rel=1e-9)


def test_intervals_of_few_values_load_no_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    low, high = t_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 2.919985580 / 3**0.5, 2 + 2.919985580 / 3**0.5))
    assert t_interval([1.0, 2.0, 3.0], 0.95)[0] == pytest.approx(2 - 4.302652730 / 3**0.5)
