"""Wide residual networks in 1-D and 2-D. Zagoruyko and Komodakis 2016, arXiv:1605.07146.

The 1-D form, and the parameter counts that the tests hold, are those of the wearable-sensor papers on multimodal
distillation (Jeon et al. 2022 and later). `small` has the same blocks, one a stage, and reads images at half their
side: for the branches of a student on a CPU. `wrn-attn` is WRN16-1 with attention pooling in place of the mean.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import BACKBONES, Shape, check_shape

DEPTHS_AND_WIDTHS = ((10, 1), (16, 1), (16, 3), (16, 8), (28, 1), (28, 3), (40, 1))
MINIMUM = 8
"""The shortest window, and the smallest side of an image: strides of 4 leave 2 positions (`small` on images: 1)."""


def conv(dims: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution without bias over `dims` axes that keeps the length but for the stride; He's initialisation."""
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    layer = make(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def norm(dims: int, channels: int) -> nn.Module:
    """Batch normalisation over `dims` axes."""
    return nn.BatchNorm1d(channels) if dims == 1 else nn.BatchNorm2d(channels)


class Block(nn.Module):
    """BN-ReLU-conv twice beside a shortcut, which is a convolution where the number of channels changes."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = norm(dims, inputs)
        self.conv1 = conv(dims, inputs, outputs, 3, stride)
        self.norm2 = norm(dims, outputs)
        self.conv2 = conv(dims, outputs, outputs, 3)
        self.shortcut = conv(dims, inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, ...) to (B, outputs, ...)."""
        active = torch.relu_(self.norm1(x))  # in place: nobody reads what a norm or the last convolution has put out
        out: Tensor = self.conv2(torch.relu_(self.norm2(self.conv1(active))))
        return out.add_(x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """Stem, three stages of 16k, 32k and 64k channels with strides 1, 2, 2, BN-ReLU, mean over positions, linear.

    Features `stage1`, `stage2` are the sums that leave a stage; `stage3` is the map that the mean reads, after the last
    BN-ReLU, so that class activation maps are exact.

    Args:
        shape: one sample's (C, T) or (C, H, W).
        classes: K.
        depth: 6 N + 4, N blocks a stage.
        width: k.
        stem_stride: stride of the first convolution.
    """

    def __init__(self, shape: Shape, classes: int, depth: int, width: int, stem_stride: int = 1) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth {depth} is not 6 N + 4")
        dims = len(shape) - 1
        channels = 16
        self.stem = conv(dims, shape[0], channels, 3, stem_stride)
        self.stages = nn.ModuleList()
        for outputs, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            stage = nn.Sequential()
            for position in range(blocks):
                stage.append(Block(dims, channels, outputs, stride if position == 0 else 1))
                channels = outputs
            self.stages.append(stage)
        self.norm = norm(dims, channels)
        self.classifier = nn.Linear(channels, classes)
        nn.init.zeros_(self.classifier.bias)

    def stage_maps(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, T) or (B, C, H, W) to the maps of the three stages, by name."""
        if x.dim() == 4:  # on a CPU twice as quick; the weights keep their usual layout, so that checkpoints do too
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        features = {}
        for number, stage in enumerate(self.stages, 1):
            x = features[f"stage{number}"] = stage(x)
        features["stage3"] = torch.relu_(self.norm(x))
        return features

    def forward(self, x: Tensor) -> Outputs:
        """(B, C, T) or (B, C, H, W) to outputs with three stages and a classifier for class activation maps."""
        features = self.stage_maps(x)
        last = features["stage3"]
        embedding = last.mean(dim=tuple(range(2, last.dim())))
        return Outputs(self.classifier(embedding), embedding, features, classifier=self.classifier.weight)


class AttentionPooled(WideResNet):
    """The same stages; the embedding is a weighted mean of the positions p of the last map f, with learned weights.

    a_p = softmax over positions of w . f_p, embedding = sum_p a_p f_p, then linear: attention pooling in its simplest
    form, one linear score and no hidden layer (compare Ilse et al. 2018, arXiv:1802.04712). The score has no bias,
    which no softmax over positions would notice. `classifier` is None: it does not read the plain mean of the map.
    """

    def __init__(self, shape: Shape, classes: int, depth: int, width: int) -> None:
        super().__init__(shape, classes, depth, width)
        self.score = nn.Linear(self.classifier.in_features, 1, bias=False)

    def forward(self, x: Tensor) -> Outputs:
        """(B, C, T) to outputs with `attention["temporal"]` (B, 1, T), or images with "spatial" (B, 1, H W) by rows."""
        features = self.stage_maps(x)
        positions = features["stage3"].flatten(2).transpose(1, 2)
        attention = torch.softmax(self.score(positions).transpose(1, 2), dim=2)
        embedding = (attention @ positions).squeeze(1)
        name = "temporal" if x.dim() == 3 else "spatial"
        return Outputs(self.classifier(embedding), embedding, features, attention={name: attention})


def _factory(name: str, depth: int, width: int) -> Callable[[Shape, int], nn.Module]:
    def build(shape: Shape, classes: int) -> nn.Module:
        check_shape(name, shape, minimum=MINIMUM)
        return WideResNet(shape, classes, depth, width)

    build.__doc__ = f"Wide residual network, depth {depth}, width {width}; signals and images. arXiv:1605.07146."
    return build


for _depth, _width in DEPTHS_AND_WIDTHS:
    BACKBONES.register(f"WRN{_depth}-{_width}")(_factory(f"WRN{_depth}-{_width}", _depth, _width))


@BACKBONES.register("small")
def small(shape: Shape, classes: int) -> nn.Module:
    """One residual block a stage, 16, 32 and 64 channels, images read at half their side: for branches on a CPU."""
    check_shape("small", shape, minimum=MINIMUM)
    return WideResNet(shape, classes, depth=10, width=1, stem_stride=len(shape) - 1)


@BACKBONES.register("wrn-attn")
def wrn_attn(shape: Shape, classes: int) -> nn.Module:
    """WRN16-1 whose embedding is a weighted mean of positions, weights learned: attention over time, or over space."""
    check_shape("wrn-attn", shape, minimum=MINIMUM)
    return AttentionPooled(shape, classes, depth=16, width=1)
