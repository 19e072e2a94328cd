"""Fusion of a finer and a coarser map in the frequency sense, on signals and images.

Frequency-aware Feature Fusion for Dense Image Prediction (FreqFusion). Chen et al., TPAMI 2024, arXiv:2408.12879. The
coarse map is enlarged by an adaptive low-pass filter, the fine one sharpened by an adaptive high-pass filter, and the
enlarged map is resampled where its neighbours are more alike. One axis, any ratio of sizes and `replicate` padding are
ours; `DwtFusion` and `SeparableFusion` are variants of this project's notes.

`STAGE_FUSIONS` has these and the plain ones for the stages of a decoder.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.nets.carafe import (
    SPREAD,
    Carafe,
    Padding,
    check_kernel,
    check_pair,
    conv,
    displace,
    enlarge,
    group_norm,
    initialise,
    normalise,
    reassemble,
    similarity,
    spread,
)

ATTENTION_LIMIT = 1024
"""Positions that `self_attention` looks at; of a larger map, as many averages."""


class OffsetResampler(nn.Module):
    """The offset generator of FreqFusion and its resampling, step 8; the version from features and similarity.

    With z a group-normalised compressed map and s = [z, its similarities at dilation 2]:
    offsets = (conv3(s_low) + conv3(s_high)) sigmoid(conv3(s_low) + conv3(s_high)), four convolutions, those of s_low
    with an output for each of the 2^d parts of a coarse position. Offsets count coarse positions. The offset
    convolutions start as N(0, 0.001^2), the gates at 0: nearly no displacement, which the reference intends too, but
    overwrites.

    Args:
        dims: d.
        compressed: C'.
        channels: of the map that is resampled.
        groups: of channels with offsets of their own; fewer where they do not divide `channels`.
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
        """(B, C', *fine), (B, C', *coarse) to offsets (B, d, G, *fine) in coarse positions."""
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
        """Resample x (B, C, *fine), guided by the compressed maps."""
        offsets = self.offsets(high, low)
        ratio = [f / c for f, c in zip(x.shape[2:], low.shape[2:], strict=True)]
        return displace(x, offsets * offsets.new_tensor(ratio).view(1, -1, 1, *[1] * self.dims))


class FreqFusion(nn.Module):
    """FreqFusion. Chen et al., TPAMI 2024, arXiv:2408.12879.

    With R the reassembly (`reassemble`), norm the filters of scores (`normalise`) and ^ what is enlarged:
    1. Zh, Zl: 1x1 convolutions of H, L to C' channels. 2. E_lp and E_hp: shared 3x3 encoders to k_lp^d and k_hp^d
    scores, N(0, 0.001^2), bias 0: filters start as boxes (Hamming windows). 3. a = E_hp(Zh); Zh <- 2 Zh - R(Zh,
    norm(a)). 4. b = E_lp(Zh); m_lp = b + R^(E_lp(Zl), norm(b)). 5. W_lp = norm(m_lp); m_hp = a + R^(E_hp(Zl), W_lp).
    6. L_up = R^(L, W_lp). 7. H' = 2 H - R(H, norm(m_hp)). 8. L_up resampled (`OffsetResampler`). 9. H' and L_up, to be
    added or concatenated.

    Args:
        high_channels, low_channels: Ch and Cl.
        dims: d, 1 or 2.
        compressed: C'.
        low_kernel: k_lp; or several, such as (3, 5, 7), each with an encoder and steps 4 to 6 of its own, whose outputs
            are mixed by learned weights that sum to 1 (ours, from the notes).
        high_kernel: k_hp.
        padding: `replicate` keeps a constant; `zeros` is the reference's.
        hamming: times a Hamming window, as in the reference.
        offsets: step 8.
        groups: G of step 8.

    Raises:
        MmkdError: an even kernel, or an unknown padding.
    """

    def __init__(
        self,
        high_channels: int,
        low_channels: int,
        dims: int,
        compressed: int = 64,
        low_kernel: int | Sequence[int] = 5,
        high_kernel: int = 3,
        padding: Padding = "replicate",
        hamming: bool = True,
        offsets: bool = True,
        groups: int = 4,
    ) -> None:
        super().__init__()
        kernels = (low_kernel,) if isinstance(low_kernel, int) else tuple(low_kernel)
        for kernel in (*kernels, high_kernel):
            check_kernel(kernel, padding)
        if not kernels:
            raise MmkdError("FreqFusion needs a low-pass kernel, such as 5")
        self.channels = (high_channels, low_channels)
        self.dims = dims
        self.padding: Padding = padding
        self.hamming = hamming
        self.compress_high = conv(dims, high_channels, compressed, 1)
        self.compress_low = conv(dims, low_channels, compressed, 1)
        self.encode_low = nn.ModuleList(self.encoder(compressed, kernel**dims) for kernel in kernels)
        self.encode_high = self.high_encoder(compressed, high_kernel**dims)
        self.mix = nn.Parameter(torch.zeros(len(kernels))) if len(kernels) > 1 else None
        self.resampler = OffsetResampler(dims, compressed, low_channels, groups, padding) if offsets else None

    def encoder(self, inputs: int, outputs: int) -> nn.Module:
        """Step 2: from compressed channels to scores."""
        return initialise(conv(self.dims, inputs, outputs, 3, self.padding), std=0.001)

    def high_encoder(self, compressed: int, outputs: int) -> nn.Module:
        """E_hp."""
        return self.encoder(compressed, outputs)

    def high_scores(self, z: Tensor) -> Tensor:
        """E_hp of a compressed map, at its size."""
        scores: Tensor = self.encode_high(z)
        return scores

    def smooth(self, z: Tensor) -> Tensor:
        """What E_lp reads of Zh."""
        return z

    def filters(self, high: Tensor, low: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Steps 1 to 5.

        Returns:
            W_lp (B, k_lp^d, *fine) for each kernel, norm(m_hp) (B, k_hp^d, *fine), Zh as step 3 leaves it, Zl.
        """
        zh = self.compress_high(high)
        zl = self.compress_low(low)
        a = self.high_scores(zh)
        zh = 2 * zh - reassemble(zh, normalise(a, self.hamming), self.padding)
        seen = self.smooth(zh)
        lows = []
        for encode in self.encode_low:
            b = encode(seen)
            scores = b + reassemble(encode(zl), normalise(b, self.hamming), self.padding)
            lows.append(normalise(scores, self.hamming))
        return lows, normalise(a + self.low_pass(self.high_scores(zl), lows), self.hamming), zh, zl

    def low_pass(self, x: Tensor, filters: Sequence[Tensor]) -> Tensor:
        """x enlarged by each kernel's filters, mixed."""
        parts = [reassemble(x, each, self.padding) for each in filters]
        if self.mix is None:
            return parts[0]
        mixed = torch.zeros_like(parts[0])
        for share, part in zip(self.mix.softmax(dim=0), parts, strict=True):
            mixed = mixed + share * part
        return mixed

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """H (B, Ch, *fine), L (B, Cl, *coarse) to H' (B, Ch, *fine) and L_up (B, Cl, *fine).

        Raises:
            MmkdError: maps of other channels or rank, or a high map that is the smaller one.
        """
        check_pair(type(self).__name__, high, low, self.channels, self.dims)
        lows, sharp, zh, zl = self.filters(high, low)
        up = self.low_pass(low, lows)
        high = 2 * high - reassemble(high, sharp, self.padding)
        return high, up if self.resampler is None else self.resampler(zh, zl, up)


class SeparableFusion(FreqFusion):
    """FreqFusion whose encoders are a depthwise 3x3 and a pointwise 1x1 convolution (DSConv-FF, of the notes).

    At C' = 64 and d = 2, E_lp has 2,265 parameters in place of 14,425 and E_hp 1,225 in place of 5,193. The pointwise
    one starts as N(0, 0.001^2), the depthwise one by Glorot, so that filters start as those of FreqFusion (ours).
    """

    def encoder(self, inputs: int, outputs: int) -> nn.Module:
        """Depthwise, then pointwise."""
        return nn.Sequential(
            conv(self.dims, inputs, inputs, 3, self.padding, groups=inputs),
            initialise(conv(self.dims, inputs, outputs, 1), std=0.001),
        )


class DwtFusion(FreqFusion):
    """FreqFusion guided by a Haar transform (DWT-FF, of the notes).

    E_lp reads the low band of Zh, enlarged to full size (nearest); in E_hp's place a 3x3 convolution reads the 2^d - 1
    high bands, (2^d - 1) C' channels, and its scores are enlarged likewise. Where the notes are silent, ours: the bands
    are those of the map that FreqFusion's step would read (so step 4 transforms the sharpened Zh), the coarse map's
    high-pass scores come from its own high bands, and E_lp reads Zl itself.

    Args:
        attention: `self_attention` on both outputs.
        high_channels, low_channels, dims, options: as for `FreqFusion`.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int, attention: bool = False, **options: object):
        super().__init__(high_channels, low_channels, dims, **options)  # type: ignore[arg-type]
        self.attention = attention

    def high_encoder(self, compressed: int, outputs: int) -> nn.Module:
        """From the high bands."""
        return self.encoder((2**self.dims - 1) * compressed, outputs)

    def high_scores(self, z: Tensor) -> Tensor:
        """Scores of the high bands of a compressed map, at its size."""
        return enlarge(self.encode_high(haar(z)[1]), z.shape[2:])

    def smooth(self, z: Tensor) -> Tensor:
        """The low band, at the size of z."""
        return enlarge(haar(z)[0], z.shape[2:])

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """As `FreqFusion`."""
        high, up = super().forward(high, low)
        return (self_attention(high), self_attention(up)) if self.attention else (high, up)


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the orthonormal Haar transform along every axis after the channels.

    An odd length is made even by repeating its last sample.

    Args:
        x: (B, C, *size).

    Returns:
        The low band (B, C, *half), and the high bands (B, (2^d - 1) C, *half): in two axes those that are high along
        columns, along rows, along both. half is size / 2, rounded up.
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
    """softmax(X^T X / sqrt C) X^T + X over the positions of x (B, C, *size): self-attention without parameters.

    Args:
        limit: a map of more positions is seen (as keys and values) through at most as many averages of it; every
            position still asks.
    """
    seen = x
    size = x.shape[2:]
    if math.prod(size) > limit:
        if len(size) == 1:
            seen = F.adaptive_avg_pool1d(x, limit)
        else:
            rows = max(1, min(size[0], round(math.sqrt(limit * size[0] / size[1]))))
            seen = F.adaptive_avg_pool2d(x, (min(rows, limit), max(1, min(size[1], limit // rows))))
    asks, keys = (m.flatten(2).transpose(1, 2) for m in (x, seen))
    attended = F.scaled_dot_product_attention(asks, keys, keys)
    return x + attended.transpose(1, 2).reshape(x.shape)


class Nearest(nn.Module):
    """Nothing to learn: the coarse map at the fine one's size, by the nearest position.

    Args:
        high_channels, low_channels, dims: as for `FreqFusion`.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int) -> None:
        super().__init__()
        self.channels = (high_channels, low_channels)
        self.dims = dims

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Ch, *fine), (B, Cl, *coarse) to the first as it is and the second at its size."""
        check_pair("nearest", high, low, self.channels, self.dims)
        return high, enlarge(low, high.shape[2:])


class Sum(nn.Module):
    """high + 1x1 convolution of low: (B, Ch, ...), (B, Cl, ...) to (B, Ch, ...); low may be of size 1.

    Args:
        high_channels, low_channels, dims: as for `FreqFusion`.
        bias: of the convolution; of no use where the sum is normalised next.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int, bias: bool = True) -> None:
        super().__init__()
        self.channels = high_channels
        self.project = conv(dims, low_channels, high_channels, 1)
        if not bias:
            self.project.register_parameter("bias", None)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """The sum."""
        total: Tensor = high + self.project(low)
        return total


class Gate(nn.Module):
    """z tanh(P high) + (1 - z) tanh(Q low), z = sigmoid of a 1x1 convolution of both, for each channel and position.

    The gated multimodal unit, Arevalo et al. 2017, arXiv:1702.01992, at every position. (B, Ch, ...), (B, Cl, ...) to
    (B, outputs, ...), Ch outputs when None; low may be of size 1, a vector that gates all positions.
    """

    def __init__(self, high_channels: int, low_channels: int, dims: int, outputs: int | None = None) -> None:
        super().__init__()
        self.channels = outputs or high_channels
        self.high, self.high_gate = (conv(dims, high_channels, self.channels, 1) for _ in range(2))
        self.low = conv(dims, low_channels, self.channels, 1)
        self.low_gate = conv(dims, low_channels, self.channels, 1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """The gated mean."""
        z = torch.sigmoid(self.high_gate(high) + self.low_gate(low))
        mean: Tensor = z * torch.tanh(self.high(high)) + (1 - z) * torch.tanh(self.low(low))
        return mean


class Concat(nn.Module):
    """The channels of both: (B, Ch, ...), (B, Cl, ...) to (B, Ch + Cl, ...)."""

    def __init__(self, high_channels: int, low_channels: int, dims: int) -> None:
        super().__init__()
        self.channels = high_channels + low_channels

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """The concatenation."""
        return torch.cat([high, low], dim=1)


class StageFusion(nn.Module):
    """A finer and a coarser stage of a decoder to one map of `channels` channels at the finer size.

    Args:
        operator: (high, low) to both at the finer size.
        join: both to one map.
    """

    def __init__(self, operator: nn.Module, join: Sum | Gate | Concat) -> None:
        super().__init__()
        self.operator = operator
        self.join = join
        self.channels = join.channels

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """(B, Ch, *fine), (B, Cl, *coarse) to (B, channels, *fine), for any sizes with fine >= coarse.

        Raises:
            MmkdError: maps of other channels or rank, or a high map that is the smaller one.
        """
        joined: Tensor = self.join(*self.operator(high, low))
        return joined


def dwt_attention(high_channels: int, low_channels: int, dims: int, **options: object) -> DwtFusion:
    """FreqFusion guided by a Haar transform, then self-attention without parameters (of the notes)."""
    return DwtFusion(high_channels, low_channels, dims, attention=True, **options)


OPERATORS: Mapping[str, Callable[..., nn.Module]] = {
    "carafe": Carafe,
    "freqfusion": FreqFusion,
    "dwt": DwtFusion,
    "dwt-attention": dwt_attention,
    "dsconv": SeparableFusion,
}
"""By name, `make(Ch, Cl, dims, **options)`: a module (high, low) -> (high', low at the size of high)."""


def biasless_sum(high_channels: int, low_channels: int, dims: int) -> Sum:
    """The fine map plus a 1x1 convolution of the coarse one, without bias."""
    return Sum(high_channels, low_channels, dims, bias=False)


JOINS: Mapping[str, Callable[[int, int, int], Sum | Gate | Concat]] = {
    "sum": biasless_sum,
    "gated": Gate,
    "concat": Concat,
}
"""By name, `make(Ch, Cl, dims)`: a module that makes one map of two of one size."""


def stage_fusion(name: str, high_channels: int, low_channels: int, dims: int, **options: object) -> StageFusion:
    """What joins a finer and a coarser stage of a decoder.

    `sum`, `gated` and `concat` enlarge the coarse map by the nearest position; the others concatenate what their
    operator gives. The sum has no bias, since what reads a stage of a decoder normalises it.

    Args:
        name: one of `STAGE_FUSIONS`.
        high_channels, low_channels: Ch and Cl.
        dims: 1 for signals (B, C, T), 2 for images (B, C, H, W).
        options: of the operator, such as `compressed` or `padding`.

    Raises:
        MmkdError: an unknown name, or options where there are none.
    """
    if name not in STAGE_FUSIONS:
        raise unknown_name("stage fusion", name, STAGE_FUSIONS)
    if name in OPERATORS:
        operator = OPERATORS[name](high_channels, low_channels, dims, **options)
        return StageFusion(operator, Concat(high_channels, low_channels, dims))
    if options:
        raise MmkdError(f"stage fusion {name!r} has no options, and {', '.join(options)} was given")
    return StageFusion(Nearest(high_channels, low_channels, dims), JOINS[name](high_channels, low_channels, dims))


STAGE_FUSIONS: Mapping[str, Callable[..., StageFusion]] = {
    name: partial(stage_fusion, name) for name in (*JOINS, *OPERATORS)
}
"""By name, `make(Ch, Cl, dims, **options)`: see `stage_fusion`."""
