"""One record as one run of the store.

What was measured of a unit after it was sent (tag `mmkd.measured`) is added to its run.
"""

import csv
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import unquote, urlsplit

from mmkd.core.errors import MmkdError
from mmkd.core.text import shorten
from mmkd.metrics.registry import SELECTION, from_source
from mmkd.report.mlflow.store import database_of, default_uri, refused_by_store, shown_uri
from mmkd.store.record import CHECKSUMS, MEASUREMENTS, Record
from mmkd.store.records import OPTIONAL_SUFFIXES
from mmkd.store.travelling import TravellingRecord, line_of
from mmkd.units.methods import kind_of_row, status_of

TRAVELLED = "mmkd.travelled"
"""The tag of the run of a record that travelled here, without its files."""
LINE = "record.jsonl"
"""Its one artifact."""
LONGEST_TAG = 5000
"""Characters of the value of a tag that every version of MLflow takes."""


def experiment_name(record: Record) -> str:
    """The experiment that a record's run belongs to."""
    return f"mmkd/{record.spec.data.name}/{record.spec.task}"


class DeletedExperiment(MmkdError):
    """An experiment was deleted in MLflow, which keeps its name until it is restored or removed for good."""

    def __init__(self, runs: Path, name: str, number: str) -> None:
        uri = shown_uri(runs)
        store = "on its server" if uri.startswith("http") else "--backend-store-uri $MLFLOW_TRACKING_URI"
        super().__init__(
            f"the experiment {name} was deleted in MLflow: export MLFLOW_TRACKING_URI={quote(uri)}, then mlflow "
            f"experiments restore -x {number} (it comes back), or mlflow gc {store} --experiment-ids {number} (it is "
            "gone for good, and a new one is made)"
        )


def experiment_id(client: Any, runs: Path, name: str) -> str:
    """The id of an experiment, which is made where there is none.

    Raises:
        DeletedExperiment: it was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None
        if database_of(default_uri(runs)) is not None:
            location = (runs / "mlartifacts" / name.replace("/", "-")).resolve().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except Exception:  # another process made it, or we did and the answer was lost
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise DeletedExperiment(runs, name, str(experiment.experiment_id))
    return str(experiment.experiment_id)


def existing_runs(client: Any, experiment: str, key: str) -> list[Any]:
    """The runs of a key that are not deleted, in an order that is always the same."""
    matching = client.search_runs([experiment], filter_string=f"tags.`mmkd.key` = '{key}'")
    return sorted(matching, key=lambda run: str(run.info.run_id))


def delete_run(client: Any, run: Any) -> None:
    """Delete a run, and first its files where they lie in a folder here; on a server `mlflow gc` removes them."""
    address = urlsplit(run.info.artifact_uri)
    folder = Path(unquote(address.path)).parent
    if address.scheme == "file" and folder.name == run.info.run_id:
        shutil.rmtree(folder, ignore_errors=True)
    client.delete_run(run.info.run_id)


@dataclass(frozen=True)
class RunContent:
    """What is sent of a record.

    Attributes:
        mark: the hash of its `result.json`; of a record that travelled here that of its line.
        metrics: (name, value, epoch).
        line: of a record that travelled here, which has no files.
    """

    mark: str
    metrics: Sequence[tuple[str, float, int]]
    files: Sequence[Path]
    line: str = ""


def read_record(record: Record) -> RunContent:
    """What is sent of a record.

    Raises:
        MmkdError, OSError, ValueError, KeyError: it is damaged.
    """
    line = line_of(record) if isinstance(record, TravellingRecord) else ""
    files = [] if line else checked_files(record)
    mark = hashlib.sha256(line.encode() or (record.folder / "result.json").read_bytes()).hexdigest()
    result = record.result
    prefixes = {"validation": "val_kept"}  # of the kept epoch; `val/` has every epoch
    metrics = [
        (f"{prefixes.get(split, split)}/{name}", float(value), 0)
        for split, scores in result["metrics"].items()
        for name, value in scores.items()
    ]
    costs = ("parameters", "seconds", "process_peak_memory_mib")  # a task of somebody else may lack some
    metrics += [(name, float(result[name]), 0) for name in costs if name in result]
    metrics += [(f"train/{name}", float(value), 0) for name, value in record.training_fit.items()]
    for row in [] if line else history_rows(record):
        for name, value in row.items():
            if name.startswith(("loss", "val_")):
                shown = name.replace("val_", "val/", 1) if name.startswith("val_") else name
                metrics.append((re.sub(r"[^\w\-. :/]", "_", shown), value, int(row["epoch"])))
    return RunContent(mark, metrics + measured_metrics(record), files, line)


def measured_metrics(record: Record) -> list[tuple[str, float, int]]:
    """What was measured of a unit on record, as metrics `deploy/...` and `robust/<disturbance>/<level>/...`."""
    cost = record.measurement("deployment.json")
    names = (*(metric.name for metric in from_source("deployment")), "network_ms", "size_bytes")
    metrics = [(f"deploy/{name}", float(cost[name]), 0) for name in names if name in cost]
    for point in record.measurement("robustness.json").get("curves", ()):
        level = re.sub(r"[^\w\-. ]", "_", str(point["level"]))[:100].strip(". ") or "_"
        for name in ("accuracy", SELECTION):
            metrics.append((f"robust/{point['disturbance']}/{level}/{name}", float(point[name]), 0))
    return metrics


def measured_mark(record: Record) -> str:
    """Names and hashes of what was measured; of a record that travelled here nothing: its line has it."""
    if isinstance(record, TravellingRecord):
        return ""
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in record.measurements.items()}
    return " ".join(f"{name}:{sha[:16]}" for name, sha in hashes.items())


def measured_files(record: Record) -> list[Path]:
    """The files of what was measured, with their checksums."""
    files = list(record.measurements.values())
    return [*files, record.folder / CHECKSUMS] if (record.folder / CHECKSUMS).is_file() else files


def checked_files(record: Record) -> list[Path]:
    """Its files, compared with their checksums; a picture or log that is not whole is left out."""
    names = record.result.get("files") or [path.name for path in record.folder.iterdir() if path.is_file()]
    files = []
    for name in sorted(set(names) - {"result.json", CHECKSUMS, *MEASUREMENTS}):
        try:
            files.append(record.file(name))
        except MmkdError:
            if not name.endswith(OPTIONAL_SUFFIXES):
                raise
    return [*files, *measured_files(record), record.folder / "result.json"]


def send_record(client: Any, experiment: str, record: Record, content: RunContent) -> bool:
    """Send one record as one run, unless the store has it; an older run of the key, or a half-sent one, is deleted.

    A record that travelled here is not sent where the store has its unit with all files.

    Returns:
        Whether it was sent.
    """
    existing = existing_runs(client, experiment, record.key)
    finished = [run for run in existing if run.info.status == "FINISHED"]
    if content.line and any(TRAVELLED not in run.data.tags for run in finished):
        return False
    current = next((run for run in finished if run.data.tags.get("mmkd.record") == content.mark), None)
    for old in existing:
        if current is None or old.info.run_id != current.info.run_id:
            delete_run(client, old)
    measured = measured_mark(record)
    if current is not None:
        is_new = measured not in ("", current.data.tags.get("mmkd.measured"))
        if is_new:
            add_measurements(client, current.info.run_id, record, measured)
        return is_new
    spec = record.result["spec"]
    method = str(spec.get("method", ""))
    tags = {
        "mmkd.key": record.key,
        "mmkd.kind": "tried"
        if spec.get("tuning")
        else kind_of_row(record.kind, method, status_of(method, record.result)),
        "mmkd.record": content.mark,
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
    if content.line:
        tags[TRAVELLED] = "true"
    if record.data.get("understood"):
        tags["mmkd.understood"] = shorten(str(record.data["understood"]), LONGEST_TAG)
        tags["mmkd.warnings"] = shorten("; ".join(record.data.get("warnings") or ["none"]), LONGEST_TAG)
    git = record.environment.get("git")
    if git:
        tags |= {"mlflow.source.git.commit": git["commit"], "mmkd.dirty": str(git["dirty"]).lower()}
    end = end_of(record)
    start = end - int(1000 * record.seconds)
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=run_name(spec))
    try:
        metrics = [(*metric, end) for metric in content.metrics]
        fill_run(client, run.info.run_id, spec, metrics, content.files)
        if content.line:
            client.log_text(run.info.run_id, content.line + "\n", LINE)
        for other in existing_runs(client, experiment, record.key):
            if other.info.run_id != run.info.run_id:  # made by a first try whose answer was lost
                delete_run(client, other)
        client.set_terminated(run.info.run_id, end_time=end)
    except Exception as error:
        if refused_by_store(error):
            delete_run(client, run)
        raise
    return True


def end_of(record: Record) -> int:
    """When its training ended, in milliseconds since 1970; of a record that travelled here, as it says itself."""
    if not isinstance(record, TravellingRecord):
        return int((record.folder / "result.json").stat().st_mtime * 1000)
    try:
        created = datetime.strptime(str(record.environment.get("created")), "%Y-%m-%dT%H:%M:%SZ")
        return int(created.replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):  # older records do not say it
        return int(record.source.stat().st_mtime * 1000)


def add_measurements(client: Any, run: str, record: Record, mark: str) -> None:
    """Add what was measured of a unit to its run."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, epoch) for name, value, epoch in measured_metrics(record)]
    for start in range(0, len(metrics), 900):
        client.log_batch(run, metrics=metrics[start : start + 900])
    for path in measured_files(record):
        client.log_artifact(run, str(path))
    client.set_tag(run, "mmkd.measured", mark)


def fill_run(
    client: Any,
    run: str,
    spec: Mapping[str, Any],
    metrics: Sequence[tuple[str, float, int, int]],
    files: Iterable[Path],
) -> None:
    """Log what a run holds: the data set's name, the spec, metrics as (name, value, epoch, milliseconds), files."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param

    data = Dataset(
        spec["data"]["name"], spec["data"]["sha256"][:16], "mmkd", json.dumps({"name": spec["data"]["name"]})
    )
    client.log_inputs(run, [DatasetInput(data)])
    params = [Param(re.sub(r"[^\w\-. :/]", "_", name), str(value)[:500]) for name, value in flat_params(spec)]
    for start in range(0, len(params), 100):
        client.log_batch(run, params=params[start : start + 100])
    entities = [Metric(name, value, moment, epoch) for name, value, epoch, moment in metrics]
    for start in range(0, len(entities), 900):
        client.log_batch(run, metrics=entities[start : start + 900])
    for path in files:
        client.log_artifact(run, str(path))


def run_name(spec: Mapping[str, Any]) -> str:
    """`fam | sig+gaf+pi -> sig | seed 0`, or `teacher gaf WRN16-1 | seed 0`, or `peer minirocket | sig | seed 0`."""
    if "method" not in spec:
        return f"teacher {spec['modality']} {spec['net']} | seed {spec['seed']}"
    student = "+".join(spec["student"])
    taught = f"{'+'.join(spec['teachers'])} -> {student}" if spec["teachers"] else student
    peer = "peer " if "student_net" in spec and "views" not in spec and spec["student"] else ""
    tuned = " (tuned)" * bool(spec.get("tuned"))
    tried = f", configuration {spec['tuning']['number']}" if spec.get("tuning") else ""
    return f"{peer}{spec['method']}{tuned}{tried} | {taught} | seed {spec['seed']}"


def flat_params(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as dotted names."""
    params: list[tuple[str, Any]] = []
    for name, inner in value.items():
        params += flat_params(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else [(prefix + name, inner)]
    return params


def history_rows(record: Record) -> list[dict[str, float]]:
    """The epochs of a record."""
    with (record.folder / "history.csv").open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
