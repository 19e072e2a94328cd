"""What the controls of a group reach, as figures draw it."""

from collections.abc import Callable, Iterable
from typing import Any

from mmkd.comparison.controls import is_blind
from mmkd.comparison.rows import BOUND, Row
from mmkd.drawing.bands import Band

CAPTION = (
    "The band reaches from the lowest to the highest mean of the controls whose targets say something of the class; "
    "random-teacher, noise-logits and shuffled-teacher over all windows are far below"
)


def control_band(rows: Iterable[Row], value: Callable[[Row], float | None], **how: Any) -> Band | None:
    """The band of the controls among these rows, without those that are blind for the class; None where there is none.

    Args:
        value: what is drawn of a row, None where it has none.
        how: `name` and `number` of the band.
    """
    means: list[tuple[str, float]] = []
    bounds: list[tuple[str, float]] = []
    for row in rows:
        own = value(row) if row.kind == "control" and not is_blind(row) else None
        if own is not None:
            (bounds if row.base == BOUND else means).append((row.title, own))
    return Band(means, bounds, **how) if means or bounds else None


def caption_of(band: Band | None) -> str:
    """What a caption says of the band, after a space; nothing where there is none."""
    if band is None:
        return ""
    parts = [f" {CAPTION}."] if band.means else []
    parts += [" The dotted line is that of several students alone, averaged: a bound."] if band.bounds else []
    return "".join(parts)
