"""Arrays as images: heat maps, grids of them, strips under a signal. Pixels become PNG in data URIs."""

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.drawing.scales import Scale, curve_path, format_number, scale_over, value_range
from mmkd.drawing.style import LIGHT, SERIES
from mmkd.drawing.svg import WIDTH, add_element, add_text, add_tooltip, canvas
from mmkd.drawing.text import fit_names

if TYPE_CHECKING:
    from PIL.Image import Image

VIRIDIS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")
LEVELS = 64
"""Colours of a heat map: enough for the eye, and small files."""


def heatmap_uri(values: ArrayLike, low: float, high: float) -> str:
    """An array (H, W) as a PNG, from `low` (dark) to `high` (bright); NaN is dark."""
    anchors = np.array([_rgb(colour) for colour in VIRIDIS], np.float64)
    steps = np.linspace(0, len(anchors) - 1, LEVELS)
    colours = np.stack([np.interp(steps, np.arange(len(anchors)), anchors[:, i]) for i in range(3)], 1)
    return indexed_uri(_levels(values, low, high), np.rint(colours).astype(np.uint8))


def shade_uri(share: ArrayLike) -> str:
    """Shares (H, W) in [0, 1] as a PNG of one colour, from transparent (0) to opaque (1)."""
    colours = np.tile(np.array(_rgb(LIGHT["s0"][1:]), np.uint8), (LEVELS, 1))
    alpha = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)
    return indexed_uri(_levels(share, 0, 1), colours, alpha.tobytes())


def indexed_uri(index: NDArray[np.uint8], colours: NDArray[np.uint8], alpha: bytes | None = None) -> str:
    """An array (H, W) of numbers of colours as a PNG.

    Args:
        colours: (n, 3), at most 256 of them; `alpha`: their opacities, 0 to 255.
    """
    from PIL import Image

    image = Image.frombytes("P", index.shape[::-1], index.tobytes())
    image.putpalette(colours.tobytes())
    return png_uri(image, alpha)


def png_uri(image: "Image", alpha: bytes | None = None) -> str:
    """An image as a PNG in a data URI."""
    stream = io.BytesIO()
    options = {} if alpha is None else {"transparency": alpha}
    image.save(stream, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _levels(values: ArrayLike, low: float, high: float) -> NDArray[np.uint8]:
    array = np.nan_to_num(np.asarray(values, np.float64), nan=low, posinf=high, neginf=low)
    scaled = np.clip((array - low) / ((high - low) or 1.0), 0, 1) * (LEVELS - 1)
    return np.rint(scaled).astype(np.uint8)


def _rgb(colour: str) -> list[int]:
    """A colour `rrggbb` as three numbers."""
    return [int(colour[i : i + 2], 16) for i in (0, 2, 4)]


def add_image(root: ET.Element, uri: str, x: float, y: float, width: float, height: float) -> ET.Element:
    """An image stretched over a rectangle; its pixels stay sharp."""
    return add_element(
        root,
        "image",
        href=uri,
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        preserveAspectRatio="none",
        image_rendering="pixelated",
    )


def add_heatmap(
    root: ET.Element,
    values: ArrayLike,
    span: tuple[float, float],
    *,
    x: float,
    y: float,
    width: float,
    height: float,
) -> ET.Element:
    """A heat map of an array (H, W) over a rectangle; `span` are the values of the ends of the colour scale."""
    return add_image(root, heatmap_uri(values, *span), x, y, width, height)


def heatmap_grid(
    title: str,
    description: str,
    panels: Sequence[tuple[str, ArrayLike]],
    span: tuple[float, float],
    columns: int = 4,
) -> ET.Element:
    """Named arrays (H, W) side by side with one colour scale, which is drawn below them."""
    gap = 10.0
    head = 20.0
    side = (WIDTH - gap * (columns - 1)) / columns
    rows = math.ceil(len(panels) / columns)
    bottom = rows * (side + head + 6)
    root = canvas(bottom + 34, title, description)
    names = fit_names([name for name, _ in panels], side)
    for n, (name, values) in enumerate(panels):
        x = (n % columns) * (side + gap)
        y = (n // columns) * (side + head + 6)
        add_text(root, x, y + 14, names[n])
        add_tooltip(add_heatmap(root, values, span, x=x, y=y + head, width=side, height=side), name)
    add_heatmap(root, _colour_scale(), (0, 1), x=0, y=bottom + 4, width=160, height=10)
    add_text(root, 0, bottom + 30, f"{span[0]:.2g}", style="faint")
    add_text(root, 160, bottom + 30, f"{span[1]:.2g}", "end", "faint")
    return root


def strips(
    title: str,
    description: str,
    signal: NDArray[Any] | None,
    rows: Sequence[tuple[str, ArrayLike]],
    span: tuple[float, float],
) -> ET.Element:
    """A signal (C, W), and below it a strip per row of values (W,), over the same time.

    Args:
        signal: None where it must not be shown.
        span: values of the ends of the colour scale.
    """
    left = 130.0
    right = WIDTH - 6
    high = 0.0 if signal is None else 110.0
    step = 22.0
    root = canvas(high + 12 + step * len(rows) + 30, title, description)
    if signal is not None:
        add_text(root, left - 8, 20, "signal", "end")
        y = scale_over(value_range(signal), high, 8.0)
        x = Scale(0, signal.shape[1] - 1, left, right)
        for channel in signal[:SERIES]:
            add_element(root, "path", "thin s0", d=curve_path(channel, x, y), opacity="0.75")
    names = fit_names([name for name, _ in rows], left - 12)
    for n, (name, values) in enumerate(rows):
        top = high + 10 + step * n
        add_text(root, left - 8, top + 13, names[n], "end")
        row = np.asarray(values)[None]
        add_tooltip(add_heatmap(root, row, span, x=left, y=top, width=right - left, height=step - 4), name)
    bottom = high + 10 + step * len(rows) + 6
    add_heatmap(root, _colour_scale(), (0, 1), x=left, y=bottom, width=120, height=8)
    add_text(root, left - 8, bottom + 9, format_number(span[0]), "end", "faint")
    add_text(root, left + 128, bottom + 9, format_number(span[1]), style="faint")
    return root


def _colour_scale() -> NDArray[np.float64]:
    return np.linspace(0, 1, LEVELS)[None]
