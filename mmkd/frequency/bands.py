"""Low-pass and high-pass filters of feature maps, (B, C, T) or (B, C, H, W).

A filter transforms the map, multiplies each frequency by a mask that depends on its radius, and transforms it back.

A frequency f counts cycles a sample, from 0 to 1/2 on each axis: on an axis of N samples, bin k of the DCT-II has
f = k / (2 N), and bin k of the circular Fourier transform has f = abs(k) / N. The radius of a bin over d axes is
`r = ||f / 0.5||_2 / sqrt(d)` for `shape="ball"`, or `max over axes of f / 0.5` for `shape="box"`. Both are in [0, 1],
and the hard low-pass at cutoff 1 is the identity. The function `high_pass` of this package counts differently: its
radius is 1 at the Nyquist frequency of one axis and reaches sqrt(d).

| mask | low-pass at the cutoff rho |
|---|---|
| `hard` | 1 where r <= rho, else 0 |
| `gaussian` | 2^-((r / rho)^2), which is one half at rho |
| `butterworth` | 1 / (1 + (r / rho)^(2 order)), which is one half at rho |

The high-pass is 1 - low-pass. The DCT mirrors a line at its ends, whereas the Fourier transform joins the ends: for a
ramp of 128 samples with mean 0, the hard high-pass at 0.25 keeps 3.5e-2 of the energy with `fft` and 4e-6 with `dct`.
Both transforms are orthonormal, so that a hard mask is an orthogonal projection.
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
"""The DCT of an axis up to this length is a matrix product; that of a longer axis uses the fast Fourier transform."""


def band_radius(
    size: tuple[int, ...], transform: str = "dct", shape: str = "ball", rate: float | None = None
) -> Tensor:
    """Compute the radius r of each frequency bin.

    Args:
        size: (T,) or (H, W), in samples.
        transform: `dct`, or `fft` with the bins in the order of `torch.fft.fftn`.
        shape: `ball` or `box`, see the module.
        rate: samples a second on every axis. With a rate, r is in hertz: the Euclidean norm of f * rate for `ball` (not
            divided by sqrt(d)), or its largest entry for `box`.

    Returns:
        float64 of shape `size`.

    Raises:
        MmkdError: An unknown name, no axis, or an axis without samples.
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
    *,
    transform: str = "dct",
    shape: str = "ball",
    order: int = 2,
    rate: float | None = None,
) -> Tensor:
    """Compute a low-pass or high-pass mask, see the table of the module.

    Args:
        size: as for `band_radius`.
        band: `low`, or `high`, which is 1 - low.
        cutoff: rho > 0, in units of r: at most 1, or in hertz if `rate` is given.
        mask: one of `BAND_MASKS`.
        transform: as for `band_radius`.
        shape: as for `band_radius`.
        order: of the Butterworth mask, at least 1.
        rate: as for `band_radius`.

    Returns:
        float64 of shape `size`, in [0, 1].

    Raises:
        MmkdError: An unknown name, a cutoff or an order out of range, or an empty band (no bin with a factor of one
            half or more).
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
        low = (x <= 1 + 1e-9).double()  # a bin exactly at the cutoff is kept in spite of rounding
    elif mask == "gaussian":
        low = torch.exp2(-x.square())
    else:
        low = 1 / (1 + x ** (2 * order))
    gain = low if band == "low" else 1 - low
    if not (gain >= 0.5 - 1e-9).any():
        shown_size = "x".join(map(str, size))
        unit = "" if rate is None else f" Hz at {rate:g} samples a second"
        raise MmkdError(f"the {band} band of {shown_size} positions has no bin at the cutoff {cutoff:g}{unit}")
    return gain


def random_band(size: tuple[int, ...], count: int, transform: str = "dct") -> Tensor:
    """Draw a hard mask of `count` bins from torch's random state.

    For `fft` a frequency and its negative are kept or removed together, so that the filter of a real map is real and an
    orthogonal projection.

    Returns:
        float64 of shape `size`, 1 for `count` bins and 0 for the others.

    Raises:
        MmkdError: `count` is not between 1 and the number of bins.
    """
    total = math.prod(size)
    if not 1 <= count <= total:
        raise MmkdError(f"a random band of {count} bins: there are {total}")
    number = torch.arange(total).reshape(size)
    axes = list(range(len(size)))
    opposite = number if transform == "dct" else number.flip(axes).roll([1] * len(size), axes)
    partner = opposite.flatten().tolist()
    order = torch.randperm(total).tolist()
    chosen: set[int] = set()
    for k in order:
        new = {k, partner[k]}
        if k not in chosen and len(chosen) + len(new) <= count:
            chosen |= new
    if len(chosen) < count:  # one bin is missing, but only pairs are left: a single bin is exchanged for a pair
        single = next(k for k in order if k == partner[k])
        pair = next(k for k in order if k not in chosen)
        chosen = chosen - {single} | {pair, partner[pair]}
    mask = torch.zeros(total, dtype=torch.float64)
    mask[sorted(chosen)] = 1
    return mask.reshape(size)


class BandFilter(nn.Module):
    """Multiply the spectrum of a map by a mask: (B, C, *size) -> (B, C, *size), float32 or float64.

    Args:
        gain: of shape `size`, one factor for each frequency bin, such as `band_mask` returns. For `fft` it must be
            equal at a frequency and its negative. It becomes a buffer.
        transform: `dct` or `fft`.

    Raises:
        MmkdError: The transform is unknown; in `forward`, the map has another size than the mask.
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
    """Reduce maps to fewer positions without aliasing: (B, C, *any) -> (B, C, *size), float32 or float64.

    The high frequencies of the DCT-II spectrum are cut off and its scale is kept. The mean of the map does not change,
    and neither do the frequencies below the new Nyquist frequency (averages over neighbours would weaken the highest of
    them).

    Raises:
        MmkdError: The number of axes differs, or an axis would grow.
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
    """Orthonormal DCT-II over the given axes, the shape stays. Ahmed, Natarajan, Rao, IEEE Trans. Computers 1974.

    An axis longer than `LONGEST_PRODUCT` is computed as the Fourier transform of the line and its mirror image, times a
    phase shift of half a sample.

    Args:
        x: (B, C, T) or (B, C, H, W).
        axes: indices of axes, 2 or more.
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
    """Inverse of `dct`, which is its transpose."""
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
    """Multiply every line along one of the last two axes by a matrix, without moving axes."""
    return x @ matrix.T if axis == x.ndim - 1 else matrix @ x


@functools.cache
def _turn(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Phase factors exp(i pi k / 2n) times the scale that makes the DCT orthonormal, (n,) complex."""
    with torch.inference_mode(False):  # cached: the first call may come from inference, later ones from training
        scale = torch.full((n,), math.sqrt(1 / (2 * n)), dtype=torch.float64)
        scale[0] = math.sqrt(1 / (4 * n))
        turn = torch.polar(scale, math.pi / (2 * n) * torch.arange(n, dtype=torch.float64))
        return turn.to(torch.complex128 if dtype == torch.float64 else torch.complex64).to(device)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
