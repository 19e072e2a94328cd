"""The standardised signal."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32, Float64, map_chunks

CHUNK_VALUES = 1 << 19
"""Values in a chunk of `fit`; fixed, so that the last digits of its sums are the same on every machine."""


@MODALITIES.register("sig")
class Signal(Modality):
    """The signal, standardised for each channel: (N, C, W) to (N, C, W).

    The training mean of the channel is subtracted, and the result divided by its training (population) standard
    deviation; both are taken over all samples of all training windows, in float64. A channel that is constant in
    training, or varies by no more than rounding, becomes zeros.

    >>> Signal().fit([[[1.0, 3.0]]]).transform([[[1.0, 5.0]]])
    array([[[-1.,  3.]]], dtype=float32)
    """

    name = "sig"
    fitted = True
    _fitted_names = ("mean", "std")

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        return (channels, length)

    def fit(self, windows: ArrayLike) -> Self:
        array = self._check_training(windows)
        n, channels, length = array.shape
        rows = max(1, CHUNK_VALUES // (channels * length))
        count = n * length
        mean = np.sum(map_chunks(lambda _, x: x.sum(axis=(0, 2)) / count, array, rows=rows), axis=0)

        def squares(_: int, x: Float64) -> Float64:
            centred = x - mean[:, None]
            mean_square: Float64 = np.einsum("nct,nct->c", centred, centred) / count
            return mean_square

        std = np.sqrt(np.sum(map_chunks(squares, array, rows=rows), axis=0))
        std[std <= 1e-14 * np.abs(mean)] = 0
        return self._set_fitted(mean=mean, std=std)

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        std = self._get_fitted("std")
        centred = x - self._get_fitted("mean")[:, None]
        centred *= np.divide(1, std, out=np.zeros_like(std), where=std > 0)[:, None]
        out[...] = centred

    def _scratch_bytes(self, channels: int, length: int) -> int:
        return 8 * channels * length
