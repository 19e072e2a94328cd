"""Changes of how a sensor is worn and how it measures: rotation, gain, noise."""

import numpy as np
from numpy.typing import NDArray

from mmkd.augment.base import AUGMENTATIONS, Augmentation, Channels
from mmkd.augment.draws import Draws, Float32


@AUGMENTATIONS.register("rotate")
class Rotate(Augmentation):
    """Turn the axes of all sensors of a body site together, about a random axis by an angle of N(0, DEG) degrees.

    As if the device were worn a little differently. Um et al., ICMI 2017, arXiv:1706.00527, who turn by any angle.
    """

    name = "rotate"
    unit = "DEG"
    usual = 30
    highest = 180
    uses_triads = True
    needs_triads = True

    def apply(self, x: Float32, draws: Draws, channels: Channels) -> Float32:
        count, _, length = x.shape
        for site in channels.sites:
            rotations = rotation_matrices(draws.normal(3), draws.normal() * np.float32(np.deg2rad(self.amount)))
            index = np.ravel(site)
            axes = x[:, index].reshape(count, len(site), 3, length)
            x[:, index] = np.matmul(rotations[:, None], axes).reshape(count, -1, length)
        return x


def rotation_matrices(axes: NDArray[np.floating], angles: NDArray[np.floating]) -> Float32:
    """The rotations about these axes (B, 3), of any length, by these angles (B,) in radians: (B, 3, 3).

    By the formula of Rodrigues.
    """
    unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    x, y, z = unit.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    rotations = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    result: Float32 = rotations.astype(np.float32)
    return result


@AUGMENTATIONS.register("gain")
class Gain(Augmentation):
    """Multiply each sensor by a factor of N(1, SD): the axes of a triad by one, other channels about their mean.

    As if a sensor were calibrated a little differently. A channel in no triad has a factor of its own, on its distance
    to the mean of that channel over the training windows, since its zero need not mean anything. "Scaling" in Um et
    al., ICMI 2017, arXiv:1706.00527.
    """

    name = "gain"
    highest = 0.3
    uses_triads = True

    def apply(self, x: Float32, draws: Draws, channels: Channels) -> Float32:
        triads, outside = channels.triads, channels.outside
        drawn = 1 + np.float32(self.amount) * draws.normal(len(triads) + len(outside))
        factors = np.empty(x.shape[:2], np.float32)
        for number, triad in enumerate(triads):
            factors[:, triad] = drawn[:, [number]]
        factors[:, outside] = drawn[:, len(triads) :]
        x *= factors[:, :, None]
        if outside:
            x[:, outside] += ((1 - factors[:, outside]) * channels.mean[outside])[:, :, None]
        return x


@AUGMENTATIONS.register("jitter")
class Jitter(Augmentation):
    """Add white noise of SD times the standard deviation of the channel in the training windows.

    Um et al., ICMI 2017, arXiv:1706.00527.
    """

    name = "jitter"
    usual = 0.05
    highest = 10

    def apply(self, x: Float32, draws: Draws, channels: Channels) -> Float32:
        noise = draws.noise(*x.shape[1:])
        noise *= (np.float32(self.amount) * channels.std)[:, None]
        x += noise
        return x
