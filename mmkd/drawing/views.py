"""One window as the networks see it: a panel per view, a row per channel."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from numpy.typing import NDArray

from mmkd.core.registry import kind_of
from mmkd.core.text import printable
from mmkd.drawing.images import add_heatmap
from mmkd.drawing.scales import Scale, curve_path, scale_over, value_range
from mmkd.drawing.svg import WIDTH, add_element, add_text, add_tooltip, canvas
from mmkd.drawing.text import fit_names, text_width

MOST_CHANNELS = 8
"""Rows of a panel; more channels are left out."""
SIDE = 74.0
"""Height of a row, and the side of a square image."""
GAP = 8.0
STEP = SIDE + 10
HEAD = 40.0
NAME_WIDTH = (60.0, 110.0)
"""The least and the most room of the names of channels."""
SIGNAL_WIDTH = 114.0
"""The narrowest panel of a signal."""

Views = Mapping[str, NDArray[Any]]


def upright(name: str, plane: NDArray[Any]) -> NDArray[Any]:
    """A plane (H, W) of the view `name` as people draw it.

    `pi`, of all channels or of a group such as `pi@gyro`, has axes (birth, persistence) and is drawn with birth to
    the right and persistence up; `stft` and `cwt` have axes (frequency, time) and are drawn with frequency up.
    """
    if kind_of(name) in {"stft", "cwt"}:
        return plane[::-1]
    return plane.T[::-1] if kind_of(name) == "pi" else plane


def views_chart(title: str, description: str, views: Views, channels: Mapping[str, Sequence[str]]) -> ET.Element:
    """A panel with its own heading for each view of one window; views of the same channels share their rows.

    Args:
        views: name -> a signal (C, W), drawn as curves, or images (P, H, W), drawn as heat maps. A multiple of C
            planes has as many in each row.
        channels: name of the view -> names of its C channels.
    """
    blocks: dict[tuple[str, ...], dict[str, NDArray[Any]]] = {}
    for name, view in views.items():
        blocks.setdefault(tuple(channels[name]), {})[name] = view
    heights = [HEAD + STEP * min(len(names), MOST_CHANNELS) for names in blocks]
    width = max(_block_width(names, block) for names, block in blocks.items())
    root = canvas(sum(heights) + 14.0 * (len(blocks) - 1), title, description, width)
    top = 0.0
    for (names, block), height in zip(blocks.items(), heights, strict=True):
        _add_block(root, names, block, top)
        top += height + 14
    return root


def _image_width(view: NDArray[Any]) -> float:
    """The width of one plane (H, W) of a view, in its proportions but neither very narrow nor very wide."""
    return SIDE * min(3.0, max(1 / 3, float(view.shape[2] / view.shape[1])))


def _planes_per_row(names: Sequence[str], view: NDArray[Any]) -> int:
    return max(1, len(view) // len(names))


def _left(names: Sequence[str]) -> float:
    """Where the panels begin, to the right of the names of the channels."""
    longest = max(text_width(printable(name)) for name in names[:MOST_CHANNELS])
    return 6 + min(max(longest, NAME_WIDTH[0]), NAME_WIDTH[1])


def _images_width(names: Sequence[str], block: Views) -> float:
    images = [view for view in block.values() if view.ndim == 3]
    return sum(_planes_per_row(names, view) * (_image_width(view) + GAP) for view in images)


def _signals_width(names: Sequence[str], block: Views) -> float:
    """The width of all panels of signals: what images leave, but at least `SIGNAL_WIDTH` each."""
    count = sum(view.ndim == 2 for view in block.values())
    free = WIDTH - _left(names) - _images_width(names, block) - GAP
    return max(free, count * SIGNAL_WIDTH) if count else -GAP


def _block_width(names: Sequence[str], block: Views) -> float:
    return max(WIDTH, _left(names) + _signals_width(names, block) + _images_width(names, block) + GAP)


def _add_block(root: ET.Element, names: Sequence[str], block: Views, top: float) -> None:
    """Panels side by side, signals first, with the names of their channels to the left."""
    rows = min(len(names), MOST_CHANNELS)
    left = _left(names)
    for n, shown in enumerate(fit_names(names[:rows], left - 6)):
        label = add_text(root, 0, top + HEAD + STEP * n + SIDE / 2 + 4, shown)
        if shown != printable(names[n]):
            add_tooltip(label, names[n])
    signals = {name: view for name, view in block.items() if view.ndim == 2}
    room = _signals_width(names, block)
    for name, view in signals.items():
        width = (room - GAP * (len(signals) - 1)) / len(signals)
        _add_signal(root, name, view[:rows], left, top, width)
        left += width + GAP
    for name, view in block.items():
        if view.ndim == 3:
            left = _add_images(root, name, view, names, left, top)


def _add_heading(root: ET.Element, x: float, y: float, name: str, note: str, room: float) -> None:
    add_text(root, x, y + 14, name, style="text", room=room)
    add_text(root, x, y + 30, note, style="faint", room=room)


def _add_signal(root: ET.Element, name: str, view: NDArray[Any], left: float, top: float, width: float) -> None:
    _add_heading(root, left, top, name, f"{view.shape[1]} samples", width)
    x = Scale(0, view.shape[1] - 1, left, left + width)
    for n, channel in enumerate(view):
        high = top + HEAD + STEP * n
        y = scale_over(value_range(channel), high + SIDE, high)
        add_element(root, "rect", "grid", x=left, y=high, width=width, height=SIDE)
        add_element(root, "path", "thin s0", d=curve_path(channel, x, y))


def _add_images(
    root: ET.Element, name: str, view: NDArray[Any], names: Sequence[str], left: float, top: float
) -> float:
    """The panel of an image view; returns where the next panel begins."""
    count = _planes_per_row(names, view)
    width = _image_width(view)
    room = count * (width + GAP)
    span = value_range(view)
    low = 0.0 if abs(span[0]) < 1e-3 * abs(span[1]) else span[0]
    _add_heading(root, left, top, name, f"{low:.2g} to {span[1]:.2g}", room)
    for n, plane in enumerate(view[: min(len(names), MOST_CHANNELS) * count]):
        x = left + (n % count) * (width + GAP)
        y = top + HEAD + STEP * (n // count)
        image = add_heatmap(root, upright(name, plane), span, x=x, y=y, width=width, height=SIDE)
        add_tooltip(image, f"{name}, {names[n // count]}")
    return left + room
