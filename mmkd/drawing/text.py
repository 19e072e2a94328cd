"""Texts of figures: their estimated width, and how they are cut to the room they have. Widths are in pixels."""

from collections.abc import Sequence

from mmkd.core.text import printable

MEAN_WIDTH = 6.6
"""Mean width of a letter."""
NARROW = "iljtfI.,:;|!'()[] "
WIDE = "mwMW@%"


def text_width(text: str) -> float:
    """The estimated width of a text at 12 or 13 pixels; rather too wide than too narrow."""
    return sum(
        4.2 if c in NARROW else 12.5 if c in WIDE or ord(c) > 0x2E7F else 8.9 if _is_broad(c) else 7.2 for c in text
    )


def _is_broad(letter: str) -> bool:
    return letter.isupper() or ord(letter) > 0x7F or letter in "<>=+"


def fit_text(text: str, room: float) -> str:
    """A text cut at its end to a width; at least three letters remain."""
    if text_width(text) <= room:
        return text
    length = 3
    while length < len(text) and text_width(text[: length + 1]) + text_width("…") <= room:
        length += 1
    return text[:length] + "…"


def fit_names(names: Sequence[str], room: float) -> list[str]:
    """Names cut to a width: at their end, or in their middle if different names would then look the same."""
    full = [printable(name) for name in names]
    cut = [fit_text(name, room) for name in full]
    if len(set(cut)) == len(set(full)):
        return cut
    return [name if shown == name else _cut_middle(name, room) for name, shown in zip(full, cut, strict=True)]


def _cut_middle(name: str, room: float) -> str:
    """The two ends of a name."""
    length = len(name) - 1
    while length > 4 and _width_of_ends(name, length) > room:
        length -= 1
    return f"{name[: length - length // 2]}…{name[-(length // 2) :]}"


def _width_of_ends(name: str, length: int) -> float:
    return text_width(name[: length - length // 2]) + text_width(name[-(length // 2) :]) + text_width("…")
