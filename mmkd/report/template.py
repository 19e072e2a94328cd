"""A page of its own from a template: its style and script are in it, and it asks for nothing.

The content security policy of the page names style and script by their hashes. Texts are escaped by jinja2.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd.core.text import printable
from mmkd.drawing.style import DARK, LIGHT, css

WEB = Path(__file__).parent / "web"
SOFT = {"light": "#f1f3f5", "dark": "#20252b"}
"""Behind what is pointed at."""


def fill_template(template: Path, styles: Sequence[str], scripts: Sequence[str], context: Mapping[str, Any]) -> str:
    """The page of a template.

    Args:
        styles: names of style sheets, beside the template or in `mmkd/report/web/`; those of colours and figures are
            added. scripts: of scripts.
        context: the variables of the template; `style`, `script`, `style_hash` and `script_hash` are added.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    style = f"{_colours()}\n{_text(template, styles)}{css()}\n"
    script = _text(template, scripts)
    engine = Environment(
        loader=FileSystemLoader([template.parent, WEB]),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    fixed = {"style": Markup(style), "script": Markup(script), "style_hash": _hash(style), "script_hash": _hash(script)}
    return engine.get_template(template.name).render({**context, **fixed}) + "\n"


def _text(template: Path, names: Sequence[str]) -> str:
    paths = [path if (path := template.parent / name).is_file() else WEB / name for name in names]
    return "".join(path.read_text(encoding="utf-8") for path in paths)


def _hash(text: str) -> str:
    """As a content security policy names a text."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _colours() -> str:
    """The colours of both schemes; paper is always light."""

    def rule(scheme: Mapping[str, str], soft: str) -> str:
        return ":root{" + ";".join(f"--{name}:{value}" for name, value in {**scheme, "soft": soft}.items()) + "}"

    dark = rule(DARK, SOFT["dark"])
    return f"{rule(LIGHT, SOFT['light'])}\n@media screen and (prefers-color-scheme:dark){{{dark}}}"
