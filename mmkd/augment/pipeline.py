"""Several augmentations after each other, and the mixing of windows with partners."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmkd.augment.base import Augmentation, Channels
from mmkd.augment.draws import Float32, Streams

CHANGES, MIXES = 0, 1
"""The streams of a window: what it is changed by, and what it is mixed with."""


@dataclass(frozen=True)
class Mixing:
    """With what windows are mixed.

    Attributes:
        partners: (B,) positions of the other windows.
        weights: (B, W), of the windows themselves; those of their partners are 1 - weights.
        shares: (B,) of the windows' own labels, at least 0.5: the means of the weights.
    """

    partners: NDArray[np.int64]
    weights: Float32
    shares: Float32


class Pipeline:
    """Augmentations that are applied in their order; one that mixes windows comes last, whatever its place.

    Args:
        channels: of the windows.
        seed: of all draws.
    """

    def __init__(self, augmentations: Sequence[Augmentation], channels: Channels, seed: int) -> None:
        self.changes = [augmentation for augmentation in augmentations if not augmentation.mixes]
        self.mixer = next((augmentation for augmentation in augmentations if augmentation.mixes), None)
        self.channels = channels
        self.streams = Streams(seed)

    def change(self, x: Float32, windows: NDArray[np.int64], numbers: NDArray[np.int64]) -> Float32:
        """Windows after all augmentations but the one that mixes.

        Args:
            x: (B, C, W), which may be changed.
            windows, numbers: (B,) as in `Streams.draws`.
        """
        draws = self.streams.draws(windows, numbers, CHANGES)
        for augmentation in self.changes:
            x = np.asarray(augmentation.apply(x, draws, self.channels), np.float32)
        return x

    def mixing(
        self,
        windows: NDArray[np.int64],
        numbers: NDArray[np.int64],
        positions: NDArray[np.int64],
        groups: Sequence[NDArray[np.int64]],
        length: int,
    ) -> Mixing | None:
        """With what windows are mixed; None if no augmentation mixes.

        Args:
            windows, numbers: (B,) as in `Streams.draws`.
            positions: (B,) of the windows among all training windows.
            groups: positions that may be partners of each other, such as those of labelled windows; each position is in
                one of them.
            length: samples of a window, W.
        """
        if self.mixer is None:
            return None
        draws = self.streams.draws(windows, numbers, MIXES)
        places = draws.each(lambda generator: generator.random())
        partners = np.empty(len(positions), np.int64)
        for group in groups:
            own = np.isin(positions, group)
            partners[own] = group[(places[own] * len(group)).astype(np.int64)]
        weights = np.asarray(self.mixer.weights(draws, length), np.float32)
        shares = weights.mean(1)
        swapped = shares < 0.5
        weights = np.where(swapped[:, None], 1 - weights, weights)
        return Mixing(partners, weights, np.where(swapped, 1 - shares, shares))
