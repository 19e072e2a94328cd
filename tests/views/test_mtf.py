"""Markov transition fields equal those of pyts, and keep the identities of their definition."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import MTF

X = np.random.default_rng(11).normal(size=(6, 3, 60)).cumsum(axis=-1)


def pyts_fields(x, size, bins, strategy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyts.image import MarkovTransitionField

        made = MarkovTransitionField(size, bins, strategy).transform(x.reshape(-1, x.shape[2]))
    return made.reshape(*x.shape[:2], size, size)


def slow_field(row, size, bins):
    """The field by its definition, sample by sample, with bins between quantiles."""
    limits = np.quantile(row, np.arange(1, bins) / bins)
    at = [int((limits < value).sum()) for value in row]
    counts = np.zeros((bins, bins))
    for before, after in pairwise(at):
        counts[before, after] += 1
    full = np.array([[counts[p, q] / max(counts[p].sum(), 1) for q in at] for p in at])
    return full.reshape(size, len(row) // size, size, -1).mean(axis=(1, 3))


@pytest.mark.parametrize("strategy", ["quantile", "uniform", "normal"])
@pytest.mark.parametrize(("size", "bins"), [(2, 2), (7, 8), (16, 3), (30, 8), (41, 20), (59, 5), (60, 8)])
def test_equals_pyts(size, bins, strategy):
    found = MTF(size, bins, strategy).transform(X)
    np.testing.assert_allclose(found, pyts_fields(X, size, bins, strategy), rtol=0, atol=1e-6)


def test_equals_the_definition():
    found = MTF(20, 6).transform(X)
    expected = [[slow_field(row, 20, 6) for row in window] for window in X]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
@pytest.mark.parametrize("step", [1.0, 0.1, 0.25, 3.0])
def test_samples_on_the_limit_of_a_bin_fall_where_those_of_pyts_do(step, strategy):
    """Coarse values, as of a sensor with few bits: many of them are equal to a quantile."""
    x = np.round(X / 2) * step
    for size, bins in ((60, 4), (30, 8)):
        found = MTF(size, bins, strategy).transform(x)
        np.testing.assert_allclose(found, pyts_fields(x, size, bins, strategy), rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [2, 3, 10, 49, 127, 128, 500])
def test_lengths(length):
    x = np.random.default_rng(length).normal(size=(2, 1, length))
    for size in {2, max(2, length // 2), max(2, length - 1), length}:
        found = MTF(size).transform(x)
        np.testing.assert_allclose(found, pyts_fields(x, size, 8, "quantile"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("strategy", ["quantile", "uniform", "normal"])
@pytest.mark.parametrize("fill", [0.0, 0.1, -7.0, 1e-30, 12345678.9])
def test_constant_windows(fill, strategy):
    for size in (7, 50):
        found = MTF(size, strategy=strategy).transform(np.full((2, 2, 50), fill))
        np.testing.assert_allclose(found, 1, atol=1e-6)


def test_identities():
    """A field is of the order of values alone, and a row of the unaveraged field sums up shares of transitions."""
    fields = MTF(20).transform(X)
    assert fields.min() >= 0
    assert fields.max() <= 1 + 1e-6
    np.testing.assert_array_equal(fields, MTF(20).transform(4 * X))
    np.testing.assert_array_equal(fields, MTF(20).transform(2.0**-70 * X))
    ramp = MTF(8, 8).transform(np.arange(8.0).reshape(1, 1, 8))[0, 0]  # each bin leads to the next, the last nowhere
    np.testing.assert_array_equal(ramp, np.eye(8, k=1))


def test_bad_options_and_short_windows_are_refused():
    with pytest.raises(MmkdError, match="mtf of size 61 needs windows of at least 61 samples, found 60"):
        MTF(61).transform(X)
    for bad in ({"size": 1}, {"bins": 1}, {"strategy": "quantiles"}):
        with pytest.raises(MmkdError, match=next(iter(bad))):
            MTF(**bad)
