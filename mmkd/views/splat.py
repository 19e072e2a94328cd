"""The kernels of persistence images: pairs of diagrams become Gaussians on a grid of pixels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.views.chunks import Float32, Float64, compiled

REACH = 6.0  # standard deviations at which a Gaussian ends
CELLS = 32  # cubics of the table a standard deviation


def _table() -> Float64:
    """(cells, 4): coefficients of the cubics that meet the normal distribution function and its slope at their ends."""
    z = np.linspace(-REACH, REACH, int(2 * REACH * CELLS) + 1)
    value = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
    slope = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) / CELLS
    rise, left, right = np.diff(value), slope[:-1], slope[1:]
    return np.stack([value[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], axis=1)


TABLE = _table()


@compiled
def extents(pairs: Float64, offsets: NDArray[np.int64], signs: Float64, least: float, out: Float64) -> None:
    """Least and greatest birth, greatest persistence of each diagram into `out` (rows, 3); NaN where it is empty."""
    for r in range(offsets.shape[0] - 1):
        out[r, :] = np.nan
        for k in range(offsets[r], offsets[r + 1]):
            persistence = pairs[k, 1] - pairs[k, 0]
            if persistence < least:
                continue
            birth = signs[r % signs.shape[0]] * pairs[k, 0]
            if not out[r, 0] <= birth:
                out[r, 0] = birth
            if not out[r, 1] >= birth:
                out[r, 1] = birth
            if not out[r, 2] >= persistence:
                out[r, 2] = persistence


@compiled
def _below(z: float) -> Any:
    """The normal distribution function by a table of cubics; its error is below 2e-9, the table ends at 6."""
    place = min(max((z + REACH) * CELLS, 0.0), 2.0 * REACH * CELLS - 1e-9)
    cell = int(place)
    f = place - cell
    return TABLE[cell, 0] + f * (TABLE[cell, 1] + f * (TABLE[cell, 2] + f * TABLE[cell, 3]))


@compiled
def _masses(center: float, sigma: float, low: float, step: float, out: Float64) -> Any:
    """The Gaussian's share of each pixel it reaches along an axis, into `out`; the first and one past the last."""
    size = out.shape[0]
    reach = REACH * sigma
    first = int(min(max(math.floor((center - reach - low) / step), 0.0), float(size)))
    last = int(min(max(math.ceil((center + reach - low) / step), 0.0), float(size)))
    scale = 1.0 / sigma
    before = _below((low + first * step - center) * scale)
    for i in range(first, last):
        after = _below((low + (i + 1) * step - center) * scale)
        out[i] = after - before
        before = after
    return first, last


@compiled
def splat(
    pairs: Float64,
    offsets: NDArray[np.int64],
    signs: Float64,
    grid: Float64,
    divide: Float64,
    least: float,
    out: Float32,
) -> None:
    """Draw each diagram into its image.

    Args:
        pairs, offsets: of `chunk_pairs`, diagram r being of plane r modulo the number of planes P.
        signs: (L,) 1 or -1 a level set; births are given in the signal's unit as sign * birth.
        grid: (P, 6) of each plane the low end, pixel and sigma of the birth axis, then of the persistence axis.
        divide: (P,) what images are divided by; 0 for each one's own maximum.
        least: pairs of less persistence are left out.
        out: (rows, S, S), overwritten.
    """
    size = out.shape[1]
    along_birth = np.empty(size)
    along_persistence = np.empty(size)
    thin = np.empty(size, dtype=np.float32)
    for r in range(offsets.shape[0] - 1):
        image = out[r]
        image[:, :] = np.float32(0)
        plane = r % grid.shape[0]
        low, step, sigma = grid[plane, 0], grid[plane, 1], grid[plane, 2]
        bottom, rise, spread = grid[plane, 3], grid[plane, 4], grid[plane, 5]
        weigh = 1.0 / divide[plane] if divide[plane] > 0 else 1.0
        for k in range(offsets[r], offsets[r + 1]):
            persistence = pairs[k, 1] - pairs[k, 0]
            if persistence < least:
                continue
            birth = signs[r % signs.shape[0]] * pairs[k, 0]
            i0, i1 = _masses(birth, sigma, low, step, along_birth)
            j0, j1 = _masses(persistence, spread, bottom, rise, along_persistence)
            for j in range(j0, j1):
                thin[j] = along_persistence[j]
            for i in range(i0, i1):
                factor = np.float32(weigh * persistence * along_birth[i])
                line = image[i]
                for j in range(j0, j1):
                    line[j] += factor * thin[j]
        if divide[plane] <= 0:
            highest = image.max()
            if highest > 0:
                image /= highest
