"""Low-pass and high-pass filters of feature maps, lines (B, C, T) or images (B, C, H, W): x -> transform -> times a
mask of the radius -> back.

A frequency f counts cycles a sample, 0 to 1/2 an axis: bin k of N has k / (2 N) in the DCT-II and abs(k) / N in the
circular Fourier transform. The radius of a bin is `r = ||f / 0.5||_2 / sqrt(d)` (`shape="ball"`) or
`max over axes of f / 0.5` (`"box"`), both in [0, 1]; the hard low-pass at cutoff 1 is the identity in any d. These
radii and cutoffs are not those of `high_pass`, which counts 1 for the Nyquist frequency of an axis and reaches sqrt(d).

| mask | low-pass at the cutoff rho |
|---|---|
| `hard` | r <= rho |
| `gaussian` | 2^-((r / rho)^2), one half at rho |
| `butterworth` | 1 / (1 + (r / rho)^(2 order)), one half at rho |

The high-pass is 1 - low-pass. The DCT mirrors a line at its ends where the Fourier transform joins them: of a ramp of
128 samples and mean 0 the hard high-pass at 0.25 holds 3.5e-2 of the energy with `fft` and 4e-6 with `dct`. Both are
orthonormal, so that a hard mask is an orthogonal projection.
"""

import functools
import math

import torch
from torch import Tensor, nn

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.frequency.bases import basis, cycles

BAND_MASKS = ("hard", "gaussian", "butterworth")
BAND_SHAPES = ("ball", "box")
BAND_TRANSFORMS = ("dct", "fft")
LONGEST_PRODUCT = 128
"""Longer axes take their DCT from a fast Fourier transform, shorter ones from a matrix product."""


def band_radius(
    size: tuple[int, ...], transform: str = "dct", shape: str = "ball", rate: float | None = None
) -> Tensor:
    """How far each bin of the spectrum is from the constant, float64 of shape `size`.

    Args:
        size: (T,) or (H, W), in samples.
        transform: `dct` or `fft`, whose bins are in the order of `torch.fft.fftn`.
        shape: `ball` or `box`, see the module.
        rate: samples a second on every axis: r is then in hertz, the Euclidean norm of f * rate or its largest entry,
            without the division by sqrt(d).

    Raises:
        MmkdError: an unknown name, no axis, or an axis without samples.
    """
    if transform not in BAND_TRANSFORMS:
        raise unknown_name("transform", transform, BAND_TRANSFORMS)
    if shape not in BAND_SHAPES:
        raise unknown_name("shape", shape, BAND_SHAPES)
    if not size or any(n < 1 for n in size):
        raise MmkdError(f"a spectrum needs at least one sample an axis, not the size {size}")
    unit = 2.0 if rate is None else rate
    axes = torch.meshgrid(*(cycles(transform, n).abs() / n * unit for n in size), indexing="ij")
    f = torch.stack(axes)
    if shape == "box":
        return f.amax(dim=0)
    r = f.square().sum(dim=0).sqrt()
    return r / math.sqrt(len(size)) if rate is None else r


def band_mask(
    size: tuple[int, ...],
    band: str,
    cutoff: float,
    mask: str = "gaussian",
    transform: str = "dct",
    shape: str = "ball",
    order: int = 2,
    rate: float | None = None,
) -> Tensor:
    """What a low-pass or a high-pass leaves of each bin, float64 of shape `size`, in [0, 1].

    Args:
        size, transform, shape, rate: see `band_radius`.
        band: `low`, or `high`, which is 1 - low.
        cutoff: rho above 0, in units of r: at most 1, or hertz where `rate` is given.
        mask: one of `BAND_MASKS`.
        order: of the Butterworth mask.

    Raises:
        MmkdError: an unknown name, a cutoff or an order out of range, or a band that has not a single bin, which is
            one that the mask leaves a half or more of.
    """
    if mask not in BAND_MASKS:
        raise unknown_name("mask", mask, BAND_MASKS)
    if band not in ("low", "high"):
        raise unknown_name("band", band, ("low", "high"))
    if not 0 < cutoff < math.inf or (rate is None and cutoff > 1):
        raise MmkdError(f"cutoff = {cutoff} must be above 0, and at most 1 where it is not in hertz")
    if order < 1:
        raise MmkdError(f"order = {order} must be 1 or more")
    x = band_radius(size, transform, shape, rate) / cutoff
    if mask == "hard":
        low = (x <= 1 + 1e-9).double()  # rounding must not move a bin on the edge
    elif mask == "gaussian":
        low = torch.exp2(-x.square())
    else:
        low = 1 / (1 + x ** (2 * order))
    kept = low if band == "low" else 1 - low
    if not (kept >= 0.5 - 1e-9).any():
        of = "x".join(map(str, size))
        unit = "" if rate is None else f" Hz at {rate:g} samples a second"
        raise MmkdError(f"the {band} band of {of} positions has no bin at the cutoff {cutoff:g}{unit}")
    return kept


def random_band(size: tuple[int, ...], count: int, transform: str = "dct") -> Tensor:
    """A hard mask of `count` bins at random places, float64 of shape `size`; torch's random state chooses them.

    For `fft` a frequency and its negative stay or go together, so that the filter of a real map is real and a
    projection.

    Raises:
        MmkdError: a count that is not between 1 and the number of bins.
    """
    total = math.prod(size)
    if not 1 <= count <= total:
        raise MmkdError(f"a random band of {count} bins: there are {total}")
    number = torch.arange(total).reshape(size)
    axes = list(range(len(size)))
    opposite = number if transform == "dct" else number.flip(axes).roll([1] * len(size), axes)
    partner = opposite.flatten().tolist()
    order = torch.randperm(total).tolist()
    kept: set[int] = set()
    for k in order:
        new = {k, partner[k]}
        if k not in kept and len(kept) + len(new) <= count:
            kept |= new
    if len(kept) < count:  # one place is left, and every bin that is its own negative is in: one of them gives way
        own = next(k for k in order if k == partner[k])
        pair = next(k for k in order if k not in kept)
        kept = kept - {own} | {pair, partner[pair]}
    mask = torch.zeros(total, dtype=torch.float64)
    mask[sorted(kept)] = 1
    return mask.reshape(size)


class BandFilter(nn.Module):
    """A linear filter of maps by a mask over their spectrum: (B, C, *size) to the same shape, float32 or float64.

    Args:
        gain: of shape `size`, one factor a bin, such as `band_mask` or `random_band` make; a buffer. For `fft` it must
            be the same at a frequency and its negative.
        transform: `dct` or `fft`.

    Raises:
        MmkdError: an unknown transform; in `forward`, a map of another size (a mask must not be broadcast).
    """

    gain: Tensor

    def __init__(self, gain: Tensor, transform: str = "dct") -> None:
        super().__init__()
        if transform not in BAND_TRANSFORMS:
            raise unknown_name("transform", transform, BAND_TRANSFORMS)
        self.transform = transform
        self.register_buffer("gain", gain.float())

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.gain.shape:
            raise MmkdError(f"a filter for maps of {tuple(self.gain.shape)} got {tuple(x.shape[2:])}")
        with torch.autocast(x.device.type, enabled=False):
            x = _wide(x)
            gain = self.gain.to(x.dtype)
            axes = tuple(range(2, x.ndim))
            if self.transform == "dct":
                return idct(dct(x, axes) * gain, axes)
            half = gain[..., : x.shape[-1] // 2 + 1]
            y: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * half, s=x.shape[2:], dim=axes)
            return y


def shrink(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring maps to fewer positions without aliasing: (B, C, *any) -> (B, C, *size), float32 or float64.

    The DCT-II spectrum is cropped and its scale kept, so that the mean of a map stays what it was and what lies below
    the new Nyquist frequency stays whole (an average over neighbours would weaken the upper end of it).

    Raises:
        MmkdError: another number of axes, or a size above the map's.
    """
    if len(size) != x.ndim - 2 or any(not 1 <= m <= n for m, n in zip(size, x.shape[2:], strict=True)):
        raise MmkdError(f"maps of {tuple(x.shape[2:])} positions cannot be brought down to {size}")
    with torch.autocast(x.device.type, enabled=False):
        x = _wide(x)
        for axis, m in enumerate(size, 2):
            n = x.shape[axis]
            if m < n:
                x = idct(dct(x, (axis,)).narrow(axis, 0, m) * math.sqrt(m / n), (axis,))
        return x


def dct(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The orthonormal DCT-II over axes 2 and up, same shape. Ahmed, Natarajan, Rao, IEEE Trans. Computers 1974.

    x is (B, C, T) or (B, C, H, W). Long axes: the Fourier transform of the line beside its mirror image, turned by half
    a sample.
    """
    for axis in axes:
        n = x.shape[axis]
        if n <= LONGEST_PRODUCT:
            x = _product(x, basis("dct", n, x.dtype, x.device), axis)
        else:
            line = x.movedim(axis, -1)
            spectrum = torch.fft.rfft(torch.cat([line, line.flip(-1)], dim=-1))[..., :n]
            x = (spectrum * _turn(n, x.dtype, x.device).conj()).real.movedim(-1, axis)
    return x


def idct(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The inverse of `dct`, which is its transpose."""
    for axis in axes:
        n = x.shape[axis]
        if n <= LONGEST_PRODUCT:
            x = _product(x, basis("dct", n, x.dtype, x.device).T, axis)
        else:
            turn = _turn(n, x.dtype, x.device)
            turned = x.movedim(axis, -1) * (turn / turn.abs().square())
            x = torch.fft.irfft(turned, n=2 * n)[..., :n].movedim(-1, axis)
    return x


def _product(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The matrix times every line along an axis, the last one or the last but one; no axis is moved."""
    return x @ matrix.T if axis == x.ndim - 1 else matrix @ x


@functools.cache
def _turn(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n,) complex: exp(i pi k / 2n), times the scale that makes the DCT orthonormal."""
    with torch.inference_mode(False):  # kept for training, whoever asks first
        scale = torch.full((n,), math.sqrt(1 / (2 * n)), dtype=torch.float64)
        scale[0] = math.sqrt(1 / (4 * n))
        turn = torch.polar(scale, math.pi / (2 * n) * torch.arange(n, dtype=torch.float64))
        return turn.to(torch.complex128 if dtype == torch.float64 else torch.complex64).to(device)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
