"""Standardised images."""

import math
from dataclasses import dataclass

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.views.base import MODALITIES
from mmkd.views.chunks import Float32, Float64
from mmkd.views.signal import Signal


@dataclass(frozen=True)
class ImageConfig(Options):
    """Options of `img`."""

    height: int | None = option(None, "rows of pixels of an image; default: those of a square", ge=1)


@MODALITIES.register("img")
class Image(Signal):
    """The image, standardised for each channel: (N, C, H W) to (N, C, H, W).

    An image is given as its pixels, row by row. Mean and standard deviation are taken over all pixels of all training
    images, as `sig` takes them over samples.

    Args:
        height: H; by default the square root of the number of pixels.
    """

    Config = ImageConfig
    name = "img"
    source = "images"

    def __init__(self, height: int | None = ImageConfig.height) -> None:
        super().__init__(ImageConfig(height))

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        height = self.options.height or math.isqrt(length)
        if length % height or (self.options.height is None and height * height != length):
            wanted = f"{height} rows" if self.options.height else "a square"
            raise MmkdError(f"img: {length} pixels do not make {wanted}; give the height of the images")
        return (channels, height, length // height)

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        super()._transform_chunk(x, out.reshape(x.shape))
