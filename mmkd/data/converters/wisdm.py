"""WISDM v1.1: the accelerometer of a phone, six activities."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.converters.base import ROWS, Arrays, find_files, join_recordings
from mmkd.data.recordings import Recording, split_at_gaps

WISDM_CLASSES = ("Walking", "Jogging", "Upstairs", "Downstairs", "Sitting", "Standing")
WISDM_ENTRY = re.compile(
    r"\s*(\d+)\s*,\s*([A-Za-z]+)\s*,\s*(\d+)\s*" + r",\s*(-?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*" * 3 + ",?"
)


def convert_wisdm(folder: Path, longest_gap_s: float = 1.0) -> Arrays:
    """WISDM v1.1: `WISDM_ar_v1.1_raw.txt`, entries `user,activity,nanoseconds,x,y,z;`, some of them damaged.

    Damaged entries are left out and counted in `damaged`. A recording ends where the next user starts, or where the
    time between two entries is negative or longer than `longest_gap_s` seconds.
    """
    codes = {name: k for k, name in enumerate(WISDM_CLASSES)}
    rows: list[NDArray[np.float64]] = []
    damaged = 0

    def flush(lines: list[tuple[float, ...]]) -> None:
        if lines:
            rows.append(np.array(lines))
            lines.clear()

    lines: list[tuple[float, ...]] = []
    path = find_files(folder, "WISDM_ar_v1.1_raw.txt")[0]
    with path.open(encoding="utf-8", errors="replace") as stream:
        for entry in (entry for line in stream for entry in line.split(";")):
            if not entry.strip(" ,\r\n\t"):
                continue
            match = WISDM_ENTRY.fullmatch(entry.strip())
            if match is None or match[2] not in codes:
                damaged += 1
                continue
            user, activity, time, *axes = match.groups()
            lines.append((int(user), codes[activity], int(time) / 1e9, *map(float, axes)))
            if len(lines) == ROWS:
                flush(lines)
    flush(lines)
    if not rows:
        raise MmkdError(f"{path.name}: no entry of the form user,activity,time,x,y,z;")
    table = np.concatenate(rows)

    def recordings() -> Iterator[Recording]:
        borders = [0, *(np.flatnonzero(np.diff(table[:, 0])) + 1), len(table)]
        for start, stop in itertools.pairwise(borders):
            part = table[start:stop]
            recording = Recording(part[:, 3:].T, part[:, 1].astype(np.int64), int(part[0, 0]))
            yield from split_at_gaps(recording, part[:, 2], longest_gap_s)

    return join_recordings(recordings(), WISDM_CLASSES) | {"damaged": np.array(damaged)}
