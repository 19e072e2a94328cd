"""The record of a unit: a folder of plain files, written completely or not at all. Needs neither torch nor mlflow.

`result.json` stores the size and SHA-256 of every other file, and a hash of its own content. A record is damaged if its
`result.json` is not what was written, or if an array, a table or weights are missing, have another size or, up to 256
KiB, another checksum; larger files are hashed when they are read. A damaged record counts as missing, with a warning
that says why. It is moved to `runs/.damaged/` when its unit has run again. Pictures and logs may be missing.

The files in `MEASUREMENTS` are added to a finished record when they are measured; their checksums are in
`measured.json`. A damaged measurement counts as not measured, and does not damage the record.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mmkd.core.errors import MmkdError
from mmkd.specs.unit import KINDS, Spec, TeacherSpec, UnitSpec
from mmkd.store.files import find_damage
from mmkd.store.shown import one_line, small_table

MEASUREMENTS = ("deployment.json", "maps.npz", "robustness.json")
"""Files that may be added to the record of a student."""
LAST_EPOCH = {"predictions.npz": "predictions_last.npz", "teacher.safetensors": "teacher_last.safetensors"}
"""Files of a teacher's record, by the weights of its best epoch -> by those of its last, where that is another."""
IN_MILLISECONDS = ("boundary_f1",)
"""Scores within 150 ms. Older records without a rate have them too, of 150 steps; they are left out."""
CHECKSUMS = "measured.json"
"""The file with the checksums of the measurements."""


class Metrics(Mapping[str, Mapping[str, float]]):
    """The scores of a record, by part of the data."""

    def __init__(self, values: Mapping[str, Mapping[str, float]]) -> None:
        self._values = dict(values)

    @property
    def test(self) -> Mapping[str, float]:
        """Scores on the test windows, after the selected epoch; empty of a unit that has no test windows."""
        return self._values.get("test", {})

    @property
    def test_last(self) -> Mapping[str, float]:
        """Scores on the test windows, after the last epoch; empty if there are none."""
        return self._values.get("test_last", {})

    @property
    def validation(self) -> Mapping[str, float]:
        """Scores on the validation windows; empty if there are none."""
        return self._values.get("validation", {})

    def __getitem__(self, part: str) -> Mapping[str, float]:
        return self._values[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics({self._values!r})"


@dataclass(frozen=True)
class Record:
    """A finished unit, teacher or reference: its folder, and the content of its `result.json`.

    Attributes:
        replaced: name of a measurement -> what is read in place of the file's content, where records share one.
        epoch: whose scores, predictions and weights it has, see `at_epoch`.

    The properties of a record that was edited by hand may raise KeyError, TypeError, ValueError or MmkdError.
    """

    folder: Path
    result: Mapping[str, Any]
    replaced: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    epoch: Literal["best", "last"] = "best"

    def __repr__(self) -> str:
        """One line, such as `Record(kd on gunpoint, student sig (tiny), seed 0: accuracy 0.97, ...; runs/1a2b)`."""
        return f"Record({one_line(self)}; {self.folder})"

    def _repr_html_(self) -> str:
        """A small table, which notebooks show."""
        return small_table(self)

    @property
    def has_one_epoch(self) -> bool:
        """Whether the best epoch of a teacher is its last one: always if its weights were given, or never validated."""
        if (self.metrics.test and not self.metrics.test_last) or self.result.get(
            "best_epoch"
        ) == self.teacher.training.epochs:
            return True
        return self.teacher.data.epoch_rule == "last"

    @property
    def knows_last_epoch(self) -> bool:
        """Whether the record of a teacher has the predictions of its last epoch; older ones do not."""
        needed = set(LAST_EPOCH.values()) if self.metrics.test else {LAST_EPOCH["teacher.safetensors"]}
        return self.has_one_epoch or needed <= set(self.result.get("files", {}))

    def at_epoch(self, epoch: str) -> "Record":
        """The record of a teacher with the test scores, predictions and weights of its "best" or "last" epoch."""
        if epoch != "last" or self.epoch == "last" or self.has_one_epoch:
            return self
        if not self.metrics.test:
            return replace(self, epoch="last")
        scores = {"test": self.metrics.test_last, "test_last": self.metrics.test_last}
        return replace(self, result={**self.result, "metrics": scores}, epoch="last")

    @property
    def key(self) -> str:
        """The name of the folder, a hash of the spec."""
        return str(self.result["key"])

    @property
    def kind(self) -> str:
        """ "student", "teacher", "reference" (a peer beside students) or "simple" (a simple detector)."""
        return str(self.result["kind"])

    @property
    def status(self) -> str:
        """ "done": only finished units have records."""
        return str(self.result.get("status", "done"))

    @cached_property
    def spec(self) -> Spec:
        """Everything that determines the result; its type depends on `kind`."""
        return KINDS[self.kind].parse(self.result["spec"])

    @property
    def unit(self) -> UnitSpec:
        """The spec of a student's record.

        Raises:
            MmkdError: this is the record of a teacher or of a reference.
        """
        if not isinstance(self.spec, UnitSpec):
            raise MmkdError(f"{self.folder} is the record of a {self.kind}, not of a student")
        return self.spec

    @property
    def teacher(self) -> TeacherSpec:
        """The spec of a teacher's record.

        Raises:
            MmkdError: this is another kind of record.
        """
        if not isinstance(self.spec, TeacherSpec):
            raise MmkdError(f"{self.folder} is the record of a {self.kind}, not of a teacher")
        return self.spec

    @cached_property
    def metrics(self) -> Metrics:
        """The scores: `metrics.test["macro_f1"]`, or `metrics["test"]["macro_f1"]`."""
        values = self.result["metrics"]
        if (self.result.get("data") or {}).get("rate_hz") is None:
            values = {
                part: {name: score for name, score in scores.items() if name not in IN_MILLISECONDS}
                for part, scores in values.items()
            }
        return Metrics(values)

    @property
    def training_fit(self) -> Mapping[str, Any]:
        """How a teacher does on its training windows, at the epoch of this record; empty of older records.

        `accuracy`, `wrong` (share whose most probable class is not the label) and `nll` of the labels.
        """
        fit = self.result.get("training_fit") or {}
        return dict(fit.get(self.epoch) or {})

    @property
    def parameters(self) -> int:
        """Number of parameters of the trained network; 0 for a reference that is no network."""
        return int(self.result["parameters"])

    @property
    def seconds(self) -> float:
        """Seconds that the training took."""
        return float(self.result["seconds"])

    @property
    def teachers(self) -> Mapping[str, str]:
        """Modality -> key of the teacher's record; empty if there were no teachers."""
        return dict(self.result.get("teachers") or {})

    @property
    def teacher_epoch(self) -> str:
        """The epoch of the teachers' weights that taught, "best" or "last"."""
        return str(self.result.get("teacher_checkpoint") or "best")

    @property
    def data(self) -> Mapping[str, Any]:
        """Facts about the data: classes, channels, window, subjects, numbers of windows."""
        return dict(self.result.get("data") or {})

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions, machine and commit of the run; empty for older records, which do not have them."""
        return dict(self.result.get("environment") or {})

    @property
    def has_files(self) -> bool:
        """Whether its predictions and weights are here; those of a record that travelled are not."""
        return True

    def file(self, name: str) -> Path:
        """The path of a file of the record, after checking its size and checksum.

        Raises:
            MmkdError: the file is missing or damaged, or the record was replaced meanwhile.
        """
        files = self.result.get("files", {})
        if self.epoch == "last" and name in LAST_EPOCH:
            name = LAST_EPOCH[name]
            if name not in files:
                raise MmkdError(
                    f"record {self.folder} is older than {name}, of the last epoch; a run of a unit that it teaches "
                    f"with --existing rerun adds it"
                )
        expected = files.get(name)
        try:
            if expected is not None:
                damage = find_damage(self.folder, {name: expected}, (name,))
            else:  # an older record, without checksums
                damage = None if (self.folder / name).is_file() else f"{name} is missing"
        except PermissionError as error:
            damage = f"{name}: {error.strerror}"
        if damage and self._was_replaced():
            raise MmkdError(f"record {self.folder} was replaced or removed after it was read; start the command again")
        if damage:
            raise MmkdError(f"record {self.folder} is damaged ({damage}); run its unit again with --existing rerun")
        return self.folder / name

    def _was_replaced(self) -> bool:
        """Whether its folder holds another record now, or none: another command may have run its unit again."""
        now = read_json(self.folder / "result.json")
        return now.get("sha256", self.result.get("sha256")) != self.result.get("sha256") or not self.folder.exists()

    @property
    def measurements(self) -> dict[str, Path]:
        """Name -> path of the files of `MEASUREMENTS` that exist and are intact."""
        checksums = read_json(self.folder / CHECKSUMS)
        return {name: self.folder / name for name in MEASUREMENTS if self._is_measured(name, checksums)}

    def measurement(self, name: str) -> Mapping[str, Any]:
        """The content of a measurement in JSON; empty if it does not exist or is damaged."""
        if name in self.replaced:
            return self.replaced[name]
        is_measured = self._is_measured(name, read_json(self.folder / CHECKSUMS))
        return read_json(self.folder / name) if is_measured else {}

    def _is_measured(self, name: str, checksums: Mapping[str, Any]) -> bool:
        """Whether a measurement exists and has its checksum."""
        try:
            expected = {name: checksums[name]} if name in checksums else {}
            return (self.folder / name).is_file() and find_damage(self.folder, expected, (name,)) is None
        except (OSError, TypeError, KeyError):  # the file may not be read, or the checksum is invalid
            return False


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if the file does not exist or holds no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def refuse_constant(text: str) -> float:
    """Refuse NaN and Infinity, which Python reads but JSON does not have."""
    raise ValueError(f"{text} is no number of JSON")


def write_history(path: Path, history: Iterable[Mapping[str, float]]) -> None:
    """Write `history.csv`: a row for each epoch, a column for each loss term or score."""
    rows = list(history)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
