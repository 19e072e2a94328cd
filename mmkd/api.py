"""The same work from Python: `mmkd.run(method="fam")` and `mmkd.load_student(result)`."""

import operator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError, UnitFailed, unknown_name
from mmkd.engines.execution import execute
from mmkd.engines.sweep import Existing
from mmkd.store.record import Record, Records
from mmkd.training.workspace import Workspace
from mmkd.units.request import Request


def run(
    method: str,
    dataset: str | None = None,
    seed: int = 0,
    *,
    data: str | Path | None = None,
    student: str | None = None,
    teachers: str | None = None,
    runs: str | Path = "runs",
    cache: str | Path | None = None,
    device: str = "auto",
    existing: Existing = "skip",
    plugin: str | Path | None = None,
    **settings: Any,
) -> Record:
    """Do one unit, or take it from the records, and return its record.

    Args:
        method, dataset, seed, student, teachers: as the flags of `python -m mmkd.bench`, with the same defaults.
        data: one's own windows in a file, in the place of `dataset`.
        runs, cache, device, existing, plugin: as the flags.
        settings: the other fields of a suite (`epochs`, `image_size`, `student_net`, `preset`, ...), and the options of
            the method (`temperature=2.0`).

    Returns:
        The record: `.metrics["test"]["macro_f1"]`, `.folder`, `.key`.

    Raises:
        MmkdError: what was asked cannot be done. UnitFailed: the unit broke off.
    """
    taken = {"methods", "datasets", "seeds", "students", "plugins", "options", "variants", "name"} & set(settings)
    if taken or method == "all":
        raise MmkdError("mmkd.run does one unit; for several use a suite: python -m mmkd.bench --suite FILE")
    if data is not None and dataset is not None:
        raise MmkdError("data and dataset both name windows; give one of them")
    if existing not in ("skip", "rerun", "only"):
        raise unknown_name("existing", str(existing), ("skip", "rerun", "only"))
    known = {f.name for f in fields(Request)}
    asked = {name: value for name, value in settings.items() if name in known}
    options = {name: value for name, value in settings.items() if name not in known}
    given = {"datasets": dataset, "students": student, "teachers": teachers}
    asked |= {name: (value,) for name, value in given.items() if value is not None}
    request = Request(
        methods=(method,),
        data=None if data is None else str(data),
        seeds=(_whole(seed),),
        plugins=() if plugin is None else (str(plugin),),
        options={method: options} if options else {},
        **asked,
    )
    result = execute(
        request, Workspace.for_request(request, runs=runs, cache_folder=cache, device=device), existing
    ).results[0]
    if result.record is None:
        what = result.error or f"unit {result.spec.key} is not on record"
        raise UnitFailed(f"{what}; see {result.log}" if result.log else what)
    return result.record


def _whole(seed: Any) -> int:
    """A seed as an int, whatever integer type it came as."""
    try:
        return operator.index(seed)
    except TypeError:
        raise MmkdError(f"seed = {seed!r} is not a whole number") from None


def load_student(run: Record | str | Path) -> Any:
    """The trained student of a unit, in evaluation mode, with the fitted views it needs.

    Args:
        run: what `run` returned, or the folder of a record (`runs/<key>`).

    Returns:
        A `StudentModel`, a module that maps views to `Outputs`; `.predict(windows)` takes raw windows (N, C, W).

    Raises:
        MmkdError: there is no such record, it is a teacher's, or its files are damaged.
    """
    from mmkd.training.student_model import StudentModel

    if isinstance(run, Record):
        return StudentModel.load(run)
    folder = Path(run)
    records = Records(folder.parent)
    fault = records.describe_damage(folder.name)
    record = None if fault else records.get(folder.name)
    if record is None:
        raise MmkdError(fault or f"{folder} is no record of a unit: it has no result.json")
    return StudentModel.load(record)
