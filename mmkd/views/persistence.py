"""Persistence images. Adams et al. 2017, Journal of Machine Learning Research 18(8), arXiv:1507.06217."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES, Modality
from mmkd.views.chunks import Float32, Float64, map_chunks
from mmkd.views.diagrams import chunk_pairs, pairs_bytes
from mmkd.views.splat import diagram_extents, splat

SAMPLE = 4096
"""Ranges and scales are fitted on at most about this many training windows, evenly spaced."""
MARGIN = 0.05
"""Share of a fitted range that is added to it."""

Levels = Literal["sublevel", "superlevel", "both"]


@dataclass(frozen=True)
class PersistenceImageConfig(Options):
    """Options of `pi`."""

    size: int = option(64, "side of the image in pixels", ge=2)
    levels: Levels = option("sublevel", "which level sets; both: two planes a channel")
    essential: Literal["drop", "max"] = option(
        "drop", "the component that never dies is left out, or dies at the maximum"
    )
    birth_low: float | None = option(None, "lower end of the birth axis in the signal's unit; default: fitted")
    birth_high: float | None = option(None, "upper end of the birth axis; default: fitted")
    persistence_high: float | None = option(None, "upper end of the persistence axis, from 0; default: fitted", gt=0)
    sigma: float | None = option(
        None, "the Gaussian's standard deviation in the signal's unit; default: in pixels", gt=0
    )
    sigma_pixels: float = option(1.0, "standard deviation in pixels of each axis, where sigma is not given", gt=0)
    min_persistence: float = option(0.0, "pairs of less persistence are left out", ge=0)
    scale: Literal["train", "image", "none"] = option(
        "train", "divided by what is usual in training, by its maximum, or not"
    )
    quantile: float = option(0.99, "quantile over training windows that fits ranges and scales", gt=0.5, le=1)
    planes: int | None = option(None, "2: the same as levels=both", ge=1, le=2, since=5)


@MODALITIES.register("pi")
class PersistenceImage(Modality):
    """Persistence image of each channel: (N, C, W) to (N, C, S, S), or (N, 2 C, S, S) with `levels="both"`.

    The H0 pairs of the sublevel sets of a channel (see `sublevel_diagrams`) become points (birth, persistence) in the
    unit of the signal. Each point becomes a Gaussian, weighted by its persistence and integrated over the pixels. Pixel
    [i, j] is the i-th along birth and the j-th along persistence, both rising. This is the layout of
    `persim.PersistenceImager`, which the images equal to 1e-5 with `scale="none"` (persim's `sigma` is a variance, ours
    is a standard deviation). A Gaussian is cut off at 6 sigma, which leaves out less than 4e-9 of its weight.

    For superlevel sets, birth is the level of a local maximum, and persistence is how far the level has to fall until
    it meets a higher one. With `levels="both"` plane 2c is the sublevel and 2c + 1 the superlevel image of channel c.

    What is fitted, for each plane separately because channels differ in unit:
    - the birth axis, from the 1 - q quantile of the least birth to the q quantile of the greatest birth of the training
      windows, and the persistence axis, from 0 to the q quantile of their greatest persistence, both with a margin of 5
      percent;
    - sigma, one pixel of each axis;
    - the scale, the q quantile of the maxima of the training images, so that values are mostly in 0 to 1.

    Of more than 4096 training windows, evenly spaced ones are used. An end of an axis that is given as an option is not
    fitted, so `fitted` is False if all three ends are given and the scale is not "train".

    The image of a window without pairs (constant or monotone) is all zeros.

    Args: the fields of `PersistenceImageConfig`.
    """

    Config = PersistenceImageConfig
    name = "pi"
    _fitted_names = ("birth_low", "birth_high", "persistence_high", "scale")

    def __init__(
        self,
        size: int = PersistenceImageConfig.size,
        levels: Levels = PersistenceImageConfig.levels,
        *,
        essential: Literal["drop", "max"] = PersistenceImageConfig.essential,
        birth_low: float | None = None,
        birth_high: float | None = None,
        persistence_high: float | None = None,
        sigma: float | None = None,
        sigma_pixels: float = PersistenceImageConfig.sigma_pixels,
        min_persistence: float = PersistenceImageConfig.min_persistence,
        scale: Literal["train", "image", "none"] = PersistenceImageConfig.scale,
        quantile: float = PersistenceImageConfig.quantile,
        planes: int | None = None,
    ) -> None:
        options = PersistenceImageConfig(
            size=size,
            levels=self._levels(levels, planes),
            essential=essential,
            birth_low=birth_low,
            birth_high=birth_high,
            persistence_high=persistence_high,
            sigma=sigma,
            sigma_pixels=sigma_pixels,
            min_persistence=min_persistence,
            scale=scale,
            quantile=quantile,
        )
        super().__init__(options)
        low = options.birth_low
        high = options.birth_high
        if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
            raise MmkdError(
                f"birth-low = {low} and birth-high = {high}: give both, the first below the second, or neither"
            )
        self.fitted = options.scale == "train" or low is None or options.persistence_high is None
        self._signs = np.array({"sublevel": [1.0], "superlevel": [-1.0], "both": [1.0, -1.0]}[options.levels])
        self._planes = len(self._signs)

    @classmethod
    def published(cls, size: int = 64) -> Self:
        """The images of the published wearable pipeline (Jeon et al. 2024, arXiv:2407.05315), for signals in [-1, 1].

        64 x 64 pixels, sigma 0.015, range [-1, 1], pairs of less than 0.01 dropped, each image divided by its maximum.
        Our reconstruction: the birth axis spans the range, and the persistence axis goes from 0 to its upper end, as in
        persim's older `PersImage`.
        """
        return cls(
            size, birth_low=-1, birth_high=1, persistence_high=1, sigma=0.015, min_persistence=0.01, scale="image"
        )

    @staticmethod
    def _levels(levels: Levels, planes: Any) -> Levels:
        """The level sets of so many planes a channel: one view has one configuration, and so one cache key."""
        given = PersistenceImageConfig(planes=planes).planes
        if given == 2 and levels == "superlevel":
            raise MmkdError("planes = 2 are those of levels = both; leave levels = superlevel out")
        if given == 1 and levels == "both":
            raise MmkdError("levels = both makes two planes; leave planes = 1 out")
        return "both" if given == 2 else levels

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        return (channels * self._planes, self.options.size, self.options.size)

    def fit(self, windows: ArrayLike) -> Self:
        if not self.fitted:
            return self
        array = self._check_training(windows)
        array = array[:: -(-len(array) // SAMPLE)]
        planes = self._planes * array.shape[1]
        low, high, top = self._ranges(self._extents(array))
        scale = np.ones(planes)
        if self.options.scale == "train":
            grid = self._grid(low, high, top)
            size = self.options.size

            def maxima(_: int, x: Float64) -> Float32:
                images = np.empty((len(x), planes, size, size), dtype=np.float32)
                self._draw(x, grid, scale, images)
                peaks: Float32 = images.max(axis=(2, 3))
                return peaks

            peaks = np.concatenate(
                map_chunks(maxima, array, self._scratch_bytes(*array.shape[1:]) + 4 * planes * size**2)
            )
            scale = np.array([_quantile(p[p > 0], self.options.quantile) or 1.0 for p in peaks.T.astype(np.float64)])
        return self._set_fitted(birth_low=low, birth_high=high, persistence_high=top, scale=scale)

    def _extents(self, array: NDArray[Any]) -> Float64:
        """(N, P, 3): least birth, greatest birth and greatest persistence of every diagram; NaN for an empty one."""

        def extents_of(_: int, x: Float64) -> Float64:
            pairs, offsets = chunk_pairs(x, self._signs, self.options.essential == "max")
            extents = np.empty((len(offsets) - 1, 3))
            diagram_extents(pairs, offsets, self._signs, self.options.min_persistence, extents)
            return extents.reshape(len(x), -1, 3)

        return np.concatenate(map_chunks(extents_of, array, self._scratch_bytes(*array.shape[1:])))

    def _ranges(self, extents: Float64) -> tuple[Float64, Float64, Float64]:
        """The ends of the axes of each plane, (P,) each: birth low, birth high, persistence high.

        A plane without pairs gets births from -1 to 1 and persistence up to 1.
        """
        options = self.options
        q = options.quantile
        ends = []
        for plane in np.moveaxis(extents, 1, 0):
            nonempty = plane[~np.isnan(plane[:, 2])]
            top = _quantile(nonempty[:, 2], q) * (1 + MARGIN) or 1.0
            low = _quantile(nonempty[:, 0], 1 - q)
            high = _quantile(nonempty[:, 1], q)
            margin = MARGIN * (high - low) if high - low > 1e-6 * top else top
            ends.append((low - margin, high + margin, top))
        lows, highs, tops = np.array(ends).T
        if options.birth_low is not None:
            lows = np.full_like(lows, options.birth_low)
            highs = np.full_like(highs, options.birth_high)
        if options.persistence_high is not None:
            tops = np.full_like(tops, options.persistence_high)
        return lows, highs, tops

    def _grid(self, low: Float64, high: Float64, top: Float64) -> Float64:
        """(P, 6): low end, pixel and sigma of the birth axis, then of the persistence axis."""
        birth_pixel = (high - low) / self.options.size
        persistence_pixel = top / self.options.size
        if self.options.sigma is None:
            birth_sigma = self.options.sigma_pixels * birth_pixel
            persistence_sigma = self.options.sigma_pixels * persistence_pixel
        else:
            birth_sigma = np.full_like(low, self.options.sigma)
            persistence_sigma = birth_sigma
        columns = [low, birth_pixel, birth_sigma, np.zeros_like(low), persistence_pixel, persistence_sigma]
        return np.stack(columns, axis=1)

    def _scratch_bytes(self, channels: int, length: int) -> int:
        return pairs_bytes(self._planes * channels, length)

    def _draw(self, x: Float64, grid: Float64, divide: Float64, out: Float32) -> None:
        pairs, offsets = chunk_pairs(x, self._signs, self.options.essential == "max")
        images = out.reshape(len(offsets) - 1, self.options.size, self.options.size)
        splat(
            pairs=pairs,
            offsets=offsets,
            signs=self._signs,
            grid=grid,
            divide=divide,
            min_persistence=self.options.min_persistence,
            out=images,
        )

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        low, high, top, divide = self.axes(x.shape[1])
        self._draw(x, self._grid(low, high, top), divide, out)

    def axes(self, channels: int) -> tuple[Float64, Float64, Float64, Float64]:
        """The ends of the axes, (P,) each: birth low, birth high, persistence high; and by what images are divided.

        0 divides each image by its own maximum.
        """
        planes = self._planes * channels
        if self.fitted:
            low, high, top, divide = (self._get_fitted(name) for name in self._fitted_names)
        else:
            options = self.options
            ends = np.array([[options.birth_low], [options.birth_high], [options.persistence_high]], dtype=np.float64)
            low, high, top = np.tile(ends, planes)
            divide = np.ones(planes)
        return low, high, top, np.zeros(planes) if self.options.scale == "image" else divide


def _quantile(values: Float64, quantile: float) -> float:
    """A quantile of the values; 0 if there are none."""
    return float(np.quantile(values, quantile)) if len(values) else 0.0
