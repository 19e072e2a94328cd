"""U-Net for signals and images of any length. Ronneberger et al. 2015, arXiv:1505.04597.

As in the paper: two convolutions of kernel 3 a level, max pooling by two, skip connections by concatenation. Different
from the paper: padded convolutions with batch normalisation (the paper's are not padded and have none), linear
interpolation to the size of the skip connection instead of transposed convolutions, so that every length works, and
fewer channels. A stage fusion replaces interpolation and concatenation at each skip connection.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import DENSE, Shape
from mmkd.nets.dense.layers import Head, conv_bn_relu, resize, stage_join


class Interpolated(nn.Module):
    """The U-Net's own skip connection: concatenate the interpolated coarse map and the fine map."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.channels = fine + coarse

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map (B, fine, ...), (B, coarse, ...) to (B, coarse + fine, ...) with the positions of the fine map."""
        return torch.cat([resize(coarse, fine.shape[2:]), fine], dim=1)


class UNet(nn.Module):
    """U-Net. Features: one encoder map a level, including the lowest, and one decoder map a level.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        widths: channels of each level, from full resolution down. Each level has half as many positions along each
            axis, rounded up.
        fusion: a name in `STAGE_FUSIONS` for the skip connections; None for interpolation and concatenation.
    """

    def __init__(self, shape: Shape, classes: int, widths: tuple[int, ...], fusion: str | None = None) -> None:
        super().__init__()
        dims = len(shape) - 1

        def twice(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(conv_bn_relu(dims, inputs, outputs, 3), conv_bn_relu(dims, outputs, outputs, 3))

        self.down = nn.ModuleList(twice(i, o) for i, o in pairwise((shape[0], *widths)))
        levels = list(pairwise(widths[::-1]))
        joins = [stage_join(fusion, fine, low, dims) if fusion else Interpolated(fine, low) for low, fine in levels]
        self.up = nn.ModuleList(twice(join.channels, fine) for join, (_, fine) in zip(joins, levels, strict=True))
        self.joins = nn.ModuleList(joins)
        self.head = Head(shape, widths[0], classes)

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) or (B, C, H, W) to outputs with logits (B, K, T) or (B, K, H, W)."""
        size = x.shape[2:]
        pool = F.max_pool1d if x.dim() == 3 else F.max_pool2d
        encoder: list[Tensor] = []
        for stage in self.down:
            x = stage(pool(x, 2, ceil_mode=True) if encoder else x)
            encoder.append(x)
        decoder = []
        for join, stage, skip in zip(self.joins, self.up, encoder[-2::-1], strict=True):
            x = stage(join(skip, x))
            decoder.append(x)
        outputs: Outputs = self.head(encoder, decoder, size)
        return outputs


@DENSE.register("unet")
def unet(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """U-Net, 16 to 128 channels over four levels: the plain reference. arXiv:1505.04597."""
    return UNet(shape, classes, (16, 32, 64, 128), fusion)


@DENSE.register("unet-small")
def unet_small(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """U-Net, 4 to 16 channels over five levels, about 8 thousand parameters on signals: a tiny student."""
    return UNet(shape, classes, (4, 8, 12, 16, 12), fusion)
