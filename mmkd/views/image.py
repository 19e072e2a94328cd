"""Images as they are, standardised."""

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
    """Each channel less its training mean, over its training standard deviation: (N, C, H W) to (N, C, H, W).

    An image comes as its pixels row by row. Mean and deviation are taken over all pixels of all training images, as
    `sig` takes them over samples.

    Args:
        height: H; default: the root of the number of pixels.
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

    def _write(self, x: Float64, out: Float32) -> None:
        super()._write(x, out.reshape(x.shape))
