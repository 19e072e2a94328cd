"""Gramian angular fields. Wang and Oates 2015, arXiv:1506.00327."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32, Float64, compiled, in_chunks


@dataclass(frozen=True)
class GAFConfig(Options):
    """Options of `gaf`."""

    size: int = option(64, "side of the field in pixels, at most the window's length", ge=2)
    method: Literal["summation", "difference"] = option("summation", "cos(a + b) or sin(a - b) of the angles")
    range: Literal["window", "train"] = option("window", "scaled by each window's or by the training windows' extremes")


@MODALITIES.register("gaf")
class GAF(Modality):
    """Gramian angular field of each channel: (N, C, W) to (N, C, S, S). Equals pyts' `GramianAngularField` to 1e-6.

    A window is averaged over S segments of (nearly) equal length, scaled to c in [-1, 1] by its own extremes, and read
    as the cosine of an angle; with s = sqrt(1 - c^2) the field is c c^T - s s^T (summation) or s c^T - c s^T
    (difference).

    With `range="train"` a channel is scaled by the extremes of its segments over all training windows and clipped to
    [-1, 1], which keeps amplitude; this form is fitted.

    A constant window (up to rounding), or with `range="train"` a channel constant in training, scales to -1: the
    summation field is all 1, the difference field all 0.

    Args:
        size: S, at most W.
        method: "summation" or "difference".
        range: "window" or "train".
    """

    Config = GAFConfig
    name = "gaf"
    _fits = ("low", "high")

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
        array = self._training(windows)
        _, channels, length = array.shape
        self.shape(channels, length)
        bounds = segment_bounds(length, self.options.size)

        def extremes(_: int, x: Float64) -> tuple[Float64, Float64]:
            means = np.empty((*x.shape[:2], self.options.size))
            _aggregate(x.reshape(-1, length), bounds, means.reshape(-1, self.options.size))
            return means.min(axis=(0, 2)), means.max(axis=(0, 2))

        lows, highs = zip(*in_chunks(extremes, array, 8 * channels * self.options.size), strict=True)
        return self._keep(low=np.min(lows, axis=0), high=np.max(highs, axis=0))

    def _write(self, x: Float64, out: Float32) -> None:
        n, channels, length = x.shape
        size = self.options.size
        limits = np.stack([self._kept("low"), self._kept("high")], axis=1) if self.fitted else np.empty((0, 2))
        fields = out.reshape(n * channels, size, size)
        _fields(
            x.reshape(-1, length), segment_bounds(length, size), limits, self.options.method == "difference", fields
        )


def segment_bounds(length: int, size: int) -> NDArray[np.int64]:
    """The bounds (size + 1,) of the segments that a window is averaged over, cut as pyts cuts them."""
    return np.linspace(0, length, size + 1).astype(np.int64)


@compiled
def _mean(row: Float64, start: int, stop: int) -> float:
    total = 0.0
    for t in range(start, stop):
        total += row[t]
    return total / (stop - start)


@compiled
def _aggregate(rows: Float64, bounds: NDArray[np.int64], out: Float64) -> None:
    for r in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[r, j] = _mean(rows[r], bounds[j], bounds[j + 1])


@compiled
def _fields(
    rows: Float64, bounds: NDArray[np.int64], limits: Float64, difference: bool, out: Float32
) -> None:  # cosines and sines in float64, because 1 - c^2 cancels; their product in float32
    size = out.shape[1]
    scaled = np.empty(size)
    cosine = np.empty(size, dtype=np.float32)
    sine = np.empty(size, dtype=np.float32)
    for r in range(out.shape[0]):
        for j in range(size):
            scaled[j] = _mean(rows[r], bounds[j], bounds[j + 1])
        if limits.shape[0] > 0:
            low = limits[r % limits.shape[0], 0]
            high = limits[r % limits.shape[0], 1]
        else:
            low = scaled.min()
            high = scaled.max()
        rounding = 2.220446049250313e-15 * max(1.0, abs(low), abs(high))
        for j in range(size):
            c = -1.0
            if high - low >= rounding:
                c = min(max(2.0 * ((scaled[j] - low) / (high - low)) - 1.0, -1.0), 1.0)
            cosine[j] = c
            sine[j] = np.sqrt(max(1.0 - c * c, 0.0))
        left = sine if difference else cosine
        right = cosine if difference else sine
        for i in range(size):
            a = left[i]
            b = right[i]
            for j in range(size):
                out[r, i, j] = a * cosine[j] - b * sine[j]
