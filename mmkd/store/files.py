"""Files on disk: checksums, and folders that are either complete or absent."""

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

STALE_SECONDS = 24 * 3600
"""Age after which a temporary folder belongs to a process that was killed."""
DAMAGED_LIMIT = 5
"""How many damaged entries, or damaged records, are kept."""

_checksums: dict[tuple[int, int], tuple[Any, str]] = {}  # (device, inode) -> (state, checksum) of the last hashing


def hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> `bytes`, `sha256` and `mtime_ns` of each file of a folder.

    Raises:
        ValueError: the folder holds something that is no plain file.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is no plain file; what is stored is a folder of files")
        files[path.name] = {"bytes": status.st_size, "sha256": _sha256(path, status), "mtime_ns": status.st_mtime_ns}
    return files


def find_damage(folder: Path, files: Mapping[str, Mapping[str, Any]], hashed: Collection[str]) -> str | None:
    """What is wrong with the files of a folder, in words; None if nothing is.

    Every file must exist and have its size. The files named in `hashed` must also have their checksum.

    Args:
        files: file name -> `bytes` and `sha256`, as `hash_files` returns them.

    Raises:
        PermissionError: a file may not be read.
    """
    for name, expected in files.items():
        try:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                return f"{name} is no plain file"
            if status.st_size != expected["bytes"]:
                return f"{name} has {status.st_size} bytes instead of {expected['bytes']}"
            if name in hashed and _sha256(path, status) != expected["sha256"]:
                return f"{name} has another checksum than when it was written"
        except FileNotFoundError:
            return f"{name} is missing"
        except PermissionError:
            raise
        except (OSError, ValueError) as error:  # a failing disk, or an invalid name
            return f"{name} cannot be read ({error})"
    return None


def state_of(status: os.stat_result) -> tuple[int, ...]:
    """What is another when a file was changed or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _sha256(path: str | Path, status: os.stat_result) -> str:
    """The checksum of a plain file, which each process reads only once as long as the file does not change."""
    device, inode, *state = state_of(status)
    known = _checksums.get((device, inode))
    if known is not None and known[0] == state:
        return known[1]
    with open(path, "rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    _checksums[device, inode] = (state, checksum)
    return checksum


def quarantine(path: Path, parent: Path, name: str) -> Path:
    """Move a damaged file or folder to `parent`/`name`-N, and return its new path.

    Only the newest `DAMAGED_LIMIT` entries of `parent` are kept.
    """
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while os.path.lexists(parent / f"{name}-{number}"):
        number += 1
    target = parent / f"{name}-{number}"
    os.replace(path, target)
    os.utime(target, follow_symlinks=False)  # its age counts from now
    entries = []
    for entry in parent.iterdir():
        with suppress(OSError):  # another process is removing it
            entries.append((entry.lstat().st_mtime_ns, str(entry), entry))
    for _, _, entry in sorted(entries, reverse=True)[DAMAGED_LIMIT:]:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return target


def remove_folder(folder: Path) -> None:
    """Remove a folder such that other processes see either all of its files or none."""
    hidden = folder.parent / f".making-{uuid4().hex}"  # `temporary_folder` clears it away should this process be killed
    os.replace(folder, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


class temporary_folder:
    """Context manager: an empty folder below `parent`, removed at the end unless it was renamed.

    Fill the folder, then rename it to its final name: a process that is killed leaves nothing that looks complete.
    """

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    def __enter__(self) -> Path:
        for old in self.parent.glob(".making-*"):
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)
        self.folder = self.parent / f".making-{uuid4().hex}"
        self.folder.mkdir()  # with the user's default permissions, which the renamed folder keeps
        return self.folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it: it is there whole or not at all."""
    temporary = path.parent / f".making-{uuid4().hex}"
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def create_array(path: Path, shape: tuple[int, ...]) -> Any:
    """Create a float32 `.npy` file and return it as a memory map.

    Its space on the disk is reserved at once, because a write to a memory map on a full disk would end the process.

    Raises:
        OSError: the disk is full.
    """
    from numpy.lib.format import open_memmap

    array = open_memmap(path, "w+", "float32", shape)
    if hasattr(os, "posix_fallocate") and (size := path.stat().st_size):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    return array
