"""Labels as class numbers, and names of subjects, as a user's file has them: what is read, said and refused."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.core.text import shorten
from mmkd.data.axes import is_one_hot

MISSING = {"", "nan", "<na>", "nat", "?"}
"""Texts, in small letters, that stand for a missing label: an empty one, and what pandas writes."""
UNKNOWN = (-1, -9, -99, -999, -9999)
"""Numbers that stand for a label that is not known, if they are the lowest of all labels; {-1, 1} are two classes."""
MAYBE_MISSING = {"None", "NULL", "Null", "null", "NA", "N/A", "n/a"}
"""Texts that often stand for a missing label, but may be a class."""


class Labels(NamedTuple):
    """The labels of windows.

    Attributes:
        numbers: (N,) the class of each window, or (N, W) of each sample.
        classes: K names.
        warnings: what was understood that may not have been meant, one line each.
        notes: what was understood as docs/own-data.md says, one line each.
    """

    numbers: NDArray[np.int64]
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def encode_labels(labels: NDArray[Any], what: str = "y") -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as class numbers 0..K-1, and the K class names: sorted by value if all are numbers, else as texts.

    Args:
        what: the name of the array, for messages.

    Raises:
        MmkdError: some labels are fractions or NaN, or neither numbers nor texts.

    >>> numbers, names = encode_labels(np.array(["walk", "sit", "walk"]))
    >>> numbers, names
    (array([1, 0, 1]), ('sit', 'walk'))
    >>> encode_labels(np.array(["10", "2"]))[1]
    ('2', '10')
    """
    names, numbers = np.unique(_whole(labels, what), return_inverse=True)
    texts = [str(name) for name in names]
    order = sorted(range(len(texts)), key=lambda k: (float(texts[k]), texts[k])) if _all_numbers(texts) else None
    if order is None or labels.dtype.kind != "U":
        return numbers.astype(np.int64), tuple(texts)
    return np.argsort(order)[numbers].astype(np.int64), tuple(texts[k] for k in order)


def _whole(labels: NDArray[Any], what: str) -> NDArray[Any]:
    """The labels; floats as whole numbers."""
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)  # in half precision 2^53 is inf
        holes = np.isnan(labels)
        if holes.any():
            raise MmkdError(
                f"{what} holds NaN at {holes.sum()} of {len(labels)} windows, the first is window "
                f"{int(holes.argmax())}; leave these windows out"
            )
        if not (np.abs(labels) < 2**53).all():
            raise MmkdError(f"{what} holds values past 2^53; it must hold whole numbers or texts")
        if (labels != np.round(labels)).any():
            first = labels[labels != np.round(labels)][0]
            hint = "; a regression target? mmkd trains classes" if what == "y" else ""
            raise MmkdError(f"{what} holds fractions such as {first:g}; it must hold whole numbers or texts{hint}")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise MmkdError(f"{what} holds {labels.dtype}; it must hold whole numbers or texts")
    return labels


def _all_numbers(texts: Sequence[str]) -> bool:
    return all(re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) for text in texts)


def window_labels(labels: NDArray[Any], classes: Sequence[str] | None = None, declared: bool = False) -> Labels:
    """The labels of windows out of a user's file.

    Args:
        labels: (N,) whole numbers or texts, or one-hot rows (N, K).
        classes: K names, if the file has them; numbers then count these names from 0.
        declared: whether the file itself lists the labels that there are, as the header of `.ts` does.

    Raises:
        MmkdError: labels are missing, are no classes, or are not among `classes`.
    """
    warnings: list[str] = []
    notes: list[str] = []
    if labels.ndim == 2:
        labels, line = _from_one_hot(labels, classes)
        notes.append(line)
    if labels.dtype.kind == "U":
        labels = strip_blanks(labels, "labels", warnings)
    labels = _whole(labels, "y")
    if classes is not None:
        warnings += _without_window(labels, classes)
        return Labels(_number_of(labels, classes), tuple(classes), tuple(warnings), tuple(notes))
    if labels.dtype.kind == "U":
        refuse_missing(labels, "y")
    numbers, names = encode_labels(labels)
    if labels.dtype.kind in "iU" and not declared and _all_numbers(names):
        _check_numbers(numbers, names)
    if len(names) == len(labels) > 2:
        raise MmkdError(
            f"y holds {len(names)} classes, one window each: a regression target, or an index of the windows? mmkd "
            f"trains classes"
        )
    maybe = [name for name in names if name in MAYBE_MISSING]
    if maybe:
        warnings.append(f"the label {maybe[0]!r} of {(numbers == names.index(maybe[0])).sum()} windows is a class")
    warnings += case_differences(names, "classes")
    return Labels(numbers, names, tuple(warnings), tuple(notes))


def given_labels(labels: NDArray[Any], classes: Sequence[str], named: bool) -> tuple[Any, ...] | None:
    """The K labels as they stand in a user's y: numbers, True or False; None if they are the names of the classes.

    Args:
        labels: (N,) whole numbers or texts, or one-hot rows (N, K), whose labels are the numbers of their columns.
        classes: K names, as `window_labels` returns them.
        named: whether the user named the classes, so that numbers in y count these names.

    >>> given_labels(np.array([5.0, 2.0]), ("2", "5"), False), given_labels(np.array(["a", "b"]), ("a", "b"), False)
    ((2.0, 5.0), None)
    """
    if labels.ndim == 1 and labels.dtype.kind == "U":
        return None
    if named:
        return None if labels.ndim == 2 else tuple(range(len(classes)))
    kind = "i" if labels.ndim == 2 else labels.dtype.kind
    if kind == "b":
        return tuple(name == "True" for name in classes)
    return tuple(float(name) if kind == "f" else int(name) for name in classes)


def strip_blanks(texts: NDArray[Any], what: str, warnings: list[str]) -> NDArray[Any]:
    """The texts without blanks around them; a warning is added if there were any."""
    stripped = np.char.strip(texts)
    changed = int((stripped != texts).sum())
    if changed:
        warnings.append(f"blanks around {changed} of {len(texts)} {what} were left out")
    return stripped


def refuse_missing(texts: NDArray[Any], what: str) -> None:
    """Refuse texts that stand for a missing value.

    Raises:
        MmkdError: there are such; with their number and the first.
    """
    holes = np.isin(np.char.lower(texts), sorted(MISSING))
    if holes.any():
        first = int(holes.argmax())
        raise MmkdError(
            f"{what} is {str(texts[first])!r}, a missing value, at {holes.sum()} of {len(texts)} windows, the first is "
            f"window {first}; leave these windows out, or name them in words"
        )


def case_differences(names: Sequence[str], what: str) -> list[str]:
    """A warning for names that differ only in how they are written: in case, blanks, Unicode form, or as numbers."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_plain(name), []).append(name)
    twins = [repr(name) for same in alike.values() if len(same) > 1 for name in same]
    return [f"{what} differ only in how they are written: {shorten(', '.join(twins), 100)}"] if twins else []


def _plain(name: str) -> str:
    """The same text for names that a reader takes for one: "Walk" and "walk ", "1" and "1.0"."""
    plain = "".join(unicodedata.normalize("NFKC", name).split()).casefold()
    return str(float(plain)) if _all_numbers([plain]) else plain


def _check_numbers(numbers: NDArray[np.int64], names: Sequence[str]) -> None:
    """Refuse numbers that are no classes: fractions, and -1, -99 or -999 for unknown."""
    values = [float(name) for name in names]
    if any(value != round(value) for value in values):
        fraction = next(name for name in names if float(name) != round(float(name)))
        raise MmkdError(f"labels are fractions such as {fraction}: a regression target? mmkd trains classes")
    unknown = values.index(min(values))
    if min(values) in UNKNOWN and values != [-1, 1]:
        count = int((numbers == unknown).sum())
        raise MmkdError(
            f"the label of {count} of {len(numbers)} windows is {names[unknown]}, beside larger labels: not known? "
            f"Leave these windows out, or name the classes in words if it is a class"
        )


def _from_one_hot(labels: NDArray[Any], classes: Sequence[str] | None) -> tuple[NDArray[np.int64], str]:
    """Class numbers from one-hot rows (N, K), and the line that says so."""
    n, k = labels.shape
    if not is_one_hot(labels):
        raise MmkdError(
            f"y has shape {labels.shape}; it must be ({n},), a label a window, or one-hot rows with a single 1; "
            f"several labels a window, or shares of classes, cannot be trained on"
        )
    if classes is not None and len(classes) != k:
        raise MmkdError(f"y has {k} one-hot columns and classes {len(classes)} names; they must be as many")
    return labels.argmax(axis=1).astype(np.int64), f"y {labels.shape} is one-hot: the column of the 1 is the class"


def _number_of(labels: NDArray[Any], classes: Sequence[str]) -> NDArray[np.int64]:
    """The place of each label among `classes`; numbers are places already."""
    if labels.dtype.kind != "U":
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(classes):
            raise MmkdError(f"y goes from {low} to {high}, and classes has {len(classes)} names, counted from 0")
        return labels.astype(np.int64)
    unknown = np.setdiff1d(labels, list(classes))
    if len(unknown):
        raise MmkdError(
            f"y holds {shown(str(unknown[0]))}, which is not among classes {shorten(str(tuple(classes)), 100)}"
        )
    place = {name: k for k, name in enumerate(classes)}
    return np.array([place[str(label)] for label in labels], np.int64)


def _without_window(labels: NDArray[Any], classes: Sequence[str]) -> list[str]:
    present = set(_number_of(labels, classes).tolist())
    absent = [name for k, name in enumerate(classes) if k not in present]
    return [f"no window is of class {shorten(', '.join(map(repr, absent)), 100)}"] if absent else []


def step_labels(labels: NDArray[Any], classes: Sequence[str] | None = None) -> Labels:
    """Labels of samples (N, W), which are class numbers already; the names are `classes`, or "0", "1", ...

    Raises:
        MmkdError: some labels are not whole numbers, are below -1 or above 1000, or past the names; or all are below 1.
    """
    if labels.dtype.kind not in "iu":
        raise MmkdError(
            f"y holds {labels.dtype}; a label for every sample is a whole number, 0 for none of the classes; an array "
            f"classes may hold their names"
        )
    low = int(labels.min())
    high = int(labels.max())
    if low < -1 or high < 1 or high > 1000:
        raise MmkdError(f"y holds labels from {low} to {high}; they are -1 (not known), 0 (no class), 1 to 1000")
    if classes is not None and high >= len(classes):
        raise MmkdError(f"y goes up to {high}, and classes has {len(classes)} names, counted from 0")
    return Labels(labels.astype(np.int64), tuple(classes or map(str, range(high + 1))))


def subject_names(values: NDArray[Any], what: str) -> tuple[NDArray[Any], list[str]]:
    """The names of persons or recordings, (N,) int64 or texts, and warnings.

    Args:
        what: the name of the array, for messages.

    Raises:
        MmkdError: some are missing, fractions, or neither numbers nor texts.
    """
    warnings: list[str] = []
    if values.dtype.kind == "U":
        values = strip_blanks(values, f"names in {what!r}", warnings)
        refuse_missing(values, what)
        warnings += case_differences([str(name) for name in np.unique(values)], f"names in {what!r}")
        return values, warnings
    values = _whole(values, what)
    if values.size and int(values.max()) >= 2**63:
        raise MmkdError(f"{what} holds numbers past 2^63; name them by texts")
    return values.astype(np.int64), warnings
