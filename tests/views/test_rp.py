"""Recurrence plots equal those of pyts, and keep the identities of their definition."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import RP

X = np.random.default_rng(13).normal(size=(6, 3, 60)).cumsum(axis=-1)


def pyts_plots(x, segments, *options):
    """pyts' plots of windows that pyts averages over segments."""
    rows = x.reshape(-1, x.shape[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyts.approximation import PiecewiseAggregateApproximation
        from pyts.image import RecurrencePlot

        if segments < x.shape[2]:
            rows = PiecewiseAggregateApproximation(None, output_size=segments, overlapping=False).transform(rows)
        made = RecurrencePlot(*options).transform(rows)
    return made.reshape(*x.shape[:2], *made.shape[1:])


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(("size", "delay"), [(2, 1), (13, 2), (30, 5), (50, 3), (60, 1)])
def test_equals_pyts(size, delay, dimension):
    segments = size + (dimension - 1) * delay
    if segments > X.shape[2]:
        with pytest.raises(MmkdError, match=f"at least {segments} samples, found 60"):
            RP(size, dimension, delay, scale="none").transform(X)
        return
    found = RP(size, dimension, delay, scale="none").transform(X)
    np.testing.assert_allclose(found, pyts_plots(X, segments, dimension, delay), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "amount"), [("point", 10), ("point", 33), ("point", 100), ("distance", 20), ("fixed", 1.5)]
)
@pytest.mark.parametrize(("size", "dimension", "delay"), [(60, 1, 1), (54, 3, 3), (41, 1, 1)])
def test_thresholds_are_those_of_pyts(threshold, amount, size, dimension, delay):
    own = {"epsilon": amount} if threshold == "fixed" else {"percentage": amount}
    theirs = (amount,) if threshold == "fixed" else (threshold, amount)
    found = RP(size, dimension, delay, threshold=threshold, scale="none", **own).transform(X)
    expected = pyts_plots(X, size + (dimension - 1) * delay, dimension, delay, *theirs)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("threshold", ["point", "distance"])
def test_distances_on_the_threshold(threshold):
    """Coarse values, as of a sensor with few bits: many distances are equal to the threshold."""
    x = np.round(X)
    for percentage in (10, 25, 50):
        found = RP(60, threshold=threshold, percentage=percentage, scale="none").transform(x)
        np.testing.assert_array_equal(found, pyts_plots(x, 60, 1, 1, threshold, percentage))


def test_equals_the_definition():
    found = RP(12, 3, 2, scale="none").transform(X)
    bounds = np.linspace(0, 60, 17).astype(int)
    means = np.stack([X[..., i:j].mean(axis=-1) for i, j in pairwise(bounds)], axis=-1)
    states = np.stack([means[..., k : k + 12] for k in (0, 2, 4)], axis=-1)
    expected = np.linalg.norm(states[..., :, None, :] - states[..., None, :, :], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_scales():
    plain = RP(20, scale="none").transform(X)
    fitted = RP(20).fit(X)
    np.testing.assert_allclose(fitted.state()["std"], X.std(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(fitted.transform(X), plain / X.std(axis=(0, 2))[:, None, None], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        fitted.transform(3 * X), 3 * fitted.transform(X), rtol=1e-5, atol=1e-5
    )  # the amplitude is kept
    image = RP(20, scale="image").transform(X)
    np.testing.assert_allclose(image, plain / plain.max(axis=(2, 3), keepdims=True), atol=1e-6)
    near = RP(20, threshold="fixed", epsilon=0.3, scale="image").transform(X)
    np.testing.assert_array_equal(near, plain < 0.3 * plain.max(axis=(2, 3), keepdims=True))


def test_identities():
    plots = RP(20, 2, scale="none").transform(X)
    np.testing.assert_array_equal(plots, plots.swapaxes(2, 3))
    assert (np.diagonal(plots, axis1=2, axis2=3) == 0).all()
    np.testing.assert_allclose(RP(20, 2, scale="none").transform(X + 5), plots, atol=1e-5)


@pytest.mark.parametrize("fill", [0.0, 0.1, -7.0, 12345678.9])
def test_constant_windows(fill):
    flat = np.full((2, 3, 50), fill)
    for scale in ("train", "image", "none"):
        for threshold in ("none", "point", "distance"):
            plots = RP(7, 2, threshold=threshold, scale=scale).fit(X).transform(flat)
            np.testing.assert_allclose(plots, 0, atol=1e-8)
        assert np.isfinite(RP(7, scale=scale).fit(flat).transform(X)).all()
    assert (RP(7, threshold="fixed", epsilon=1e-3).fit(X).transform(flat) == 1).all()


def test_bad_options_and_short_windows_are_refused():
    with pytest.raises(MmkdError, match="rp of size 61 needs windows of at least 61 samples, found 60"):
        RP(61).fit(X)
    for bad in ({"threshold": "fixed"}, {"epsilon": 1.0}):
        with pytest.raises(MmkdError, match="epsilon is for threshold fixed"):
            RP(**bad)
    for bad in ({"size": 1}, {"dimension": 0}, {"percentage": 101}, {"scale": "window"}):
        with pytest.raises(MmkdError, match=next(iter(bad))):
            RP(**bad)
