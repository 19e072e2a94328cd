"""A network in integers, in numpy: what the C source computes, to the bit. Needs no torch.

Activations are int8 with one scale and zero point a tensor: a value is `scale * (q - zero)`. Weights are int8,
symmetric, with one scale an output channel; sums are int32. A sum becomes the next int8 by `requantise`: times an
integer, plus half, and shifted down, so that halves are rounded up. Then the zero point is added, and what is outside
of int8, or below the zero point after a ReLU, is cut off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
LOWEST, HIGHEST = -128, 127
LOGIT_BITS = 10
"""Logits are integers in units of 1 / 1024."""
CENTRE_BITS = 8
"""Centres of integer windows are kept in 1 / 256 of their unit."""
FAR = 512.0
"""Standardised values beyond this many steps are cut off before they are turned into integers."""


@dataclass(frozen=True)
class FloatInput:
    """A view of raw float32 windows, in float32: minus `centre`, times `factor`, rounded, halves up.

    NaN counts as the training mean of its channel; infinities, like all that is too large, are cut off.

    Attributes:
        channels: numbers of the raw channels.
        centre, factor: (C,) float32; `factor` is one over deviation and scale.
    """

    output: str
    channels: tuple[int, ...]
    centre: NDArray[np.float32]
    factor: NDArray[np.float32]
    zero: int
    inputs: tuple[str, ...] = ()

    def run(self, windows: NDArray[np.float32]) -> Integers:
        """Raw windows (B, channels, W) to (B, C, W)."""
        with np.errstate(all="ignore"):  # infinities of the input are meant to be there
            x = np.asarray(windows, np.float32)[:, list(self.channels)]
            steps = (x - self.centre[:, None]) * self.factor[:, None]
        steps = np.clip(np.where(np.isnan(steps), np.float32(0), steps), np.float32(-FAR), np.float32(FAR))
        whole = np.trunc(steps)
        rest = steps - whole
        rounded = whole.astype(np.int64) + (rest >= 0.5) - (rest < -0.5)
        return cut(rounded + self.zero)


@dataclass(frozen=True)
class IntegerInput:
    """A view of raw int16 windows: times 256, minus `centre`, times `multiplier`, and shifted down, halves up.

    Attributes:
        channels: numbers of the raw channels.
        unit: (C,) what one step of the int16 is worth; for people and for `as_counts`, not for the network.
    """

    output: str
    channels: tuple[int, ...]
    unit: NDArray[np.float64]
    centre: Integers
    multiplier: Integers
    shift: int
    zero: int
    inputs: tuple[str, ...] = ()

    def run(self, windows: NDArray[np.int16]) -> Integers:
        """Raw windows (B, channels, W) to (B, C, W)."""
        x = (np.asarray(windows, np.int64)[:, list(self.channels)] << CENTRE_BITS) - self.centre[:, None]
        rounded = requantise(x, self.multiplier[:, None], self.shift)
        return cut(rounded + self.zero)


@dataclass(frozen=True)
class IntegerConv:
    """A convolution, or a linear layer; of the last layer (`logits`) the sums are not cut to int8.

    Attributes:
        weight: (O, C / groups, taps) in [-127, 127].
        bias, multiplier: (O,) in int32.
        lowest: the smallest result, `zero_out` if a ReLU follows.
    """

    inputs: tuple[str, ...]
    output: str
    weight: Integers
    bias: Integers
    multiplier: Integers
    shift: int
    zero_in: int
    zero_out: int
    lowest: int
    stride: int
    padding: int
    dilation: int
    groups: int
    logits: bool = False

    def sums(self, x: Integers) -> Integers:
        """The int32 sums (B, O, T') of maps (B, C, T); exact, because float64 holds all integers below 2^53."""
        outputs, inputs, number = self.weight.shape
        padded = np.pad(x - self.zero_in, ((0, 0), (0, 0), (self.padding, self.padding))).astype(np.float64)
        read = np.lib.stride_tricks.sliding_window_view(padded, self.dilation * (number - 1) + 1, axis=2)
        read = read[:, :, :: self.stride, :: self.dilation]
        batch, _, positions, _ = read.shape
        grouped = read.reshape(batch, self.groups, inputs, positions, number)
        weight = self.weight.reshape(self.groups, outputs // self.groups, inputs, number).astype(np.float64)
        sums = np.einsum("bgipk,goik->bgop", grouped, weight, optimize=True).reshape(batch, outputs, positions)
        whole: Integers = sums.astype(np.int64) + self.bias[:, None]
        return whole

    def run(self, x: Integers) -> Integers:
        """Maps (B, C, T) to (B, O, T')."""
        result = requantise(self.sums(x), self.multiplier[:, None], self.shift) + self.zero_out
        return result if self.logits else cut(result, self.lowest)


@dataclass(frozen=True)
class IntegerAffine:
    """Each channel times `multiplier` plus `bias` (C,), int32, shifted down; zero points and half are in `bias`."""

    inputs: tuple[str, ...]
    output: str
    multiplier: Integers
    bias: Integers
    shift: int
    lowest: int

    def run(self, x: Integers) -> Integers:
        """Maps (B, C, T) to the same shape."""
        return cut((x * self.multiplier[:, None] + self.bias[:, None]) >> self.shift, self.lowest)


@dataclass(frozen=True)
class IntegerAdd:
    """The sum of two maps, each times its multiplier, and shifted down; zero points and half are in `bias`."""

    inputs: tuple[str, ...]
    output: str
    multipliers: tuple[int, int]
    bias: int
    shift: int
    lowest: int

    def run(self, x: Integers, y: Integers) -> Integers:
        """Two maps (B, C, T) to one."""
        total = x * self.multipliers[0] + y * self.multipliers[1] + self.bias
        return cut(total >> self.shift, self.lowest)


@dataclass(frozen=True)
class IntegerMean:
    """Means over `length` positions, every `step` of them."""

    inputs: tuple[str, ...]
    output: str
    length: int
    step: int
    multiplier: int
    shift: int
    zero_in: int
    zero_out: int

    def run(self, x: Integers) -> Integers:
        """Maps (B, C, T) to (B, C, T')."""
        read = np.lib.stride_tricks.sliding_window_view(x - self.zero_in, self.length, axis=2)[:, :, :: self.step]
        rounded = requantise(read.sum(3), np.int64(self.multiplier), self.shift) + self.zero_out
        return cut(rounded)


@dataclass(frozen=True)
class IntegerConcat:
    """Maps of equal length and scale, channel after channel: nothing is computed."""

    inputs: tuple[str, ...]
    output: str

    def run(self, *parts: Integers) -> Integers:
        """Maps (B, C, T) to (B, sum of C, T)."""
        return np.concatenate(parts, axis=1)


IntegerLayer = FloatInput | IntegerInput | IntegerConv | IntegerAffine | IntegerAdd | IntegerMean | IntegerConcat


@dataclass(frozen=True)
class IntegerModel:
    """A student in integers.

    Attributes:
        layers: in the order in which they run; the last one gives the logits.
        shapes: name of a tensor -> (C, T) of one window.
        channels, window: the shape of a raw window.
    """

    layers: tuple[IntegerLayer, ...]
    shapes: Mapping[str, tuple[int, int]]
    channels: int
    window: int

    @property
    def floats(self) -> bool:
        """Whether raw windows are float32; else they are int16, see `as_counts`."""
        return not any(isinstance(layer, IntegerInput) for layer in self.layers)

    @property
    def units(self) -> NDArray[np.float64]:
        """(channels,) what one step of an int16 window is worth; 1 of a channel that no view reads."""
        units = np.ones(self.channels)
        for layer in self.layers:
            if isinstance(layer, IntegerInput):
                units[list(layer.channels)] = layer.unit
        return units

    def as_input(self, windows: NDArray[Any]) -> NDArray[Any]:
        """Raw windows (B, channels, W) as the network reads them: float32, or int16 in `units`, cut off at its ends."""
        if self.floats:
            return np.asarray(windows, np.float32)
        counts = np.nan_to_num(np.rint(np.asarray(windows, np.float64) / self.units[:, None]), nan=0.0)
        limited: NDArray[np.int16] = np.clip(counts, -(2**15), 2**15 - 1).astype(np.int16)
        return limited

    def tensors(self, windows: NDArray[Any]) -> dict[str, Integers]:
        """Every tensor of a few windows, as `as_input` gives them, by name: (B, C, T)."""
        values: dict[str, Integers] = {}
        for layer in self.layers:
            if isinstance(layer, FloatInput | IntegerInput):
                values[layer.output] = layer.run(windows)
            else:
                values[layer.output] = layer.run(*(values[name] for name in layer.inputs))
        return values

    def logits(self, windows: NDArray[Any], batch: int = 64) -> NDArray[np.int32]:
        """The logits (B, K) of windows as `as_input` gives them, in units of 1 / 1024."""
        parts = [np.zeros((0, self.shapes[self.layers[-1].output][0]), np.int64)]
        for start in range(0, len(windows), batch):
            parts.append(self.tensors(windows[start : start + batch])[self.layers[-1].output][:, :, 0])
        return np.concatenate(parts).astype(np.int32)

    def predict(self, windows: NDArray[Any]) -> NDArray[np.int64]:
        """The class of each raw window (B, channels, W); the first one where logits are equal."""
        classes: NDArray[np.int64] = self.logits(self.as_input(windows)).argmax(1)
        return classes


def requantise(sums: Integers, multiplier: Any, shift: int) -> Integers:
    """`sums * multiplier / 2^shift`, rounded, halves up; all products are below 2^63."""
    result: Integers = (sums * multiplier + (1 << (shift - 1))) >> shift
    return result


def cut(values: Integers, lowest: int = LOWEST) -> Integers:
    """Values that are below `lowest`, or beyond int8, at these ends."""
    result: Integers = np.clip(values, lowest, HIGHEST)
    return result


def multipliers(real: NDArray[np.float64], highest_bits: int = 31) -> tuple[Integers, int]:
    """Integers m and a common shift with m / 2^shift near `real`; the largest m has `highest_bits` bits.

    Raises:
        ValueError: the largest is not in (2^-31, 2^30).
    """
    largest = float(np.abs(real).max())
    if not 2.0**-31 < largest < 2.0 ** (highest_bits - 1):
        raise ValueError(f"a factor of {largest:.3g}")
    shift = min(62, highest_bits - int(np.frexp(largest)[1]))
    whole = np.rint(real * 2.0**shift).astype(np.int64)
    if np.abs(whole).max() >= 2**highest_bits:  # it was rounded up to a power of two
        shift -= 1
        whole = np.rint(real * 2.0**shift).astype(np.int64)
    return whole, shift
