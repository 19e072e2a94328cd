"""UCI HAR and HAPT, two publications of the same recordings."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.converters.base import Arrays, check_lines, find_file, find_files, read_numbers, read_whole_numbers

HAPT_CLASSES = (
    "none",
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
    "STAND_TO_SIT",
    "SIT_TO_STAND",
    "SIT_TO_LIE",
    "LIE_TO_SIT",
    "STAND_TO_LIE",
    "LIE_TO_STAND",
)
HAPT_TEST = (2, 4, 9, 10, 12, 13, 18, 20, 24)
"""The subjects of the official test split."""


def convert_uci_har(folder: Path) -> Arrays:
    """UCI HAR: `y_PART.txt`, `subject_PART.txt` and `Inertial Signals/SIGNAL_PART.txt`, PART being train and test.

    A line of a signal has the 128 samples of a window.
    """
    axes = [f"{signal}_{axis}" for signal in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]
    parts: dict[str, list[NDArray[Any]]] = {"x": [], "y": [], "subject": [], "test": []}
    for part in ("train", "test"):
        labels = find_file(folder, f"y_{part}.txt")
        subjects = find_file(folder, f"subject_{part}.txt")
        y = read_whole_numbers(labels, 1)[:, 0]
        x = np.empty((len(y), len(axes), 128), np.float32)
        for channel, axis in enumerate(axes):
            path = find_file(folder, f"{axis}_{part}.txt")
            values = read_numbers(path, 128)
            check_lines(path, len(values), labels, len(y))
            x[:, channel] = values
        if y.min() < 1 or y.max() > 6:
            raise MmkdError(f"{labels.name}: labels go from {y.min()} to {y.max()}; they should be 1 to 6")
        subject = read_whole_numbers(subjects, 1)[:, 0]
        check_lines(subjects, len(subject), labels, len(y))
        arrays: tuple[NDArray[Any], ...] = (x, y - 1, subject, np.full(len(y), part == "test"))
        for name, array in zip(parts, arrays, strict=True):
            parts[name].append(array)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return joined | {"class_names": np.array(HAPT_CLASSES[1:7])}


def convert_hapt(folder: Path) -> Arrays:
    """HAPT: `RawData/acc_expEE_userUU.txt` and `gyro_expEE_userUU.txt`, and `labels.txt`.

    A line of `labels.txt` is a labelled piece: experiment, user, activity, first and last sample (counted from 1).
    Windows are those of the official list: 128 samples, every 64 samples, inside each labelled piece.
    """
    pieces = read_whole_numbers(find_file(folder, "labels.txt"), 5)
    streams = []
    labels = []
    experiments = []
    subjects = []
    windows: list[tuple[int, int, int, int]] = []
    offset = 0
    for path in find_files(folder, "acc_exp*_user*.txt"):
        match = re.fullmatch(r"acc_exp(\d+)_user(\d+)\.txt", path.name)
        if match is None:
            raise MmkdError(f"{path.name}: its name should be acc_exp01_user01.txt")
        experiment = int(match[1])
        subject = int(match[2])
        gyro = path.with_name(path.name.replace("acc_", "gyro_", 1))
        if not gyro.is_file():
            raise MmkdError(f"{gyro.name} is missing beside {path.name}")
        acceleration = read_numbers(path, 3)
        rotation = read_numbers(gyro, 3)
        check_lines(path, len(acceleration), gyro, len(rotation))
        y = np.zeros(len(acceleration), np.int8)
        for _, user, activity, first, last in pieces[pieces[:, 0] == experiment].tolist():
            if user != subject or not 1 <= first <= last <= len(y) or not 1 <= activity <= 12:
                raise MmkdError(f"labels.txt: {activity} of user {user} from {first} to {last} is not in {path.name}")
            y[first - 1 : last] = activity
            starts = range(offset + first - 1, offset + last - 127, 64)
            windows += [(start, activity, subject, experiment) for start in starts]
        streams.append(np.concatenate([acceleration, rotation], axis=1).astype(np.float32))
        labels.append(y)
        experiments.append(np.full(len(y), experiment, np.int8))
        subjects.append(np.full(len(y), subject, np.int8))
        offset += len(y)
    unknown = sorted(set(pieces[:, 0].tolist()) - {int(number[0]) for number in experiments})
    if unknown:
        raise MmkdError(
            f"labels.txt names experiment {unknown[0]}, and there is no acc_exp{unknown[0]:02d}_user*.txt; is the "
            f"folder whole? unpack the archive again"
        )
    if not windows:
        raise MmkdError("labels.txt: no labelled piece is as long as a window of 128 samples")
    start, label, window_subject, window_experiment = np.array(windows).T
    return {
        "x": np.concatenate(streams),
        "y": np.concatenate(labels),
        "experiment": np.concatenate(experiments),
        "subject": np.concatenate(subjects),
        "win_start": start.astype(np.int32),
        "win_label": label.astype(np.int8),
        "win_subject": window_subject.astype(np.int8),
        "win_experiment": window_experiment.astype(np.int8),
        "win_test": np.isin(window_subject, HAPT_TEST),
        "class_names": np.array(HAPT_CLASSES),
    }
