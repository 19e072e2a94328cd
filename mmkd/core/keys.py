"""Keys of what is kept, and seeds by role: hashes of plain values."""

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_for(seed: int, role: str) -> int:
    """A seed of its own for each role, so that adding a draw in one place moves no other.

    Roles: "split", "teacher/MODALITY", "student", "batches", "method".
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{role}".encode()).digest()[:6], "big")
