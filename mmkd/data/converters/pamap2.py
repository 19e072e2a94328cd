"""PAMAP2: three body-worn units of accelerometers, gyroscope and magnetometer, and twelve activities."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.data.converters.base import ROWS, Arrays, find_files, join_recordings
from mmkd.data.recordings import Missing, Recording, check_choice, split_at_gaps, subsample

PAMAP2_CLASSES = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "nordic_walking",
    12: "ascending_stairs",
    13: "descending_stairs",
    16: "vacuum_cleaning",
    17: "ironing",
    24: "rope_jumping",
}
"""Activity number -> name."""


def convert_pamap2(folder: Path, missing: Missing = "linear", every: int = 3, longest_gap_s: float = 1.0) -> Arrays:
    """PAMAP2: `Protocol/subjectNNN.dat`, 54 columns, of which 40 are taken (no orientation).

    Args:
        missing: how missing values inside a recording are filled; see `recordings.fill_missing`.
        every: one of so many samples is taken.
        longest_gap_s: a recording ends where the time between two samples is longer than this, in seconds.
    """
    import pandas as pd

    check_choice(missing, Missing, "policy for missing values")
    sensor = np.arange(13)  # temperature, two accelerometers, gyroscope, magnetometer; four of the orientation follow
    columns = [2, *(3 + sensor), *(20 + sensor), *(37 + sensor)]
    number = np.full(256, -1, np.int64)
    number[list(PAMAP2_CLASSES)] = np.arange(len(PAMAP2_CLASSES))

    def recordings() -> Iterator[Recording]:
        paths = [path for path in find_files(folder, "subject*.dat") if path.parent.name != "Optional"]
        for path in paths or find_files(folder, "Protocol/subject*.dat"):
            match = re.fullmatch(r"subject(\d+)\.dat", path.name)
            if match is None:
                raise MmkdError(f"{path.name}: its name should be subject101.dat")
            times = []
            labels = []
            values = []
            try:
                with pd.read_csv(path, sep=r"\s+", header=None, chunksize=ROWS, dtype=np.float64) as chunks:
                    for chunk in chunks:
                        if chunk.shape[1] != 54:
                            raise MmkdError(f"{path.name}: {chunk.shape[1]} columns; there should be 54")
                        times.append(chunk[0].to_numpy())
                        labels.append(chunk[1].to_numpy())
                        values.append(chunk[columns].to_numpy(np.float32))
            except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are among them
                why = " ".join(str(error).split())[:120]
                raise MmkdError(f"{path.name}: not 54 numbers a line ({why})") from None
            activity = np.concatenate(labels)
            if np.isnan(activity).any() or activity.min() < 0 or activity.max() > 255:
                raise MmkdError(f"{path.name}: an activity in column 2 is not a number from 0 to 255")
            signal = np.concatenate(values)
            values.clear()  # halves the memory
            whole = Recording(signal.T, number[activity.astype(np.int64)], int(match[1]))
            for part in split_at_gaps(whole, np.concatenate(times), longest_gap_s, missing):
                recording = subsample(part, every)
                yield recording._replace(signal=recording.signal.copy())

    return join_recordings(recordings(), tuple(PAMAP2_CLASSES.values()))
