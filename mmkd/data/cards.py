"""A data set's card: what it is, whose it is, how it is split, and the files and checksums it stands on.

A card is `datasets/NAME/card.toml`; the folder's name is the data set's. It needs no module: `reader` names one of the
readers of `readers.py`, which get its `reader_options`; `[prepare]` names a converter of `originals.py`, which makes
the file that the reader wants from the files as their authors published them, `[[source.raw]]`.

A card of the reader `archive` stands for a whole archive: `ucr-uea` is the card of `ucr-uea.GunPoint` and all others.
"""

import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from mmkd.core.errors import MmkdError, did_you_mean, unknown_name
from mmkd.core.options import shown
from mmkd.tasks import TASKS

KEYS = {"title", "task", "reader", "reader_options", "classes", "subjects", "split", "signal", "source", "notes"}
KEYS |= {"groups", "prepare"}
TABLES = ("signal", "source", "reader_options", "notes", "groups", "prepare")
REQUIRED = {"title", "task", "reader", "classes", "split", "signal", "source"}
"""What a card may say, and what the runner trains."""
PREPARED = ".prepared.json"
"""Added to the name of a file that `python -m mmkd.data prepare` made: what it was made of, and its checksum."""


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
    subjects: int | None
    groups: Mapping[str, tuple[str, ...]]
    prepare: Mapping[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.signal["channels"])

    @property
    def rate_hz(self) -> float | None:
        return self.signal.get("rate_hz")

    @property
    def sha256(self) -> Mapping[str, str]:
        """File, relative to the reader's folder -> expected checksum, empty where it is not known to us."""
        checksums: Mapping[str, str] = self.source["sha256"]
        return checksums

    @property
    def raw(self) -> list[dict[str, str]]:
        """The files as their authors published them: `file` below the data folder, `url` and `sha256` where known."""
        files: list[dict[str, str]] = self.source.get("raw", [])
        return files


def cards_folder() -> Path:
    """The checkout's `datasets/` when there is one, else the folder that the wheel carries."""
    import mmkd

    package = Path(mmkd.__path__[0]).resolve()
    checkout = package.parent / "datasets"
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "datasets"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file in UTF-8, with or without a byte order mark; `what` names it in messages.

    Raises:
        MmkdError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MmkdError(f"{what} {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise MmkdError(f"{what} {path}: not a TOML file: it is not UTF-8 text; save it as UTF-8") from None
    except ValueError as error:
        raise MmkdError(f"{what} {path}: not a TOML file: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise MmkdError(f"{what} {path}: not a TOML file of ours: lists or tables are nested too deep") from None


def read_card(path: Path) -> Card:
    """Read and check one card.

    Raises:
        MmkdError: no TOML, an unknown key, one missing, or a value that its key cannot have.
    """
    raw = read_toml(path, "card")
    for key in raw:
        if key not in KEYS:
            raise MmkdError(f"card {path}: unknown key {key!r}{did_you_mean(key, KEYS)}")
    missing = sorted(REQUIRED - set(raw))
    if missing:
        raise MmkdError(f"card {path}: missing {', '.join(missing)}")
    for key in TABLES:
        if not isinstance(raw.get(key, {}), dict):
            raise MmkdError(f"card {path}: {key} must be a table, [{key}]")
    if "channels" not in raw["signal"] or "sha256" not in raw["source"]:
        raise MmkdError(f"card {path}: [signal] needs channels, and [source] needs sha256")
    for key, value, holds, wanted in _rules(raw):
        if not holds:
            raise MmkdError(f"card {path}: {key} = {shown(value)} must be {wanted}")
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
        subjects=raw.get("subjects"),
        groups={name: tuple(channels) for name, channels in raw.get("groups", {}).items()},
        prepare=raw.get("prepare", {}),
    )


def _rules(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool, str]]:
    """Of each value: its key, the value, whether it is as it must be, and how it must be."""
    signal, source = raw["signal"], raw["source"]
    for key in ("title", "task", "reader", "split"):
        yield key, raw[key], isinstance(raw[key], str) and bool(raw[key]), "a text"
    task = TASKS.get(raw["task"]) if raw["task"] in TASKS else None
    yield "task", raw["task"], task is not None, f"one of {', '.join(TASKS)}"
    named = task is not None and not task.of_series and raw["reader"] != "archive"  # an archive's own files name theirs
    least = 2 if named else 0
    wanted = "a list of two or more texts, each once" if least else "a list of texts, each once"
    yield "classes", raw["classes"], _names(raw["classes"], least), wanted
    yield "channels", signal["channels"], _names(signal["channels"], 1), "a list of texts, each once"
    subjects = raw.get("subjects", 1)
    people = isinstance(subjects, int) and not isinstance(subjects, bool) and subjects >= 1
    yield "subjects", subjects, people, "a whole number of at least 1"
    for name, members in raw.get("groups", {}).items():
        good = re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None and _names(members, 1)
        wanted = "a list of the channels of a group, each once, under a name of letters, digits, _ and -"
        yield f"groups.{name}", members, good and set(members) <= set(signal["channels"]), wanted
    for key in ("window", "step"):
        value = signal.get(key)
        needed = task is not None and task.per_step
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        yield key, value, whole or (value is None and not needed), "a whole number of at least 1"
    rate = signal.get("rate_hz", 1.0)
    good = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 < rate < math.inf
    yield "rate_hz", rate, good, "a number above 0"
    delineated = signal.get("delineated", False)
    yield "delineated", delineated, isinstance(delineated, bool), "true or false"
    for key in ("home", "where"):
        yield key, source.get(key), isinstance(source.get(key, ""), str), "a text"
    sums = source["sha256"]
    yield "sha256", sums, isinstance(sums, dict) and bool(sums), "a table of files and their checksums"
    for name, checksum in sums.items():
        parts = PurePath(name).parts
        inside = bool(parts) and not PurePath(name).is_absolute() and ".." not in parts and "\0" not in name
        yield "sha256", name, inside, "the path of a file below the data folder, without .."
        text = isinstance(checksum, str) and re.fullmatch(r"[0-9a-f]{64}|", checksum) is not None
        yield f"sha256 of {name}", checksum, text, "64 hexadecimal digits, or empty where nobody has told it"
    files = source.get("raw", [])
    each = isinstance(files, list) and all(isinstance(file, dict) for file in files)
    yield "raw", files, each, "tables, [[source.raw]]"
    for file in files if each else ():
        texts = all(isinstance(value, str) for value in file.values())
        yield "raw", file, texts and {"file"} <= set(file) <= {"file", "url", "sha256"}, "a file, its url and sha256"
        path = PurePath(file["file"])
        yield "raw", file, not path.is_absolute() and ".." not in path.parts, "a file below the data folder"


def _names(value: Any, least: int) -> bool:
    """Whether it is a list of at least so many texts, none twice and none empty."""
    texts = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return texts and len(set(value)) == len(value) >= least


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
    known = {path.parent.name: path for path in cards_folder().glob("*/card.toml")}
    archive, dot, member = name.partition(".")
    if archive in known and dot and re.fullmatch(r"[A-Za-z0-9_-]+", member):
        card = read_card(known[archive])
        if card.reader == "archive":
            return of_archive(card, member)
    if name not in known:
        raise unknown_name("data set", name, known, "python -m mmkd.bench --list datasets; your own: --data FILE")
    card = read_card(known[name])
    if card.reader == "archive":
        raise MmkdError(f"data set {name!r} is a whole archive; add the name of one of its sets, such as {name}.ECG200")
    return card


def of_archive(card: Card, member: str) -> Card:
    """The card of one set of an archive: SET in the texts of the archive's card is its name."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("SET", member)
        if isinstance(value, dict):
            return {filled(key): filled(inner) for key, inner in value.items()}
        return [filled(inner) for inner in value] if isinstance(value, list) else value

    changed = {name: filled(getattr(card, name)) for name in ("title", "source", "reader_options")}
    return replace(card, name=f"{card.name}.{member}", **changed)


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


def card_checksums(card: Card, root: Path) -> dict[str, str]:
    """The checksum of each of the card's files below `root`, each the card's own, or that of a file prepared here.

    Raises:
        MmkdError: a file is absent (which, where it belongs) or differs (file, expected and found checksum).
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
            found = checksums[name] = file_sha256(path)
        except OSError as error:
            raise MmkdError(f"data set {card.name!r}: {path}: {error.strerror or error}") from None
        if found == expected or (not expected and not card.prepare) or found == prepared_sha256(card, path):
            continue
        if not expected:
            raise MmkdError(
                f"data set {card.name!r}: {path} was not made by python -m mmkd.data prepare {card.name}, or by "
                f"another version of its card, or has changed since; prepare it anew"
            )
        raise MmkdError(
            f"data set {card.name!r}: {path} is not the file that the card names: "
            f"expected sha256 {expected}, found {found}; fetch it anew from {card.source.get('home', 'its source')}"
        )
    return checksums


def prepared_sha256(card: Card, path: Path) -> str | None:
    """The checksum that `prepare` left beside a file that it made as the card says today; None where it did not."""
    try:
        said = json.loads(path.with_name(path.name + PREPARED).read_text(encoding="utf-8"))
        return str(said["sha256"]) if said["prepare"] == dict(card.prepare) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def present(card: Card, root: Path) -> bool:
    """Whether all files of the card exist (their checksums are read when they are loaded)."""
    return all((root / name).is_file() for name in card.sha256)
