"""Take a signal student apart into plain layers, by a trace of what its network does, and check them against it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from mmkd.core.errors import MmkdError
from mmkd.core.keys import seed_for
from mmkd.deploy.c.layers import Add, Affine, Concat, Conv, Input, Layer, Mean, Network, fold, run_layers, separate
from mmkd.nets.ensemble import Ensemble
from mmkd.training.student_model import StudentModel
from mmkd.views.base import Modality
from mmkd.views.channels import ChannelSubset
from mmkd.views.rates import Resampled
from mmkd.views.signal import Signal

TOLERANCE = 1e-5
"""The largest difference of a logit between the layers and the student, in float64, of the largest logit if above 1."""
CHECKED = 64
"""Random windows on which they are compared."""
OTHER = "use --to onnx"
SAME = {"alias", "clone", "detach", "expand", "flatten", "lift_fresh_copy", "permute", "reshape", "squeeze"}
SAME |= {"unsqueeze", "view", "_unsafe_view"}
"""Operations that do nothing to (C, T) if channels and positions stay as they are."""


def extract(student: StudentModel) -> Network:
    """The layers of a student, from raw windows to logits, with batch norms and ReLUs folded.

    Raises:
        MmkdError: it reads something other than signals, does not give a class for each window, or has a layer without
            a C form.
    """
    if student.dense:
        raise MmkdError(f"--to c is for students that label windows; this one labels steps: {OTHER}")
    if student.grid:
        raise MmkdError(f"--to c is for students of signals; this one reads images: {OTHER}")
    if isinstance(student.network, Ensemble):
        raise MmkdError(f"--to c: the student is an ensemble of networks, which has no C form; {OTHER}")
    views = [_view(name, modality, student) for name, modality in student.modalities.items()]
    network = copy.deepcopy(student.network).double().eval().requires_grad_(False)
    lengths = {view.output: (len(view.channels), student.window) for view in views}
    traced = _trace(network, list(student.modalities), list(lengths.values()))
    layers = _Reader(traced, views).layers()
    shapes = {**lengths, **{layer.output: shape for layer, shape in layers}}
    result = separate(fold(Network((*views, *(layer for layer, _ in layers)), shapes)))
    if result.shapes[result.output] != (len(student.classes), 1) or not isinstance(result.layers[-1], Conv):
        raise MmkdError(f"--to c: the student's logits are not those of a linear layer; {OTHER}")
    check(result, student, network)
    return result


def check(layers: Network, student: StudentModel, network: nn.Module) -> None:
    """Compare the layers with the network, in float64, on random windows.

    Raises:
        MmkdError: they differ by more than `TOLERANCE`.
    """
    generator = np.random.default_rng(seed_for(0, "layers"))
    centre, width = np.zeros((student.channels, 1)), np.ones((student.channels, 1))
    for view in layers.layers:
        if isinstance(view, Input):
            chosen = list(view.channels)
            centre[chosen, 0] = view.centre
            width[chosen, 0] = np.divide(1, view.factor, out=np.ones_like(view.factor), where=view.factor > 0)
    windows = centre + width * generator.standard_normal((CHECKED, student.channels, student.window))
    *_, (_, logits) = run_layers(layers, windows)
    views = {
        name: torch.from_numpy((windows[:, list(v.channels)] - v.centre[:, None]) * v.factor[:, None])
        for name, v in zip(student.modalities, (v for v in layers.layers if isinstance(v, Input)), strict=True)
    }
    with torch.no_grad():
        expected = network(views).logits.numpy()
    difference = np.abs(logits[:, :, 0] - expected).max()
    if not difference <= TOLERANCE * max(1.0, np.abs(expected).max()):
        raise MmkdError(
            f"--to c: the layers differ from the student by {difference:.2g} of a logit; nothing is written"
        )


def _view(name: str, modality: Modality, student: StudentModel) -> Input:
    """The standardisation of a view; its centre is that of raw windows, with the offset that the data set took away."""
    channels = range(student.channels)
    inner = modality
    if isinstance(inner, ChannelSubset):
        channels, inner = inner.channels, inner.inner  # type: ignore[assignment]
    if isinstance(inner, Resampled):
        raise MmkdError(
            f"--to c: the student reads {name}, which resamples each window, and that has no C form; train it on "
            f"windows of that rate (--rate {inner.rate_hz:g}), or {OTHER}"
        )
    if type(inner) is not Signal:
        raise MmkdError(
            f"--to c: the student reads {name}, an image of the signal, and images have no C form; train one with "
            f"--student sig, or {OTHER}"
        )
    state = {key: np.array(values) for key, values in inner.state().items()}
    std = state["std"]
    offset = np.zeros(student.channels) if student.offset is None else np.asarray(student.offset, np.float64)
    factor = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    return Input(f"view_{name}", tuple(channels), state["mean"] + offset[list(channels)], factor)


def _trace(network: nn.Module, names: Sequence[str], shapes: Sequence[tuple[int, int]]) -> fx.GraphModule:
    """What the network does to two windows, as a graph of torch's own operations without in-place ones."""

    def logits(*views: Tensor) -> Tensor:
        result: Tensor = network(dict(zip(names, views, strict=True))).logits
        return result

    examples = [torch.zeros(2, *shape, dtype=torch.float64) for shape in shapes]
    try:
        return make_fx(functionalize(logits))(*examples)
    except Exception as error:  # somebody else's network may do anything
        raise MmkdError(f"--to c: the student's network cannot be traced ({type(error).__name__}); {OTHER}") from error


class _Reader:
    """Reads a traced graph into layers."""

    def __init__(self, traced: fx.GraphModule, views: Sequence[Input]) -> None:
        self.traced = traced
        self.views = views
        self.names: dict[fx.Node, str] = {}
        self.found: list[tuple[Layer, tuple[int, int]]] = []

    def layers(self) -> list[tuple[Layer, tuple[int, int]]]:
        """Each layer behind the views, with the (C, T) of what it gives. Raises MmkdError for one without a C form."""
        graph = self.traced.graph
        output = next(node for node in graph.nodes if node.op == "output")
        needed = set()
        waiting = [output]
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting += node.all_input_nodes
        views = iter(self.views)
        for node in graph.nodes:
            if node.op == "placeholder":
                self.names[node] = next(views).output
            elif node in needed and node.op == "call_function":
                self._read(node)
        return self.found

    def _read(self, node: fx.Node) -> None:
        name = getattr(node.target, "__name__", str(node.target)).partition(".")[0]
        reader: Callable[[fx.Node], Layer | None] | None = getattr(self, f"_{name.strip('_')}", None)
        if name in SAME:
            reader = self._same
        if reader is None:
            raise self._refused(node, f"the network has a layer {name!r}, which has no C form")
        layer = reader(node)
        if layer is not None:
            self.names[node] = layer.output
            self.found.append((layer, self._shape(node)))

    def _refused(self, node: fx.Node, why: str) -> MmkdError:
        return MmkdError(f"--to c: {why} (node {node.name}); {OTHER}")

    def _shape(self, node: fx.Node) -> tuple[int, int]:
        """(C, T) of a node that gives one tensor (B, C), (B, C, T) or (B, C, 1, T)."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != 2:
            raise self._refused(node, "the network has a layer that gives no map of each window")
        long = [size for size in value.shape[2:] if size != 1]
        if len(long) > 1:
            raise self._refused(node, "the network has images, which have no C form")
        return value.shape[1], long[0] if long else 1

    def _input(self, node: Any) -> tuple[str, ...]:
        if not isinstance(node, fx.Node) or node not in self.names:
            raise MmkdError(f"--to c: the network computes with {node}, which has no C form; {OTHER}")
        return (self.names[node],)

    def _value(self, node: Any) -> NDArray[np.float64]:
        """A constant of the network."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            raise MmkdError(f"--to c: the network computes its weights ({node}), which has no C form; {OTHER}")
        value: Tensor = getattr(self.traced, str(node.target))
        return value.detach().numpy()

    def _same(self, node: fx.Node) -> None:
        before = node.args[0]
        self._input(before)
        assert isinstance(before, fx.Node)
        if self._shape(before) != self._shape(node):
            raise self._refused(node, "the network reorders channels and positions, which has no C form")
        self.names[node] = self.names[before]

    def _convolution(self, node: fx.Node) -> Layer:
        arguments: Sequence[Any] = node.args
        x, weight, bias, stride, padding, dilation, transposed, _, groups = arguments
        values = self._value(weight)
        if transposed or values.ndim != 3:
            raise self._refused(node, "only convolutions over time have a C form")
        shift = np.zeros(len(values)) if bias is None else self._value(bias)
        steps = int(stride[0]), int(padding[0]), int(dilation[0]), int(groups)
        return Conv(self._input(x), node.name, values, shift, *steps)

    def _native_batch_norm(self, node: fx.Node) -> None:
        """Its result is read by `_getitem`."""

    _native_batch_norm_legit_no_training = _native_batch_norm

    def _getitem(self, node: fx.Node) -> Layer:
        source = node.args[0]
        if not isinstance(source, fx.Node) or "batch_norm" not in str(source.target) or node.args[1] != 0:
            raise self._refused(node, "the network has a layer with several results, which has no C form")
        x, weight, bias, mean, var, *rest = source.args
        if len(rest) == 3 and rest[0]:
            raise self._refused(node, "a batch norm without running statistics has no C form")
        deviation = np.sqrt(self._value(var) + float(rest[-1]))  # type: ignore[arg-type]
        gain = np.ones_like(deviation) if weight is None else self._value(weight)
        scale = gain / deviation
        shift = -self._value(mean) * scale + (0 if bias is None else self._value(bias))
        return Affine(self._input(x), node.name, scale, shift)

    def _relu(self, node: fx.Node) -> Layer:
        channels = self._shape(node)[0]
        return Affine(self._input(node.args[0]), node.name, np.ones(channels), np.zeros(channels), relu=True)

    def _add(self, node: fx.Node) -> Layer:
        first, second = node.args[:2]
        inputs = (*self._input(first), *self._input(second))
        same = self._shape(first) == self._shape(second)  # type: ignore[arg-type]
        if node.kwargs.get("alpha", 1) != 1 or not same:
            raise self._refused(node, "only sums of two maps of the same shape have a C form")
        return Add(inputs, node.name)

    def _mean(self, node: fx.Node) -> Layer:
        before = node.args[0]
        inputs = self._input(before)
        assert isinstance(before, fx.Node)
        dims = node.args[1] if len(node.args) > 1 else None
        rank = before.meta["val"].ndim
        channels, length = self._shape(before)
        over = {int(d) % rank for d in dims} if isinstance(dims, list | tuple) else set(range(rank))
        if over & {0, 1} or self._shape(node) != (channels, 1):
            raise self._refused(node, "only means over all positions have a C form")
        return Mean(inputs, node.name, length, length)

    def _avg_pool2d(self, node: fx.Node) -> Layer:
        arguments: list[Any] = [*node.args]
        x, kernel, stride, padding, ceil = [*arguments, *[(), (0,), False][len(arguments) - 2 :]][:5]
        if any(padding) or ceil:
            raise self._refused(node, "only pooling without padding has a C form")
        return Mean(self._input(x), node.name, int(kernel[-1]), int((stride or kernel)[-1]))

    _avg_pool1d = _avg_pool2d

    def _t(self, node: fx.Node) -> None:
        """Weights of a linear layer; they are read by `_addmm` and `_mm`."""

    def _linear(self, node: fx.Node, x: Any, weight: Any, bias: NDArray[np.float64] | None) -> Layer:
        if not isinstance(weight, fx.Node) or "aten.t" not in str(weight.target) or self._shape(x)[1] != 1:
            raise self._refused(node, "only products of one vector with fixed weights have a C form")
        values = self._value(weight.args[0])[:, :, None]
        return Conv(self._input(x), node.name, values, np.zeros(len(values)) if bias is None else bias)

    def _addmm(self, node: fx.Node) -> Layer:
        bias, x, weight = node.args
        if node.kwargs:
            raise self._refused(node, "only plain linear layers have a C form")
        return self._linear(node, x, weight, self._value(bias))

    def _mm(self, node: fx.Node) -> Layer:
        return self._linear(node, node.args[0], node.args[1], None)

    def _cat(self, node: fx.Node) -> Layer:
        parts = node.args[0]
        dim = node.args[1] if len(node.args) > 1 else 0
        assert isinstance(parts, Sequence)
        if dim not in (1, 1 - node.meta["val"].ndim):
            raise self._refused(node, "only maps that are joined by their channels have a C form")
        return Concat(tuple(self._input(part)[0] for part in parts), node.name)
