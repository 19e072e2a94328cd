"""Reverse distillation for anomaly detection. Deng and Li, CVPR 2022, arXiv:2201.10703; on GAF images of segments:
Sensors 24(24) 8169, 2024.

A frozen encoder is the teacher. A one-class bottleneck joins its maps into a smaller one, and a decoder reconstructs
the encoder's maps from it, the deepest first. Bottleneck and decoder are trained on normal data only, so that they
cannot reconstruct the maps of anomalies.

Different from the paper: the encoder is a wide residual network, so that maps are brought to one size by average
pooling where the paper's ResNet uses strided convolutions, and each stage of the decoder has one residual block.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.methods.outputs import Outputs
from mmkd.nets.base import Shape, dry_run
from mmkd.nets.student import SingleView
from mmkd.nets.wrn import Block, conv, norm

NETWORK = "reverse"
"""The name of this network. It is not a backbone, because it contains its teacher."""


class ReverseNet(nn.Module):
    """Frozen encoder, bottleneck and decoder; only the latter two are trained.

    The logits are those of the encoder, and the embedding is the mean of the bottleneck's map over positions. The
    features are `encoder-STAGE`, the maps of the encoder without gradients, and `decoder-STAGE`, their reconstructions
    of the same shapes.

    Args:
        encoder: a network of one view of images, with feature maps.
        shape: (C, H, W) of one sample.

    Raises:
        MmkdError: The view is not an image, or the encoder has no feature maps.
    """

    def __init__(self, encoder: SingleView, shape: Shape) -> None:
        super().__init__()
        maps = dry_run(encoder.backbone, shape).features if len(shape) == 3 else {}
        if not maps:
            raise MmkdError(
                f"reverse distillation reads images and an encoder's feature maps, and {encoder.modality} of shape "
                f"{shape} has none; use --teachers gaf, and a --teacher-net with feature maps such as WRN16-1"
            )
        self.encoder = encoder.requires_grad_(False)
        self.modality = encoder.modality
        self.stages = tuple(maps)
        sizes = [value.shape[1] for value in maps.values()]
        deepest = sizes[-1]
        self.reduce = nn.ModuleList(nn.Sequential(conv(2, size, deepest, 1), norm(2, deepest)) for size in sizes)
        self.join = nn.Sequential(conv(2, len(sizes) * deepest, deepest, 1), Block(2, deepest, 2 * deepest, 2))
        widths = [2 * deepest, *reversed(sizes)]
        self.decode = nn.ModuleList(Block(2, a, b, 1) for a, b in pairwise(widths))
        self.finish = nn.ModuleList(conv(2, size, size, 1) for size in reversed(sizes))

    def train(self, mode: bool = True) -> "ReverseNet":
        """Set the training mode, except of the encoder, whose batch statistics must not change."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, views: Mapping[str, Tensor]) -> Outputs:
        """Map {modality: (B, C, H, W)} to outputs."""
        with torch.no_grad():
            encoded = self.encoder(views)
        maps = [encoded.features[stage] for stage in self.stages]
        size = maps[-1].shape[2:]
        reduced = [torch.relu(f(F.adaptive_avg_pool2d(m, size))) for f, m in zip(self.reduce, maps, strict=True)]
        x = bottleneck = self.join(torch.cat(reduced, 1))
        reconstructed = {}
        for block, last, stage, m in zip(self.decode, self.finish, reversed(self.stages), reversed(maps), strict=True):
            x = block(F.interpolate(x, size=m.shape[2:], mode="nearest"))
            reconstructed[f"decoder-{stage}"] = last(x)
        features = {f"encoder-{stage}": m for stage, m in zip(self.stages, maps, strict=True)} | reconstructed
        return Outputs(encoded.logits, bottleneck.mean((2, 3)), features)
