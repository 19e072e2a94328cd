"""The record of a unit: a folder of plain files, written whole or not at all. Needs neither torch nor mlflow."""

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from .cache import temporary_folder
from .errors import MmkdError

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


@dataclass(frozen=True)
class Record:
    """One finished unit or teacher: its folder and what `result.json` says."""

    folder: Path
    result: Mapping[str, Any]

    @property
    def key(self) -> str:
        return str(self.result["key"])

    @property
    def kind(self) -> str:
        return str(self.result["kind"])

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.result["spec"]
        return spec

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        metrics: Mapping[str, Mapping[str, float]] = self.result["metrics"]
        return metrics


class Records:
    """All records below one folder, `runs/<key>/`."""

    def __init__(self, runs: str | Path) -> None:
        self.runs = Path(runs)

    def get(self, key: str) -> Record | None:
        """The finished record of `key`, or None.

        Raises:
            MmkdError: its `result.json` cannot be read.
        """
        path = self.runs / key / "result.json"
        if not path.is_file():
            return None
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(result, dict):
                raise ValueError("it holds no JSON object")
            missing = [name for name in ("key", "kind", "spec", "metrics") if name not in result]
            if missing or result["key"] != key:
                raise ValueError(f"it lacks {', '.join(missing)}" if missing else f"it is of unit {result['key']}")
        except (OSError, ValueError) as error:
            raise MmkdError(
                f"record {path} cannot be read ({error}); delete its folder and run the unit again"
            ) from None
        return Record(path.parent, result)

    def __iter__(self) -> Iterator[Record]:
        for path in sorted(self.runs.glob("[!.]*/result.json")):  # hidden folders are not finished, or replaced
            record = self.get(path.parent.name)
            if record is not None:
                yield record

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Held by the one process that works on `key`; a second one waits here and then finds the record."""
        try:
            (self.runs / ".locks").mkdir(parents=True, exist_ok=True)
            held = filelock.FileLock(self.runs / ".locks" / f"{key}.lock")
            held.acquire()
        except OSError as error:
            raise MmkdError(
                f"--runs {self.runs}: {error.strerror or error}; name a folder that can be written"
            ) from error
        try:
            yield
        finally:
            held.release()

    def write(self, key: str, fill: Callable[[Path], Mapping[str, Any]]) -> Record:
        """Write a record: `fill` puts its files into a temporary folder and returns the content of `result.json`.

        A record of the same key is replaced once the new one is whole.
        """
        final = self.runs / key
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with temporary_folder(self.runs) as folder:
                result = fill(folder)
                text = json.dumps(result, indent=1, allow_nan=False)
                (folder / "result.json").write_text(text, encoding="utf-8")
                if final.exists():
                    os.replace(final, self.runs / f".replaced-{folder.name}")
                os.replace(folder, final)
                shutil.rmtree(self.runs / f".replaced-{folder.name}", ignore_errors=True)
        except OSError as error:
            raise MmkdError(f"--runs {self.runs}: {error.strerror or error}; nothing of unit {key} is kept") from error
        self.failure_path(key).unlink(missing_ok=True)
        record = self.get(key)
        assert record is not None
        return record

    def failure_path(self, key: str) -> Path:
        """Where a failed unit's traceback is kept until it succeeds; it is no record."""
        return self.runs / "failed" / f"{key}.log"

    def fail(self, key: str, text: str) -> Path:
        path = self.failure_path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise MmkdError(f"--runs {self.runs}: {error.strerror or error}; the log of unit {key} is lost") from error
        return path


def write_history(path: Path, history: Iterable[Mapping[str, float]]) -> None:
    """`history.csv`: a row an epoch, a column a loss term or score."""
    rows = list(history)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions, machine, commit: what a reader needs to make the number again."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "device": device,
        "threads": threads,
        "versions": versions,
        "git": git_state(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that this package is run from; empty for an installed wheel."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return {}

    def git(*args: str) -> str:
        try:
            command = ["git", "-C", str(root), *args]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))} if commit else {}
