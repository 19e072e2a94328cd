"""Checksums of the files of a card: those on the card, and those of files that were prepared here."""

import hashlib
import json
from pathlib import Path

from mmkd.core.errors import MmkdError
from mmkd.data.cards import Card

PREPARED = ".prepared.json"
"""Added to the name of a file that `mmkd.data prepare` made: a file with its checksum and what it is made of."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify_checksums(card: Card, root: Path) -> dict[str, str]:
    """Check the files of a card below `root`, and return their checksums by name.

    A checksum must be the one on the card, or that of a file that was prepared here.

    Raises:
        MmkdError: a file is missing (with where it belongs), or differs (with the expected and the found checksum).
    """
    checksums = {}
    for name, expected in card.sha256.items():
        path = root / name
        if not path.is_file():
            raise MmkdError(
                f"data set {card.name!r}: {path} is missing; it is {card.source.get('where', 'not there')}"
                + (f"; python -m mmkd.data fetch {card.name} says more" if card.raw else "")
            )
        try:
            checksum = file_sha256(path)
        except OSError as error:
            raise MmkdError(f"data set {card.name!r}: {path}: {error.strerror or error}") from None
        checksums[name] = checksum
        if checksum == expected or (not expected and not card.prepare) or checksum == prepared_sha256(card, path):
            continue
        if not expected:
            raise MmkdError(
                f"data set {card.name!r}: {path} was not made by python -m mmkd.data prepare {card.name}, or by "
                f"another version of its card, or has changed since; prepare it again"
            )
        raise MmkdError(
            f"data set {card.name!r}: {path} is not the file that the card names: "
            f"expected sha256 {expected}, found {checksum}; fetch it again from {card.source.get('home', 'its source')}"
        )
    return checksums


def prepared_sha256(card: Card, path: Path) -> str | None:
    """The checksum that `prepare` stored beside a file that it made from the present card; None if there is none."""
    try:
        stored = json.loads(path.with_name(path.name + PREPARED).read_text(encoding="utf-8"))
        return str(stored["sha256"]) if stored["prepare"] == dict(card.prepare) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def files_exist(card: Card, root: Path) -> bool:
    """Whether all files of the card exist; their checksums are not read."""
    return all((root / name).is_file() for name in card.sha256)
