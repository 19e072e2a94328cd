"""Several smoothing filters at each position: their mixture, the bands between them, and a gain for each band.

A filter is (B, k^d, *size): for each position weights >= 0 that sum to 1 over the taps, counted row by row. All that is
done here with several filters is linear in them, so that it is one filter of the largest size in the end, which
`carafe.reassemble` applies once.

Bands. Let L_1, ..., L_(K-1) be a map x smoothed by filters of growing size. Its bands are B_1 = x - L_1, B_i = L_(i-1)
- L_i and B_K = L_(K-1): their sum is x whatever the filters are. The filters are learnt, so that a band is a difference
of smoothings rather than an interval of frequencies.

A filter whose kernel is longer than the shortest side of the map keeps only its middle taps, as many as fit, wherever
there are several sizes. So a decoder's stage of 4 positions is filtered by 3 taps of each size, and all sizes train.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.nets.carafe import Padding, normalise, reassemble

SCALES_PER_BAND = 4
"""How many smoothings `ContinuousGain` has from one size of kernel to the next."""


def kernel_of(filters: Tensor) -> int:
    """The side k of filters or scores (B, k^d, *size)."""
    return filters.shape[1] if filters.ndim == 3 else math.isqrt(filters.shape[1])


def middle(scores: Tensor, length: int) -> Tensor:
    """Keep the middle taps of scores (B, k^d, *size) that fit on `length` positions along each axis.

    Returns:
        (B, n^d, *size), where n is k, or the largest odd number up to `length` if that is smaller.
    """
    dims, kernel = scores.ndim - 2, kernel_of(scores)
    fitting = min(kernel, length - (length + 1) % 2)
    if fitting == kernel:
        return scores
    taps = scores.reshape(scores.shape[0], *[kernel] * dims, *scores.shape[2:])
    for axis in range(1, dims + 1):
        taps = taps.narrow(axis, (kernel - fitting) // 2, fitting)
    return taps.flatten(1, dims)


def embed(filters: Tensor, kernel: int) -> Tensor:
    """Write filters (B, k^d, *size) as filters (B, kernel^d, *size), with weight 0 of the taps around them."""
    dims, own = filters.ndim - 2, kernel_of(filters)
    if own == kernel:
        return filters
    taps = filters.reshape(filters.shape[0], *[own] * dims, *filters.shape[2:])
    return F.pad(taps, [0] * (2 * dims) + [(kernel - own) // 2] * (2 * dims)).flatten(1, dims)


def weighted_sum(filters: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Add filters of several sizes, each times its weight at each position.

    Args:
        filters: n tensors (B, k_i^d, *size).
        weights: (B, n, *size).

    Returns:
        (B, k^d, *size) with the largest k. Applied to a map, it gives the same sum of the maps that each filter gives.
    """
    kernel = max(kernel_of(each) for each in filters)
    total = weights[:, :1] * embed(filters[0], kernel)
    for number, each in enumerate(filters[1:], 1):
        total = total + weights[:, number : number + 1] * embed(each, kernel)
    return total


def weigh_bands(x: Tensor, filters: Sequence[Tensor], gains: Tensor, padding: Padding = "replicate") -> Tensor:
    """Add the bands of a map, each times its gain at each position: the sum over i of gain_i B_i.

    With the definition of the bands this is gain_1 x + sum over i < K of (gain_(i+1) - gain_i) L_i, so that the filters
    are applied at once.

    Args:
        x: (B, C, *size).
        filters: K - 1 smoothing filters (B, k_i^d, *size), of growing size.
        gains: (B, K, *size).
        padding: as for `reassemble`.

    Returns:
        (B, C, *size).
    """
    lead = gains[:, :1] * x
    return lead + reassemble(x, weighted_sum(filters, gains[:, 1:] - gains[:, :-1]), padding)


def constant_conv(dims: int, inputs: int, values: Sequence[float]) -> nn.Module:
    """Create a 1x1 convolution that returns `values`, a number a channel, until it is trained.

    It draws no random numbers, so that all other layers of a network start as they do without it.
    """
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    layer = make(inputs, len(values), 1, device="meta").to_empty(device="cpu")
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))
    return layer


class Mixture(nn.Module):
    """Turn scores of several sizes into one filter: sum over i of a_i W_i, with W_i = `normalise` of the scores.

    The shares a are softmax(G(z)) at each position, where G is a 1x1 convolution that starts as 0: equal shares. The
    result is >= 0 and sums to 1, as each W_i does. A single size has no shares, and its filter is W_1.

    Args:
        dims: number of axes d, 1 or 2.
        compressed: channels C' of z.
        count: number of sizes n.
        hamming: whether each filter is multiplied by a Hamming window of its own size.
    """

    def __init__(self, dims: int, compressed: int, count: int, hamming: bool) -> None:
        super().__init__()
        self.hamming = hamming
        self.shares = constant_conv(dims, compressed, [0.0] * count) if count > 1 else None

    def forward(self, scores: Sequence[Tensor], z: Tensor, length: int) -> Tensor:
        """Map n scores (B, k_i^d, *size) and z (B, C', *size) to a filter (B, k^d, *size).

        Args:
            scores: of each size.
            z: from which the shares are predicted.
            length: the shortest side of the map to be filtered, see `middle`.
        """
        if self.shares is None:
            return normalise(scores[0], self.hamming)
        filters = [normalise(middle(each, length), self.hamming) for each in scores]
        return weighted_sum(filters, self.shares(z).softmax(dim=1))


class Sharpening(nn.Module):
    """The adaptive high-pass filter of FreqFusion, 2 x - W x, where W is a `Mixture`.

    Args:
        mixture: of the filters.
        padding: as for `reassemble`.
    """

    def __init__(self, mixture: Mixture, padding: Padding) -> None:
        super().__init__()
        self.mixture = mixture
        self.padding = padding

    def forward(self, x: Tensor, scores: Sequence[Tensor], z: Tensor) -> Tensor:
        """Sharpen x (B, C, *size) by scores (B, k_i^d, *size) and z (B, C', *size)."""
        return 2 * x - reassemble(x, self.mixture(scores, z, min(x.shape[2:])), self.padding)


class BandGates(nn.Module):
    """x + sum over i < K of g_i B_i: all bands but the smoothest, the last, have a gate (notes of this project).

    The gates g are a 1x1 convolution of z, a number at each position, of any sign and size. They start as 1 for the
    finest band and 0 for the others, which is 2 x - L_1.

    Args:
        dims: number of axes d, 1 or 2.
        compressed: channels C' of z.
        bands: K, 2 or more.
        padding: as for `reassemble`.
        hamming: whether each filter is multiplied by a Hamming window of its own size.
    """

    def __init__(self, dims: int, compressed: int, bands: int, padding: Padding, hamming: bool) -> None:
        super().__init__()
        self.padding = padding
        self.hamming = hamming
        self.gates = constant_conv(dims, compressed, [1.0] + [0.0] * (bands - 2))

    def forward(self, x: Tensor, scores: Sequence[Tensor], z: Tensor) -> Tensor:
        """Weigh the bands of x (B, C, *size) by K - 1 scores (B, k_i^d, *size) and z (B, C', *size)."""
        if len(scores) > 1:
            scores = [middle(each, min(x.shape[2:])) for each in scores]
        filters = [normalise(each, self.hamming) for each in scores]
        return weigh_bands(x, filters, gains_of(self.gates(z)), self.padding)


def gains_of(gates: Tensor) -> Tensor:
    """The gain of each band: 1 + g_i, and 1 for the last band: (B, K - 1, *size) to (B, K, *size)."""
    return torch.cat([1 + gates, torch.ones_like(gates[:, :1])], dim=1)


class ContinuousGain(nn.Module):
    """A gain that is a smooth function of scale, in the place of a gate a band (an idea of this project).

    In words: a map is smoothed a little, a little more, and so on, in many steps. What one step takes away is detail of
    one scale. Each such detail is added to the map again, times a gain g(scale). At each position the network says what
    g is at a few scales only, and between these g follows a smooth curve. So there can be many steps and few numbers to
    learn, and details of nearly the same scale are treated nearly alike.

    As formulas:

    - Smoothings. One encoder gives scores m for the largest kernel. The filter of scale s is softmax(m) times a window
      of width s, normalised to 1 (`scale_windows`). At s = 1 it is the identity; at an odd s = k it is the filter of a
      kernel k whose scores are the middle ones of m; in between it changes smoothly. There are `SCALES_PER_BAND` scales
      s_j, in equal ratios, from each size to the next.
    - Gain. g(s) = sum over n of c_n phi_n(log s), where phi_n (`gain_basis`) is 1 at the scale of kernel size k_n, 0 at
      those of the other sizes, and has a continuous derivative. So c_n is the gain at scale k_n. c is a 1x1 convolution
      of z, starts as 1 for the finest size and 0 for the others, and has any sign and size.
    - Output. x + sum over j of g(s_j) (L_(j-1) - L_j), with L_0 = x. If `scales` are the sizes themselves, this is
      `BandGates` with g_i = c_i.

    Args:
        dims: number of axes d, 1 or 2.
        compressed: channels C' of z.
        sizes: of kernels at whose scales the gain is predicted; odd and growing. Scores have the last of them.
        padding: as for `reassemble`.
        hamming: whether windows are Hamming windows, or boxes.
        scales: s_j; None for the usual ones.
    """

    def __init__(
        self,
        dims: int,
        compressed: int,
        sizes: Sequence[int],
        padding: Padding,
        hamming: bool,
        scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.hamming = hamming
        self.scales = tuple(dense_scales(sizes) if scales is None else scales)
        self.coefficients = constant_conv(dims, compressed, [1.0] + [0.0] * (len(sizes) - 1))
        self.basis: Tensor
        self.register_buffer("basis", gain_basis(self.scales, sizes), persistent=False)
        self.windows: Tensor
        self.register_buffer("windows", scale_windows(self.scales, sizes[-1], dims, hamming), persistent=False)

    def gates(self, z: Tensor) -> Tensor:
        """Compute g(s_j) for z (B, C', *size): (B, number of scales, *size)."""
        coefficients = self.coefficients(z)
        return torch.einsum("bn...,nj->bj...", coefficients, self.basis.to(coefficients.dtype))

    def forward(self, x: Tensor, scores: Sequence[Tensor], z: Tensor) -> Tensor:
        """Weigh the details of x (B, C, *size) by scores (one tensor, (B, k^d, *size)) and z (B, C', *size)."""
        own = middle(scores[0], min(x.shape[2:]))
        kernel, dims = kernel_of(own), own.ndim - 2
        windows = self.windows
        if kernel < kernel_of(scores[0]):
            windows = scale_windows([min(s, kernel) for s in self.scales], kernel, dims, self.hamming)
        logs = windows.log().to(own).view(1, *windows.shape, *[1] * dims)
        filters = (own.unsqueeze(1) + logs).softmax(dim=2)  # (B, scales, taps, *size)
        return weigh_bands(x, filters.unbind(1), gains_of(self.gates(z)), self.padding)


def dense_scales(sizes: Sequence[int]) -> list[float]:
    """Scales from 1 (left out) to the last size, in equal ratios from each size to the next.

    >>> [round(s, 2) for s in dense_scales([3, 5])]
    [1.32, 1.73, 2.28, 3.0, 3.41, 3.87, 4.4, 5.0]
    """
    steps = [n / SCALES_PER_BAND for n in range(1, SCALES_PER_BAND)]
    scales = []
    for start, end in zip((1, *sizes), sizes, strict=False):
        scales += [start * (end / start) ** step for step in steps] + [float(end)]
    return scales


def gain_basis(scales: Sequence[float], sizes: Sequence[int]) -> Tensor:
    """The functions phi_n of `ContinuousGain` at some scales, (number of sizes, number of scales).

    Over log s, phi_n falls from 1 at its own size to 0 at the next sizes on either side as the square of a cosine, and
    is constant beyond the first and the last size. So the functions sum to 1, and their derivatives are continuous.
    """
    basis = torch.zeros(len(sizes), len(scales), dtype=torch.float64)
    for at, scale in enumerate(scales):
        upper = next((n for n, size in enumerate(sizes) if size >= scale), len(sizes) - 1)
        lower = max(upper - 1, 0)
        share = _eased(scale, sizes[lower], sizes[upper])
        basis[lower, at] += 1 - share
        basis[upper, at] += share
    return basis.float()


def _eased(scale: float, start: float, end: float) -> float:
    """0 at `start` and 1 at `end`, with derivative 0 at both, over the logarithm of the scale."""
    if start == end:
        return 1.0
    part = math.log(scale / start) / math.log(end / start)
    return math.sin(math.pi / 2 * min(max(part, 0.0), 1.0)) ** 2


def scale_windows(scales: Sequence[float], kernel: int, dims: int, hamming: bool) -> Tensor:
    """The windows that make of one filter those of smaller scales, (number of scales, kernel^dims).

    Args:
        scales: s, from 1 to `kernel`. At an odd whole number the window is a Hamming window, or a box, of that length;
            in between it is a mean of the two next ones, with weights that change smoothly.
        kernel: taps along each axis.
        dims: number of axes; the window of two axes is a product.
        hamming: whether the windows are Hamming windows.
    """
    windows = []
    for scale in scales:
        lower = int((scale - 1) // 2) * 2 + 1
        share = _eased(scale, lower, lower + 2)
        line = (1 - share) * _window(lower, kernel, hamming)
        if share:
            line = line + share * _window(lower + 2, kernel, hamming)
        windows.append(line if dims == 1 else torch.outer(line, line).flatten())
    return torch.stack(windows)


def _window(length: int, kernel: int, hamming: bool) -> Tensor:
    """A window of `length` taps in the middle of `kernel` taps."""
    line = torch.ones(length, dtype=torch.float64)
    if hamming:
        line = torch.hamming_window(length, periodic=False, dtype=torch.float64)
    return F.pad(line, [(kernel - length) // 2] * 2)
