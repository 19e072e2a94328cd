"""Zip and tar archives, unpacked safely: plain files and folders only, inside the target folder, of bounded size."""

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from mmkd.core.errors import MmkdError

PIECE_BYTES = 1 << 20
"""Bytes that are copied at a time."""
LARGEST_BYTES = 32 << 30
"""Bytes that an archive may unpack to."""


def unpack(archive: Path, folder: Path, max_bytes: int = LARGEST_BYTES) -> None:
    """Unpack a zip or tar file into a folder, and then the zip files among the unpacked files.

    Raises:
        MmkdError: the archive is damaged or encrypted, has a name that leads out of the folder, a link, a device or the
            same file twice, or unpacks to more than `max_bytes` bytes.
    """
    try:
        left = _unpack(archive, folder, max_bytes)
        for inner in sorted(folder.rglob("*.zip")):
            left = _unpack(inner, inner.parent, left)
            inner.unlink()
    except MmkdError as error:
        raise MmkdError(f"{archive}: {error}; nothing was taken from it") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
        raise MmkdError(f"{archive}: not an intact archive ({error}); fetch it again") from None
    except OSError as error:
        if type(error).__module__ in ("gzip", "lzma", "bz2") or error.errno is None:
            raise MmkdError(f"{archive}: not an intact archive ({error}); fetch it again") from None
        raise MmkdError(f"{archive}: {error.strerror or error}") from None
    except Exception as error:  # zlib and lzma have their own errors for damaged bytes
        raise MmkdError(f"{archive}: not an intact archive ({error}); fetch it again") from None


def _unpack(archive: Path, folder: Path, max_bytes: int) -> int:
    """Unpack one archive; returns how many of `max_bytes` are left."""
    left = max_bytes
    members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
    for name, stream in members:
        target = folder / _safe_path(name)
        if stream is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with stream, target.open("xb") as out:
            while piece := stream.read(PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    raise MmkdError("unpacks to more than it may")
                out.write(piece)
    return left


def _safe_path(name: str) -> PurePosixPath:
    """The name of a member as a path below the folder."""
    path = PurePosixPath(name)
    drive = ":" in name.partition("/")[0]
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or drive:
        raise MmkdError(f"{name!r} in it leads out of its folder")
    return path


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Name and stream of each member; None for a folder."""
    with zipfile.ZipFile(archive) as z:
        for member in z.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise MmkdError(f"{member.filename!r} in it is a link or no file")
            yield member.filename, None if member.is_dir() else z.open(member)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Name and stream of each member; None for a folder."""
    with tarfile.open(archive) as t:
        for member in t:
            if not (member.isfile() or member.isdir()):
                raise MmkdError(f"{member.name!r} in it is a link or no file")
            yield member.name, t.extractfile(member)
