"""Changes of time: shift and scale. What lies beyond the ends of a window is its mirror image."""

import numpy as np

from mmkd.augment.base import AUGMENTATIONS, Augmentation, Channels
from mmkd.augment.draws import Draws, Float32


@AUGMENTATIONS.register("shift")
class Shift(Augmentation):
    """Move a window in time by up to SHARE of its length; the gap is filled by its mirror image.

    All channels move by the same whole number of samples, either way, each number equally likely. The mirror image
    continues the signal without the jump that a circular shift would make where end and beginning meet.
    """

    name = "shift"
    unit = "SHARE"
    highest = 0.5

    def find_problem(self, channels: int, length: int) -> str | None:
        if int(self.amount * length) < 1:
            return f"of windows of {length} samples {self.label} is less than one sample"
        return None

    def apply(self, x: Float32, draws: Draws, channels: Channels) -> Float32:
        most = int(self.amount * x.shape[2])
        steps = np.minimum(np.floor(draws.uniform(-most, most + 1)).astype(np.int64), most)
        shifted = np.empty_like(x)
        for window, out, step in zip(x, shifted, steps.tolist(), strict=True):
            if step > 0:
                out[:, step:] = window[:, :-step]
                out[:, :step] = window[:, step:0:-1]
            elif step < 0:
                out[:, :step] = window[:, -step:]
                out[:, step:] = window[:, -2 : step - 2 : -1]
            else:
                out[:] = window
        return shifted


@AUGMENTATIONS.register("scale")
class Scale(Augmentation):
    """Stretch or compress time about the middle of a window, by a factor of exp(N(0, SD)); mirrored at the ends.

    As if a movement were made faster or slower: time scaling of the whole window, with linear interpolation, where Le
    Guennec et al. (AALTD 2016, hal-01357973) warp a part of it. The factor is at most 2 and at least 1/2. Amplitudes
    are scaled by `gain`.
    """

    name = "scale"
    highest = 0.5

    def find_problem(self, channels: int, length: int) -> str | None:
        return f"windows of {length} samples have no time to scale" if length < 4 else None

    def apply(self, x: Float32, draws: Draws, channels: Channels) -> Float32:
        length = x.shape[2]
        factors = np.exp(np.clip(self.amount * draws.normal().astype(np.float64), -np.log(2), np.log(2)))
        middle = (length - 1) / 2
        places = np.abs(middle + factors[:, None] * (np.arange(length) - middle))
        places = np.where(places > length - 1, 2 * (length - 1) - places, places)
        before = np.minimum(places.astype(np.int64), length - 2)
        parts = (places - before).astype(np.float32)
        scaled = np.empty_like(x)
        for window, out, index, part in zip(x, scaled, before, parts, strict=True):
            left = window.take(index, axis=1)
            np.subtract(window.take(index + 1, axis=1), left, out=out)
            out *= part
            out += left
        return scaled
