"""Fast-SCNN for signals and images of any length and any batch size. Poudel et al., BMVC 2019, arXiv:1902.04502.

As in the paper: the table of layers (learning to downsample, bottleneck residual blocks, pyramid pooling, feature
fusion, classifier), no nonlinearity between a depthwise and its pointwise convolution, and 1.11 million parameters on
RGB images with 19 classes. The paper does not say which bins the pyramid has; here they are 1, 2, 3, 6 as in PSPNet
(arXiv:1612.01105).

Different from the paper: signals with one axis; interpolation to the size of the fine branch instead of by a factor of
4, so that every length works; batch normalisation of a single value by its running statistics; no offset in the
normalisation of the linear bottlenecks, which the next normalisation would cancel; dropout of whole channels with rate
0.1 before the last convolution (the paper gives no rate). A stage fusion is applied in steps of 2 : 1
(`SteppedFusion`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import DENSE, Shape
from mmkd.nets.dense.layers import BatchNorm, Head, conv, conv_bn_relu, resize, stage_join

BINS = (1, 2, 3, 6)


def separable(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise convolution of kernel 3, pointwise convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        conv(dims, inputs, inputs, 3, stride, groups=inputs), *conv_bn_relu(dims, inputs, outputs).children()
    )


class Bottleneck(nn.Module):
    """Inverted residual block. Sandler et al. 2018, arXiv:1801.04381.

    A 1x1 convolution to 6 times the channels, a depthwise convolution, and a linear 1x1 projection; a shortcut if the
    shape does not change.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.layers = nn.Sequential(
            conv_bn_relu(dims, inputs, wide),
            conv_bn_relu(dims, wide, wide, 3, stride, groups=wide),
            conv(dims, wide, outputs),
            BatchNorm(outputs, shift=False),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, ...) to (B, outputs, ...)."""
        out: Tensor = self.layers(x)
        return x + out if self.shortcut else out


class PyramidPooling(nn.Module):
    """Means over 1, 2, 3 and 6 bins of each axis, with a quarter of the channels each, joined with their input."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_bn_relu(dims, channels, channels // len(BINS)) for _ in BINS)
        self.out = conv_bn_relu(dims, channels + len(BINS) * (channels // len(BINS)), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        maps = [x]
        for bins, branch in zip(BINS, self.branches, strict=True):
            pooled = F.adaptive_avg_pool1d(x, bins) if x.dim() == 3 else F.adaptive_avg_pool2d(x, bins)
            maps.append(resize(branch(pooled), x.shape[2:]))
        out: Tensor = self.out(torch.cat(maps, dim=1))
        return out


class Fusion(nn.Module):
    """The published feature fusion: the fine map plus the coarse map, resized and convolved with dilation."""

    def __init__(self, dims: int, fine: int, coarse: int, outputs: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(conv(dims, fine, outputs), BatchNorm(outputs))
        self.coarse = nn.Sequential(
            conv_bn_relu(dims, coarse, coarse, 3, dilation=4, groups=coarse),
            conv(dims, coarse, outputs),
            BatchNorm(outputs),
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map (B, fine, ...) and (B, coarse, ...) to (B, outputs, ...) with the positions of the fine map."""
        return torch.relu(self.fine(fine) + self.coarse(resize(coarse, fine.shape[2:])))


class SteppedFusion(nn.Module):
    """Two stage fusions in sequence: coarse with middle map, and the result with the fine map.

    The fine map has four times as many positions as the coarse one along each axis, whereas CARAFE and FreqFusion
    enlarge by two. The first stage of bottlenecks, which lies in between, is the middle map. A depthwise and a
    pointwise convolution give the number of channels. This is an addition of this project.
    """

    def __init__(self, dims: int, fusion: str, fine: int, middle: int, coarse: int, outputs: int) -> None:
        super().__init__()
        self.first = stage_join(fusion, middle, coarse, dims)
        self.second = stage_join(fusion, fine, self.first.channels, dims)
        self.out = separable(dims, self.second.channels, outputs)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """Map (B, fine, ...), (B, middle, ...) and (B, coarse, ...) to (B, outputs, *fine)."""
        out: Tensor = self.out(self.second(fine, self.first(middle, coarse)))
        return out


class FastSCNN(nn.Module):
    """Fast-SCNN.

    Features: `encoder1` with an eighth of the positions along each axis, `encoder2` with a 16th, `encoder3`, `encoder4`
    and `encoder5` (after pyramid pooling) with a 32nd; `decoder1` (fused) and `decoder2` (before the classifier) with
    an eighth, all rounded up.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        downsample: channels of the three layers that downsample.
        extractor: channels of the three stages of bottlenecks, three blocks each; the last is the width of the decoder.
        fusion: a name in `STAGE_FUSIONS` for the feature fusion; None for the published one.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        downsample: tuple[int, int, int] = (32, 48, 64),
        extractor: tuple[int, int, int] = (64, 96, 128),
        fusion: str | None = None,
    ) -> None:
        super().__init__()
        dims = len(shape) - 1
        first, second, fine = downsample
        self.downsample = nn.Sequential(
            conv_bn_relu(dims, shape[0], first, 3, 2),
            separable(dims, first, second, 2),
            separable(dims, second, fine, 2),
        )
        self.stages = nn.ModuleList()
        channels = fine
        for outputs, stride in zip(extractor, (2, 2, 1), strict=True):
            stage = nn.Sequential()
            for position in range(3):
                stage.append(Bottleneck(dims, channels, outputs, stride if position == 0 else 1))
                channels = outputs
            self.stages.append(stage)
        self.stages.append(PyramidPooling(dims, channels))
        self.fused = (0, -1) if fusion is None else (0, 1, -1)  # indices of the encoder maps that are fused
        if fusion is None:
            self.fusion: nn.Module = Fusion(dims, fine, channels, channels)
        else:
            self.fusion = SteppedFusion(dims, fusion, fine, extractor[0], channels, channels)
        self.decoder = nn.Sequential(separable(dims, channels, channels), separable(dims, channels, channels))
        self.head = Head(shape, channels, classes, dropout=0.1)

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) or (B, C, H, W) to outputs with logits (B, K, T) or (B, K, H, W)."""
        encoder = [self.downsample(x)]
        for stage in self.stages:
            encoder.append(stage(encoder[-1]))
        fused = self.fusion(*(encoder[n] for n in self.fused))
        outputs: Outputs = self.head(encoder, [fused, self.decoder(fused)], x.shape[2:])
        return outputs


@DENSE.register("fast-scnn")
def fast_scnn(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """Fast-SCNN as published, about 1.1 million parameters. arXiv:1902.04502."""
    return FastSCNN(shape, classes, fusion=fusion)


@DENSE.register("fast-scnn-small")
def fast_scnn_small(shape: Shape, classes: int, fusion: str | None = None) -> nn.Module:
    """Fast-SCNN with fewer channels (our choice): a small student."""
    return FastSCNN(shape, classes, (16, 16, 16), (16, 24, 32), fusion)
