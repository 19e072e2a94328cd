"""The signal itself, standardised."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32, Float64, in_chunks

CHUNK_VALUES = 1 << 19  # of the sums in `fit`; fixed, so that their last digits are the same on every machine


@MODALITIES.register("sig")
class Signal(Modality):
    """Each channel less its training mean, over its training standard deviation: (N, C, W) to (N, C, W).

    Mean and (population) standard deviation are taken over all samples of all training windows, in float64. A channel
    that is constant in training, or varies by no more than rounding, becomes zeros.
    """

    name = "sig"
    fitted = True
    _fits = ("mean", "std")

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        return (channels, length)

    def fit(self, windows: ArrayLike) -> Self:
        array = self._training(windows)
        n, channels, length = array.shape
        rows = max(1, CHUNK_VALUES // (channels * length))
        count = n * length
        mean = np.sum(in_chunks(lambda _, x: x.sum(axis=(0, 2)) / count, array, rows=rows), axis=0)

        def squares(_: int, x: Float64) -> Float64:
            centred = x - mean[:, None]
            mean_square: Float64 = np.einsum("nct,nct->c", centred, centred) / count
            return mean_square

        std = np.sqrt(np.sum(in_chunks(squares, array, rows=rows), axis=0))
        std[std <= 1e-14 * np.abs(mean)] = 0
        return self._keep(mean=mean, std=std)

    def _write(self, x: Float64, out: Float32) -> None:
        std = self._kept("std")
        centred = x - self._kept("mean")[:, None]
        centred *= np.divide(1, std, out=np.zeros_like(std), where=std > 0)[:, None]
        out[...] = centred

    def _scratch(self, channels: int, length: int) -> int:
        return 8 * channels * length
