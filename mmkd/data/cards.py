"""A data set's card: what it is, whose it is, how it is split, and the files and checksums it stands on.

A card is `datasets/NAME/card.toml`; the folder's name is the data set's. It needs no module: `reader` names one of the
readers of `load.py`, which get its `reader_options`.
"""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MmkdError, did_you_mean, unknown

KEYS = {"title", "task", "reader", "reader_options", "classes", "subjects", "split", "signal", "source", "notes"}
REQUIRED = {"title", "task", "reader", "classes", "split", "signal", "source"}


@dataclass(frozen=True)
class Card:
    """One data set's card; `channels`, `rate_hz`, `sha256` and the like are read from its tables."""

    name: str
    title: str
    task: str
    reader: str
    classes: tuple[str, ...]
    split: str
    signal: Mapping[str, Any]
    source: Mapping[str, Any]
    reader_options: Mapping[str, Any]
    notes: Mapping[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.signal["channels"])

    @property
    def rate_hz(self) -> float | None:
        return self.signal.get("rate_hz")

    @property
    def sha256(self) -> Mapping[str, str]:
        """File, relative to the reader's folder -> expected checksum."""
        checksums: Mapping[str, str] = self.source["sha256"]
        return checksums


def cards_folder() -> Path:
    """The checkout's `datasets/` when there is one, else the folder that the wheel carries."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "datasets"
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "datasets"


def read_card(path: Path) -> Card:
    """Read and check one card.

    Raises:
        MmkdError: no TOML, an unknown key, or one missing.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MmkdError(f"card {path}: not a TOML file: {error}") from None
    for key in raw:
        if key not in KEYS:
            raise MmkdError(f"card {path}: unknown key {key!r}{did_you_mean(key, KEYS)}")
    missing = sorted(REQUIRED - set(raw))
    if missing:
        raise MmkdError(f"card {path}: missing {', '.join(missing)}")
    for key in ("signal", "source", "reader_options", "notes"):
        if not isinstance(raw.get(key, {}), dict):
            raise MmkdError(f"card {path}: {key} must be a table, [{key}]")
    if "channels" not in raw["signal"] or "sha256" not in raw["source"]:
        raise MmkdError(f"card {path}: [signal] needs channels, and [source] needs sha256")
    return Card(
        name=path.parent.name,
        title=raw["title"],
        task=raw["task"],
        reader=raw["reader"],
        classes=tuple(raw["classes"]),
        split=raw["split"],
        signal=raw["signal"],
        source=raw["source"],
        reader_options=raw.get("reader_options", {}),
        notes=raw.get("notes", {}),
    )


def find_cards(folder: Path | None = None) -> tuple[dict[str, Card], dict[str, str]]:
    """All cards by data set name, and the files that are no card with the reason."""
    folder = cards_folder() if folder is None else folder
    cards, broken = {}, {}
    for path in sorted(folder.glob("*/card.toml")):
        try:
            cards[path.parent.name] = read_card(path)
        except MmkdError as error:
            broken[str(path)] = str(error)
    return cards, broken


def find_card(name: str) -> Card:
    """The card called `name`; MmkdError with the closest name when there is none."""
    path = cards_folder() / name / "card.toml"
    if "/" in name or "\\" in name or name in {"", ".", ".."} or not path.is_file():
        known = [p.parent.name for p in cards_folder().glob("*/card.toml")]
        raise unknown("data set", name, known, "python -m mmkd.bench --list datasets; your own: --data FILE")
    return read_card(path)


def data_root(given: str | Path | None = None) -> Path:
    """The data folder: `--data-root`, else the variable MMKD_DATA, else `mmkd/data` in the user's cache folder."""
    if given is not None:
        return Path(given)
    if os.environ.get("MMKD_DATA"):
        return Path(os.environ["MMKD_DATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmkd" / "data"


def file_sha256(path: Path) -> str:
    """Checksum of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def card_files(card: Card, root: Path) -> dict[str, Path]:
    """The card's files below `root`, each checked against its checksum.

    Raises:
        MmkdError: a file is absent (which, where it belongs) or differs (file, expected and found checksum).
    """
    files = {}
    for name, expected in card.sha256.items():
        path = root / name
        if not path.is_file():
            raise MmkdError(f"data set {card.name!r}: {path} is missing; it is {card.source.get('where', 'not there')}")
        found = file_sha256(path)
        if found != expected:
            raise MmkdError(
                f"data set {card.name!r}: {path} is not the file that the card names: "
                f"expected sha256 {expected}, found {found}; fetch it anew from {card.source.get('home', 'its source')}"
            )
        files[name] = path
    return files


def present(card: Card, root: Path) -> bool:
    """Whether all files of the card exist (their checksums are read when they are loaded)."""
    return all((root / name).is_file() for name in card.sha256)
