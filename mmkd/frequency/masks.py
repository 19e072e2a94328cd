"""High-pass masks over a discrete spectrum of one or two dimensions, each a choice with a name.

All are given on the full grid, that of `fft` in the order of `torch.fft.fftn` (the mean, "DC", first). Frequencies are
counted two ways: k, the signed number of cycles over an axis of N samples (-N/2 .. N/2), and r, the distance from DC in
units of the Nyquist frequency, `sqrt(sum over axes of (2 k / N)^2)`. Under `dct` bin number b has k = b / 2; a Haar
function that lives on m samples is one period long and has k = N / m, so that a whole level is kept or removed at once
(of a length that is no power of two, pieces of nearly the same length).

| name | what stays |
|---|---|
| `reference` | all but the box -r <= k < r, r = int(cutoff * (N // 2)) an axis: the published code |
| `symmetric` | all but the box abs(k) <= r, the same r |
| `radial` | r > cutoff |
| `butterworth` | 1 - 1 / (1 + (r / cutoff)^4), one half at the cutoff |
| `gaussian` | 1 - 2^-((r / cutoff)^2), one half at the cutoff |
| `none` | everything |

`reference` is a box on signed frequencies, which `dct` and `haar` do not have: refused there.

Three things about `reference` that the paper does not tell: below 20 samples an axis r is 0 at the published cutoff of
0.1, so that nothing is removed; the box is lopsided (frequency -r is removed and +r kept, which halves a real cosine at
r); and one cutoff removes about 1 % of a plane, but 10 % of a line.
"""

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.frequency.bases import TRANSFORMS, cycles

Mask = Literal["reference", "symmetric", "radial", "butterworth", "gaussian", "none"]
MASKS: tuple[str, ...] = get_args(Mask)
ORDER = 2  # of the Butterworth mask
_warned: set[object] = set()


class IdleMaskWarning(UserWarning):
    """A high-pass mask was chosen that removes nothing at the size at hand."""


def high_pass(size: tuple[int, ...], mask: str = "reference", cutoff: float = 0.1, transform: str = "fft") -> Tensor:
    """The mask over the full spectrum of a real field.

    Args:
        size: (T,) or (H, W), in samples.
        mask: one of `MASKS`.
        cutoff: in [0, 1], 1 is the Nyquist frequency; 0 removes nothing. A field of one sample is never masked.
        transform: `fft`, `dct` or `haar`.

    Returns:
        float64 of shape `size`, values in [0, 1], in the order of `torch.fft.fftn`, or of the rows of `bases.basis`.

    Raises:
        MmkdError: an unknown name, a cutoff or a size out of range, a mask that the transform does not have, or one
            that removes everything.
    """
    check_mask(mask, transform)
    if not 0 <= cutoff <= 1:
        raise MmkdError(f"cutoff = {cutoff} must be between 0 (removes nothing) and 1 (the Nyquist frequency)")
    if not size or any(n < 1 for n in size):
        raise MmkdError(f"a spectrum needs at least one sample an axis, not the size {size}")
    kept = torch.ones(size, dtype=torch.float64)
    if mask == "none" or cutoff == 0 or all(n == 1 for n in size):
        return kept
    ks = torch.meshgrid(*(cycles(transform, n) for n in size), indexing="ij")
    reach = [int(cutoff * (n // 2)) for n in size]
    if mask == "reference":
        box = torch.stack([(-r <= k) & (k < r) for k, r in zip(ks, reach, strict=True)]).all(dim=0)
        kept[box] = 0
    elif mask == "symmetric":
        box = torch.stack([k.abs() <= r for k, r in zip(ks, reach, strict=True)]).all(dim=0)
        kept[box] = 0
    else:
        distance = torch.stack([2 * k / n for k, n in zip(ks, size, strict=True)]).square().sum(dim=0).sqrt()
        if mask == "radial":
            kept[distance <= cutoff] = 0
        elif mask == "butterworth":
            kept = 1 - 1 / (1 + (distance / cutoff) ** (2 * ORDER))
        else:
            kept = 1 - 2 ** -((distance / cutoff) ** 2)
    if not kept.any():
        raise MmkdError(f"the mask {mask!r} at cutoff {cutoff:g} removes every frequency of {_shown(size)}; lower it")
    return kept


def check_mask(mask: str, transform: str) -> None:
    """Refuse an unknown mask or transform, and a mask that the transform does not have.

    Raises:
        MmkdError: so it is.
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
    """Whether a mask that was asked to remove something removes nothing at this size (of more than one sample)."""
    asked = mask != "none" and cutoff > 0 and any(n > 1 for n in size)
    return asked and bool((high_pass(size, mask, cutoff, transform) == 1).all())


def warn_idle(sizes: list[tuple[int, ...]], mask: str, cutoff: float, who: str, transform: str = "fft") -> None:
    """Warn, once a process for each set of sizes, of the sizes at which the mask is idle; silent when it is at none."""
    idle = tuple(sorted({s for s in sizes if is_idle(s, mask, cutoff, transform)}))
    if not idle or (who, mask, cutoff, idle) in _warned:
        return
    _warned.add((who, mask, cutoff, idle))
    published = " (nor does the published code)" if mask == "reference" else ""
    warnings.warn(
        f"{who}: the high-pass mask {mask!r} at cutoff {cutoff:g} removes nothing from maps of "
        f"{', '.join(map(_shown, idle))}{published}; the mask 'symmetric' does, 'none' is without one",
        IdleMaskWarning,
        stacklevel=3,
    )


def _shown(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
