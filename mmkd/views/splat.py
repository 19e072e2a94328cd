"""The kernels of persistence images: draw the pairs of diagrams as Gaussians on a grid of pixels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.views.chunks import Float32, Float64, compile_kernel

REACH = 6.0
"""Standard deviations at which a Gaussian is cut off."""
CELLS = 32
"""Cubics of the table for each standard deviation."""


def _table() -> Float64:
    """(cells, 4): coefficients of cubics that match the normal distribution function and its slope at their ends."""
    z = np.linspace(-REACH, REACH, int(2 * REACH * CELLS) + 1)
    value = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
    slope = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) / CELLS
    rise = np.diff(value)
    left = slope[:-1]
    right = slope[1:]
    return np.stack([value[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], axis=1)


TABLE = _table()


@compile_kernel
def diagram_extents(
    pairs: Float64, offsets: NDArray[np.int64], signs: Float64, min_persistence: float, out: Float64
) -> None:
    """Write the least birth, greatest birth and greatest persistence of each diagram to `out` (rows, 3).

    The row of an empty diagram is NaN. Pairs of less than `min_persistence` are left out.
    """
    for r in range(offsets.shape[0] - 1):
        out[r, :] = np.nan
        for k in range(offsets[r], offsets[r + 1]):
            persistence = pairs[k, 1] - pairs[k, 0]
            if persistence < min_persistence:
                continue
            birth = signs[r % signs.shape[0]] * pairs[k, 0]
            if not out[r, 0] <= birth:
                out[r, 0] = birth
            if not out[r, 1] >= birth:
                out[r, 1] = birth
            if not out[r, 2] >= persistence:
                out[r, 2] = persistence


@compile_kernel
def _normal_cdf(z: float) -> Any:
    """The normal distribution function, from the table of cubics: error below 2e-9, constant beyond +-6."""
    position = min(max((z + REACH) * CELLS, 0.0), 2.0 * REACH * CELLS - 1e-9)
    cell = int(position)
    f = position - cell
    return TABLE[cell, 0] + f * (TABLE[cell, 1] + f * (TABLE[cell, 2] + f * TABLE[cell, 3]))


@compile_kernel
def _pixel_masses(center: float, sigma: float, low: float, step: float, out: Float64) -> Any:
    """Write to `out` the mass that a Gaussian has in each pixel along an axis.

    Returns:
        The first pixel that it reaches, and one past the last.
    """
    size = out.shape[0]
    reach = REACH * sigma
    first = int(min(max(math.floor((center - reach - low) / step), 0.0), float(size)))
    last = int(min(max(math.ceil((center + reach - low) / step), 0.0), float(size)))
    scale = 1.0 / sigma
    before = _normal_cdf((low + first * step - center) * scale)
    for i in range(first, last):
        after = _normal_cdf((low + (i + 1) * step - center) * scale)
        out[i] = after - before
        before = after
    return first, last


@compile_kernel
def splat(
    pairs: Float64,
    offsets: NDArray[np.int64],
    signs: Float64,
    grid: Float64,
    divide: Float64,
    min_persistence: float,
    out: Float32,
) -> None:
    """Draw each diagram into its image.

    Args:
        pairs, offsets: as `chunk_pairs` returns them; diagram r is of plane r modulo the number of planes P.
        signs: (L,), 1 or -1 for each level set; sign * birth is in the unit of the signal.
        grid: (P, 6): of each plane the low end, pixel and sigma of the birth axis, then of the persistence axis.
        divide: (P,), the numbers by which the images are divided; 0 divides each image by its own maximum.
        min_persistence: pairs of less persistence are left out.
        out: output (rows, S, S); overwritten.
    """
    size = out.shape[1]
    along_birth = np.empty(size)
    along_persistence = np.empty(size)
    row_masses = np.empty(size, dtype=np.float32)  # `along_persistence` in float32
    for r in range(offsets.shape[0] - 1):
        image = out[r]
        image[:, :] = np.float32(0)
        plane = r % grid.shape[0]
        birth_low = grid[plane, 0]
        birth_pixel = grid[plane, 1]
        birth_sigma = grid[plane, 2]
        persistence_low = grid[plane, 3]
        persistence_pixel = grid[plane, 4]
        persistence_sigma = grid[plane, 5]
        weight = 1.0 / divide[plane] if divide[plane] > 0 else 1.0
        for k in range(offsets[r], offsets[r + 1]):
            persistence = pairs[k, 1] - pairs[k, 0]
            if persistence < min_persistence:
                continue
            birth = signs[r % signs.shape[0]] * pairs[k, 0]
            i0, i1 = _pixel_masses(birth, birth_sigma, birth_low, birth_pixel, along_birth)
            j0, j1 = _pixel_masses(
                persistence, persistence_sigma, persistence_low, persistence_pixel, along_persistence
            )
            for j in range(j0, j1):
                row_masses[j] = along_persistence[j]
            for i in range(i0, i1):
                factor = np.float32(weight * persistence * along_birth[i])
                row = image[i]
                for j in range(j0, j1):
                    row[j] += factor * row_masses[j]
        if divide[plane] <= 0:
            highest = image.max()
            if highest > 0:
                image /= highest
