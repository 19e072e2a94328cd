"""Downloads that resume after an interruption and are checked against a checksum."""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.data.checksums import file_sha256

ProgressCallback = Callable[[int, int], None]
"""Called with the number of bytes so far and the total number of bytes (0 if it is unknown)."""

PIECE_BYTES = 1 << 20
"""Bytes that are read at a time."""
ATTEMPTS = 4
"""Connections that one download may use."""
CHECKSUM_SUFFIX = ".sha256"
"""Added to the name of a download without expected checksum: the file that stores the checksum it had."""


def verify_download(path: Path, expected: str) -> str:
    """The checksum of a downloaded file, after comparing it with `expected`, or else with the stored one.

    Raises:
        MmkdError: the checksum differs, or the file cannot be read.
    """
    try:
        checksum = file_sha256(path)
        stored = path.with_name(path.name + CHECKSUM_SUFFIX)
        wanted = expected or (stored.read_text(encoding="utf-8").strip() if stored.is_file() else checksum)
        if checksum != wanted:
            raise MmkdError(
                f"{path}: expected sha256 {wanted}, found {checksum}; remove it and fetch it again"
                + ("" if expected else f", with {stored.name} if its authors have changed it")
            )
        return checksum
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None


def download(url: str, path: Path, expected: str = "", on_progress: ProgressCallback = lambda *_: None) -> str:
    """Download a file to `path`, resuming an earlier attempt; returns its SHA-256.

    The file gets its name only when it is complete and its checksum is right. Until then it is in `.part` beside it. If
    the source has changed since (by its ETag or date), or cannot send the rest alone, the download starts again. If no
    checksum is expected, the one found is stored beside the file (`.sha256`), and later calls are checked against it.

    Args:
        expected: SHA-256 in hexadecimal, or empty.

    Raises:
        MmkdError: the address does not exist, the connection broke off (repeat the command to resume), the checksum
            differs, or the disk is full.
    """
    part = path.with_name(path.name + ".part")
    tag = path.with_name(path.name + ".part.tag")
    try:
        for attempt in range(1, ATTEMPTS + 1):
            size = part.stat().st_size if part.is_file() else 0
            try:
                _resume_download(url, part, tag, on_progress)
                break
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                has_grown = part.is_file() and part.stat().st_size > size
                if attempt == ATTEMPTS or not has_grown:
                    raise MmkdError(
                        f"{url}: the connection broke off ({type(error).__name__}); repeat the command to resume"
                    ) from None
        checksum = file_sha256(part)
        if expected and checksum != expected:
            part.unlink()
            tag.unlink(missing_ok=True)
            raise MmkdError(
                f"{url}: expected sha256 {expected}, found {checksum}; the source has changed, or the way to it"
            )
        if not expected:
            _write_text(path.with_name(path.name + CHECKSUM_SUFFIX), checksum + "\n")
        os.replace(part, path)
        tag.unlink(missing_ok=True)
        return checksum
    except urllib.error.HTTPError as error:
        raise MmkdError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise MmkdError(f"{url}: cannot be reached ({error.reason})") from None
    except ValueError as error:
        raise MmkdError(f"{url}: {error}") from None
    except OSError as error:
        raise MmkdError(f"{path}: {error.strerror or error}") from None


def _resume_download(url: str, part: Path, tag: Path, on_progress: ProgressCallback) -> None:
    """Append the missing bytes to `part`; `tag` stores the version of the source (ETag or date) that it is from."""
    size = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "mmkd", "Accept-Encoding": "identity"}
    if size and tag.is_file():  # without the version, the rest may not fit what is there
        headers |= {"Range": f"bytes={size}-", "If-Range": tag.read_text(encoding="utf-8").strip()}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # range not satisfiable: `part` is complete, or longer than the source; start again
            raise
        part.unlink(missing_ok=True)
        response = urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": "mmkd"}), timeout=60)
    with closing(response):
        part.parent.mkdir(parents=True, exist_ok=True)
        resumes = response.status == 206
        if not resumes:
            size = 0
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if version and not version.startswith("W/"):
                _write_text(tag, version)
            else:
                tag.unlink(missing_ok=True)
        left = int(response.headers.get("Content-Length") or 0)
        total = size + left if left else 0
        on_progress(size, total)
        with part.open("ab" if resumes else "wb") as stream:
            while piece := response.read(PIECE_BYTES):
                stream.write(piece)
                size += len(piece)
                on_progress(size, total)
    if total and size < total:
        raise http.client.IncompleteRead(b"", total - size)


def _write_text(path: Path, text: str) -> None:
    """Write a file under another name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
