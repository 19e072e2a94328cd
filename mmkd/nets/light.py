"""Small networks for devices: `tiny` (at most about 10,000 parameters) and `micro` (about 2,000).

Both see at least half of a signal window at once, however long it is: see `mmkd.nets.wrn.stem_for`.
"""

import torch
from torch import Tensor, nn

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import BACKBONES, Shape, check_shape
from mmkd.nets.lines import LineConv, as_lines, as_rows
from mmkd.nets.wrn import MINIMUM, WideResNet, conv, narrow_stem, norm

KERNELS = (5, 11, 21)
"""Kernel lengths of the first layer of `tiny` on a signal that is read without a stride."""
BLOCK_KERNEL = 9
"""Kernel length of its two blocks on signals."""
MICRO_WIDTH = 4
TINY_WIDTHS = (16, 36, 56)
"""Channels of each kernel of the first layer of `tiny`, and of its two blocks."""


def depthwise(dims: int, channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Module:
    """Convolution of each channel by itself, without bias; an odd kernel keeps the size (divided by the stride)."""
    make = LineConv if dims == 1 else nn.Conv2d
    padding = dilation * (kernel // 2)
    layer = make(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")
    return layer


class Separable(nn.Module):
    """Depthwise convolution, 1x1 convolution, BatchNorm, ReLU; of images with a kernel of 3 x 3."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = depthwise(dims, inputs, kernel, stride, dilation)
        self.pointwise = conv(dims, inputs, outputs, 1)
        self.norm = norm(dims, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, ...) to (B, outputs, ...)."""
        return torch.relu_(self.norm(self.pointwise(self.depthwise(x))))


def tiny_stem(samples: int) -> tuple[tuple[int, ...], int]:
    """Kernel lengths and stride of the first layer of `tiny`, with which it sees at least half of a window.

    Args:
        samples: T of the windows.

    >>> tiny_stem(128), tiny_stem(1000)
    (((5, 11, 21), 2), ((25, 55, 105), 10))
    """
    stride = 1
    kernels: tuple[int, ...] = KERNELS
    while max(kernels) + stride * (BLOCK_KERNEL - 1) * (1 + 2 * 2) < samples / 2:  # block 2: at stride 2, dilation 2
        stride += 1
        kernels = tuple(kernel * max(1, stride // 2) // 2 * 2 + 1 for kernel in KERNELS)
    return tuple(min(kernel, samples // 4 * 2 + 1) for kernel in kernels), stride


class Tiny(nn.Module):
    """Depthwise-separable network with kernels of several lengths side by side, in the manner of LITE.

    After Ismail-Fawaz et al. 2023, "LITE: Light Inception with boosTing tEchniques" (IEEE DSAA), whose layers these
    are: parallel kernels of three lengths, then two separable convolutions, the second one dilated. It differs from
    LITE: the first layer is depthwise-separable whatever the number of channels, it has a stride where windows are
    long, and there are no hand-made filters. Images are read at half their side, with kernels of 3 x 3 and 5 x 5.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        dims = len(shape) - 1
        each, middle, last = TINY_WIDTHS
        if dims == 1:
            kernels, stride = tiny_stem(shape[1])
            first, second = BLOCK_KERNEL, BLOCK_KERNEL
        else:
            kernels, stride, first, second = (3, 5), 2, 3, 3
        self.parallel = nn.ModuleList(Separable(dims, shape[0], each, kernel, stride) for kernel in kernels)
        width = each * len(kernels)
        self.block1 = Separable(dims, width, middle, first, 2)
        self.block2 = Separable(dims, middle, last, second, 1, 2)
        self.classifier = nn.Linear(last, classes)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) or (B, C, H, W) to outputs with three stages and a classifier for class activation maps."""
        dims = x.dim() - 2
        x = as_rows(x, self)
        stage1 = torch.cat([layer(x) for layer in self.parallel], dim=1)
        stage2 = self.block1(stage1)
        stage3 = self.block2(stage2)
        embedding = stage3.mean(dim=tuple(range(2, stage3.dim())))
        stages = {"stage1": stage1, "stage2": stage2, "stage3": stage3}
        features = {name: as_lines(stage, dims) for name, stage in stages.items()}
        return Outputs(self.classifier(embedding), embedding, features, classifier=self.classifier.weight)


@BACKBONES.register("tiny")
def tiny(shape: Shape, classes: int) -> nn.Module:
    """Depthwise-separable, kernels of three lengths, at most 10,000 parameters; after LITE, DSAA 2023."""
    check_shape("tiny", shape, minimum=MINIMUM)
    return Tiny(shape, classes)


@BACKBONES.register("micro")
def micro(shape: Shape, classes: int) -> nn.Module:
    """Residual network of depth 10 with 4, 8 and 16 channels, about 2,000 parameters; signals and images."""
    check_shape("micro", shape, minimum=MINIMUM)
    return WideResNet(shape, classes, depth=10, width=1, base=MICRO_WIDTH, **narrow_stem(shape))
