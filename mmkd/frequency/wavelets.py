"""The Haar wavelet transform of maps, (B, C, T) or (B, C, H, W), level by level. Haar, Mathematische Annalen 1910."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError, unknown_name

HAAR_ENDS = ("zero", "repeat")
ROOT = math.sqrt(3)
WAVELET_TAPS = {
    "haar": (1 / math.sqrt(2), 1 / math.sqrt(2)),
    "db2": tuple(tap / (4 * math.sqrt(2)) for tap in (1 + ROOT, 3 + ROOT, 3 - ROOT, 1 - ROOT)),
}
"""Low-pass taps h of orthonormal wavelets. Daubechies, Communications on Pure and Applied Mathematics 1988."""


def haar_bands(x: Tensor, levels: int, end: str = "zero") -> tuple[Tensor, list[Tensor]]:
    """Divide a map into its low band and the high bands of each level.

    The transform is orthonormal: where every side can be halved, the squares of all bands have the sum of those of x.

    >>> import torch
    >>> low, (high,) = haar_bands(torch.tensor([[[1.0, 3.0, 2.0, 2.0]]]), 1)
    >>> (high * 2**0.5).round().tolist()
    [[[[-2.0, 0.0]]]]

    Args:
        x: (B, C, T) or (B, C, H, W).
        levels: J, at least 1. Each level divides the low band of the one before.
        end: what is appended to a side of odd length: a zero, or its last sample again.

    Returns:
        The low band (B, C, *size_J), and for each level j the high bands (B, C, O, *size_j), with half the side of the
        level before, rounded up. A line has O = 1; an image has O = 3: high along the height, along the width, along
        both.

    Raises:
        MmkdError: x is no map, `levels` is below 1, or `end` is unknown.
    """
    if x.ndim not in (3, 4):
        raise MmkdError(f"a wavelet transform needs maps (B,C,T) or (B,C,H,W), not {tuple(x.shape)}")
    if levels < 1:
        raise MmkdError(f"levels = {levels} of a wavelet transform must be 1 or more")
    if end not in HAAR_ENDS:
        raise unknown_name("end", end, HAAR_ENDS)
    high = []
    for _ in range(levels):
        x, bands = _level(x, end)
        high.append(bands)
    return x, high


def haar_join(low: Tensor, high: Sequence[Tensor]) -> Tensor:
    """The map of some bands, the inverse of `haar_bands`.

    Args:
        low: (B, C, *size_J).
        high: the bands (B, C, O, *size_j) of the levels 1 to J, as `haar_bands` returns them.

    Returns:
        (B, C, *size), with twice the sides of level 1: of a side of odd length, one sample more than it had.
    """
    for bands in reversed(high):
        axes = range(2, low.ndim)
        low = low[tuple(slice(n) for n in (*low.shape[:2], *bands.shape[3:]))]
        parts = dict(zip(_orientations(len(axes)), [low, *bands.unbind(2)], strict=True))
        for axis in reversed(axes):
            joined = {}
            for name in {name[:-1] for name in parts}:
                first, second = parts[*name, 0], parts[*name, 1]
                pair = torch.stack([first + second, first - second], dim=axis + 1) / math.sqrt(2)
                joined[name] = pair.flatten(axis, axis + 1)
            parts = joined
        low = parts[()]
    return low


def ring_bands(x: Tensor, levels: int, wavelet: str = "haar") -> tuple[Tensor, list[Tensor]]:
    """Divide lines whose ends are joined into a low band and the details of each level.

    One level is a_j = sum_k h_k x_(2j + k) and d_j = sum_k (-1)^k h_(L-1-k) x_(2j + k) with the L taps of the wavelet
    and positions modulo the length; the transform of a line of even length is orthonormal. To an odd length the last
    sample is appended again.

    Args:
        x: (B, K).
        levels: J, at least 1.
        wavelet: a name of `WAVELET_TAPS`.

    Returns:
        The low band (B, K_J), and the details (B, K_j) of each level.

    Raises:
        MmkdError: the wavelet is unknown.
    """
    if wavelet not in WAVELET_TAPS:
        raise unknown_name("wavelet", wavelet, tuple(WAVELET_TAPS))
    low = x.new_tensor(WAVELET_TAPS[wavelet])
    high = low.flip(0) * x.new_tensor([(-1.0) ** k for k in range(len(low))])
    details = []
    for _ in range(levels):
        x = torch.cat([x, x[:, -1:]], 1) if x.shape[1] % 2 else x
        at = torch.arange(0, x.shape[1], 2, device=x.device)[:, None] + torch.arange(len(low), device=x.device)
        pieces = x[:, at % x.shape[1]]
        x = pieces @ low
        details.append(pieces @ high)
    return x, details


def haar_levels(size: tuple[int, ...]) -> int:
    """How often the smallest side of a map can be halved.

    >>> haar_levels((9, 6)), haar_levels((1,))
    (2, 0)
    """
    return min(size).bit_length() - 1


def _level(x: Tensor, end: str) -> tuple[Tensor, Tensor]:
    """One level: the low band (B, C, *half), and the high bands (B, C, O, *half)."""
    axes = range(2, x.ndim)
    odd = [length % 2 for length in reversed(x.shape[2:])]
    if any(odd):
        x = F.pad(x, [n for length in odd for n in (0, length)], mode="constant" if end == "zero" else "replicate")
    bands: dict[tuple[int, ...], Tensor] = {(): x}
    for axis in axes:
        parts = {}
        for name, band in bands.items():
            first, second = band.reshape(*band.shape[:axis], -1, 2, *band.shape[axis + 1 :]).unbind(axis + 1)
            parts[*name, 0] = (first + second) / math.sqrt(2)
            parts[*name, 1] = (first - second) / math.sqrt(2)
        bands = parts
    low, *high = _orientations(len(axes))
    return bands[low], torch.stack([bands[name] for name in high], dim=2)


def _orientations(axes: int) -> list[tuple[int, ...]]:
    """The bands of a level, 1 where an axis has the high part: the low band first, then those of `haar_bands`."""
    return sorted(product((0, 1), repeat=axes), key=lambda name: (sum(name), [-n for n in name]))
