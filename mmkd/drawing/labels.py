"""Recordings and images with a label for every sample or pixel: true beside predicted, a colour per class."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mmkd.drawing.axes import add_class_legend, add_x_axis, add_y_axis
from mmkd.drawing.images import add_image, indexed_uri, png_uri
from mmkd.drawing.scales import Scale, curve_path, scale_over, value_range
from mmkd.drawing.style import CLASS_COLOURS, series_dash
from mmkd.drawing.svg import WIDE, add_element, add_text, canvas

MOST_CHANNELS = 6
"""Curves of a recording."""
MOST_SAMPLES = 1400
"""Points of a curve, and pixels of a bar of labels: about two per pixel of the figure."""
MOST_PIXELS = 360
"""Rows, or columns, of an image."""
TALLEST = 420.0
"""Pixels of the figure that the height of an image takes at most."""


def labelled_recording(
    title: str,
    description: str,
    signal: NDArray[Any],
    rows: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    rate_hz: float | None,
) -> ET.Element:
    """A recording, and below it a bar per row of labels, over the same time.

    Args:
        signal: (C, T); the first six channels are drawn.
        rows: name -> (T,) class numbers, -1 (left white) where there is no label.
        rate_hz: samples per second; None: the axis counts samples.
    """
    left = 74.0
    top = 28.0
    bottom = 200.0
    step = 26.0
    shown = signal[:MOST_CHANNELS]
    present = _present(rows, classes)
    floor = bottom + 8 + step * len(rows)
    root = canvas(floor + 56 + add_class_legend(ET.Element("g"), present, 0, WIDE), title, description, WIDE)
    x = Scale(0, (signal.shape[1] - 1) / (rate_hz or 1), left, WIDE - 12)
    y = scale_over(value_range(shown), bottom, top)
    label = "signal" if len(shown) == len(signal) else f"signal (first {len(shown)} of {len(signal)} channels)"
    add_y_axis(root, x, y, label)
    positions = Scale(0, signal.shape[1] - 1, left, WIDE - 12)
    for n, channel in enumerate(shown):
        path = curve_path(channel, positions, y, MOST_SAMPLES)
        add_element(
            root, "path", "thin", d=path, stroke_dasharray=series_dash(n)
        )  # in ink: colours are those of the classes
    for n, (name, labels) in enumerate(rows.items()):
        high = bottom + 8 + step * n
        add_text(root, left - 6, high + 14, name, "end", room=left - 10)
        indices = np.linspace(0, len(labels) - 1, min(len(labels), MOST_SAMPLES)).round().astype(int)
        add_image(root, class_uri(labels[indices][None]), left, high, x.end - left, step - 6)
    add_x_axis(root, x, floor, "time in seconds" if rate_hz else "sample")
    add_class_legend(root, present, floor + 52, WIDE)
    return root


def labelled_image(
    title: str,
    description: str,
    image: NDArray[Any],
    maps: Mapping[str, NDArray[Any]],
    classes: Sequence[str],
) -> ET.Element:
    """An image, and beside it maps of labels.

    Args:
        image: (C, H, W); three channels are drawn as red, green and blue, else the first one in grey.
        maps: name -> (H, W) class numbers, -1 (left white) where there is no label.
    """
    gap = 12.0
    head = 22.0
    count = 1 + len(maps)
    rows, columns = image.shape[1:]
    scale = min((WIDE - gap * (count - 1)) / count / columns, TALLEST / rows)
    width = scale * columns
    height = scale * rows
    maps = {name: _reduced(labels) for name, labels in maps.items()}
    present = _present(maps, classes)
    total = max(count * (width + gap) - gap, 320.0)
    legend = add_class_legend(ET.Element("g"), present, 0, total)
    root = canvas(head + height + 18 + legend, title, description, total)
    pixels = {"image": _pixels_uri(image), **{name: class_uri(labels) for name, labels in maps.items()}}
    for n, (name, uri) in enumerate(pixels.items()):
        left = n * (width + gap)
        add_text(root, left, 14, name, room=width)
        add_image(root, uri, left, head, width, height)
        add_element(root, "rect", "grid", x=left, y=head, width=width, height=height)
    add_class_legend(root, present, head + height + 16, total)
    return root


def class_uri(labels: NDArray[Any]) -> str:
    """Class numbers (H, W) as a PNG, a colour per class; -1 is transparent."""
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (*CLASS_COLOURS, "#ffffff")], np.uint8)
    transparent = len(CLASS_COLOURS)
    index = np.where(labels < 0, transparent, labels % transparent).astype(np.uint8)
    return indexed_uri(index, colours, bytes([255] * transparent + [0]))


def _present(labels: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> list[tuple[str, int]]:
    """Name and number of the classes that any of the labels has."""
    numbers = set().union(*(np.unique(values).tolist() for values in labels.values()))
    return [(name, n) for n, name in enumerate(classes) if n in numbers]


def _reduced(values: NDArray[Any]) -> NDArray[Any]:
    """Every n-th row and column (H, W, ...), so that at most `MOST_PIXELS` of each remain."""
    step = -(-max(values.shape[:2]) // MOST_PIXELS)
    return values[::step, ::step]


def _pixels_uri(image: NDArray[Any]) -> str:
    """An image (C, H, W) as a PNG, from its smallest value (black) to its largest (white)."""
    from PIL import Image

    planes = _reduced(image.transpose(1, 2, 0) if len(image) == 3 else image[0])
    low, high = value_range(planes)
    scaled = np.clip((np.nan_to_num(planes, nan=low) - low) / ((high - low) or 1.0), 0, 1)
    return png_uri(Image.fromarray(np.rint(255 * scaled).astype(np.uint8)))
