"""Scalograms: continuous wavelet transforms."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views import chunks
from mmkd.views.base import MODALITIES
from mmkd.views.chunks import Float32, Float64
from mmkd.views.gaf import segment_bounds
from mmkd.views.spectra import Spectral, Values
from mmkd.views.wavelets import WAVELETS, fft_length, transfer

BYTES = 64
"""Memory for each complex number that is transformed, with what comes of it."""

MOST_CACHED = 1 << 19
"""Numbers of a transfer function that is kept; a longer one is computed again for each chunk."""


@dataclass(frozen=True)
class CWTConfig(Options):
    """Options of `cwt`."""

    size: int = option(64, "side of the scalogram in pixels, at most the window's length", ge=2)
    wavelet: Literal["cmor", "morl", "mexh"] = option("cmor", "complex or real Morlet wavelet, or Mexican hat")
    bandwidth: float = option(1.5, "B of the complex Morlet wavelet, cmorB-C in PyWavelets", gt=0, le=8)
    frequency: float = option(1.0, "C of the complex Morlet wavelet, its centre frequency at scale 1", gt=0, le=8)
    shortest: float = option(2.5, "the shortest period, in samples", ge=2)
    longest: float | None = option(None, "the longest period, in samples; default: half the window", gt=2)
    values: Values = option("log", "log10 of power + 1e-6, magnitude, or power")
    centre: bool = option(True, "whether the mean of each window is subtracted first; the ends would show it")
    scale: Literal["train", "none"] = option("train", "signals in training deviations, or in their unit")


@MODALITIES.register("cwt")
class CWT(Spectral):
    """Scalogram of each channel: (N, C, W) to (N, C, S, S). Equals the power of `pywt.cwt` to 1e-6.

    The rows are S periods, the longest first, each shorter than the one before by the same factor; the scale of a
    period is its length in samples times the wavelet's centre frequency. The power, or the magnitude, of the wavelet
    coefficients of all samples is averaged over S segments of (nearly) equal length.

    The scalogram of a constant window is zero (log: -6), unless `centre` is off and its ends show.

    Args: the fields of `CWTConfig`.

    >>> CWT(size=32).shape(channels=3, length=128)
    (3, 32, 32)
    """

    Config = CWTConfig
    name = "cwt"

    def __init__(
        self,
        size: int = CWTConfig.size,
        wavelet: Literal["cmor", "morl", "mexh"] = CWTConfig.wavelet,
        *,
        bandwidth: float = CWTConfig.bandwidth,
        frequency: float = CWTConfig.frequency,
        shortest: float = CWTConfig.shortest,
        longest: float | None = None,
        values: Values = CWTConfig.values,
        centre: bool = CWTConfig.centre,
        scale: Literal["train", "none"] = CWTConfig.scale,
    ) -> None:
        super().__init__(CWTConfig(size, wavelet, bandwidth, frequency, shortest, longest, values, centre, scale))

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        size = self.options.size
        if size > length:
            raise MmkdError(
                f"cwt of size {size} needs windows of at least {size} samples, found {length}; lower its size"
            )
        self.periods(length)
        return (channels, size, size)

    def periods(self, length: int) -> Float64:
        """The period of each row in samples, (S,), the longest first."""
        longest = self.options.longest or length / 2
        if longest <= self.options.shortest:
            raise MmkdError(
                f"cwt: periods from {self.options.shortest:g} up to {longest:g} samples, of windows of {length}: "
                f"the longest must be above the shortest"
            )
        return np.geomspace(longest, self.options.shortest, self.options.size)

    def _scratch_bytes(self, channels: int, length: int) -> int:
        return 8 * channels * (3 * length + 2 * fft_length(length) + int(self.options.size) ** 2)

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        n, channels, length = x.shape
        size = self.options.size
        points = fft_length(length)
        spectra = np.fft.fft(self._prepare(x).reshape(n * channels, length), points, axis=-1)
        power = np.empty((n * channels, size, size))
        numbers = chunks.CHUNK_BYTES // BYTES
        periods = min(size, max(1, numbers // points))
        rows = max(1, numbers // (periods * points))
        for first in range(0, size, periods):
            filters = self._filters(length, slice(first, first + periods))
            for start in range(0, len(spectra), rows):
                block = spectra[start : start + rows, None] * filters
                found = np.fft.ifft(block, axis=-1)[..., :length]
                power[start : start + rows, first : first + periods] = self._segment_means(found)
        self._write(power.reshape(out.shape), out)

    def _filters(self, length: int, part: slice) -> NDArray[np.complex128]:
        """The transfer functions of some of the periods."""
        options = self.options
        frequency = WAVELETS[options.wavelet][1] or options.frequency
        scales = tuple((self.periods(length)[part] * frequency).tolist())
        make = transfer if options.size * fft_length(length) <= MOST_CACHED else transfer.__wrapped__
        return make(options.wavelet, options.bandwidth, options.frequency, scales, length)

    def _segment_means(self, found: NDArray[np.complex128]) -> Float64:
        """The mean power of coefficients (..., W) in S segments; or with magnitudes, their mean, squared."""
        bounds = segment_bounds(found.shape[-1], self.options.size)
        power = found.real**2 + found.imag**2
        magnitudes = self.options.values == "magnitude"
        sums = np.add.reduceat(np.sqrt(power) if magnitudes else power, bounds[:-1], axis=-1)
        means: Float64 = sums / np.diff(bounds)
        return means**2 if magnitudes else means
