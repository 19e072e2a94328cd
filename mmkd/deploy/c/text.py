"""Texts and tables in C source, safe whatever is in them."""

from collections.abc import Iterable

import numpy as np

WIDTH = 100
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+=.,:;()[]<>#%&@!'^~|/")


def string(text: str) -> str:
    """A C string literal with the UTF-8 bytes of a text.

    >>> print(string('a"b?'))
    "a\\"b\\?"
    """
    parts = []
    for byte in text.encode("utf-8", "replace"):
        character = chr(byte)
        if character in '"\\?':  # ??/ is another character in C99
            parts.append("\\" + character)
        else:
            parts.append(character if 32 <= byte < 127 else f"\\{byte:03o}")
    return f'"{"".join(parts)}"'


def comment(text: object) -> str:
    """One line that may stand in a C comment: whatever could end it, begin another or continue a line is replaced.

    >>> comment("a */ b")
    'a _/ b'
    """
    return "".join(character if character in PLAIN else "_" for character in str(text))


def table(kind: str, name: str, values: Iterable[object]) -> str:
    """A constant array of numbers that are written as they are."""
    lines = [f"static const {kind} {name}[] = {{"]
    line = "   "
    for value in values:
        word = f" {value},"
        if len(line) + len(word) > WIDTH:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join([*lines, line, "};", ""])


def float_text(value: np.float32) -> str:
    """A float32 as a C literal that reads back as the same number."""
    text = np.format_float_scientific(value, unique=True, trim="0", exp_digits=2)
    return f"{text}f"
