"""MLflow as a view of the records: the only module that imports mlflow.

Records come first: whatever happens to the store, units end and their records stay; what is missing is sent later by
`--publish`. A record that was sent leaves a line in `mlflow-sent.json` in the runs folder, so that a command with
nothing to send does not import mlflow at all.
"""

import csv
import json
import logging
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from .record import Record

SENT = "mlflow-sent.json"


def default_uri(runs: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite store in the runs folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def unsent(runs: Path, records: Iterable[Record]) -> list[Record]:
    """Those that the present store has not had yet. Does not import mlflow."""
    sent = _sent(runs)
    if default_uri(runs).startswith("sqlite:///") and not Path(default_uri(runs).removeprefix("sqlite:///")).exists():
        sent = {}
    return [record for record in records if sent.get(record.key) != _stamp(record, default_uri(runs))]


def publish(runs: Path, records: Sequence[Record], suite: str | None = None) -> str | None:
    """Send records to the store; those of a suite under a parent run with its leaderboard.

    Returns:
        None, or one line that says why something could not be sent. It never raises for the store's sake.
    """
    missing = unsent(runs, records)
    if not missing and not (suite and _unlisted(runs, records, suite)):
        return None
    try:
        with filelock.FileLock(runs / ".mlflow.lock", timeout=600), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mlflow and what it stands on; not our user's business
            missing = unsent(runs, missing)  # another process may have sent them while we waited
            if not missing and not (suite and _unlisted(runs, records, suite)):
                return None
            problems = _send(runs, missing, records, suite)
    except filelock.Timeout:
        return f"MLflow: {runs} is being published by another process; send the rest later with --publish"
    except Exception as error:  # an unreachable, locked or broken store of any kind
        return f"MLflow: not published ({_line(error)}); send it later with --publish"
    if problems:
        return f"MLflow: {len(problems)} of {len(missing)} records not sent, the first: {problems[0]}"
    return None


def _line(error: Exception) -> str:
    """One line for an exception of the store, without its SQL."""
    text = " ".join(str(error).split("[SQL:")[0].split())
    return f"{type(error).__name__}: {text[:200]}"


def _sent(runs: Path) -> dict[str, str]:
    try:
        found = json.loads((runs / SENT).read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _stamp(record: Record, uri: str) -> str:
    return f"{uri} {(record.folder / 'result.json').stat().st_mtime_ns}"


def _client(runs: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):  # after the import, which sets levels of its own
        logging.getLogger(name).setLevel(logging.ERROR)

    return MlflowClient(tracking_uri=default_uri(runs))


def _send(runs: Path, missing: Sequence[Record], everything: Sequence[Record], suite: str | None) -> list[str]:
    """Send what is missing, and list a suite's records under its parent run; returns what went wrong."""
    client = _client(runs)
    sent, problems = _sent(runs), []
    for record in missing:
        experiment = _experiment(client, runs, _name(record))
        try:
            _one(client, experiment, record)
        except Exception as error:  # one odd record keeps no other from being sent
            problems.append(f"{record.key}: {_line(error)}")
            continue
        sent[record.key] = _stamp(record, default_uri(runs))
        _write_sent(runs, sent)
    if suite is not None:
        for name in dict.fromkeys(map(_name, everything)):
            members = [record for record in everything if _name(record) == name]
            _parent(client, _experiment(client, runs, name), suite, members)
        sent[f"suite/{suite}"] = _members(everything)
        _write_sent(runs, sent)
    return problems


def _write_sent(runs: Path, sent: dict[str, str]) -> None:
    temporary = runs / f".{SENT}"
    temporary.write_text(json.dumps(sent, indent=0, sort_keys=True))
    os.replace(temporary, runs / SENT)


def _members(records: Iterable[Record]) -> str:
    return ",".join(sorted(record.key for record in records))


def _unlisted(runs: Path, records: Sequence[Record], suite: str) -> bool:
    """Whether the suite's parent run does not list these records yet."""
    return _sent(runs).get(f"suite/{suite}") != _members(records)


def _name(record: Record) -> str:
    return f"mmkd/{record.spec['data']['name']}/{record.spec['task']}"


def _experiment(client: Any, runs: Path, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    where = None
    if default_uri(runs).startswith("sqlite:///"):
        where = (runs / "mlartifacts" / name.replace("/", "-")).resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=where))


def _existing(client: Any, experiment: str, key: str) -> list[Any]:
    return list(client.search_runs([experiment], filter_string=f"tags.`mmkd.key` = '{key}'"))


def _parent(client: Any, experiment: str, suite: str, records: Sequence[Record]) -> None:
    """The suite's run, found again on a second call, with the leaderboard of its records, which become its children."""
    key = f"suite/{suite}"
    found = _existing(client, experiment, key)
    tags = {"mmkd.key": key, "mmkd.kind": "summary"}
    run = found[0] if found else client.create_run(experiment, tags=tags, run_name=f"suite {suite}")
    lines = ["kind,name,student,seed,accuracy,macro_f1"]
    for record in records:
        test, spec = record.metrics["test"], record.spec
        name, student = spec.get("method") or f"{spec['modality']} {spec['net']}", "+".join(spec.get("student", ()))
        lines.append(f"{record.kind},{name},{student},{spec['seed']},{test['accuracy']:.6f},{test['macro_f1']:.6f}")
        for child in _existing(client, experiment, record.key):
            client.set_tag(child.info.run_id, "mlflow.parentRunId", run.info.run_id)
    client.log_text(run.info.run_id, "\n".join(lines) + "\n", "leaderboard.csv")
    client.set_terminated(run.info.run_id)


def _one(client: Any, experiment: str, record: Record) -> None:
    """One record as one run; an older run of the same key is deleted first, a half-sent one too."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param

    for old in _existing(client, experiment, record.key):
        client.delete_run(old.info.run_id)
    spec, result = record.spec, record.result
    tags = {
        "mmkd.key": record.key,
        "mmkd.kind": record.kind,
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
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=run_name(spec)).info.run_id
    data = Dataset(
        spec["data"]["name"], spec["data"]["sha256"][:16], "mmkd", json.dumps({"name": spec["data"]["name"]})
    )
    client.log_inputs(run, [DatasetInput(data)])
    kept = {"validation": "val_kept"}  # of the kept epoch; `val/` has every epoch
    metrics = [
        Metric(f"{kept.get(split, split)}/{name}", value, end, 0)
        for split, each in result["metrics"].items()
        for name, value in each.items()
    ]
    metrics += [
        Metric(name, float(result[name]), end, 0) for name in ("parameters", "seconds", "process_peak_memory_mib")
    ]
    for row in _history(record):
        for name, value in row.items():
            if name.startswith(("loss", "val_")):
                shown = re.sub(
                    r"[^\w\-. :/]", "_", name.replace("val_", "val/", 1) if name.startswith("val_") else name
                )
                metrics.append(Metric(shown, value, end, int(row["epoch"])))
    params = [Param(name, str(value)[:500]) for name, value in flat(spec)]
    for start in range(0, len(params), 100):
        client.log_batch(run, params=params[start : start + 100])
    for start in range(0, len(metrics), 900):
        client.log_batch(run, metrics=metrics[start : start + 900])
    client.log_artifacts(run, str(record.folder))
    client.set_terminated(run, end_time=end)


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


def shown_uri(runs: Path) -> str:
    """The store as a user types it: relative where the runs folder was given so."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs / 'mlflow.db'}"
