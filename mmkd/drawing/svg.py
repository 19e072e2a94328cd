"""SVG elements: a canvas, shapes, texts with tooltips, and the finished figure as text.

Every text passes through ElementTree, which escapes it. Coordinates are in pixels, rounded to tenths.
"""

import math
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from mmkd.core.text import printable, shorten
from mmkd.drawing.style import DARK, FONT, LIGHT, STYLES
from mmkd.drawing.text import fit_text, text_width

WIDTH = 480.0
"""Width of most figures. A page shows them at this size, and lets them scroll on a narrower screen."""
NARROW = 360.0
"""Width of a figure of which the right part matters most: a telephone shows all of it."""
WIDE = 760.0
"""Width of a figure over time, and of others that only a file shows."""
MARGIN = 12.0
"""Around a figure with a heading."""
NAMESPACE = "{http://www.w3.org/2000/svg}"


def canvas(height: float, title: str, description: str, width: float = WIDTH) -> ET.Element:
    """An empty figure; `title` and `description` are for readers who do not see it, and for tooltips."""
    root = ET.Element(
        "svg",
        {
            "xmlns": NAMESPACE[1:-1],
            "viewBox": f"0 0 {coordinate(width)} {coordinate(height)}",
            "width": coordinate(width),
            "height": coordinate(height),
            "class": "chart",
            "role": "img",
            "aria-label": printable(f"{title}. {description}"),
        },
    )
    ET.SubElement(root, "title").text = printable(title)
    ET.SubElement(root, "desc").text = printable(description)
    return root


def add_heading(chart: ET.Element, heading: str, note: str = "") -> ET.Element:
    """The same figure with a margin, below a line of heading, and a fainter line if there is a note."""
    heading = printable(heading)
    longest = 1.08 * max(text_width(heading), text_width(note))
    width = max(float(chart.attrib["width"]), min(WIDTH, longest)) + 2 * MARGIN
    shift = 52.0 if note else 34.0
    title, description, *content = list(chart)
    root = canvas(shift + float(chart.attrib["height"]) + MARGIN, title.text or "", description.text or "", width)
    room = width - 2 * MARGIN
    add_text(root, MARGIN, 22, heading, style="text", room=room)
    if note:
        add_text(root, MARGIN, 40, note, style="faint", room=room)
    add_element(root, "g", transform=f"translate({coordinate(MARGIN)} {coordinate(shift)})").extend(content)
    return root


def inline(chart: ET.Element) -> str:
    """The figure as an element of a page that has the style sheet `style.css`."""
    return ET.tostring(chart, encoding="unicode")


def standalone(chart: ET.Element) -> str:
    """The figure as a file of its own, with its background.

    Every element has its light colours, which all programs show; a style sheet has the dark ones, for browsers of
    readers who prefer them.
    """
    root = ET.fromstring(ET.tostring(chart, encoding="unicode"))
    root.insert(2, ET.Element(f"{NAMESPACE}rect", {"width": "100%", "height": "100%", "fill": "@paper"}))
    dark = {}
    for element in root.iter():
        style: dict[str, str] = {}
        for name in element.attrib.pop("class", "").split():
            style |= STYLES.get(name, {})
        colour = style.pop("color", "@ink")
        style |= {key: value for key, value in element.attrib.items() if value[:1] == "@"}
        classes = []
        for key, value in style.items():
            resolved = colour if value == "currentColor" else value
            if resolved[:1] == "@":
                name = f"{key[0]}-{resolved[1:]}"
                dark[f".{name}"] = f"{key}:{DARK[resolved[1:]]}"
                classes.append(name)
                resolved = LIGHT[resolved[1:]]
            element.set(key, resolved)
        if classes:
            element.set("class", " ".join(classes))
    rules = "".join(f"{name}{{{rule}}}" for name, rule in sorted(dark.items()))
    sheet = ET.Element(f"{NAMESPACE}style")
    sheet.text = f"@media screen and (prefers-color-scheme:dark){{{rules}}}"
    root.insert(2, sheet)
    root.set("font-family", FONT)
    ET.register_namespace("", NAMESPACE[1:-1])
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def add_element(parent: ET.Element, tag: str, style: str = "", **attributes: Any) -> ET.Element:
    """A new child element; `stroke_width=2` becomes `stroke-width="2"`, and `style` its class names."""
    values = {"class": style} if style else {}
    for key, value in attributes.items():
        name = key.rstrip("_").replace("_", "-")
        values[name] = coordinate(value) if isinstance(value, float) else str(value)
    return ET.SubElement(parent, tag, values)


def add_text(
    parent: ET.Element, x: float, y: float, text: str, anchor: str = "start", style: str = "small", room: float = 0.0
) -> ET.Element:
    """A text; if it is wider than `room` (in pixels, 0: no limit) it is cut, and its tooltip has all of it."""
    element = add_element(parent, "text", style, x=float(x), y=float(y))
    if anchor != "start":
        element.set("text-anchor", anchor)
    full = printable(text)
    element.text = fit_text(full, room) if room else full
    if element.text != full:
        add_tooltip(element, full)
    return element


def add_tooltip(parent: ET.Element, text: str) -> None:
    """The text that a browser shows while the pointer rests on an element."""
    ET.SubElement(parent, "title").text = shorten(text)


def add_marker(parent: ET.Element, shape: str, x: float, y: float, style: str, size: float = 4.5) -> ET.Element:
    """A marker centred at (x, y); `shape` is one of `style.SHAPES`."""
    r = size
    if shape == "circle":
        return add_element(parent, "circle", style, cx=float(x), cy=float(y), r=float(r))
    outlines = {
        "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
        "triangle": [(0, -1.2 * r), (1.15 * r, 0.9 * r), (-1.15 * r, 0.9 * r)],
        "diamond": [(0, -1.35 * r), (1.35 * r, 0), (0, 1.35 * r), (-1.35 * r, 0)],
        "cross": [(-1, -0.35), (-0.35, -1), (0, -0.65), (0.35, -1), (1, -0.35), (0.65, 0), (1, 0.35), (0.35, 1),
                  (0, 0.65), (-0.35, 1), (-1, 0.35), (-0.65, 0)],
        "plus": [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
                 (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)],
    }  # fmt: skip
    scale = r if shape in ("cross", "plus") else 1.0
    points = " ".join(f"{coordinate(x + scale * dx)},{coordinate(y + scale * dy)}" for dx, dy in outlines[shape])
    return add_element(parent, "polygon", style, points=points)


def path_data(x: Sequence[float], y: Sequence[float]) -> str:
    """The attribute `d` of a path through points, with a gap at each point that is not finite."""
    parts = []
    pen = "M"
    for a, b in zip(x, y, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            pen = "M"
            continue
        parts.append(f"{pen}{coordinate(a)} {coordinate(b)}")
        pen = "L"
    return "".join(parts)


def coordinate(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
