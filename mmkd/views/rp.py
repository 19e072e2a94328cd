"""Recurrence plots. Eckmann, Kamphorst and Ruelle 1987, Europhysics Letters 4(9)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES
from mmkd.views.chunks import LARGEST, Float32, Float64, compile_kernel
from mmkd.views.gaf import ROUNDING, mean_of, segment_bounds
from mmkd.views.scaled import Scaled

NONE, POINT, DISTANCE, FIXED = range(4)
"""How the kernel finds the threshold."""


@dataclass(frozen=True)
class RPConfig(Options):
    """Options of `rp`."""

    size: int = option(64, "side of the plot in pixels, at most the window's length", ge=2)
    dimension: int = option(1, "values of a state: the window at t, t + delay, ...", ge=1)
    delay: int = option(1, "segments between two values of a state", ge=1)
    threshold: Literal["none", "point", "distance", "fixed"] = option(
        "none", "distances; or 1 where they are below a quantile, a share of the largest, or epsilon"
    )
    percentage: float = option(10.0, "the quantile of point, or the share of distance, in percent", gt=0, le=100)
    epsilon: float | None = option(None, "the threshold of fixed, in the unit of the distances", gt=0)
    scale: Literal["train", "image", "none"] = option(
        "train", "distances in training deviations, over their largest, or in the signal's unit"
    )


@MODALITIES.register("rp")
class RP(Scaled):
    """Recurrence plot of each channel: (N, C, W) to (N, C, S, S). Equals pyts' `RecurrencePlot` to 1e-6.

    A window is averaged over S + (dimension - 1) delay segments of (nearly) equal length. State i holds the segments
    i, i + delay, ..., and the plot the distances of all pairs of states, or with a threshold 1 where they are below it
    and 0 elsewhere. Distances are exact to 1e-7 of the window's range. `scale="none"` gives the numbers of pyts
    (`point` and `distance` do so with any scale). With `scale="train"` each channel is divided by its standard
    deviation over the training windows first.

    The plot of a constant window (up to rounding) is all 0, with `threshold="fixed"` all 1.

    Args: the fields of `RPConfig`.

    >>> RP(size=3, scale="none").transform([[[0.0, 1.0, 3.0]]])
    array([[[[0., 1., 3.],
             [1., 0., 2.],
             [3., 2., 0.]]]], dtype=float32)
    """

    Config = RPConfig
    name = "rp"

    def __init__(
        self,
        size: int = RPConfig.size,
        dimension: int = RPConfig.dimension,
        delay: int = RPConfig.delay,
        *,
        threshold: Literal["none", "point", "distance", "fixed"] = RPConfig.threshold,
        percentage: float = RPConfig.percentage,
        epsilon: float | None = None,
        scale: Literal["train", "image", "none"] = RPConfig.scale,
    ) -> None:
        super().__init__(RPConfig(size, dimension, delay, threshold, percentage, epsilon, scale))
        if (self.options.threshold == "fixed") != (self.options.epsilon is not None):
            raise MmkdError(
                f"threshold = {self.options.threshold} and epsilon = {self.options.epsilon}: "
                f"epsilon is for threshold fixed, which needs it"
            )

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        size = self.options.size
        if self._segments > length:
            states = f" and dimension {self.options.dimension}" if self.options.dimension > 1 else ""
            raise MmkdError(
                f"rp of size {size}{states} needs windows of at least {self._segments} samples, found {length}; "
                f"lower its size"
            )
        return (channels, size, size)

    @property
    def _segments(self) -> int:
        return int(self.options.size + (self.options.dimension - 1) * self.options.delay)

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        n, channels, length = x.shape
        options = self.options
        _plots(
            x.reshape(-1, length),
            segment_bounds(length, self._segments),
            self._divisors(channels),
            options.dimension,
            options.delay,
            {"none": NONE, "point": POINT, "distance": DISTANCE, "fixed": FIXED}[options.threshold],
            options.epsilon or options.percentage / 100,
            options.scale == "image",
            out.reshape(n * channels, options.size, options.size),
        )


@compile_kernel
def _distances(states: Float64, i: int, first: int, dimension: int, delay: int, out: Float64) -> None:
    """Write the distances of state i to the states from `first` on to the same places of `out` (S,)."""
    if dimension == 1:
        for j in range(first, out.shape[0]):
            out[j] = abs(states[i] - states[j])
        return
    for j in range(first, out.shape[0]):
        out[j] = 0.0
    for k in range(0, dimension * delay, delay):
        for j in range(first, out.shape[0]):
            gap = states[i + k] - states[j + k]
            out[j] += gap * gap
    for j in range(first, out.shape[0]):
        out[j] = np.sqrt(out[j])


@compile_kernel
def _point_limit(above: Float64, size: int, share: float) -> Any:
    """A quantile of all S x S distances, interpolated as `numpy.quantile` does, from those above the diagonal.

    Of all, in order, the S zeros of the diagonal come first, then each of the others twice.
    """
    position = (size * size - 1) * share
    before = int(position)
    after = min(before + 1, size * size - 1)
    if after < size:
        return 0.0
    rank = max(before - size, 0) // 2
    parted = np.partition(above, rank)
    low = 0.0 if before < size else parted[rank]
    high = parted[rank] if (after - size) // 2 == rank else parted[rank + 1 :].min()
    part = position - before
    return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part


@compile_kernel
def _plots(
    rows: Float64,
    bounds: NDArray[np.int64],
    divisors: Float64,
    dimension: int,
    delay: int,
    threshold: int,
    amount: float,
    relative: bool,
    out: Float32,
) -> None:
    """Draw the plots of all rows (R, W) into `out` (R, S, S).

    Args:
        divisors: (C,); row r is of channel r modulo C.
        amount: epsilon, or the share of `point` and `distance`.
        relative: whether distances are over the largest of their plot.
    """
    size = out.shape[1]
    states = np.empty(bounds.shape[0] - 1)
    line = np.empty(size)
    near = np.empty(size, dtype=np.float32)  # float32 is enough once the offset is gone
    above = np.empty(size * (size - 1) // 2 if threshold == POINT else 0)
    for r in range(out.shape[0]):
        for j in range(states.shape[0]):
            states[j] = mean_of(rows[r], bounds[j], bounds[j + 1]) / divisors[r % divisors.shape[0]]
        low = states.min()
        high = states.max()
        if high - low < ROUNDING * max(1.0, abs(low), abs(high)):
            states[:] = low
        largest = 0.0
        count = 0
        if relative or threshold in (POINT, DISTANCE):
            for i in range(size):
                _distances(states, i, i + 1, dimension, delay, line)
                for j in range(i + 1, size):
                    largest = max(largest, line[j])
                if threshold == POINT:
                    above[count : count + size - i - 1] = line[i + 1 :]
                    count += size - i - 1
        limit = amount
        if threshold == POINT:
            limit = _point_limit(above, size, amount)
        elif threshold == DISTANCE or (threshold == FIXED and relative):
            limit = amount * largest
        unit = 1.0 / largest if relative and largest > 0 else 1.0
        if threshold == NONE and dimension == 1:  # the usual case, in one pass
            for j in range(size):
                near[j] = min((states[j] - low) * unit, LARGEST)
            for i in range(size):
                for j in range(size):
                    out[r, i, j] = abs(near[i] - near[j])
            continue
        for i in range(size):
            _distances(states, i, 0, dimension, delay, line)
            if threshold == NONE:
                for j in range(size):
                    out[r, i, j] = min(line[j] * unit, LARGEST)
            else:
                for j in range(size):
                    out[r, i, j] = line[j] < limit
