"""Gramian angular fields. Wang and Oates 2015, arXiv:1506.00327."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32, Float64, compile_kernel, map_chunks

ROUNDING = 2.220446049250313e-15
"""A window that varies by less is constant; relative to its largest value, or to 1 if that is smaller."""


@dataclass(frozen=True)
class GAFConfig(Options):
    """Options of `gaf`."""

    size: int = option(64, "side of the field in pixels, at most the window's length", ge=2)
    method: Literal["summation", "difference"] = option("summation", "cos(a + b) or sin(a - b) of the angles")
    range: Literal["window", "train"] = option("window", "scaled by each window's or by the training windows' extremes")


@MODALITIES.register("gaf")
class GAF(Modality):
    """Gramian angular field of each channel: (N, C, W) to (N, C, S, S). Equals pyts' `GramianAngularField` to 1e-6.

    A window is averaged over S segments of (nearly) equal length, scaled to c in [-1, 1] by its own minimum and
    maximum, and c is read as the cosine of an angle. With s = sqrt(1 - c^2) the field is c c^T - s s^T (summation) or
    s c^T - c s^T (difference).

    With `range="train"` a channel is scaled by the minimum and maximum of its segments over all training windows and
    clipped to [-1, 1]. This form keeps the amplitude, and is fitted.

    A constant window (up to rounding) is scaled to -1, and so is a channel that is constant in training with
    `range="train"`: the summation field is then all 1, the difference field all 0.

    Args:
        size: S, at most W.
        method: "summation" or "difference".
        range: "window" or "train".

    >>> GAF(size=2).transform([[[0.0, 1.0]]])
    array([[[[ 1., -1.],
             [-1.,  1.]]]], dtype=float32)
    """

    Config = GAFConfig
    name = "gaf"
    _fitted_names = ("low", "high")

    def __init__(
        self,
        size: int = GAFConfig.size,
        method: Literal["summation", "difference"] = GAFConfig.method,
        range: Literal["window", "train"] = GAFConfig.range,
    ) -> None:
        super().__init__(GAFConfig(size, method, range))
        self.fitted = self.options.range == "train"

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        size = self.options.size
        if size > length:
            raise MmkdError(
                f"gaf of size {size} needs windows of at least {size} samples, found {length}; lower its size"
            )
        return (channels, size, size)

    def fit(self, windows: ArrayLike) -> Self:
        if not self.fitted:
            return self
        array = self._check_training(windows)
        _, channels, length = array.shape
        self.shape(channels, length)
        bounds = segment_bounds(length, self.options.size)

        def extremes(_: int, x: Float64) -> tuple[Float64, Float64]:
            means = np.empty((*x.shape[:2], self.options.size))
            _aggregate(x.reshape(-1, length), bounds, means.reshape(-1, self.options.size))
            return means.min(axis=(0, 2)), means.max(axis=(0, 2))

        lows, highs = zip(*map_chunks(extremes, array, 8 * channels * self.options.size), strict=True)
        return self._set_fitted(low=np.min(lows, axis=0), high=np.max(highs, axis=0))

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        n, channels, length = x.shape
        size = self.options.size
        limits = np.empty((0, 2))
        if self.fitted:
            limits = np.stack([self._get_fitted("low"), self._get_fitted("high")], axis=1)
        fields = out.reshape(n * channels, size, size)
        _fields(
            x.reshape(-1, length), segment_bounds(length, size), limits, self.options.method == "difference", fields
        )


def segment_bounds(length: int, size: int) -> NDArray[np.int64]:
    """The bounds (size + 1,) of the segments over which a window is averaged; the same as those of pyts."""
    return np.linspace(0, length, size + 1).astype(np.int64)


@compile_kernel
def mean_of(row: Float64, start: int, stop: int) -> float:
    """The mean of a part of a row."""
    total = 0.0
    for t in range(start, stop):
        total += row[t]
    return total / (stop - start)


@compile_kernel
def _aggregate(rows: Float64, bounds: NDArray[np.int64], out: Float64) -> None:
    for r in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[r, j] = mean_of(rows[r], bounds[j], bounds[j + 1])


@compile_kernel
def _fields(
    rows: Float64, bounds: NDArray[np.int64], limits: Float64, difference: bool, out: Float32
) -> None:  # cosines and sines in float64, because 1 - c^2 loses digits; their products in float32
    size = out.shape[1]
    means = np.empty(size)
    cosine = np.empty(size, dtype=np.float32)
    sine = np.empty(size, dtype=np.float32)
    for r in range(out.shape[0]):
        for j in range(size):
            means[j] = mean_of(rows[r], bounds[j], bounds[j + 1])
        if limits.shape[0] > 0:
            low = limits[r % limits.shape[0], 0]
            high = limits[r % limits.shape[0], 1]
        else:
            low = means.min()
            high = means.max()
        rounding = ROUNDING * max(1.0, abs(low), abs(high))
        for j in range(size):
            c = -1.0
            if high - low >= rounding:
                c = min(max(2.0 * ((means[j] - low) / (high - low)) - 1.0, -1.0), 1.0)
            cosine[j] = c
            sine[j] = np.sqrt(max(1.0 - c * c, 0.0))
        left = sine if difference else cosine
        right = cosine if difference else sine
        for i in range(size):
            a = left[i]
            b = right[i]
            for j in range(size):
                out[r, i, j] = a * cosine[j] - b * sine[j]
