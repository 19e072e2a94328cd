"""Test parts other than a data set's own: leave one subject out, k folds of subjects, or the folds of a split file.

A fold is named by its test subjects; all other subjects are for training. Subjects have the names of the data set's
files, numbers or texts. Where there are no subjects, k folds are of all windows, stratified by class, the same for
every seed. A split file is JSON:
`{"data": NAME, "folds": [{"name": TEXT, "test_subjects": [NAMES]}, ...], "sha256": of the folds}`.
One that is written by hand may leave out `data` and `sha256`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.core.text import shorten
from mmkd.data.dataset import Dataset, Fold, SubjectName
from mmkd.data.inner_folds import deal_classes
from mmkd.data.splits import present_labels

FORM = 'a split file is {"folds": [{"name": "a", "test_subjects": ["ann", "ben"]}, ...]}, optional "data" and "sha256"'
"""The form of a split file, for messages."""
KEYS = ("data", "folds", "sha256")
UNCHECKED = "unchecked split file"
"""The entry of `Dataset.splits` with what is said of a split file without checksum."""


def apply_fold(data: Dataset, fold: Fold | None) -> Dataset:
    """The data set with the windows of the fold's subjects as its test part; unchanged if `fold` is None.

    The test part of a stratified fold is of all windows, those of the data set's own test part too.

    Raises:
        MmkdError: the data set has no subjects or lacks one of the fold's, or no training windows are left, of all
            classes or of a class in the test part; or the fold is stratified and cannot be made, see `window_folds`.
    """
    if fold is None or data.fold == fold:
        return data
    if fold.stratified:
        number, folds = fold.stratified
        _check_window_folds(data, folds)
        return replace(data, test=deal_classes(data.y, folds) == number - 1, fold=fold)
    if data.subject is None or data.series is not None:
        raise _no_subjects(data)
    known = np.unique(data.subject).tolist()
    unknown = [subject for subject in fold.test_subjects if subject not in known]
    if unknown or not fold.test_subjects:
        missing = ", ".join(map(str, unknown)) or "in it"
        has = shorten(", ".join(map(str, known)), 100)
        raise MmkdError(f"{fold.name}: data {data.name!r} has no subject {missing}; it has {has}")
    test = np.isin(data.subject, np.array(fold.test_subjects))
    lost_classes = [data.classes[k] for k in present_labels(data.y[test]) if not (data.y[~test] == k).any()]
    if test.all() or lost_classes:
        what = f"class {lost_classes[0]!r} has" if lost_classes else "there are"
        raise MmkdError(f"{fold.name} of data {data.name!r}: {what} no training windows left; leave this fold out")
    return replace(data, test=test, fold=fold)


def make_folds(data: Dataset, folds: int) -> list[Fold]:
    """The folds of `--folds`: of subjects, or of windows with one label each where there are no subjects.

    Raises:
        MmkdError: as `subject_folds` and `window_folds`.
    """
    by_window = data.subject is None and data.form == "window"
    return window_folds(data, folds) if by_window else subject_folds(data, folds)


def window_folds(data: Dataset, folds: int) -> list[Fold]:
    """Deal all windows, training and test, to folds that each have an equal share of every class, to within a window.

    The folds are the same for every seed.

    Raises:
        MmkdError: the data set has subjects, or no label a window, or fewer windows of a class than folds.
    """
    _check_window_folds(data, folds)
    return [Fold(f"fold {n} of {folds}", stratified=(n, folds)) for n in range(1, folds + 1)]


def _check_window_folds(data: Dataset, folds: int) -> None:
    if data.subject is not None or data.form != "window":
        has = "subjects" if data.subject is not None else "no label a window"
        raise MmkdError(f"data {data.name!r} has {has}: its folds are not of windows, stratified by class")
    classes, counts = np.unique(data.y, return_counts=True)
    least = int(counts.min())
    if not 2 <= folds <= least:
        has = f"class {data.classes[classes[counts.argmin()]]!r} of data {data.name!r} has {least} window"
        hint = f"take 2 to {least}" if least >= 2 else "leave --folds out"
        raise MmkdError(f"--folds {folds}: {has}{'s' * (least > 1)}, and each fold tests every class; {hint}")


def _no_subjects(data: Dataset) -> MmkdError:
    by_window = data.subject is None and data.form == "window"
    hint = "--folds K makes folds of its windows, stratified by class" if by_window else "leave --split and --folds out"
    return MmkdError(f"data {data.name!r} has no subjects to split by; {hint}")


def subject_folds(data: Dataset, folds: int) -> list[Fold]:
    """Split the subjects into `folds` groups with about the same number of windows; each is the test part of one fold.

    The folds are the same for every seed. With as many folds as subjects, each subject is a fold.

    Raises:
        MmkdError: the data set has no subjects, or fewer subjects than folds.
    """
    if data.subject is None or data.series is not None:
        raise _no_subjects(data)
    subjects = np.unique(data.subject)
    if not 2 <= folds <= len(subjects):
        raise MmkdError(f"--folds {folds}: data {data.name!r} has {len(subjects)} subjects; take 2 to {len(subjects)}")
    if folds == len(subjects):
        return [Fold(f"subject {subject}", (subject,)) for subject in subjects.tolist()]
    from sklearn.model_selection import GroupKFold

    parts = GroupKFold(folds).split(data.subject, groups=data.subject)
    test_subjects = [tuple(np.unique(data.subject[test]).tolist()) for _, test in parts]
    return [Fold(f"fold {n} of {folds}", subjects) for n, subjects in enumerate(test_subjects, 1)]


def leave_one_subject_out(data: Dataset) -> list[Fold]:
    """One fold for each subject.

    Raises:
        MmkdError: the data set has no subjects, or only one.
    """
    return subject_folds(data, 0 if data.subject is None else max(2, len(np.unique(data.subject))))


def folds_sha256(folds: Sequence[Fold]) -> str:
    """Checksum of the names and test subjects of folds, in their order."""
    text = json.dumps([[fold.name, list(fold.test_subjects)] for fold in folds], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fold_document(name: str, folds: Sequence[Fold]) -> dict[str, Any]:
    """The content of a split file.

    Args:
        name: of the data set.
    """
    entries = [{"name": fold.name, "test_subjects": list(fold.test_subjects)} for fold in folds]
    return {"data": name, "folds": entries, "sha256": folds_sha256(folds)}


def read_folds(path: Path, data: Dataset) -> list[Fold]:
    """The folds of a split file.

    If the file has no checksum, `data.splits[UNCHECKED]` says so.

    Raises:
        MmkdError: the file does not exist, has another form, is of another data set, or has changed since its checksum
            was made.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MmkdError(f"--split {path}: {error.strerror or error}; or say card or loso") from None
    except (ValueError, RecursionError):
        raise MmkdError(f"--split {path}: not JSON; {FORM}") from None
    try:
        folds = _folds_of(document)
        name, checksum = (_text(document, key) if key in document else None for key in ("data", "sha256"))
    except ValueError as error:
        raise MmkdError(f"--split {path}: {error}; {FORM}") from None
    if name not in (None, data.name):
        raise MmkdError(f"--split {path}: it is for data {shown(name)}, not {data.name!r}")
    if checksum not in (None, folds_sha256(folds)):
        raise MmkdError(
            f"--split {path}: its folds are not those of its sha256; python -m mmkd.data folds writes both, and a file "
            f"that you write yourself may leave sha256 out"
        )
    if len({fold.name for fold in folds}) < len(folds) or not folds:
        raise MmkdError(f"--split {path}: no folds, or two of one name")
    if checksum is None:
        data.splits[UNCHECKED] = f"{path.name} has no sha256, so whether its folds were changed is not checked"
    names = {} if data.subject is None else {str(name): name for name in np.unique(data.subject).tolist()}
    as_in_data = [tuple(names.get(str(name), name) for name in fold.test_subjects) for fold in folds]  # "1" is 1
    return [Fold(fold.name, subjects) for fold, subjects in zip(folds, as_in_data, strict=True)]


def _folds_of(document: Any) -> list[Fold]:
    """The folds in the content of a split file; ValueError, with what is wrong, if it has another form."""
    if not isinstance(document, dict):
        raise ValueError(f"it holds {_kind(document)}")
    unknown = next((key for key in document if key not in KEYS), None)
    if unknown is not None or "folds" not in document:
        raise ValueError(f"unknown {shown(unknown)}" if unknown is not None else 'it has no "folds"')
    entries = document["folds"]
    if not isinstance(entries, list):
        raise ValueError(f'"folds" is {_kind(entries)}')
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or entry.keys() != {"name", "test_subjects"}:
            raise ValueError(f"fold {number} is {_kind(entry)}")
    return [Fold(_text(entry, "name"), _subjects(entry["test_subjects"])) for entry in entries]


def _kind(value: Any) -> str:
    """What a value of JSON is, in words."""
    if isinstance(value, dict):
        return f"an object with {shorten(', '.join(map(shown, value)) or 'nothing', 80)}"
    return "a list" if isinstance(value, list) else shown(value)


def _text(document: Mapping[str, Any], key: str) -> str:
    """The value of `key` if it is a text, and not empty; ValueError otherwise."""
    value = document[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f'"{key}" is {shown(value)}, and should be a text')
    return value


def _subjects(value: Any) -> tuple[SubjectName, ...]:
    """The value as sorted names of subjects; ValueError if it is no list of whole numbers and texts, each once."""
    valid = isinstance(value, list) and all(isinstance(n, (int, str)) and not isinstance(n, bool) for n in value)
    if not valid or len(set(map(str, value))) < len(value) or not value:
        raise ValueError(f"test_subjects {shown(value)} should be whole numbers or texts, each once")
    return tuple(sorted(value, key=lambda name: (isinstance(name, str), name)))
