"""Markov transition fields. Wang and Oates 2015, arXiv:1506.00327."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32, Float64, compile_kernel
from mmkd.views.gaf import segment_bounds

QUANTILE, UNIFORM, NORMAL = range(3)
"""How the kernel finds the limits of the bins."""


@dataclass(frozen=True)
class MTFConfig(Options):
    """Options of `mtf`."""

    size: int = option(64, "side of the field in pixels, at most the window's length", ge=2)
    bins: int = option(8, "bins of values, between which transitions are counted", ge=2, le=64)
    strategy: Literal["quantile", "uniform", "normal"] = option(
        "quantile", "bins of as many samples each, of one width, or those of a standard normal distribution"
    )


@MODALITIES.register("mtf")
class MTF(Modality):
    """Markov transition field of each channel: (N, C, W) to (N, C, S, S). Equals pyts' `MarkovTransitionField` to 1e-6.

    The samples of a window fall into bins of values. Entry (p, q) of a matrix is the share of the steps from bin p
    that lead to bin q. The field has, at (i, j), that entry for the bins of samples i and j, averaged over S x S blocks
    of (nearly) equal size. It is not symmetric, its values lie in [0, 1], and it keeps neither unit nor offset, except
    with `strategy="normal"`, whose bins are fixed.

    The field of a constant window is all 1. pyts joins quantiles that are less than 1e-8 apart, which depends on the
    signal's unit; here only equal ones share a bin.

    Args:
        size: S, at most W.
        bins: number of bins.
        strategy: "quantile", "uniform" or "normal".

    >>> MTF(size=2, bins=2).transform([[[0.0, 1.0, 0.0, 1.0]]])
    array([[[[0.5, 0.5],
             [0.5, 0.5]]]], dtype=float32)
    """

    Config = MTFConfig
    name = "mtf"

    def __init__(
        self,
        size: int = MTFConfig.size,
        bins: int = MTFConfig.bins,
        strategy: Literal["quantile", "uniform", "normal"] = MTFConfig.strategy,
    ) -> None:
        super().__init__(MTFConfig(size, bins, strategy))

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        size = self.options.size
        if size > length:
            raise MmkdError(
                f"mtf of size {size} needs windows of at least {size} samples, found {length}; lower its size"
            )
        return (channels, size, size)

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        n, channels, length = x.shape
        options = self.options
        shares = np.arange(1, options.bins) / options.bins
        if options.strategy == "normal":
            shares = np.array([NormalDist().inv_cdf(share) for share in shares])
        strategy = {"quantile": QUANTILE, "uniform": UNIFORM, "normal": NORMAL}[options.strategy]
        fields = out.reshape(n * channels, options.size, options.size)
        _fields(x.reshape(-1, length), segment_bounds(length, options.size), shares, strategy, fields)


@compile_kernel
def _quantile(ordered: Float64, share: float) -> Any:
    """A quantile of sorted values, interpolated as `numpy.quantile` does, so that ties fall into the same bin."""
    position = (ordered.shape[0] - 1) * share
    before = int(position)
    low = ordered[before]
    high = ordered[min(before + 1, ordered.shape[0] - 1)]
    part = position - before
    return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part


@compile_kernel
def _digitize(row: Float64, shares: Float64, strategy: int, limits: Float64, out: NDArray[np.int64]) -> None:
    """Write the bin of each sample to `out`: the number of limits below it. `limits` (bins - 1,) is overwritten."""
    if strategy == QUANTILE:
        ordered = np.sort(row)
        for b in range(shares.shape[0]):
            limits[b] = _quantile(ordered, shares[b])
    elif strategy == UNIFORM:
        low = row.min()
        step = (row.max() - low) / (shares.shape[0] + 1)
        for b in range(shares.shape[0]):
            limits[b] = low + step * (b + 1)
    else:
        limits[:] = shares
    for t in range(row.shape[0]):
        above = 0
        for b in range(limits.shape[0]):
            above += limits[b] < row[t]
        out[t] = above


@compile_kernel
def _fields(
    rows: Float64, bounds: NDArray[np.int64], shares: Float64, strategy: int, out: Float32
) -> None:  # the mean over a block is (share of bins in i) x transitions x (share of bins in j)
    size = out.shape[1]
    bins = shares.shape[0] + 1
    limits = np.empty(bins - 1)
    at = np.empty(rows.shape[1], dtype=np.int64)
    transitions = np.empty((bins, bins))
    held = np.empty((bins, size), dtype=np.float32)
    for r in range(out.shape[0]):
        _digitize(rows[r], shares, strategy, limits, at)
        transitions[:, :] = 0.0
        for t in range(at.shape[0] - 1):
            transitions[at[t], at[t + 1]] += 1.0
        for p in range(bins):
            total = transitions[p].sum()
            if total > 0:
                transitions[p] /= total
        held[:, :] = np.float32(0)
        for j in range(size):
            share = np.float32(1.0 / (bounds[j + 1] - bounds[j]))
            for t in range(bounds[j], bounds[j + 1]):
                held[at[t], j] += share
        for i in range(size):
            line = out[r, i]
            line[:] = np.float32(0)
            for q in range(bins):
                weight = 0.0
                for t in range(bounds[i], bounds[i + 1]):
                    weight += transitions[at[t], q]
                if weight > 0:
                    factor = np.float32(weight / (bounds[i + 1] - bounds[i]))
                    column = held[q]
                    for j in range(size):
                        line[j] += factor * column[j]
