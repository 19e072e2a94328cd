"""Two features of any rank brought to maps of one size, without aliases: what comparisons of bands need."""

from torch import Tensor

from mmkd.frequency.bands import shrink
from mmkd.frequency.lifts import lift


def meet_unaliased(a: Tensor, b: Tensor, mixed: str) -> tuple[Tensor, Tensor]:
    """Bring two maps to one rank and, on each axis, to the smaller of their sizes, by `shrink`.

    `meet` does so by averages of neighbours, which weaken high frequencies and leave aliases of them.

    Args:
        a: (B, C, T) or (B, C, H, W).
        b: likewise; it may have other channels.
        mixed: the lift of a line that meets an image (see `lift`): to the image's side, or to the largest side that its
            own samples allow if that is smaller.

    Returns:
        Both maps, in float32 or float64.
    """
    if a.ndim != b.ndim:
        side = max((a if a.ndim == 4 else b).shape[2:])
        a, b = (_lifted(x, mixed, side) if x.ndim == 3 else x for x in (a, b))
    size = tuple(min(pair) for pair in zip(a.shape[2:], b.shape[2:], strict=True))
    return shrink(a, size), shrink(b, size)


def _lifted(line: Tensor, kind: str, side: int) -> Tensor:
    """Lift a line (B, C, T) to a map (B, C, S, S), where S is `side`, or the largest side that T positions allow."""
    t = line.shape[-1]
    side = min(side, (t + 1) // 2 if kind == "hankel" else t)
    return lift(shrink(line, (2 * side - 1 if kind == "hankel" else side,)), kind, side)
