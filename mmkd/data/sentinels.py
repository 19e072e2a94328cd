"""Values that stand for a missing one in a file, such as -999: far from all other values of a channel, and repeated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmkd.core.text import shorten

LEAST = 5
"""Samples that have the value."""
FAR, FAR_IF_USUAL = 10, 2
"""Interquartile ranges of the other values between them and the value; fewer where it is one of the usual ones."""
USUAL = {sign * (10.0**k - less) for sign in (-1, 1) for k in range(3, 11) for less in (0, 1)} | {-32768.0, 32767.0}
MOST = 4
"""Such values of a channel that are looked for."""
LARGEST = 2**24
"""Magnitude up to which whole numbers say something in float32; the usual values may be larger."""
SOME = 100_000
"""Values of a channel from which its interquartile range is taken."""

Flags = NDArray[np.bool_]


def describe_sentinels(
    x: NDArray[np.float32], channels: Sequence[str], offset: Sequence[float] | None = None
) -> list[str]:
    """A line that names the channels with values that seem to stand for missing ones; none if there are none.

    Args:
        x: (N, C, W) finite.
        channels: C names.
        offset: C values that were subtracted from the channels of the file.
    """
    found = []
    for channel, name in enumerate(channels):
        for value, held in find_sentinels(x[:, channel], offset[channel] if offset else 0.0):
            windows = int(held.any(axis=1).sum())
            found.append(f"{name} has {value:.10g} in {windows:,} window{'s' * (windows > 1)}")
    text = shorten(", ".join(found), 200)
    return [f"values far from all others of their channel: {text}: do they stand for missing ones?"] if found else []


def find_sentinels(values: NDArray[np.float32], offset: float = 0.0) -> list[tuple[float, Flags]]:
    """The whole numbers at an end of a channel that are repeated exactly, with no other value anywhere near.

    Args:
        values: (N, W) finite, of one channel.
        offset: what was subtracted from them.

    Returns:
        Each value as in the file, and (N, W) bool, the samples that have it.
    """
    found: list[tuple[float, Flags]] = []
    rest = np.ones(values.shape, bool)
    while len(found) < MOST:
        ends = (values[rest].min(), values[rest].max())
        stands_for = next((end for end in ends if _is_alone(values, rest, end, offset)), None)
        if stands_for is None:
            break
        held = rest & (values == stands_for)
        found.append((float(round(float(stands_for) + offset)), held))
        rest &= ~held
    return found


def _is_alone(values: NDArray[np.float32], rest: Flags, end: np.float32, offset: float) -> bool:
    """Whether the value `end` is a whole number in the file, is repeated, and lies far from the `rest`."""
    value = float(round(float(end) + offset))
    held = rest & (values == end)
    is_usual = value in USUAL
    is_whole = np.float32(value - offset) == end and (abs(value) < LARGEST or is_usual)
    if not is_whole or held.sum() < LEAST:
        return False
    others = values[rest & ~held]
    if not len(others):
        return False
    low, high = np.quantile(others[:: max(1, len(others) // SOME)].astype(np.float64), (0.25, 0.75))
    gap = abs(float(others.min() if end < others[0] else others.max()) - float(end))  # `end` lies beyond all others
    return bool(gap > FAR_IF_USUAL * (high - low) if is_usual else gap > FAR * (high - low) > 0)
