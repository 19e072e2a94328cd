"""Records that travel: files of JSON lines, one record a line, without predictions, weights, pictures and windows.

They answer whether a unit is on record, and what it scored, on machines that have no `runs/`; they do not hold what
another unit may need, such as a trained student. A line has

- `format`, `sha256` (of the line without this field), and `result`, the content of the record's `result.json`;
- where they were measured, `deployment` and `robustness`;
- `functional`: what was computed from predictions before the record left its machine, see `comparison.functional`.

Such files are data of strangers: they have size limits, nothing in them is executed, and a line counts only if its key
is the hash of its spec. Lines are sorted by key and written in one form, so that changes of a file are small.
"""

import hashlib
import json
import math
import os
import re
import stat
import warnings
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmkd.core.errors import DamageWarning, MachineWarning, MmkdError
from mmkd.core.text import not_utf8, portable, shown
from mmkd.specs.unit import KINDS
from mmkd.store.files import write_atomically
from mmkd.store.form import check_form
from mmkd.store.record import Record, refuse_constant

FORMAT = 1
"""Of the lines that are written. Older ones have no `format`; they lack `sha256`, `files` and `functional`."""
LARGEST_FILE = 256 << 20
LARGEST_LINE = 1 << 20
MEASURED = {"deployment": "deployment.json", "robustness": "robustness.json"}
"""Field of a line -> the measurement that it holds."""
FIELDS = {"format", "sha256", "result", "functional", *MEASURED}
KEPT_FILES = (
    "predictions.npz",
    "predictions_last.npz",
    "scores.npz",
    "series.csv",
    "student.safetensors",
    "teacher_last.safetensors",
)
"""Files whose size and checksum stay in `result`: they tell which rows are equal, and what a student takes on disk."""
ROUNDING = 1e-6
"""Difference of scores that is none: one window more or less is more, another order of a sum is less."""
LONGEST_NUMBER = 300
"""Digits of a whole number; one of more is no float."""
SHARES = ("accuracy", "macro_f1", "balanced_accuracy", "miou")
"""Scores from 0 to 1."""
SUFFIX = ".jsonl"


@dataclass(frozen=True, repr=False)
class TravellingRecord(Record):
    """A record that was read from a file of records; `folder` does not exist, its parent is that file.

    Attributes:
        measured: name of a measurement -> its content.
        functional: what was computed from its predictions.
    """

    measured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    functional: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def source(self) -> Path:
        """The file that it was read from."""
        return self.folder.parent

    @property
    def has_files(self) -> bool:
        """Whether its predictions and weights are here: they never are."""
        return False

    def file(self, name: str) -> Path:
        """Raise MmkdError: none of its files is here."""
        raise MmkdError(
            f"record {self.key} came from {self.source} without {name}; run its unit again with --existing rerun"
        )

    @property
    def measurements(self) -> dict[str, Path]:
        """Name -> the file that it was read from, of each measurement that travelled with it."""
        return dict.fromkeys(self.measured, self.source)

    def measurement(self, name: str) -> Mapping[str, Any]:
        """The content of a measurement; empty if it does not have it."""
        return self.replaced[name] if name in self.replaced else self.measured.get(name, {})


@dataclass(frozen=True)
class Line:
    """A line of a file of records; `record` is None if this version of mmkd cannot use it, for the reason `why`."""

    number: int
    text: str
    key: str
    record: TravellingRecord | None
    why: str = ""


def read_travelling(paths: Sequence[str | Path], flag: str = "--records") -> dict[str, TravellingRecord]:
    """Key -> record, of all lines of these files, and of the files `*.jsonl` of folders.

    Lines of other versions of mmkd are left out, with a `DamageWarning` for each file that has some. Of a teacher that
    two machines have trained the first line counts, with a `MachineWarning`.

    Raises:
        MmkdError: a file does not exist or is too large, a line is malformed, or two lines are of the same
            student and have other results.
    """
    found: dict[str, TravellingRecord] = {}
    again: list[str] = []
    for path in _files(paths, flag):
        lines = _unchanged_lines(path, flag, _state(path))
        left_out = [line for line in lines if line.record is None]
        if left_out:
            first = left_out[0]
            warnings.warn(
                f"{flag} {path}: {len(left_out)} of {len(lines)} lines do not count, the first: line {first.number}: "
                f"{first.why}",
                DamageWarning,
                stacklevel=1,  # always from this line, so that it is shown once
            )
        for record in (line.record for line in lines if line.record is not None):
            other = found.setdefault(record.key, record)
            difference = describe_difference(other, record)
            if difference and record.kind == "teacher":
                again.append(f"{record.key}, {difference}, in {other.source} and in {record.source}")
                continue
            if difference:
                raise MmkdError(
                    f"{flag}: unit {record.key} has two results, {difference}: in {other.source} and in "
                    f"{record.source}; remove one of the lines"
                )
            if other is not record:
                found[record.key] = united(other, record)
    if again:
        warnings.warn(
            f"{flag}: teachers with two results ({len(again)}, the first {again[0]}); the first line of each counts",
            MachineWarning,
            stacklevel=1,  # always from this line, so that it is shown once
        )
    return found


@lru_cache(maxsize=64)
def _unchanged_lines(path: Path, flag: str, state: tuple[int, int] | None) -> Sequence[Line]:
    """The lines of a file, read once in a process as long as it does not change: a worker reads it for each job."""
    return read_lines(path, flag)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # `read_lines` says it
        return None
    return status.st_size, status.st_mtime_ns


def _files(paths: Sequence[str | Path], flag: str) -> Iterator[Path]:
    """The files among these paths, and those of folders, in order."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.glob(f"*{SUFFIX}"))
        if not inside:
            raise MmkdError(f"{flag} {path}: the folder has no *{SUFFIX}; {_how(path / f'records{SUFFIX}')}")
        yield from inside


def _how(path: Path) -> str:
    return f"python -m mmkd.compare --write-records {path} makes it"


def read_lines(path: Path, flag: str) -> list[Line]:
    """The lines of a file of records.

    Raises:
        MmkdError: it does not exist or is too large, a line is malformed, or two lines are of the same unit.
    """
    lines: list[Line] = []
    numbers: dict[str, int] = {}
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MmkdError(f"{flag} {path}: it is no plain file")
        if status.st_size > LARGEST_FILE:
            raise MmkdError(f"{flag} {path}: it has {status.st_size >> 20} MiB; at most {LARGEST_FILE >> 20} are read")
        with path.open("rb") as stream:
            while content := stream.readline(LARGEST_LINE + 1):
                number = len(lines) + 1
                content = content if lines else content.removeprefix(BOM_UTF8)
                try:
                    if len(content) > LARGEST_LINE:
                        raise ValueError(f"it has more than {LARGEST_LINE >> 20} MiB")
                    line = _parse(content, number, path)
                    if line.key in numbers:
                        raise ValueError(f"unit {line.key} is in line {numbers[line.key]} too; remove one of the two")
                except ValueError as error:
                    raise MmkdError(f"{flag} {path}, line {number}: {' '.join(str(error).split())[:200]}") from None
                numbers[line.key] = number
                lines.append(line)
    except FileNotFoundError:
        raise MmkdError(f"{flag} {path}: there is no such file; {_how(path)}") from None
    except OSError as error:
        raise MmkdError(f"{flag} {path}: {error.strerror or error}") from None
    return lines


def _parse(content: bytes, number: int, path: Path) -> Line:
    """The record of a line.

    Raises:
        ValueError: the line is malformed; the message says in what.
    """
    try:
        text = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(not_utf8(content)) from None
    try:
        values = json.loads(text, parse_constant=refuse_constant, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        where = f"its character {error.pos + 1} is wrong" if error.pos < len(text) else "it ends too early"
        raise ValueError(f"it is no line of JSON ({where if text.strip() else 'it is empty'})") from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    if not isinstance(values, dict) or not isinstance(values.get("result"), dict):
        raise ValueError("it is no record: it lacks an object 'result'")
    if unknown := sorted(values.keys() - FIELDS):
        raise ValueError(f"it has an unknown field {shown(unknown[0])}")
    version = values.get("format", 0)
    if type(version) is not int or version > FORMAT:
        raise ValueError(f"it is of format {shown(version)}, and this mmkd reads up to {FORMAT}; update mmkd")
    if version and values.get("sha256") != _checksum(values):
        raise ValueError("it is not what was written (its sha256 differs); take the line from where it was made")
    for name in (*MEASURED, "functional"):
        if not isinstance(values.get(name, {}), dict):
            raise ValueError(f"{name} is no object")
    result = values["result"]
    key, kind = result.get("key"), result.get("kind")
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{16}", key):
        raise ValueError(f"its key {shown(key)} is none")
    _check_scores(result)
    why = ""
    if kind not in KINDS:
        why = f"unknown kind {shown(kind)}"
    else:
        try:
            check_form(result)
        except ValueError as error:
            return Line(number, text, key, None, str(error))
        try:
            own = KINDS[kind].parse(result["spec"]).key
            why = "" if own == key else f"{key} is not the key of its spec, which is {own}"
        except MmkdError as error:
            why = f"a spec of another version ({error})"
        except KeyError as error:
            why = f"a spec of another version (it lacks {error})"
        except (TypeError, ValueError, AttributeError):
            why = "a spec of another version (its fields are not those of this one)"
    why = " ".join(why.split())[:160]
    if why:
        return Line(number, text, key, None, why)
    measured = {file: values[name] for name, file in MEASURED.items() if name in values}
    record = TravellingRecord(path / key, result, measured=measured, functional=values.get("functional", {}))
    return Line(number, text, key, record)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no number of JSON that can be read")
    return value


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"{text[:40]}... has {len(text)} digits, and is no number of a record")
    return int(text)


def _check_scores(result: Mapping[str, Any]) -> None:
    """Raise ValueError if the scores, parameters or seconds of a result are no numbers."""
    metrics = result.get("metrics")
    if not isinstance(metrics, dict) or not metrics.get("test"):
        raise ValueError("it has no test scores")
    if not all(isinstance(scores, dict) for scores in metrics.values()):
        raise ValueError("its scores are no objects")
    for name, value in ((name, scores.get(name)) for scores in metrics.values() for name in SHARES):
        if isinstance(value, int | float) and not -ROUNDING <= value <= 1 + ROUNDING:
            raise ValueError(f"{name} {value} is not between 0 and 1")
    numbers = [value for scores in metrics.values() for value in scores.values()]
    for value in (*numbers, result.get("parameters"), result.get("seconds")):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{shown(value)} is no number, among its scores, parameters and seconds")


def describe_difference(one: Record, other: Record) -> str:
    """What tells the results of two records of one unit apart, `test macro_f1 0.91 and 0.9`; empty if nothing does.

    Compared are the scores that both have, but for rounding, and the size of the network; not times, machines and
    versions.
    """
    if one.result["parameters"] != other.result["parameters"]:
        return f"{one.result['parameters']} and {other.result['parameters']} parameters"
    mine, theirs = one.result["metrics"], other.result["metrics"]
    for part in (part for part in mine if part in theirs):
        for name in (name for name in mine[part] if name in theirs[part]):
            if not math.isclose(mine[part][name], theirs[part][name], rel_tol=ROUNDING, abs_tol=ROUNDING):
                return f"{part} {name} {mine[part][name]} and {theirs[part][name]}"
    return ""


def united(one: TravellingRecord, other: TravellingRecord) -> TravellingRecord:
    """The first record, with what only the other one has of measurements and of functional facts."""
    functional = {
        name: {**other.functional.get(name, {}), **one.functional.get(name, {})}
        for name in (*one.functional, *other.functional)
    }
    measured = {**other.measured, **one.measured}
    if "deployment.json" in other.measured:
        measured["deployment.json"] = _with_exports(measured["deployment.json"], other.measured["deployment.json"])
    return replace(one, measured=measured, functional=functional)


def _with_exports(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was measured of a student, with what only the other measurement has of exported files."""
    own, more = one.get("exports", {}), other.get("exports", {})
    both = {**more, **own} if isinstance(own, dict) and isinstance(more, dict) else own
    return {**one, "exports": both} if both else one


# Writing --------------------------------------------------------------------------------------------------------------


def travelling(record: Record, functional: Mapping[str, Any]) -> TravellingRecord:
    """A record without its files and without the folders of this machine.

    Args:
        functional: what was computed from its predictions.
    """
    if isinstance(record, TravellingRecord):
        return united(record, replace(record, functional=functional))
    result = {name: value for name, value in record.result.items() if name not in ("files", "sha256")}
    files = record.result.get("files") or {}
    kept = {name: files[name] for name in KEPT_FILES if name in files}
    environment = dict(result.get("environment") or {})
    if "command" in environment:
        environment["command"] = portable(str(environment["command"]))
    views = {
        name: {own: value for own, value in view.items() if own != "state"}  # only a trained network needs it
        for name, view in (result.get("views") or {}).items()
    }
    result |= {"spec": _without_folders(result["spec"])}
    for name, value in (("environment", environment), ("views", views), ("files", kept)):
        result |= {name: value} if value else {}
    measured = {file: dict(found) for file in MEASURED.values() if (found := record.measurement(file))}
    return TravellingRecord(record.folder, result, measured=measured, functional=functional)


def _without_folders(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec whose files have names without folders; none of them is part of its key."""
    short = dict(spec)
    if "plugins" in short:
        short["plugins"] = [Path(path).name for path in short["plugins"]]
    if "checkpoint_files" in short:
        short["checkpoint_files"] = {name: Path(path).name for name, path in short["checkpoint_files"].items()}
    if short.get("checkpoint_file"):
        short["checkpoint_file"] = Path(short["checkpoint_file"]).name
    if (short.get("data") or {}).get("unlabelled_file"):
        short["data"] = {**short["data"], "unlabelled_file": Path(short["data"]["unlabelled_file"]).name}
    return short


def line_of(record: TravellingRecord) -> str:
    """The record as a line of a file, without the end of the line."""
    values: dict[str, Any] = {"format": FORMAT, "result": record.result}
    values |= {name: record.measured[file] for name, file in MEASURED.items() if file in record.measured}
    values |= {"functional": record.functional} if record.functional else {}
    # in the order of the record: that of its teachers is the order of their rows
    return json.dumps({**values, "sha256": _checksum(values)}, separators=(",", ":"), allow_nan=False)


def mark_of(record: TravellingRecord) -> str:
    """The SHA-256 of its line."""
    return hashlib.sha256(line_of(record).encode()).hexdigest()


def write_travelling(path: Path, records: Iterable[TravellingRecord], flag: str = "--write-records") -> tuple[int, int]:
    """Add records to a file; lines that it has stay as they are, but for what they lacked.

    Weights of teachers do not travel, so that a teacher on file is trained again elsewhere, where its last digits may
    differ: its line stays, with a `MachineWarning`. A student that is on file is not trained again.

    Returns:
        How many lines the file has now, and how many of them are new.

    Raises:
        MmkdError: the file is malformed or cannot be written, or a student has another result than its line.
    """
    lines = {line.key: line for line in read_lines(path, flag)} if os.path.lexists(path) else {}
    texts = {key: line.text for key, line in lines.items()}
    different: list[str] = []
    again: list[str] = []
    for record in records:
        old = lines[record.key].record if record.key in lines else None
        if old is None:
            texts[record.key] = line_of(record)
            continue
        both = united(old, record)
        if difference := describe_difference(old, record):
            (again if record.kind == "teacher" else different).append(f"{record.kind} {record.key}, {difference}")
        elif both.measured != old.measured or both.functional != old.functional:
            texts[record.key] = line_of(both)
    if different:
        raise MmkdError(
            f"{flag} {path}: {len(different)} of its lines have another result than the records, the first of "
            f"{different[0]}; nothing is written: remove these lines, or write another file"
        )
    if again:
        warnings.warn(
            f"{flag} {path}: teachers on file were trained again with another result ({len(again)}, the first "
            f"{again[0]}); the lines on file stay",
            MachineWarning,
            stacklevel=2,
        )
    content = "".join(f"{texts[key]}\n" for key in sorted(texts)).encode()
    if len(content) > LARGEST_FILE or any(len(text) > LARGEST_LINE for text in texts.values()):
        raise MmkdError(f"{flag} {path}: it would be larger than what is read; write several files")
    try:
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    except OSError as error:
        raise MmkdError(f"{flag} {path}: {error.strerror or error}; name another file") from None
    return len(texts), len(texts.keys() - lines.keys())


def _checksum(values: Mapping[str, Any]) -> str:
    """The SHA-256 of a line without its own field for it, whatever the order of its fields."""
    content = {name: value for name, value in values.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
