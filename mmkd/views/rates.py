"""A modality of a slower sensor: `gaf@25Hz` is `gaf` of windows that are resampled to 25 samples a second."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.data.resampling import CHUNK, resample_windows, resampled_length
from mmkd.views.base import Modality
from mmkd.views.chunks import Float32


class Resampled(Modality):
    """Another modality, applied to windows at another sampling rate.

    Windows (N, C, W) are resampled to (N, C, W'), each by itself, with the anti-alias filter of `data.resampling`
    before the inner modality transforms them. They last as long as before: W' = W rate_hz / from_hz, rounded up.

    Args:
        inner: the modality to apply.
        rate_hz: samples a second that the inner modality gets.
        from_hz: samples a second of the windows.

    >>> from mmkd.views import Signal
    >>> Resampled(Signal(), rate_hz=20.0, from_hz=50.0).shape(channels=6, length=128)
    (6, 52)
    """

    def __init__(self, inner: Modality, rate_hz: float, from_hz: float) -> None:
        super().__init__(inner.options)
        self.inner = inner
        self.rate_hz = rate_hz
        self.from_hz = from_hz
        self.fitted = inner.fitted

    @property
    def version(self) -> int:  # type: ignore[override]
        """The version of the inner modality."""
        return self.inner.version

    def config(self) -> dict[str, Any]:
        return {**self.inner.config(), "rate_hz": self.rate_hz, "from_hz": self.from_hz}

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        return self.inner.shape(channels, resampled_length(length, self.from_hz, self.rate_hz))

    def fit(self, windows: ArrayLike) -> Self:
        self.inner.fit(self._resample(np.asarray(windows)))
        return self

    def transform(self, windows: ArrayLike, out: NDArray[np.float32] | None = None) -> Float32:
        array = np.asarray(windows)
        if array.ndim != 3 or len(array) <= CHUNK:
            return self.inner.transform(self._resample(array), out)
        result = np.empty((len(array), *self.shape(*array.shape[1:])), np.float32) if out is None else out
        for start in range(0, len(array), CHUNK):
            part = slice(start, start + CHUNK)
            self.inner.transform(self._resample(array[part]), result[part])
        return result

    def state(self) -> dict[str, list[float]]:
        return self.inner.state()

    def load_state(self, state: Mapping[str, Any]) -> Self:
        self.inner.load_state(state)
        return self

    def _resample(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.ndim != 3 or array.dtype.kind not in "fiu":
            return array  # the inner modality reports what is wrong
        return resample_windows(array, self.from_hz, self.rate_hz)
