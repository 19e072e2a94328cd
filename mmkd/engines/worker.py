"""One task of a plan, done in a process of its own. Light to import: the process first sets its threads."""

import os
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import DamageWarning, MmkdError

if TYPE_CHECKING:
    from mmkd.data import Dataset
    from mmkd.engines.plan import JobResult

Values = Mapping[str, Any]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def threads_of(share: float) -> int:
    """Threads of a worker that has `share` cores; at most OMP_NUM_THREADS, where that is set."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(share), int(given) if given.isdecimal() and int(given) else int(share)))


def setting(
    runs: str | Path,
    cache: str | Path,
    device: str,
    threads: int,
    data: str | None,
    data_root: str | Path,
    plugins: tuple[str, ...],
) -> dict[str, Any]:
    """What all tasks of a command share, ready for JSON, with absolute paths."""
    found: dict[str, Any] = {"device": device, "threads": threads, "data": data and str(Path(data).resolve())}
    for name, path in (("runs", runs), ("cache", cache), ("data_root", data_root)):
        found[name] = str(Path(path).resolve())
    return found | {"plugins": [str(Path(path).resolve()) for path in plugins]}


def perform(task: Values, place: Values) -> dict[str, Any]:
    """Do one task and say what came of it, as the fields of `plan.Ended`.

    Args:
        task: `plan.Task.values`.
        place: what `setting` returned.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # the command has tried every unit and has told its notes
        warnings.simplefilter("always", DamageWarning)
        found = _attempt(task, place)
    return found | {"notes": list(dict.fromkeys(str(each.message) for each in caught))}


def _attempt(task: Values, place: Values) -> dict[str, Any]:
    try:
        return asdict(_perform(task, place))
    except (Exception, SystemExit) as error:  # a unit's own errors are caught further in, under its lock
        from mmkd.core.errors import describe_error
        from mmkd.store.record import Records

        log = ""
        with suppress(MmkdError):
            log = str(Records(place["runs"]).fail(task["key"], traceback.format_exc()))
        return {"status": "failed", "error": describe_error(error), "log": log}


def _perform(task: Values, place: Values) -> "JobResult":
    import torch

    from mmkd.core.memory import keep_freed_memory
    from mmkd.core.progress import Progress
    from mmkd.core.registry import load_plugin
    from mmkd.engines.plan import JobResult
    from mmkd.engines.sweep import run_one
    from mmkd.store.cache import Cache
    from mmkd.store.record import Records
    from mmkd.training.series import do_unit
    from mmkd.training.student import Place, make_teacher, make_view, pick_device
    from mmkd.units.expansion import in_fold, source_sha256
    from mmkd.units.spec import UnitSpec

    keep_freed_memory()
    torch.set_num_threads(place["threads"])
    for plugin in place["plugins"]:
        load_plugin(plugin)
    spec = UnitSpec.parse(task["spec"])
    windows = load_windows(spec.data.name, place["data"], place["data_root"], spec.data.nan, spec.data.rate)
    data = in_fold(windows, spec.data)
    if data.sha256 != spec.data.sha256:
        raise MmkdError(f"data {data.name!r} is not what it was when the command began; start the command again")
    at = Place(Records(place["runs"]), Cache(place["cache"]), pick_device(place["device"]), Progress())
    if task["kind"] == "unit":
        if spec.key != task["key"] or source_sha256(spec.method) != spec.method_sha256:
            raise MmkdError(f"method {spec.method!r} or mmkd itself is another version here; start the command again")
        done = run_one(spec, data, at.records, lambda spec, data: do_unit(spec, data, at), task["rerun"])
        assert done.status in ("done", "cached", "failed")
        return JobResult(done.status, done.error, done.log)
    (make_view if task["kind"] == "view" else make_teacher)(task["modality"], spec, data, at)
    return JobResult("done")


@lru_cache(maxsize=2)
def load_windows(name: str, path: str | None, root: str, nan: Any, rate: float = 0.0) -> "Dataset":
    """A data set by name, at its own rate or this one, or of a file; the last two are kept."""
    from mmkd.data import load_dataset, load_file

    return load_dataset(name, root, nan, rate) if path is None else load_file(path, nan)
