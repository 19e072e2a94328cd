"""A content-addressed cache on disk: an entry is a folder, made once, named by the hash of what went into it.

It is written under a temporary name and renamed when it is whole, so that a killed process leaves nothing that looks
done. A lock a key lets a second process wait for the first instead of doing the work again.
"""

import os
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import filelock

from .errors import MmkdError

R = TypeVar("R")
STALE = 24 * 3600  # seconds after which a temporary folder is that of a process that was killed


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
        if final.is_dir():
            with suppress(OSError):  # a cache that may only be read has no least recently used entry
                os.utime(final)
            return final
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(final.parent / f".{key}.lock"):
                if not final.is_dir():
                    with temporary_folder(final.parent) as folder:
                        make(folder)
                        os.replace(folder, final)
        except OSError as error:
            raise MmkdError(f"cache {self.root}: {error.strerror or error}; --cache names another folder") from error
        return final

    def load(self, kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], R]) -> R:
        """What `read` makes of the entry's folder; an entry that cannot be read is removed and made once more."""
        try:
            return read(self.get(kind, key, make))
        except MmkdError:
            raise
        except Exception:  # truncated, of another format, or removed by another process in between
            with suppress(OSError), filelock.FileLock(self.root / kind / f".{key}.lock"):
                shutil.rmtree(self.path(kind, key), ignore_errors=True)
            return read(self.get(kind, key, make))

    def shrink(self, kind: str, budget: int, keep: Collection[str]) -> None:
        """Remove least recently used entries of `kind` until those not to `keep` hold at most `budget` bytes."""
        entries = []
        for p in (self.root / kind).glob("*"):
            if p.is_dir() and not p.name.startswith(".") and p.name not in keep:
                with suppress(OSError):  # another process is removing it
                    entries.append((p.stat().st_mtime, sum(f.stat().st_size for f in p.glob("*")), p))
        total = sum(size for _, size, _ in entries)
        for _, size, entry in sorted(entries):
            if total <= budget:
                break
            shutil.rmtree(entry, ignore_errors=True)
            total -= size


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
