"""Filters whose weights differ from position to position, on signals and images, and CARAFE, which is built on them.

CARAFE: Content-Aware ReAssembly of FEatures. Wang et al., ICCV 2019, arXiv:1905.02188. Here for one and two axes and
for any ratio of sizes: the filter of fine position p is applied around the coarse position floor(p h / H), for coarse
size h and fine size H; with H = 2 h this is floor(p/2). Kernel taps of two axes are counted row by row.
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
"""A coarse position predicts this many fine positions along each axis; for other ratios the nearest of them is used."""


def conv(dims: int, inputs: int, outputs: int, kernel: int, padding: Padding = "zeros", groups: int = 1) -> nn.Module:
    """Convolution over `dims` axes with bias that keeps the size; Glorot initialisation, bias 0."""
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    layer = make(inputs, outputs, kernel, padding=kernel // 2, groups=groups, padding_mode=padding)
    return initialise(layer)


def initialise(layer: nn.Module, std: float | None = None) -> nn.Module:
    """Set the weights of a convolution to N(0, std^2), or Glorot's uniform if `std` is None, and its bias to 0."""
    assert isinstance(layer.weight, Tensor)
    if std is None:
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=std)
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
    return layer


def check_kernel(kernel: int, padding: str) -> None:
    """Check that `kernel` is odd and `padding` is known.

    Raises:
        MmkdError: This is not so.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise MmkdError(f"a kernel of {kernel} has no middle; take an odd one, such as 3 or 5")
    check_padding(padding)


def check_padding(padding: str) -> None:
    """Check that `padding` is known.

    Raises:
        MmkdError: It is not.
    """
    if padding not in get_args(Padding):
        raise MmkdError(f"unknown padding {padding!r} (known: {', '.join(get_args(Padding))})")


def check_pair(name: str, high: Tensor, low: Tensor, channels: tuple[int, int], dims: int) -> None:
    """Check that `high` and `low` are maps of `dims` axes with these channels, and that `high` is not the smaller one.

    Args:
        name: the name of the module, for the message.
        high: (B, Ch, *fine).
        low: (B, Cl, *coarse).
        channels: (Ch, Cl).
        dims: number of axes, 1 or 2.

    Raises:
        MmkdError: This is not so.
    """
    axes = ", H, W" if dims == 2 else ", T"
    for side, x, c in (("high", high, channels[0]), ("low", low, channels[1])):
        if x.ndim != dims + 2 or x.shape[1] != c:
            raise MmkdError(f"{name} was made for a {side} map (B, {c}{axes}) and got {tuple(x.shape)}")
    if high.shape[0] != low.shape[0]:
        raise MmkdError(f"{name} got a batch of {high.shape[0]} and one of {low.shape[0]}")
    if any(a < b for a, b in zip(high.shape[2:], low.shape[2:], strict=True)):
        raise MmkdError(
            f"{name}: the high map {tuple(high.shape[2:])} is the finer one, and the low map {tuple(low.shape[2:])} is "
            f"larger; exchange them"
        )


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge (B, C, *coarse) to (B, C, *size) by the nearest position: p is read from floor(p h / H)."""
    for axis, fine in enumerate(size, 2):
        if x.shape[axis] != fine:
            x = x.index_select(axis, _coarse(x.shape[axis], fine, x.device))
    return x


def _coarse(coarse: int, fine: int, device: torch.device) -> Tensor:
    """The coarse position of each fine position, (fine,) int64."""
    return torch.arange(fine, device=device) * coarse // fine


def spread(x: Tensor, size: Sequence[int]) -> Tensor:
    """Distribute the channels of each coarse position over its fine positions: (B, C 2^d, *coarse) to (B, C, *size).

    Channels c 2^d to c 2^d + 2^d - 1 belong to the 2^d parts of a coarse position, row by row (pixel shuffle). A fine
    position takes the part that it lies in, so that any ratio of sizes works.
    """
    if x.ndim == 4:
        return enlarge(F.pixel_shuffle(x, SPREAD), size)
    b, c, t = x.shape
    return enlarge(x.view(b, c // SPREAD, SPREAD, t).transpose(2, 3).reshape(b, c // SPREAD, SPREAD * t), size)


def neighbours(
    x: Tensor, size: Sequence[int], kernel: int, padding: Padding = "replicate", dilation: int = 1
) -> Iterator[Tensor]:
    """Iterate over the kernel^d neighbours of each position, as maps (B, C, *size).

    The middle one is `enlarge(x, size)`.

    Args:
        x: (B, C, *coarse).
        size: size of the fine map.
        kernel: k, odd.
        padding: values beyond the border: `replicate` for the value at the border, or `zeros`.
        dilation: distance of neighbours, in coarse positions.

    Raises:
        MmkdError: The kernel is even, or the padding is unknown.
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
    """Filter a coarse map with one kernel for each fine position. Wang et al. 2019, arXiv:1905.02188.

    R(X, W)(p) = sum over taps delta of W(p, delta) X(floor(p h / H) + delta).

    Args:
        x: X, (B, C, *coarse), with one or two axes.
        filters: W, (B, k^d, *fine), one weight for each tap, row by row; all channels share it.
        padding: `replicate`, which keeps a constant map constant if the weights sum to 1; or `zeros` as in the
            reference code, where a constant map becomes smaller at the border.

    Returns:
        (B, C, *fine).

    Raises:
        MmkdError: Ranks or batches differ, or k is not odd.
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
    """Turn scores into filters that sum to 1 over the taps, by a softmax.

    Args:
        scores: (B, k^d, *size).
        hamming: whether to multiply the filters by a Hamming window (the product over the axes) and normalise again.

    Returns:
        (B, k^d, *size).
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
    """Cosine of each position with its 3^d - 1 neighbours: (B, C, *size) to (B, 3^d - 1, *size), row by row."""
    x = F.normalize(x, dim=1)
    taps = list(neighbours(x, x.shape[2:], 3, padding, dilation))
    taps.pop(len(taps) // 2)
    return torch.stack([(x * tap).sum(dim=1) for tap in taps], dim=1)


def displace(x: Tensor, offsets: Tensor) -> Tensor:
    """Read a map at displaced positions, by linear interpolation.

    Positions beyond the border are moved onto it. Offsets of 0 change nothing.

    Args:
        x: (B, C, *size), with one or two axes.
        offsets: (B, d, G, *size), in positions of x, for each axis (rows, then columns). The channels are divided into
            G equal groups, each with its own offsets.

    Returns:
        (B, C, *size).

    Raises:
        MmkdError: The shapes do not fit each other.
    """
    b, dims, groups = offsets.shape[:3]
    size = x.shape[2:]
    if offsets.shape[3:] != size or dims != len(size) or x.shape[1] % groups:
        raise MmkdError(f"offsets {tuple(offsets.shape)} do not fit a map {tuple(x.shape)}")
    flat = x.reshape(b * groups, x.shape[1] // groups, -1)
    corners: list[tuple[Tensor | int, Tensor | float]] = [(0, 1.0)]  # (position in `flat`, weight)
    for axis, length in enumerate(size):
        grid = torch.arange(length, device=x.device, dtype=torch.promote_types(offsets.dtype, torch.float32))
        at = grid.view([length if i == axis else 1 for i in range(dims)]) + offsets[:, axis]
        at = at.clamp(0, length - 1)
        before = at.detach().floor().clamp(max=max(length - 2, 0))
        share = at - before
        first = before.long()
        second = (first + 1).clamp(max=length - 1)
        corners = [
            (index * length + nearest, weight * part)
            for index, weight in corners
            for nearest, part in ((first, 1 - share), (second, share))
        ]
    total: Tensor | None = None
    for index, weight in corners:
        assert isinstance(index, Tensor)
        assert isinstance(weight, Tensor)
        flat_index = index.reshape(b * groups, 1, -1).expand(-1, flat.shape[1], -1)
        part = flat.gather(2, flat_index) * weight.reshape(b * groups, 1, -1)
        total = part if total is None else total + part
    assert total is not None
    return total.to(x.dtype).view(x.shape)


class Carafe(nn.Module):
    """CARAFE: enlarge a coarse map by filters predicted from it. Wang et al., ICCV 2019, arXiv:1905.02188.

    A 1x1 convolution to C' channels, a 3x3 convolution to k^d scores for each of the 2^d fine positions of a coarse
    position, softmax, reassembly. k 5 and C' 64 are the published values. One axis, any ratio of sizes and the padding
    `replicate` are additions of this project.

    Args:
        high_channels: Ch, channels of the fine map.
        low_channels: Cl, channels of the coarse map.
        dims: number of axes d, 1 or 2.
        compressed: C'.
        kernel: k, odd.
        padding: `replicate`, or `zeros` as published.
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
        """Enlarge the coarse map; the fine map only gives the size.

        Args:
            high: (B, Ch, *fine).
            low: (B, Cl, *coarse).

        Returns:
            `high` as it is, and the coarse map as (B, Cl, *fine).

        Raises:
            MmkdError: Channels or ranks differ from those of the module, or `high` is the smaller map.
        """
        check_pair("carafe", high, low, self.channels, self.dims)
        filters = normalise(spread(self.encode(self.compress(low)), high.shape[2:]))
        return high, reassemble(low, filters, self.padding)


def group_norm(channels: int, size: int = 8) -> nn.GroupNorm:
    """GroupNorm with groups of about `size` channels."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // size)), channels)
