"""Lifts from a 1-D feature to a square map, so that features of signals and images can be compared."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError, unknown_name

RESIZES = ("pool", "linear", "spectral")


def resample(x: Tensor, length: int, resize: str = "pool") -> Tensor:
    """Change the length of a feature: (B, C, T) -> (B, C, length).

    Args:
        x: (B, C, T).
        length: the new number of samples.
        resize: `pool`, adaptive averages: sample i is the mean of the samples from floor(i T / length) to
            ceil((i + 1) T / length), so that samples repeat when the feature grows. `linear`, interpolation between
            samples, which aliases when the feature shrinks. `spectral`, the spectrum cropped or padded with zeros, with
            amplitudes unchanged; the feature is taken as periodic.

    Raises:
        MmkdError: The name is unknown, the length is below 1, or x is not (B, C, T).
    """
    if x.ndim != 3:
        raise MmkdError(f"a 1-D feature is (B, C, T), not {tuple(x.shape)}")
    if length < 1:
        raise MmkdError(f"a feature cannot be resampled to {length} samples")
    if resize not in RESIZES:
        raise unknown_name("resize", resize, RESIZES)
    t = x.shape[-1]
    if length == t:
        return x
    if resize == "pool":
        return F.adaptive_avg_pool1d(x, length)
    if resize == "linear":
        return F.interpolate(x, size=length, mode="linear", align_corners=False)
    with torch.autocast(x.device.type, enabled=False):
        wide = x if x.dtype == torch.float64 else x.float()
        shared = min(t, length)
        spectrum = torch.fft.rfft(wide, norm="forward")[..., : shared // 2 + 1]
        if shared % 2 == 0:
            # The last shared bin stands for +f and -f together in the shorter signal, for one of them in the longer.
            scale = torch.ones(spectrum.shape[-1], dtype=wide.dtype, device=x.device)
            scale[-1] = 2.0 if length < t else 0.5
            spectrum = spectrum * scale
        y: Tensor = torch.fft.irfft(spectrum, n=length, norm="forward").to(x.dtype)
        return y


def _outer(x: Tensor) -> Tensor:
    return x[..., :, None] * x[..., None, :]


def _repeat(x: Tensor) -> Tensor:
    return x[..., None, :].expand(*x.shape, x.shape[-1])


def _hankel(x: Tensor) -> Tensor:
    side = (x.shape[-1] + 1) // 2
    at = torch.arange(side, device=x.device)
    return x[..., at[:, None] + at[None, :]]


def _toeplitz(x: Tensor) -> Tensor:
    at = torch.arange(x.shape[-1], device=x.device)
    return x[..., (at[:, None] - at[None, :]).abs()]


LIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "outer": _outer,
    "repeat": _repeat,
    "hankel": _hankel,
    "toeplitz": _toeplitz,
}
"""The lifts by name; each turns (B, C, T), already resampled, into a square map."""


def lift(x: Tensor, kind: str = "outer", side: int | None = None, resize: str = "pool") -> Tensor:
    """Turn each channel of a 1-D feature into a square map: (B, C, T) -> (B, C, S, S).

    >>> import torch
    >>> lift(torch.tensor([[[1.0, 2.0]]]), "outer")
    tensor([[[[1., 2.],
              [2., 4.]]]])

    Args:
        x: (B, C, T). It is first resampled to a feature z of the length that the lift needs.
        kind: entry (i, j) of the map is
            `outer`: z_i z_j, the Gram matrix; it squares the unit and the scale; z has S samples;
            `repeat`: z_j, so that every row is the feature; S samples;
            `hankel`: z_(i+j), a delay embedding with one sample along each antidiagonal; 2 S - 1 samples;
            `toeplitz`: z_abs(i-j), symmetric with the first sample on the diagonal; S samples.
        side: S; T by default.
        resize: as for `resample`.

    Raises:
        MmkdError: A name is unknown, the side is below 1, or x is not (B, C, T).
    """
    if kind not in LIFTS:
        raise unknown_name("lift", kind, LIFTS)
    side = x.shape[-1] if side is None else side
    length = 2 * side - 1 if kind == "hankel" else side
    return LIFTS[kind](resample(x, length, resize))


def meet(a: Tensor, b: Tensor, mixed: str) -> tuple[Tensor, Tensor]:
    """Bring two features to the same rank and, on each axis, to the smaller of their sizes.

    Args:
        a: (B, C), (B, C, T) or (B, C, H, W).
        b: likewise; it may have other channels.
        mixed: what to do with a line (B, C, T) and an image (B, C, H, W). `pool` averages both over their positions to
            vectors; the name of a lift turns the line into a map with the image's side.

    Returns:
        Both features. If one is a vector (B, C), the other is averaged over its positions to a vector too.
    """
    if min(a.ndim, b.ndim) == 2 or (a.ndim != b.ndim and mixed == "pool"):
        return a.flatten(2).mean(2) if a.ndim > 2 else a, b.flatten(2).mean(2) if b.ndim > 2 else b
    if a.ndim != b.ndim:
        side = max((a if a.ndim == 4 else b).shape[2:])
        a, b = (lift(x, mixed, side) if x.ndim == 3 else x for x in (a, b))
    size = tuple(min(pair) for pair in zip(a.shape[2:], b.shape[2:], strict=True))
    return _pooled(a, size), _pooled(b, size)


def _pooled(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Average (B, C, T) or (B, C, H, W) to `size`."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.adaptive_avg_pool1d(x, size[0]) if len(size) == 1 else F.adaptive_avg_pool2d(x, (size[0], size[1]))
