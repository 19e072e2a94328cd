"""The same work from Python: `mmkd.run(method="fam")` and `mmkd.load_student(result)`."""

import operator
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from mmkd.core.errors import MmkdError, Refused, UnitFailed, unknown_name
from mmkd.core.progress import Progress, duration
from mmkd.data import Dataset, data_root, load_dataset
from mmkd.engines.processes import ProcessEngine, cores
from mmkd.engines.ray import RayEngine, check_ray, parse_resources
from mmkd.engines.sweep import Existing, run_units
from mmkd.engines.worker import load_windows, setting, threads_of
from mmkd.store.record import Record, Records
from mmkd.training.distributed import SINGLE_PROCESS, ProcessGroup, TorchrunGroup
from mmkd.units.expansion import expand, in_fold, student_alone
from mmkd.units.request import Request
from mmkd.units.result import UnitResult

USUAL = {"classification": ("deployment.json", "maps.npz"), "segmentation": ("deployment.json",)}
"""What the command measures of the students of a task."""


@dataclass(frozen=True)
class Folders:
    """Where records and cache lie, and what the work runs on; no part of a unit's key.

    Attributes:
        cache: the folder given, else the variable MMKD_CACHE, else `cache` in the runs folder.
        jobs: worker processes; 1 works in this one.
        engine: "local", or "ray", where a task takes the `resources`, such as "cpus=2,gpus=0.25".

    Raises:
        MmkdError: jobs below 1, options that do not go together, no Ray, or resources that are none.
    """

    runs: str | Path = "runs"
    cache: str | Path | None = None
    device: str = "auto"
    jobs: int = 1
    engine: Literal["local", "ray"] = "local"
    resources: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise MmkdError(f"--jobs {self.jobs}: give a whole number of at least 1")
        if self.engine == "local":
            if self.resources is not None:
                raise MmkdError(f"--resources {self.resources}: only Ray shares them out; add --engine ray")
        else:
            if self.jobs > 1:
                raise MmkdError(f"--jobs {self.jobs}: Ray does as many at a time as --resources allow; leave it out")
            check_ray()
            parse_resources(self.resources or "")

    @property
    def apart(self) -> bool:
        """Whether units are done outside this process."""
        return self.jobs > 1 or self.engine == "ray"

    @property
    def threads(self) -> int:
        """Of each worker."""
        if self.engine == "ray":
            return threads_of(parse_resources(self.resources or "")[0])
        return threads_of(cores() / self.jobs)

    @property
    def cache_folder(self) -> Path:
        return Path(self.cache or os.environ.get("MMKD_CACHE") or Path(self.runs) / "cache")


@dataclass(frozen=True)
class Outcome:
    """A finished request: what came of each unit, and the records that its table stands on.

    `students_alone` maps the key of a unit to the record of the student alone under the same seed, where there is one;
    `unmeasured` has a line for each measurement that went wrong; `simple` are the simple detectors of the anomaly task.
    """

    results: Sequence[UnitResult]
    teachers: Sequence[Record]
    students_alone: Mapping[str, Record] = field(default_factory=dict)
    unmeasured: Sequence[str] = ()
    simple: Sequence[Record] = ()

    @property
    def records(self) -> list[Record]:
        """Every record that the request made or found, each once."""
        own = [done.record for done in self.results if done.record is not None]
        every = [*self.teachers, *own, *self.students_alone.values(), *self.simple]
        return list({record.key: record for record in every}.values())


def execute(
    request: Request,
    folders: Folders,
    existing: Existing = "skip",
    progress: Progress | None = None,
    tell: Callable[[UnitResult], None] = lambda done: None,
    group: ProcessGroup = SINGLE_PROCESS,
    measured: Sequence[str] = (),
) -> Outcome:
    """Do all units of a request, each training by all processes of the group; then measure the students that it names.

    Every unit that is to be done is tried on made-up windows first, so that what cannot work is refused before anything
    is trained or written. Under `--method all` a method that refuses is left out, with its reason.

    Args:
        measured: which of `record.MEASUREMENTS` are made of the students where they are not there yet.

    Raises:
        MmkdError: the request, its data or one of its units is refused.
    """
    records, progress = Records(folders.runs), progress or Progress()
    units = list(expand(request))
    if "robustness.json" in measured and any(data.grid for _, data in units):
        raise MmkdError("--robustness disturbs signals, and these data are images; leave it out")
    worker = _Worker(folders, records, progress, group)
    fitting = request.methods == ("all",)  # what a method refuses is then left out
    looked = existing != "only" or fitting
    todo = [(s, d) for s, d in units if existing == "rerun" or (looked and records.get(s.key) is None)]
    verdicts: dict[str, MmkdError | None] = {}  # what the trial said of a unit, None: it fits
    refused: dict[str, str] = {}
    if todo:
        from mmkd.training.student import pick_device
        from mmkd.training.trial import preflight

        pick_device(folders.device)
        for spec, data in todo:
            alike = replace(spec, seed=0).key  # units that differ in their seed alone are tried once
            if alike not in verdicts:
                verdicts[alike] = _verdict(preflight, spec, data)
            verdict = verdicts[alike]
            if isinstance(verdict, UnitFailed):  # a broken method fails its own units, and no others
                worker.broken[spec.key] = verdict
            elif verdict is not None:
                if not fitting or not isinstance(verdict, Refused):
                    raise verdict
                refused[spec.key] = str(verdict)
    results = [UnitResult(spec, "refused", error=refused[spec.key]) for spec, _ in units if spec.key in refused]
    for done in results:
        tell(done)
    units_left = [(s, d) for s, d in units if s.key not in refused]
    waiting = {s.key for s, _ in todo if s.key not in refused} if existing != "only" else set()
    if waiting and group.world > 1:
        group.tell("command", **_setting(request, folders, str(pick_device(folders.device))))
    with progress.overall(len(waiting)) if len(waiting) > 1 else nullcontext() as bar:

        def told(done: UnitResult) -> None:
            tell(done)
            if bar is not None and done.spec.key in waiting:
                bar.advance()

        if folders.apart and waiting:
            results += _apart(request, units_left, folders, existing == "rerun", worker, told)
        else:
            results += run_units(units_left, records, worker, existing, told)
    keys = dict.fromkeys(done.spec.teacher(name).key for done in results for name in done.spec.teachers)
    found = {}
    for spec, _ in units:
        record = records.get(student_alone(spec).key)
        if record is not None:
            found[spec.key] = record
    wanted = () if existing == "only" else measured
    unmeasured = _measure(results, {s.key: d for s, d in units}, records, folders, progress, wanted)
    taught = [r for r in map(records.get, keys) if r is not None]
    beside, wrong = _simple(results, units, records, existing != "only")
    return Outcome(results, taught, found, [*unmeasured, *wrong], beside)


def _simple(
    results: Sequence[UnitResult], units: Sequence[tuple[Any, Dataset]], records: Records, make: bool
) -> tuple[list[Record], list[str]]:
    """The records of the simple detectors beside the units of the anomaly task, and a line for what went wrong.

    Args:
        make: those that are not there.
    """
    from mmkd.evaluation.detectors import simple_keys, write_simple

    here = {done.spec.key for done in results if done.record is not None}
    found: dict[str, Record | None] = {}
    wrong: list[str] = []
    for spec, data in units:
        if spec.task != "anomaly" or spec.key not in here:
            continue
        if make:
            wrong += write_simple(spec, data, records)
        found |= {key: records.get(key) for key in simple_keys(spec).values() if key not in found}
    return [record for record in found.values() if record is not None], list(dict.fromkeys(wrong))


def _measure(
    results: Sequence[UnitResult],
    data: Mapping[str, Dataset],
    records: Records,
    folders: Folders,
    progress: Progress,
    wanted: Sequence[str],
) -> list[str]:
    """Measure, in this process alone, what the records of these units lack; a line for each that went wrong."""
    lacks: dict[str, tuple[Record, list[str]]] = {}
    for record in (done.record for done in results if wanted and done.record is not None):
        there = record.measured
        if missing := [name for name in wanted if name not in there]:
            lacks[record.key] = record, missing
    if not lacks:
        return []
    from mmkd.evaluation.runner import MeasurementJob, MeasurementRunner
    from mmkd.store.cache import Cache

    began = time.perf_counter()
    measuring = MeasurementRunner(records, Cache(folders.cache_folder), folders.device, progress)
    measuring.run([MeasurementJob(record, data[key], missing) for key, (record, missing) in lacks.items()])
    what = sorted({name.partition(".")[0] for _, missing in lacks.values() for name in missing})
    students = f"{len(lacks)} student{'s' if len(lacks) > 1 else ''}"
    progress.say(f"measured {', '.join(what)} of {students} in {duration(time.perf_counter() - began)}")
    return measuring.problems


def _apart(
    request: Request,
    units: list[tuple[Any, Any]],
    folders: Folders,
    rerun: bool,
    worker: "_Worker",
    tell: Callable[[UnitResult], None],
) -> list[UnitResult]:
    """Do the units by `--jobs` or Ray; those whose method is broken fail here and now."""
    from mmkd.engines.engine import run_jobs
    from mmkd.engines.plan import make_plan, pending
    from mmkd.store.cache import Cache

    broken = [(spec, data) for spec, data in units if spec.key in worker.broken]
    done = run_units(broken, worker.records, worker, "rerun", tell)
    order = [spec.key for spec, _ in units]
    units = [(spec, data) for spec, data in units if spec.key not in worker.broken]
    plan = make_plan(units, worker.records, Cache(folders.cache_folder), rerun)
    place = _setting(request, folders, folders.device)
    engine = (
        RayEngine(place, *parse_resources(folders.resources or ""), worker.progress.say)
        if folders.engine == "ray"
        else ProcessEngine(min(folders.jobs, len(pending(plan))), place)
    )
    done += run_jobs(units, plan, worker.records, engine, tell, worker.progress)
    return sorted(done, key=lambda done: order.index(done.spec.key))


def _setting(request: Request, folders: Folders, device: str) -> dict[str, Any]:
    """What processes that work for this command are told of it."""
    return setting(
        runs=folders.runs,
        cache=folders.cache_folder,
        device=device,
        threads=folders.threads,
        data=request.data,
        data_root=data_root(request.data_root),
        plugins=request.plugins,
    )


def follow(group: TorchrunGroup) -> None:
    """Train along in a process that does not lead, until the one that does has ended its command."""
    group.follow(_Follower(group))


class _Follower:
    """What a process that follows does with each message: of the command first, then of its trainings."""

    def __init__(self, group: TorchrunGroup) -> None:
        self.group = group
        self.place: Any = None
        self.data: Callable[[Any], Dataset] = lambda spec: load_dataset(spec.name)

    def __call__(self, message: dict[str, Any]) -> Callable[[], object] | None:
        from mmkd.training.student import along

        if message["kind"] != "command":
            return along(message, self.data, self.place)
        self._begin(message)
        return None

    def _begin(self, said: Mapping[str, Any]) -> None:
        from mmkd.core.memory import keep_freed_memory
        from mmkd.core.registry import load_plugin
        from mmkd.store.cache import Cache
        from mmkd.training.student import Place, pick_device

        keep_freed_memory()
        for plugin in said["plugins"]:
            load_plugin(plugin)
        device = pick_device(said["device"])
        self.group.take_device(said["device"])
        self.place = Place(Records(said["runs"]), Cache(said["cache"]), device, Progress(), self.group)

        def load(spec: Any) -> Dataset:
            data = load_windows(spec.name, said["data"], said["data_root"], spec.nan, spec.rate)
            if data.sha256 != spec.sha256:
                raise MmkdError(f"data {spec.name!r} is not the same here as where the command leads")
            return in_fold(data, spec)

        self.data = load


def _verdict(preflight: Callable[..., None], spec: Any, data: Any) -> MmkdError | None:
    try:
        preflight(spec, data)
    except MmkdError as error:
        return error
    return None


class _Worker:
    """Does one unit; loads PyTorch's side of the house when the first unit really has to be done."""

    def __init__(self, folders: Folders, records: Records, progress: Progress, group: ProcessGroup) -> None:
        self.folders, self.records, self.progress, self.group = folders, records, progress, group
        self.broken: dict[str, UnitFailed] = {}  # key -> why the unit's method cannot work

    def __call__(self, spec: Any, data: Any) -> Record:
        if spec.key in self.broken:
            raise self.broken[spec.key]
        from mmkd.store.cache import Cache
        from mmkd.training.series import do_unit
        from mmkd.training.student import Place, pick_device

        device, cache = pick_device(self.folders.device), Cache(self.folders.cache_folder)
        return do_unit(spec, data, Place(self.records, cache, device, self.progress, self.group))


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
    done = execute(request, Folders(runs, cache, device), existing).results[0]
    if done.record is None:
        what = done.error or f"unit {done.spec.key} is not on record"
        raise UnitFailed(f"{what}; see {done.log}" if done.log else what)
    return done.record


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
    from mmkd.training.stored import StudentModel

    if isinstance(run, Record):
        return StudentModel.load(run)
    folder = Path(run)
    records = Records(folder.parent)
    fault = records.fault(folder.name)
    record = None if fault else records.get(folder.name)
    if record is None:
        raise MmkdError(fault or f"{folder} is no record of a unit: it has no result.json")
    return StudentModel.load(record)
