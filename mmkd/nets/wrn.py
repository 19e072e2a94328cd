"""Wide residual networks for signals and images. Zagoruyko and Komodakis 2016, arXiv:1605.07146.

The form for signals, and the numbers of parameters that the tests check, are those of the wearable-sensor papers on
multimodal distillation (Jeon et al. 2022 and later). `small` has one such block a stage and reads images at half their
side; it is meant for the branches of a student on a CPU. `wrn-attn` is WRN16-1 with attention pooling.

The published networks see a fixed number of samples at once (WRN16-1 53, `small` 25), however long the window is. Those
whose names end in `-window` have a longer first convolution with a stride, and see half of the window: `stem_for`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import BACKBONES, Shape, check_shape
from mmkd.nets.lines import LineConv, LineNorm, as_lines, as_rows

DEPTHS_AND_WIDTHS = ((10, 1), (16, 1), (16, 3), (16, 8), (28, 1), (28, 3), (40, 1))
MINIMUM = 8
"""The smallest window length and image side: a total stride of 4 leaves 2 positions (for `small` on images: 1)."""


class Pointwise2d(nn.Conv2d):
    """A 1x1 convolution with a stride that first leaves out the positions which the stride leaps over: equal numbers.

    On some processors torch 2.13 writes beyond its memory in the gradient of such a convolution with fewer than eight
    input channels whose layout is channels-last; without a stride it does not.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        down, right = self.stride
        return nn.functional.conv2d(x[:, :, ::down, ::right], weight, bias)


def conv(dims: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Convolution over `dims` axes without bias that keeps the size (divided by the stride); He initialisation."""
    make = LineConv if dims == 1 else Pointwise2d if kernel == 1 and stride > 1 and inputs < 8 else nn.Conv2d
    layer = make(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def norm(dims: int, channels: int) -> nn.Module:
    """Batch normalisation over `dims` axes."""
    return LineNorm(channels) if dims == 1 else nn.BatchNorm2d(channels)


def blocks_of(depth: int) -> int:
    """Blocks a stage of a network of this depth.

    Raises:
        ValueError: The depth is not 6 N + 4.
    """
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth {depth} is not 6 N + 4")
    return blocks


def receptive_field(depth: int, stem_kernel: int = 3, stem_stride: int = 1) -> int:
    """Samples of a signal that one position of the last map sees.

    >>> receptive_field(16), receptive_field(10)
    (53, 25)
    """
    blocks = blocks_of(depth)
    field = stem_kernel
    step = stem_stride
    for stride in (1, 2, 2):
        field += 2 * step  # its first convolution, before the stride counts
        step *= stride
        field += 2 * step * (2 * blocks - 1)
    return field


def stem_for(samples: int, depth: int) -> dict[str, int]:
    """Kernel and stride of the first convolution with which a network sees at least half of a window.

    The kernel is 7 samples or more, and covers what the stride leaps over twice; the stride is the smallest that will
    do, so that short windows lose no resolution.

    Args:
        samples: T of the windows.
        depth: of the network.

    Returns:
        `stem_kernel` and `stem_stride` of `WideResNet`.

    >>> stem_for(128, depth=16)
    {'stem_kernel': 7, 'stem_stride': 2}
    """
    stride = 1
    kernel = 7
    while receptive_field(depth, kernel, stride) < samples / 2:
        stride += 1
        kernel = max(7, 2 * stride + 1)
    return {"stem_kernel": kernel, "stem_stride": stride}


class Block(nn.Module):
    """Residual block: BatchNorm, ReLU and convolution twice, plus a shortcut.

    The shortcut is a 1x1 convolution if the number of channels changes.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = norm(dims, inputs)
        self.conv1 = conv(dims, inputs, outputs, 3, stride)
        self.norm2 = norm(dims, outputs)
        self.conv2 = conv(dims, outputs, outputs, 3)
        self.shortcut = conv(dims, inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, ...) to (B, outputs, ...)."""
        active = torch.relu_(self.norm1(x))  # in place, because the output of the norm is not used again
        out: Tensor = self.conv2(torch.relu_(self.norm2(self.conv1(active))))
        return out.add_(x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """Wide residual network: stem, three stages, BatchNorm, ReLU, mean over positions, linear classifier.

    The stages have 16k, 32k and 64k channels and strides 1, 2 and 2. The features `stage1` and `stage2` are the outputs
    of these stages. `stage3` is taken after the last BatchNorm and ReLU, where the mean is computed, so that class
    activation maps are exact.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        depth: 6 N + 4, where N is the number of blocks a stage.
        width: k.
        stem_stride: stride of the first convolution.
        stem_kernel: its kernel length, an odd number.
        base: channels of the stem; the stages have 1, 2 and 4 times `base` k.

    Raises:
        ValueError: The depth is not 6 N + 4.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        depth: int,
        width: int,
        *,
        stem_stride: int = 1,
        stem_kernel: int = 3,
        base: int = 16,
    ) -> None:
        super().__init__()
        blocks = blocks_of(depth)
        dims = len(shape) - 1
        channels = base
        self.stem = conv(dims, shape[0], channels, stem_kernel, stem_stride)
        self.stages = nn.ModuleList()
        for outputs, stride in ((base * width, 1), (2 * base * width, 2), (4 * base * width, 2)):
            stage = nn.Sequential()
            for position in range(blocks):
                stage.append(Block(dims, channels, outputs, stride if position == 0 else 1))
                channels = outputs
            self.stages.append(stage)
        self.norm = norm(dims, channels)
        self.classifier = nn.Linear(channels, classes)
        nn.init.zeros_(self.classifier.bias)

    def stage_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, C, T) or (B, C, H, W) to the feature maps of the three stages, by name."""
        dims = x.dim() - 2
        if dims == 2:  # twice as fast on a CPU; weights and checkpoints keep the usual layout
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem(as_rows(x, self))
        features = {}
        for number, stage in enumerate(self.stages, 1):
            x = stage(x)
            features[f"stage{number}"] = as_lines(x, dims)
        features["stage3"] = as_lines(torch.relu_(self.norm(x)), dims)
        return features

    def forward(self, x: Tensor) -> Outputs:
        """Map (B, C, T) or (B, C, H, W) to outputs with three stages and a classifier for class activation maps."""
        features = self.stage_maps(x)
        last = features["stage3"]
        embedding = last.mean(dim=tuple(range(2, last.dim())))
        return Outputs(self.classifier(embedding), embedding, features, classifier=self.classifier.weight)


class AttentionPooled(WideResNet):
    """Wide residual network whose embedding is a weighted mean over the positions p of the last map f.

    The weights are a_p = softmax over positions of w . f_p with trained w, and the embedding is sum_p a_p f_p. This is
    the simplest form of attention pooling, one linear score without hidden layer (compare Ilse et al. 2018,
    arXiv:1802.04712). The score has no bias, which the softmax would cancel. `classifier` of the outputs is None,
    because the classifier does not read the plain mean of the map.

    Args:
        shape: (C, T) or (C, H, W) of one sample.
        classes: number of classes K.
        depth: 6 N + 4, where N is the number of blocks a stage.
        width: k.
    """

    def __init__(self, shape: Shape, classes: int, depth: int, width: int) -> None:
        super().__init__(shape, classes, depth, width)
        self.score = nn.Linear(self.classifier.in_features, 1, bias=False)

    def forward(self, x: Tensor) -> Outputs:
        """Map a batch to outputs with the attention weights "temporal" (B, 1, T) or "spatial" (B, 1, H W)."""
        features = self.stage_maps(x)
        positions = features["stage3"].flatten(2).transpose(1, 2)
        attention = torch.softmax(self.score(positions).transpose(1, 2), dim=2)
        embedding = (attention @ positions).squeeze(1)
        name = "temporal" if x.dim() == 3 else "spatial"
        return Outputs(self.classifier(embedding), embedding, features, attention={name: attention})


def _factory(name: str, depth: int, width: int, window: bool = False) -> Callable[[Shape, int], nn.Module]:
    def build(shape: Shape, classes: int) -> nn.Module:
        check_shape(name, shape, minimum=MINIMUM)
        stem = stem_for(shape[1], depth) if window and len(shape) == 2 else {}
        return WideResNet(shape, classes, depth, width, **stem)

    seen = "; of a signal it sees half of the window" if window else ""
    build.__doc__ = f"Wide residual network, depth {depth}, width {width}; signals and images{seen}. arXiv:1605.07146."
    return build


for _depth, _width in DEPTHS_AND_WIDTHS:
    BACKBONES.register(f"WRN{_depth}-{_width}")(_factory(f"WRN{_depth}-{_width}", _depth, _width))
for _width in (1, 3):
    _name = f"WRN16-{_width}-window"
    BACKBONES.register(_name)(_factory(_name, 16, _width, window=True))


@BACKBONES.register("small")
def small(shape: Shape, classes: int) -> nn.Module:
    """One residual block a stage, 16 to 64 channels; images are read at half their side: for branches on a CPU."""
    check_shape("small", shape, minimum=MINIMUM)
    return WideResNet(shape, classes, depth=10, width=1, stem_stride=len(shape) - 1)


@BACKBONES.register("small-window")
def small_window(shape: Shape, classes: int) -> nn.Module:
    """`small` with a longer first convolution, so that it sees half of a signal window."""
    check_shape("small-window", shape, minimum=MINIMUM)
    return WideResNet(shape, classes, depth=10, width=1, **narrow_stem(shape))


def narrow_stem(shape: Shape) -> dict[str, int]:
    """The stem of a network of depth 10 for a signal (C, T) or an image (C, H, W), which is read at half its side."""
    return stem_for(shape[1], 10) if len(shape) == 2 else {"stem_stride": 2}


@BACKBONES.register("wrn-attn")
def wrn_attn(shape: Shape, classes: int) -> nn.Module:
    """WRN16-1 with attention pooling: the embedding is a weighted mean of positions, with learned weights."""
    check_shape("wrn-attn", shape, minimum=MINIMUM)
    return AttentionPooled(shape, classes, depth=16, width=1)
