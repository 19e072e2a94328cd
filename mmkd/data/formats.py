"""What a file of windows holds, and training and test windows in two files. Nothing is unpickled."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError

TRAINING = ("train", "training", "tr")
TEST = ("test", "testing", "te")


class FileContent(NamedTuple):
    """The content of a file.

    Attributes:
        x: (N, C, W) real numbers; for images of `grid` (H, W) pixels (N, C, H W), the pixels row by row.
        labels: (N,), or (N, K) one-hot rows; or (N, W), a label a sample.
        subject, test, recording, start: (N,), or None.
        files: the paths that were read.
        grid: rows and columns of images; None for signals.
        dense: whether labels are of samples or pixels.
        channels, classes: names of C channels and K classes; None if the file has none.
        rate_hz: samples a second; None if the file does not say.
        groups: channel group -> the names of its channels.
        triads: body site -> the names of the channels x, y, z of each sensor there.
        augment: the augmentations that suit the data.
        declared: whether the file lists the labels that there are.
        warnings: what was understood that may not have been meant, one line each.
        lengths: (N,) samples of each case, of a file whose cases are shorter than x; None if the file does not say.
        unequal: what was done to cases of unequal length; empty if nothing was.
    """

    x: NDArray[Any]
    labels: NDArray[Any]
    subject: NDArray[Any] | None
    test: NDArray[np.bool_] | None
    files: list[Path]
    recording: NDArray[Any] | None = None
    start: NDArray[Any] | None = None
    grid: tuple[int, int] | None = None
    dense: bool = False
    channels: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    rate_hz: float | None = None
    groups: Mapping[str, tuple[str, ...]] = {}
    triads: Mapping[str, tuple[tuple[str, ...], ...]] = {}
    augment: tuple[str, ...] = ()
    declared: bool = False
    warnings: tuple[str, ...] = ()
    lengths: NDArray[Any] | None = None
    unequal: str = ""


def read_with_partner(path: Path, read: Callable[[Path], FileContent], needed: bool, pad: bool = False) -> FileContent:
    """Read a file; or `NAME_TRAIN` and `NAME_TEST`, in any case of letters, if `path` is one of the two.

    Args:
        read: reads one file.
        needed: whether a file of such a name is refused without the other one.
        pad: whether shorter windows are padded with zeros at their end, to the length of the longest one.

    Raises:
        MmkdError: the other file is missing, or does not go with this one.
    """
    found = re.fullmatch(r"(|.*[_. -])(train|test)", path.stem, re.IGNORECASE | re.DOTALL)
    if found is None:
        return read(path)
    is_training = found[2].lower() == "train"
    partner = _partner(path, found[1], "test" if is_training else "train")
    if partner is None:
        if needed:
            other = "TEST" if is_training else "TRAIN"
            raise MmkdError(
                f"{found[1]}{other if found[2].isupper() else other.lower()}{path.suffix} is missing beside it"
            )
        return read(path)
    mine, theirs = read(path), read(partner)
    if mine.test is not None or theirs.test is not None:
        raise MmkdError(
            f"{partner.name} lies beside it, and one of them has an array 'test' too; leave one of them out"
        )
    return join_parts([mine, theirs] if is_training else [theirs, mine], [False, True], pad)


def part_of_name(stem: str) -> str:
    """The stem of a file without `_TRAIN` or `_TEST`, in any case of letters.

    >>> part_of_name("Own_Train"), part_of_name("strain"), part_of_name("train")
    ('Own', 'strain', 'train')
    """
    return re.sub(r"(?<=.)[_. -](train|test)$", "", stem, flags=re.IGNORECASE)


def _partner(path: Path, start: str, part: str) -> Path | None:
    """The file beside `path` that is called `start` and `part`, in any case of letters."""
    wanted = f"{start}{part}{path.suffix}".casefold()
    found = sorted(file for file in path.parent.iterdir() if file.name.casefold() == wanted and file.is_file())
    if len(found) > 1:
        raise MmkdError(f"{' and '.join(file.name for file in found)} lie beside it; leave one of them out")
    return found[0] if found else None


def join_parts(parts: Sequence[FileContent], is_test: Sequence[bool], pad: bool = False) -> FileContent:
    """Training and test windows as one content, whose `test` says which is which.

    Args:
        pad: see `read_with_partner`.

    Raises:
        MmkdError: the parts have windows of other shapes, or other arrays, or another rate, channels or classes.
    """
    first = parts[0]
    if pad:
        longest = max(part.x.shape[2] for part in parts)
        padding = [((0, 0), (0, 0), (0, longest - part.x.shape[2])) for part in parts]
        parts = [part._replace(x=np.pad(part.x, widths)) for part, widths in zip(parts, padding, strict=True)]
    for part in parts:
        if part.x.shape[1:] != parts[0].x.shape[1:]:
            raise MmkdError(f"training cases have shape {parts[0].x.shape[1:]} and test cases {part.x.shape[1:]}")
        for name in ("grid", "dense", "channels", "classes", "rate_hz", "groups", "triads", "augment"):
            if getattr(part, name) != getattr(first, name):
                raise MmkdError(f"training and test cases differ in {name}")
        if (part.labels.dtype.kind == "U") != (first.labels.dtype.kind == "U"):
            raise MmkdError("the labels of training and test cases are numbers in one part and texts in the other")

    def joined(name: str) -> NDArray[Any] | None:
        arrays = [getattr(part, name) for part in parts]
        if any(array is None for array in arrays):
            if any(array is not None for array in arrays):
                raise MmkdError(f"{name} is there for one of training and test cases only; give it for both")
            return None
        if len({array.dtype.kind == "U" for array in arrays}) > 1:
            raise MmkdError(f"{name} holds numbers in one of training and test cases, and texts in the other")
        return np.concatenate(arrays)

    return first._replace(
        x=np.concatenate([part.x for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        subject=joined("subject"),
        recording=joined("recording"),
        start=joined("start"),
        lengths=joined("lengths"),
        test=np.repeat(is_test, [len(part.labels) for part in parts]),
        files=list(dict.fromkeys(file for part in parts for file in part.files)),
        declared=all(part.declared for part in parts),
        warnings=tuple(dict.fromkeys(line for part in parts for line in part.warnings)),
    )
