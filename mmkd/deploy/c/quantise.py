"""From plain layers in float64 to a model in integers, with ranges measured on training windows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.deploy.c.layers import Add, Affine, Concat, Conv, Input, Layer, Mean, Network, run_layers
from mmkd.deploy.integer import (
    CENTRE_BITS,
    HIGHEST,
    LOGIT_BITS,
    LOWEST,
    FloatInput,
    IntegerAdd,
    IntegerAffine,
    IntegerConcat,
    IntegerConv,
    IntegerInput,
    IntegerLayer,
    IntegerMean,
    IntegerModel,
    multipliers,
)

CHUNK = 64
LIMIT = 2**31 - 1
LARGEST_BIAS = 2**30
HEADROOM = 2
"""How far beyond the largest training value an int16 window reaches."""


@dataclass(frozen=True)
class Scale:
    """A value is `step * (q - zero)`."""

    step: float
    zero: int


def measure_ranges(network: Network, windows: NDArray[np.floating]) -> dict[str, tuple[float, float]]:
    """The least and largest value of each tensor over raw windows (n, channels, W)."""
    ranges: dict[str, tuple[float, float]] = {}
    for start in range(0, len(windows), CHUNK):
        for name, values in run_layers(network, windows[start : start + CHUNK]):
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges


def choose_scale(low: float, high: float) -> Scale:
    """The scale of int8 for values from `low` to `high`, in which 0 is exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (HIGHEST - LOWEST) or 1.0
    return Scale(step, int(np.clip(np.rint(LOWEST - low / step), LOWEST, HIGHEST)))


def choose_scales(network: Network, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Scale]:
    """The scale of each tensor; parts of a concatenation have that of the whole."""
    scales = {name: choose_scale(*ranges[name]) for name in network.shapes}
    for layer in network.layers:
        if isinstance(layer, Concat):
            scales |= dict.fromkeys(layer.inputs, scales[layer.output])
    return scales


def quantise(
    network: Network,
    ranges: Mapping[str, tuple[float, float]],
    window: tuple[int, int],
    units: NDArray[np.float64] | None = None,
) -> IntegerModel:
    """The network in integers.

    Args:
        ranges: of each tensor, as `measure_ranges` gives them.
        window: (channels, W) of a raw window.
        units: (channels,) what one step of an int16 window is worth; None: windows are float32.

    Raises:
        MmkdError: a layer's numbers do not fit into 32 bits.
    """
    scales = choose_scales(network, ranges)
    layers = []
    for layer in network.layers:
        try:
            layers.append(_quantise(layer, scales, units, layer.output == network.output))
        except ValueError as error:
            raise MmkdError(f"--to c: layer {layer.output} does not fit into 32 bits: {error}") from None
    return IntegerModel(tuple(layers), network.shapes, *window)


def _quantise(layer: Layer, scales: Mapping[str, Scale], units: NDArray[np.float64] | None, last: bool) -> IntegerLayer:
    out = scales[layer.output]
    if isinstance(layer, Input):
        return _float_input(layer, out) if units is None else _integer_input(layer, out, units)
    sources = [scales[name] for name in layer.inputs]
    if isinstance(layer, Conv):
        return _conv(layer, sources[0], Scale(2.0**-LOGIT_BITS, 0) if last else out, last)
    if isinstance(layer, Affine):
        return _affine(layer, sources[0], out)
    if isinstance(layer, Add):
        return _add(layer, sources[0], sources[1], out)
    if isinstance(layer, Mean):
        factor, shift = multipliers(np.array([sources[0].step / (layer.length * out.step)]))
        zeros = sources[0].zero, out.zero
        return IntegerMean(layer.inputs, layer.output, layer.length, layer.step, int(factor[0]), shift, *zeros)
    return IntegerConcat(layer.inputs, layer.output)


def _float_input(layer: Input, out: Scale) -> FloatInput:
    centre, factor = layer.centre.astype(np.float32), (layer.factor / out.step).astype(np.float32)
    return FloatInput(layer.output, layer.channels, centre, factor, out.zero)


def _integer_input(layer: Input, out: Scale, units: NDArray[np.float64]) -> IntegerInput:
    unit = units[list(layer.channels)]
    centre = np.rint(layer.centre / unit * 2**CENTRE_BITS)
    if np.abs(centre).max() >= 2**24:
        raise ValueError("the training mean of a channel is beyond what an int16 window holds")
    factor = layer.factor * unit / 2**CENTRE_BITS / out.step
    whole, shift = multipliers(factor) if factor.any() else (np.zeros(len(factor), np.int64), 1)
    return IntegerInput(layer.output, layer.channels, unit, centre.astype(np.int64), whole, shift, out.zero)


def choose_units(windows: NDArray[np.floating]) -> NDArray[np.float64]:
    """For each channel of raw windows (n, channels, W) the least power of two in which int16 holds them twice over."""
    largest = HEADROOM * np.abs(windows).max((0, 2)).astype(np.float64)
    exponents = np.ceil(np.log2(np.where(largest > 0, largest, 1) / (2**15 - 1)))
    units: NDArray[np.float64] = 2.0**exponents
    return units


def _conv(layer: Conv, source: Scale, out: Scale, logits: bool) -> IntegerConv:
    axes = (1, 2)
    step = np.abs(layer.weight).max(axes) / HIGHEST
    step = np.maximum(step, np.abs(layer.bias) / (source.step * LARGEST_BIAS))  # a dead channel is its bias alone
    step[step == 0] = 1.0
    weight = np.rint(layer.weight / step[:, None, None]).astype(np.int64)
    bias = np.rint(layer.bias / (step * source.step)).astype(np.int64)
    whole, shift = multipliers(step * source.step / out.step)
    reach = np.abs(weight).sum(axes) * (HIGHEST - LOWEST) + np.abs(bias)
    if reach.max() > LIMIT:
        raise ValueError("its sums may overflow")
    if (reach * (whole / 2.0**shift)).max() > LIMIT / 2:
        raise ValueError("its results may overflow")
    return IntegerConv(
        layer.inputs,
        layer.output,
        weight,
        bias,
        whole,
        shift,
        source.zero,
        out.zero,
        out.zero if layer.relu else LOWEST,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        logits,
    )


def _affine(layer: Affine, source: Scale, out: Scale) -> IntegerAffine:
    factor = layer.scale * source.step / out.step
    constant = layer.shift / out.step + out.zero
    for shift in range(30, 0, -1):
        whole = np.rint(factor * 2.0**shift)
        bias = np.rint(constant * 2.0**shift) - whole * source.zero + 2.0 ** (shift - 1)
        if (128 * np.abs(whole) + np.abs(bias)).max() < LIMIT:
            lowest = out.zero if layer.relu else LOWEST
            return IntegerAffine(
                layer.inputs, layer.output, whole.astype(np.int64), bias.astype(np.int64), shift, lowest
            )
    raise ValueError(f"a factor of {np.abs(factor).max():.3g}")


def _add(layer: Add, first: Scale, second: Scale, out: Scale) -> IntegerAdd:
    factors = first.step / out.step, second.step / out.step
    for shift in range(30, 0, -1):
        whole = [round(factor * 2**shift) for factor in factors]
        bias = (out.zero << shift) - whole[0] * first.zero - whole[1] * second.zero + (1 << (shift - 1))
        if 128 * sum(whole) + abs(bias) < LIMIT:
            lowest = out.zero if layer.relu else LOWEST
            return IntegerAdd(layer.inputs, layer.output, (whole[0], whole[1]), bias, shift, lowest)
    raise ValueError(f"a factor of {max(factors):.3g}")
