"""Scalograms equal those of PyWavelets, and keep the identities of their definition.

`oracles/wavelets.npz` holds the magnitudes of `pywt.cwt` (PyWavelets 1.9.0, method "conv") of four random walks at
twelve periods from 30 to 2.5 samples.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import CWT, chunks, cwt

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "wavelets.npz", allow_pickle=False)
X = np.random.default_rng(23).normal(size=(5, 2, 60)).cumsum(axis=-1)
RAW = {"centre": False, "scale": "none"}


def averaged(values, size):
    """Values (..., T) averaged over segments."""
    bounds = np.linspace(0, values.shape[-1], size + 1).astype(int)
    return np.stack([values[..., i:j].mean(axis=-1) for i, j in pairwise(bounds)], axis=-1)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("cmor", {}),
        ("cmor_3_2", {"bandwidth": 3.0, "frequency": 2.0}),
        ("morl", {"wavelet": "morl"}),
        ("mexh", {"wavelet": "mexh"}),
    ],
)
def test_equals_pywavelets(key, options):
    magnitudes = ORACLE[f"pywt_{key}"].astype(float)
    largest = magnitudes.max()
    for values, expected in (("magnitude", magnitudes), ("power", magnitudes**2)):
        found = CWT(12, values=values, **options, **RAW).transform(ORACLE["pywt_windows"])
        np.testing.assert_allclose(found, averaged(expected, 12), rtol=1e-6, atol=1e-6 * largest)
    log = CWT(12, **options, **RAW).transform(ORACLE["pywt_windows"])
    np.testing.assert_allclose(log, np.log10(averaged(magnitudes**2, 12) + 1e-6), atol=1e-4)


def slow_magnitudes(row, period, bandwidth=1.5, frequency=1.0):
    """Products with the complex Morlet wavelet at each sample, in which the row goes on as zeros."""
    scale = period * frequency
    t = (np.arange(len(row))[None] - np.arange(len(row))[:, None]) / scale
    wavelet = np.exp(-(t**2) / bandwidth + 2j * np.pi * frequency * t) / np.sqrt(np.pi * bandwidth)
    return np.abs(wavelet @ row) / np.sqrt(scale)


def test_is_nearly_the_definition():
    """PyWavelets sums differences of the wavelet's integral, which differ a little from the wavelet."""
    view = CWT(60, longest=20.0, shortest=12.0, values="magnitude", **RAW)
    found = view.transform(X)
    for row, image in zip(X.reshape(-1, 60), found.reshape(-1, 60, 60), strict=True):
        expected = np.stack([slow_magnitudes(row, period) for period in view.periods(60)])
        np.testing.assert_allclose(image, expected, atol=0.08 * expected.max())


def test_a_sine_shows_at_its_period():
    for period in (4.0, 10.0, 25.0):
        x = np.sin(2 * np.pi * np.arange(120) / period).reshape(1, 1, -1)
        view = CWT(40)
        image = view.fit(x).transform(x)[0, 0]
        row = image[:, 15:25].mean(axis=1).argmax()
        assert view.periods(120)[row] == pytest.approx(period, rel=0.1)
    periods = CWT(3, shortest=4.0, longest=16.0).periods(120)
    np.testing.assert_allclose(periods, [16, 8, 4])


def test_blocks_change_nothing(monkeypatch):
    whole = CWT(20).fit(X).transform(X)
    for numbers in (1, 300, 2000):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", cwt.BYTES * numbers)
        np.testing.assert_allclose(CWT(20).fit(X).transform(X), whole, rtol=1e-6, atol=1e-6)


def test_channels_are_in_training_deviations_and_centred():
    units, offsets = np.array([1e-3, 1e4])[:, None], np.array([5.0, -70.0])[:, None]
    plain, other = (CWT(20, values="magnitude").fit(x).transform(x) for x in (X, (X + offsets) * units))
    np.testing.assert_allclose(plain, other, rtol=1e-4, atol=1e-6)
    own = (X - X.mean(axis=-1, keepdims=True)) / X.std(axis=(0, 2))[:, None]
    np.testing.assert_allclose(plain, CWT(20, values="magnitude", **RAW).transform(own), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fill", [0.0, 0.1, -7.0])
def test_constant_windows(fill):
    flat = np.full((2, 2, 50), fill)
    np.testing.assert_allclose(CWT(12).fit(X).transform(flat), -6, atol=1e-6)
    for x in (flat, X[..., :50]):
        assert np.isfinite(CWT(12).fit(flat).transform(x)).all()


def test_huge_values_stay_finite():
    x = np.full((1, 1, 32), 3e38)
    x[..., ::2] *= -1
    for values in ("log", "magnitude", "power"):
        assert np.isfinite(CWT(8, values=values, **RAW).transform(x)).all()


def test_bad_options_and_short_windows_are_refused():
    with pytest.raises(MmkdError, match="cwt of size 61 needs windows of at least 61 samples, found 60"):
        CWT(61).fit(X)
    with pytest.raises(MmkdError, match=r"from 2.5 up to 2 samples, of windows of 4: the longest must be above"):
        CWT(2).fit(X[..., :4])
    for bad in ({"size": 1}, {"shortest": 1.0}, {"wavelet": "haar"}, {"bandwidth": 9.0}):
        with pytest.raises(MmkdError, match=next(iter(bad))):
            CWT(**bad)
