"""Export the student of a record: its files, whole or not at all, and what was measured of them in the record."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options
from mmkd.core.text import LONGEST_PATH, shown
from mmkd.data import Dataset
from mmkd.deploy.job import ExportJob, Written
from mmkd.deploy.targets import Target, get_target
from mmkd.deploy.windows import RecordWindows
from mmkd.store.files import temporary_folder
from mmkd.store.record import Record
from mmkd.store.records import Records, open_record
from mmkd.tasks import TASKS
from mmkd.training.student_model import StudentModel

DEPLOYMENT = "deployment.json"


@dataclass(frozen=True)
class Exported:
    """The files of an export.

    Attributes:
        folder: where they are.
        files: their paths.
        lines: what the command prints of them.
        measured: what was measured of them, in plain values.
    """

    folder: Path
    files: tuple[Path, ...]
    lines: tuple[str, ...]
    measured: Mapping[str, Any]


def export_student(
    record: Record | str | PathLike[str],
    to: str = "onnx",
    out: str | PathLike[str] | None = None,
    *,
    data: Dataset | str | PathLike[str] | None = None,
    data_root: str | PathLike[str] | None = None,
    plugin: str | PathLike[str] | None = None,
    force: bool = False,
    **options: Any,
) -> Exported:
    """Write the student of a record in a form for a device, and check the files against the student.

    >>> mmkd.export_student("runs/1a2b3c4d", to="onnx", out="device").files  # doctest: +SKIP

    Args:
        record: as `mmkd.run` returns it, or the folder of a record.
        to: the form, one of `python -m mmkd.export --help`.
        out: the folder of the files; None: `exported/<key>`.
        data: the windows that the record was trained on, where they are no named data set: the file, or the
            `mmkd.Dataset`. Without them a file is checked with made-up windows, and cannot be calibrated.
        data_root: the data folder, as the flag.
        plugin: the file of the plugin that the student was made with, if it is not where it was then.
        force: replace files that are there.
        options: of the form, such as `calibration_windows=256`.

    Raises:
        MmkdError: there is no such record, or it has no weights or is damaged; the student cannot be written in this
            form; or what was written does not do what the student does. No file is left then.
    """
    for name, value in (("data_root", data_root), ("plugin", plugin)):
        _check_path(name, value)
    found = open_record(record)
    ready = _prepare(found, to, out, data, force, options)
    student = StudentModel.load(found, () if plugin is None else (str(plugin),))
    return _export(found, student, ready, data, data_root)


def export_model(
    record: Record,
    student: StudentModel,
    to: str = "onnx",
    out: str | PathLike[str] | None = None,
    *,
    data: Dataset | str | PathLike[str] | None = None,
    force: bool = False,
    **options: Any,
) -> Exported:
    """The same of a student that is loaded already, whose record may have no files; arguments as of `export_student`.

    Raises:
        MmkdError: as `export_student`.
    """
    return _export(record, student, _prepare(record, to, out, data, force, options), data)


@dataclass(frozen=True)
class _Ready:
    """Arguments that were checked."""

    target: Target
    options: Options
    folder: Path
    force: bool


def _prepare(record: Record, to: str, out: Any, data: Any, force: bool, options: Mapping[str, Any]) -> _Ready:
    """Check the arguments before anything is loaded."""
    target = get_target(to)
    parsed = target.Config.parse(options, f"--to {target.name}")
    _check_path("out", out)
    if not isinstance(data, Dataset):
        _check_path("data", data)
    folder = Path("exported") / record.key if out is None else Path(out)
    _check_out(folder, record, target, force)
    target.check_installed()
    return _Ready(target, parsed, folder, force)


def _check_path(name: str, value: Any) -> None:
    if not isinstance(value, str | PathLike | None) or len(str(value)) > LONGEST_PATH or "\0" in str(value):
        raise MmkdError(f"{name} = {shown(value)} is not a path")


def _export(record: Record, student: StudentModel, ready: _Ready, data: Any, data_root: Any = None) -> Exported:
    """Write the files into a folder of their own, then move them to their place."""
    if TASKS.get(record.unit.task).of_series:
        raise MmkdError(
            f"record {record.key} is a detector of --task {record.unit.task}: it scores whole series, and its scores "
            f"are no output of a network; only students that label windows or steps are exported"
        )
    windows = RecordWindows(record, data, data_root)
    target, folder = ready.target, ready.folder
    with _made(folder), temporary_folder(folder) as made:
        written = target.write(ExportJob(record, student, windows, made, ready.options))
        _check_out(folder, record, target, ready.force)  # another export may have ended since
        for name in target.files:
            os.replace(made / name, folder / name)
    lines = [*written.lines, *_keep(record, target, written)]
    return Exported(folder, tuple(folder / name for name in target.files), tuple(lines), dict(written.measured))


def _check_out(folder: Path, record: Record, target: Target, force: bool) -> None:
    """Refuse a folder that cannot be one, or is of the record, and files that are there."""
    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not existing.is_dir():
            raise MmkdError(f"--out {folder}: {existing} is not a folder; name another")
        if record.has_files and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(record.folder)):
            raise MmkdError(f"--out {folder}: it is in the folder of the record; name another")
        there = [name for name in target.files if os.path.lexists(folder / name)]
        if blocked := [name for name in there if (folder / name).is_dir()]:
            raise MmkdError(f"--out {folder}: {blocked[0]} is a folder there; name another")
    except OSError as error:
        raise MmkdError(f"--out {folder}: {error.strerror or error}; name another folder") from None
    if there and not force:
        raise MmkdError(f"--out {folder}: {there[0]} is there already; --force replaces it")


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, with its parents; those that were made for it are removed again if the body fails."""
    new = [each for each in (folder, *folder.absolute().parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for each in new:
            with suppress(OSError):
                each.rmdir()
        if isinstance(error, OSError):
            raise MmkdError(f"--out {folder}: {error.strerror or error}; nothing is written") from error
        raise


def _keep(record: Record, target: Target, written: Written) -> list[str]:
    """Add what was measured to the record's `deployment.json`; a line if that cannot be done."""
    if not written.measured:
        return []

    def extend(own: Mapping[str, Any]) -> bytes:
        before = own.get("exports")
        exports = {**(before if isinstance(before, dict) else {}), target.name: dict(written.measured)}
        return json.dumps({**own, "exports": exports}, indent=1, allow_nan=False).encode()

    try:
        if not record.has_files or not os.access(record.folder, os.W_OK):
            raise MmkdError("its record has no folder here that can be written")
        Records(record.folder.parent).add_measurements(record, {DEPLOYMENT: extend})
    except MmkdError as error:
        return [f"note: what was measured is not kept: {error}"]
    return []
