"""SegNeXt for signals and images of any length. Guo et al., NeurIPS 2022, arXiv:2209.08575.

As in the paper's code: an encoder of convolutions (MSCAN) in four stages, whose attention is the product of the map and
a mixture of depthwise convolutions of several lengths, without sigmoid or normalisation; a shortcut inside of it, which
passes on the normalised map; stochastic depth (rate rising to 0.1). `segnext` on images has the encoder MSCAN-T.
Published results have the Hamburger decoder (`segnext-ham`); `segnext` has SegFormer's decoder of linear layers. As in
the code, a later batch normalisation cancels some biases in training: those of the patch embeddings, of the last layer
normalisation and of the first layers of the linear decoder.

Different from the paper: signals with one axis, where the strips (1, k) and (k, 1) are one convolution of length k; any
number of channels at the input; strides of the stem as an option; batch normalisation of a single value by its running
statistics; and what `hamburger.py` says of that decoder. Where kernels are longer than a map, they reach zeros.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import DENSE, Shape
from mmkd.nets.dense.hamburger import Hamburger
from mmkd.nets.dense.layers import (
    BatchNorm,
    Head,
    StochasticDepth,
    TopDown,
    conv_fan_out,
    rising_drops,
    to_map,
    to_tokens,
)

STRIPS = (7, 11, 21)
"""Lengths of the depthwise convolutions along one axis."""


class MultiScale(nn.Module):
    """Multi-scale convolutional attention (MSCA): the map times a mixture of its surroundings of several sizes.

    conv1(a + sum over k of strips_k(a)) x, where a is a depthwise convolution of kernel 5, and strips_k are depthwise
    convolutions of length k along one axis after the other.

    Args:
        dims: number of axes, 1 or 2.
        width: channels C.
    """

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        depthwise = partial(conv_fan_out, dims, width, width, groups=width)
        self.near = depthwise(5)
        self.strips = nn.ModuleList()
        for length in STRIPS:
            kernels = [tuple(length if i == axis else 1 for i in range(dims)) for axis in reversed(range(dims))]
            self.strips.append(nn.Sequential(*(depthwise(kernel) for kernel in kernels)))
        self.mix = conv_fan_out(dims, width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        near = self.near(x)
        total = near
        for strip in self.strips:
            total = total + strip(near)
        product: Tensor = self.mix(total) * x
        return product


class Attention(nn.Module):
    """1x1 convolution, GELU, `MultiScale`, 1x1 convolution, and a shortcut."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.before = conv_fan_out(dims, width, width)
        self.multi_scale = MultiScale(dims, width)
        self.after = conv_fan_out(dims, width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        out: Tensor = x + self.after(self.multi_scale(F.gelu(self.before(x))))
        return out


class FeedForward(nn.Module):
    """1x1 convolution to `ratio` times the width, depthwise convolution of kernel 3, GELU, 1x1 convolution back."""

    def __init__(self, dims: int, width: int, ratio: int) -> None:
        super().__init__()
        wide = ratio * width
        self.wide = conv_fan_out(dims, width, wide)
        self.depthwise = conv_fan_out(dims, wide, wide, 3, groups=wide)
        self.back = conv_fan_out(dims, wide, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        out: Tensor = self.back(F.gelu(self.depthwise(self.wide(x))))
        return out


class Block(nn.Module):
    """Attention and feed-forward block, each after a batch normalisation, scaled, and with a shortcut.

    x + l1 Attention(BN(x)), then x + l2 FeedForward(BN(x)); l1 and l2 are trained for each channel and start at 0.01.

    Args:
        dims: number of axes, 1 or 2.
        width: channels C.
        ratio: channels of the feed-forward block, over C.
        drop: rate of `StochasticDepth`.
    """

    def __init__(self, dims: int, width: int, ratio: int, drop: float = 0.0) -> None:
        super().__init__()
        self.norm1 = BatchNorm(width)
        self.attention = Attention(dims, width)
        self.norm2 = BatchNorm(width)
        self.feed = FeedForward(dims, width, ratio)
        self.scale1 = nn.Parameter(torch.full((width,), 0.01))
        self.scale2 = nn.Parameter(torch.full((width,), 0.01))
        self.kept = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        shape = (-1, *(1,) * (x.dim() - 2))
        x = x + self.kept(self.scale1.view(shape) * self.attention(self.norm1(x)))
        out: Tensor = x + self.kept(self.scale2.view(shape) * self.feed(self.norm2(x)))
        return out


class Stage(nn.Module):
    """Patch embedding, blocks, layer normalisation over the channels.

    Args:
        dims: number of axes, 1 or 2.
        channels: channels at the input, after each convolution of kernel 3 of the patch embedding, and so of the stage.
        strides: of these convolutions; between two of them is a GELU.
        ratio: as for `Block`.
        drops: rate of stochastic depth of each block.
    """

    def __init__(
        self, dims: int, channels: Sequence[int], strides: Sequence[int], ratio: int, drops: Sequence[float]
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential()
        for inputs, outputs, stride in zip(channels[:-1], channels[1:], strides, strict=True):
            if len(self.embed):
                self.embed.append(nn.GELU())
            self.embed.append(conv_fan_out(dims, inputs, outputs, 3, stride))
            self.embed.append(BatchNorm(outputs))
        self.blocks = nn.Sequential(*(Block(dims, channels[-1], ratio, drop) for drop in drops))
        self.norm = nn.LayerNorm(channels[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels[0], T) to (B, channels[-1], T over the strides, rounded up); likewise the axes of images."""
        x = self.blocks(self.embed(x))
        return to_map(self.norm(to_tokens(x)), tuple(x.shape[2:]))


class Mscan(nn.Module):
    """The encoder of SegNeXt.

    Args:
        dims: number of axes, 1 or 2.
        inputs: channels of a sample.
        widths: channels of each stage.
        depths: number of blocks of each stage.
        ratios: channels of the feed-forward blocks of each stage, over its width.
        drop: rate of stochastic depth, which rises linearly from 0 at the first block to this value at the last.
        stem_stride: strides of the two convolutions before the first stage; (2, 1) gives all maps twice the positions.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        ratios: Sequence[int] = (8, 8, 4, 4),
        drop: float = 0.1,
        stem_stride: tuple[int, int] = (2, 2),
    ) -> None:
        super().__init__()
        channels: list[Sequence[int]] = [
            (inputs, widths[0] // 2, widths[0]),
            *pairwise(widths),
        ]
        self.stages = nn.ModuleList(
            Stage(dims, channels[n], (2,) if n else stem_stride, ratios[n], drops)
            for n, drops in enumerate(rising_drops(drop, depths))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, C, ...) to the map of each stage, the finest first."""
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class LinearDecoder(nn.Module):
    """The decoder of SegFormer without its classifier: each map to `channels`, joined, 1x1 convolution, BN, ReLU.

    Args:
        dims: number of axes, 1 or 2.
        widths: channels of each map, the finest first.
        channels: channels of the decoder.
        fusion: a name in `STAGE_FUSIONS` that joins the maps; None for interpolation and concatenation.
    """

    def __init__(self, dims: int, widths: Sequence[int], channels: int, fusion: str | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.project = nn.ModuleList(conv_fan_out(dims, width, channels) for width in widths)
        self.joins = TopDown(fusion, (channels,) * len(widths), dims)
        self.fuse = conv_fan_out(dims, self.joins.channels, channels, bias=False)
        self.norm = BatchNorm(channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, width, ...) each, the finest first, to (B, channels, ...) with the positions of the finest."""
        projected = [project(x) for project, x in zip(self.project, maps, strict=True)]
        return torch.relu(self.norm(self.fuse(self.joins(projected))))


class SegNext(nn.Module):
    """SegNeXt.

    Features: `encoder1..4` with a 4th, 8th, 16th and 32nd of the positions along each axis (rounded up), and `decoder1`
    with a 4th, or with an 8th if the decoder is a Hamburger, which does not read the finest map.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        decoder: `mlp` (linear layers, as SegFormer) or `ham` (light Hamburger).
        channels: channels of the decoder; None for 128 of `mlp` and 256 of `ham`.
        groups: groups of channels in the normalisations of the Hamburger.
        fusion: a name in `STAGE_FUSIONS` for the maps of the decoder; None for interpolation and concatenation.
        widths: as for `Mscan`; likewise `depths`, `ratios`, `drop` and `stem_stride`.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        decoder: Literal["mlp", "ham"] = "mlp",
        channels: int | None = None,
        groups: int = 32,
        fusion: str | None = None,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        ratios: Sequence[int] = (8, 8, 4, 4),
        drop: float = 0.1,
        stem_stride: tuple[int, int] = (2, 2),
    ) -> None:
        super().__init__()
        dims = len(shape) - 1
        self.encoder = Mscan(dims, shape[0], widths, depths, ratios, drop, stem_stride)
        self.skipped = 1 if decoder == "ham" else 0
        self.decoder: LinearDecoder | Hamburger
        if decoder == "ham":
            self.decoder = Hamburger(dims, widths[1:], channels or 256, groups=groups, fusion=fusion)
        else:
            self.decoder = LinearDecoder(dims, widths, channels or 128, fusion)
        self.head = Head(shape, self.decoder.channels, classes, dropout=0.1)

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) or (B, C, H, W) to outputs with logits (B, K, T) or (B, K, H, W)."""
        maps = self.encoder(x)
        outputs: Outputs = self.head(maps, [self.decoder(maps[self.skipped :])], x.shape[2:])
        return outputs


_small = partial(SegNext, widths=(16, 32, 64, 96), depths=(2, 2, 3, 2), channels=64)


@DENSE.register("segnext")
def segnext(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """SegNeXt-T with a linear decoder, about 4.0 million parameters on images: a teacher. arXiv:2209.08575."""
    return SegNext(shape, classes, fusion=fusion)


@DENSE.register("segnext-ham")
def segnext_ham(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """SegNeXt-T with the Hamburger decoder as published, about 4.2 million parameters on images. arXiv:2209.08575."""
    return SegNext(shape, classes, decoder="ham", fusion=fusion)


@DENSE.register("segnext-small")
def segnext_small(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """SegNeXt with fewer blocks and channels (our choice) and a linear decoder: a small student."""
    return _small(shape, classes, fusion=fusion)


@DENSE.register("segnext-small-ham")
def segnext_small_ham(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """SegNeXt with fewer blocks and channels (our choice) and a Hamburger decoder: a small student."""
    return _small(shape, classes, decoder="ham", groups=8, fusion=fusion)
