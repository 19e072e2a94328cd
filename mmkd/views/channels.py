"""A modality of some of the channels: `gaf@gyro` is `gaf` of the channel group `gyro`."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.registry import group_of, kind_of
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32


class OfChannels(Modality):
    """Another modality on some channels of each window: (N, C, W) to what that one makes of (N, channels, W).

    Args:
        inner: the modality, not registered under a name of its own here.
        channels: the numbers of the channels, in the order in which the inner modality has them.
    """

    def __init__(self, inner: Modality, channels: Sequence[int]) -> None:
        super().__init__(inner.options)
        self.inner, self.channels = inner, list(channels)
        self.fitted = inner.fitted
        if not self.channels or min(self.channels) < 0 or len(set(self.channels)) < len(self.channels):
            raise MmkdError(f"channels {self.channels} must be one or more numbers from 0, each once")

    @property
    def version(self) -> int:  # type: ignore[override]
        """That of the inner modality."""
        return type(self.inner).version

    def config(self) -> dict[str, Any]:
        return {**self.inner.config(), "channels": self.channels}

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        if max(self.channels) >= channels:
            raise MmkdError(f"channel number {max(self.channels)} of a group, and windows have {channels} channels")
        return self.inner.shape(len(self.channels), length)

    def fit(self, windows: ArrayLike) -> Self:
        self.inner.fit(self._picked(windows))
        return self

    def transform(self, windows: ArrayLike, out: NDArray[np.float32] | None = None) -> Float32:
        return self.inner.transform(self._picked(windows), out)

    def state(self) -> dict[str, list[float]]:
        return self.inner.state()

    def load_state(self, state: Mapping[str, Any]) -> Self:
        self.inner.load_state(state)
        return self

    def _picked(self, windows: ArrayLike) -> NDArray[Any]:
        array = np.asarray(windows)
        if array.ndim != 3:
            return array  # the inner modality says what is wrong
        self.shape(*array.shape[1:])
        return array[:, self.channels]


def make(name: str, config: Mapping[str, Any]) -> Modality:
    """The modality called `name`, of all channels or of those that `config["channels"]` numbers."""
    cls = MODALITIES.get(kind_of(name))
    if not group_of(name):
        return cls(**config)
    return OfChannels(cls(**{key: value for key, value in config.items() if key != "channels"}), config["channels"])
