"""The base of views whose values have the signal's unit: each channel is divided by its training deviation first."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from mmkd.core.options import Options
from mmkd.views.base import Modality
from mmkd.views.chunks import Float64
from mmkd.views.signal import Signal


class Scaled(Modality):
    """A modality with an option `scale`: with "train" it is fitted, and channels are in training deviations.

    A channel that is constant in training keeps its unit.
    """

    _fitted_names = ("std",)

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.fitted = self.options.scale == "train"

    def fit(self, windows: ArrayLike) -> Self:
        if not self.fitted:
            return self
        array = self._check_training(windows)
        self.shape(*array.shape[1:])
        return self._set_fitted(std=np.array(Signal().fit(array).state()["std"]))

    def _divisors(self, channels: int) -> Float64:
        """By what each channel is divided, (C,)."""
        if not self.fitted:
            return np.ones(channels)
        std = self._get_fitted("std")
        return np.where(std > 0, std, 1.0)
