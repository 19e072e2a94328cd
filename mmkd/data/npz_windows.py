"""Windows in an `.npz` file: the arrays that it may hold, and what they mean."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.data.axes import as_windows, is_one_hot, labels_of_samples
from mmkd.data.facts import FACTS, Facts, read_facts
from mmkd.data.formats import TEST, TRAINING, FileContent, join_parts
from mmkd.data.npz import read_arrays

ARRAYS = ("x", "y", "subject", "test", "recording", "start", "lengths")
"""Arrays with an entry a window."""
VALIDATION = ("val", "valid", "validation")
ALSO = {"class_names": "classes"}
"""Another name of an array -> the one that we use: `mmkd.data prepare` has always written `class_names`."""
MEANT = {"label": "y", "labels": "y", "target": "y", "data": "x"}
MEANT |= dict.fromkeys(("fs", "sfreq", "rate", "sampling_rate", "sample_rate", "hz"), "rate_hz")
MEANT |= dict.fromkeys(("person", "persons", "user", "users", "participant"), "subject")
PART = re.compile(
    rf"(?P<name>x|y|subject|recording|start)[_\- ]?(?P<part>{'|'.join((*TRAINING, *TEST, *VALIDATION))})"
    rf"|(?P<part_first>{'|'.join((*TRAINING, *TEST, *VALIDATION))})[_\- ]?(?P<name_last>x|y|subject|recording|start)"
)


def read_npz(path: Path, channels: tuple[str, ...] | None = None) -> FileContent:
    """Read an `.npz` file with the arrays x (N, C, W) and y (N,), numbers or texts, and optionally others.

    Per window: subject (N,), numbers or texts; test (N,) bool, or 0 and 1. If every sample has a label, y is (N, W)
    whole numbers, 0 for the null class and -1 for unlabelled samples; recording and start (N,) may then say from which
    recording each window was cut, and at which of its samples. lengths (N,) are the samples of cases that are shorter
    than their arrays; see `unequal`. Images are x (N, C, H, W) with y (N,), or (N, H, W)
    if every pixel has a label. One-hot rows y (N, K) are understood, and so are x_train, y_train, x_test, y_test in
    place of x, y, test.

    Of the whole: channels, classes, rate_hz, window_s, groups, triads, augment and kind; see `facts.read_facts`. Names
    count in any case of letters.

    Args:
        channels: C names, for a file that does not name its channels.

    Raises:
        MmkdError: the file is damaged or no `.npz` file, contains pickled objects, or has arrays that are missing,
            unknown or of a wrong shape or type, or that contradict each other.
    """
    return understand_arrays(read_arrays(path, (*ARRAYS, *FACTS), "x=..., y=...", _is_known, MEANT), [path], channels)


def understand_arrays(
    arrays: dict[str, NDArray[Any]], files: list[Path], channels: tuple[str, ...] | None = None
) -> FileContent:
    """What the arrays of a file mean, or those that a user has in memory; see `read_npz`.

    Args:
        arrays: by their names in the file.
        files: where they were read; empty if nowhere.
        channels: C names, for arrays that do not name their channels.

    Raises:
        MmkdError: arrays are missing, or of a wrong shape or type, or contradict each other.
    """
    named = _by_name(arrays)
    arrays = {name: array for name, array in named.items() if name not in FACTS}
    parts = _parts(arrays)
    _check_names(arrays, parts)
    facts = read_facts({name: array for name, array in named.items() if name in FACTS})
    facts = replace(facts, channels=facts.channels or channels)
    if not parts:
        return _content(files, arrays, facts)
    contents = []
    for part, members in parts.items():
        try:
            contents.append(_content(files, members, facts))
        except MmkdError as error:
            raise MmkdError(f"arrays of {part}: {error}") from None
    joined = join_parts(contents, [part == "test" for part in parts])
    if "validation" in parts:
        line = "the windows for validation count as training windows; mmkd cuts its own validation part"
        joined = joined._replace(warnings=(*joined.warnings, line))
    return joined


def _is_known(name: str) -> bool:
    """Whether a file of windows may have an array of this name, in any case of letters."""
    lower = name.lower()
    return lower in (*ARRAYS, *FACTS, *ALSO) or PART.fullmatch(lower) is not None


def _by_name(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays by the names that we use."""
    named: dict[str, NDArray[Any]] = {}
    spelled: dict[str, str] = {}
    for spelling, array in arrays.items():
        name = ALSO.get(spelling.lower(), spelling.lower())
        if name in named:
            raise MmkdError(f"it holds both {spelled[name]!r} and {spelling!r}; leave one of them out")
        named[name] = array
        spelled[name] = spelling
    return named


def _parts(arrays: dict[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays of "training", "validation" and "test" windows by their names without the part."""
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for spelling, array in arrays.items():
        match = PART.fullmatch(spelling)
        if match is None:
            continue
        part = match["part"] or match["part_first"]
        name = match["name"] or match["name_last"]
        title = "training" if part in TRAINING else "test" if part in TEST else "validation"
        if name in parts.setdefault(title, {}):
            raise MmkdError(f"it holds two arrays {name!r} of the {title} windows; leave one of them out")
        parts[title][name] = array
    return {title: parts[title] for title in ("training", "validation", "test") if title in parts}


def _check_names(arrays: dict[str, NDArray[Any]], parts: dict[str, dict[str, NDArray[Any]]]) -> None:
    """Check that the arrays that are needed are there, whole or in parts."""
    whole = [name for name in arrays if name in ARRAYS]
    if parts and whole:
        raise MmkdError(f"it holds {whole[0]!r} beside arrays of parts such as x_train; give one of the two forms")
    for title in ("training", "test") if parts else ():
        for name in ("x", "y"):
            if name not in parts.get(title, {}):
                short = "train" if title == "training" else "test"
                raise MmkdError(f"array '{name}_{short}' is missing; x_train, y_train, x_test and y_test go together")
    for name in ("x", "y") if not parts else ():
        if name not in arrays:
            raise MmkdError(f"array {name!r} is missing; it needs x (N, C, W) and y (N,)")


def _content(files: list[Path], arrays: dict[str, NDArray[Any]], facts: Facts) -> FileContent:
    """The content of the windows of a file, or of one part of them."""
    given = arrays["x"]
    if "start" in arrays and "classes" in facts.given and given.ndim == 2:
        raise MmkdError("it holds whole recordings, not windows; load it by the name of its data set, --dataset NAME")
    if "y" in arrays and arrays["y"].ndim == 2 and arrays["y"].shape[1] == 1:  # a column
        arrays = arrays | {"y": arrays["y"][:, 0]}
    y = arrays["y"]
    x, grid, warnings = as_windows(given, y.shape, facts.kind)
    if x.dtype.kind not in "fiub":
        raise MmkdError(f"x holds {x.dtype}; it must hold real numbers")
    dense = labels_of_samples(x.shape, y, grid)
    _check_shapes(arrays, x.shape, grid, dense)
    test = arrays.get("test")
    if test is not None and test.dtype.kind != "b":
        if test.dtype.kind not in "iu" or not np.isin(test, (0, 1)).all():
            kind = "other numbers than 0 and 1" if test.dtype.kind in "iu" else str(test.dtype)
            raise MmkdError(f"test holds {kind}; it must hold True or False, or 1 for a test window and 0 elsewhere")
        test = test.astype(bool)
    facts.check(x.shape[1], x.shape[2], grid is not None)
    return FileContent(
        x=x,
        labels=y.reshape(len(x), -1) if dense else y,
        subject=arrays.get("subject"),
        test=test,
        files=files,
        recording=arrays.get("recording"),
        start=arrays.get("start"),
        lengths=_lengths(arrays, x.shape[2]),
        grid=grid,
        dense=dense,
        channels=facts.channels,
        classes=facts.classes,
        rate_hz=facts.rate(x.shape[2]),
        groups=facts.groups_of(x.shape[1]),
        triads=facts.triads_of(x.shape[1]),
        augment=facts.augment,
        warnings=tuple(warnings),
    )


def _lengths(arrays: dict[str, NDArray[Any]], longest: int) -> NDArray[Any] | None:
    """The samples of each case, if the file says them."""
    lengths = arrays.get("lengths")
    if lengths is None:
        return None
    if lengths.dtype.kind not in "iu" or lengths.min() < 1 or lengths.max() > longest:
        raise MmkdError(f"lengths must hold whole numbers from 1 to {longest}, the samples of each case")
    return lengths.astype(np.int64)


def _check_shapes(
    arrays: dict[str, NDArray[Any]], shape: tuple[int, ...], grid: tuple[int, int] | None, dense: bool
) -> None:
    """Check that there is an entry a window in every array, and that recording and start make sense."""
    n, _, length = shape
    for name in sorted(arrays.keys() - {"x"}):
        one_hot = name == "y" and not dense and arrays[name].shape[:1] == (n,) and arrays[name].ndim == 2
        one_hot = one_hot and (is_one_hot(arrays[name]) or not (grid or {"recording", "start"} & arrays.keys()))
        if arrays[name].shape != (n,) and not (dense and name == "y") and not one_hot:
            what = f"{n} images in x" if grid else f"{n} windows in x"
            pixels = f", or {(n, *grid)} with a label for every pixel" if grid and name == "y" else ""
            raise MmkdError(f"{name} has shape {arrays[name].shape}; with {what} it must be ({n},){pixels}")
    for name in sorted({"recording", "start"} & arrays.keys()):
        if grid:
            raise MmkdError(f"{name} goes with windows of a signal, and x holds images; leave it out")
        if not dense:
            raise MmkdError(f"{name} goes with a label for every sample, y ({n}, {length}); leave it out")
    if "start" not in arrays:
        return
    start = arrays["start"]
    if start.dtype.kind not in "iu" or start.min() < 0:
        raise MmkdError("start must hold whole numbers of at least 0")
    if int(start.max()) > 100 * n * length:
        raise MmkdError(
            f"start goes up to {start.max()}, and all windows together have {n * length} samples; it counts samples "
            f"from the beginning of the recording"
        )
