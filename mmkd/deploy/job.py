"""What a target gets, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkd.deploy.windows import RecordWindows
from mmkd.store.record import Record
from mmkd.training.student_model import StudentModel


@dataclass(frozen=True)
class ExportJob:
    """One export.

    Attributes:
        record: of the student.
        student: in evaluation mode, with its fitted views; raw windows in, probabilities out.
        windows: those of the record's data set, for calibration and checks.
        folder: where the target writes its files; they are moved from there when all is well.
        options: an object of the target's `Config`.
    """

    record: Record
    student: StudentModel
    windows: RecordWindows
    folder: Path
    options: Any


@dataclass(frozen=True)
class Written:
    """What a target says of the files that it wrote.

    Attributes:
        lines: what the command prints, a line each.
        measured: what was measured of them, in plain values; it is kept in the record's `deployment.json`, as
            `exports[name of the target]`. Empty: nothing is kept.
    """

    lines: Sequence[str]
    measured: Mapping[str, Any] = field(default_factory=dict)
