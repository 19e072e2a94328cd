"""What a reader needs to reproduce a number: versions, machine, commit and command."""

import platform
import shutil
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "mmkd",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyts",
    "numba",
    "tsai",
    "mlflow",
    "safetensors",
)


def environment(device: str, threads: int, processes: int = 1) -> dict[str, Any]:
    """The environment of a unit, as its record stores it.

    Args:
        threads: of each process.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "device": device,
        "threads": threads,
        "processes": processes,
        "versions": dict(_versions()),
        "git": git_state(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


@cache
def processor() -> str:
    """The name of the processor's model; where the system does not tell it, that of its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    return next(iter(names), "") or platform.processor() or platform.machine()


@cache
def _versions() -> dict[str, str]:
    """Name -> version of the packages that are installed; it is looked up once a process."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that this package runs from; empty for an installed wheel."""
    import mmkd

    root = Path(mmkd.__path__[0]).resolve().parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return {}

    def git(*args: str) -> str:
        try:
            command = ["git", "-C", str(root), *args]
            process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return process.stdout.strip() if process.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))} if commit else {}
