"""A content-addressed cache on disk: an entry is a folder, made once, named by the hash of what went into it.

It is written under a temporary name and renamed when it is whole, so that a killed process leaves nothing that looks
done. A lock a key lets a second process wait for the first instead of doing the work again.

Its `manifest.json` names each file with its size and SHA-256. Sizes are compared at every reading; files are hashed
once a process (about 1 GiB/s), those of an entry past 1 GiB only where they were touched since they were made.
What is damaged is set aside in `damaged/`, told in one line and made anew. Files that no manifest names are never read.
"""

import hashlib
import json
import os
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import filelock

from mmkd.core.errors import DamageWarning, MmkdError

R = TypeVar("R")
STALE = 24 * 3600  # seconds after which a temporary folder is that of a process that was killed
MANIFEST = "manifest.json"
ALWAYS_HASHED = 1 << 30  # bytes of an entry up to which it is hashed by every process that reads it
KEPT = 5  # damaged entries, or records, that are kept
ABSENT = ""  # the fault of an entry that is not there, or was made before there were manifests

_hashed: dict[tuple[int, int], tuple[Any, str]] = {}  # device, inode -> state and hash when a file was last hashed


class Cache:
    """Folders below `root`, by kind and key."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def get(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The entry's folder; `make` fills an empty one where there is none yet.

        Raises:
            MmkdError: the disk is full, or the folder cannot be written.
        """
        final = self.path(kind, key)
        try:
            if self.fault(kind, key) is None:
                with suppress(OSError):  # a cache that may only be read has no least recently used entry
                    os.utime(final)
                return final
            final.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(final.parent / f".{key}.lock"):
                fault = self.fault(kind, key)  # another process may have made it while we waited
                if fault is not None:
                    if fault:
                        self._set_aside(kind, key, fault)
                    elif final.is_dir():
                        discard(final)
                    with temporary_folder(final.parent) as folder:
                        make(folder)
                        _seal(folder, f"{kind}/{key}")
                        os.replace(folder, final)
        except OSError as error:
            raise MmkdError(f"cache {self.root}: {error.strerror or error}; --cache names another folder") from error
        return final

    def load(self, kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], R]) -> R:
        """What `read` makes of the entry's folder; one that cannot be read is set aside and made once more."""
        folder = self.get(kind, key, make)
        try:
            return read(folder)
        except MmkdError:
            raise
        except Exception as error:  # of another format or version, or removed by another process in between
            with suppress(OSError), filelock.FileLock(self.root / kind / f".{key}.lock"):
                if folder.is_dir():
                    self._set_aside(kind, key, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return read(self.get(kind, key, make))

    def fault(self, kind: str, key: str) -> str | None:
        """What is wrong with an entry in words; None where it is whole, `ABSENT` where there is none to speak of.

        Raises:
            PermissionError: it may not be read.
        """
        folder = self.path(kind, key)
        try:
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return "it is no folder"
            manifest = json.loads((folder / MANIFEST).read_bytes())
            if manifest["entry"] != f"{kind}/{key}":
                return f"it is entry {manifest['entry']!r:.80}"
            files = {str(name): said for name, said in manifest["files"].items()}
            small = sum(int(said["bytes"]) for said in files.values()) <= ALWAYS_HASHED
            touched = {n for n, said in files.items() if os.lstat(folder / n).st_mtime_ns != said["mtime_ns"]}
            return file_fault(folder, files, set(files) if small else touched)
        except FileNotFoundError as error:
            name = Path(str(error.filename)).name
            return f"{name} is missing" if name not in (MANIFEST, folder.name) else ABSENT
        except PermissionError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return f"{MANIFEST} is damaged ({' '.join(str(error).split())[:80]})"

    def _set_aside(self, kind: str, key: str, fault: str) -> None:
        """Move an entry to `damaged/`, and say so."""
        place = set_aside(self.path(kind, key), self.root / "damaged", f"{kind}-{key}")
        warnings.warn(
            f"cache {self.root}: {kind}/{key} is damaged ({fault}) and made anew; it is kept in {place}",
            DamageWarning,
            stacklevel=3,
        )

    def shrink(self, kind: str, budget: int, keep: Collection[str]) -> None:
        """Remove least recently used entries of `kind` until those not to `keep` hold at most `budget` bytes."""
        entries = []
        for p in (self.root / kind).glob("*"):
            if p.is_dir() and not p.name.startswith(".") and p.name not in keep:
                with suppress(OSError):  # another process is removing it
                    size = sum(f.stat().st_size for f in p.glob("*") if f.name != MANIFEST)
                    entries.append((p.stat().st_mtime, size, p))
        total = sum(size for _, size, _ in entries)
        for _, size, entry in sorted(entries):
            if total <= budget:
                break
            with suppress(OSError):  # another process was faster
                discard(entry)
            total -= size


def inventory(folder: Path) -> dict[str, dict[str, Any]]:
    """`bytes`, `sha256` and `mtime_ns` of each file of a folder, by name.

    Raises:
        ValueError: something in it is no plain file.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        seen = path.lstat()
        if not stat.S_ISREG(seen.st_mode):
            raise ValueError(f"{path.name} is no plain file; what is stored is a folder of files")
        found[path.name] = {"bytes": seen.st_size, "sha256": _sha256(path), "mtime_ns": seen.st_mtime_ns}
    return found


def file_fault(folder: Path, files: Mapping[str, Mapping[str, Any]], hashed: Collection[str]) -> str | None:
    """What is wrong with the files of a folder; None where all are there, of their size, and those `hashed` intact.

    Args:
        files: name -> `bytes` and `sha256`, as `inventory` gives them.

    Raises:
        PermissionError: a file may not be read.
    """
    for name, said in files.items():
        path = folder / name
        try:
            seen = path.lstat()
            if not stat.S_ISREG(seen.st_mode):
                return f"{name} is no plain file"
            if seen.st_size != said["bytes"]:
                return f"{name} has {seen.st_size} bytes instead of {said['bytes']}"
            if name in hashed and _sha256(path) != said["sha256"]:
                return f"{name} has another checksum than when it was written"
        except FileNotFoundError:
            return f"{name} is missing"
        except PermissionError:
            raise
        except (OSError, ValueError) as error:  # a disk that fails, a name that is none
            return f"{name} cannot be read ({error})"
    return None


def _sha256(path: Path) -> str:
    """The checksum of a file's bytes, read once a process while the file stays as it is."""
    seen = path.stat()
    state = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    known = _hashed.get((seen.st_dev, seen.st_ino))
    if known is not None and known[0] == state:
        return known[1]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    _hashed[seen.st_dev, seen.st_ino] = state, found
    return found


def _seal(folder: Path, entry: str) -> None:
    """Write the manifest of a folder that is whole."""
    (folder / MANIFEST).write_text(json.dumps({"entry": entry, "files": inventory(folder)}, indent=1))


def set_aside(path: Path, parent: Path, name: str) -> Path:
    """Move something damaged to `parent`/`name`-N, where the newest `KEPT` stay; returns its place."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while os.path.lexists(parent / f"{name}-{number}"):
        number += 1
    place = parent / f"{name}-{number}"
    os.replace(path, place)
    os.utime(place, follow_symlinks=False)  # when it was set aside
    aged = []
    for other in parent.iterdir():
        with suppress(OSError):  # another process is removing it
            aged.append((other.lstat().st_mtime_ns, str(other), other))
    for _, _, other in sorted(aged, reverse=True)[KEPT:]:
        if other.is_dir() and not other.is_symlink():
            shutil.rmtree(other, ignore_errors=True)
        else:
            other.unlink(missing_ok=True)
    return place


def discard(folder: Path) -> None:
    """Remove an entry at once for all who look for it, and then its files."""
    gone = folder.parent / f".making-{uuid4().hex}"  # a name that is cleared away, should this process be killed
    os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def new_array(path: Path, shape: tuple[int, ...]) -> Any:
    """A new float32 `.npy` file as a memory map, with its room on the disk taken at once.

    A page that finds no room when it is written would end the process.

    Raises:
        OSError: the disk is full.
    """
    from numpy.lib.format import open_memmap

    array = open_memmap(path, "w+", "float32", shape)
    if hasattr(os, "posix_fallocate") and (size := path.stat().st_size):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    return array


class temporary_folder:
    """A folder beside the final one, removed on the way out unless it was renamed away."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    def __enter__(self) -> Path:
        for old in self.parent.glob(".making-*"):
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > STALE:
                    shutil.rmtree(old, ignore_errors=True)
        self.folder = self.parent / f".making-{uuid4().hex}"
        self.folder.mkdir()  # with the user's own permissions, which the finished entry keeps
        return self.folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
