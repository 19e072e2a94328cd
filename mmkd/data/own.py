"""The data set of a user's own file, from what the file holds."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten
from mmkd.data.checksums import file_sha256
from mmkd.data.dataset import Dataset, NanPolicy, channel_numbers
from mmkd.data.formats import FileContent, part_of_name
from mmkd.data.labels import Labels, given_labels, step_labels, subject_names, window_labels
from mmkd.data.own_split import draw_test_windows, with_test_windows
from mmkd.data.precision import as_float32, find_offsets


def make_dataset(path: Path, content: FileContent, nan: NanPolicy) -> Dataset:
    """The data set of a user's file, not yet validated.

    Raises:
        MmkdError: the file contradicts itself, or cannot be trained on.
    """
    check_nan_policy(content.grid, nan)
    data, labels = understand_content(_name(path, content), content)
    offset = None if data.offset is None else np.array(data.offset)
    checksum = _checksum(content, labels, data.subject, offset)
    if data.test_from == "drawn":
        checksum = with_test_windows(checksum, data.test, data.y, data.subject)
    return replace(data, sha256=checksum)


def check_nan_policy(grid: tuple[int, int] | None, nan: NanPolicy) -> None:
    """Refuse to fill missing values of images.

    Args:
        grid: rows and columns of images; None for signals.
    """
    if nan == "impute" and grid:
        raise MmkdError("--nan impute fills along time, which images do not have; use --nan drop")


def understand_content(name: str, content: FileContent) -> tuple[Dataset, Labels]:
    """The data set that a user's arrays describe, not yet validated and without a checksum; and its labels.

    Raises:
        MmkdError: the arrays contradict each other, or cannot be trained on.
    """
    warnings = list(content.warnings)
    labels = (
        step_labels(content.labels, content.classes)
        if content.dense
        else window_labels(content.labels, content.classes, content.declared)
    )
    warnings += labels.warnings
    n = len(labels.numbers)
    recording = _names(content.recording, "recording", warnings)
    if content.dense and recording is None:
        recording = np.arange(n)
    subject = _names(content.subject, "subject", warnings)
    if subject is None:
        subject = recording
    test, test_from = _test_windows(content.test, labels.numbers, subject)
    if content.grid and test.any() and not (labels.numbers[test] >= 0).any():
        raise MmkdError("no pixel of the test images has a label; name others in an array 'test'")
    channels = content.channels or tuple(f"channel_{i}" for i in range(content.x.shape[1]))
    x, offset = content.x, None if content.grid else find_offsets(content.x, content.test)
    if offset is not None:
        x = x.astype(np.float64) - offset[:, None]
        amounts = ", ".join(f"{channels[k]} {offset[k]:.10g}" for k in np.flatnonzero(offset))
        warnings.append(f"offsets that float32 cannot hold were subtracted: {shorten(amounts, 150)}")
    start = np.zeros(n, np.int64) if content.start is None else content.start.astype(np.int64)
    in_recordings = content.dense and not content.grid
    data = Dataset(
        name=name,
        x=as_float32(x),
        y=labels.numbers,
        subject=subject,
        test=test,
        classes=labels.classes,
        channels=channels,
        rate_hz=content.rate_hz,
        sha256="",
        recording=recording if in_recordings else None,
        start=start if in_recordings else None,
        grid=content.grid,
        groups={name: tuple(map(channels.index, members)) for name, members in content.groups.items()},
        triads=channel_numbers(content.triads, channels),
        augment=content.augment,
        test_from=test_from,
        warnings=tuple(warnings),
        notes=(*labels.notes, *([content.unequal] if content.unequal else [])),
        offset=None if offset is None else tuple(offset.tolist()),
        labels=None if content.dense else given_labels(content.labels, labels.classes, content.classes is not None),
    )
    return data, labels


def _name(path: Path, content: FileContent) -> str:
    pair = len(content.files) > 1
    return part_of_name(path.stem) if pair else path.stem.removesuffix("_TRAIN").removesuffix("_TEST")


def _names(values: NDArray[Any] | None, what: str, warnings: list[str]) -> NDArray[Any] | None:
    if values is None:
        return None
    names, lines = subject_names(values, what)
    warnings += lines
    return names


def _test_windows(
    test: NDArray[np.bool_] | None, y: NDArray[np.int64], subject: NDArray[Any] | None
) -> tuple[NDArray[np.bool_], Literal["file", "drawn"]]:
    """The test windows, and who named them."""
    if test is None:
        return draw_test_windows(y, subject), "drawn"
    if subject is not None:
        both = np.intersect1d(subject[test], subject[~test]).tolist()
        if both:
            raise MmkdError(
                f"{len(both)} of {len(np.unique(subject))} subjects have windows on both sides of 'test' "
                f"({shorten(', '.join(map(str, both)), 60)}); split by subject, or leave the array 'subject' out if it "
                f"names no persons"
            )
    return test, "file"


def _checksum(
    content: FileContent, labels: Labels, subject: NDArray[Any] | None, offset: NDArray[np.float64] | None
) -> str:
    """Checksum of the files; and of how they are understood, where older versions read the same files otherwise."""
    digest = sha256("".join(file_sha256(file) for file in content.files).encode())
    plain = not content.dense and content.classes is None and content.labels.ndim == 1
    if plain and _texts(np.unique(content.labels)) != labels.classes:
        digest.update(f"classes {labels.classes!r}".encode())
    has_texts = content.subject is not None and content.subject.dtype.kind == "U"
    if has_texts and len(np.unique(content.subject)) != len(np.unique(subject)):  # type: ignore[arg-type]
        digest.update(f"subjects {_texts(np.unique(subject))!r}".encode())  # type: ignore[arg-type]
    if content.unequal:
        digest.update(f"unequal {content.unequal}".encode())
    if offset is not None:
        digest.update(f"offset {offset.tolist()!r}".encode())
    return digest.hexdigest()


def _texts(values: Sequence[Any] | NDArray[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
