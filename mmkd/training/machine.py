"""What this machine is slow at, and limits of its container: told or set before the first training of a command."""

import os
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import torch

from mmkd.core.errors import MachineWarning
from mmkd.core.threads import cpu_quota
from mmkd.nets import build_teacher
from mmkd.specs.unit import UnitSpec
from mmkd.training.step_threads import on_threads
from mmkd.training.workspace import Workspace

SLOW = 1.5
"""Of bfloat16: how many times the time of float32 is worth a warning. With bfloat16 instructions it is below 1."""
LITTLE_DISK = 256 << 20
"""Free bytes below which a line warns of a full disk."""
GPU = Path("/dev/nvidiactl")
"""There where the driver of an NVIDIA GPU is loaded."""
ROUNDS = 3
WINDOWS, SHAPE = 8, (9, 32, 32)


def prepare_machine(specs: Iterable[UnitSpec], workspace: Workspace) -> None:
    """Limit the threads of this process to the CPU quota of its container, and warn of what will take long.

    Args:
        specs: the units to run.
    """
    quota = cpu_quota()
    if quota is not None and "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > quota:
        torch.set_num_threads(quota)  # more threads than the quota pays for are stopped by the system again and again
    for line in slow_things(specs, workspace):
        warnings.warn(line, MachineWarning, stacklevel=1)  # always from this line: each is shown once


def slow_things(specs: Iterable[UnitSpec], workspace: Workspace) -> Iterator[str]:
    """What makes these units slow on this machine, or ends them, a line each."""
    on_cpu = workspace.torch_device.type == "cpu"
    if on_cpu and any(spec.training.precision == "bf16" for spec in specs):
        cost = bfloat16_cost()
        if cost > SLOW:
            yield (
                f"--precision bf16: this processor takes {cost:.1f} times as long in bfloat16 as in float32 "
                f"(a short probe); the results are valid, but fp32 is faster here"
            )
    if on_cpu and workspace.device == "auto" and GPU.exists():
        why = "its driver does not fit" if torch.version.cuda else "this is a build of PyTorch without CUDA"
        yield f"--device auto: an NVIDIA GPU is here, but PyTorch cannot use it ({why}); the CPU is used"
    for flag, folder in (("--runs", workspace.runs), ("--cache", workspace.cache_folder)):
        free = _free_bytes(Path(str(folder)))
        if free < LITTLE_DISK:
            yield f"{flag} {folder}: only {free >> 20} MiB are free on this disk; records or views may not fit"


def _free_bytes(folder: Path) -> int:
    """The free space of the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


@lru_cache(maxsize=1)
def bfloat16_cost() -> float:
    """How many times the time of float32 a training step of an image network takes in bfloat16 on this processor.

    The fastest of a few steps of each, in turns; it takes about a second.
    """
    times: dict[bool, list[float]] = {False: [], True: []}
    with torch.random.fork_rng(devices=[]):
        network = build_teacher("WRN16-1", "gaf", SHAPE, 2)
        images = torch.randn(WINDOWS, *SHAPE)
    with on_threads(1):  # beside other work several wait for each other, and the ratio is a chance
        for _ in range(ROUNDS + 1):  # the first call prepares kernels, and is not the fastest
            for reduced, seconds in times.items():
                started = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
                    logits = network({"gaf": images}).logits
                logits.float().square().mean().backward()
                seconds.append(time.perf_counter() - started)
    return min(times[True]) / min(times[False])
