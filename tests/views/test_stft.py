"""Spectrograms equal those of scipy, and keep the identities of their definition."""

import numpy as np
import pytest
from scipy.signal import stft

from mmkd import MmkdError
from mmkd.views import STFT

X = np.random.default_rng(19).normal(size=(6, 3, 100)).cumsum(axis=-1)


def scipys(x, segment, hop):
    options = {"window": "hann", "nperseg": segment, "noverlap": segment - hop}
    return np.abs(stft(x, **options, boundary=None, padded=False)[2])


@pytest.mark.parametrize(("segment", "hop"), [(4, 1), (25, 3), (32, 8), (64, 7), (99, 1), (100, 100), (16, 16)])
def test_equals_scipy(segment, hop):
    expected = scipys(X, segment, hop)
    magnitude = STFT(segment, hop, values="magnitude", scale="none")
    assert magnitude.shape(3, 100) == expected.shape[1:]
    np.testing.assert_allclose(magnitude.transform(X), expected, rtol=1e-6, atol=1e-6)
    power = STFT(segment, hop, values="power", scale="none").transform(X)
    np.testing.assert_allclose(power, expected**2, rtol=1e-6, atol=1e-6)
    log = STFT(segment, hop, scale="none").transform(X)
    np.testing.assert_allclose(log, np.log10(expected**2 + 1e-6), rtol=0, atol=1e-5)


def test_usual_segments():
    """A quarter of the window, even, and an eighth of that from one to the next."""
    assert STFT().shape(3, 128) == (3, 17, 25)
    assert STFT().shape(2, 100) == (2, 13, 26)
    assert STFT().shape(1, 16) == (1, 3, 13)
    np.testing.assert_array_equal(STFT(scale="none").transform(X), STFT(24, 3, scale="none").transform(X))


def test_a_sine_shows_at_its_frequency_with_half_its_amplitude():
    t = np.arange(128)
    x = 3 * np.sin(2 * np.pi * 5 * t / 32).reshape(1, 1, -1)  # five periods a segment
    found = STFT(32, 8, values="magnitude", scale="none").transform(x)[0, 0]
    np.testing.assert_allclose(found[5], 1.5, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=0), 5)


def test_channels_are_in_training_deviations():
    units = np.array([1e-3, 1.0, 1e4])[:, None]
    plain, large = (STFT(values="magnitude").fit(x).transform(x) for x in (X, X * units))
    np.testing.assert_allclose(plain, large, rtol=1e-4, atol=1e-6)
    fitted = STFT(values="magnitude").fit(X)
    np.testing.assert_allclose(fitted.transform(3 * X), 3 * fitted.transform(X), rtol=1e-5)
    expected = scipys(X / X.std(axis=(0, 2))[:, None], 24, 3)
    np.testing.assert_allclose(fitted.transform(X), expected, rtol=1e-5, atol=1e-6)


def test_centre_takes_the_mean_of_each_window_away():
    shifted = X + np.array([5.0, -70.0, 900.0])[:, None]
    centred = STFT(values="power", centre=True, scale="none")
    np.testing.assert_allclose(centred.transform(shifted), centred.transform(X), rtol=1e-5, atol=1e-8)
    expected = scipys(X - X.mean(axis=-1, keepdims=True), 24, 3)
    np.testing.assert_allclose(centred.transform(X), expected**2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("fill", [0.0, 0.1, -7.0])
def test_constant_windows(fill):
    flat = np.full((2, 3, 64), fill)
    np.testing.assert_allclose(STFT(centre=True).fit(X).transform(flat), -6, atol=1e-6)
    magnitude = STFT(16, values="magnitude", scale="none").transform(flat)
    np.testing.assert_allclose(magnitude[:, :, 0], abs(fill), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(magnitude[:, :, 2:], 0, atol=1e-6)
    assert np.isfinite(STFT().fit(flat).transform(flat)).all()


def test_huge_values_stay_finite():
    x = np.full((1, 1, 32), 3e38)
    x[..., ::2] *= -1
    for values in ("log", "magnitude", "power"):
        assert np.isfinite(STFT(values=values, scale="none").transform(x)).all()


def test_bad_options_and_short_windows_are_refused():
    with pytest.raises(MmkdError, match="segment 101 needs windows of at least 101 samples, found 100"):
        STFT(101).fit(X)
    with pytest.raises(MmkdError, match="15 samples have no quarter of 4; give its segment"):
        STFT().fit(X[..., :15])
    for bad in ({"segment": 3}, {"hop": 0}, {"values": "db"}, {"scale": "image"}):
        with pytest.raises(MmkdError, match=next(iter(bad))):
            STFT(**bad)
