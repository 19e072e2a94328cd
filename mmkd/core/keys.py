"""Hashes of plain values, used as keys of cache entries and records, and random seeds derived for each role."""

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_for(seed: int, role: str) -> int:
    """Derive a separate seed for each role, so that an additional draw in one place changes no other.

    Roles: "split", "teacher/MODALITY", "student", "batches", "method".
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{role}".encode()).digest()[:6], "big")
