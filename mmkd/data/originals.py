"""Converters: from the files as their authors published them to the arrays that our readers take.

Each is a function of a folder that holds the unpacked files anywhere below it, and of the options under `[prepare]` on
the card. Text is read file by file or in pieces, so that no more than the result and one piece are in memory (1 GiB).
"""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.cutting import Missing, Recording, chosen, thinned, unbroken

Arrays = dict[str, NDArray[Any]]
ROWS = 100_000  # lines of text read at a time

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
MOTIONSENSE_CLASSES = ("dws", "ups", "wlk", "jog", "sit", "std")
MOTIONSENSE_COLUMNS = tuple(
    f"{sensor}.{axis}" for sensor in ("gravity", "rotationRate", "userAcceleration") for axis in "xyz"
)
WISDM_CLASSES = ("Walking", "Jogging", "Upstairs", "Downstairs", "Sitting", "Standing")
DSADS_STEPS = np.tile(np.repeat([0.005, 0.001, 0.0002], 3), 5).astype(np.float32)
"""Of the 45 channels, what a whole number stands for: m/s2, rad/s, and the unit of the magnetometers."""
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


def _find(folder: Path, pattern: str) -> list[Path]:
    """The files below the folder that fit, in the order of their names; MmkdError where there is none."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file() and "__MACOSX" not in path.parts)
    if not found:
        raise MmkdError(f"there is no {pattern} among these files")
    return found


def _numbers(path: Path, columns: int, delimiter: str | None = None) -> NDArray[np.float64]:
    """A text file of numbers, (lines, columns); MmkdError that names it where it is not one."""
    try:
        array = np.loadtxt(path, dtype=np.float64, delimiter=delimiter, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise MmkdError(f"{path.name}: not {columns} numbers a line ({' '.join(str(error).split())[:120]})") from None
    if array.shape[1] != columns or not len(array):
        raise MmkdError(
            f"{path.name}: {array.shape[1]} numbers a line in {len(array)} lines; there should be {columns}"
        )
    return array


def uci_har(folder: Path) -> Arrays:
    """UCI HAR: `train` and `test` with `Inertial Signals/SIGNAL_PART.txt`, 128 numbers a line, `y_` and `subject_`."""
    axes = [f"{signal}_{axis}" for signal in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]
    parts: dict[str, list[NDArray[Any]]] = {"x": [], "y": [], "subject": [], "test": []}
    for part in ("train", "test"):
        (labels, *_), (subjects, *_) = (_find(folder, f"{name}_{part}.txt") for name in ("y", "subject"))
        y = _numbers(labels, 1)[:, 0].astype(np.int64)
        x = np.empty((len(y), len(axes), 128), np.float32)
        for channel, axis in enumerate(axes):
            path = _find(folder, f"{axis}_{part}.txt")[0]
            values = _numbers(path, 128)
            if len(values) != len(y):
                raise MmkdError(f"{path.name} has {len(values)} windows and {labels.name} {len(y)} labels")
            x[:, channel] = values
        if y.min() < 1 or y.max() > 6:
            raise MmkdError(f"{labels.name}: labels go from {y.min()} to {y.max()}; they should be 1 to 6")
        subject = _numbers(subjects, 1)[:, 0].astype(np.int64)
        every: tuple[NDArray[Any], ...] = (x, y - 1, subject, np.full(len(y), part == "test"))
        for name, array in zip(parts, every, strict=True):
            parts[name].append(array)
    return {name: np.concatenate(each) for name, each in parts.items()} | {"class_names": np.array(HAPT_CLASSES[1:7])}


def hapt(folder: Path) -> Arrays:
    """HAPT: `RawData/acc_expEE_userUU.txt` and `gyro_`, and `labels.txt` (experiment, user, activity, first, last).

    Windows as in the official list: of 128 samples, every 64, inside each labelled piece.
    """
    pieces = _numbers(_find(folder, "labels.txt")[0], 5).astype(np.int64)
    streams, labels, experiments, subjects = [], [], [], []
    windows: list[tuple[int, int, int, int]] = []
    offset = 0
    for path in _find(folder, "acc_exp*_user*.txt"):
        match = re.fullmatch(r"acc_exp(\d+)_user(\d+)\.txt", path.name)
        if match is None:
            raise MmkdError(f"{path.name}: its name should be acc_exp01_user01.txt")
        experiment, subject = int(match[1]), int(match[2])
        gyro = path.with_name(path.name.replace("acc_", "gyro_", 1))
        if not gyro.is_file():
            raise MmkdError(f"{gyro.name} is missing beside {path.name}")
        acceleration, rotation = _numbers(path, 3), _numbers(gyro, 3)
        if len(acceleration) != len(rotation):
            raise MmkdError(f"{path.name} has {len(acceleration)} samples and {gyro.name} {len(rotation)}")
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
    if not windows:
        raise MmkdError("labels.txt: no labelled piece is as long as a window of 128 samples")
    start, label, who, which = np.array(windows).T
    return {
        "x": np.concatenate(streams),
        "y": np.concatenate(labels),
        "experiment": np.concatenate(experiments),
        "subject": np.concatenate(subjects),
        "win_start": start.astype(np.int32),
        "win_label": label.astype(np.int8),
        "win_subject": who.astype(np.int8),
        "win_experiment": which.astype(np.int8),
        "win_test": np.isin(who, HAPT_TEST),
        "class_names": np.array(HAPT_CLASSES),
    }


def _joined(recordings: Iterator[Recording], classes: tuple[str, ...]) -> Arrays:
    """Recordings as one stream: x (T, C), y (T,), start and subject of each."""
    each = list(recordings)
    lengths = [len(recording.labels) for recording in each]
    if not sum(lengths):
        raise MmkdError("there is no sample among these files")
    x = np.empty((sum(lengths), each[0].signal.shape[0]), np.float32)
    start = np.cumsum([0, *lengths[:-1]])
    for begin, length, recording in zip(start, lengths, each, strict=True):
        x[begin : begin + length] = recording.signal.T
    return {
        "x": x,
        "y": np.concatenate([recording.labels for recording in each]).astype(np.int8),
        "start": start.astype(np.int64),
        "subject": np.array([recording.subject for recording in each], np.int16),
        "class_names": np.array(classes),
    }


def pamap2(folder: Path, missing: Missing = "linear", every: int = 3, longest_gap_s: float = 1.0) -> Arrays:
    """PAMAP2: `Protocol/subjectNNN.dat`, 54 columns, of which 40 are taken (no orientation), twelve of the activities.

    Missing values are treated as `missing` says within a recording, which ends where time goes on by more than
    `longest_gap_s`; then every so many-th sample is taken.
    """
    import pandas as pd

    chosen(missing, Missing, "policy for missing values")
    sensor = np.arange(13)  # temperature, two accelerometers, gyroscope, magnetometer; then four of the orientation
    columns = [2, *(3 + sensor), *(20 + sensor), *(37 + sensor)]
    number = np.full(256, -1, np.int64)
    number[list(PAMAP2_CLASSES)] = np.arange(len(PAMAP2_CLASSES))

    def recordings() -> Iterator[Recording]:
        paths = [path for path in _find(folder, "subject*.dat") if path.parent.name != "Optional"]
        for path in paths or _find(folder, "Protocol/subject*.dat"):
            match = re.fullmatch(r"subject(\d+)\.dat", path.name)
            if match is None:
                raise MmkdError(f"{path.name}: its name should be subject101.dat")
            times, labels, values = [], [], []
            try:
                with pd.read_csv(path, sep=r"\s+", header=None, chunksize=ROWS, dtype=np.float64) as pieces:
                    for piece in pieces:
                        if piece.shape[1] != 54:
                            raise MmkdError(f"{path.name}: {piece.shape[1]} columns; there should be 54")
                        times.append(piece[0].to_numpy())
                        labels.append(piece[1].to_numpy())
                        values.append(piece[columns].to_numpy(np.float32))
            except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are among them
                why = " ".join(str(error).split())[:120]
                raise MmkdError(f"{path.name}: not 54 numbers a line ({why})") from None
            code = np.concatenate(labels)
            if np.isnan(code).any() or code.min() < 0 or code.max() > 255:
                raise MmkdError(f"{path.name}: an activity in column 2 is not a number from 0 to 255")
            signal = np.concatenate(values)
            values.clear()
            whole = Recording(signal.T, number[code.astype(np.int64)], int(match[1]))
            for piece_ in unbroken(whole, np.concatenate(times), longest_gap_s, missing):
                thin = thinned(piece_, every)
                yield thin._replace(signal=thin.signal.copy())

    return _joined(recordings(), tuple(PAMAP2_CLASSES.values()))


WISDM_LINE = re.compile(
    r"\s*(\d+)\s*,\s*([A-Za-z]+)\s*,\s*(\d+)\s*" + r",\s*(-?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*" * 3 + ",?"
)


def wisdm(folder: Path, longest_gap_s: float = 1.0) -> Arrays:
    """WISDM v1.1: `WISDM_ar_v1.1_raw.txt`, entries `user,activity,nanoseconds,x,y,z;`, some of them damaged.

    Damaged entries are left out and counted in `damaged`; a recording ends with its user, or where time goes on by
    more than `longest_gap_s`, or backwards.
    """
    codes = {name: k for k, name in enumerate(WISDM_CLASSES)}
    rows: list[NDArray[np.float64]] = []
    damaged = 0

    def flush(lines: list[tuple[float, ...]]) -> None:
        if lines:
            rows.append(np.array(lines))
            lines.clear()

    lines: list[tuple[float, ...]] = []
    path = _find(folder, "WISDM_ar_v1.1_raw.txt")[0]
    with path.open(encoding="utf-8", errors="replace") as stream:
        for entry in (entry for line in stream for entry in line.split(";")):
            if not entry.strip(" ,\r\n\t"):
                continue
            match = WISDM_LINE.fullmatch(entry.strip())
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
        for a, b in itertools.pairwise(borders):
            part = table[a:b]
            one = Recording(part[:, 3:].T, part[:, 1].astype(np.int64), int(part[0, 0]))
            yield from unbroken(one, part[:, 2], longest_gap_s)

    return _joined(recordings(), WISDM_CLASSES) | {"damaged": np.array(damaged)}


def motionsense(folder: Path) -> Arrays:
    """MotionSense: `ACTIVITY_TRIAL/sub_N.csv` with named columns, as whole numbers of 16 bits and a scale a channel."""
    import pandas as pd

    each = []
    for path in _find(folder, "sub_*.csv"):
        match = re.fullmatch(r"([a-z]+)_(\d+)/sub_(\d+)\.csv", f"{path.parent.name}/{path.name}")
        if match is None or match[1] not in MOTIONSENSE_CLASSES:
            raise MmkdError(f"{path.parent.name}/{path.name}: it should be like dws_1/sub_1.csv, of the six activities")
        try:
            values = pd.read_csv(path, usecols=list(MOTIONSENSE_COLUMNS))[list(MOTIONSENSE_COLUMNS)].to_numpy(
                np.float64
            )
        except (ValueError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())[:120]
            raise MmkdError(f"{path.parent.name}/{path.name}: not the table it should be ({why})") from None
        if not len(values) or not np.isfinite(values).all():
            raise MmkdError(f"{path.parent.name}/{path.name}: no samples, or missing values")
        each.append((path.parent.name, int(match[3]), MOTIONSENSE_CLASSES.index(match[1]), int(match[2]), values))
    each.sort(key=lambda one: one[:2])
    largest = np.max([np.abs(values).max(axis=0) for *_, values in each], axis=0)
    scale = (np.where(largest > 0, largest, 1) / 32767).astype(np.float32)
    lengths = np.array([len(values) for *_, values in each])
    xq = np.concatenate([np.clip(np.round(values / scale), -32767, 32767).astype(np.int16) for *_, values in each])
    return {
        "xq": xq,
        "scale": scale,
        "seq_start": np.cumsum([0, *lengths[:-1]]).astype(np.int32),
        "seq_len": lengths.astype(np.int32),
        "seq_label": np.array([one[2] for one in each], np.int8),
        "seq_subject": np.array([one[1] for one in each], np.int8),
        "seq_trial": np.array([one[3] for one in each], np.int8),
        "class_names": np.array(MOTIONSENSE_CLASSES),
    }


def dsads(folder: Path) -> Arrays:
    """DSADS: `aNN/pN/sNN.txt`, 125 lines of 45 numbers, as first differences of whole numbers, in two bytes."""
    paths = []
    for path in _find(folder, "s*.txt"):
        match = re.fullmatch(r"a(\d+)/p(\d+)/s(\d+)\.txt", "/".join(path.parts[-3:]))
        if match is None or not 1 <= int(match[1]) <= len(DSADS_CLASSES):
            raise MmkdError(f"{'/'.join(path.parts[-3:])}: it should be like a01/p1/s01.txt, of 19 activities")
        paths.append((int(match[1]) - 1, int(match[2]), int(match[3]), path))
    paths.sort()
    high, low = (np.empty((len(paths), 45, 125), kind) for kind in (np.int8, np.uint8))
    for row, (*_, path) in enumerate(paths):
        values = _numbers(path, 45, ",")
        if len(values) != 125:
            raise MmkdError(f"{'/'.join(path.parts[-3:])}: {len(values)} lines; there should be 125")
        whole = np.round(values / DSADS_STEPS)
        if np.abs(whole).max() > 32767:
            raise MmkdError(f"{'/'.join(path.parts[-3:])}: a value past what 16 bits hold")
        before = np.vstack([np.zeros((1, 45)), whole[:-1]]).astype(np.int16)
        steps = (whole.astype(np.int16) - before).T  # wraps around, as the sum does
        high[row], low[row] = steps >> 8, steps & 255
    return {
        "hi": high,
        "lo": low,
        "scale": DSADS_STEPS,
        "y": np.array([one[0] for one in paths], np.int8),
        "subject": np.array([one[1] for one in paths], np.int8),
        "segment": np.array([one[2] for one in paths], np.int8),
        "class_names": np.array(DSADS_CLASSES),
    }


CONVERTERS: dict[str, Callable[..., Arrays]] = {
    "uci_har": uci_har,
    "hapt": hapt,
    "pamap2": pamap2,
    "wisdm": wisdm,
    "motionsense": motionsense,
    "dsads": dsads,
}
