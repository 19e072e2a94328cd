"""SegFormer for signals and images of any length. Xie et al., NeurIPS 2021, arXiv:2105.15203.

As in the paper: overlapping patch embeddings (kernels 7, 3, 3, 3, strides 4, 2, 2, 2), attention with keys and values
at a reduced resolution, feed-forward blocks with a depthwise convolution in the middle, no positional encoding, a
decoder of linear layers only, stochastic depth (rate rising to 0.1), dropout 0.1 before the classifier. `segformer` on
images is MiT-B0 with its decoder.

Different from the paper: signals with one axis, with half the reduction in the first three stages, because a window has
far fewer positions than an image; maps are padded at their end to a multiple of the reduction, where the reference code
leaves the last positions out of the keys; no bias of the keys, of the first linear layers of the decoder and of the
normalisation of the last stage. The first of these biases has no effect, and the decoder's batch normalisation cancels
the others in training. With a stage fusion, the maps of the decoder are not interpolated to the finest one, but joined
step by step, the coarsest two first.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import DENSE, Shape
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

REDUCTIONS = {1: (4, 2, 1, 1), 2: (8, 4, 2, 1)}
"""Number of axes -> the factor by which each stage shortens keys and values along each axis; those of images are the
paper's."""


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class Attention(nn.Module):
    """Self-attention whose keys and values come from a map that is `reduction` times shorter along each axis."""

    def __init__(self, dims: int, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.query = _linear(width, width)
        self.key = _linear(width, width, bias=False)
        self.value = _linear(width, width)
        self.out = _linear(width, width)
        self.reduce = conv_fan_out(dims, width, width, reduction, reduction, padding=0) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """Map (B, N, C) to (B, N, C).

        Args:
            x: (B, N, C).
            size: the positions along each axis; their product is N.
        """
        source = x
        if self.reduce is not None and self.norm is not None:
            ends = [(0, -length % self.reduction) for length in reversed(size)]
            padded = F.pad(to_map(x, size), [n for pair in ends for n in pair])
            source = self.norm(to_tokens(self.reduce(padded)))
        query, key, value = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, y in ((self.query, x), (self.key, source), (self.value, source))
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return out


class MixFeedForward(nn.Module):
    """Linear layer to four times the width, depthwise convolution of kernel 3, GELU, linear layer back."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.wide = _linear(width, 4 * width)
        self.back = _linear(4 * width, width)
        self.depthwise = conv_fan_out(dims, 4 * width, 4 * width, 3, groups=4 * width)

    def forward(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B, N, C) to the same shape."""
        out: Tensor = self.back(F.gelu(to_tokens(self.depthwise(to_map(self.wide(x), size)))))
        return out


class Block(nn.Module):
    """Attention and feed-forward block, each after a layer normalisation and with a shortcut.

    `drop` is the rate of `StochasticDepth`.
    """

    def __init__(self, dims: int, width: int, heads: int, reduction: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(dims, width, heads, reduction)
        self.norm2 = nn.LayerNorm(width)
        self.feed = MixFeedForward(dims, width)
        self.kept = StochasticDepth(drop)

    def forward(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """(B, N, C) to the same shape."""
        x = x + self.kept(self.attention(self.norm1(x), size))
        out: Tensor = x + self.kept(self.feed(self.norm2(x), size))
        return out


class Stage(nn.Module):
    """Patch embedding, blocks, layer normalisation."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        width: int,
        *,
        stride: int,
        heads: int,
        reduction: int,
        drops: list[float],
        last: bool,
    ) -> None:
        super().__init__()
        self.embed = conv_fan_out(dims, inputs, width, 2 * stride - 1, stride)
        self.embed_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(dims, width, heads, reduction, drop) for drop in drops)
        self.norm = nn.LayerNorm(width, bias=not last)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T) to (B, width, ceil(T / stride)); likewise for each axis of an image."""
        x = self.embed(x)
        size = tuple(x.shape[2:])
        x = self.embed_norm(to_tokens(x))
        for block in self.blocks:
            x = block(x, size)
        return to_map(self.norm(x), size)


class SegFormer(nn.Module):
    """SegFormer.

    Features: `encoder1..4` with a 4th, 8th, 16th and 32nd of the positions along each axis (rounded up), and `decoder1`
    with a 4th.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        widths: channels of each stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
        decoder: channels of the decoder.
        drop: probability of skipping a residual branch, which rises linearly from 0 at the first block to this value.
        fusion: a name in `STAGE_FUSIONS` for the maps of the decoder; None for interpolation and concatenation.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        widths: tuple[int, ...] = (32, 64, 160, 256),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        heads: tuple[int, ...] = (1, 2, 5, 8),
        decoder: int = 256,
        drop: float = 0.1,
        fusion: str | None = None,
    ) -> None:
        super().__init__()
        dims = len(shape) - 1
        self.stages = nn.ModuleList()
        inputs = shape[0]
        for n, (width, drops) in enumerate(zip(widths, rising_drops(drop, depths), strict=True)):
            stride = 2 if n else 4
            last = n == len(widths) - 1
            self.stages.append(
                Stage(
                    dims,
                    inputs,
                    width,
                    stride=stride,
                    heads=heads[n],
                    reduction=REDUCTIONS[dims][n],
                    drops=drops,
                    last=last,
                )
            )
            inputs = width
        self.linears = nn.ModuleList(_linear(width, decoder, bias=False) for width in widths)
        self.joins = TopDown(fusion, (decoder,) * len(widths), dims)
        self.fuse = _linear(self.joins.channels, decoder, bias=False)
        self.norm = BatchNorm(decoder)
        self.head = Head(shape, decoder, classes, dropout=0.1)

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) or (B, C, H, W) to outputs with logits (B, K, T) or (B, K, H, W)."""
        size = x.shape[2:]
        encoder: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            encoder.append(x)
        maps = [
            to_map(linear(to_tokens(y)), tuple(y.shape[2:])) for linear, y in zip(self.linears, encoder, strict=True)
        ]
        fused = to_map(self.fuse(to_tokens(self.joins(maps))), tuple(maps[0].shape[2:]))
        outputs: Outputs = self.head(encoder, [torch.relu(self.norm(fused))], size)
        return outputs


@DENSE.register("segformer")
def segformer(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """SegFormer-B0, about 3.7 million parameters on images: a teacher. arXiv:2105.15203."""
    return SegFormer(shape, classes, fusion=fusion)


@DENSE.register("segformer-small")
def segformer_small(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """SegFormer with one block a stage and fewer channels (our choice): a small student."""
    return SegFormer(
        shape,
        classes,
        widths=(16, 32, 48, 64),
        depths=(1, 1, 1, 1),
        heads=(1, 2, 3, 4),
        decoder=64,
        drop=0.0,
        fusion=fusion,
    )
