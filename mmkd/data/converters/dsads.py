"""DSADS: five body-worn units, nineteen activities."""

import re
from pathlib import Path

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.data.converters.base import Arrays, find_files, read_numbers

DSADS_STEPS = np.tile(np.repeat([0.005, 0.001, 0.0002], 3), 5).astype(np.float32)
"""The step of each of the 45 channels; values are multiples of it, in m/s2, rad/s and the magnetometer's unit."""
DSADS_CLASSES = (
    "sitting",
    "standing",
    "lying_back",
    "lying_right",
    "ascending_stairs",
    "descending_stairs",
    "standing_elevator",
    "moving_elevator",
    "walking_parking",
    "treadmill_flat_4kmh",
    "treadmill_incline_4kmh",
    "treadmill_run_8kmh",
    "stepper",
    "cross_trainer",
    "cycling_horizontal",
    "cycling_vertical",
    "rowing",
    "jumping",
    "basketball",
)


def convert_dsads(folder: Path) -> Arrays:
    """DSADS: `aNN/pN/sNN.txt`, 125 lines of 45 numbers.

    Values are stored as first differences of whole numbers, in two bytes.
    """
    paths = []  # (class, subject, segment, path)
    for path in find_files(folder, "s*.txt"):
        match = re.fullmatch(r"a(\d+)/p(\d+)/s(\d+)\.txt", "/".join(path.parts[-3:]))
        if match is None or not 1 <= int(match[1]) <= len(DSADS_CLASSES):
            raise MmkdError(f"{'/'.join(path.parts[-3:])}: it should be like a01/p1/s01.txt, of 19 activities")
        paths.append((int(match[1]) - 1, int(match[2]), int(match[3]), path))
    paths.sort()
    high = np.empty((len(paths), 45, 125), np.int8)
    low = np.empty((len(paths), 45, 125), np.uint8)
    for row, (*_, path) in enumerate(paths):
        values = read_numbers(path, 45, ",")
        if len(values) != 125:
            raise MmkdError(f"{'/'.join(path.parts[-3:])}: {len(values)} lines; there should be 125")
        whole = np.round(values / DSADS_STEPS)
        if np.abs(whole).max() > 32767:
            raise MmkdError(f"{'/'.join(path.parts[-3:])}: a value past what 16 bits hold")
        before = np.vstack([np.zeros((1, 45)), whole[:-1]]).astype(np.int16)
        steps = (whole.astype(np.int16) - before).T  # wraps around, and so does the reader's sum
        high[row] = steps >> 8
        low[row] = steps & 255
    return {
        "hi": high,
        "lo": low,
        "scale": DSADS_STEPS,
        "y": np.array([label for label, _, _, _ in paths], np.int8),
        "subject": np.array([subject for _, subject, _, _ in paths], np.int8),
        "segment": np.array([segment for _, _, segment, _ in paths], np.int8),
        "class_names": np.array(DSADS_CLASSES),
    }
