"""A file of results cut into lines and fields, within limits; the form of a line, not what it says."""

import csv
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.text import is_utf16, not_utf8, shown
from mmkd.results.columns import COLUMNS

LARGEST_FILE = 8 << 20
MOST_LINES = 50_000
LONGEST_LINE = 2_000
LONGEST_FIELD = 200
KEPT = 10_000
"""Problems that are kept; a file of nonsense has more."""


@dataclass
class Problems:
    """What is wrong with a file: (number of a line, 0 for the whole file, and a sentence), in the order of lines."""

    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, text: str) -> None:
        """Add a sentence about a line."""
        if len(self.found) < KEPT:
            self.found.append((number, text))

    def __bool__(self) -> bool:
        return bool(self.found)


def read_file(path: Path, largest: int, what: str) -> bytes:
    """The content of a plain file of at most `largest` bytes.

    Raises:
        MmkdError: it is none.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MmkdError(f"{what} {path}: it is no plain file")
        if status.st_size > largest:
            raise MmkdError(f"{what} {path}: it has {status.st_size:,} bytes; at most {largest:,} are read")
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except ValueError as error:  # a name with a zero byte
        raise MmkdError(f"{what} {shown(str(path))}: {error}") from None
    except OSError as error:
        raise MmkdError(f"{what} {shown(str(path))[1:-1]}: {error.strerror or error}") from None
    if len(content) > largest:
        raise MmkdError(f"{what} {path}: it grows while it is read")
    return content


def read_fields(content: bytes, problems: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """(number, column -> text) of each line behind the head that has the form of one.

    A byte order mark and line ends of Windows are allowed, as spreadsheets write them. A field may stand in quotes, but
    no line end in it.
    """
    if is_utf16(content):
        problems.add(1, not_utf8(content))
        return
    if b"\0" in content:
        problems.add(1 + content[: content.index(b"\0")].count(b"\n"), "it has a zero byte")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(1 + content[: error.start].count(b"\n"), not_utf8(content))
        return
    lines = text.replace("\r\n", "\n").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        problems.add(0, "it is empty")
        return
    if len(lines) > MOST_LINES:
        problems.add(MOST_LINES + 1, f"it has {len(lines):,} lines; at most {MOST_LINES:,} are read")
        return
    head = _split(1, lines[0], problems)
    if head is None or not _is_head(head, problems):
        return
    if len(lines) == 1:
        problems.add(1, "it has a head and no line of results")
    for number, line in enumerate(lines[1:], 2):
        fields = _split(number, line, problems)
        if fields is None:
            continue
        if len(fields) != len(COLUMNS):
            problems.add(number, f"it has {len(fields)} fields instead of {len(COLUMNS)}")
            continue
        yield number, dict(zip(COLUMNS, fields, strict=True))


def _split(number: int, line: str, problems: Problems) -> list[str] | None:
    """The fields of a line; None if it has not the form of one."""
    if not line.strip():
        problems.add(number, "it is empty")
        return None
    if len(line) > LONGEST_LINE:
        problems.add(number, f"it has {len(line):,} characters; at most {LONGEST_LINE:,} are read")
        return None
    if not line.isprintable():
        odd = next(c for c in line if not c.isprintable())
        problems.add(number, f"it has the control character {shown(odd)}")
        return None
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error:
        problems.add(number, "its quotes do not match; a field has no line end and no quote inside")
        return None
    fields = rows[0] if len(rows) == 1 else []
    if long := [text for text in fields if len(text) > LONGEST_FIELD]:
        problems.add(number, f"a field has {len(long[0]):,} characters; at most {LONGEST_FIELD} are read")
        return None
    return fields


def _is_head(names: Sequence[str], problems: Problems) -> bool:
    """Whether the first line has the names of the columns; if not, that is said."""
    if 4 * len(set(names) & set(COLUMNS)) < len(COLUMNS):  # a word of another line may be a column's name by chance
        first = shown("".join(names[:1]))
        problems.add(1, f"it is no head of results: it begins with {first}; the columns are {', '.join(COLUMNS)}")
        return False
    before = len(problems.found)
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.add(1, f"the column {shown(name)} stands there {names.count(name)} times")
        if name not in COLUMNS:
            problems.add(1, f"unknown column {shown(name)}{did_you_mean(name, COLUMNS)}")
    for name in COLUMNS:
        if name not in names:
            problems.add(1, f"the column {name!r} is missing")
    if len(problems.found) == before and tuple(names) != COLUMNS:
        problems.add(1, f"the columns are in another order than {', '.join(COLUMNS)}")
    return len(problems.found) == before
