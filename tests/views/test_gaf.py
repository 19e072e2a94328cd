"""Gramian angular fields equal those of pyts, and keep the identities of their definition."""

import warnings

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import GAF

X = np.random.default_rng(3).normal(size=(6, 3, 60)).cumsum(axis=-1)


def pyts_fields(x, size, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyts.image import GramianAngularField

        made = GramianAngularField(image_size=size, method=method).transform(x.reshape(-1, x.shape[2]))
    return made.reshape(*x.shape[:2], size, size)


@pytest.mark.parametrize("method", ["summation", "difference"])
@pytest.mark.parametrize("size", [2, 7, 13, 16, 30, 41, 59, 60])
def test_equals_pyts(size, method):
    np.testing.assert_allclose(GAF(size, method).transform(X), pyts_fields(X, size, method), rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [2, 3, 10, 49, 127, 128, 500])
def test_segments_are_those_of_pyts(length):
    x = np.random.default_rng(length).normal(size=(2, 1, length)).astype(np.float32)
    for size in {2, min(length, 3), min(length, 10), max(2, length // 2), max(2, length - 1), length}:
        found = GAF(size).transform(x)
        np.testing.assert_allclose(found, pyts_fields(x.astype(float), size, "summation"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fill", [0.0, 0.1, -7.0, 1000.1, 1e-30, 12345678.9])
def test_constant_windows(fill):
    x = np.full((2, 2, 50), fill)
    for size in (7, 50):
        assert (GAF(size).transform(x) == 1).all()
        assert (GAF(size, "difference").transform(x) == 0).all()
        assert (GAF(size, range="train").fit(x).transform(X[..., :50][:, :2]) == 1).all()


def test_identities():
    summation, difference = GAF(20).transform(X), GAF(20, "difference").transform(X)
    assert np.abs(summation).max() <= 1 + 1e-6
    np.testing.assert_array_equal(summation, summation.swapaxes(2, 3))
    np.testing.assert_array_equal(difference, -difference.swapaxes(2, 3))
    means = X.reshape(6, 3, 20, 3).mean(axis=-1)
    low, high = means.min(axis=-1, keepdims=True), means.max(axis=-1, keepdims=True)
    angle = np.arccos(np.clip(2 * (means - low) / (high - low) - 1, -1, 1))
    np.testing.assert_allclose(summation, np.cos(angle[..., :, None] + angle[..., None, :]), atol=1e-6)
    np.testing.assert_allclose(difference, np.sin(angle[..., :, None] - angle[..., None, :]), atol=1e-6)


def test_amplitude_is_lost_by_window_and_kept_by_train():
    np.testing.assert_allclose(GAF(10).transform(X), GAF(10).transform(3 * X + 5), atol=1e-6)
    train = GAF(10, range="train").fit(X)
    assert np.abs(train.transform(X) - train.transform(X / 3)).max() > 0.1


def test_train_range_clips():
    train = GAF(60, range="train").fit(np.array([[[0.0, 10.0] * 30]]))
    assert train.state() == {"low": [0.0], "high": [10.0]}
    x = np.array([[[-5.0, 0.0, 5.0, 10.0, 99.0] * 12]])
    diagonal = np.diagonal(train.transform(x)[0, 0])  # 2 c^2 - 1
    np.testing.assert_allclose(diagonal[:5], [1, 1, -1, 1, 1], atol=1e-6)


def test_size_beyond_the_window_is_refused():
    for gaf in (GAF(61), GAF(61, range="train")):
        with pytest.raises(MmkdError, match="at least 61 samples, found 60"):
            gaf.fit(X).transform(X)
    with pytest.raises(MmkdError, match="size"):
        GAF(1)
    with pytest.raises(MmkdError, match="summation, difference"):
        GAF(8, "sumation")
