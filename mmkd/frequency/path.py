"""From a student's feature map to one like the teacher's, and how far the two are apart.

Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import unknown
from .attention import FrequencyAttention, FrequencyAttention1d, Init
from .local import LocalAttention
from .masks import Mask

SCALES = ("rms", "channel", "none")
DOMAINS = ("space", "frequency", "amplitude")


class FrequencyPath(nn.Module):
    """(B, C_s, *any) -> (B, C_t, *size): 1x1 convolution, BatchNorm, ReLU -> (local attention) -> nearest resize ->
    frequency attention -> BatchNorm (-> ReLU).

    Biases before a BatchNorm are left out, and the gain of a branch that is alone is not trained: the BatchNorm undoes
    both.

    Args:
        in_channels, width, out_channels: C_s, channels in the middle, C_t.
        size: (T,) or (H, W) of the teacher's map; its length chooses the dimension.
        attend: with 3x3 self-attention before the resize (maps only).
        rectify: with a last ReLU, for a target without negative values.
        mask, cutoff, init, use_global, use_local: see `FrequencyAttention`; an idle mask gives no warning here.
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
        mask: Mask = "reference",
        cutoff: float = 0.1,
        init: Init = "balanced",
        use_global: bool = True,
        use_local: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.rectify = tuple(size), rectify
        flat = len(size) == 1
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if flat else (nn.Conv2d, nn.BatchNorm2d)
        self.embed = nn.Sequential(conv(in_channels, width, 1, bias=False), norm(width), nn.ReLU())
        self.attend = LocalAttention(width) if attend else nn.Identity()
        self.attention = (FrequencyAttention1d if flat else FrequencyAttention)(
            width, out_channels, self.size, mask, cutoff, init, use_global, use_local, bias=False, quiet=True
        )
        self.norm = norm(out_channels)
        for gain in (self.attention.rate_global, self.attention.rate_local):
            if gain is not None and not (use_global and use_local):
                gain.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attend(self.embed(x))
        if tuple(x.shape[2:]) != self.size:
            x = F.interpolate(x, size=self.size, mode="nearest")
        y: Tensor = self.norm(self.attention(x))
        return y.relu() if self.rectify else y


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
