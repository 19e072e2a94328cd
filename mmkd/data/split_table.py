"""A fixed split in a table: `--split FILE.csv` with columns subject,part or window,part.

A part is train, validation or test. Every subject, or window (counted from 0, as in the file), must be in it.
Validation windows choose the epoch under `--epoch-rule val-best`; under `last` they are training windows as any other.
"""

import csv
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import not_utf8, shorten, shown
from mmkd.data.dataset import Dataset
from mmkd.data.formats import FileContent

PARTS = ("train", "validation", "test")
FORM = "a table has a line 'subject,part' or 'window,part', and parts train, validation or test"


class WindowParts(NamedTuple):
    """Which of N windows are for the test and for validation, (N,) each; and a checksum of both."""

    test: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    sha256: str


def is_table(split: str) -> bool:
    """Whether `--split` names a table of parts."""
    return split.lower().endswith(".csv")


def read_parts(path: str | Path, windows: int, subject: NDArray[np.generic] | None) -> WindowParts:
    """The parts of N windows.

    Args:
        windows: N.
        subject: (N,) their subjects; None if there are none.

    Raises:
        MmkdError: the file is no such table, names something that there is not, or leaves something out; or a subject
            would be on both sides.
    """
    try:
        return _parts(_read_table(Path(path)), windows, subject)
    except OSError as error:
        raise MmkdError(f"--split {path}: {error.strerror or error}") from None
    except MmkdError as error:
        raise MmkdError(f"--split {path}: {error}") from None


def _read_table(path: Path) -> tuple[str, dict[str, str]]:
    """The first column's name, and the part of each of its entries."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [[entry.strip() for entry in row] for row in csv.reader(stream) if any(map(str.strip, row))]
    except UnicodeDecodeError as error:
        raise MmkdError(f"not a table of texts: {not_utf8(error.object)}; {FORM}") from None
    except csv.Error as error:
        raise MmkdError(f"not a table of texts ({error!s:.80}); {FORM}") from None
    if not rows or [name.lower() for name in rows[0]] not in (["subject", "part"], ["window", "part"]):
        found = shorten(",".join(rows[0]), 80) if rows else ""
        raise MmkdError(f"its first line is {shown(found)}; {FORM}")
    parts: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or row[1].lower() not in PARTS or not row[0]:
            raise MmkdError(f"line {number} is {shown(','.join(row))}; {FORM}")
        if row[0] in parts:
            raise MmkdError(f"{rows[0][0]} {shown(row[0])} stands there twice, the second time in line {number}")
        parts[row[0]] = row[1].lower()
    return rows[0][0].lower(), parts


def _parts(table: tuple[str, dict[str, str]], windows: int, subject: NDArray[np.generic] | None) -> WindowParts:
    column, parts = table
    if column == "subject" and subject is None:
        raise MmkdError("the data has no subjects; write a table with columns window,part")
    of_window = np.arange(windows) if column == "window" or subject is None else subject
    known = {str(name).strip(): number for number, name in enumerate(np.unique(of_window).tolist())}
    if len(known) < len(np.unique(of_window)):
        raise MmkdError(f"names of {column}s differ only in the blanks around them; rename them in the data")
    unknown = [name for name in parts if name not in known]
    lacking = [name for name in known if name not in parts]
    if unknown:
        has = f"{windows:,} windows, from 0" if column == "window" else shorten(", ".join(known), 100)
        raise MmkdError(f"there is no {column} {shown(unknown[0])}; there are {has}")
    if lacking:
        raise MmkdError(f"{len(lacking):,} of {len(known):,} {column}s are not in it, the first is {lacking[0]}")
    number = np.array([PARTS.index(parts[name]) for name in known])[np.unique(of_window, return_inverse=True)[1]]
    if subject is not None and column == "window":
        sides = np.unique(np.stack([np.unique(subject, return_inverse=True)[1], number]), axis=1)[0]
        both = np.unique(subject)[np.flatnonzero(np.bincount(sides) > 1)].tolist()
        if both:
            raise MmkdError(f"windows of subject {both[0]} are in several parts; keep the {len(both)} such whole")
    test, validation = number == 2, number == 1
    if not test.any() or not (number == 0).any():
        raise MmkdError(f"no {column} is in part {'test' if not test.any() else 'train'}")
    return WindowParts(test, validation, sha256(number.astype(np.uint8).tobytes()).hexdigest())


def split_content(content: FileContent, path: str | Path) -> tuple[FileContent, WindowParts]:
    """The content of a user's file with the test windows of a table; and its parts.

    Raises:
        MmkdError: as `read_parts`.
    """
    subject = content.subject if content.subject is not None else content.recording
    parts = read_parts(path, len(content.x), subject)
    return content._replace(test=parts.test), parts


def with_parts(data: Dataset, parts: WindowParts) -> Dataset:
    """The data set with these parts, before its missing values are handled; the checksum changes."""
    checksum = sha256(f"{data.sha256} parts {parts.sha256}".encode()).hexdigest()
    validation = parts.validation if parts.validation.any() else None
    return replace(data, test=parts.test, validation=validation, test_from="file", sha256=checksum)


def split_dataset(data: Dataset, path: str | Path) -> Dataset:
    """A data set that is complete, with the parts of a table.

    Raises:
        MmkdError: as `read_parts`; or the data set has series, or windows were left out before they were counted, or a
            class is in the test part alone.
    """
    if data.series is not None:
        raise MmkdError(f"--split {path}: data {data.name!r} has series, which are split in time; leave it out")
    parts = read_parts(path, len(data.x), data.subject)
    for k, name in enumerate(data.classes):
        if (data.y[parts.test] == k).any() and not (data.y[~parts.test] == k).any():
            raise MmkdError(f"--split {path}: class {name!r} has test windows and none for training")
    return with_parts(data, parts)
