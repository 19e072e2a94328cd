"""FreqFusion: fusion of a fine and a coarse feature map with adaptive low-pass and high-pass filters.

Frequency-aware Feature Fusion for Dense Image Prediction (FreqFusion). Chen et al., TPAMI 2024, arXiv:2408.12879. The
coarse map is enlarged by an adaptive low-pass filter, the fine map is sharpened by an adaptive high-pass filter, and
the enlarged map is resampled at positions whose neighbours are more similar. One axis, any ratio of sizes and the
padding `replicate` are additions of this project. `DwtFusion` and `SeparableFusion` are variants from its notes.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.nets.carafe import (
    SPREAD,
    Padding,
    check_padding,
    check_pair,
    conv,
    displace,
    enlarge,
    group_norm,
    initialise,
    reassemble,
    similarity,
    spread,
)
from mmkd.nets.filter_banks import BandGates, ContinuousGain, Mixture, Sharpening
from mmkd.nets.fusion_options import FreqFusionOptions

ATTENTION_LIMIT = 1024
"""The largest number of keys and values in `self_attention`."""


class OffsetResampler(nn.Module):
    """Step 8 of FreqFusion: predict offsets from features and their similarities, and resample a map at them.

    Let z be a compressed map after GroupNorm, and s = [z, its similarities at dilation 2]. The offsets are
    (conv3(s_low) + conv3(s_high)) sigmoid(conv3(s_low) + conv3(s_high)), with four different convolutions. Those of
    s_low have an output for each of the 2^d parts of a coarse position. Offsets are in coarse positions. The weights of
    the offset convolutions start as N(0, 0.001^2) and those of the gates as 0, so that there is nearly no displacement
    at the start. The reference code intends this too, but overwrites it.

    Args:
        dims: number of axes d, 1 or 2.
        compressed: C'.
        channels: channels of the map that is resampled.
        groups: number of groups of channels with their own offsets; reduced if it does not divide `channels`.
        padding: of similarities and convolutions.
    """

    def __init__(self, dims: int, compressed: int, channels: int, groups: int, padding: Padding) -> None:
        super().__init__()
        self.dims = dims
        self.groups = math.gcd(groups, channels)
        self.padding = padding
        self.norm_high = group_norm(compressed)
        self.norm_low = group_norm(compressed)
        inputs = compressed + 3**dims - 1
        outputs = dims * self.groups
        self.high, self.high_gate = (conv(dims, inputs, outputs, 3, padding) for _ in range(2))
        self.low, self.low_gate = (conv(dims, inputs, outputs * SPREAD**dims, 3, padding) for _ in range(2))
        for layer, std in ((self.high, 0.001), (self.low, 0.001), (self.high_gate, 0.0), (self.low_gate, 0.0)):
            initialise(layer, std)

    def offsets(self, high: Tensor, low: Tensor) -> Tensor:
        """Map compressed maps (B, C', *fine) and (B, C', *coarse) to offsets (B, d, G, *fine) in coarse positions."""
        size = high.shape[2:]
        high = self.norm_high(high)
        low = self.norm_low(low)
        high = torch.cat([high, similarity(high, self.padding)], dim=1)
        low = torch.cat([low, similarity(low, self.padding)], dim=1)
        raw = self.high(high) + spread(self.low(low), size)
        gate = self.high_gate(high) + spread(self.low_gate(low), size)
        moved: Tensor = raw * torch.sigmoid(gate)
        return moved.view(moved.shape[0], self.dims, self.groups, *size)

    def forward(self, high: Tensor, low: Tensor, x: Tensor) -> Tensor:
        """Resample x (B, C, *fine) at offsets predicted from the compressed maps."""
        offsets = self.offsets(high, low)
        ratio = [f / c for f, c in zip(x.shape[2:], low.shape[2:], strict=True)]
        return displace(x, offsets * offsets.new_tensor(ratio).view(1, -1, 1, *[1] * self.dims))


class FreqFusion(nn.Module):
    """Frequency-aware feature fusion. Chen et al., TPAMI 2024, arXiv:2408.12879.

    H is the fine map and L the coarse map. R is `reassemble`, norm is `normalise`, and ^ marks an enlarging reassembly.

    1. Zh, Zl: 1x1 convolutions of H and L to C' channels.
    2. E_lp and E_hp: shared 3x3 convolutions to k_lp^d and k_hp^d scores. Weights start as N(0, 0.001^2) and biases as
       0, so that filters start as boxes (Hamming windows).
    3. a = E_hp(Zh); Zh <- 2 Zh - R(Zh, norm(a)).
    4. b = E_lp(Zh); m_lp = b + R^(E_lp(Zl), norm(b)).
    5. W_lp = norm(m_lp); m_hp = a + R^(E_hp(Zl), W_lp).
    6. L_up = R^(L, W_lp).
    7. H' = 2 H - R(H, norm(m_hp)).
    8. L_up is resampled (`OffsetResampler`).
    9. H' and L_up are returned, to be added or concatenated.

    Two options come from the notes of this project, and one is an idea of its own:

    - Several `kernels`, such as (3, 5, 7). Each size has its own encoder, and norm(...) becomes their `Mixture`. It is
      predicted from Zh, that of E_hp before step 3, that of E_lp after it.
    - `bands` 3 or 4. 2 x - R(x, W) in steps 3 and 7 becomes a sum of bands with gates (`BandGates`), which are
      predicted from Zh before step 3. E_hp has an encoder for each size k_hp, k_hp + 2, ..., and k_lp is not smaller
      than the largest of them. `gates="learned"` gives the two bands of the published form a learned gate too.
    - `bands="continuous"`: as with 4 bands, with a smooth gain in the place of gates (`ContinuousGain`).

    With one kernel and two bands it is the published operator, which takes maps of any size: beyond the border the
    value at the border is read again. With several sizes of kernel no kernel is longer than a map (`filter_banks`).

    Args:
        high_channels: Ch, channels of H.
        low_channels: Cl, channels of L.
        dims: number of axes d, 1 or 2.
        compressed: C'.
        kernels: k_lp, one or several odd sizes. k_hp is k_lp - 2, but at least 3.
        bands: number of bands of the fine map, 2 to 4, or "continuous".
        gates: "fixed" for gates that stay as they are, which only two bands have, or "learned"; None for the first with
            two bands and the second else.
        padding: `replicate`, which keeps a constant map constant, or `zeros` as in the reference code.
        hamming: whether filters are multiplied by a Hamming window, as in the reference code.
        offsets: whether to do step 8.
        groups: G of step 8.

    Attributes:
        attention: whether `self_attention` is applied to both outputs, see `AttentiveFreqFusion`.

    Raises:
        MmkdError: A kernel is even, options exclude each other (`FreqFusionOptions`), or the padding is unknown.
    """

    Config: ClassVar = FreqFusionOptions
    attention: ClassVar[bool] = False

    def __init__(
        self,
        high_channels: int,
        low_channels: int,
        dims: int,
        *,
        compressed: int = 64,
        kernels: Sequence[int] = (5,),
        bands: int | Literal["continuous"] = 2,
        gates: Literal["fixed", "learned"] | None = None,
        padding: Padding = "replicate",
        hamming: bool = True,
        offsets: bool = True,
        groups: int = 4,
    ) -> None:
        super().__init__()
        check_padding(padding)
        self.options = options = FreqFusionOptions(tuple(kernels), bands, gates)  # type: ignore[arg-type]
        self.channels = (high_channels, low_channels)
        self.dims = dims
        self.padding: Padding = padding
        self.compress_high = conv(dims, high_channels, compressed, 1)
        self.compress_low = conv(dims, low_channels, compressed, 1)
        low_sizes, high_sizes = options.low_sizes, options.high_sizes
        self.encode_low = nn.ModuleList(self.encoder(compressed, kernel**dims) for kernel in low_sizes)
        encoders = [self.high_encoder(compressed, kernel**dims) for kernel in high_sizes]
        # a single one has no number in the names of its weights: older records hold such students
        self.encode_high = encoders[0] if len(encoders) == 1 else nn.ModuleList(encoders)
        self.low_filter = Mixture(dims, compressed, len(low_sizes), hamming)
        self.sharpen: nn.Module
        if options.bands == "continuous":
            self.sharpen = ContinuousGain(dims, compressed, options.band_sizes, padding, hamming)
        elif options.has_gates:
            self.sharpen = BandGates(dims, compressed, options.bands, padding, hamming)
        else:
            self.sharpen = Sharpening(Mixture(dims, compressed, len(high_sizes), hamming), padding)
        self.resampler = OffsetResampler(dims, compressed, low_channels, groups, padding) if offsets else None

    def encoder(self, inputs: int, outputs: int) -> nn.Module:
        """Create an encoder of step 2, from compressed channels to scores."""
        return initialise(conv(self.dims, inputs, outputs, 3, self.padding), std=0.001)

    def high_encoder(self, compressed: int, outputs: int) -> nn.Module:
        """Create an encoder of E_hp."""
        return self.encoder(compressed, outputs)

    def detail(self, z: Tensor) -> Tensor:
        """Return the input of E_hp, computed from a compressed map."""
        return z

    def smooth(self, z: Tensor) -> Tensor:
        """Return the input of E_lp, computed from Zh."""
        return z

    def high_scores(self, z: Tensor) -> list[Tensor]:
        """Apply E_hp to a compressed map: scores (B, k^d, *size) of each size of kernel."""
        encoders = self.encode_high if isinstance(self.encode_high, nn.ModuleList) else [self.encode_high]
        detail = self.detail(z)
        return [enlarge(encode(detail), z.shape[2:]) for encode in encoders]

    def low_scores(self, z: Tensor) -> list[Tensor]:
        """Apply E_lp to its input: scores (B, k^d, *size) of each size of kernel."""
        return [encode(z) for encode in self.encode_low]

    def scores(self, high: Tensor, low: Tensor) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor]:
        """Compute steps 1 to 5.

        Args:
            high: H, (B, Ch, *fine).
            low: L, (B, Cl, *coarse).

        Returns:
            W_lp (B, k_lp^d, *fine), m_hp (B, k_hp^d, *fine) of each size, Zh before and after step 3, and Zl.
        """
        length = min(low.shape[2:])
        z = self.compress_high(high)
        zl = self.compress_low(low)
        a = self.high_scores(z)
        zh = self.sharpen(z, a, z)
        b = self.low_scores(self.smooth(zh))
        m_lp = self._add(b, self.low_scores(zl), self.low_filter(b, zh, length))
        w_lp = self.low_filter(m_lp, zh, length)
        return w_lp, self._add(a, self.high_scores(zl), w_lp), z, zh, zl

    def _add(self, fine: Sequence[Tensor], coarse: Sequence[Tensor], filters: Tensor) -> list[Tensor]:
        """Add to fine maps coarse ones, enlarged by a filter."""
        enlarged = reassemble(torch.cat(list(coarse), dim=1), filters, self.padding)
        parts = torch.split(enlarged, [each.shape[1] for each in coarse], dim=1)
        return [each + part for each, part in zip(fine, parts, strict=True)]

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse a fine and a coarse map.

        Args:
            high: H, (B, Ch, *fine).
            low: L, (B, Cl, *coarse).

        Returns:
            H' (B, Ch, *fine) and L_up (B, Cl, *fine).

        Raises:
            MmkdError: Channels or ranks differ from those of the module, or `high` is the smaller map.
        """
        check_pair(type(self).__name__, high, low, self.channels, self.dims)
        w_lp, m_hp, z, zh, zl = self.scores(high, low)
        up = reassemble(low, w_lp, self.padding)
        high = self.sharpen(high, m_hp, z)
        up = up if self.resampler is None else self.resampler(zh, zl, up)
        return (self_attention(high), self_attention(up)) if self.attention else (high, up)


class SeparableFusion(FreqFusion):
    """FreqFusion with depthwise separable encoders, a 3x3 and then a 1x1 convolution (DSConv-FF of the notes).

    At C' = 64 and d = 2, E_lp has 2,265 parameters instead of 14,425, and E_hp has 1,225 instead of 5,193. The 1x1
    convolution starts as N(0, 0.001^2) and the depthwise one with Glorot initialisation, so that filters start as those
    of FreqFusion.
    """

    def encoder(self, inputs: int, outputs: int) -> nn.Module:
        """Create a depthwise and then a pointwise convolution."""
        return nn.Sequential(
            conv(self.dims, inputs, inputs, 3, self.padding, groups=inputs),
            initialise(conv(self.dims, inputs, outputs, 1), std=0.001),
        )


class DwtFusion(FreqFusion):
    """FreqFusion guided by a Haar wavelet transform (DWT-FF of the notes).

    E_lp reads the low band of Zh, enlarged to full size (nearest). In place of E_hp, a 3x3 convolution reads the 2^d -
    1 high bands, (2^d - 1) C' channels, and its scores are enlarged likewise. The notes leave some details open. Here,
    the transformed map is the one that FreqFusion reads in that step (so step 4 transforms the sharpened Zh), the
    high-pass scores of the coarse map come from its own high bands, and E_lp reads Zl itself.
    """

    def high_encoder(self, compressed: int, outputs: int) -> nn.Module:
        """Create the encoder of the high bands."""
        return self.encoder((2**self.dims - 1) * compressed, outputs)

    def detail(self, z: Tensor) -> Tensor:
        """Return the high bands of z, at half its size; their scores are enlarged."""
        return haar(z)[1]

    def smooth(self, z: Tensor) -> Tensor:
        """Return the low band of z, at the size of z."""
        return enlarge(haar(z)[0], z.shape[2:])


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the orthonormal Haar transform along every axis after the channels.

    An axis of odd length is extended by repeating its last sample.

    Args:
        x: (B, C, *size).

    Returns:
        The low band (B, C, *half), and the high bands (B, (2^d - 1) C, *half), where half is size / 2 rounded up. With
        two axes the high bands are high along columns, along rows, and along both.
    """
    odd = [length % 2 for length in reversed(x.shape[2:])]
    if any(odd):
        x = F.pad(x, [n for length in odd for n in (0, length)], mode="replicate")
    bands = [x]
    for axis in range(2, x.ndim):
        shape = (*bands[0].shape[:axis], -1, 2, *bands[0].shape[axis + 1 :])
        pairs = [band.reshape(shape).unbind(axis + 1) for band in bands]
        bands = [band for a, b in pairs for band in ((a + b) / math.sqrt(2), (a - b) / math.sqrt(2))]
    return bands[0], torch.cat(bands[1:], dim=1)


def self_attention(x: Tensor, limit: int = ATTENTION_LIMIT) -> Tensor:
    """Self-attention without parameters over the positions of a map: softmax(X^T X / sqrt C) X^T + X.

    Args:
        x: (B, C, *size).
        limit: a map with more positions is averaged to at most this many keys and values; all positions remain queries.

    Returns:
        (B, C, *size).
    """
    source = x
    size = x.shape[2:]
    if math.prod(size) > limit:
        if len(size) == 1:
            source = F.adaptive_avg_pool1d(x, limit)
        else:
            rows = max(1, min(size[0], round(math.sqrt(limit * size[0] / size[1]))))
            source = F.adaptive_avg_pool2d(x, (min(rows, limit), max(1, min(size[1], limit // rows))))
    queries, keys = (m.flatten(2).transpose(1, 2) for m in (x, source))
    attended = F.scaled_dot_product_attention(queries, keys, keys)
    return x + attended.transpose(1, 2).reshape(x.shape)


class AttentiveFreqFusion(FreqFusion):
    """FreqFusion followed by self-attention without parameters (from the notes)."""

    attention = True


class AttentiveDwtFusion(DwtFusion):
    """DWT-FF followed by self-attention without parameters (from the notes)."""

    attention = True
