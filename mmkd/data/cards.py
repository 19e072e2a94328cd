"""Cards of data sets: what a data set is, whose it is, how it is split, and which files and checksums it needs.

A card is `datasets/NAME/card.toml`, and the data set has the name of the folder. A card needs no Python module:
`reader` names one of the readers of `mmkd.data.readers`, which gets the card's `reader_options`. `[prepare]` names a
converter of `mmkd.data.converters`, which makes the file for the reader from the files as their authors published them,
`[[source.raw]]`.

A card of the reader `archive` describes a whole archive: `ucr-uea` is the card of `ucr-uea.GunPoint` and all others.
"""

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from mmkd.core.errors import MmkdError, did_you_mean, unknown_name
from mmkd.core.options import shown
from mmkd.core.text import not_utf8
from mmkd.tasks import TASKS

KEYS = {"title", "task", "reader", "reader_options", "classes", "subjects", "split", "signal", "source", "notes"}
KEYS |= {"groups", "prepare", "triads", "augment"}
TABLES = ("signal", "source", "reader_options", "notes", "groups", "prepare", "triads")
READS_NAMES = "windows"
"""The reader whose file may name classes and channels, so that a private card need not."""
REQUIRED = {"title", "task", "reader", "classes", "split", "signal", "source"}


@dataclass(frozen=True)
class Card:
    """The card of one data set. The fields are the keys of the file; the properties are values from its tables."""

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
    triads: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Body site -> the channels x, y, z of each sensor there."""
    augment: tuple[str, ...] = ()
    """The augmentations that suit the data, such as "rotate:30"."""
    folder: Path | None = None
    """Where the card of a private data set lies: its files may lie there too."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels."""
        return tuple(self.signal["channels"])

    @property
    def rate_hz(self) -> float | None:
        """Samples per second; None if time has no unit."""
        return self.signal.get("rate_hz")

    @property
    def sha256(self) -> Mapping[str, str]:
        """File, relative to the reader's folder -> expected SHA-256, empty if it is not known."""
        checksums: Mapping[str, str] = self.source["sha256"]
        return checksums

    @property
    def raw(self) -> list[dict[str, str]]:
        """The files as their authors published them: `file` in the data folder, and `url` and `sha256` if known."""
        files: list[dict[str, str]] = self.source.get("raw", [])
        return files


def cards_folder() -> Path:
    """The folder `datasets/` of the checkout if there is one, else the copy inside the wheel."""
    import mmkd

    package = Path(mmkd.__path__[0]).resolve()
    checkout = package.parent / "datasets"
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "datasets"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file in UTF-8, with or without a byte order mark.

    Args:
        what: what the file is, for messages, such as "card".

    Raises:
        MmkdError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MmkdError(f"{what} {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise MmkdError(f"{what} {path}: not a TOML file: {not_utf8(error.object)}") from None
    except ValueError as error:
        raise MmkdError(f"{what} {path}: not a TOML file: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise MmkdError(f"{what} {path}: not a TOML file of ours: lists or tables are nested too deep") from None


def read_card(path: Path, private: bool = False) -> Card:
    """Read and check one card.

    Args:
        private: whether the card is of a private data set. It then needs no title, no split and no [source], and no
            checksums: those of the files as they are count. Classes and channels may be in its file instead, if its
            reader is `windows`; the card's are then empty.

    Raises:
        MmkdError: the file is not TOML, lacks a key, or has an unknown key or an invalid value.
    """
    raw = read_toml(path, "card")
    name = path.resolve().parent.name if path.name == "card.toml" else path.stem
    if private:
        raw = _with_private_defaults(raw, name)
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
    for key, value, valid, wanted in _rules(raw):
        if not valid:
            raise MmkdError(f"card {path}: {key} = {shown(value)} must be {wanted}")
    return Card(
        name=name,
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
        triads={site: tuple(map(tuple, triads)) for site, triads in raw.get("triads", {}).items()},
        augment=tuple(raw.get("augment", ())),
        folder=path.resolve().parent if private else None,
    )


def _with_private_defaults(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """The content of a private card with what it need not have."""
    options, source = raw.get("reader_options"), raw.get("source", {})
    files = [options[key] for key in ("file", "test_file") if key in options] if isinstance(options, dict) else []
    if isinstance(source, dict) and "sha256" not in source and files:
        source = {**source, "sha256": {str(file): "" for file in files}}
    raw = {"title": name, "split": "as its file has it", **raw, "source": source}
    signal = raw.get("signal", {})
    if raw.get("reader") == READS_NAMES and isinstance(signal, dict):
        raw = {"classes": [], **raw, "signal": {"channels": [], **signal}}
    return raw


def _rules(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool, str]]:
    """For each value of a card: its key, the value, whether it is valid, and what it must be."""
    signal = raw["signal"]
    source = raw["source"]
    for key in ("title", "task", "reader", "split"):
        yield key, raw[key], isinstance(raw[key], str) and bool(raw[key]), "a text"
    task = TASKS.get(raw["task"]) if raw["task"] in TASKS else None
    yield "task", raw["task"], task is not None, f"one of {', '.join(TASKS)}"
    named = task is not None and not task.of_series and raw["reader"] != "archive"  # an archive's own files name theirs
    least = 2 if named else 0
    wanted = "a list of two or more texts, each once" if least else "a list of texts, each once"
    in_file = raw["reader"] == READS_NAMES  # and not on the card, where they are empty
    valid = _is_names(raw["classes"], least) or (in_file and raw["classes"] == [])
    yield "classes", raw["classes"], valid, wanted
    valid = _is_names(signal["channels"], 0 if in_file else 1)
    yield "channels", signal["channels"], valid, "a list of texts, each once"
    subjects = raw.get("subjects", 1)
    yield "subjects", subjects, _is_count(subjects), "a whole number of at least 1"
    for name, members in raw.get("groups", {}).items():
        valid = re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None and _is_names(members, 1)
        valid = valid and (set(members) <= set(signal["channels"]) or (in_file and not signal["channels"]))
        wanted = "a list of the channels of a group, each once, under a name of letters, digits, _ and -"
        yield f"groups.{name}", members, valid, wanted
    named_channels = None if in_file and not signal["channels"] else set(signal["channels"])
    for site, triads in raw.get("triads", {}).items():
        wanted = "a list of lists of three channels, x, y and z of a sensor; each channel in one list only"
        yield f"triads.{site}", triads, _are_triads(triads, named_channels), wanted
    members = [name for triads in raw.get("triads", {}).values() for triad in triads for name in triad]
    yield "triads", members, len(set(members)) == len(members), "tables in which each channel is named once"
    augment = raw.get("augment", [])
    yield "augment", augment, _is_names(augment, 0), 'a list of augmentations, such as ["jitter:0.05"]'
    needs_axes = [text for text in augment if text.partition(":")[0] == "rotate"]
    yield "augment", augment, not needs_axes or bool(members), "without rotate where there are no [triads] of axes"
    for key in ("window", "step"):
        value = signal.get(key)
        needed = task is not None and task.per_step
        valid = _is_count(value) or (value is None and not needed)
        yield key, value, valid, "a whole number of at least 1"
    rate = signal.get("rate_hz", 1.0)
    valid = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 < rate < math.inf
    yield "rate_hz", rate, valid, "a number above 0"
    delineated = signal.get("delineated", False)
    yield "delineated", delineated, isinstance(delineated, bool), "true or false"
    for key in ("home", "where"):
        yield key, source.get(key), isinstance(source.get(key, ""), str), "a text"
    checksums = source["sha256"]
    yield "sha256", checksums, isinstance(checksums, dict) and bool(checksums), "a table of files and their checksums"
    for name, checksum in checksums.items():
        parts = PurePath(name).parts
        inside = bool(parts) and not PurePath(name).is_absolute() and ".." not in parts and "\0" not in name
        yield "sha256", name, inside, "the path of a file below the data folder, without .."
        valid = isinstance(checksum, str) and re.fullmatch(r"[0-9a-f]{64}|", checksum) is not None
        yield f"sha256 of {name}", checksum, valid, "64 hexadecimal digits, or empty if it is not known"
    files = source.get("raw", [])
    are_tables = isinstance(files, list) and all(isinstance(file, dict) for file in files)
    yield "raw", files, are_tables, "tables, [[source.raw]]"
    for file in files if are_tables else ():
        valid = all(isinstance(value, str) for value in file.values())
        yield "raw", file, valid and {"file"} <= set(file) <= {"file", "url", "sha256"}, "a file, its url and sha256"
        path = PurePath(file["file"])
        yield "raw", file, not path.is_absolute() and ".." not in path.parts, "a file below the data folder"


def _is_count(value: Any) -> bool:
    """Whether the value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_triads(value: Any, channels: set[str] | None) -> bool:
    """Whether the value is a list of lists of three of the channels; None for `channels`: they are named elsewhere."""
    if not isinstance(value, list) or not value or not all(_is_names(triad, 3) for triad in value):
        return False
    return all(len(triad) == 3 and (channels is None or set(triad) <= channels) for triad in value)


def _is_names(value: Any, least: int) -> bool:
    """Whether the value is a list of at least `least` texts, each once and none empty."""
    texts = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return texts and len(set(value)) == len(value) >= least


def find_cards(folder: Path | None = None) -> tuple[dict[str, Card], dict[str, str]]:
    """All cards by data set name, and the invalid card files with the reason.

    Args:
        folder: where the cards are; by default `cards_folder()`.
    """
    folder = cards_folder() if folder is None else folder
    cards = {}
    invalid = {}
    for path in sorted(folder.glob("*/card.toml")):
        try:
            cards[path.parent.name] = read_card(path)
        except MmkdError as error:
            invalid[str(path)] = str(error)
    return cards, invalid


def find_card(name: str) -> Card:
    """The card of the data set `name`; `ARCHIVE.SET` for one set of an archive; or a private card, by its path.

    Raises:
        MmkdError: there is no such data set (with the closest name), or `name` is a whole archive.
    """
    if not isinstance(name, str):
        raise MmkdError(f"data set = {shown(name)} is not a text; give its name")
    if name.endswith(".toml"):
        return read_card(Path(name), private=True)
    paths = {path.parent.name: path for path in cards_folder().glob("*/card.toml")}
    archive, dot, member = name.partition(".")
    if archive in paths and dot and re.fullmatch(r"[A-Za-z0-9_-]+", member):
        card = read_card(paths[archive])
        if card.reader == "archive":
            return archive_member(card, member)
    if name not in paths:
        raise unknown_name("data set", name, paths, "python -m mmkd.bench --list datasets; your own: --data FILE")
    card = read_card(paths[name])
    if card.reader == "archive":
        raise MmkdError(f"data set {name!r} is a whole archive; add the name of one of its sets, such as {name}.ECG200")
    return card


def archive_member(card: Card, member: str) -> Card:
    """The card of one set of an archive, made by replacing SET in the texts of the archive's card."""

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("SET", member)
        if isinstance(value, dict):
            return {replaced(key): replaced(inner) for key, inner in value.items()}
        return [replaced(inner) for inner in value] if isinstance(value, list) else value

    changed = {name: replaced(getattr(card, name)) for name in ("title", "source", "reader_options")}
    return replace(card, name=f"{card.name}.{member}", **changed)


def data_root(folder: str | Path | None = None) -> Path:
    """The data folder: `folder`, else the variable MMKD_DATA, else `mmkd/data` in the user's cache folder."""
    if folder is not None:
        return Path(folder)
    if os.environ.get("MMKD_DATA"):
        return Path(os.environ["MMKD_DATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmkd" / "data"
