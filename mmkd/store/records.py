"""All records below one folder: looked up, locked, written, and extended by measurements."""

import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import filelock

from mmkd.core.errors import DamageWarning, MmkdError
from mmkd.core.keys import describe_odd
from mmkd.core.text import LONGEST_PATH, shown
from mmkd.store.files import find_damage, hash_files, quarantine, state_of, temporary_folder, write_atomically
from mmkd.store.form import check_form
from mmkd.store.record import CHECKSUMS, Record, read_json, refuse_constant
from mmkd.store.travelling import TravellingRecord, describe_difference, read_travelling

HASHED_BYTES = 256 << 10
"""Files up to this size are hashed whenever their record is looked up."""
KEPT_RECORDS = 2000
"""How many records are kept, some 30 KB each."""
MOST_READINGS = 20
"""How often a record is read that other processes replace meanwhile."""
WAIT_S = 0.005
"""Seconds before it is read again: while a record is replaced its folder is missing for a moment."""

OPTIONAL_SUFFIXES = (".svg", ".png", ".log")
"""Suffixes of files that may be missing: logs and pictures, which older records have as .png."""


Extend = Callable[[Mapping[str, Any]], bytes]
"""Makes the content of a measurement of what is on record of it, a JSON object; an empty one if it is not measured."""


class Records:
    """All records below one folder, `runs/<key>/`, and those that travelled here.

    Args:
        travelled: files of records, or folders of them, see `store.travelling`; records in `runs` go before theirs.
    """

    def __init__(self, runs: str | Path, travelled: Sequence[str | Path] = ()) -> None:
        self.runs = Path(runs)
        self._files = tuple(travelled)
        self._kept: dict[str, tuple[tuple[int, ...], Record]] = {}  # key -> state of result.json, and the record

    @cached_property
    def travelled(self) -> Mapping[str, TravellingRecord]:
        """Key -> record, of those that travelled here.

        Raises:
            MmkdError: one of the files does not exist or is malformed.
        """
        return read_travelling(self._files)

    def get(self, key: str) -> Record | None:
        """The record of the unit `key`; None if there is none. A damaged record gives None and a `DamageWarning`."""
        return self.get_whole(key) or self.travelled.get(key)

    def get_whole(self, key: str) -> Record | None:
        """The same, but None for a record that travelled here without its predictions and weights."""
        record, damage = self._read(key)
        if damage:
            text = f"record {self.runs / key} is damaged ({damage}) and does not count"
            warnings.warn(text, DamageWarning, stacklevel=1)  # always from this line, so that it is shown once
        return record

    def describe_damage(self, key: str) -> str:
        """A sentence that says why the record of `key` does not count; empty if it is intact or does not exist."""
        damage = self._read(key)[1]
        return f"its record {self.runs / key} is damaged ({damage})" if damage else ""

    def _read(self, key: str) -> tuple[Record | None, str]:
        """The record and "" if it is intact; None and what is wrong with it otherwise ("" if there is none).

        Files of two records, of which one replaced the other meanwhile, are no damage: they are read again.
        """
        path = Path(self.runs, key, "result.json")
        for _ in range(MOST_READINGS):
            before = _state(path)
            record, damage = self._read_once(path, key)
            if not damage or _state(path) == before:
                break
            time.sleep(WAIT_S)
        return record, damage

    def _read_once(self, path: Path, key: str) -> tuple[Record | None, str]:
        """The same, at one moment.

        A command asks for a record several times: its `result.json` is read once as long as the file does not change.
        The other files are looked at each time.
        """
        try:
            state = state_of(path.stat())
            kept_state, record = self._kept.get(key, (None, None))
            text = "" if kept_state == state else path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None, ""
        except (OSError, ValueError) as error:
            return None, f"result.json: {error}"
        try:
            if record is None or kept_state != state:
                result = json.loads(text, parse_constant=refuse_constant)
                _check(result, key)
                record = Record(path.parent, result)
            files = {
                name: expected
                for name, expected in record.result.get("files", {}).items()
                if not name.endswith(OPTIONAL_SUFFIXES)
            }
            hashed = [name for name, expected in files.items() if expected["bytes"] <= HASHED_BYTES]
            damage = find_damage(path.parent, files, hashed)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return None, f"result.json: {' '.join(str(error).split())[:200]}"
        self._keep(key, state, record)
        return (None, damage) if damage else (record, "")

    def _keep(self, key: str, state: tuple[int, ...], record: Record) -> None:
        """Keep a record for the next time that it is asked for; of more than `KEPT_RECORDS` the oldest is dropped."""
        self._kept.pop(key, None)
        self._kept[key] = state, record
        if len(self._kept) > KEPT_RECORDS:
            del self._kept[next(iter(self._kept))]

    def __iter__(self) -> Iterator[Record]:
        """Every intact record. A damaged record gives a `DamageWarning`."""
        found = set()
        for path in sorted(self.runs.glob("[!.]*/result.json")):  # hidden folders are unfinished or replaced records
            record = self.get_whole(path.parent.name)
            if record is not None:
                found.add(record.key)
                yield record
        yield from (record for key, record in sorted(self.travelled.items()) if key not in found)

    def differences(self, records: Iterable[Record]) -> list[str]:
        """A line for each of these records of `runs` that travelled here too, with another result."""
        lines = []
        for record in records:
            other = self.travelled.get(record.key)
            if record.has_files and other is not None and (difference := describe_difference(record, other)):
                where = f"{record.kind} {record.key} has two results, {difference}: in {self.runs} and in "
                lines.append(f"{where}{other.source}; that of {self.runs} counts")
        return lines

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """The lock of the process that works on `key`. A second process waits here, and then finds the record.

        Raises:
            MmkdError: the folder cannot be written.
        """
        try:
            (self.runs / ".locks").mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.runs / ".locks" / f"{key}.lock")
            lock.acquire()
        except OSError as error:
            raise MmkdError(
                f"--runs {self.runs}: {error.strerror or error}; name a folder that can be written"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def write(self, key: str, fill: Callable[[Path], Mapping[str, Any]]) -> Record:
        """Write a record.

        A record of the same key is replaced when the new one is complete; a damaged one is moved to `.damaged/`.

        Args:
            fill: writes the files into a temporary folder and returns the content of `result.json`.

        Raises:
            MmkdError: the disk is full, the folder cannot be written, or the content has not the form of a record.
        """
        final = self.runs / key
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with temporary_folder(self.runs) as folder:
                content = fill(folder)
                files = {
                    name: {"bytes": file["bytes"], "sha256": file["sha256"]}
                    for name, file in hash_files(folder).items()
                }
                try:
                    plain = json.dumps({**content, "files": files}, allow_nan=False)
                except (TypeError, ValueError):
                    raise MmkdError(f"the record of unit {key} is none: {describe_odd(content)}") from None
                result = json.loads(plain)  # as it will be read
                try:
                    check_form(result)
                except ValueError as error:
                    raise MmkdError(f"the record of unit {key} is none: {error}") from None
                text = json.dumps({**result, "sha256": _content_hash(result)}, indent=1, allow_nan=False)
                (folder / "result.json").write_text(text, encoding="utf-8")
                replaced = self.runs / f".replaced-{folder.name}"
                if os.path.lexists(final) and self._read(key)[0] is None:
                    quarantine(final, self.runs / ".damaged", key)
                elif final.exists():
                    os.replace(final, replaced)
                os.replace(folder, final)
                shutil.rmtree(replaced, ignore_errors=True)
        except OSError as error:
            raise MmkdError(f"--runs {self.runs}: {error.strerror or error}; nothing of unit {key} is kept") from error
        self.failure_path(key).unlink(missing_ok=True)
        record = self.get_whole(key)
        assert record is not None
        return record

    def add_measurements(self, record: Record, contents: Mapping[str, bytes | Extend]) -> None:
        """Add measurements to a record, each file completely or not at all.

        Args:
            contents: name, of `MEASUREMENTS` -> content of the file; or a function that makes it of what the record has
                of that name, which is read and written under one lock, so that two processes can add to one file.

        Raises:
            MmkdError: the record was replaced meanwhile, or its folder cannot be written.
        """
        with self.lock(record.key):
            current = self._read(record.key)[0]
            if current is None or current.result != record.result:
                raise MmkdError(f"record {record.folder} was replaced while it was measured")
            try:
                for path in record.folder.glob(".making-*"):  # left by a process that was killed
                    path.unlink()
                checksums = read_json(record.folder / CHECKSUMS)
                for name, given in contents.items():
                    content = given if isinstance(given, bytes) else given(current.measurement(name))
                    write_atomically(record.folder / name, content)
                    checksums[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                text = json.dumps(checksums, indent=1, sort_keys=True)
                write_atomically(record.folder / CHECKSUMS, text.encode())
            except OSError as error:
                raise MmkdError(
                    f"--runs {self.runs}: {error.strerror or error}; what was measured of unit {record.key} is not kept"
                ) from error

    def failure_path(self, key: str) -> Path:
        """Where the traceback of a failed unit is stored until the unit succeeds; it is no record."""
        return self.runs / "failed" / f"{key}.log"

    def write_failure(self, key: str, text: str) -> Path:
        """Store the traceback of a failed unit; returns its path.

        Raises:
            MmkdError: the file cannot be written.
        """
        path = self.failure_path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise MmkdError(f"--runs {self.runs}: {error.strerror or error}; the log of unit {key} is lost") from error
        return path


def _state(path: Path) -> tuple[int, ...] | None:
    """The state of a file; None if there is none that can be read."""
    try:
        return state_of(path.stat())
    except (OSError, ValueError):
        return None


def _content_hash(result: Mapping[str, Any]) -> str:
    """The SHA-256 of the content of `result.json`, without this hash itself."""
    content = {name: value for name, value in result.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check(result: Any, key: str) -> None:
    """Raise ValueError (or TypeError, KeyError) if `result` is not what was written for the unit `key`."""
    if not isinstance(result, dict):
        raise ValueError("it holds no JSON object")
    missing = [name for name in ("key", "kind", "spec", "metrics") if name not in result]
    if missing or result["key"] != key:
        raise ValueError(f"it lacks {', '.join(missing)}" if missing else f"it is of unit {result['key']!r:.80}")
    if "sha256" in result:
        if result["sha256"] != _content_hash(result):
            raise ValueError("it was changed after it was written")
        check_form(result)
        return
    if "files" in result:
        raise ValueError("it lacks sha256")
    spec = result["spec"]  # an older record, without checksums: check what is read most
    scores = result["metrics"]["test"]
    numbers = [scores["accuracy"], scores["macro_f1"], result["parameters"], result["seconds"]]
    texts = [result["kind"], spec["data"]["name"], spec["data"]["sha256"]]
    if not all(isinstance(n, int | float) for n in numbers) or not all(isinstance(t, str) for t in texts):
        raise ValueError("its values are not those of a record")
    check_form(result)


def open_record(run: Record | str | PathLike[str]) -> Record:
    """The record itself, or that in a folder such as `runs/<key>`.

    Raises:
        MmkdError: there is none, or its files are damaged.
    """
    if isinstance(run, Record):
        return run
    if not isinstance(run, str | PathLike) or len(str(run)) > LONGEST_PATH:
        raise MmkdError(f"{shown(run)} is no record; give what mmkd.run returned, or the folder of a record")
    folder = Path(run)
    records = Records(folder.parent)
    damage = records.describe_damage(folder.name)
    record = None if damage else records.get(folder.name)
    if record is None:
        raise MmkdError(damage or f"{folder} is no record of a unit: it has no result.json")
    return record
