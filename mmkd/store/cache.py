"""A content-addressed cache on disk. An entry is a folder, named by the hash of everything that went into it.

An entry is written under a temporary name and renamed when it is complete, so that a killed process leaves nothing that
looks finished. A lock for each key lets a second process wait for the first instead of repeating its work.

The `manifest.json` of an entry names each file with its size and SHA-256. Sizes are compared at every read. Files are
hashed once in each process (about 1 GiB/s); in entries of more than 1 GiB only files whose modification time changed
are hashed. A damaged entry is moved to `damaged/`, reported in one line and made again. Files that the manifest does
not name are never read.
"""

import json
import os
import stat
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import filelock

from mmkd.core.errors import DamageWarning, MmkdError
from mmkd.store.files import find_damage, hash_files, quarantine, remove_folder, state_of, temporary_folder

R = TypeVar("R")
MANIFEST = "manifest.json"
HASHED_BYTES = 1 << 30
"""Entries up to this size are hashed by every process that reads them."""
ABSENT = ""
"""What `Cache.find_damage` returns for an entry that does not exist, or that has no manifest because it is older."""


class Cache:
    """The folders below `root`, by kind and key."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str) -> Path:
        """Where the folder of an entry is, or would be."""
        return self.root / kind / key

    def get_or_create(self, kind: str, key: str, create: Callable[[Path], None]) -> Path:
        """The folder of an entry.

        Args:
            create: fills an empty folder; called if there is no intact entry yet.

        Raises:
            MmkdError: the disk is full, or the folder cannot be written.
        """
        final = self.path(kind, key)
        try:
            if self.find_damage(kind, key) is None:
                with suppress(OSError):  # in a read-only cache the time of the last use cannot be recorded
                    os.utime(final)
                return final
            final.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(final.parent / f".{key}.lock"):
                damage = self.find_damage(kind, key)  # another process may have made the entry meanwhile
                if damage is not None:
                    if damage:
                        self._quarantine(kind, key, damage)
                    elif final.is_dir():
                        remove_folder(final)
                    with temporary_folder(final.parent) as folder:
                        create(folder)
                        _write_manifest(folder, f"{kind}/{key}")
                        os.replace(folder, final)
        except OSError as error:
            raise MmkdError(f"cache {self.root}: {error.strerror or error}; --cache names another folder") from error
        return final

    def load_or_create(self, kind: str, key: str, create: Callable[[Path], None], load: Callable[[Path], R]) -> R:
        """What `load` returns for the folder of an entry. An entry that cannot be loaded is created again, once."""
        folder = self.get_or_create(kind, key, create)
        before = _state(folder)
        try:
            return load(folder)
        except MmkdError:
            raise
        except Exception as error:  # another format or version, or another process has just removed the entry
            with suppress(OSError), filelock.FileLock(self.root / kind / f".{key}.lock"):
                if folder.is_dir() and _state(folder) == before:  # else another process has made it again
                    self._quarantine(kind, key, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return load(self.get_or_create(kind, key, create))

    def find_damage(self, kind: str, key: str) -> str | None:
        """What is wrong with an entry, in words; None for an intact entry, `ABSENT` if there is no entry to check.

        Raises:
            PermissionError: the entry may not be read.
        """
        folder = self.path(kind, key)
        try:
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return "it is no folder"
            manifest = json.loads((folder / MANIFEST).read_bytes())
            if manifest["entry"] != f"{kind}/{key}":
                return f"it is entry {manifest['entry']!r:.80}"
            files = {str(name): expected for name, expected in manifest["files"].items()}
            hashed = set(files)
            if sum(int(expected["bytes"]) for expected in files.values()) > HASHED_BYTES:
                hashed = {name for name in files if os.lstat(folder / name).st_mtime_ns != files[name]["mtime_ns"]}
            return find_damage(folder, files, hashed)
        except FileNotFoundError as error:
            name = Path(str(error.filename)).name
            return f"{name} is missing" if name not in (MANIFEST, folder.name) else ABSENT
        except PermissionError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return f"{MANIFEST} is damaged ({' '.join(str(error).split())[:80]})"

    def _quarantine(self, kind: str, key: str, damage: str) -> None:
        """Move an entry to `damaged/`, with a warning."""
        target = quarantine(self.path(kind, key), self.root / "damaged", f"{kind}-{key}")
        warnings.warn(
            f"cache {self.root}: {kind}/{key} is damaged ({damage}) and is made again; "
            f"the damaged entry is in {target}",
            DamageWarning,
            stacklevel=3,
        )

    def evict(self, kind: str, max_bytes: int, protected: Collection[str]) -> None:
        """Remove the least recently used entries of `kind` until the rest holds at most `max_bytes` bytes.

        Entries whose keys are `protected` are neither removed nor counted.
        """
        entries = []
        for path in (self.root / kind).glob("*"):
            if path.is_dir() and not path.name.startswith(".") and path.name not in protected:
                with suppress(OSError):  # another process is removing it
                    size = sum(file.stat().st_size for file in path.glob("*") if file.name != MANIFEST)
                    entries.append((path.stat().st_mtime, size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= max_bytes:
                break
            with suppress(OSError):  # another process was faster
                remove_folder(path)
            total -= size


def _state(folder: Path) -> tuple[int, ...] | None:
    """The state of an entry's manifest; None if there is none."""
    try:
        return state_of((folder / MANIFEST).stat())
    except OSError:
        return None


def _write_manifest(folder: Path, entry: str) -> None:
    """Write the manifest of a complete folder."""
    (folder / MANIFEST).write_text(json.dumps({"entry": entry, "files": hash_files(folder)}, indent=1))
