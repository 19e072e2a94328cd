"""MLflow as a view of the records: the only module that imports mlflow.

Records come first: whatever happens to the store, units end and their records stay; what is missing is sent later by
`--publish`. A record that was sent leaves a line in `mlflow-sent.json` in the runs folder, so that a command with
nothing to send does not import mlflow at all. The file may be lost: the store is asked for `mmkd.key` before anything
is sent, and a run counts as sent once it is FINISHED and of the same `result.json` (tag `mmkd.record`). What was
measured of a unit later (tag `mmkd.measured`) is added to its run.

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

from mmkd.comparison.groups import Comparison, Group, Row, compare
from mmkd.comparison.ranking import rankings
from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.text import shorten
from mmkd.report.files import failures, reproducibility
from mmkd.report.text import document, leaderboard_csv, markdown_tables
from mmkd.store.record import CHECKSUMS, MEASUREMENTS, SPARE, Record

SENT = "mlflow-sent.json"
FOLDER = ".mlflow-folder"  # tells this folder's suites from those of the same name that others send to one store
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
BOARD = "leaderboard.json"
SCORES = ("macro_f1", "accuracy", "miou", "vus_pr")  # of the leaderboard, as metrics of the suite's run
SHARED = ("report.html", "/change.svg", "/robustness.svg")  # of the page's files
COLUMNS = (
    *("group", "kind", "row", "n", "accuracy_mean", "accuracy_sd", "macro_f1_mean", "macro_f1_sd", "change_mean"),
    *("change_low", "change_high", "gap_closed", "nll_mean", "ece_mean", "agreement_mean", "time_ratio", "parameters"),
    *("macs", "latency_ms", "bytes", "vus_pr_mean", "vus_pr_sd"),
)
MAX_TAG = 5000  # characters; a SQL store takes 8000, others 5000
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def default_uri(runs: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite store in the runs folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def unsent(runs: Path, records: Iterable[Record]) -> list[Record]:
    """Those that the present store has not had yet. Does not import mlflow."""
    sent = _sent(runs)
    return [record for record in records if sent.get(record.key) != _stamp(record, default_uri(runs))]


def publish(
    runs: Path, records: Sequence[Record], suite: str | None = None, new: list[str] | None = None
) -> str | None:
    """Send records to the store; those of a suite under a parent run with its leaderboard.

    Suites that could not be sent before are sent along, once all their records are among these.

    Args:
        new: gets the keys of the records that the store did not have.

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
            _send(runs, records, suite, problems, [] if new is None else new)
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
        made = f"{_no_password(uri)} {(record.folder / 'result.json').stat().st_mtime_ns}"
    except OSError:  # it was removed meanwhile
        return ""
    times = [path.stat().st_mtime_ns for name in MEASUREMENTS if (path := record.folder / name).is_file()]
    return " measured ".join([made, *map(str, sorted(times)[-1:])])


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

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Our own work, which costs the store none of its time."""
        started = time.monotonic()
        yield
        self._end += time.monotonic() - started

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


def _send(runs: Path, records: Sequence[Record], suite: str | None, problems: list[str], new: list[str]) -> None:
    """Send what is missing, and list suites under their parent runs.

    What is wrong with single records is added to `problems`, the keys of those that the store did not have to `new`.
    """
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
            if _one(client, where, record, mark, metrics, files):
                new.append(record.key)
        except Exception as error:
            if not _refused(error):
                raise
            problems.append(f"{record.key}: {_line(error)}")
            continue
        sent[record.key] = stamp
        _write_sent(runs, sent)
        client.got_on()
    for name, found in _unlisted(runs, records, suite).items():
        with client.waiting():
            compared = _compared(runs, found)
        for each in dict.fromkeys(map(_name, found)):
            members = [record for record in found if _name(record) == each]
            _parent(client, experiment(members[0]), name, _folder(runs), members, compared)
        if not problems:
            sent[SUITE + name] = _digest(runs, found)
            _write_sent(runs, sent)


def _refused(error: Exception) -> bool:
    """Whether the store works, and only does not want this record."""
    status = getattr(error, "get_http_status_code", None)
    return status is not None and status() in (400, 404, 409)


def _name(record: Record) -> str:
    return f"mmkd/{record.spec.data.name}/{record.spec.task}"


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


def _folder(runs: Path) -> str:
    """Eight letters that stay with this folder."""
    path = runs / FOLDER
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not re.fullmatch("[0-9a-f]{8}", text):
        text = uuid4().hex[:8]
        temporary = runs / f"{FOLDER}-{text}"
        temporary.write_text(text + "\n", encoding="ascii")
        os.replace(temporary, path)
    return text


def _parent(
    client: Any,
    experiment: str,
    suite: str,
    folder: str,
    records: Sequence[Record],
    compared: tuple[Comparison, Mapping[str, str]] | MmkdError,
) -> None:
    """The suite's run, found again on a second call, with the comparison; its records become its children.

    Args:
        records: of the suite, those of this experiment.
        compared: all of the suite, as files, or why its records cannot be compared.
    """
    key, data, task = SUITE + suite.replace("'", "_"), records[0].spec.data.name, records[0].spec.task
    if isinstance(compared, MmkdError):
        groups, files, note = list[Group](), dict[str, str](), f"No comparison: {compared}"
    else:
        groups = [group for group in compared[0].groups if (group.dataset, group.task) == (shorten(data), task)]
        files = {**compared[1], BOARD: _table(compared[0], groups)}
        note = files["tables.md"]
    metrics = _leaderboard(groups)
    for other in _suites(client, experiment, key, folder):
        if not other.data.metrics.keys() <= metrics.keys():  # rows that are no more; metrics cannot be taken back
            _discard(client, other)
    if not _suites(client, experiment, key, folder):
        tags = {"mmkd.key": key, "mmkd.kind": "summary", "mmkd.suite": suite[:MAX_TAG], "mmkd.folder": folder}
        client.create_run(experiment, tags={**tags, "mmkd.dataset": data, "mmkd.task": task}, run_name=f"suite {suite}")
    run, *doubled = _suites(client, experiment, key, folder)  # two where the answer to the first try was lost
    for other in doubled:
        _discard(client, other)
    parent, rows = run.info.run_id, _rows(groups)
    for record in records:
        for child in _existing(client, experiment, record.key):
            row = {"mmkd.row": rows[record.key][:MAX_TAG]} if record.key in rows else {}
            _log(client, child.info.run_id, {"mlflow.parentRunId": parent, **row}, {})
        client.got_on()
    for name, text in files.items():
        client.log_text(parent, text, name)
        client.got_on()
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{parent}", json.dumps(_view(parent, task)))
    where = f"viewStateShareKey={parent}&compareRunsMode=CHART&workflowType=machine_learning"
    note = f"[Charts of these runs, by row](#/experiments/{experiment}/runs?{where})\n\n{note}"
    cut = "\n\n... (tables.md has all)"
    tags = {"mlflow.note.content": note if len(note) <= MAX_TAG else note[: MAX_TAG - len(cut)] + cut}
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": BOARD, "type": "table"}] if files else [])
    _log(client, parent, tags, metrics)
    client.set_terminated(parent)


def _suites(client: Any, experiment: str, key: str, folder: str) -> list[Any]:
    """The parent runs of a suite that this folder sent."""
    return [run for run in _existing(client, experiment, key) if run.data.tags.get("mmkd.folder") == folder]


def _log(client: Any, run: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    shown = [Metric(name, value, now, 0) for name, value in metrics.items()]
    client.log_batch(run, tags=[RunTag(name, text) for name, text in tags.items()])
    for start in range(0, len(shown), 900):
        client.log_batch(run, metrics=shown[start : start + 900])


def _compared(runs: Path, records: Sequence[Record]) -> tuple[Comparison, Mapping[str, str]] | MmkdError:
    """The comparison of a suite's records and its files, as name -> content; or why there is none.

    Of the page's figures only those of several rows are files of their own; the page has all.
    """
    from mmkd.report.page import page_files

    try:
        comparison = compare(records)
    except MmkdError as error:
        return error
    found = rankings(comparison)
    page = page_files(comparison, found, reproducibility(comparison, failures(runs)), [])
    shown = {path: text for path, text in page.items() if path.endswith(SHARED) or path.startswith("figures/cost")}
    tables = {"leaderboard.csv": leaderboard_csv(comparison), "tables.md": markdown_tables(comparison, found)}
    return comparison, {**tables, **shown}


def _label(row: Row, group: Group) -> str:
    """A row's name among all rows of an experiment."""
    if row.kind == "teacher":
        return f"teacher {row.name}"
    return f"{row.name} | {group.title.removeprefix(f'{group.dataset}, student ')}"


def _rows(groups: Sequence[Group]) -> dict[str, str]:
    """Key of a record -> the row that it is part of."""
    return {unit.key: _label(row, group) for group in groups for row in group.rows for unit in row.members}


def _leaderboard(groups: Sequence[Group]) -> dict[str, float]:
    """The leaderboard as metrics, `leaderboard/macro_f1 <row>`: means over the seeds."""
    found: dict[str, float] = {}
    for score in SCORES:
        for label, row in {_label(row, group): row for group in groups for row in group.rows}.items():
            values = row.values(score)
            if values:
                name = " ".join(re.sub(r"[^\w\-.:]+", " ", label).split())
                found[_free(f"leaderboard/{score} {name[:200]}", found)] = sum(values) / len(values)
    return found


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number where it is taken."""
    return next(each for each in (name, *(f"{name} {n}" for n in range(2, len(taken) + 3))) if each not in taken)


def _view(parent: str, task: str) -> dict[str, Any]:
    """What MLflow's page of runs shows of a suite, as its button "Share" stores it: rows, their scores, four charts.

    It is no documented format; a page that does not know it says so and shows all runs.
    """
    scores = ("vus_pr", "vus_roc", "event_f1") if task == "anomaly" else ("macro_f1", "accuracy", "ece")
    names = [f"test/{score}" for score in scores]
    charts: list[dict[str, Any]] = [{"type": "BAR", "metricKey": name} for name in names]
    axes = {"xaxis": {"key": "parameters", "type": "METRIC"}, "yaxis": {"key": names[0], "type": "METRIC"}}
    each = {"metricSectionId": "mmkd", "deleted": False, "isGenerated": False}
    return {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent}'",
        "orderByKey": f"metrics.`{names[0]}`",
        "orderByAsc": False,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "mmkd.row"}]},
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in (*names, "parameters", "seconds")),
            *(f"tags.`mmkd.{name}`" for name in ("method", "student", "teachers", "seed")),
        ],
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunSections": [{"uuid": "mmkd", "name": "Comparison", "display": True, "isReordered": True}],
        "compareRunCharts": [
            {**each, **chart, "uuid": f"mmkd-{number}"}
            for number, chart in enumerate([*charts, {"type": "SCATTER", **axes}])
        ],
    }


def _table(comparison: Comparison, groups: Sequence[Group]) -> str:
    """The leaderboard as MLflow shows a table: JSON with `columns` and `data`, best row first."""
    wanted = {group.title for group in groups}
    rows = [
        [row.get(name) if name != "group" else group["title"] for name in COLUMNS]
        for group in document(comparison, [])["groups"]
        if group["title"] in wanted
        for row in group["rows"]
    ]
    return json.dumps({"columns": list(COLUMNS), "data": rows}, indent=1)


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
    return mark, metrics + _measurements(record), files


def _measurements(record: Record) -> list[tuple[str, float, int]]:
    """What was measured of a unit on record, as metrics `deploy/...` and `robust/<disturbance>/<level>/...`."""
    cost, found = record.measurement("deployment.json"), []
    for name in ("macs", "latency_ms", "latency_p95_ms", "network_ms", "size_bytes"):
        if name in cost:
            found.append((f"deploy/{name}", float(cost[name]), 0))
    for each in record.measurement("robustness.json").get("curves", ()):
        level = re.sub(r"[^\w\-. ]", "_", str(each["level"]))[:100].strip(". ") or "_"
        for score in ("accuracy", "macro_f1"):
            found.append((f"robust/{each['disturbance']}/{level}/{score}", float(each[score]), 0))
    return found


def _measured_mark(record: Record) -> str:
    """Names and hashes of what was measured."""
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in record.measured.items()}
    return " ".join(f"{name}:{found[:16]}" for name, found in hashes.items())


def _measured_files(record: Record) -> list[Path]:
    found = list(record.measured.values())
    return [*found, record.folder / CHECKSUMS] if (record.folder / CHECKSUMS).is_file() else found


def _files(record: Record) -> list[Path]:
    """Its files, compared with their checksums; a picture or log that is not whole is left out."""
    names = record.result.get("files") or [path.name for path in record.folder.iterdir() if path.is_file()]
    found = []
    for name in sorted(set(names) - {"result.json", CHECKSUMS, *MEASUREMENTS}):
        try:
            found.append(record.file(name))
        except MmkdError:
            if not name.endswith(SPARE):
                raise
    return [*found, *_measured_files(record), record.folder / "result.json"]


def _one(
    client: Any,
    experiment: str,
    record: Record,
    mark: str,
    metrics: Sequence[tuple[str, float, int]],
    files: Iterable[Path],
) -> bool:
    """One record as one run, which stays if it is there; an older one of the key, or a half-sent one, is deleted.

    Returns:
        Whether it was sent.
    """
    there = _existing(client, experiment, record.key)
    whole = [r for r in there if r.info.status == "FINISHED" and r.data.tags.get("mmkd.record") == mark]
    kept = whole[0].info.run_id if whole else None
    for old in there:
        if old.info.run_id != kept:
            _discard(client, old)
    measured = _measured_mark(record)
    if kept is not None:
        lacks = measured not in ("", whole[0].data.tags.get("mmkd.measured"))
        if lacks:
            _add(client, kept, record, measured)
        return lacks
    spec, result = record.result["spec"], record.result
    tags = {
        "mmkd.key": record.key,
        "mmkd.kind": record.kind,
        "mmkd.record": mark,
        "mmkd.task": spec["task"],
        "mmkd.dataset": spec["data"]["name"],
        "mmkd.data_sha256": spec["data"]["sha256"],
        "mmkd.seed": str(spec["seed"]),
        "mmkd.method": str(spec.get("method", "teacher")),
        "mmkd.student": "+".join(spec.get("student", ())) or "none",
        "mmkd.net": str(spec.get("student_net") or spec.get("net")),
        "mmkd.teachers": "+".join(spec.get("teachers", ())) or spec.get("modality") or "none",
        "mmkd.measured": measured or "none",
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
    return True


def _add(client: Any, run: str, record: Record, mark: str) -> None:
    """Add what was measured of a unit to its run."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, epoch) for name, value, epoch in _measurements(record)]
    for start in range(0, len(metrics), 900):
        client.log_batch(run, metrics=metrics[start : start + 900])
    for path in _measured_files(record):
        client.log_artifact(run, str(path))
    client.set_tag(run, "mmkd.measured", mark)


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
    params = [Param(re.sub(r"[^\w\-. :/]", "_", name), str(value)[:500]) for name, value in flat(spec)]
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
    """The records that the store holds, as they were sent, without weights and pictures.

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
    for name in ("predictions.npz", "history.csv"):
        client.download_artifacts(run.info.run_id, name, str(folder))
        record.file(name)
    said = dict(each.partition(":")[::2] for each in run.data.tags.get("mmkd.measured", "").split())
    for name in (name for name in MEASUREMENTS if name in said):
        client.download_artifacts(run.info.run_id, name, str(folder))
        if not hashlib.sha256((folder / name).read_bytes()).hexdigest().startswith(said[name]):
            raise MmkdError(f"its {name} is not what was sent")
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
