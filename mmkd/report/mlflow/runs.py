"""One record as one run of the store.

What was measured of a unit after it was sent (tag `mmkd.measured`) is added to its run.
"""

import csv
import hashlib
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mmkd.comparison.units import NETWORKS
from mmkd.core.errors import MmkdError
from mmkd.metrics.registry import SELECTION, from_source
from mmkd.report.mlflow.described import dataset_of, run_name, tags_of
from mmkd.report.mlflow.store import refused_by_store
from mmkd.store.record import CHECKSUMS, MEASUREMENTS, Record
from mmkd.store.records import OPTIONAL_SUFFIXES
from mmkd.store.travelling import TravellingRecord, line_of

TRAVELLED = "mmkd.travelled"
"""The tag of the run of a record that travelled here, without its files."""
LINE = "record.jsonl"
"""Its one artifact."""


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
    costs = ["parameters"] * (record.kind in NETWORKS)
    costs += ["seconds", "process_peak_memory_mib"]  # a task of somebody else may lack some
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
    tags = tags_of(record, content.mark, measured)
    if content.line:
        tags[TRAVELLED] = "true"
    end = end_of(record)
    start = end - int(1000 * record.seconds)
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=run_name(record.result["spec"]))
    try:
        metrics = [(*metric, end) for metric in content.metrics]
        fill_run(client, run.info.run_id, record, metrics, content.files)
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
    record: Record,
    metrics: Sequence[tuple[str, float, int, int]],
    files: Iterable[Path],
) -> None:
    """Log what a run holds: the data set, the spec, metrics as (name, value, epoch, milliseconds), files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    data = Dataset(**dataset_of(record))
    client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    spec = record.result["spec"]
    params = [Param(re.sub(r"[^\w\-. :/]", "_", name), str(value)[:500]) for name, value in flat_params(spec)]
    for start in range(0, len(params), 100):
        client.log_batch(run, params=params[start : start + 100])
    entities = [Metric(name, value, moment, epoch) for name, value, epoch, moment in metrics]
    for start in range(0, len(entities), 900):
        client.log_batch(run, metrics=entities[start : start + 900])
    for path in files:
        client.log_artifact(run, str(path))


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
