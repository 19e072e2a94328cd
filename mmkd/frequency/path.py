"""Modules that turn a student's feature map into a prediction of the teacher's, and distances between maps.

Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import unknown_name
from mmkd.frequency.attention import FrequencyAttention, FrequencyAttention1d
from mmkd.frequency.local import LocalAttention

SCALES = ("rms", "channel", "none")
DOMAINS = ("space", "frequency", "amplitude")


class Head(nn.Module):
    """The last part of a path to a map of `size`: nearest resize -> frequency attention -> BatchNorm (-> ReLU).

    The BatchNorm would cancel a bias before it, and the gain of a branch that is the only one. So there are no such
    biases, and such a gain is not trained.
    """

    attention: FrequencyAttention
    norm: nn.BatchNorm1d | nn.BatchNorm2d

    def __init__(self, size: tuple[int, ...], rectify: bool) -> None:
        super().__init__()
        self.size = tuple(size)
        self.rectify = rectify

    def _finish(self, width: int, out_channels: int, **filter: Any) -> None:
        """Create the modules; called last, after the modules that stand before them."""
        flat = len(self.size) == 1
        kind = FrequencyAttention1d if flat else FrequencyAttention
        self.attention = kind(width, out_channels, self.size, bias=False, quiet=True, **filter)
        self.norm = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(out_channels)
        gains = [gain for gain in (self.attention.rate_global, self.attention.rate_local) if gain is not None]
        if len(gains) == 1:
            gains[0].requires_grad_(False)

    def _resized(self, x: Tensor) -> Tensor:
        return x if tuple(x.shape[2:]) == self.size else F.interpolate(x, size=self.size, mode="nearest")

    def _predicted(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.attention(x))
        return y.relu() if self.rectify else y


class FrequencyPath(Head):
    """A path from a student's map to a teacher's map, (B, C_s, *any) -> (B, C_t, *size).

    1x1 convolution, BatchNorm, ReLU -> (local attention) -> nearest resize -> frequency attention -> BatchNorm (->
    ReLU). The BatchNorm would cancel a bias before it, and the gain of a branch that is the only one. So there are no
    such biases, and such a gain is not trained.

    Args:
        in_channels: C_s.
        width: channels between the first convolution and the frequency attention.
        out_channels: C_t.
        size: (T,) or (H, W) of the teacher's map; its length chooses one or two axes.
        attend: whether to apply 3x3 self-attention before the resize (images only).
        rectify: whether a ReLU comes last, for a target without negative values.
        filter: `mask`, `cutoff`, `init`, `transform`, `use_global`, `use_local` of `FrequencyAttention`. No
            `IdleMaskWarning` is given.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        size: tuple[int, ...],
        *,
        attend: bool = False,
        rectify: bool = False,
        **filter: Any,
    ) -> None:
        super().__init__(size, rectify)
        self.embed = embedding(in_channels, width, len(size))
        self.attend = LocalAttention(width) if attend else nn.Identity()
        self._finish(width, out_channels, **filter)

    def forward(self, x: Tensor) -> Tensor:
        return self._predicted(self._resized(self.attend(self.embed(x))))


def embedding(in_channels: int, width: int, dims: int) -> nn.Sequential:
    """1x1 convolution without bias, BatchNorm and ReLU, on lines (`dims` 1) or maps (`dims` 2)."""
    conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    return nn.Sequential(conv(in_channels, width, 1, bias=False), norm(width), nn.ReLU())


def scaled(target: Tensor, scale: str) -> Tensor:
    """Scale a target map.

    Args:
        target: (B, C, *size).
        scale: `rms` divides it by its root mean square over the batch (one number, so that signs and zeros stay);
            `channel` gives each channel mean 0 and variance 1 over batch and positions; `none` changes nothing.

    Raises:
        MmkdError: The scale is unknown.
    """
    if scale not in SCALES:
        raise unknown_name("target scale", scale, SCALES)
    if scale == "rms":
        return target / target.square().mean().sqrt().clamp_min(1e-6)
    if scale == "channel":
        over = (0, *range(2, target.ndim))
        spread = target.std(over, correction=0, keepdim=True).clamp_min(1e-6)
        return (target - target.mean(over, keepdim=True)) / spread
    return target


def map_distance(predicted: Tensor, target: Tensor, domain: str = "space") -> Tensor:
    """Mean squared error of two maps, a scalar.

    Args:
        predicted: (B, C, *size).
        target: (B, C, *size).
        domain: `space`, the maps themselves; `frequency`, their complex orthonormal spectra, which gives the same
            number by Parseval's theorem; `amplitude`, the absolute values of the spectra, which do not depend on
            positions.

    Raises:
        MmkdError: The domain is unknown.
    """
    if domain not in DOMAINS:
        raise unknown_name("loss domain", domain, DOMAINS)
    if domain == "space":
        return F.mse_loss(predicted, target)
    space = tuple(range(2, target.ndim))
    spectra = [torch.fft.rfftn(x, dim=space, norm="ortho") for x in (predicted, target)]
    gap = torch.view_as_real(spectra[0] - spectra[1]) if domain == "frequency" else spectra[0].abs() - spectra[1].abs()
    square = gap.square().sum(dim=-1) if domain == "frequency" else gap.square()
    # A bin of the half spectrum that stands for two frequencies counts twice, as in the mean over the full spectrum.
    twice = torch.full(square.shape[-1:], 2.0, dtype=square.dtype, device=square.device)
    twice[0] = 1
    if target.shape[-1] % 2 == 0:
        twice[-1] = 1
    return (square * twice).sum() / target.numel()


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss: squared error of two maps at full size and pooled to sizes 4, 2 and 1, a scalar.

    Distilling Knowledge via Knowledge Review. Chen et al., CVPR 2021, arXiv:2104.09044. The weight is 1 at full size
    and halves with each level; the sum is divided by the sum of the weights. A level that is not below the smaller side
    of the map is left out.

    Args:
        student: (B, C, *size).
        teacher: (B, C, *size).
    """
    pool = F.adaptive_avg_pool1d if student.ndim == 3 else F.adaptive_avg_pool2d
    loss = F.mse_loss(student, teacher)
    weight = 1.0
    total = 1.0
    for side in (4, 2, 1):
        if side < min(student.shape[2:]):
            weight /= 2
            total += weight
            loss = loss + weight * F.mse_loss(pool(student, side), pool(teacher, side))
    return loss / total
