"""Texts for people: one printable line, names cut to a length, names of files."""

import hashlib
import re

LONGEST_NAME = 200
"""Characters of a name."""
LONGEST_MESSAGE = 400
"""Characters of a message on a terminal."""


def printable(text: str) -> str:
    """A text as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """A name as one printable line of at most so many characters."""
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 20]}...{line[-17:]}"


def one_line(text: str) -> str:
    """Text as one printable line; what is longer than a message of ours is cut in the middle."""
    line = re.sub(r"\s*[\n\r\v\f]\s*", " ", text)
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 150]} ... {line[-145:]}"


def slug(name: str, longest: int = 80) -> str:
    """A name as one of a folder; names that would meet keep apart by a checksum."""
    plain = re.sub(r"[^A-Za-z0-9.=+]+", "-", name).strip("-.")
    if plain == name and len(plain) <= longest:
        return plain
    return f"{plain[:longest].strip('-.') or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def snake_case(name: str) -> str:
    """A class name in snake case: `STAND_TO_SIT` and `Stand to sit` are `stand_to_sit`."""
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")
