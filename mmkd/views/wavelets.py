"""Continuous wavelets as filters of a window, with the numbers of PyWavelets."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.views.chunks import Float64

REACH = 8.0
"""Where the wavelets end, in units of scale 1."""
POINTS = 4096
"""Samples of a wavelet's integral, as in `pywt.cwt(precision=12)`."""


def morlet(t: Float64, bandwidth: float, frequency: float) -> NDArray[np.complex128]:
    """The complex Morlet wavelet, `cmorB-C` of PyWavelets."""
    envelope = np.exp(-(t**2) / bandwidth) / np.sqrt(np.pi * bandwidth)
    return np.asarray(envelope * np.exp(2j * np.pi * frequency * t))


def real_morlet(t: Float64, bandwidth: float, frequency: float) -> Float64:
    """The real Morlet wavelet, `morl`."""
    return np.asarray(np.cos(5 * t) * np.exp(-(t**2) / 2))


def mexican_hat(t: Float64, bandwidth: float, frequency: float) -> Float64:
    """The negated second derivative of a Gaussian, `mexh`."""
    return np.asarray(2 / (np.sqrt(3) * np.pi**0.25) * (1 - t**2) * np.exp(-(t**2) / 2))


WAVELETS: dict[str, tuple[Callable[[Float64, float, float], NDArray[Any]], float | None]] = {
    "cmor": (morlet, None),
    "morl": (real_morlet, 0.8125),
    "mexh": (mexican_hat, 0.25),
}
"""Wavelets and their centre frequencies at scale 1; that of `cmor` is an option."""


def fft_length(length: int) -> int:
    """Samples of the circular convolution: at least 2 W - 1, a power of two or 1.5 times one."""
    power: int = 1 << (2 * length - 2).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= 2 * length - 1 else power


@lru_cache(maxsize=8)
def transfer(
    wavelet: str, bandwidth: float, frequency: float, scales: tuple[float, ...], length: int
) -> NDArray[np.complex128]:
    """The transfer function (K, n) of the wavelet at each scale, for windows of W samples, with zeros around them.

    PyWavelets convolves a window with the differences of the wavelet's integral; so does this, by one product of
    spectra. Lags beyond the window meet zeros alone and are left out.
    """
    function, _ = WAVELETS[wavelet]
    t = np.linspace(-REACH, REACH, POINTS)
    step = t[1] - t[0]
    integral = np.conj(np.cumsum(function(t, bandwidth, frequency)) * step)
    n = fft_length(length)
    taps = np.zeros((len(scales), n), dtype=np.complex128)
    lags = np.arange(1 - length, length)
    for row, scale in zip(taps, scales, strict=True):
        at = (np.arange(scale * 2 * REACH + 1) / (scale * step)).astype(np.int64)
        heights = integral[at[at < POINTS]][::-1]
        filter = -np.sqrt(scale) * np.diff(heights, prepend=0, append=0)  # the first one is at -1
        at = lags + (len(heights) - 2) // 2 + 1
        inside = (at >= 0) & (at < len(filter))
        row[lags[inside]] = filter[at[inside]]
    return np.fft.fft(taps, axis=-1)
