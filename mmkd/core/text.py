"""Text for people: single printable lines, shortened names, file names."""

import hashlib
import re
import reprlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from typing import Any

LONGEST_NAME = 200
"""Characters of a name."""
LONGEST_PATH = 4096
"""Characters of a path, and of any text of a request."""
LONGEST_MESSAGE = 400
"""Characters of a message on a terminal."""


def printable(text: str) -> str:
    """The text as one line without control characters.

    >>> printable("a\\tb\\n c")
    'a b c'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, longest: int = LONGEST_NAME) -> str:
    """The text as one printable line of at most `longest` characters; a longer one is cut in the middle."""
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 20]}...{line[-17:]}"


def one_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """A message as one line, with control characters escaped; a line past `longest` is cut in the middle."""
    line = re.sub(r"\s*[\n\r\v\f]\s*", " ", text)
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if len(line) <= longest:
        return line
    end = min(145, longest // 3)
    return f"{line[: longest - end - 5]} ... {line[-end:]}"


class _Short(reprlib.Repr):
    """A `repr` that is short for every object: of what has a shape it says the shape, not the values."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 100
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 12

    def repr_instance(self, x: Any, level: int) -> str:
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple) and shape:
            return f"{type(x).__name__} of shape {tuple(shape)}"
        value = x.item() if shape == () and hasattr(x, "item") else x
        try:
            text = " ".join(repr(value).split())
        except Exception:  # an object of the user's may raise anything
            text = f"{type(x).__name__} object"
        return text if len(text) <= self.maxother else f"{text[: self.maxother - 43]}...{text[-40:]}"


def shown(value: Any) -> str:
    """`repr(value)` for a message: one line, long values cut in the middle, deep ones at the sixth level.

    >>> len(shown("x" * 1000))
    100
    """
    text = _Short().repr(value)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 43]}...{text[-40:]}"


def is_utf16(content: bytes) -> bool:
    """Whether the content of a text file begins as one in UTF-16 does, with its mark or without."""
    pair = content[:2]
    if content.startswith((BOM_UTF32_LE, BOM_UTF32_BE)):
        return False
    return pair in (BOM_UTF16_LE, BOM_UTF16_BE) or (len(pair) == 2 and pair.count(0) == 1 and max(pair) < 128)


def not_utf8(content: bytes) -> str:
    """What is wrong with the content of a text file that is not UTF-8, and what to do.

    >>> not_utf8("a,b".encode("utf-16"))
    'it is UTF-16; save it as UTF-8'
    >>> not_utf8(bytes([0, 255, 255]))
    'it is not UTF-8; save it as UTF-8'
    """
    return f"it is {'UTF-16' if is_utf16(content) else 'not UTF-8'}; save it as UTF-8"


def slug(name: str, longest: int = 80) -> str:
    """The name as a file name. A name that had to be changed gets a checksum, so that no two names collide.

    >>> slug("fam"), slug("a b")
    ('fam', 'a-b-c8687a08')
    """
    plain = re.sub(r"[^A-Za-z0-9.=+]+", "-", name).strip("-.")
    if plain == name and len(plain) <= longest:
        return plain
    return f"{plain[:longest].strip('-.') or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def portable(command: str) -> str:
    """A command without the folders of the machine it ran on: of an absolute path its last part."""
    return re.sub(r"(?<![^\s=,])/(?:[^\s/,]+/)*([^\s/,]*)", r"\1", command)


def snake_case(name: str) -> str:
    """A class name in snake case.

    >>> snake_case("STAND_TO_SIT"), snake_case("Stand to sit")
    ('stand_to_sit', 'stand_to_sit')
    """
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def capital(text: str) -> str:
    """A text that begins a sentence: with a capital, unless its first word has one, as `mIoU` has.

    >>> capital("macro-F1 of two"), capital("mIoU of two")
    ('Macro-F1 of two', 'mIoU of two')
    """
    first = re.split(r"[^A-Za-z]", text, maxsplit=1)[0]
    return f"{text[0].upper()}{text[1:]}" if first.islower() else text
