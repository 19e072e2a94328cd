"""Run a unit from Python, `mmkd.run("fam")`, and load its trained student, `mmkd.load_student(record)`."""

import operator
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError, UnitFailed, unknown_name
from mmkd.core.progress import Progress, in_notebook, python_progress
from mmkd.core.text import LONGEST_PATH, shown
from mmkd.data import Dataset
from mmkd.engines.execution import execute
from mmkd.engines.sweep import Existing
from mmkd.store.record import Record
from mmkd.store.records import open_record
from mmkd.training.workspace import Workspace
from mmkd.units.methods import WORDS
from mmkd.units.request import Request


def run(
    method: str,
    dataset: str | None = None,
    seed: int = 0,
    *,
    data: str | Path | Dataset | None = None,
    student: str | None = None,
    teachers: str | None = None,
    runs: str | Path = "runs",
    cache: str | Path | None = None,
    device: str = "auto",
    existing: Existing = "skip",
    plugin: str | Path | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Record:
    """Run one unit, unless it is on record, and return its record.

    >>> record = mmkd.run("kd", dataset="basic-motions", temperature=2.0)  # doctest: +SKIP
    >>> record.metrics["test"]["macro_f1"]  # doctest: +SKIP

    Args:
        method, dataset, seed, student, teachers: as the flags of `python -m mmkd.bench`, with the same defaults.
        data: your own windows, in place of `dataset`: a file, or `mmkd.Dataset.from_arrays(x, y)`, whose key follows
            from what it holds. A file with the same arrays has another key.
        runs, cache, device, existing, plugin: as the flags.
        progress: whether progress is shown; None: in notebooks alone.
        settings: the other fields of a suite (`epochs`, `image_size`, `student_net`, `preset`, ...), and the options of
            the method (`temperature=2.0`). `with_controls=True` runs the controls that fit too, into `runs`.

    Returns:
        The record, with `.metrics["test"]["macro_f1"]`, `.folder` and `.key`; with `tune=N`, that of the tuned unit.

    Raises:
        MmkdError: an argument is invalid, or the unit cannot be run.
        UnitFailed: the training failed, or, with `existing="only"`, the unit is not on record.
    """
    _check_types(
        texts={
            "method": method,
            "dataset": dataset,
            "student": student,
            "teachers": teachers,
            "device": device,
            "existing": existing,
        },
        paths={"runs": runs, "cache": cache, "plugin": plugin},
    )
    if not isinstance(data, str | PathLike | Dataset | None):
        raise MmkdError(
            f"data is {_a(type(data).__name__)}; give data=mmkd.Dataset.from_arrays(x, y), or a file: "
            "np.savez('mine.npz', x=x, y=y), then data='mine.npz'; x is (N, C, W)"
        )
    if not isinstance(progress, bool | None):
        raise MmkdError(f"progress = {shown(progress)} is neither True, False nor None")
    plural = {"methods", "datasets", "seeds", "students", "plugins", "options", "variants", "name"} & set(settings)
    if plural or method in WORDS:
        raise MmkdError("mmkd.run does one unit; for several use a suite: python -m mmkd.bench --suite FILE")
    if data is not None and dataset is not None:
        raise MmkdError("data and dataset both name windows; give one of them")
    if data is not None and settings.get("card") is not None:
        raise MmkdError("data and card both name windows; give one of them")
    if existing not in ("skip", "rerun", "only"):
        raise unknown_name("existing", str(existing), ("skip", "rerun", "only"))
    given = data if isinstance(data, Dataset) else None
    request_fields = {f.name for f in fields(Request)}
    values = {name: value for name, value in settings.items() if name in request_fields}
    options = {name: value for name, value in settings.items() if name not in request_fields}
    single = {"datasets": dataset, "students": student, "teachers": teachers}
    values |= {name: (value,) for name, value in single.items() if value is not None}
    request = Request(
        methods=(method,),
        data=None if data is None or given is not None else str(data),
        seeds=(_as_int(seed),),
        plugins=() if plugin is None else (str(plugin),),
        options={method: options} if options else {},
        **values,
    )
    shows = in_notebook() if progress is None else progress
    workspace = Workspace.for_request(
        request,
        runs=runs,
        cache_folder=cache,
        device=device,
        progress=python_progress() if shows else Progress(),
    )
    results = execute(request, workspace, existing, given=given).results
    result = [result for result in results if result.spec.method == method][-1]  # the tuned one comes last
    if result.record is None:
        message = result.error or f"unit {result.spec.key} is not on record"
        raise UnitFailed(f"{message}; see {result.log}" if result.log else message)
    return result.record


def _check_types(texts: Mapping[str, Any], paths: Mapping[str, Any]) -> None:
    """Refuse what is neither a text nor, of `paths`, a path; None stands for the default."""
    for name, value in {**texts, **paths}.items():
        what = "path" if name in paths else "text"
        if not isinstance(value, str | None) and not (name in paths and isinstance(value, PathLike)):
            raise MmkdError(f"{name} = {shown(value)} is not a {what}")
        if len(str(value)) > LONGEST_PATH:
            raise MmkdError(f"{name} = {shown(str(value))} is too long for a {what}")


def _a(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def _as_int(seed: Any) -> int:
    """A seed of any integer type as an int."""
    try:
        return operator.index(seed)
    except TypeError:
        raise MmkdError(f"seed = {shown(seed)} is not a whole number") from None


def load_student(run: Record | str | Path, *, plugin: str | Path | None = None) -> Any:
    """Load the trained student of a unit, in evaluation mode, with its fitted modalities and the plugins it needs.

    >>> model = mmkd.load_student("runs/1a2b3c4d")  # doctest: +SKIP
    >>> labels = model.predict(windows)  # doctest: +SKIP

    Args:
        run: a record, as `run` returns it, or the folder of a record (`runs/<key>`).
        plugin: the file of the plugin that the student was made with, if it is not where it was then.

    Returns:
        A `StudentModel`, a module that maps views to `Outputs`; `.predict(windows)` takes raw windows (N, C, W) and
        gives labels (N,) as they were in y, `.predict_proba(windows)` their probabilities (N, K).

    Raises:
        MmkdError: there is no such record, it is that of a teacher, or its files are damaged; or a plugin that the
            student needs is missing, or is not the one that it was made with.
    """
    from mmkd.training.student_model import StudentModel

    _check_types({}, {"plugin": plugin})
    return StudentModel.load(open_record(run), () if plugin is None else (plugin,))
