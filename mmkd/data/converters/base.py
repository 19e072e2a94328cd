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
