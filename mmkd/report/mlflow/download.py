"""Records read back from the store, as they were sent, without weights and pictures."""

import hashlib
import json
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.report.mlflow import store
from mmkd.report.mlflow.experiments import DeletedExperiment
from mmkd.report.mlflow.runs import LINE, TRAVELLED
from mmkd.report.mlflow.store import database_of, default_uri, one_line, pages, without_password
from mmkd.store.record import LAST_EPOCH, MEASUREMENTS, Record
from mmkd.store.travelling import read_lines

COMPARED = {"predictions.npz", LAST_EPOCH["predictions.npz"], "series.csv", "scores.npz", "history.csv"}
"""Files of a record that a comparison reads, where the record has them."""


def fetch(runs: Path, pattern: str, folder: Path) -> tuple[list[Record], list[str]]:
    """The records that the store holds, as they were sent, without weights and pictures.

    Args:
        runs: whose store it is, unless MLFLOW_TRACKING_URI names one.
        pattern: of the experiments' names, such as `mmkd/*/classification`.
        folder: where the files go; the records read them there.

    Returns:
        The records, and a line for each run that holds none that is whole.

    Raises:
        MmkdError: no such store or experiment, or the store does not answer.
    """
    database = database_of(default_uri(runs))
    if database is not None and not database.exists():
        raise MmkdError(f"--experiment {pattern}: there is no MLflow store {database}; name its folder with --runs")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _fetch_runs(store.PatientClient(store.connect(runs)), runs, pattern, folder)
    except MmkdError:
        raise
    except Exception as error:  # an unreachable, locked or broken store of any kind
        raise MmkdError(f"--experiment {pattern}: {without_password(default_uri(runs))}: {one_line(error)}") from error


def _fetch_runs(client: Any, runs: Path, pattern: str, folder: Path) -> tuple[list[Record], list[str]]:
    ids = {experiment.name: experiment.experiment_id for experiment in pages(client.search_experiments)}
    wanted = [name for name in sorted(ids) if fnmatchcase(name, pattern)]
    if not wanted:
        for experiment in pages(client.search_experiments, view_type=2):  # ViewType.DELETED_ONLY
            if fnmatchcase(experiment.name, pattern):
                why = DeletedExperiment(runs, experiment.name, experiment.experiment_id)
                raise MmkdError(f"--experiment {pattern}: {why}")
        hint = did_you_mean(pattern, ids) or f"; there are {', '.join(sorted(ids)[:5]) or 'none'}"
        raise MmkdError(f"--experiment {pattern}: no experiment of the store has such a name{hint}")
    records: dict[str, Record] = {}
    problems = []
    for run in (run for name in wanted for run in pages(client.search_runs, experiment_ids=[ids[name]])):
        mark = run.data.tags.get("mmkd.record")
        if not mark:  # the summary of a suite, or of another program
            continue
        try:
            record = _fetch_record(client, run, mark, folder / run.info.run_id)
            records.setdefault(record.key, record)
        except (MmkdError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"MLflow run {run.info.run_id} is left out: {one_line(error)}")
        client.add_time()
    return list(records.values()), problems


def _fetch_record(client: Any, run: Any, mark: str, folder: Path) -> Record:
    """The record that a run holds, if it is what was sent."""
    if run.info.status != "FINISHED":
        raise MmkdError(f"it is {run.info.status}, and was not sent whole")
    folder.mkdir()
    if TRAVELLED in run.data.tags:
        return _fetch_line(client, run, mark, folder)
    client.download_artifacts(run.info.run_id, "result.json", str(folder))
    text = (folder / "result.json").read_bytes()
    if hashlib.sha256(text).hexdigest() != mark:
        raise MmkdError("its result.json is not what was sent")
    record = Record(folder, json.loads(text))
    if record.key != run.data.tags.get("mmkd.key"):
        raise MmkdError(f"it holds unit {record.key}")
    for name in COMPARED & set(record.result.get("files") or ("predictions.npz", "history.csv")):
        client.download_artifacts(run.info.run_id, name, str(folder))
        record.file(name)
    hashes = dict(part.partition(":")[::2] for part in run.data.tags.get("mmkd.measured", "").split())
    for name in (name for name in MEASUREMENTS if name in hashes):
        client.download_artifacts(run.info.run_id, name, str(folder))
        if not hashlib.sha256((folder / name).read_bytes()).hexdigest().startswith(hashes[name]):
            raise MmkdError(f"its {name} is not what was sent")
    return record


def _fetch_line(client: Any, run: Any, mark: str, folder: Path) -> Record:
    """The record of a run that has the line of a record only."""
    client.download_artifacts(run.info.run_id, LINE, str(folder))
    line = read_lines(folder / LINE, "MLflow")[0]
    if hashlib.sha256(line.text.encode()).hexdigest() != mark or line.key != run.data.tags.get("mmkd.key"):
        raise MmkdError(f"its {LINE} is not what was sent")
    if line.record is None:
        raise MmkdError(f"its {LINE} does not count: {line.why}")
    return line.record
