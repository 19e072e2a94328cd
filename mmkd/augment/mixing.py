"""Mixtures of two windows."""

import numpy as np

from mmkd.augment.base import AUGMENTATIONS, Augmentation
from mmkd.augment.draws import Draws, Float32


@AUGMENTATIONS.register("mixup")
class Mixup(Augmentation):
    """Mix each window with another training window, and cross-entropy with its label; shares of Beta(ALPHA, ALPHA).

    Zhang et al., ICLR 2018, arXiv:1710.09412. The window itself has the larger of the two shares, which is the same
    mixture with the names exchanged. The partner has its own augmentation. Terms of a method that read a class, other
    than cross-entropy, read that of the larger share.
    """

    name = "mixup"
    unit = "ALPHA"
    usual = 0.2
    highest = 10
    mixes = True

    def weights(self, draws: Draws, length: int) -> Float32:
        shares = draws.each(lambda generator: generator.beta(self.amount, self.amount))
        larger = np.maximum(shares, 1 - shares).astype(np.float32)
        return np.repeat(larger[:, None], length, 1)
