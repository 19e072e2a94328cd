"""Students as models of MLflow: what `mlflow.pyfunc.load_model` gives is the student of the record."""

import shutil
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

import mmkd
from mmkd.bench import main
from mmkd.report.mlflow import store as mlflow_store
from mmkd.store.records import Records

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    mmkd.run("student", student="sig", **tiny, runs=folder)
    return folder


def test_a_student_is_a_model_of_its_run(runs, monkeypatch, capsys):
    for _ in range(2):
        assert main(["--publish", "--mlflow-models", "--runs", str(runs)]) == 0
    (runs / "mlflow-sent.json").unlink()
    assert main(["--publish", "--mlflow-models", "--runs", str(runs)]) == 0, "the note is lost, nothing is doubled"
    client = mlflow_store.connect(runs)
    experiment = client.get_experiment_by_name("mmkd/sines/classification").experiment_id
    (model,) = client.search_logged_models([experiment])
    (record,) = (record for record in Records(runs) if record.kind == "student")
    run = client.get_run(model.source_run_id)
    assert run.data.tags["mmkd.key"] == record.key
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store.default_uri(runs))
    shutil.move(record.folder, runs.parent / "away")  # the model needs no record
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = mlflow.pyfunc.load_model(f"{model.artifact_location}")
    finally:
        shutil.move(runs.parent / "away", record.folder)
    student = mmkd.load_student(record)
    shape = (student.channels, student.window)
    windows = np.random.default_rng(0).standard_normal((5, *shape)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(windows), student.predict_proba(windows))
    np.testing.assert_array_equal(loaded.predict(windows, params={"labels": True}), student.predict(windows))
    (inputs,), (outputs,) = loaded.metadata.signature.inputs.inputs, loaded.metadata.signature.outputs.inputs
    assert (inputs.shape, inputs.type) == ((-1, *shape), np.dtype("float32"))
    assert (outputs.shape, outputs.type) == ((-1, len(student.classes)), np.dtype("float64"))
    assert loaded.input_example.shape == (1, *shape)
    assert loaded.input_example.dtype == np.float32
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        loaded.predict(windows[:, :, 1:])
    files = [path.name for path in Path(unquote(urlsplit(model.artifact_location).path)).rglob("*")]
    assert {"result.json", "student.safetensors", "MLmodel", "requirements.txt"} <= set(files)
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pth", ".pt"))]
