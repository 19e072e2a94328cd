"""The workspace of a command: where its records and cache lie, and what it runs on. Imports neither torch nor numpy.

One object goes from the command to the place where a unit is trained, and as JSON to worker processes and followers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmkd.core.errors import MmkdError
from mmkd.core.progress import Progress
from mmkd.specs.data import DataSpec
from mmkd.store.cache import Cache
from mmkd.store.record import Records
from mmkd.training.distributed import SINGLE_PROCESS, ProcessGroup

if TYPE_CHECKING:
    import torch

    from mmkd.data import Dataset
    from mmkd.units.request import Request


@dataclass(frozen=True)
class Workspace:
    """Records, cache, device, threads, progress and process group of a command; no part of any key.

    Args:
        runs: folder of the records.
        cache_folder: folder of views and teachers; None: the variable MMKD_CACHE, else `cache` in `runs`.
        device: "auto", "cpu" or "cuda".
        jobs: worker processes; 1 works in this process.
        engine: "local", or "ray", where a job takes the `resources`, such as "cpus=2,gpus=0.25".
        threads: of each worker; 0: the cores of this machine shared out.
        data: file of the user's own windows, in place of named data sets.
        data_root: data folder; empty: the default one.
        plugins: files that workers load before they begin.
        progress: who is told what is done.
        group: the processes that train together.

    Raises:
        MmkdError: jobs below 1, options that exclude each other, Ray is not installed, or malformed resources.
    """

    runs: str | Path = "runs"
    cache_folder: str | Path | None = None
    device: str = "auto"
    jobs: int = 1
    engine: Literal["local", "ray"] = "local"
    resources: str | None = None
    threads: int = 0
    data: str | None = None
    data_root: str | Path = ""
    plugins: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress)
    group: ProcessGroup = SINGLE_PROCESS

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
        if self.cache_folder is None:
            object.__setattr__(self, "cache_folder", os.environ.get("MMKD_CACHE") or Path(self.runs) / "cache")
        if not self.threads:
            object.__setattr__(self, "threads", self._threads())

    def _threads(self) -> int:
        if self.engine == "ray":
            return count_threads(parse_resources(self.resources or "")[0])
        return count_threads(count_cores() / self.jobs)

    @cached_property
    def records(self) -> Records:
        """The records below `runs`."""
        return Records(self.runs)

    @cached_property
    def cache(self) -> Cache:
        """Views, teachers and their outputs."""
        assert self.cache_folder is not None
        return Cache(self.cache_folder)

    @cached_property
    def torch_device(self) -> "torch.device":
        """The device as PyTorch has it; "auto" is CUDA where there is one.

        Raises:
            MmkdError: a CUDA device was asked for and there is none.
        """
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise MmkdError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
        return torch.device(self.device)

    @property
    def uses_workers(self) -> bool:
        """Whether units are done outside this process."""
        return self.jobs > 1 or self.engine == "ray"

    def load(self, spec: DataSpec) -> "Dataset":
        """The windows of a unit, before its fold is cut; the last two are kept in memory.

        Raises:
            MmkdError: they cannot be read.
        """
        return _load_windows(spec.name, self.data, str(self.data_root), spec.nan, spec.rate)

    def to_json(self) -> dict[str, Any]:
        """What workers and followers are sent, with absolute paths."""
        absolute = {name: str(Path(getattr(self, name)).resolve()) for name in ("runs", "cache_folder")}
        return {
            **absolute,
            "data_root": str(Path(self.data_root).resolve()) if self.data_root else "",
            "device": self.device,
            "threads": self.threads,
            "data": self.data and str(Path(self.data).resolve()),
            "plugins": [str(Path(path).resolve()) for path in self.plugins],
        }

    @classmethod
    def of(cls, request: "Request", **settings: Any) -> "Workspace":
        """The workspace of a request: its own data, data folder and plugins, and these settings."""
        from mmkd.data import data_root

        root = data_root(request.data_root)
        return cls(data=request.data, data_root=root, plugins=request.plugins, **settings)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], group: ProcessGroup = SINGLE_PROCESS) -> "Workspace":
        """The workspace of a worker, or of a follower in `group`, from what it was sent."""
        return cls(**{**values, "plugins": tuple(values["plugins"])}, group=group)


@lru_cache(maxsize=2)
def _load_windows(name: str, path: str | None, root: str, nan: Any, rate: float) -> "Dataset":
    from mmkd.data import load_dataset, load_file

    return load_dataset(name, root or None, nan, rate) if path is None else load_file(path, nan)


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_threads(share: float) -> int:
    """Threads of a worker that has `share` cores; at most OMP_NUM_THREADS, where that is set."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(share), int(limit) if limit.isdecimal() and int(limit) else int(share)))


def check_ray() -> None:
    """MmkdError where ray is not installed."""
    if find_spec("ray") is None:
        raise MmkdError("--engine ray: ray is not installed; pip install 'mmkd[ray]'")


def parse_resources(text: str) -> tuple[float, float]:
    """CPUs and GPUs of one job.

    >>> parse_resources("cpus=2,gpus=0.25")
    (2.0, 0.25)
    """
    found = {"cpus": 1.0, "gpus": 0.0}
    for part in text.split(",") if text else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in found or not 0 <= number < 10_000 or (name == "cpus" and not number):
            raise MmkdError(f"--resources {text}: write cpus=2 or cpus=2,gpus=0.25, what one task takes")
        found[name] = number
    if found["gpus"] > 1 and found["gpus"] % 1:
        raise MmkdError(f"--resources {text}: Ray divides one GPU; above 1 give a whole number")
    return found["cpus"], found["gpus"]
