"""Persistence images of tensors: on their device, differentiable, with no round trip through the CPU."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

from mmkd.core.errors import MmkdError

if TYPE_CHECKING:
    from torch import Tensor


def sublevel_pairs(x: "Tensor", essential: Literal["drop", "max"] = "drop") -> "tuple[Tensor, Tensor]":
    """The persistence pairs (H0) of the sublevel sets of each row, on the device of x.

    Each sample is born at its own value. It dies at the highest value on the way to the nearest lower sample, to the
    left or to the right, whichever is lower (the elder rule; of equal samples the first is the lower). A sample that
    is no local minimum dies at once. The nearest lower samples of all rows are found together, by bisection over tables
    of the minima and maxima of 1, 2, 4, ... samples: O(W log W) a row.

    Args:
        x: (..., W), finite floating-point numbers.
        essential: the sample that never dies dies at once ("drop"), or at the maximum of its row ("max").

    Returns:
        births and deaths, (..., W) each; those with death > birth are the points of `sublevel_diagrams`. Both are
        entries of x, through which gradients flow to the two samples of each pair.

    Raises:
        MmkdError: x holds no floating-point numbers, or `essential` is unknown.

    >>> import torch
    >>> births, deaths = sublevel_pairs(torch.tensor([0.0, 2.0, 1.0, 3.0]))
    >>> deaths.tolist()
    [0.0, 2.0, 2.0, 3.0]
    """
    import torch

    if not x.is_floating_point() or x.ndim == 0:
        raise MmkdError(f"persistence pairs are of floating-point rows (..., W); found {x.dtype} {tuple(x.shape)}")
    if essential not in ("drop", "max"):
        raise MmkdError(f"essential = {essential!r} is not one of drop, max")
    length = x.shape[-1]
    with torch.no_grad():
        rows = x.detach().reshape(-1, length)
        right, right_at = _walls(rows, ties_are_lower=False)
        left, left_at = (side.flip(-1) for side in _walls(rows.flip(-1), ties_are_lower=True))
        dies_at = torch.where(left < right, length - 1 - left_at, right_at)
        own = torch.arange(length, device=x.device) if essential == "drop" else rows.argmax(-1, keepdim=True)
        dies_at = torch.where(torch.minimum(left, right).isinf(), own, dies_at)
    return x, x.gather(-1, dies_at.reshape(x.shape))


def _walls(rows: "Tensor", ties_are_lower: bool) -> "tuple[Tensor, Tensor]":
    """Of each sample (R, W) the highest value before the next lower sample to its right, and where it is.

    The value is infinite where no lower sample follows.
    """
    import torch

    length = rows.shape[1]
    places = torch.arange(length + 1, device=rows.device)
    lows = [torch.nn.functional.pad(rows, (0, 1), value=-torch.inf)]  # a last sample that is lower than all
    tops = [(lows[0], places.expand_as(lows[0]))]
    for k in range((length - 1).bit_length()):  # entry i of table k is of the samples i to i + 2^k - 1
        after = (places + 2**k).clamp(max=length)
        lows.append(torch.minimum(lows[k], lows[k][:, after]))
        tops.append(_higher(tops[k], (tops[k][0][:, after], tops[k][1][:, after])))
    wall = (rows, places[:-1].expand_as(rows))
    reached = wall[1] + 1
    for k in reversed(range(len(lows))):
        least = lows[k].gather(1, reached)
        passes = least > rows if ties_are_lower else least >= rows
        higher = _higher(wall, (tops[k][0].gather(1, reached), tops[k][1].gather(1, reached)))
        wall = (torch.where(passes, higher[0], wall[0]), torch.where(passes, higher[1], wall[1]))
        reached = reached + 2**k * passes
    return torch.where(reached < length, wall[0], torch.inf), wall[1]


def _higher(a: "tuple[Tensor, Tensor]", b: "tuple[Tensor, Tensor]") -> "tuple[Tensor, Tensor]":
    """Of two (value, place) the one with the higher value, element by element."""
    import torch

    higher = b[0] > a[0]
    return torch.where(higher, b[0], a[0]), torch.where(higher, b[1], a[1])


def persistence_image(
    x: "Tensor",
    size: int = 64,
    *,
    birth_low: "Tensor | float",
    birth_high: "Tensor | float",
    persistence_high: "Tensor | float",
    sigma: float | None = None,
    sigma_pixels: float = 1.0,
    levels: Literal["sublevel", "superlevel", "both"] = "sublevel",
    essential: Literal["drop", "max"] = "drop",
    min_persistence: float = 0.0,
    divide: "Tensor | float | Literal['image']" = 1.0,
) -> "Tensor":
    """Persistence images (N, C, W) to (N, P, S, S) of windows, as `PersistenceImage` makes them, on the device of x.

    P is C, or 2 C with `levels="both"`. They can be differentiated with respect to x: an image depends on the values
    of local minima, and of the maxima where components merge. The pairing itself has no gradient. For a fitted view use
    `tensor_view`, which knows its axes.

    Args:
        x: (N, C, W), finite floating-point numbers; they are not checked, because that would wait for the device.
        size: S.
        birth_low, birth_high, persistence_high: the ends of the axes, numbers or (P,).
        divide: a number or (P,) by which the images are divided, or "image": each by its own maximum.
        sigma, sigma_pixels, levels, essential, min_persistence: as the options of `pi`.

    Returns:
        float64 if x is, otherwise float32.

    Raises:
        MmkdError: x has another shape or type, or an option has no such value.

    >>> import torch
    >>> window = torch.tensor([[[0.0, 2.0, 1.0, 3.0]]], requires_grad=True)
    >>> image = persistence_image(window, 4, birth_low=0, birth_high=2, persistence_high=2, sigma=0.1)
    >>> image.sum().backward(), window.grad.tolist()
    (None, [[[0.0, 1.0, -1.0, 0.0]]])
    """
    import torch

    if x.ndim != 3 or not x.is_floating_point():
        raise MmkdError(f"persistence_image takes floating-point windows (N, C, W); found {x.dtype} {tuple(x.shape)}")
    if levels not in ("sublevel", "superlevel", "both"):
        raise MmkdError(f"levels = {levels!r} is not one of sublevel, superlevel, both")
    y = x if x.dtype == torch.float64 else x.float()
    signs = torch.tensor({"sublevel": [1.0], "superlevel": [-1.0], "both": [1.0, -1.0]}[levels]).to(y)
    signed = (y[:, :, None] * signs[:, None]).flatten(1, 2)  # (N, P, W)
    births, deaths = sublevel_pairs(signed, essential)
    lasting = deaths - births
    with torch.no_grad():  # at most every second sample is a minimum
        points = lasting.topk((x.shape[2] + 1) // 2, dim=-1, sorted=False).indices
    weight = lasting.gather(-1, points)
    births = births.gather(-1, points) * signs.repeat(x.shape[1])[:, None]
    low, high, top, scale = (
        torch.as_tensor(1.0 if isinstance(end, str) else end, dtype=y.dtype, device=y.device)
        for end in (birth_low, birth_high, persistence_high, divide)
    )
    birth_pixel, persistence_pixel = (high - low) / size, top / size
    along_birth = _masses(births, low, birth_pixel, sigma, sigma_pixels, size)
    along_persistence = _masses(weight, torch.zeros_like(top), persistence_pixel, sigma, sigma_pixels, size)
    weight = torch.where(weight >= min_persistence, weight, 0)
    known = torch.amp.is_autocast_available(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if known else nullcontext():
        images = (weight[..., None] * along_birth).transpose(-1, -2) @ along_persistence
    if isinstance(divide, str):
        highest = images.amax((-2, -1), keepdim=True)
        return images / torch.where(highest > 0, highest, 1)
    return images / scale[..., None, None]


def _masses(
    centres: "Tensor", low: "Tensor", pixel: "Tensor", sigma: float | None, sigma_pixels: float, size: int
) -> "Tensor":
    """The mass of a Gaussian around each centre (N, P, K) in each pixel of an axis, (N, P, K, S)."""
    import torch

    edges = low[..., None] + pixel[..., None] * torch.arange(size + 1, device=centres.device)
    deviation = sigma_pixels * pixel[..., None, None] if sigma is None else sigma
    cumulated: Tensor = torch.special.ndtr((edges[..., None, :] - centres[..., None]) / deviation)
    return cumulated.diff(dim=-1)
