"""File formats of windows: `.npz`, UEA/UCR `.ts` and UCR `.tsv`. Nothing is unpickled; a damaged file is an error."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.data.npz import read_arrays

ARRAYS = ("x", "y", "subject", "test", "recording", "start")


class FileContent(NamedTuple):
    """The content of a file.

    Attributes:
        x: (N, C, W); for images of `grid` (H, W) pixels (N, C, H W), the pixels row by row.
        labels: (N,) or (N, W).
        subject, test, recording, start: (N,), or None.
        files: the paths that were read.
    """

    x: NDArray[np.float32]
    labels: NDArray[Any]
    subject: NDArray[Any] | None
    test: NDArray[np.bool_] | None
    files: list[Path]
    recording: NDArray[Any] | None = None
    start: NDArray[Any] | None = None
    grid: tuple[int, int] | None = None


def read_npz(path: Path) -> FileContent:
    """Read an `.npz` file with the arrays x (N, C, W) and y (N,), numbers or texts, and optionally subject and test.

    Subject is (N,), test (N,) bool. If every sample has a label, y is (N, W) whole numbers, 0 for the null class and -1
    for unlabelled samples; recording and start (N,) may then say from which recording each window was cut, and at which
    of its samples. Images are x (N, C, H, W) with y (N,), or (N, H, W) if every pixel has a label.

    Raises:
        MmkdError: the file is damaged or no `.npz` file, contains pickled objects, or has arrays that are missing,
            unknown or of a wrong shape or type.
    """
    arrays = read_arrays(path, ARRAYS, "x=..., y=...")
    for name in ("x", "y"):
        if name not in arrays:
            raise MmkdError(f"array {name!r} is missing; it needs x (N, C, W) and y (N,)")
    x = arrays["x"]
    n = len(x) if x.ndim else 0
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise MmkdError(
            f"x has shape {x.shape}; it must be (N windows, C channels, W samples) or, of images, (N, C, H, W), none "
            f"of them 0"
        )
    if x.dtype.kind not in "fiub":
        raise MmkdError(f"x holds {x.dtype}; it must hold real numbers")
    images = x.ndim == 4
    dense = arrays["y"].shape == (n, *x.shape[2:])
    for name in sorted(arrays.keys() - {"x"}):
        if arrays[name].shape != (n,) and not (dense and name == "y"):
            what = f"{n} images in x" if images else f"{n} windows in x"
            dense_shape = f", or {(n, *x.shape[2:])} with a label for every pixel" if images and name == "y" else ""
            raise MmkdError(f"{name} has shape {arrays[name].shape}; with {what} it must be ({n},){dense_shape}")
    for name in sorted({"recording", "start"} & arrays.keys()):
        if images:
            raise MmkdError(f"{name} goes with windows of a signal, and x holds images; leave it out")
        if not dense:
            raise MmkdError(f"{name} goes with a label for every sample, y ({n}, {x.shape[2]}); leave it out")
    for name in ({"start"} if dense else set()) & arrays.keys():
        if arrays[name].dtype.kind not in "iu" or arrays[name].min() < 0:
            raise MmkdError(f"{name} must hold whole numbers of at least 0")
        if int(arrays[name].max()) > 100 * n * x.shape[2]:
            raise MmkdError(
                f"{name} goes up to {arrays[name].max()}, and all windows together have {n * x.shape[2]} samples; it "
                f"counts samples from the beginning of the recording"
            )
    test = arrays.get("test")
    if test is not None and test.dtype.kind != "b":
        raise MmkdError(f"test holds {test.dtype}; it must hold True or False")
    with np.errstate(over="ignore"):  # a value past float32 becomes inf and is reported as such
        x = x.astype(np.float32)
    content = FileContent(
        x=x,
        labels=arrays["y"],
        subject=arrays.get("subject"),
        test=test,
        files=[path],
        recording=arrays.get("recording"),
        start=arrays.get("start"),
    )
    if images:
        labels = content.labels.reshape(n, -1) if dense else content.labels
        return content._replace(x=x.reshape(*x.shape[:2], -1), labels=labels, grid=x.shape[2:])
    return content


def encode_labels(labels: NDArray[Any], what: str = "y") -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as class numbers 0..K-1, and the K class names in sorted order (numbers are sorted by value).

    Args:
        what: the name of the array, for messages.

    Raises:
        MmkdError: some labels are fractions or NaN, or neither numbers nor texts.

    >>> numbers, names = encode_labels(np.array(["walk", "sit", "walk"]))
    >>> numbers, names
    (array([1, 0, 1]), ('sit', 'walk'))
    """
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)  # in half precision 2^53 is inf
        if not (np.abs(labels) < 2**53).all() or (labels != np.round(labels)).any():
            raise MmkdError(f"{what} holds fractions, NaN or values past 2^53; it must hold whole numbers or texts")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise MmkdError(f"{what} holds {labels.dtype}; it must hold whole numbers or texts")
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), tuple(str(n) for n in names)


def encode_step_labels(labels: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels of samples (N, W), which are class numbers already, and the names "0", "1", ... of the K classes.

    Raises:
        MmkdError: some labels are not whole numbers, are below -1 or above 1000; or all are below 1.
    """
    if labels.dtype.kind not in "iu":
        raise MmkdError(
            f"y holds {labels.dtype}; a label for every sample is a whole number, 0 for none of the classes"
        )
    low = int(labels.min())
    high = int(labels.max())
    if low < -1 or high < 1 or high > 1000:
        raise MmkdError(f"y holds labels from {low} to {high}; they are -1 (not known), 0 (no class), 1 to 1000")
    return labels.astype(np.int64), tuple(str(label) for label in range(high + 1))


def read_ts(path: Path, pad: bool = False) -> FileContent:
    """Read a UEA/UCR `.ts` text file.

    After header lines with `@`, each line is a case: dimensions separated by `:`, values by `,`, the label last. `?`
    and NaN are missing values. `NAME_TRAIN.ts` and `NAME_TEST.ts` are read together.

    Args:
        pad: whether shorter cases are padded with zeros at their end, to the length of the longest one.

    Raises:
        MmkdError: the file has another form (with the line), time stamps, or cases of unequal length.
    """
    return _read_train_and_test(path, partial(_read_ts_cases, pad=pad), pad)


def read_tsv(path: Path) -> FileContent:
    """Read a UCR `.tsv` text file.

    Each line is a case of one channel: the label, then the values, separated by tabs. NaN are missing values.
    `NAME_TRAIN.tsv` and `NAME_TEST.tsv` are read together.

    Raises:
        MmkdError: the file has another form (with the line), or cases of unequal length.
    """
    return _read_train_and_test(path, _read_tsv_cases)


def _read_train_and_test(
    path: Path, read: Callable[[Path], tuple[NDArray[np.float32], NDArray[Any]]], pad: bool = False
) -> FileContent:
    """Read one file; or `NAME_TRAIN` and `NAME_TEST` if `path` is one of the two."""
    stem = path.stem
    part = next((p for p in ("_TRAIN", "_TEST") if stem.endswith(p)), None)
    if part is None:
        x, labels = read(path)
        return FileContent(x, labels, None, None, [path])
    both = [path.with_name(stem.removesuffix(part) + p + path.suffix) for p in ("_TRAIN", "_TEST")]
    for file in both:
        if not file.is_file():
            raise MmkdError(f"{file.name} is missing beside it")
    x_train, y_train = read(both[0])
    x_test, y_test = read(both[1])
    if pad:
        longest = max(x_train.shape[2], x_test.shape[2])
        x_train, x_test = (np.pad(x, ((0, 0), (0, 0), (0, longest - x.shape[2]))) for x in (x_train, x_test))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise MmkdError(f"training cases have shape {x_train.shape[1:]} and test cases {x_test.shape[1:]}")
    test = np.arange(len(x_train) + len(x_test)) >= len(x_train)
    return FileContent(np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test]), None, test, both)


def _text_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise MmkdError(f"{path.name} is not a text file in UTF-8; save it so, or as .npz") from None


def _read_tsv_cases(path: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    cases: list[NDArray[np.float32]] = []
    labels: list[str] = []
    for number, line in enumerate(_text_lines(path), 1):
        if not line.strip():
            continue
        label, *values = (value.strip() for value in line.split("\t"))
        if not label or not values:
            raise MmkdError(f"line {number} of {path.name} is not a label and values with tabs between them")
        try:
            row = np.array([float(value) for value in values])
        except ValueError as error:
            raise MmkdError(f"line {number} of {path.name}: {error!s:.100}") from None
        if cases and len(row) != cases[0].shape[1]:
            raise MmkdError(
                f"line {number} of {path.name}: {len(row)} values, and {cases[0].shape[1]} before; pad or cut"
            )
        with np.errstate(over="ignore"):  # a value past float32 becomes inf and is reported as such
            cases.append(row.astype(np.float32)[None])
        labels.append(label)
    if not cases:
        raise MmkdError(f"{path.name} holds no case")
    return np.stack(cases), np.array(labels)


def _read_ts_cases(path: Path, pad: bool = False) -> tuple[NDArray[np.float32], NDArray[Any]]:
    header: dict[str, str] = {}
    cases: list[NDArray[np.float32]] = []
    labels: list[str] = []
    in_data = False
    for number, raw in enumerate(_text_lines(path), 1):
        line = raw.strip()
        if not line or line.startswith(("#", "%")):
            continue
        if not in_data:
            if not line.startswith("@"):
                raise MmkdError(f"line {number} of {path.name} is neither a comment nor a header line before @data")
            key, _, value = line[1:].partition(" ")
            header[key.lower()] = value.strip()
            in_data = key.lower() == "data"
            if header.get("timestamps", "false").lower() == "true":
                raise MmkdError(
                    f"line {number} of {path.name}: cases with time stamps are not supported; resample them"
                )
            continue
        *dimensions, label = (part.strip() for part in line.split(":"))
        named, *declared = header.get("classlabel", "true").lower().split() or ["true"]
        if not dimensions or not label or named == "false":
            raise MmkdError(f"line {number} of {path.name} has no class label")
        if declared and label.lower() not in declared:
            raise MmkdError(
                f"line {number} of {path.name}: label {shown(label)} is not among those of @classLabel; is the line "
                f"whole?"
            )
        try:
            values = [[float("nan") if v.strip() == "?" else float(v) for v in d.split(",")] for d in dimensions]
        except ValueError as error:
            raise MmkdError(f"line {number} of {path.name}: {error!s:.100}") from None
        lengths = {len(v) for v in values} | ({cases[0].shape[1]} if cases and not pad else set())
        if len(lengths) > 1 or (cases and len(values) != len(cases[0])):
            raise MmkdError(
                f"line {number} of {path.name}: dimensions or lengths differ from the cases before; pad or cut"
            )
        with np.errstate(over="ignore"):  # a value past float32 becomes inf and is reported as such
            cases.append(np.array(values, np.float64).astype(np.float32))
        labels.append(label)
    if not cases:
        raise MmkdError(f"{path.name} holds no case after @data")
    longest = max(case.shape[1] for case in cases)
    return np.stack([np.pad(case, ((0, 0), (0, longest - case.shape[1]))) for case in cases]), np.array(labels)
