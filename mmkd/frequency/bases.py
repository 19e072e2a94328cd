"""Real orthonormal bases beside the Fourier one, an axis at a time: a field of two dimensions takes their products.

`dct` is the DCT-II, the cosines of a line that is mirrored at its ends (Ahmed, Natarajan, Rao 1974). `haar` has all
levels (Haar 1910); an axis of any length works, since a piece of odd length is cut into unequal halves, which keeps the
basis orthonormal (the "unbalanced Haar" of Girardi and Sweldens 1997) and for powers of two gives the ordinary one.
"""

import functools
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from mmkd.core.errors import unknown

Transform = Literal["fft", "dct", "haar"]
TRANSFORMS: tuple[str, ...] = get_args(Transform)


def cycles(transform: str, n: int) -> Tensor:
    """How often each basis function of an axis of n samples goes round over that axis, (n,) float64.

    That of bin k is k, signed, for `fft`; k / 2 for `dct` (a frequency of k / 2n in cycles a sample); n / m for a Haar
    function that lives on m samples, which is one period, and 0 for the constant.

    Raises:
        MmkdError: an unknown transform.
    """
    if transform not in TRANSFORMS:
        raise unknown("transform", transform, TRANSFORMS)
    if transform == "fft":
        signed: Tensor = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round()
        return signed
    if transform == "dct":
        return torch.arange(n, dtype=torch.float64) / 2
    return torch.tensor([0.0, *(n / (stop - start) for start, _, stop in _cuts(n))], dtype=torch.float64)


@functools.cache
def basis(transform: str, n: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """The orthonormal matrix of `dct` or `haar` for n samples: (n, n), a basis function a row, the constant first.

    Raises:
        MmkdError: another transform.
    """
    if transform not in ("dct", "haar"):
        raise unknown("real transform", transform, ("dct", "haar"))
    with torch.inference_mode(False):  # kept for training, whoever asks first
        at = torch.arange(n, dtype=torch.float64)
        if transform == "dct":
            rows = torch.cos(math.pi / n * (at + 0.5) * at[:, None]) * math.sqrt(2 / n)
            rows[0] = 1 / math.sqrt(n)
        else:
            rows = torch.zeros(n, n, dtype=torch.float64)
            rows[0] = 1 / math.sqrt(n)
            for row, (start, cut, stop) in zip(rows[1:], _cuts(n), strict=True):
                left = cut - start
                right = stop - cut
                row[start:cut] = math.sqrt(right / left / (left + right))
                row[cut:stop] = -math.sqrt(left / right / (left + right))
        return rows.to(dtype=dtype, device=device)


def _cuts(n: int) -> list[tuple[int, int, int]]:
    """Start, cut and end of every piece of n samples that is halved, level by level; the left half is the larger."""
    found = []
    level = [(0, n)]
    while level:
        cuts = [(start, (start + stop + 1) // 2, stop) for start, stop in level if stop - start > 1]
        found += cuts
        level = [piece for start, cut, stop in cuts for piece in ((start, cut), (cut, stop))]
    return found


def change(x: Tensor, transform: str, inverse: bool = False) -> Tensor:
    """A field in the basis, or back out of it, over all axes but the first two: (B, C, *size) to the same shape."""
    for axis in range(2, x.ndim):
        matrix = basis(transform, x.shape[axis], x.dtype, x.device)
        x = torch.movedim(torch.movedim(x, axis, -1) @ (matrix if inverse else matrix.T), -1, axis)
    return x


def filter_in_basis(x: Tensor, transform: str, h: Tensor) -> Tensor:
    """A matrix of channels for every basis function, (B, C_in, *size) and (*size, C_in, C_out) -> (B, C_out, *size)."""
    c_in, c_out = h.shape[-2:]
    left = change(x, transform).flatten(2).permute(2, 0, 1)
    product = torch.bmm(left, h.reshape(-1, c_in, c_out)).permute(1, 2, 0)
    return change(product.reshape(len(x), c_out, *x.shape[2:]), transform, inverse=True)
