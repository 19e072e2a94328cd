"""A modality of some of the channels: `gaf@gyro` is `gaf` of the channel group `gyro`, `gaf@gyro@25Hz` at 25 Hz."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.registry import group_of, kind_of, rate_of
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32
from mmkd.views.rates import Resampled


class ChannelSubset(Modality):
    """Another modality, applied to some channels of each window.

    Windows (N, C, W) are reduced to (N, len(channels), W) before the inner modality transforms them.

    Args:
        inner: the modality to apply.
        channels: the numbers of the channels, in the order in which the inner modality gets them.

    >>> from mmkd.views import Signal
    >>> ChannelSubset(Signal(), [4, 2]).shape(channels=6, length=128)
    (2, 128)
    """

    def __init__(self, inner: Modality, channels: Sequence[int]) -> None:
        super().__init__(inner.options)
        self.inner = inner
        self.channels = list(channels)
        self.fitted = inner.fitted
        if not self.channels or min(self.channels) < 0 or len(set(self.channels)) < len(self.channels):
            raise MmkdError(f"channels {self.channels} must be one or more numbers from 0, each once")

    @property
    def version(self) -> int:  # type: ignore[override]
        """The version of the inner modality."""
        return self.inner.version

    def config(self) -> dict[str, Any]:
        return {**self.inner.config(), "channels": self.channels}

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        if max(self.channels) >= channels:
            raise MmkdError(f"channel number {max(self.channels)} of a group, and windows have {channels} channels")
        return self.inner.shape(len(self.channels), length)

    def fit(self, windows: ArrayLike) -> Self:
        self.inner.fit(self._select(windows))
        return self

    def transform(self, windows: ArrayLike, out: NDArray[np.float32] | None = None) -> Float32:
        return self.inner.transform(self._select(windows), out)

    def state(self) -> dict[str, list[float]]:
        return self.inner.state()

    def load_state(self, state: Mapping[str, Any]) -> Self:
        self.inner.load_state(state)
        return self

    def _select(self, windows: ArrayLike) -> NDArray[Any]:
        array = np.asarray(windows)
        if array.ndim != 3:
            return array  # the inner modality reports what is wrong
        self.shape(*array.shape[1:])
        return array[:, self.channels]


OF_WINDOWS = ("channels", "rate_hz", "from_hz")
"""Entries of a configuration that say of which windows a view is; the others are options of its modality."""


def make_modality(name: str, config: Mapping[str, Any]) -> Modality:
    """Make a modality from its name and the options of its constructor.

    Args:
        name: such as `gaf`, `gaf@gyro` of a channel group, or `gaf@25Hz` or `gaf@gyro@25Hz` of a slower sensor.
        config: the options; for a channel group also `channels`, the numbers of its channels; at a rate of its own
            also `rate_hz`, and `from_hz`, the rate of the windows.

    >>> make_modality("gaf@gyro", {"size": 32, "channels": [3, 4, 5]}).shape(channels=6, length=128)
    (3, 32, 32)
    >>> make_modality("sig@25Hz", {"rate_hz": 25.0, "from_hz": 50.0}).shape(channels=6, length=128)
    (6, 64)
    """
    cls = MODALITIES.get(kind_of(name))
    if not group_of(name) and not rate_of(name):
        return cls(**config)
    modality: Modality = cls(**{key: value for key, value in config.items() if key not in OF_WINDOWS})
    if rate_of(name):
        modality = Resampled(modality, config["rate_hz"], config["from_hz"])
    return ChannelSubset(modality, config["channels"]) if group_of(name) else modality
