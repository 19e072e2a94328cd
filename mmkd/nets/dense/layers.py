"""What the dense networks share: layers for one axis (time) or two (images), and how their maps become `Outputs`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.methods.outputs import Outputs
from mmkd.nets.base import Shape
from mmkd.nets.freqfusion import OPERATORS, StageFusion, stage_fusion


def conv(
    dims: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, dilation: int = 1, groups: int = 1
) -> nn.Module:
    """A convolution without bias that gives ceil(length / stride) positions; He's initialisation. Odd kernels only."""
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    layer = make(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the batch and any axes of positions.

    A single value a channel (one sample, one position) has no variance: it takes the running statistics, in training
    too, where torch refuses it.

    Args:
        channels: C.
        shift: whether the affine part has an offset; it is of no use where only convolutions without padding stand
            before the next batch normalisation, which takes it out again.
    """

    def __init__(self, channels: int, shift: bool = True) -> None:
        super().__init__(channels)
        if not shift:
            del self.bias
            self.register_buffer("bias", torch.zeros(channels), persistent=False)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""

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
    """(B, C, ...) to (B, C, *size) by linear or bilinear interpolation, corners not aligned."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="linear" if x.dim() == 3 else "bilinear", align_corners=False)


def stage_join(fusion: str, fine: int, coarse: int, dims: int) -> StageFusion:
    """The stage fusion of that name for maps of `fine` and `coarse` channels.

    Operators compress to an eighth of the channels of both, as in the FreqFusion decoder that its authors released
    with SegNeXt (arXiv:2408.12879), and to no fewer than 8 (ours).
    """
    options = {"compressed": max(8, (fine + coarse) // 8)} if fusion in OPERATORS else {}
    return stage_fusion(fusion, fine, coarse, dims, **options)


class Head(nn.Module):
    """The last 1x1 convolution, with dropout before it, and the outputs that it completes.

    Args:
        shape: one sample's (C, T) or (C, H, W).
        channels: of the last decoder map.
        classes: K.
        dropout: share of the channels that are left out in training.
    """

    def __init__(self, shape: Shape, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout1d(dropout) if len(shape) == 2 else nn.Dropout2d(dropout)
        self.conv = nn.Conv1d(channels, classes, 1) if len(shape) == 2 else nn.Conv2d(channels, classes, 1)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, encoder: Sequence[Tensor], decoder: Sequence[Tensor], size: Sequence[int]) -> Outputs:
        """Maps of encoder and decoder, in their order, and the input's size to outputs."""
        features = {f"encoder{n}": x for n, x in enumerate(encoder, 1)}
        features |= {f"decoder{n}": x for n, x in enumerate(decoder, 1)}
        logits = resize(self.conv(self.dropout(decoder[-1])), size)
        return Outputs(logits, encoder[-1].flatten(2).mean(2), features, classifier=self.conv.weight.flatten(1))
