"""The experiment of a data set and task: made, or refused where it was deleted; and what MLflow shows of its runs."""

import json
from pathlib import Path
from shlex import quote
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.metrics.registry import METRICS
from mmkd.report.mlflow.store import database_of, default_uri, shown_uri
from mmkd.store.record import Record
from mmkd.tasks import TASKS

SHARED_VIEW = "mlflow.sharedViewState."
VIEW = "mmkd"
"""Under which an experiment's page finds the columns that it shows, as its button "Share" would store them."""
KIND = "mlflow.experimentKind"
TRAINING, INFERRED, UNKNOWN = "custom_model_development", "_inferred", "no_inferred_type"
"""What MLflow calls experiments of trained models, those whose kind its page guesses, and those where it cannot.

It shows experiments of another kind by their traces, of which there are none here.
"""


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


def experiment_id(client: Any, runs: Path, name: str, task: str) -> str:
    """The id of an experiment, which is made where there is none, and opens with its runs and their scores.

    Raises:
        DeletedExperiment: it was deleted.
    """
    tags = {KIND: TRAINING, SHARED_VIEW + VIEW: json.dumps(runs_view(task))}
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None
        if database_of(default_uri(runs)) is not None:
            location = (runs / "mlartifacts" / name.replace("/", "-")).resolve().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=tags))
        except Exception:  # another process made it, or we did and the answer was lost
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise DeletedExperiment(runs, name, str(experiment.experiment_id))
    kind = experiment.tags.get(KIND, INFERRED)
    if not kind.endswith((INFERRED, UNKNOWN)):  # somebody chose it
        tags[KIND] = kind
    for tag, text in tags.items():
        if experiment.tags.get(tag) != text:
            client.set_experiment_tag(experiment.experiment_id, tag, text)
    return str(experiment.experiment_id)


def runs_view(task: str) -> dict[str, Any]:
    """What MLflow's page of an experiment shows of each run: its scores, seed and row, the best on top.

    By the time MLflow would fold the runs of a comparison below it.
    """
    first = TASKS.get(task).charts[0]
    return {
        "searchFilter": "tags.`mmkd.kind` != 'summary'",
        "orderByKey": f"metrics.`test/{first}`",
        "orderByAsc": METRICS.get(first).direction == "lower",
        "selectedColumns": columns(task),
        "columnOrder": columns(task),
        "runsHiddenMode": "SHOW_ALL",
    }


def columns(task: str) -> list[str]:
    """The columns of runs on MLflow's page: the scores that it charts, the seed, what was trained, source, data."""
    return [
        *(f"metrics.`test/{name}`" for name in TASKS.get(task).charts),
        *(f"tags.`mmkd.{name}`" for name in ("seed", "method", "student", "teachers")),
        *(f"metrics.`{name}`" for name in ("parameters", "seconds")),
        *(f"attributes.`{name}`" for name in ("Models", "Dataset", "Source")),
    ]


def page(experiment: str, view: str = VIEW) -> str:
    """The address of an experiment's runs on MLflow's page, with one of its stored views."""
    return f"/experiments/{experiment}/runs?viewStateShareKey={view}&workflowType=machine_learning"
