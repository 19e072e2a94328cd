"""Figures and plain tables of the page."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from mmkd.drawing.svg import inline, standalone


@dataclass(frozen=True)
class Figure:
    """One figure of the page; `svg` is markup, and `wide`, if it is not empty, the same for a wide screen."""

    id: str
    title: str
    caption: str
    svg: Any
    wide: Any = ""


@dataclass
class Album:
    """The figures of a page, and their files: path below the folder of the report -> SVG; and an index of them."""

    files: dict[str, str] = field(default_factory=dict)
    index: dict[str, dict[str, str]] = field(default_factory=dict)

    def figure(
        self, folder: str, name: str, title: str, caption: str, chart: ET.Element, wide: ET.Element | None = None
    ) -> Figure:
        """Add a figure; `wide` is the same for a wide screen."""
        from markupsafe import Markup

        path = f"figures/{folder}/{name}.svg"
        text = standalone(chart)
        self.files[path] = text
        self.index[path] = {"title": title, "caption": caption, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        return Figure(
            f"{folder}-{name}", title, caption, Markup(inline(chart)), Markup("" if wide is None else inline(wide))
        )


@dataclass(frozen=True)
class Table:
    """A plain table: the first cell of a row is its head."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
