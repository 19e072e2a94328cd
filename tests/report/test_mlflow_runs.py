"""One record as one run, against a store that is a list: what is there already decides what is sent."""

from types import SimpleNamespace

import pytest

from mmkd.report.mlflow import runs as store_runs
from mmkd.report.mlflow.runs import RunContent, send_record
from mmkd.store.records import Records

pytest.importorskip("mlflow")


class Store:
    """Keeps runs as the client of MLflow does."""

    def __init__(self, *runs):
        self.runs = {run.info.run_id: run for run in runs}

    def search_runs(self, experiments, filter_string=""):
        return list(self.runs.values())

    def create_run(self, experiment, start_time, tags, run_name):
        made = run(f"new{len(self.runs)}", "RUNNING", tags["mmkd.record"])
        self.runs[made.info.run_id] = made
        return made

    def delete_run(self, run_id):
        del self.runs[run_id]

    def set_terminated(self, run_id, end_time):
        self.runs[run_id].info.status = "FINISHED"


def run(run_id, status, mark):
    info = SimpleNamespace(run_id=run_id, status=status, artifact_uri="mlflow-artifacts:/x")
    return SimpleNamespace(info=info, data=SimpleNamespace(tags={"mmkd.record": mark, "mmkd.measured": "none"}))


@pytest.fixture
def record(tmp_path):
    def fill(folder):
        (folder / "history.csv").write_text("epoch,loss\n")
        spec = {
            "task": "classification",
            "data": {"name": "d", "sha256": "0"},
            "seed": 0,
            "modality": "sig",
            "net": "n",
        }
        return {"key": "k", "kind": "teacher", "spec": spec, "metrics": {"test": {}}, "seconds": 1.0}

    return Records(tmp_path / "runs").write("k", fill)


@pytest.mark.parametrize(
    ("there", "sent", "left"),
    [
        ([], True, ["new0"]),
        ([("a", "FINISHED", "mark")], False, ["a"]),
        ([("a", "RUNNING", "mark")], True, ["new0"]),  # half sent
        ([("a", "FINISHED", "older")], True, ["new0"]),
        ([("a", "FAILED", "mark"), ("b", "FINISHED", "mark")], False, ["b"]),
        ([("a", "FINISHED", "mark"), ("b", "FINISHED", "mark")], False, ["a"]),
    ],
)
def test_one_finished_run_of_this_record_is_left(record, monkeypatch, there, sent, left):
    monkeypatch.setattr(store_runs, "fill_run", lambda *_: None)
    store = Store(*(run(*each) for each in there))
    assert send_record(store, "0", record, RunContent("mark", [], [])) == sent
    assert list(store.runs) == left
    assert {each.info.status for each in store.runs.values()} == {"FINISHED"}
    assert not send_record(store, "0", record, RunContent("mark", [], [])), "sent once"
    assert list(store.runs) == left
