"""Students as logged models of their runs, with a signature, for `mlflow.pyfunc.load_model`.

A model holds the record's `result.json` and weights, which `served` reads; it needs mmkd where it is loaded.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmkd.report.mlflow.store import pages
from mmkd.store.record import Record
from mmkd.tasks import TASKS

WEIGHTS = "student.safetensors"
LOADER = "mmkd.report.mlflow.served"


def can_be_logged(record: Record) -> bool:
    """Whether a record has a student that predicts classes of windows or steps, and needs no code but that of mmkd."""
    spec = record.result["spec"]
    return (
        record.kind == "student"
        and WEIGHTS in record.result.get("files", {})
        and record.has_files
        and not spec.get("plugins")
        and not spec.get("sources")
        and TASKS.get(spec["task"]).form in ("window", "step")
        and bool(record.data.get("classes"))
    )


def log_model(client: Any, run: Any, record: Record) -> None:
    """Log the student of a record as a model of its run, unless the run has it; older ones of the unit are deleted.

    Raises:
        MmkdError: the record's files are damaged.
    """
    from mlflow.entities import LoggedModelOutput

    record.file(WEIGHTS)
    query = {"experiment_ids": [run.info.experiment_id], "filter_string": f"tags.`mmkd.key` = '{record.key}'"}
    has_it = False
    for model in list(pages(client.search_logged_models, **query)):
        if not has_it and model.source_run_id == run.info.run_id and str(model.status) == "READY":
            has_it = True
        else:
            client.delete_logged_model(model.model_id)
    if has_it:
        return
    name = f"{record.unit.method}-{record.key[:8]}"
    model = client.create_logged_model(
        run.info.experiment_id,
        name,
        source_run_id=run.info.run_id,
        tags={"mmkd.key": record.key},
        model_type="mmkd student",
    )
    with TemporaryDirectory() as folder:
        save_model(Path(folder), record, run.info.run_id, model)
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    client.finalize_logged_model(model.model_id, "READY")


def save_model(folder: Path, record: Record, run: str, model: Any) -> None:
    """Write the model as MLflow keeps it, into `folder / "model"`."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    import mmkd

    data = record.data
    positions = tuple(data["grid"]) if "grid" in data else (data["window"],)
    shape = (len(data["channels"]), *positions)
    dense = positions if TASKS.get(record.spec.task).per_step else ()
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("float32"), (-1, *shape))]),
        Schema([TensorSpec(np.dtype("float64"), (-1, len(data["classes"]), *dense))]),
        ParamSchema([ParamSpec("labels", DataType.boolean, False)]),
    )
    parts = folder / record.key
    parts.mkdir()
    for name in ("result.json", WEIGHTS):
        shutil.copy(record.folder / name, parts / name)
    written = {"artifact_path": model.artifact_location, "run_id": run, "model_id": model.model_id}
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        loader_module=LOADER,
        data_path=str(parts),
        signature=signature,
        input_example=np.zeros((1, *shape), np.float32),
        pip_requirements=[f"mmkd=={mmkd.__version__}"],
        mlflow_model=Model(**written, model_uuid=model.model_id),
    )
