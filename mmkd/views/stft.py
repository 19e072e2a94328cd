"""Spectrograms: short-time Fourier transforms."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES
from mmkd.views.chunks import Float32, Float64
from mmkd.views.spectra import Spectral, Values

SHORTEST = 4
"""Samples of the shortest segment."""


@dataclass(frozen=True)
class STFTConfig(Options):
    """Options of `stft`."""

    segment: int | None = option(None, "samples of a segment; default: a quarter of the window, even", ge=SHORTEST)
    hop: int | None = option(None, "samples from one segment to the next; default: an eighth of a segment", ge=1)
    values: Values = option("log", "log10 of power + 1e-6, magnitude, or power")
    centre: bool = option(False, "whether the mean of each window is subtracted first")
    scale: Literal["train", "none"] = option("train", "signals in training deviations, or in their unit")


@MODALITIES.register("stft")
class STFT(Spectral):
    """Spectrogram of each channel: (N, C, W) to (N, C, F, T). Equals `scipy.signal.stft` to 1e-6.

    Segments of L samples, H apart and none beyond the window, are weighted by a periodic Hann window, and their Fourier
    coefficients divided by the sum of its weights (scipy's scaling "spectrum", without its padding). There are
    F = L // 2 + 1 frequencies, the lowest first, and T = 1 + (W - L) // H segments. A sine of amplitude a has magnitude
    a / 2 at its frequency.

    The spectrogram of a constant window is zero but for the lowest frequencies, with `centre` for all (log: -6).

    Args: the fields of `STFTConfig`.

    >>> STFT(segment=32, hop=8).shape(channels=3, length=128)
    (3, 17, 13)
    """

    Config = STFTConfig
    name = "stft"

    def __init__(
        self,
        segment: int | None = None,
        hop: int | None = None,
        *,
        values: Values = STFTConfig.values,
        centre: bool = STFTConfig.centre,
        scale: Literal["train", "none"] = STFTConfig.scale,
    ) -> None:
        super().__init__(STFTConfig(segment, hop, values, centre, scale))

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        segment, hop = self._segments(length)
        return (channels, segment // 2 + 1, 1 + (length - segment) // hop)

    def _segments(self, length: int) -> tuple[int, int]:
        """Samples of a segment, and from one to the next."""
        segment = self.options.segment or length // 8 * 2
        if segment < SHORTEST:
            raise MmkdError(f"stft: windows of {length} samples have no quarter of {SHORTEST}; give its segment")
        if segment > length:
            raise MmkdError(f"stft of segment {segment} needs windows of at least {segment} samples, found {length}")
        return segment, self.options.hop or max(1, segment // 8)

    def _scratch_bytes(self, channels: int, length: int) -> int:
        segment, hop = self._segments(length)
        return 8 * channels * (length + 4 * segment * (1 + (length - segment) // hop))

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        segment, hop = self._segments(x.shape[2])
        weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(segment) / segment)
        segments = sliding_window_view(self._prepare(x), segment, axis=-1)[:, :, ::hop]
        spectrum = np.fft.rfft(segments * (weights / weights.sum()), axis=-1)
        self._write((spectrum.real**2 + spectrum.imag**2).swapaxes(2, 3), out)
