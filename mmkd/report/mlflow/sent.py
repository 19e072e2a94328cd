"""What was sent to the store: a note in the runs folder, so that a command with nothing to send does not load mlflow.

A record that was sent leaves a line in `mlflow-sent.json`. The file may be lost: the store is asked for `mmkd.key`
before anything is sent, and a run counts as sent once it is FINISHED and of the same `result.json` (tag `mmkd.record`).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock

from mmkd.report.mlflow.experiments import experiment_name
from mmkd.report.mlflow.store import database_of, default_uri, without_password
from mmkd.store.record import MEASUREMENTS, Record
from mmkd.store.travelling import TravellingRecord, mark_of

SENT = "mlflow-sent.json"
SUITE = "suite/"  # lines of suites beside those of records: the suite as it was sent
WANTED = "wanted/"  # and which keys it has
MODEL = "model/"  # lines of students that are models
PAGE = "page/"  # lines of experiments: the store, and the id that it gave them
LOCK_TIMEOUT = 60.0  # seconds for another process that sends and makes no progress


def unsent(runs: Path, records: Iterable[Record], what: str = "") -> list[Record]:
    """Those that the present store has not had yet; with MODEL, whose models it lacks. Does not import mlflow."""
    sent = read_sent(runs)
    return [record for record in records if sent.get(what + record.key) != stamp(record, default_uri(runs))]


def read_sent(runs: Path) -> dict[str, str]:
    """The lines of the note; none of a damaged file, of a store that is gone only the suites that it should have."""
    try:
        content = json.loads((runs / SENT).read_text(encoding="utf-8"))
        lines = {name: text for name, text in content.items() if isinstance(text, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    database = database_of(default_uri(runs))
    if database is not None and not database.exists():
        return {name: text for name, text in lines.items() if name.startswith(WANTED)}
    return lines


def write_sent(runs: Path, sent: Mapping[str, str]) -> None:
    """Replace the note."""
    temporary = runs / f".{SENT}"
    temporary.write_text(json.dumps(sent, indent=0, sort_keys=True), encoding="utf-8")
    os.replace(temporary, runs / SENT)


def stamp(record: Record, uri: str) -> str:
    """Stands for the present state of a record in a store; empty where it was removed."""
    if isinstance(record, TravellingRecord):
        return f"{without_password(uri)} travelled {mark_of(record)[:16]}"
    try:
        state = f"{without_password(uri)} {(record.folder / 'result.json').stat().st_mtime_ns}"
    except OSError:
        return ""
    times = [path.stat().st_mtime_ns for name in MEASUREMENTS if (path := record.folder / name).is_file()]
    return " measured ".join([state, *map(str, sorted(times)[-1:])])


def page_ids(runs: Path, records: Iterable[Record]) -> dict[str, str | None]:
    """Experiment of the records -> its id in the present store; None where it is not known."""
    sent, uri = read_sent(runs), without_password(default_uri(runs))
    ids: dict[str, str | None] = {}
    for name in dict.fromkeys(map(experiment_name, records)):
        where, _, number = sent.get(PAGE + name, "").rpartition(" ")
        ids[name] = number if where == uri else None
    return ids


def suite_digest(runs: Path, records: Iterable[Record]) -> str:
    """Stands for the present state of a suite's records in the present store."""
    uri = default_uri(runs)
    text = "\n".join(sorted(f"{record.key} {stamp(record, uri)}" for record in records))
    return f"{without_password(uri)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def unlisted(runs: Path, records: Sequence[Record], suite: str | None) -> dict[str, list[Record]]:
    """The suites whose parent run does not list their records as they are now: this one, or else all."""
    sent = read_sent(runs)
    by_key = {record.key: record for record in records}
    if suite is not None:
        wanted = {suite: list(by_key)}
    else:
        wanted = {name.removeprefix(WANTED): keys.split(",") for name, keys in sent.items() if name.startswith(WANTED)}
    suites = {}
    for name, keys in wanted.items():
        members = [by_key[key] for key in keys if key in by_key]
        complete = all(key in by_key or not (runs / key).exists() for key in keys)
        if members and complete and sent.get(SUITE + name) != suite_digest(runs, members):
            suites[name] = members
    return suites


@contextmanager
def sender_lock(runs: Path) -> Iterator[None]:
    """Held by the one process that sends; a second one waits as long as the first makes progress.

    Raises:
        filelock.Timeout: the other one makes no progress.
    """
    lock = filelock.FileLock(runs / ".mlflow.lock")
    while True:
        before = _progress(runs)
        try:
            lock.acquire(timeout=LOCK_TIMEOUT)
            break
        except filelock.Timeout:
            if _progress(runs) == before:
                raise
    try:
        yield
    finally:
        lock.release()


def _progress(runs: Path) -> int:
    """Changes with each record that is sent."""
    try:
        return (runs / SENT).stat().st_mtime_ns
    except OSError:
        return 0
