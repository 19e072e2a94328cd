"""The workspace of a command: the folders of its records and cache, and its device, threads and processes.

One object is passed from the command to the training of a unit, and as JSON to worker processes and followers. This
module imports neither torch nor numpy.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.extras import how_to_install
from mmkd.core.progress import Progress
from mmkd.core.text import shown
from mmkd.core.threads import count_cores, count_threads
from mmkd.specs.data import DataSpec
from mmkd.store.cache import Cache
from mmkd.store.records import Records
from mmkd.training.distributed import SINGLE_PROCESS, ProcessGroup

if TYPE_CHECKING:
    import torch

    from mmkd.data import Dataset
    from mmkd.units.request import Request


@dataclass(frozen=True)
class ExternalEngine:
    """An engine that decides itself how many jobs run at a time, by their `--resources`.

    Attributes:
        path: `module:Class`; the class is made with the workspace.
        package: the package that it needs, and the extra of mmkd that installs it.
    """

    path: str
    package: str


ENGINES: Mapping[str, ExternalEngine] = {"ray": ExternalEngine("mmkd.engines.ray:RayEngine", "ray")}
"""Engines besides "local", the worker processes of `--jobs`."""


@dataclass(frozen=True)
class Workspace:
    """Records, cache, device, threads, progress and process group of a command; none of them changes a key.

    Args:
        runs: folder of the records.
        cache_folder: folder of views and teachers; None: that of the environment variable MMKD_CACHE, else `cache` in
            `runs`.
        device: "auto", "cpu" or "cuda".
        jobs: number of worker processes; 1: units run in this process.
        engine: "local" or "ray".
        resources: of one job on Ray, such as "cpus=2,gpus=0.25".
        threads: of each worker; 0: the cores of `count_cores` divided by `jobs`.
        data: file of the user's own windows, in place of named data sets.
        data_root: data folder; empty: the default one.
        plugins: Python files that workers load first.
        record_files: files of records that travelled here, see `store.travelling`.
        progress: shows progress bars and messages.
        group: the processes that torchrun started.

    Raises:
        MmkdError: `jobs` is below 1, options exclude each other, Ray is not installed, or `resources` is malformed.
    """

    runs: str | Path = "runs"
    cache_folder: str | Path | None = None
    device: str = "auto"
    jobs: int = 1
    engine: str = "local"
    resources: str | None = None
    threads: int = 0
    data: str | None = None
    data_root: str | Path = ""
    plugins: tuple[str, ...] = ()
    record_files: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress)
    group: ProcessGroup = SINGLE_PROCESS

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise MmkdError(f"--jobs {self.jobs}: give a whole number of at least 1")
        if self.engine == "local":
            if self.resources is not None:
                raise MmkdError(f"--resources {self.resources}: only Ray uses them; add --engine ray")
        else:
            if self.jobs > 1:
                name = self.engine.capitalize()
                raise MmkdError(
                    f"--jobs {self.jobs}: --resources decide how many units {name} runs at a time; leave it out"
                )
            check_engine(self.engine)
            parse_resources(self.resources or "")
        if self.cache_folder is None:
            object.__setattr__(self, "cache_folder", os.environ.get("MMKD_CACHE") or Path(self.runs) / "cache")
        if not self.threads:
            object.__setattr__(self, "threads", self._default_threads())

    def _default_threads(self) -> int:
        if self.engine != "local":
            return count_threads(parse_resources(self.resources or "")[0])
        return count_threads(count_cores() / self.jobs)

    @cached_property
    def records(self) -> Records:
        """The records in the folder `runs`, and those that travelled here."""
        return Records(self.runs, self.record_files)

    @cached_property
    def cache(self) -> Cache:
        """The cache of views, teachers and their outputs."""
        assert self.cache_folder is not None
        return Cache(self.cache_folder)

    @cached_property
    def torch_device(self) -> "torch.device":
        """The PyTorch device; "auto" is CUDA if there is a CUDA device.

        Raises:
            MmkdError: `device` is "cuda" and there is no CUDA device, or PyTorch knows no such device.
        """
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise MmkdError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
        try:
            return torch.device(self.device)
        except RuntimeError:
            raise MmkdError(f"--device {shown(self.device)}: give auto, cpu or cuda") from None

    @property
    def uses_workers(self) -> bool:
        """Whether units run in other processes."""
        return self.jobs > 1 or self.engine != "local"

    def load(self, spec: DataSpec) -> "Dataset":
        """The data set of a unit, before its fold is selected; the last two are kept in memory.

        Raises:
            MmkdError: it cannot be read.
        """
        return _load_windows(
            spec.name,
            self.data,
            str(self.data_root),
            spec.nan,
            spec.rate,
            spec.unlabelled_file,
            spec.unlabelled_sha256,
            spec.unequal,
            spec.parts_file,
        )

    def to_json(self) -> dict[str, Any]:
        """The workspace as JSON values, with absolute paths, for workers and followers."""
        absolute = {name: str(Path(getattr(self, name)).resolve()) for name in ("runs", "cache_folder")}
        return {
            **absolute,
            "data_root": str(Path(self.data_root).resolve()) if self.data_root else "",
            "device": self.device,
            "threads": self.threads,
            "data": self.data and str(Path(self.data).resolve()),
            "plugins": [str(Path(path).resolve()) for path in self.plugins],
            "record_files": [str(Path(path).resolve()) for path in self.record_files],
        }

    @classmethod
    def for_request(cls, request: "Request", **settings: Any) -> "Workspace":
        """The workspace with the data, data folder and plugins of a request, and these other settings."""
        from mmkd.data import data_root

        root = data_root(request.data_root)
        return cls(data=request.own, data_root=root, plugins=request.plugins, record_files=request.records, **settings)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], group: ProcessGroup = SINGLE_PROCESS) -> "Workspace":
        """The workspace of a worker, or of a follower in `group`, from the values of `to_json`."""
        lists = {name: tuple(values[name]) for name in ("plugins", "record_files")}
        return cls(**{**values, **lists}, group=group)


@lru_cache(maxsize=2)
def _load_windows(
    name: str,
    path: str | None,
    root: str,
    nan: Any,
    rate: float,
    unlabelled: str,
    sha256: str,
    unequal: Any,
    parts: str,
) -> "Dataset":
    from mmkd.data import load_own
    from mmkd.data.load import load_split
    from mmkd.data.unlabelled import add_unlabelled

    if path is not None:
        data = load_own(path, root or None, nan, "", rate, unequal, parts)
    else:
        data = load_split(name, root or None, nan, rate, parts)
    if not sha256:
        return data
    data = add_unlabelled(data, unlabelled, nan)
    if data.unlabelled_sha256 != sha256:
        raise MmkdError(f"--unlabelled {unlabelled}: the file changed since the command began; start it again")
    return data


def check_engine(name: str) -> None:
    """Check that an engine exists and that the package that it needs is installed.

    Raises:
        MmkdError: it does not, or the package is not.
    """
    if name not in ENGINES:
        raise MmkdError(f"--engine: {unknown_name('engine', name, ('local', *ENGINES))}")
    package = ENGINES[name].package
    if find_spec(package) is None:
        raise MmkdError(f"--engine {name}: {package} is not installed; {how_to_install(package)}")


def parse_resources(text: str) -> tuple[float, float]:
    """The numbers of CPUs and GPUs of one job.

    Raises:
        MmkdError: the text is malformed.

    >>> parse_resources("cpus=2,gpus=0.25")
    (2.0, 0.25)
    """
    resources = {"cpus": 1.0, "gpus": 0.0}
    for part in text.split(",") if text else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in resources or not 0 <= number < 10_000 or (name == "cpus" and not number):
            raise MmkdError(f"--resources {text}: write cpus=2 or cpus=2,gpus=0.25, what one task takes")
        resources[name] = number
    if resources["gpus"] > 1 and resources["gpus"] % 1:
        raise MmkdError(f"--resources {text}: only one GPU can be divided; above 1 give a whole number")
    return resources["cpus"], resources["gpus"]
