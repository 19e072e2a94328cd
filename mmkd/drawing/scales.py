"""From values to pixels: scales with round ticks, ranges of arrays, and long curves with fewer points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.drawing.svg import path_data


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to pixels from `start` to `end`, linearly or on a logarithmic scale."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low = self.low
        high = self.high
        if self.log:
            low = math.log(low)
            high = math.log(high)
            value = math.log(max(value, 1e-300))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the scale, at least three."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5)):
                ticks = [s * 10.0**d for d in decades for s in steps if self.low <= s * 10.0**d <= self.high]
                if len(ticks) >= 3:
                    return ticks
        ticks = []
        while len(ticks) < 3 and count < 50:
            step = _round_step((self.high - self.low) / count)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            ticks = [n * step for n in range(first, last + 1)]
            count += 1
        return ticks


def _round_step(raw: float) -> float:
    """The next number that is 1, 2 or 5 times a power of ten."""
    if raw <= 0 or not math.isfinite(raw):
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(step for step in (1, 2, 5, 10) if step >= raw / power - 1e-9)


def scale_over(values: Sequence[float], start: float, end: float, log: bool = False, margin: float = 0.06) -> Scale:
    """A scale over all finite values, with a margin at both ends.

    Args:
        log: make it logarithmic if all values are positive and the largest is at least 8 times the smallest.
        margin: share of the range, at each end.
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low = min(finite)
    high = max(finite)
    if log and low > 0 and high / low >= 8:
        factor = (high / low) ** margin
        return Scale(low / factor, high * factor, start, end, True)
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def format_number(value: float) -> str:
    """A short number: `0.93`, `28.3k`, `1.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{round(value, 6):.4g}"


def value_range(values: ArrayLike) -> tuple[float, float]:
    """The smallest and the largest finite value; (0, 1) if there is none."""
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def thin_curve(values: NDArray[Any], most: int = 240) -> tuple[list[float], list[float]]:
    """Positions and values of a curve (W,); of a long one the least and greatest of each of `most` / 2 stretches."""
    flat = np.asarray(values, np.float64)
    if len(flat) <= most:
        return list(range(len(flat))), flat.tolist()
    edges = np.linspace(0, len(flat), most // 2 + 1).astype(int)
    picks = (np.argmin, np.argmax)
    positions = sorted({int(a + pick(flat[a:b])) for a, b in pairwise(edges) for pick in picks})
    return [float(n) for n in positions], flat[positions].tolist()


def curve_path(values: NDArray[Any], x: Scale, y: Scale, most: int = 240) -> str:
    """The attribute `d` of a path for the values (W,) at positions 0 to W - 1 of the scale `x`."""
    positions, heights = thin_curve(values, most)
    return path_data([x(position) for position in positions], [y(height) for height in heights])
