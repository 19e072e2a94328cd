"""From a 1-D feature to a square map, so that signals and images can meet in two dimensions."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError, unknown_name

RESIZES = ("pool", "linear", "spectral")


def resample(x: Tensor, length: int, resize: str = "pool") -> Tensor:
    """Bring a feature to another length: (B, C, T) -> (B, C, length).

    Args:
        resize: `pool`, adaptive averages (sample i averages floor(i T / length) to ceil((i + 1) T / length), which
            repeats samples when it grows); `linear`, interpolation between samples (it aliases when it shrinks);
            `spectral`, the spectrum cropped or padded with zeros, amplitudes kept (periodic at the ends).

    Raises:
        MmkdError: an unknown name, a length below 1, or x of other than (B, C, T).
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
            # The bin at half the shared rate stands for both +f and -f on the short side, for one of them on the long
            # one.
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
"""By name, what makes a map of samples that are already resampled."""


def lift(x: Tensor, kind: str = "outer", side: int | None = None, resize: str = "pool") -> Tensor:
    """A square map of each channel of a 1-D feature: (B, C, T) -> (B, C, S, S). T is resampled first.

    Args:
        x: (B, C, T).
        kind: with z the resampled feature,
            `outer`, z_i z_j, its Gram field (the square of its unit and scale): z has S samples;
            `repeat`, z_j, every row the feature: S samples;
            `hankel`, z_(i+j), its delay embedding, one sample an antidiagonal: 2 S - 1 samples, none twice round;
            `toeplitz`, z_abs(i-j), symmetric, the first sample on the diagonal: S samples.
        side: S, by default T.
        resize: `pool`, `linear` or `spectral`, see `resample`.

    Raises:
        MmkdError: an unknown name, a side below 1, or x of other than (B, C, T).
    """
    if kind not in LIFTS:
        raise unknown_name("lift", kind, LIFTS)
    side = x.shape[-1] if side is None else side
    length = 2 * side - 1 if kind == "hankel" else side
    return LIFTS[kind](resample(x, length, resize))


def meet(a: Tensor, b: Tensor, mixed: str) -> tuple[Tensor, Tensor]:
    """Two maps of any rank, (B, C), (B, C, T) or (B, C, H, W), in one rank and at the smaller size.

    Args:
        mixed: what becomes of a line that meets an image: `pool`, both become vectors of means over positions; or the
            name of a lift, which brings the line to the image's side. A vector makes the other one a vector too.
    """
    if min(a.ndim, b.ndim) == 2 or (a.ndim != b.ndim and mixed == "pool"):
        return a.flatten(2).mean(2) if a.ndim > 2 else a, b.flatten(2).mean(2) if b.ndim > 2 else b
    if a.ndim != b.ndim:
        side = max((a if a.ndim == 4 else b).shape[2:])
        a, b = (lift(x, mixed, side) if x.ndim == 3 else x for x in (a, b))
    size = tuple(min(pair) for pair in zip(a.shape[2:], b.shape[2:], strict=True))
    return _pooled(a, size), _pooled(b, size)


def _pooled(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, C, T) or (B, C, H, W) averaged down to `size`."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.adaptive_avg_pool1d(x, size[0]) if len(size) == 1 else F.adaptive_avg_pool2d(x, (size[0], size[1]))
