"""Hashes of plain values, used as keys of cache entries and records, and random seeds derived for each role."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.text import shown


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    Raises:
        MmkdError: JSON has no such value, as an option of a plugin may have.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    try:
        text = _canonical(value)
    except (TypeError, ValueError):
        raise MmkdError(describe_odd(value)) from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_odd(value: Any) -> str:
    """What is said of the first part of a value that JSON does not have, such as NaN or a path."""
    name, part = _find_odd(value)
    return (
        f"{name} = {shown(part)} ({type(part).__name__}) cannot be kept in a record; give a text, a finite number, "
        f"true, false, none, or a list or mapping of these"
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _find_odd(value: Any, name: str = "") -> tuple[str, Any]:
    """Name, such as "options.weight", and value of the first innermost part of a value that JSON does not have."""
    inner = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    for own, part in inner.items() if isinstance(inner, Mapping) else ():
        try:
            _canonical(part)
        except (TypeError, ValueError):
            return _find_odd(part, f"{name}.{own}" if name else str(own))
    return name, value


def seed_for(seed: int, role: str) -> int:
    """Derive a separate seed for each role, so that an additional draw in one place changes no other.

    Roles: "split", "teacher/MODALITY", "student", "batches", "method".
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{role}".encode()).digest()[:6], "big")
