"""What a spectral filter of a method does to a map, as the method tells it for pictures (`Method.spectra`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Filtering:
    """A map before and after a filter, and the filter itself.

    Frequencies are those of `torch.fft.rfftn` over the axes of the map (half of the spectrum), in its order: bins
    (T // 2 + 1,) of a line, (H, W // 2 + 1) of an image, the mean first.

    Attributes:
        before: (B, C, T) or (B, C, H, W), what the filter reads.
        after: (B, C', T) or (B, C', H, W), what it puts out.
        response: (bins), the magnitude of the filter at each frequency, see `mmkd.frequency.response`.
        kept: (bins) in [0, 1], the share of the energy at each frequency that a fixed mask of the filter keeps;
            None if it has none.
        removed: the share of the energy of `before` that the mask removes.
        timed: whether the map is a line over the time of the whole window, so that its frequencies can be in hertz.
        facts: name -> a number that a picture should tell, such as a gain.
    """

    before: Tensor
    after: Tensor
    response: Tensor
    kept: Tensor | None = None
    removed: float = 0.0
    timed: bool = False
    facts: Mapping[str, float] = field(default_factory=dict)
