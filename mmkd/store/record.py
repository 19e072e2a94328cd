"""The record of a unit: a folder of plain files, written whole or not at all. Needs neither torch nor mlflow.

`result.json` says size and SHA-256 of every other file, and its own content's hash. A record is damaged when its
`result.json` is not what was written, or one of its arrays, weights or tables is missing or of another size, or, up to
256 KiB, of another checksum; larger ones are hashed when they are read. It then counts as not on record, with a warning
that says why, and is set aside in `runs/.damaged/` once its unit was done again. Pictures and logs may be absent.

Files of `MEASUREMENTS` are added to a finished record, each when it was measured, with their checksums in
`measured.json`. One that is damaged counts as not measured; the record is none the worse for it.
"""

import csv
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import filelock

from mmkd.core.errors import DamageWarning, MmkdError
from mmkd.specs.unit import KINDS, Spec, TeacherSpec, UnitSpec
from mmkd.store.files import find_damage, hash_files, quarantine, temporary_folder

HASHED = 256 << 10  # bytes of a file up to which it is hashed whenever its record is looked up
SPARE = (".svg", ".png", ".log")  # what a record can do without; its pictures were .png once
MEASUREMENTS = ("deployment.json", "maps.npz", "robustness.json")  # what may be added to a student's record
CHECKSUMS = "measured.json"  # theirs


class Metrics(Mapping[str, Mapping[str, float]]):
    """Scores of a record by the part of the data that they are of."""

    def __init__(self, values: Mapping[str, Mapping[str, float]]) -> None:
        self._values = dict(values)

    @property
    def test(self) -> Mapping[str, float]:
        """Scores on the test windows, of the epoch that was kept."""
        return self._values["test"]

    @property
    def test_last(self) -> Mapping[str, float]:
        """Scores on the test windows after the last epoch; empty where there is no such epoch."""
        return self._values.get("test_last", {})

    @property
    def validation(self) -> Mapping[str, float]:
        """Scores on the validation windows; empty where there are none."""
        return self._values.get("validation", {})

    def __getitem__(self, part: str) -> Mapping[str, float]:
        return self._values[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics({self._values!r})"


@dataclass(frozen=True)
class Record:
    """One finished unit, teacher or reference: its folder, and the content of its `result.json`.

    A record that was damaged by hand may raise KeyError, TypeError, ValueError or MmkdError where a property is read.
    """

    folder: Path
    result: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name of its folder, a hash of its spec."""
        return str(self.result["key"])

    @property
    def kind(self) -> str:
        """ "student", "teacher" or "simple" (a reference that is no network)."""
        return str(self.result["kind"])

    @property
    def status(self) -> str:
        """ "done": only finished units have records."""
        return str(self.result.get("status", "done"))

    @cached_property
    def spec(self) -> Spec:
        """Everything that shapes the result; the type goes by `kind`."""
        return KINDS[self.kind].parse(self.result["spec"])

    @property
    def unit(self) -> UnitSpec:
        """The spec of a student's record.

        Raises:
            MmkdError: it is the record of a teacher or of a reference.
        """
        if not isinstance(self.spec, UnitSpec):
            raise MmkdError(f"{self.folder} is the record of a {self.kind}, not of a student")
        return self.spec

    @property
    def teacher(self) -> TeacherSpec:
        """The spec of a teacher's record.

        Raises:
            MmkdError: it is another record.
        """
        if not isinstance(self.spec, TeacherSpec):
            raise MmkdError(f"{self.folder} is the record of a {self.kind}, not of a teacher")
        return self.spec

    @cached_property
    def metrics(self) -> Metrics:
        """Its scores: `metrics.test["macro_f1"]`, or `metrics["test"]["macro_f1"]`."""
        return Metrics(self.result["metrics"])

    @property
    def parameters(self) -> int:
        """Number of the trained network's parameters; 0 of a reference that is no network."""
        return int(self.result["parameters"])

    @property
    def seconds(self) -> float:
        """Time of its training."""
        return float(self.result["seconds"])

    @property
    def teachers(self) -> Mapping[str, str]:
        """Modality -> key of the teacher's record; empty where it had none."""
        return dict(self.result.get("teachers") or {})

    @property
    def data(self) -> Mapping[str, Any]:
        """What it says about its data: classes, channels, window, subjects, numbers of windows."""
        return dict(self.result.get("data") or {})

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions, machine and commit that it was made with; empty of one made before these were recorded."""
        return dict(self.result.get("environment") or {})

    def file(self, name: str) -> Path:
        """The path of one of its files, checked against size and checksum.

        Raises:
            MmkdError: it is missing or damaged.
        """
        said = self.result.get("files", {}).get(name)
        try:
            if said is not None:
                fault = find_damage(self.folder, {name: said}, (name,))
            else:  # of a record made before there were checksums
                fault = None if (self.folder / name).is_file() else f"{name} is missing"
        except PermissionError as error:
            fault = f"{name}: {error.strerror}"
        if fault:
            raise MmkdError(f"record {self.folder} is damaged ({fault}); run its unit again with --existing rerun")
        return self.folder / name

    @property
    def measured(self) -> dict[str, Path]:
        """What of `MEASUREMENTS` lies beside the record and is whole, by name."""
        said = _json_object(self.folder / CHECKSUMS)
        return {name: self.folder / name for name in MEASUREMENTS if self._measured(name, said)}

    def measurement(self, name: str) -> Mapping[str, Any]:
        """What a measurement in JSON says; nothing where it was not made, or is damaged."""
        there = self._measured(name, _json_object(self.folder / CHECKSUMS))
        return _json_object(self.folder / name) if there else {}

    def _measured(self, name: str, said: Mapping[str, Any]) -> bool:
        """Whether a measurement is there, and what the checksums say of it."""
        try:
            of_it = {name: said[name]} if name in said else {}
            return (self.folder / name).is_file() and find_damage(self.folder, of_it, (name,)) is None
        except (OSError, TypeError, KeyError):  # it may not be read, or its checksum is none
            return False


class Records:
    """All records below one folder, `runs/<key>/`."""

    def __init__(self, runs: str | Path) -> None:
        self.runs = Path(runs)

    def get(self, key: str) -> Record | None:
        """The finished record of `key`; None where there is none, or a damaged one, with a `DamageWarning`."""
        record, fault = self._read(key)
        if fault:
            folder = self.runs / key
            text = f"record {folder} is damaged ({fault}) and does not count"
            warnings.warn(text, DamageWarning, stacklevel=1)  # from one place, so that it is told once
        return record

    def fault(self, key: str) -> str:
        """Why the record of `key` does not count, for the list of what is missing; empty where there is none at all."""
        fault = self._read(key)[1]
        return f"its record {self.runs / key} is damaged ({fault})" if fault else ""

    def _read(self, key: str) -> tuple[Record | None, str]:
        """The record if it is whole, and what is wrong with it if it is not."""
        folder = self.runs / key
        try:
            text = (folder / "result.json").read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None, ""
        except (OSError, ValueError) as error:
            return None, f"result.json: {error}"
        try:
            result = json.loads(text, parse_constant=_no_number)
            _check(result, key)
            files = {n: said for n, said in result.get("files", {}).items() if not n.endswith(SPARE)}
            fault = find_damage(folder, files, [name for name, said in files.items() if said["bytes"] <= HASHED])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return None, f"result.json: {' '.join(str(error).split())[:200]}"
        return (None, fault) if fault else (Record(folder, result), "")

    def __iter__(self) -> Iterator[Record]:
        """Every record that is whole; of each damaged one a warning."""
        for path in sorted(self.runs.glob("[!.]*/result.json")):  # hidden folders are not finished, or replaced
            record = self.get(path.parent.name)
            if record is not None:
                yield record

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Held by the one process that works on `key`; a second one waits here and then finds the record."""
        try:
            (self.runs / ".locks").mkdir(parents=True, exist_ok=True)
            held = filelock.FileLock(self.runs / ".locks" / f"{key}.lock")
            held.acquire()
        except OSError as error:
            raise MmkdError(
                f"--runs {self.runs}: {error.strerror or error}; name a folder that can be written"
            ) from error
        try:
            yield
        finally:
            held.release()

    def write(self, key: str, fill: Callable[[Path], Mapping[str, Any]]) -> Record:
        """Write a record: `fill` puts its files into a temporary folder and returns the content of `result.json`.

        A record of the same key is replaced once the new one is whole; a damaged one is set aside.
        """
        final = self.runs / key
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with temporary_folder(self.runs) as folder:
                said = fill(folder)
                files = {n: {k: f[k] for k in ("bytes", "sha256")} for n, f in hash_files(folder).items()}
                result = json.loads(json.dumps({**said, "files": files}, allow_nan=False))  # as it will be read
                text = json.dumps({**result, "sha256": _content_hash(result)}, indent=1, allow_nan=False)
                (folder / "result.json").write_text(text, encoding="utf-8")
                if os.path.lexists(final) and self._read(key)[0] is None:
                    quarantine(final, self.runs / ".damaged", key)
                elif final.exists():
                    os.replace(final, self.runs / f".replaced-{folder.name}")
                os.replace(folder, final)
                shutil.rmtree(self.runs / f".replaced-{folder.name}", ignore_errors=True)
        except OSError as error:
            raise MmkdError(f"--runs {self.runs}: {error.strerror or error}; nothing of unit {key} is kept") from error
        self.failure_path(key).unlink(missing_ok=True)
        record = self.get(key)
        assert record is not None
        return record

    def add(self, record: Record, contents: Mapping[str, bytes]) -> None:
        """Put measurements, of `MEASUREMENTS`, beside a record; each is there whole or not at all.

        Raises:
            MmkdError: the record was replaced meanwhile, or its folder cannot be written.
        """
        with self.lock(record.key):
            now = self._read(record.key)[0]
            if now is None or now.result != record.result:
                raise MmkdError(f"record {record.folder} was replaced while it was measured")
            try:
                for left in record.folder.glob(".making-*"):  # of a process that was killed
                    left.unlink()
                said = _json_object(record.folder / CHECKSUMS)
                for name, content in contents.items():
                    _put(record.folder / name, content)
                    said[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                _put(record.folder / CHECKSUMS, json.dumps(said, indent=1, sort_keys=True).encode())
            except OSError as error:
                raise MmkdError(
                    f"--runs {self.runs}: {error.strerror or error}; what was measured of unit {record.key} is not kept"
                ) from error

    def failure_path(self, key: str) -> Path:
        """Where a failed unit's traceback is kept until it succeeds; it is no record."""
        return self.runs / "failed" / f"{key}.log"

    def fail(self, key: str, text: str) -> Path:
        path = self.failure_path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise MmkdError(f"--runs {self.runs}: {error.strerror or error}; the log of unit {key} is lost") from error
        return path


def _put(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it."""
    making = path.parent / f".making-{uuid4().hex}"
    try:
        making.write_bytes(content)
        os.replace(making, path)
    finally:
        making.unlink(missing_ok=True)


def _json_object(path: Path) -> dict[str, Any]:
    """The object that a file of JSON holds; an empty one where it holds none, or is not there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _content_hash(result: Mapping[str, Any]) -> str:
    """The SHA-256 of what `result.json` says but for this hash itself."""
    said = {name: value for name, value in result.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check(result: Any, key: str) -> None:
    """ValueError, or another error, unless `result` is what was written for the unit `key`."""
    if not isinstance(result, dict):
        raise ValueError("it holds no JSON object")
    missing = [name for name in ("key", "kind", "spec", "metrics") if name not in result]
    if missing or result["key"] != key:
        raise ValueError(f"it lacks {', '.join(missing)}" if missing else f"it is of unit {result['key']!r:.80}")
    if "sha256" in result:
        if result["sha256"] != _content_hash(result):
            raise ValueError("it was changed after it was written")
        return
    if "files" in result:
        raise ValueError("it lacks sha256")
    spec, scores = result["spec"], result["metrics"]["test"]  # of a record made before there were checksums
    numbers = [scores["accuracy"], scores["macro_f1"], result["parameters"], result["seconds"]]
    texts = [result["kind"], spec["data"]["name"], spec["data"]["sha256"]]
    if not all(isinstance(n, int | float) for n in numbers) or not all(isinstance(t, str) for t in texts):
        raise ValueError("its values are not those of a record")


def write_history(path: Path, history: Iterable[Mapping[str, float]]) -> None:
    """`history.csv`: a row an epoch, a column a loss term or score."""
    rows = list(history)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
