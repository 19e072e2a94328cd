"""A network as a list of plain layers in float64: what a student is taken apart into, and what is quantised."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Tensors = dict[str, Float]


@dataclass(frozen=True)
class Input:
    """A view of the signal: some channels of a raw window, minus `centre`, times `factor`.

    Attributes:
        channels: their numbers in the raw window, in the order of the view.
        centre, factor: (C,) the training mean, and one over the training deviation (0 of a constant channel).
    """

    output: str
    channels: tuple[int, ...]
    centre: Float
    factor: Float

    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conv:
    """Convolution (C, T) to (O, T'), then ReLU if `relu`. A linear layer is one of a single tap and position.

    Attributes:
        weight: (O, C / groups, taps).
        bias: (O,).
    """

    inputs: tuple[str, ...]
    output: str
    weight: Float
    bias: Float
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    relu: bool = False


@dataclass(frozen=True)
class Affine:
    """Each channel times `scale` (C,), plus `shift` (C,), then ReLU if `relu`: a batch norm that is not folded."""

    inputs: tuple[str, ...]
    output: str
    scale: Float
    shift: Float
    relu: bool = False


@dataclass(frozen=True)
class Add:
    """The sum of two maps of the same shape, then ReLU if `relu`."""

    inputs: tuple[str, ...]
    output: str
    relu: bool = False


@dataclass(frozen=True)
class Mean:
    """Means over `length` positions, every `step` of them: (C, T) to (C, T'); over all of them, (C, 1)."""

    inputs: tuple[str, ...]
    output: str
    length: int
    step: int


@dataclass(frozen=True)
class Concat:
    """Maps of equal length, channel after channel."""

    inputs: tuple[str, ...]
    output: str


Layer = Input | Conv | Affine | Add | Mean | Concat


@dataclass(frozen=True)
class Network:
    """Layers in the order in which they run; the last one gives the logits (K, 1).

    Attributes:
        shapes: name of a tensor -> (C, T) of one window.
    """

    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, int]]

    @property
    def output(self) -> str:
        """The name of the logits."""
        return self.layers[-1].output

    def readers(self, name: str) -> list[Layer]:
        """The layers that read a tensor, once for each time."""
        return [layer for layer in self.layers for used in layer.inputs if used == name]


def taps(x: Float, number: int, stride: int, padding: int, dilation: int, fill: float = 0.0) -> Float:
    """The samples that each position of a convolution reads: (B, C, T) to (B, C, T', number), a view.

    Args:
        fill: the value of samples outside of the map.
    """
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, dilation * (number - 1) + 1, axis=2)
    return windows[:, :, ::stride, ::dilation]


def convolve(layer: Conv, x: Float) -> Float:
    """A convolution of maps (B, C, T) without its ReLU: (B, O, T')."""
    outputs, inputs, number = layer.weight.shape
    read = taps(x, number, layer.stride, layer.padding, layer.dilation)
    batch, _, positions, _ = read.shape
    grouped = read.reshape(batch, layer.groups, inputs, positions, number)
    weight = layer.weight.reshape(layer.groups, outputs // layer.groups, inputs, number)
    result: Float = np.einsum("bgipk,goik->bgop", grouped, weight, optimize=True)
    return result.reshape(batch, outputs, positions) + layer.bias[:, None]


def run_layer(layer: Layer, values: Mapping[str, Float]) -> Float:
    """What a layer makes of its inputs; of an `Input`, of the raw windows `values[""]` (B, channels, W)."""
    if isinstance(layer, Input):
        return (values[""][:, list(layer.channels)] - layer.centre[:, None]) * layer.factor[:, None]
    x = values[layer.inputs[0]]
    if isinstance(layer, Conv):
        x = convolve(layer, x)
    elif isinstance(layer, Affine):
        x = x * layer.scale[:, None] + layer.shift[:, None]
    elif isinstance(layer, Add):
        x = x + values[layer.inputs[1]]
    elif isinstance(layer, Mean):
        means: Float = taps(x, layer.length, layer.step, 0, 1).mean(3)
        return means
    else:
        return np.concatenate([values[name] for name in layer.inputs], axis=1)
    return np.maximum(x, 0) if layer.relu else x


def run_layers(network: Network, windows: NDArray[np.floating]) -> Iterator[tuple[str, Float]]:
    """Each tensor of raw windows (B, channels, W), by name, as soon as it is there; those read no more are dropped."""
    values: Tensors = {"": windows.astype(np.float64)}
    left = {name: len(network.readers(name)) for name in network.shapes}
    for layer in network.layers:
        values[layer.output] = run_layer(layer, values)
        yield layer.output, values[layer.output]
        for name in layer.inputs:
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)


def fold(network: Network) -> Network:
    """The same network with fewer layers: batch norms in the convolution before them, ReLUs in the layer before them.

    A batch norm or ReLU whose layer before is read elsewhere too stays a layer of its own.
    """
    layers = list(network.layers)
    position = 1
    while position < len(layers):
        layer = layers[position]
        before = next((n for n, other in enumerate(layers) if layer.inputs and other.output == layer.inputs[0]), None)
        merged = None
        if before is not None and isinstance(layer, Affine) and _readers(layers, layer.inputs[0]) == 1:
            merged = _merged(layers[before], layer)
        if merged is None or before is None:
            position += 1
            continue
        layers[before] = merged
        del layers[position]
    kept = {layer.output for layer in layers}
    return Network(tuple(layers), {name: shape for name, shape in network.shapes.items() if name in kept})


def _readers(layers: list[Layer], name: str) -> int:
    return sum(layer.inputs.count(name) for layer in layers)


def _merged(before: Layer, layer: Affine) -> Layer | None:
    """The two layers as one, or None."""
    if not isinstance(before, Conv | Affine | Add) or before.relu:
        return None
    if isinstance(before, Conv):
        weight = before.weight * layer.scale[:, None, None]
        bias = before.bias * layer.scale + layer.shift
        return replace(before, weight=weight, bias=bias, output=layer.output, relu=layer.relu)
    if isinstance(before, Affine):
        scale, shift = before.scale * layer.scale, before.shift * layer.scale + layer.shift
        return replace(before, scale=scale, shift=shift, output=layer.output, relu=layer.relu)
    if (layer.scale == 1).all() and not layer.shift.any():
        return replace(before, output=layer.output, relu=layer.relu)
    return None


def separate(network: Network) -> Network:
    """The same network, in which each part of a concatenation is made for it alone.

    A part that something else reads too, or that is a view or another concatenation, is copied by a layer of its own,
    so that parts can be written where the concatenation has them, and with its scale.
    """
    layers: list[Layer] = []
    shapes = dict(network.shapes)
    makers = {layer.output: layer for layer in network.layers}
    for layer in network.layers:
        if isinstance(layer, Concat):
            parts = []
            for number, name in enumerate(layer.inputs):
                shared = len(network.readers(name)) > 1 or isinstance(makers[name], Input | Concat)
                if shared:
                    copy, channels = f"{layer.output}_part{number}", shapes[name][0]
                    layers.append(Affine((name,), copy, np.ones(channels), np.zeros(channels)))
                    shapes[copy] = shapes[name]
                parts.append(copy if shared else name)
            layer = replace(layer, inputs=tuple(parts))
        layers.append(layer)
    return Network(tuple(layers), shapes)
