"""Settings and numbers as the page shows them."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mmkd.core.text import printable, shorten
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training

UNSET = {f.name: f.default for f in (*fields(DataSpec), *fields(Training)) if f.default in (0, False, "", ())}
"""Settings whose default says that nothing is done -> that default; the page leaves them out while they have it."""


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def setting(value: Any) -> str:
    """A setting as a reader sees it."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return shorten(", ".join(value), 400)
    return shorten(value if isinstance(value, str) else json.dumps(value, default=str)) or "none"


def told_settings(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of name and text of the settings that say something: neither empty, nor unset as `UNSET` has it."""
    known = {name: value for name, value in facts.items() if value not in (None, "", [], {}, ())}
    told = [(name, value) for name, value in known.items() if UNSET.get(name.rpartition(".")[2]) != value]
    return [(printable(str(name)), setting(value)) for name, value in told]
