"""Filters that differ from position to position, on signals and images, and what is built on them.

CARAFE: Content-Aware ReAssembly of FEatures. Wang et al., ICCV 2019, arXiv:1905.02188. Written for one and two axes
and for any ratio of sizes: fine position p reads around coarse position floor(p h / H), which at H = 2 h is floor(p/2).
In two axes the taps of a kernel are counted row by row.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError

Padding = Literal["replicate", "zeros"]
SPREAD = 2
"""A coarse position predicts for this many fine ones along each axis; other ratios take the nearest of them."""


def conv(dims: int, inputs: int, outputs: int, kernel: int, padding: Padding = "zeros", groups: int = 1) -> nn.Module:
    """A convolution over `dims` axes, with bias, that keeps the size; Glorot's initialisation, bias 0."""
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    layer = make(inputs, outputs, kernel, padding=kernel // 2, groups=groups, padding_mode=padding)
    return initialise(layer)


def initialise(layer: nn.Module, std: float | None = None) -> nn.Module:
    """Weights N(0, std^2) (Glorot's uniform ones when None) and bias 0, of a convolution."""
    assert isinstance(layer.weight, Tensor)
    if std is None:
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=std)
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
    return layer


def check_kernel(kernel: int, padding: str) -> None:
    """MmkdError unless `kernel` is odd and `padding` is known."""
    if kernel < 1 or kernel % 2 == 0:
        raise MmkdError(f"a kernel of {kernel} has no middle; take an odd one, such as 3 or 5")
    if padding not in get_args(Padding):
        raise MmkdError(f"unknown padding {padding!r} (known: {', '.join(get_args(Padding))})")


def check_pair(what: str, high: Tensor, low: Tensor, channels: tuple[int, int], dims: int) -> None:
    """MmkdError unless `high` and `low` are maps of `dims` axes with these channels, `high` nowhere the smaller."""
    axes = ", H, W" if dims == 2 else ", T"
    for name, x, c in (("high", high, channels[0]), ("low", low, channels[1])):
        if x.ndim != dims + 2 or x.shape[1] != c:
            raise MmkdError(f"{what} was made for a {name} map (B, {c}{axes}) and got {tuple(x.shape)}")
    if high.shape[0] != low.shape[0]:
        raise MmkdError(f"{what} got a batch of {high.shape[0]} and one of {low.shape[0]}")
    if any(a < b for a, b in zip(high.shape[2:], low.shape[2:], strict=True)):
        raise MmkdError(
            f"{what}: the high map {tuple(high.shape[2:])} is the finer one, and the low map {tuple(low.shape[2:])} is "
            f"larger; exchange them"
        )


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest position: (B, C, *coarse) to (B, C, *size), position p from floor(p h / H), in whole numbers."""
    for axis, fine in enumerate(size, 2):
        if x.shape[axis] != fine:
            x = x.index_select(axis, _coarse(x.shape[axis], fine, x.device))
    return x


def _coarse(coarse: int, fine: int, device: torch.device) -> Tensor:
    return torch.arange(fine, device=device) * coarse // fine


def spread(x: Tensor, size: Sequence[int]) -> Tensor:
    """What a coarse position says of each fine position in it: (B, C 2^d, *coarse) to (B, C, *size).

    Channels c 2^d .. c 2^d + 2^d - 1 are the parts of a coarse position, row by row (pixel shuffle); a fine position
    takes the part that it lies in, so that any ratio of sizes will do.
    """
    if x.ndim == 4:
        return enlarge(F.pixel_shuffle(x, SPREAD), size)
    b, c, t = x.shape
    return enlarge(x.view(b, c // SPREAD, SPREAD, t).transpose(2, 3).reshape(b, c // SPREAD, SPREAD * t), size)


def neighbours(
    x: Tensor, size: Sequence[int], kernel: int, padding: Padding = "replicate", dilation: int = 1
) -> Iterator[Tensor]:
    """The kernel^d neighbours of each position, one map (B, C, *size) at a time; the middle one is `enlarge(x, size)`.

    Args:
        x: (B, C, *coarse).
        size: of the fine map.
        padding: beyond the border, the value at the border or zeros.
        dilation: steps between neighbours, in coarse positions.
    """
    check_kernel(kernel, padding)
    reach = kernel // 2 * dilation
    coarse = x.shape[2:]
    x = F.pad(x, [reach] * (2 * len(coarse)), mode="replicate" if padding == "replicate" else "constant")

    def walk(piece: Tensor, axis: int) -> Iterator[Tensor]:
        if axis == piece.ndim:
            yield piece
            return
        short = coarse[axis - 2]
        long = size[axis - 2]
        at = None if short == long else _coarse(short, long, x.device)
        for tap in range(kernel):
            step = tap * dilation
            moved = piece.narrow(axis, step, long) if at is None else piece.index_select(axis, at + step)
            yield from walk(moved, axis + 1)

    return walk(x, 2)


def reassemble(x: Tensor, filters: Tensor, padding: Padding = "replicate") -> Tensor:
    """R(X, W)(p) = sum over taps delta of W(p, delta) X(floor(p h / H) + delta). Wang et al. 2019, arXiv:1905.02188.

    Args:
        x: (B, C, *coarse), of one or two axes.
        filters: W (B, k^d, *fine), one weight a tap, shared by the channels; taps row by row.
        padding: `replicate`, which leaves a constant as it is where the weights sum to 1; or `zeros`, that of the
            reference, which lets a constant fall at the border.

    Returns:
        (B, C, *fine).

    Raises:
        MmkdError: ranks or batches that differ, or taps that fill no odd kernel.
    """
    dims = x.ndim - 2
    taps = filters.shape[1]
    kernel = round(taps ** (1 / dims))
    if filters.ndim != x.ndim or filters.shape[0] != x.shape[0] or kernel**dims != taps or kernel % 2 == 0:
        raise MmkdError(
            f"a map {tuple(x.shape)} is reassembled by filters (B, k^{dims}, ...) with k odd, one batch and one rank, "
            f"not {tuple(filters.shape)}"
        )
    total: Tensor | None = None
    for tap, value in enumerate(neighbours(x, filters.shape[2:], kernel, padding)):
        weight = filters[:, tap : tap + 1]
        total = weight * value if total is None else torch.addcmul(total, weight, value)
    assert total is not None
    return total


def normalise(scores: Tensor, hamming: bool = False) -> Tensor:
    """Scores (B, k^d, *size) to filters of the same shape that sum to 1 over the taps: a softmax.

    Args:
        hamming: times a Hamming window (its product along the axes), then divided by the sum again.
    """
    filters = scores.softmax(dim=1)
    if not hamming:
        return filters
    dims = scores.ndim - 2
    taps = scores.shape[1]
    line = torch.hamming_window(round(taps ** (1 / dims)), periodic=False, dtype=filters.dtype, device=filters.device)
    window = line if dims == 1 else torch.outer(line, line).flatten()
    filters = filters * window.view(1, -1, *[1] * dims)
    return filters / filters.sum(dim=1, keepdim=True)


def similarity(x: Tensor, padding: Padding = "replicate", dilation: int = 2) -> Tensor:
    """Cosine of each position with its 3^d - 1 neighbours: (B, C, *size) to (B, 3^d - 1, *size), rows first."""
    x = F.normalize(x, dim=1)
    taps = list(neighbours(x, x.shape[2:], 3, padding, dilation))
    taps.pop(len(taps) // 2)
    return torch.stack([(x * tap).sum(dim=1) for tap in taps], dim=1)


def displace(x: Tensor, offsets: Tensor) -> Tensor:
    """Linear interpolation at displaced positions, those beyond the border moved onto it; offsets 0 change nothing.

    Args:
        x: (B, C, *size), of one or two axes.
        offsets: (B, d, G, *size), in positions of x, axis by axis (rows, then columns); each of the G equal groups of
            channels has its own.

    Returns:
        (B, C, *size).
    """
    b, dims, groups = offsets.shape[:3]
    size = x.shape[2:]
    if offsets.shape[3:] != size or dims != len(size) or x.shape[1] % groups:
        raise MmkdError(f"offsets {tuple(offsets.shape)} do not fit a map {tuple(x.shape)}")
    flat = x.reshape(b * groups, x.shape[1] // groups, -1)
    corners: list[tuple[Tensor | int, Tensor | float]] = [(0, 1.0)]  # position in `flat`, weight
    for axis, length in enumerate(size):
        grid = torch.arange(length, device=x.device, dtype=torch.promote_types(offsets.dtype, torch.float32))
        at = grid.view([length if i == axis else 1 for i in range(dims)]) + offsets[:, axis]
        at = at.clamp(0, length - 1)
        before = at.detach().floor().clamp(max=max(length - 2, 0))
        share = at - before
        first = before.long()
        second = (first + 1).clamp(max=length - 1)
        corners = [
            (place * length + near, weight * part)
            for place, weight in corners
            for near, part in ((first, 1 - share), (second, share))
        ]
    total: Tensor | None = None
    for place, weight in corners:
        assert isinstance(place, Tensor)
        assert isinstance(weight, Tensor)
        index = place.reshape(b * groups, 1, -1).expand(-1, flat.shape[1], -1)
        part = flat.gather(2, index) * weight.reshape(b * groups, 1, -1)
        total = part if total is None else total + part
    assert total is not None
    return total.to(x.dtype).view(x.shape)


class Carafe(nn.Module):
    """CARAFE: the coarse map enlarged by filters that it predicts itself. Wang et al., ICCV 2019, arXiv:1905.02188.

    A 1x1 convolution to `compressed` channels, a 3x3 encoder to k^d filters for each of the 2^d fine positions of a
    coarse one, softmax, reassembly: 5x5 of 64 compressed channels, as published. Ours are one axis, any ratio, and the
    padding.

    Args:
        high_channels, low_channels: Ch and Cl.
        dims: d, 1 or 2.
        compressed: C'.
        kernel: k, odd.
        padding: `replicate`, or `zeros`, the published one.
    """

    def __init__(
        self,
        high_channels: int,
        low_channels: int,
        dims: int,
        compressed: int = 64,
        kernel: int = 5,
        padding: Padding = "replicate",
    ) -> None:
        super().__init__()
        check_kernel(kernel, padding)
        self.channels = (high_channels, low_channels)
        self.dims = dims
        self.padding = padding
        self.compress = conv(dims, low_channels, compressed, 1)
        self.encode = initialise(conv(dims, compressed, kernel**dims * SPREAD**dims, 3, padding), std=0.001)

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Ch, *fine), (B, Cl, *coarse) to the first as it is and the second at its size.

        Raises:
            MmkdError: maps of other channels or rank, or a high map that is the smaller one.
        """
        check_pair("carafe", high, low, self.channels, self.dims)
        filters = normalise(spread(self.encode(self.compress(low)), high.shape[2:]))
        return high, reassemble(low, filters, self.padding)


def group_norm(channels: int, size: int = 8) -> nn.GroupNorm:
    """Groups of about `size` channels."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // size)), channels)
