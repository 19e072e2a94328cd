"""MLflow as a view of the records: the only module that imports mlflow.

Records come first: whatever happens to the store, units end and their records stay; what is missing is sent later by
`--publish`. A record that was sent leaves a line in `mlflow-sent.json` in the runs folder, so that a command with
nothing to send does not import mlflow at all. The file may be lost: the store is asked for `mmkd.key` before anything
is sent, and a run counts as sent once it is FINISHED and of the same `result.json` (tag `mmkd.record`).

No store is waited for without end: 10 s a request and two more tries, a minute at a lock, and 30 s in all with 5 s more
for each record that was sent. `MLFLOW_HTTP_REQUEST_TIMEOUT` scales these, where the user sets it.
"""

import csv
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import socket
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import filelock

from .errors import MmkdError, did_you_mean
from .record import SPARE, Record

SENT = "mlflow-sent.json"
SUITE, WANTED = "suite/", "wanted/"  # lines of suites beside those of records: as it was sent, and which keys it has
KNOCK = 10.0  # seconds for a database to open
WAIT = 60.0  # seconds for another process that sends and gets nowhere
SETTINGS = {  # of mlflow, each as the user has it where it is set
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def default_uri(runs: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite store in the runs folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def unsent(runs: Path, records: Iterable[Record]) -> list[Record]:
    """Those that the present store has not had yet. Does not import mlflow."""
    sent = _sent(runs)
    return [record for record in records if sent.get(record.key) != _stamp(record, default_uri(runs))]


def publish(runs: Path, records: Sequence[Record], suite: str | None = None) -> str | None:
    """Send records to the store; those of a suite under a parent run with its leaderboard.

    Suites that could not be sent before are sent along, once all their records are among these.

    Returns:
        None, or one line that says what could not be sent and why. It never raises for the store's sake.
    """
    if not unsent(runs, records) and not _unlisted(runs, records, suite):
        return None
    problems: list[str] = []
    try:
        with _alone(runs), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mlflow and what it stands on; not our user's business
            if suite is not None:
                _write_sent(runs, _sent(runs) | {WANTED + suite: ",".join(record.key for record in records)})
            _send(runs, records, suite, problems)
    except filelock.Timeout:
        why = "another process is sending and gets nowhere"
    except Exception as error:  # an unreachable, locked or broken store of any kind
        why = _line(error)
    else:
        count = f"{len(problems)} of {len(records)}"
        return f"MLflow: {count} records not sent, the first: {problems[0]}" if problems else None
    left = len(unsent(runs, records))
    what = f"{left} of {len(records)} records" if left else "the summary of a suite"
    where = "" if str(runs) == "runs" else f" --runs {shlex.quote(str(runs))}"
    return f"MLflow: {what} not sent ({why}); python -m mmkd.bench --publish{where} sends them"


def _line(error: Exception) -> str:
    """One line for an exception of the store, without its SQL and passwords."""
    text = _no_password(" ".join(str(error).split("[SQL:")[0].split()))
    return text if isinstance(error, MmkdError) else f"{type(error).__name__}: {text[:200]}"


def _no_password(text: str) -> str:
    return re.sub(r"//[^/\s@]*@", "//", text)


def _sent(runs: Path) -> dict[str, str]:
    """What was noted; of a damaged file nothing, of a store that is gone only the suites that it should have."""
    try:
        found = json.loads((runs / SENT).read_text(encoding="utf-8"))
        noted = {name: said for name, said in found.items() if isinstance(said, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    database = _database(default_uri(runs))
    gone = database is not None and not database.exists()
    return {name: said for name, said in noted.items() if name.startswith(WANTED)} if gone else noted


def _write_sent(runs: Path, sent: Mapping[str, str]) -> None:
    temporary = runs / f".{SENT}"
    temporary.write_text(json.dumps(sent, indent=0, sort_keys=True), encoding="utf-8")
    os.replace(temporary, runs / SENT)


def _stamp(record: Record, uri: str) -> str:
    try:
        return f"{_no_password(uri)} {(record.folder / 'result.json').stat().st_mtime_ns}"
    except OSError:  # it was removed meanwhile
        return ""


def _digest(runs: Path, records: Iterable[Record]) -> str:
    """Stands for a suite's records as they are in the present store."""
    uri = default_uri(runs)
    said = "\n".join(sorted(f"{record.key} {_stamp(record, uri)}" for record in records))
    return f"{_no_password(uri)} {hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _unlisted(runs: Path, records: Sequence[Record], suite: str | None) -> dict[str, list[Record]]:
    """This suite, or else all that were asked for, where the parent run does not list its records as they are now."""
    sent, here = _sent(runs), {record.key: record for record in records}
    if suite is not None:
        wanted = {suite: list(here)}
    else:
        wanted = {name.removeprefix(WANTED): said.split(",") for name, said in sent.items() if name.startswith(WANTED)}
    found = {}
    for name, keys in wanted.items():
        members = [here[key] for key in keys if key in here]
        all_here = all(key in here or not (runs / key).exists() for key in keys)
        if members and all_here and sent.get(SUITE + name) != _digest(runs, members):
            found[name] = members
    return found


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Held by the one process that sends; a second one waits as long as the first gets on.

    Raises:
        filelock.Timeout: the other one gets nowhere.
    """
    lock = filelock.FileLock(runs / ".mlflow.lock")
    while True:
        before = _progress(runs)
        try:
            lock.acquire(timeout=WAIT)
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


class _Patient:
    """A client whose calls are refused once its store had its time."""

    def __init__(self, client: Any) -> None:
        name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
        try:
            self._client, self._each = client, float(os.environ.get(name, SETTINGS[name]))
        except ValueError:
            raise MmkdError(f"{name}={os.environ[name]} is no number of seconds") from None
        self._end = time.monotonic() + 3 * self._each

    def got_on(self) -> None:
        """Something was sent: the rest has more time."""
        self._end += self._each / 2

    def __getattr__(self, name: str) -> Any:
        if time.monotonic() > self._end:
            raise TimeoutError("the store is too slow; MLFLOW_HTTP_REQUEST_TIMEOUT, in seconds, gives it more time")
        return getattr(self._client, name)


def _client(runs: Path) -> Any:
    uri = default_uri(runs)
    _reach(uri)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow", "sqlalchemy", "urllib3"):  # after the import, which sets levels of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (runs / "mlflow.db").exists():
        for left in runs.glob(".mlflow-new-*"):
            left.unlink()
        new = runs.resolve() / f".mlflow-new-{uuid4().hex}.db"  # one that was left half made could never be used
        MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
        os.replace(new, runs / "mlflow.db")
    return MlflowClient(tracking_uri=uri)


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").split("?")[0]) if uri.startswith("sqlite:///") else None


def _reach(uri: str) -> None:
    """Knock at a database that mlflow itself would try to open for minutes.

    Raises:
        OSError: nobody answers.
        MmkdError: it is locked, damaged, or cannot be written.
    """
    url = urlsplit(uri)
    port = PORTS.get(url.scheme.split("+")[0])
    if port is not None and url.hostname:
        socket.create_connection((url.hostname, url.port or port), timeout=KNOCK).close()
    database = _database(uri)
    if database is None or not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=KNOCK, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            store.execute("SELECT count(*) FROM sqlite_master")
            store.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise MmkdError(f"{database}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise MmkdError(f"{database}: {error}; move it away, and all is sent to a new one") from error


def _send(runs: Path, records: Sequence[Record], suite: str | None, problems: list[str]) -> None:
    """Send what is missing, and list suites under their parent runs; what is wrong with single records is added."""
    missing = unsent(runs, records)  # another process may have sent them while we waited
    if not missing and not _unlisted(runs, records, suite):
        return
    client, sent, experiments = _Patient(_client(runs)), _sent(runs), dict[str, str]()
    _write_sent(runs, sent)  # to know, before anything is sent, that it can be noted

    def experiment(record: Record) -> str:
        name = _name(record)
        if name not in experiments:
            experiments[name] = _experiment(client, runs, name)
        return experiments[name]

    for record in missing:
        stamp = _stamp(record, default_uri(runs))
        try:
            mark, metrics, files = _read(record)
        except Exception as error:  # one damaged record keeps no other from being sent
            problems.append(f"{record.key}: {_line(error)}")
            continue
        where = experiment(record)
        try:
            _one(client, where, record, mark, metrics, files)
        except Exception as error:
            if not _refused(error):
                raise
            problems.append(f"{record.key}: {_line(error)}")
            continue
        sent[record.key] = stamp
        _write_sent(runs, sent)
        client.got_on()
    for name, found in _unlisted(runs, records, suite).items():
        for each in dict.fromkeys(map(_name, found)):
            members = [record for record in found if _name(record) == each]
            _parent(client, experiment(members[0]), name, members)
        if not problems:
            sent[SUITE + name] = _digest(runs, found)
            _write_sent(runs, sent)


def _refused(error: Exception) -> bool:
    """Whether the store works, and only does not want this record."""
    status = getattr(error, "get_http_status_code", None)
    return status is not None and status() in (400, 404, 409)


def _name(record: Record) -> str:
    return f"mmkd/{record.spec['data']['name']}/{record.spec['task']}"


def _experiment(client: Any, runs: Path, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        where = None
        if _database(default_uri(runs)) is not None:
            where = (runs / "mlartifacts" / name.replace("/", "-")).resolve().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=where))
        except Exception:  # another process made it meanwhile, or we did and the answer was lost
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _existing(client: Any, experiment: str, key: str) -> list[Any]:
    """The runs of a key that are not deleted, in an order that is always the same."""
    found = client.search_runs([experiment], filter_string=f"tags.`mmkd.key` = '{key}'")
    return sorted(found, key=lambda run: str(run.info.run_id))


def _discard(client: Any, run: Any) -> None:
    """Delete a run, and first its files where they lie in a folder here; on a server `mlflow gc` removes them."""
    place = urlsplit(run.info.artifact_uri)
    folder = Path(unquote(place.path)).parent
    if place.scheme == "file" and folder.name == run.info.run_id:
        shutil.rmtree(folder, ignore_errors=True)
    client.delete_run(run.info.run_id)


def _parent(client: Any, experiment: str, suite: str, records: Sequence[Record]) -> None:
    """The suite's run, found again on a second call, with the leaderboard of its records, which become its children."""
    key = SUITE + suite.replace("'", "_")
    tags = {"mmkd.key": key, "mmkd.kind": "summary"}
    if not _existing(client, experiment, key):
        client.create_run(experiment, tags=tags, run_name=f"suite {suite}")
    run, *doubled = _existing(client, experiment, key)  # two where the answer to the first try was lost
    for other in doubled:
        _discard(client, other)
    lines = ["kind,name,student,seed,accuracy,macro_f1"]
    for record in records:
        test, spec = record.metrics["test"], record.spec
        name, student = spec.get("method") or f"{spec['modality']} {spec['net']}", "+".join(spec.get("student", ()))
        lines.append(f"{record.kind},{name},{student},{spec['seed']},{test['accuracy']:.6f},{test['macro_f1']:.6f}")
        for child in _existing(client, experiment, record.key):
            client.set_tag(child.info.run_id, "mlflow.parentRunId", run.info.run_id)
        client.got_on()
    client.log_text(run.info.run_id, "\n".join(lines) + "\n", "leaderboard.csv")
    client.set_terminated(run.info.run_id)


def _read(record: Record) -> tuple[str, list[tuple[str, float, int]], list[Path]]:
    """What is sent of a record: the hash of its `result.json`, metrics as (name, value, epoch), and whole files.

    Raises:
        MmkdError, OSError, ValueError, KeyError: it is damaged.
    """
    files = _files(record)
    mark = hashlib.sha256((record.folder / "result.json").read_bytes()).hexdigest()
    result = record.result
    kept = {"validation": "val_kept"}  # of the kept epoch; `val/` has every epoch
    metrics = [
        (f"{kept.get(split, split)}/{name}", float(value), 0)
        for split, each in result["metrics"].items()
        for name, value in each.items()
    ]
    metrics += [(name, float(result[name]), 0) for name in ("parameters", "seconds", "process_peak_memory_mib")]
    for row in _history(record):
        for name, value in row.items():
            if name.startswith(("loss", "val_")):
                shown = name.replace("val_", "val/", 1) if name.startswith("val_") else name
                metrics.append((re.sub(r"[^\w\-. :/]", "_", shown), value, int(row["epoch"])))
    return mark, metrics, files


def _files(record: Record) -> list[Path]:
    """Its files, compared with their checksums; a picture or log that is not whole is left out."""
    names = record.result.get("files") or [path.name for path in record.folder.iterdir() if path.is_file()]
    found = []
    for name in sorted(set(names) - {"result.json"}):
        try:
            found.append(record.file(name))
        except MmkdError:
            if not name.endswith(SPARE):
                raise
    return [*found, record.folder / "result.json"]


def _one(
    client: Any,
    experiment: str,
    record: Record,
    mark: str,
    metrics: Sequence[tuple[str, float, int]],
    files: Iterable[Path],
) -> None:
    """One record as one run, which stays if it is there; an older one of the key, or a half-sent one, is deleted."""
    there = _existing(client, experiment, record.key)
    whole = [r for r in there if r.info.status == "FINISHED" and r.data.tags.get("mmkd.record") == mark]
    kept = whole[0].info.run_id if whole else None
    for old in there:
        if old.info.run_id != kept:
            _discard(client, old)
    if kept is not None:
        return
    spec, result = record.spec, record.result
    tags = {
        "mmkd.key": record.key,
        "mmkd.kind": record.kind,
        "mmkd.record": mark,
        "mmkd.dataset": spec["data"]["name"],
        "mmkd.data_sha256": spec["data"]["sha256"],
        "mmkd.seed": str(spec["seed"]),
        "mmkd.method": str(spec.get("method", "teacher")),
    }
    where = result.get("environment", {})
    if where.get("git"):
        tags |= {"mlflow.source.git.commit": where["git"]["commit"], "mmkd.dirty": str(where["git"]["dirty"]).lower()}
    end = int((record.folder / "result.json").stat().st_mtime * 1000)
    start = end - int(1000 * result["seconds"])
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=run_name(spec))
    try:
        _fill(client, run.info.run_id, spec, [(*each, end) for each in metrics], files)
        for other in _existing(client, experiment, record.key):
            if other.info.run_id != run.info.run_id:  # made by a first try whose answer was lost
                _discard(client, other)
        client.set_terminated(run.info.run_id, end_time=end)
    except Exception as error:
        if _refused(error):
            _discard(client, run)
        raise


def _fill(
    client: Any,
    run: str,
    spec: Mapping[str, Any],
    metrics: Sequence[tuple[str, float, int, int]],
    files: Iterable[Path],
) -> None:
    """What a run holds: the data set's name, the spec, metrics as (name, value, epoch, milliseconds), files."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param

    data = Dataset(
        spec["data"]["name"], spec["data"]["sha256"][:16], "mmkd", json.dumps({"name": spec["data"]["name"]})
    )
    client.log_inputs(run, [DatasetInput(data)])
    params = [Param(name, str(value)[:500]) for name, value in flat(spec)]
    for start in range(0, len(params), 100):
        client.log_batch(run, params=params[start : start + 100])
    shown = [Metric(name, value, moment, epoch) for name, value, epoch, moment in metrics]
    for start in range(0, len(shown), 900):
        client.log_batch(run, metrics=shown[start : start + 900])
    for path in files:
        client.log_artifact(run, str(path))


def run_name(spec: Mapping[str, Any]) -> str:
    """`fam | sig+gaf+pi -> sig | seed 0`, or `teacher gaf WRN16-1 | seed 0`."""
    if "method" not in spec:
        return f"teacher {spec['modality']} {spec['net']} | seed {spec['seed']}"
    student = "+".join(spec["student"])
    taught = f"{'+'.join(spec['teachers'])} -> {student}" if spec["teachers"] else student
    return f"{spec['method']} | {taught} | seed {spec['seed']}"


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as dotted names."""
    found: list[tuple[str, Any]] = []
    for name, inner in value.items():
        found += flat(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else [(prefix + name, inner)]
    return found


def _history(record: Record) -> list[dict[str, float]]:
    with (record.folder / "history.csv").open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


def fetch(runs: Path, pattern: str, folder: Path) -> tuple[list[Record], list[str]]:
    """The records that the store holds, as they were sent: `result.json` and predictions, without weights.

    Args:
        runs: whose store it is, unless MLFLOW_TRACKING_URI names one.
        pattern: of the experiments' names, such as `mmkd/*/classification`.
        folder: where the files go; the records stand on them.

    Returns:
        The records, and a line for each run that holds none that is whole.

    Raises:
        MmkdError: no such store or experiment, or the store does not answer.
    """
    database = _database(default_uri(runs))
    if database is not None and not database.exists():
        raise MmkdError(f"--experiment {pattern}: there is no MLflow store {database}; name its folder with --runs")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _fetched(_Patient(_client(runs)), pattern, folder)
    except MmkdError:
        raise
    except Exception as error:  # an unreachable, locked or broken store of any kind
        raise MmkdError(f"--experiment {pattern}: {_no_password(default_uri(runs))}: {_line(error)}") from error


def _fetched(client: Any, pattern: str, folder: Path) -> tuple[list[Record], list[str]]:
    known = {each.name: each.experiment_id for each in _pages(client.search_experiments)}
    wanted = [name for name in sorted(known) if fnmatchcase(name, pattern)]
    if not wanted:
        hint = did_you_mean(pattern, known) or f"; there are {', '.join(sorted(known)[:5]) or 'none'}"
        raise MmkdError(f"--experiment {pattern}: no experiment of the store has such a name{hint}")
    found: dict[str, Record] = {}
    problems = []
    for run in (run for name in wanted for run in _pages(client.search_runs, experiment_ids=[known[name]])):
        mark = run.data.tags.get("mmkd.record")
        if not mark:  # the summary of a suite, or somebody else's
            continue
        try:
            record = _fetch_one(client, run, mark, folder / run.info.run_id)
            found.setdefault(record.key, record)
        except (MmkdError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"MLflow run {run.info.run_id} is left out: {_line(error)}")
        client.got_on()
    return list(found.values()), problems


def _fetch_one(client: Any, run: Any, mark: str, folder: Path) -> Record:
    """The record that a run holds, if it is what was sent."""
    if run.info.status != "FINISHED":
        raise MmkdError(f"it is {run.info.status}, and was not sent whole")
    folder.mkdir()
    client.download_artifacts(run.info.run_id, "result.json", str(folder))
    text = (folder / "result.json").read_bytes()
    if hashlib.sha256(text).hexdigest() != mark:
        raise MmkdError("its result.json is not what was sent")
    record = Record(folder, json.loads(text))
    if record.key != run.data.tags.get("mmkd.key"):
        raise MmkdError(f"it holds unit {record.key}")
    client.download_artifacts(run.info.run_id, "predictions.npz", str(folder))
    record.file("predictions.npz")
    return record


def _pages(search: Any, **what: Any) -> Iterator[Any]:
    """All that a search of the client finds, a page after the other."""
    token = None
    while True:
        page = search(**what, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def shown_uri(runs: Path) -> str:
    """The store as a user types it, but for a password: relative where the runs folder was given so."""
    return _no_password(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs / 'mlflow.db'}")
