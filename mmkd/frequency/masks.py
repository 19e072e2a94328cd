"""High-pass masks over the spectrum of a line or a map, chosen by name.

A mask has one factor for each bin of the full grid. For `fft` the bins are in the order of `torch.fft.fftn`, with the
mean ("DC") first. Two counts of frequency are used: k, the signed number of cycles over an axis of N samples (-N/2 to
N/2), and r, the distance from DC in units of the Nyquist frequency, `sqrt(sum over axes of (2 k / N)^2)`. For `dct`,
bin b has k = b / 2. A Haar function that is nonzero on m samples is one period long and has k = N / m, so that a level
is kept or removed as a whole (its pieces have nearly the same length if N is no power of two).

| name | what is kept |
|---|---|
| `reference` | all but the box -r <= k < r, with r = int(cutoff * (N // 2)) for each axis: the published code |
| `symmetric` | all but the box abs(k) <= r, with the same r; the default |
| `radial` | r > cutoff |
| `butterworth` | the factor 1 - 1 / (1 + (r / cutoff)^4), one half at the cutoff |
| `gaussian` | the factor 1 - 2^-((r / cutoff)^2), one half at the cutoff |
| `none` | everything |

`reference` is a box on signed frequencies. `dct` and `haar` have none, so that it is refused there.

Three properties of `reference` are not mentioned in the paper. Below 20 samples an axis, r is 0 at the published cutoff
of 0.1, so that nothing is removed. The box is asymmetric: frequency -r is removed and +r is kept, which halves a real
cosine at r. And the same cutoff removes about 1 % of the frequencies of a map, but 10 % of those of a line.

All other masks remove the mean at every size above one sample and every cutoff above 0, and keep the Nyquist frequency
up to a cutoff of 0.5. Below 20 samples `symmetric` removes the mean alone at cutoff 0.1. Of the maps of WRN16-1
teachers on basic-motions that is 1.6 % of the frequencies and 78 to 82 % of the energy at 8x8, 0.4 % and 29 to 33 % at
16x16.
"""

import warnings
from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.frequency.bases import TRANSFORMS, cycles

Mask = Literal["reference", "symmetric", "radial", "butterworth", "gaussian", "none"]
MASKS: tuple[str, ...] = get_args(Mask)
ORDER = 2
"""The order of the Butterworth mask."""
FLAT = 0.1
"""A filter whose factors differ by less does nothing with frequencies."""
_warned: set[str] = set()


class IdleMaskWarning(UserWarning):
    """The chosen filter removes nothing at the size of the map."""


def high_pass(size: tuple[int, ...], mask: str = "symmetric", cutoff: float = 0.1, transform: str = "fft") -> Tensor:
    """Compute a high-pass mask over the full spectrum of a real line or map.

    Args:
        size: (T,) or (H, W), in samples.
        mask: one of `MASKS`.
        cutoff: in [0, 1], where 1 is the Nyquist frequency; 0 removes nothing.
        transform: `fft`, `dct` or `haar`.

    Returns:
        float64 of shape `size`, in [0, 1]: for `fft` in the order of `torch.fft.fftn`, otherwise in that of the rows of
        `bases.basis`. A single sample is never masked.

    Raises:
        MmkdError: An unknown name, a cutoff or a size out of range, a mask that does not exist for the transform, or a
            mask that removes everything.
    """
    check_mask(mask, transform)
    if not 0 <= cutoff <= 1:
        raise MmkdError(f"cutoff = {cutoff} must be between 0 (removes nothing) and 1 (the Nyquist frequency)")
    if not size or any(n < 1 for n in size):
        raise MmkdError(f"a spectrum needs at least one sample an axis, not the size {size}")
    factors = torch.ones(size, dtype=torch.float64)
    if mask == "none" or cutoff == 0 or all(n == 1 for n in size):
        return factors
    ks = torch.meshgrid(*(cycles(transform, n) for n in size), indexing="ij")
    reach = [int(cutoff * (n // 2)) for n in size]
    if mask == "reference":
        box = torch.stack([(-r <= k) & (k < r) for k, r in zip(ks, reach, strict=True)]).all(dim=0)
        factors[box] = 0
    elif mask == "symmetric":
        box = torch.stack([k.abs() <= r for k, r in zip(ks, reach, strict=True)]).all(dim=0)
        factors[box] = 0
    else:
        distance = torch.stack([2 * k / n for k, n in zip(ks, size, strict=True)]).square().sum(dim=0).sqrt()
        if mask == "radial":
            factors[distance <= cutoff] = 0
        elif mask == "butterworth":
            factors = 1 - 1 / (1 + (distance / cutoff) ** (2 * ORDER))
        else:
            factors = 1 - 2 ** -((distance / cutoff) ** 2)
    if not factors.any():
        raise MmkdError(f"the mask {mask!r} at cutoff {cutoff:g} removes every frequency of {_shown(size)}; lower it")
    return factors


def check_mask(mask: str, transform: str) -> None:
    """Check that the mask and the transform exist, and that the mask is defined for the transform.

    Raises:
        MmkdError: It is not.
    """
    if mask not in MASKS:
        raise unknown_name("mask", mask, MASKS)
    if transform not in TRANSFORMS:
        raise unknown_name("transform", transform, TRANSFORMS)
    if mask == "reference" and transform != "fft":
        raise MmkdError(
            f"the mask 'reference' is a box on the signed frequencies of the FFT, which the transform {transform!r} "
            f"does not have; choose another, e.g. --mask symmetric, or --mask none"
        )


def is_idle(size: tuple[int, ...], mask: str, cutoff: float, transform: str = "fft") -> bool:
    """Whether a mask that should remove something removes nothing at this size."""
    should_remove = mask != "none" and cutoff > 0 and any(n > 1 for n in size)
    return should_remove and bool((high_pass(size, mask, cutoff, transform) == 1).all())


def warn_idle(sizes: list[tuple[int, ...]], mask: str, cutoff: float, who: str, transform: str = "fft") -> None:
    """Warn of the sizes at which a mask removes nothing; no warning if there is no such size.

    Args:
        sizes: (T,) or (H, W) of each map.
        mask: as for `high_pass`.
        cutoff: as for `high_pass`.
        who: the name of the caller, for the message. A process warns once in the same words.
        transform: as for `high_pass`.

    Warns:
        IdleMaskWarning
    """
    idle = sorted({s for s in sizes if is_idle(s, mask, cutoff, transform)})
    published = " (nor does the published code)" if mask == "reference" else ""
    if idle:
        _warn_once(
            f"{who}: the high-pass mask {mask!r} at cutoff {cutoff:g} removes nothing from maps of "
            f"{', '.join(map(_shown, idle))}{published}; the mask 'symmetric' does, 'none' is without one"
        )


def warn_flat(gains: Iterable[Tensor], who: str, remedy: str) -> None:
    """Warn of filters that weigh all frequencies of their maps alike, within `FLAT`.

    Args:
        gains: of shape (T,) or (H, W), the factor of each frequency; single factors are passed over.
        who: the name of the caller. A process warns once in the same words.
        remedy: what to do.

    Warns:
        IdleMaskWarning
    """
    flat = sorted({tuple(g.shape) for g in gains if g.numel() > 1 and float(g.max() - g.min()) < FLAT})
    if flat:
        _warn_once(f"{who}: the filter weighs all frequencies of {', '.join(map(_shown, flat))} maps alike; {remedy}")


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, IdleMaskWarning, stacklevel=4)


def _shown(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
