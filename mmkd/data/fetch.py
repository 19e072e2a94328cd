"""Downloads that resume and are checked, and archives that are unpacked with care."""

import http.client
import os
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from mmkd.core.errors import MmkdError
from mmkd.data.cards import file_sha256

Tick = Callable[[int, int], None]
"""Told of bytes that are done, and of how many there are in all (0 where nobody knows)."""

PIECE = 1 << 20  # bytes read at a time
ATTEMPTS = 4  # connections of one download that may break off
LARGEST = 32 << 30  # bytes that an archive may unpack to
NOTED = ".sha256"  # added to the name of a download whose checksum nobody had told: the one that was found


def checksum_of(path: Path, expected: str) -> str:
    """The checksum of a download, as it should be: as `expected`, or else as it was when it came.

    Raises:
        MmkdError: it is another one, or the file cannot be read.
    """
    try:
        found = file_sha256(path)
        noted = path.with_name(path.name + NOTED)
        wanted = expected or (noted.read_text(encoding="utf-8").strip() if noted.is_file() else found)
        if found != wanted:
            raise MmkdError(
                f"{path}: expected sha256 {wanted}, found {found}; remove it and fetch it anew"
                + ("" if expected else f", with {noted.name} if its authors have changed it")
            )
        return found
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None


def download(url: str, path: Path, expected: str = "", tick: Tick = lambda *_: None) -> str:
    """Download to `path`, going on where an earlier try broke off; returns its sha256.

    The file has its name only when it is whole and its checksum right. What came so far is in `.part` beside it; of a
    source that has changed since (ETag, date) or that cannot go on in the middle all is loaded anew. Where no checksum
    is expected the one found is noted beside the file (`.sha256`), and holds from then on.

    Args:
        expected: sha256 in hexadecimal, or empty.

    Raises:
        MmkdError: no such address, a connection that broke off (say the same again to go on), another checksum, no
            room on the disk.
    """
    part, tag = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.tag")
    try:
        for attempt in range(ATTEMPTS):
            before = part.stat().st_size if part.is_file() else 0
            try:
                _go_on(url, part, tag, tick)
                break
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                grown = part.is_file() and part.stat().st_size > before
                if attempt + 1 == ATTEMPTS or not grown:
                    raise MmkdError(
                        f"{url}: the connection broke off ({type(error).__name__}); say the same again to go on"
                    ) from None
        found = file_sha256(part)
        if expected and found != expected:
            part.unlink()
            tag.unlink(missing_ok=True)
            raise MmkdError(
                f"{url}: expected sha256 {expected}, found {found}; the source has changed, or the way to it"
            )
        if not expected:
            _write(path.with_name(path.name + NOTED), found + "\n")
        os.replace(part, path)
        tag.unlink(missing_ok=True)
        return found
    except urllib.error.HTTPError as error:
        raise MmkdError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise MmkdError(f"{url}: cannot be reached ({error.reason})") from None
    except ValueError as error:
        raise MmkdError(f"{url}: {error}") from None
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None


def _go_on(url: str, part: Path, tag: Path, tick: Tick) -> None:
    """Add to `part` what is still missing."""
    done = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "mmkd", "Accept-Encoding": "identity"}
    if done and tag.is_file():  # without a mark of what it was, nobody knows whether the rest fits
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text(encoding="utf-8").strip()}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing past what is there: whole, or more than the source has; begin anew
            raise
        part.unlink(missing_ok=True)
        answer = urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": "mmkd"}), timeout=60)
    with closing(answer):
        part.parent.mkdir(parents=True, exist_ok=True)
        goes_on = answer.status == 206
        if not goes_on:
            done = 0
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            if mark and not mark.startswith("W/"):
                _write(tag, mark)
            else:
                tag.unlink(missing_ok=True)
        left = int(answer.headers.get("Content-Length") or 0)
        total = done + left if left else 0
        tick(done, total)
        with part.open("ab" if goes_on else "wb") as stream:
            while piece := answer.read(PIECE):
                stream.write(piece)
                done += len(piece)
                tick(done, total)
    if total and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _write(path: Path, text: str) -> None:
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.write_text(text, encoding="utf-8")
    os.replace(making, path)


def unpack(archive: Path, folder: Path, most: int = LARGEST) -> None:
    """Unpack a zip or tar file, and the zip files directly in it, into a folder; files and folders alone.

    Raises:
        MmkdError: not an intact archive, a name that leads out of the folder, a link or device, one file twice,
            encryption, or more than `most` bytes.
    """
    try:
        room = _unpack(archive, folder, most)
        for inner in sorted(folder.rglob("*.zip")):
            room = _unpack(inner, inner.parent, room)
            inner.unlink()
    except MmkdError as error:
        raise MmkdError(f"{archive}: {error}; nothing was taken from it") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
        raise MmkdError(f"{archive}: not an intact archive ({error}); fetch it anew") from None
    except OSError as error:
        if type(error).__module__ in ("gzip", "lzma", "bz2") or error.errno is None:
            raise MmkdError(f"{archive}: not an intact archive ({error}); fetch it anew") from None
        raise MmkdError(f"{archive}: {error.strerror or error}") from None
    except Exception as error:  # zlib and lzma have errors of their own for damaged bytes
        raise MmkdError(f"{archive}: not an intact archive ({error}); fetch it anew") from None


def _unpack(archive: Path, folder: Path, room: int) -> int:
    """Unpack one archive; returns what is left of `room`."""
    for name, stream in (_zipped if zipfile.is_zipfile(archive) else _tarred)(archive):
        target = folder / _inside(name)
        if stream is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with stream, target.open("xb") as out:
            while piece := stream.read(PIECE):
                room -= len(piece)
                if room < 0:
                    raise MmkdError("unpacks to more than it may")
                out.write(piece)
    return room


def _inside(name: str) -> PurePosixPath:
    """A member's name as a path below the folder."""
    path = PurePosixPath(name)
    drive = ":" in name.partition("/")[0]
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or drive:
        raise MmkdError(f"{name!r} in it leads out of its folder")
    return path


def _zipped(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as z:
        for member in z.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise MmkdError(f"{member.filename!r} in it is a link or no file")
            yield member.filename, None if member.is_dir() else z.open(member)


def _tarred(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as t:
        for member in t:
            if not (member.isfile() or member.isdir()):
                raise MmkdError(f"{member.name!r} in it is a link or no file")
            yield member.name, t.extractfile(member)
