"""MotionSense: the motion sensors of a phone in a pocket, six activities."""

import re
from pathlib import Path

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.data.converters.base import Arrays, find_files

MOTIONSENSE_CLASSES = ("dws", "ups", "wlk", "jog", "sit", "std")
MOTIONSENSE_COLUMNS = tuple(
    f"{sensor}.{axis}" for sensor in ("gravity", "rotationRate", "userAcceleration") for axis in "xyz"
)


def convert_motionsense(folder: Path) -> Arrays:
    """MotionSense: `ACTIVITY_TRIAL/sub_N.csv` with named columns.

    Values are stored as whole numbers of 16 bits with a scale for each channel.
    """
    import pandas as pd

    sequences = []  # (folder, subject, class, trial, values)
    for path in find_files(folder, "sub_*.csv"):
        match = re.fullmatch(r"([a-z]+)_(\d+)/sub_(\d+)\.csv", f"{path.parent.name}/{path.name}")
        if match is None or match[1] not in MOTIONSENSE_CLASSES:
            raise MmkdError(f"{path.parent.name}/{path.name}: it should be like dws_1/sub_1.csv, of the six activities")
        try:
            table = pd.read_csv(path, usecols=list(MOTIONSENSE_COLUMNS))
            values = table[list(MOTIONSENSE_COLUMNS)].to_numpy(np.float64)
        except (ValueError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())[:120]
            raise MmkdError(f"{path.parent.name}/{path.name}: not the table it should be ({why})") from None
        if not len(values) or not np.isfinite(values).all():
            raise MmkdError(f"{path.parent.name}/{path.name}: no samples, or missing values")
        sequences.append((path.parent.name, int(match[3]), MOTIONSENSE_CLASSES.index(match[1]), int(match[2]), values))
    sequences.sort(key=lambda sequence: sequence[:2])
    largest = np.max([np.abs(values).max(axis=0) for *_, values in sequences], axis=0)
    scale = (np.where(largest > 0, largest, 1) / 32767).astype(np.float32)
    lengths = np.array([len(values) for *_, values in sequences])
    quantised = [np.clip(np.round(values / scale), -32767, 32767).astype(np.int16) for *_, values in sequences]
    return {
        "xq": np.concatenate(quantised),
        "scale": scale,
        "seq_start": np.cumsum([0, *lengths[:-1]]).astype(np.int32),
        "seq_len": lengths.astype(np.int32),
        "seq_label": np.array([label for _, _, label, _, _ in sequences], np.int8),
        "seq_subject": np.array([subject for _, subject, _, _, _ in sequences], np.int8),
        "seq_trial": np.array([trial for _, _, _, trial, _ in sequences], np.int8),
        "class_names": np.array(MOTIONSENSE_CLASSES),
    }
