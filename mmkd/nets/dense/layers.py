"""Layers that the dense networks share, for one axis (time) or two (images), and the head that returns `Outputs`."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError, describe_error
from mmkd.methods.outputs import Outputs
from mmkd.nets.base import Shape
from mmkd.nets.stage_fusions import OPERATORS, StageFusion, stage_fusion
from mmkd.specs.fusion_names import kind_of_fusion


def conv(
    dims: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, dilation: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution without bias that gives ceil(length / stride) positions; He initialisation. Odd kernels only."""
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    layer = make(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def conv_fan_out(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, ...] = 1,
    stride: int = 1,
    *,
    padding: int | None = None,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Convolution whose weights start as N(0, 2 / fan_out), fan_out = taps * outputs / groups, and its bias at 0.

    Args:
        dims: number of axes, 1 or 2.
        inputs: channels of the map.
        outputs: channels of the result.
        kernel: length of the kernel along all axes or each; odd, where `padding` is None.
        stride: step along every axis.
        padding: zeros at each end of every axis; None for half a kernel, which gives ceil(length / stride) positions.
        groups: groups of channels that are convolved apart.
        bias: whether there is a bias.
    """
    kernels = (kernel,) * dims if isinstance(kernel, int) else kernel
    pads = tuple(k // 2 if padding is None else padding for k in kernels)
    make: Any = nn.Conv1d if dims == 1 else nn.Conv2d
    layer: nn.Module = make(inputs, outputs, kernels, stride=stride, padding=pads, groups=groups, bias=bias)
    nn.init.normal_(layer.get_parameter("weight"), std=math.sqrt(2 * groups / (math.prod(kernels) * outputs)))
    if bias:
        nn.init.zeros_(layer.get_parameter("bias"))
    return layer


class StochasticDepth(nn.Module):
    """Leave a residual branch out for random samples in training. Huang et al. 2016, arXiv:1603.09382.

    Args:
        drop: the probability that the branch of a sample is zeroed; those of the others are divided by 1 - drop.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """Map a branch (B, ...) to the same shape."""
        if not self.training or self.drop == 0:
            return x
        mask = torch.rand(len(x), *(1,) * (x.dim() - 1), device=x.device) >= self.drop
        return x * mask / (1 - self.drop)


def rising_drops(drop: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates of stochastic depth of the blocks of each stage: linear from 0 at the first block to `drop` at the last."""
    last = max(sum(depths) - 1, 1)
    return [
        [drop * n / last for n in range(end - depth, end)]
        for depth, end in zip(depths, accumulate(depths), strict=True)
    ]


def to_tokens(x: Tensor) -> Tensor:
    """Reshape (B, C, ...) to (B, N, C), row by row."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Reshape (B, N, C) to (B, C, *size)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the batch and all axes of positions.

    A channel with a single value (one sample, one position) has no variance. It is normalised by the running
    statistics, also in training, where torch raises an error.

    Args:
        channels: C.
        shift: whether there is a trained offset. It has no effect if only convolutions without padding lie between this
            layer and the next batch normalisation, which cancels it.
    """

    def __init__(self, channels: int, shift: bool = True) -> None:
        super().__init__(channels)
        if not shift:
            del self.bias
            self.register_buffer("bias", torch.zeros(channels), persistent=False)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        if input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def conv_bn_relu(
    dims: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    layer = conv(dims, inputs, outputs, kernel, stride, dilation=dilation, groups=groups)
    return nn.Sequential(layer, BatchNorm(outputs), nn.ReLU())


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (B, C, ...) linearly or bilinearly to (B, C, *size), with `align_corners=False`."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="linear" if x.dim() == 3 else "bilinear", align_corners=False)


def stage_join(fusion: str, fine: int, coarse: int, dims: int) -> Any:
    """Create the stage fusion `fusion`, a name with its options, for maps of `fine` and `coarse` channels.

    Operators compress to an eighth of the sum of the channels, as in the FreqFusion decoder that its authors released
    with SegNeXt (arXiv:2408.12879), and to no fewer than 8.

    Returns:
        A module with the attribute `channels`.

    Raises:
        MmkdError: The stage fusion of a plugin does not do what one does.
    """
    options = {"compressed": max(8, (fine + coarse) // 8)} if kind_of_fusion(fusion) in OPERATORS else {}
    join = stage_fusion(fusion, fine, coarse, dims, **options)
    if not isinstance(join, StageFusion):
        _check_join(fusion, join, fine, coarse, dims)
    return join


@torch.no_grad()
def _check_join(fusion: str, join: Any, fine: int, coarse: int, dims: int) -> None:
    """Try the stage fusion of a plugin on maps of odd sizes.

    Raises:
        MmkdError: It is no module, does not say its channels, fails, or returns a map of another shape.
    """
    title = f"stage fusion {fusion!r} (class {type(join).__name__})"
    channels = getattr(join, "channels", None)
    if not isinstance(join, nn.Module) or not isinstance(channels, int) or channels < 1:
        raise MmkdError(f"{title}: return a torch module whose attribute `channels` is the number of its channels")
    high = torch.zeros(2, fine, *(9, 7)[:dims])
    low = torch.zeros(2, coarse, *(5, 4)[:dims])
    training = join.training
    try:
        joined = join.eval()(high, low)
    except Exception as error:  # somebody else's module may raise anything
        raise MmkdError(
            f"{title} fails on maps {tuple(high.shape)} and {tuple(low.shape)}: {describe_error(error)}"
        ) from error
    finally:
        join.train(training)
    expected = (2, channels, *high.shape[2:])
    if not isinstance(joined, Tensor) or joined.shape != expected:
        found = tuple(joined.shape) if isinstance(joined, Tensor) else type(joined).__name__
        raise MmkdError(f"{title} returned {found} for maps {tuple(high.shape)} and {tuple(low.shape)}, not {expected}")


class TopDown(nn.ModuleList):
    """Join maps of a decoder to one, step by step, the coarsest two first.

    Without a fusion, all maps are interpolated to the finest one and concatenated, the finest first.

    Args:
        fusion: a name in `STAGE_FUSIONS`, or None.
        widths: channels of each map, the finest first.
        dims: number of axes, 1 or 2.
    """

    def __init__(self, fusion: str | None, widths: Sequence[int], dims: int) -> None:
        super().__init__()
        self.channels = sum(widths) if fusion is None else widths[-1]
        if fusion is not None:
            for fine in widths[-2::-1]:
                join = stage_join(fusion, fine, self.channels, dims)
                self.append(join)
                self.channels = join.channels

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, width, ...) each, the finest first, to (B, channels, ...) with the positions of the finest."""
        if not len(self):
            return torch.cat([resize(y, maps[0].shape[2:]) for y in maps], dim=1)
        x = maps[-1]
        for join, finer in zip(self, maps[-2::-1], strict=True):
            x = join(finer, x)
        return x


class Head(nn.Module):
    """Dropout and the last 1x1 convolution, and the `Outputs` of the network.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        channels: channels of the last decoder map.
        classes: number of classes K.
        dropout: probability that a channel is zeroed in training.
    """

    def __init__(self, shape: Shape, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout1d(dropout) if len(shape) == 2 else nn.Dropout2d(dropout)
        self.conv = nn.Conv1d(channels, classes, 1) if len(shape) == 2 else nn.Conv2d(channels, classes, 1)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, encoder: Sequence[Tensor], decoder: Sequence[Tensor], size: Sequence[int]) -> Outputs:
        """Create the outputs.

        Args:
            encoder: maps of the encoder, from shallow to deep.
            decoder: maps of the decoder, the last one last.
            size: the size of the network's input, to which the logits are interpolated.
        """
        features = {f"encoder{n}": x for n, x in enumerate(encoder, 1)}
        features |= {f"decoder{n}": x for n, x in enumerate(decoder, 1)}
        logits = resize(self.conv(self.dropout(decoder[-1])), size)
        return Outputs(logits, encoder[-1].flatten(2).mean(2), features, classifier=self.conv.weight.flatten(1))
