"""How many threads a process may use, and how its threads wait for each other. Imports neither torch nor numpy."""

import math
import os
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""The variable that OpenMP reads when PyTorch is loaded: threads that wait sleep, in place of running in circles."""
OTHER_WAITING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Other variables by which a user may have said how threads wait."""
CGROUP = Path("/sys/fs/cgroup")


def wait_passively(variables: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of OpenMP sleep while they wait for each other, unless the user has set how they wait.

    By default they spin. On a machine with other work, threads then wait for one that has no core, while they keep the
    cores busy themselves: a training on two threads becomes many times slower than on one. Sleeping costs up to a tenth
    on an idle machine where operations are large; small networks train on one thread (`training.step_threads`).
    OpenMP reads the variable once, when PyTorch is loaded; later it has no effect in this process, but still in those
    that it starts.

    Args:
        variables: the environment variables to set.
    """
    if not {*WAITING, *OTHER_WAITING} & set(variables):
        variables.update(WAITING)


def waiting_variables() -> dict[str, str]:
    """The variables of this process that say how threads wait, for processes on other machines."""
    return {name: os.environ[name] for name in (*WAITING, *OTHER_WAITING) if name in os.environ}


def count_cores() -> int:
    """The number of cores that this process may use: those of its affinity, at most the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, cpu_quota() or cores)


def cpu_quota(root: Path = CGROUP) -> int | None:
    """The CPU quota of this container in cores, rounded up (`docker run --cpus 2`); None if it has none.

    Args:
        root: the folder of control groups, of version 2 or 1.
    """
    with suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota_us = int((root / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu" / "cpu.cfs_period_us").read_text())
        return max(1, math.ceil(quota_us / period_us)) if quota_us > 0 else None
    return None


def count_threads(cores: float) -> int:
    """The number of threads of a worker that may use this many cores; at most OMP_NUM_THREADS, if that is set."""
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2" is 4 in the outermost region
    return max(1, min(int(cores), int(limit) if limit.isdecimal() and int(limit) else int(cores)))
