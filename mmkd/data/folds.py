"""Other test parts than a data set's own: one subject after the other, k folds of subjects, or those of a file.

A fold is named by its test subjects; everybody else trains. A split file is JSON:
`{"data": NAME, "folds": [{"name": TEXT, "test_subjects": [NUMBERS]}, ...], "sha256": of the folds}`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.data.splits import labels_of
from mmkd.data.windows import Dataset, Fold


def of_fold(data: Dataset, fold: Fold | None) -> Dataset:
    """`data` with the windows of the fold's subjects as its test part; as it is where `fold` is None.

    Raises:
        MmkdError: no subjects, none of these, or a class of the test part without training windows.
    """
    if fold is None or data.fold == fold:
        return data
    if data.subject is None or data.series is not None:
        raise MmkdError(f"data {data.name!r} has no subjects to split by; leave --split and --folds out")
    known = np.unique(data.subject)
    others = sorted(set(fold.test_subjects) - set(known.tolist()))
    if others or not fold.test_subjects:
        raise MmkdError(f"{fold.name}: data {data.name!r} has no subject {', '.join(map(str, others)) or 'in it'}")
    test = np.isin(data.subject, fold.test_subjects)
    lost = [data.classes[k] for k in labels_of(data.y[test]) if not (data.y[~test] == k).any()]
    if test.all() or lost:
        what = f"class {lost[0]!r} has" if lost else "there are"
        raise MmkdError(f"{fold.name} of data {data.name!r}: {what} no training windows left; leave this fold out")
    return replace(data, test=test, fold=fold)


def subject_folds(data: Dataset, folds: int) -> list[Fold]:
    """`folds` groups of subjects, each the test part once, with about as many windows each; the same for every seed.

    With as many folds as subjects each subject is left out once.

    Raises:
        MmkdError: no subjects, or fewer than folds.
    """
    if data.subject is None or data.series is not None:
        raise MmkdError(f"data {data.name!r} has no subjects to split by; leave --split and --folds out")
    subjects = np.unique(data.subject)
    if not 2 <= folds <= len(subjects):
        raise MmkdError(f"--folds {folds}: data {data.name!r} has {len(subjects)} subjects; take 2 to {len(subjects)}")
    if folds == len(subjects):
        return [Fold(f"subject {subject}", (int(subject),)) for subject in subjects]
    from sklearn.model_selection import GroupKFold

    parts = GroupKFold(folds).split(data.subject, groups=data.subject)
    each = [tuple(int(s) for s in np.unique(data.subject[test])) for _, test in parts]
    return [Fold(f"fold {n} of {folds}", test) for n, test in enumerate(each, 1)]


def leave_one_out(data: Dataset) -> list[Fold]:
    """Each subject as the test part once.

    Raises:
        MmkdError: no subjects, or one only.
    """
    return subject_folds(data, 0 if data.subject is None else max(2, len(np.unique(data.subject))))


def folds_sha256(folds: Sequence[Fold]) -> str:
    """Checksum of folds: of their names and test subjects, in their order."""
    text = json.dumps([[fold.name, list(fold.test_subjects)] for fold in folds], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fold_document(name: str, folds: Sequence[Fold]) -> dict[str, Any]:
    """What a split file holds."""
    each = [{"name": fold.name, "test_subjects": list(fold.test_subjects)} for fold in folds]
    return {"data": name, "folds": each, "sha256": folds_sha256(folds)}


def read_folds(path: Path, data: Dataset) -> list[Fold]:
    """The folds of a split file.

    Raises:
        MmkdError: no such file, not of this form, of another data set, or changed since its checksum was made.
    """
    wanted = 'a split file has "data", "folds" with a "name" and "test_subjects" each, and "sha256"'
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MmkdError(f"--split {path}: {error.strerror or error}; or say card or loso") from None
    except (ValueError, RecursionError):
        raise MmkdError(f"--split {path}: not JSON; {wanted}") from None
    try:
        folds = [Fold(_text(each["name"]), _subjects(each["test_subjects"])) for each in said["folds"]]
        name, checksum = _text(said["data"]), _text(said["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise MmkdError(f"--split {path}: {error}; {wanted}") from None
    if name != data.name:
        raise MmkdError(f"--split {path}: it is for data {shown(name)}, not {data.name!r}")
    if checksum != folds_sha256(folds):
        raise MmkdError(f"--split {path}: its folds are not those of its sha256; python -m mmkd.data folds writes both")
    if len({fold.name for fold in folds}) < len(folds) or not folds:
        raise MmkdError(f"--split {path}: no folds, or two of one name")
    return folds


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{shown(value)} should be a text")
    return value


def _subjects(value: Any) -> tuple[int, ...]:
    numbers = isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    if not numbers or len(set(value)) < len(value) or not value:
        raise ValueError(f"test_subjects {shown(value)} should be whole numbers, each once")
    return tuple(sorted(value))
