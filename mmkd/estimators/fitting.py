"""One fit: a unit of the runner on windows that are all for training, and what is kept of it, as plain values."""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmkd.api import run
from mmkd.core.errors import MmkdError
from mmkd.data.arrays import training_dataset
from mmkd.store.record import Record
from mmkd.store.records import Records

if TYPE_CHECKING:
    from mmkd.training.student_model import StudentModel

NOT_KEPT = Path("files-not-kept")
"""The folder of a record whose files are gone, because no `runs` was given."""


@dataclass
class Fitted:
    """What is kept of a fit, as plain values.

    Attributes:
        result: the content of the record's `result.json`, as JSON.
        folder: of the record; below `NOT_KEPT` where its files are gone.
        weights: the content of its `student.safetensors`.
        history: a row of numbers an epoch.
        teachers: modality -> its scores on its training windows, and on validation windows where there are some.
    """

    result: str
    folder: str
    weights: bytes
    history: list[dict[str, float]]
    teachers: dict[str, dict[str, float]]

    def values(self) -> dict[str, Any]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __getstate__(self) -> dict[str, Any]:
        return self.values()  # without the record and the student that are made of it

    @cached_property
    def record(self) -> Record:
        """The record of the unit."""
        return Record(Path(self.folder), json.loads(self.result))

    @cached_property
    def student(self) -> "StudentModel":
        """The trained student, in evaluation mode; it is made when it is first asked for."""
        from mmkd.training.student_model import StudentModel

        return StudentModel.load(self.record, weights=self.weights)


def fit_student(
    x: NDArray[Any],
    labels: NDArray[Any],
    subject: Any,
    arguments: Mapping[str, Any],
    *,
    seed: int,
    runs: Any,
    cache: Any,
    facts: Mapping[str, Any],
    progress: bool,
) -> tuple[NDArray[Any], Fitted]:
    """Train a student, with all teachers that its method needs, on all of these windows.

    Args:
        x: (N, C, W).
        labels: (N,) of any type that can be sorted.
        subject: (N,) persons, or None.
        arguments: of `mmkd.run`.
        runs: folder of the records; None: a temporary one, which is removed.
        cache: folder of views and teachers; None: that of `mmkd.run`, or a temporary one where `runs` is None.
        facts: channels, rate_hz and groups.
        progress: whether bars are shown.

    Returns:
        The K classes, sorted; and what is kept.

    Raises:
        MmkdError: the windows or the arguments cannot be trained with.
        UnitFailed: the training failed.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    data = training_dataset(x, numbers, class_names(classes), subject, **facts)
    if all(isinstance(label, str | int | float) for label in classes.tolist()):
        data = replace(data, labels=tuple(classes.tolist()))
    with tempfile.TemporaryDirectory(prefix="mmkd-fit-") if runs is None else nullcontext(runs) as folder:
        if runs is None and cache is None:
            cache = Path(folder) / "cache"
        record = run(data=data, seed=seed, runs=folder, cache=cache, progress=progress, **arguments)
        with record.file("history.csv").open(newline="", encoding="utf-8") as stream:
            history = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
        kept = Path(record.folder) if runs is not None else NOT_KEPT / record.key
        return classes, Fitted(
            result=json.dumps(dict(record.result)),
            folder=str(kept),
            weights=record.file("student.safetensors").read_bytes(),
            history=history,
            teachers={name: _scores_of_teacher(Records(folder), key) for name, key in record.teachers.items()},
        )


def class_names(classes: Sequence[Any] | NDArray[Any]) -> list[str]:
    """The names of classes in records: the labels as texts, or their numbers where those are not told apart so."""
    names = [" ".join(str(label).split()) for label in classes]
    return names if len(set(names) - {""}) == len(names) else [str(number) for number in range(len(names))]


def _scores_of_teacher(records: Records, key: str) -> dict[str, float]:
    record = records.get(key)
    if record is None:
        raise MmkdError(f"the record of teacher {key} is missing from {records.runs}")
    scores = {f"training_{name}": float(value) for name, value in record.training_fit.items()}
    return scores | {f"validation_{name}": float(value) for name, value in record.metrics.validation.items()}
