"""Settings and numbers as the page shows them."""

import json
from typing import Any

from mmkd.core.text import shorten


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def setting(value: Any) -> str:
    """A setting as a reader sees it."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return shorten(", ".join(value), 400)
    return shorten(value if isinstance(value, str) else json.dumps(value, default=str)) or "none"
