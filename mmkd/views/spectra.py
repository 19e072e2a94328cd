"""What spectrograms and scalograms share: the signal before the transform, and the values after it."""

from typing import Literal

import numpy as np

from mmkd.views.chunks import LARGEST, Float32, Float64
from mmkd.views.scaled import Scaled

FLOOR = 1e-6
"""Power that is added before the logarithm: 60 dB below that of the training windows, with `scale="train"`."""
Values = Literal["log", "magnitude", "power"]


class Spectral(Scaled):
    """A modality of the power by frequency and time, with the options `scale`, `centre` and `values`."""

    def _prepare(self, x: Float64) -> Float64:
        """Windows (n, C, W) over the training deviation, without their means if `centre` is set."""
        prepared = x / self._divisors(x.shape[1])[:, None]
        if self.options.centre:
            prepared -= prepared.mean(axis=-1, keepdims=True)
        return prepared

    def _write(self, power: Float64, out: Float32) -> None:
        """Write power to `out` as the values that are asked for; what is beyond float32 becomes its largest number."""
        np.minimum(power, LARGEST, out=power)
        out[...] = np.sqrt(power) if self.options.values == "magnitude" else power
        if self.options.values == "log":
            out += np.float32(FLOOR)
            np.log10(out, out=out)
