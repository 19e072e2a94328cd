"""Gramian angular fields of tensors: on their device, differentiable, with no round trip through the CPU."""

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.views.gaf import ROUNDING, GAFConfig, segment_bounds

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def gramian_field(
    x: "Tensor",
    size: int = GAFConfig.size,
    method: Literal["summation", "difference"] = GAFConfig.method,
    limits: "tuple[Tensor, Tensor] | None" = None,
) -> "Tensor":
    """The Gramian angular field of each row: (..., W) to (..., S, S), as `GAF` makes it, on the device of x.

    It can be differentiated with respect to x. The minimum and maximum of a window stay at -1 and 1 whatever they are,
    so that sqrt(1 - c^2), whose slope is infinite there, has slope 0. A constant window has gradient 0 without
    `limits`.

    Args:
        x: (..., W), floating point. NaN and infinity are not looked for, because that would wait for the device.
        size: S, at most W.
        method: "summation" or "difference".
        limits: minimum and maximum to which rows are scaled and clipped, each of the shape (...) or one that is
            broadcast to it, such as (C,); by default those of each row itself.

    Returns:
        float64 if x is, otherwise float32. Cosines and sines are computed in float64 where the device has it.

    Raises:
        MmkdError: x holds no floating-point numbers or is shorter than S, or an option has no such value.

    >>> import torch
    >>> window = torch.tensor([0.0, 1.0, 4.0], requires_grad=True)
    >>> gramian_field(window, size=3)[1].tolist()
    [0.5, -0.5, -0.5]
    """
    import torch

    options = GAFConfig(size, method)
    if not x.is_floating_point() or x.ndim == 0:
        raise MmkdError(f"gramian_field takes floating-point rows (..., W); found {x.dtype} {tuple(x.shape)}")
    length = x.shape[-1]
    if options.size > length:
        raise MmkdError(f"gramian_field of size {options.size} needs at least as many samples, found {length}")
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    means = x.to(exact)
    if options.size < length:
        means = means @ _averaging(length, options.size, x.device, exact)
    if limits is None:
        low, high = means.amin(-1, keepdim=True), means.amax(-1, keepdim=True)
    else:
        low, high = (torch.as_tensor(end, dtype=exact, device=x.device)[..., None] for end in limits)
    span = high - low
    flat = span < ROUNDING * torch.maximum(low.abs(), high.abs()).clamp(min=1)
    share = ((means - low) / torch.where(flat, 1, span)).clamp(0, 1)
    share = torch.where(flat, 0, share)
    square = share * (1 - share)  # (1 - c^2) / 4, without its loss of digits
    inside = square > 0
    sine = 2 * torch.where(inside, torch.where(inside, square, 1).sqrt(), 0)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    c, s = (2 * share - 1).to(dtype), sine.to(dtype)
    if options.method == "difference":
        return s[..., :, None] * c[..., None, :] - c[..., :, None] * s[..., None, :]
    return c[..., :, None] * c[..., None, :] - s[..., :, None] * s[..., None, :]


@lru_cache(maxsize=16)
def _averaging(length: int, size: int, device: "torch.device", dtype: "torch.dtype") -> "Tensor":
    """The matrix (W, S) by which a row is multiplied to average it over segments."""
    import torch

    bounds = segment_bounds(length, size)
    matrix = np.zeros((length, size))
    for number, (start, stop) in enumerate(pairwise(bounds)):
        matrix[start:stop, number] = 1 / (stop - start)
    with torch.inference_mode(False):  # it is kept, and may be needed for gradients later
        return torch.from_numpy(matrix).to(device, dtype)
