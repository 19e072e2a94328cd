"""Real orthonormal bases, as alternatives to the Fourier basis; on maps, the products of the bases of both axes.

`dct` is the DCT-II, the cosines of a line that is mirrored at its ends (Ahmed, Natarajan, Rao 1974). `haar` has all
levels (Haar 1910) and any length: a piece of odd length is divided into unequal halves, which keeps the basis
orthonormal (the "unbalanced Haar" basis of Girardi and Sweldens 1997). For powers of two it is the ordinary Haar basis.
"""

import functools
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from mmkd.core.errors import unknown_name

Transform = Literal["fft", "dct", "haar"]
TRANSFORMS: tuple[str, ...] = get_args(Transform)


def cycles(transform: str, n: int) -> Tensor:
    """Count the cycles of each basis function over an axis of n samples.

    For `fft`, bin k has k cycles, signed. For `dct`, bin k has k / 2 cycles (a frequency of k / 2n cycles a sample).
    For `haar`, a function that is nonzero on m samples is one period long and has n / m cycles; the constant has 0.

    Returns:
        (n,) float64.

    Raises:
        MmkdError: The transform is unknown.
    """
    if transform not in TRANSFORMS:
        raise unknown_name("transform", transform, TRANSFORMS)
    if transform == "fft":
        signed: Tensor = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round()
        return signed
    if transform == "dct":
        return torch.arange(n, dtype=torch.float64) / 2
    return torch.tensor([0.0, *(n / (stop - start) for start, _, stop in _cuts(n))], dtype=torch.float64)


@functools.cache
def basis(transform: str, n: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """Compute the orthonormal matrix of `dct` or `haar` for n samples.

    Returns:
        (n, n), one basis function a row, the constant first.

    Raises:
        MmkdError: The transform is neither `dct` nor `haar`.
    """
    if transform not in ("dct", "haar"):
        raise unknown_name("real transform", transform, ("dct", "haar"))
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
    """Start, middle and end of every piece of n samples that is halved, level by level; the left half is the larger."""
    cuts = []
    level = [(0, n)]
    while level:
        halved = [(start, (start + stop + 1) // 2, stop) for start, stop in level if stop - start > 1]
        cuts += halved
        level = [piece for start, cut, stop in halved for piece in ((start, cut), (cut, stop))]
    return cuts


def change(x: Tensor, transform: str, inverse: bool = False) -> Tensor:
    """Transform x (B, C, *size) into a basis, or back with `inverse`, over all axes but the first two."""
    for axis in range(2, x.ndim):
        matrix = basis(transform, x.shape[axis], x.dtype, x.device)
        x = torch.movedim(torch.movedim(x, axis, -1) @ (matrix if inverse else matrix.T), -1, axis)
    return x


def filter_in_basis(x: Tensor, transform: str, h: Tensor) -> Tensor:
    """Multiply the channels by one matrix for each basis function.

    Args:
        x: (B, C_in, *size).
        transform: `dct` or `haar`.
        h: (*size, C_in, C_out), the matrices.

    Returns:
        (B, C_out, *size).
    """
    c_in, c_out = h.shape[-2:]
    left = change(x, transform).flatten(2).permute(2, 0, 1)
    product = torch.bmm(left, h.reshape(-1, c_in, c_out)).permute(1, 2, 0)
    return change(product.reshape(len(x), c_out, *x.shape[2:]), transform, inverse=True)
