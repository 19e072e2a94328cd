"""From a student's feature map to one like the teacher's, and how far the two are apart.

Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import unknown
from mmkd.frequency.attention import FrequencyAttention, FrequencyAttention1d
from mmkd.frequency.local import LocalAttention

SCALES = ("rms", "channel", "none")
DOMAINS = ("space", "frequency", "amplitude")


class Head(nn.Module):
    """The end of a path to a map of `size`: nearest resize -> frequency attention -> BatchNorm (-> ReLU).

    The biases before the BatchNorm are left out, and the gain of a branch that is alone is not trained: the BatchNorm
    undoes both.
    """

    attention: FrequencyAttention
    norm: nn.BatchNorm1d | nn.BatchNorm2d

    def __init__(self, size: tuple[int, ...], rectify: bool) -> None:
        super().__init__()
        self.size = tuple(size)
        self.rectify = rectify

    def _finish(self, width: int, out_channels: int, **filter: Any) -> None:
        """Make the modules, after those that stand before them."""
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
    """(B, C_s, *any) -> (B, C_t, *size): 1x1 convolution, BatchNorm, ReLU -> (local attention) -> nearest resize ->
    frequency attention -> BatchNorm (-> ReLU).

    Biases before a BatchNorm are left out, and the gain of a branch that is alone is not trained: the BatchNorm undoes
    both.

    Args:
        in_channels, width, out_channels: C_s, channels in the middle, C_t.
        size: (T,) or (H, W) of the teacher's map; its length chooses the dimension.
        attend: with 3x3 self-attention before the resize (maps only).
        rectify: with a last ReLU, for a target without negative values.
        filter: `mask`, `cutoff`, `init`, `transform`, `use_global`, `use_local` of `FrequencyAttention`; an idle mask
            gives no warning here.
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
    """1x1 convolution without bias, BatchNorm, ReLU, on lines (`dims` 1) or maps (2)."""
    conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    return nn.Sequential(conv(in_channels, width, 1, bias=False), norm(width), nn.ReLU())


def scaled(target: Tensor, scale: str) -> Tensor:
    """A target map in comparable units.

    Args:
        target: (B, C, *size).
        scale: `rms`, divided by its root mean square, one number for the batch (sign and zeros stay); `channel`, mean 0
            and variance 1 for each channel over batch and space; `none`, as it is.

    Raises:
        MmkdError: an unknown scale.
    """
    if scale not in SCALES:
        raise unknown("target scale", scale, SCALES)
    if scale == "rms":
        return target / target.square().mean().sqrt().clamp_min(1e-6)
    if scale == "channel":
        over = (0, *range(2, target.ndim))
        spread = target.std(over, correction=0, keepdim=True).clamp_min(1e-6)
        return (target - target.mean(over, keepdim=True)) / spread
    return target


def map_distance(predicted: Tensor, target: Tensor, domain: str = "space") -> Tensor:
    """Mean squared error of two maps (B, C, *size), a scalar.

    Args:
        domain: `space`; `frequency`, of the complex spectra with orthonormal scaling, which by Parseval is the same
            number; `amplitude`, of their absolute values, blind to where in the map something is.

    Raises:
        MmkdError: an unknown domain.
    """
    if domain not in DOMAINS:
        raise unknown("loss domain", domain, DOMAINS)
    if domain == "space":
        return F.mse_loss(predicted, target)
    space = tuple(range(2, target.ndim))
    spectra = [torch.fft.rfftn(x, dim=space, norm="ortho") for x in (predicted, target)]
    gap = torch.view_as_real(spectra[0] - spectra[1]) if domain == "frequency" else spectra[0].abs() - spectra[1].abs()
    square = gap.square().sum(dim=-1) if domain == "frequency" else gap.square()
    # The half spectrum counts twice what stands for two frequencies, so that the mean is that of the full one.
    twice = torch.full(square.shape[-1:], 2.0, dtype=square.dtype, device=square.device)
    twice[0] = 1
    if target.shape[-1] % 2 == 0:
        twice[-1] = 1
    return (square * twice).sum() / target.numel()


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of two maps (B, C, *size) at full size and pooled to 4, 2 and 1, a scalar.

    Distilling Knowledge via Knowledge Review. Chen et al., CVPR 2021, arXiv:2104.09044. Weights 1, and half the one
    before for each level below the map's smaller side, over their sum.
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
