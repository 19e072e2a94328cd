"""What the converters share: finding files, reading numbers, and joining recordings."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.recordings import Recording

Arrays = dict[str, NDArray[Any]]
ROWS = 100_000
"""Lines of text that are read at a time."""


def find_files(folder: Path, pattern: str) -> list[Path]:
    """The files anywhere below the folder whose names match the pattern, sorted by path.

    Raises:
        MmkdError: there is none.
    """
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file() and "__MACOSX" not in path.parts)
    if not paths:
        raise MmkdError(f"there is no {pattern} among these files")
    return paths


def find_file(folder: Path, name: str) -> Path:
    """The file of this name anywhere below the folder.

    Raises:
        MmkdError: there is none, or several with different content.
    """
    first, *others = find_files(folder, name)
    for other in others:
        if other.read_bytes() != first.read_bytes():
            raise MmkdError(
                f"there are two different files {name}: {first.relative_to(folder)} and {other.relative_to(folder)}; "
                f"name the folder of one of them with --originals"
            )
    return first


def check_lines(one: Path, lines: int, other: Path, other_lines: int) -> None:
    """Check that two files that go together, line by line, have the same number of lines.

    Raises:
        MmkdError: they do not.
    """
    if lines != other_lines:
        short = one if lines < other_lines else other
        raise MmkdError(
            f"{one.name} has {lines:,} lines and {other.name} {other_lines:,}; they go together line by line, and "
            f"{short.name} is probably cut off: unpack the archive again"
        )


def read_whole_numbers(path: Path, columns: int) -> NDArray[np.int64]:
    """The whole numbers in a text file, (lines, columns).

    Raises:
        MmkdError: the file has something else, with its name and the first such line.
    """
    values = read_numbers(path, columns)
    wrong = (values != np.round(values)).any(axis=1)  # NaN, too
    if wrong.any():
        raise MmkdError(f"{path.name}: line {int(wrong.argmax()) + 1} holds something else than whole numbers")
    return values.astype(np.int64)


def read_numbers(path: Path, columns: int, delimiter: str | None = None) -> NDArray[np.float64]:
    """The numbers in a text file, (lines, columns).

    Raises:
        MmkdError: the file has something else, with its name.
    """
    try:
        array = np.loadtxt(path, dtype=np.float64, delimiter=delimiter, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise MmkdError(f"{path.name}: not {columns} numbers a line ({' '.join(str(error).split())[:120]})") from None
    if array.shape[1] != columns or not len(array):
        raise MmkdError(
            f"{path.name}: {array.shape[1]} numbers a line in {len(array)} lines; there should be {columns}"
        )
    return array


def join_recordings(recordings: Iterable[Recording], classes: tuple[str, ...]) -> Arrays:
    """Recordings as one stream: x (T, C) and y (T,), and the start and subject of each recording.

    Raises:
        MmkdError: the recordings have no samples.
    """
    recordings = list(recordings)
    lengths = [len(recording.labels) for recording in recordings]
    if not sum(lengths):
        raise MmkdError("there is no sample among these files")
    x = np.empty((sum(lengths), recordings[0].signal.shape[0]), np.float32)
    starts = np.cumsum([0, *lengths[:-1]])
    for start, length, recording in zip(starts, lengths, recordings, strict=True):
        x[start : start + length] = recording.signal.T
    return {
        "x": x,
        "y": np.concatenate([recording.labels for recording in recordings]).astype(np.int8),
        "start": starts.astype(np.int64),
        "subject": np.array([recording.subject for recording in recordings], np.int16),
        "class_names": np.array(classes),
    }
