"""MLflow is a view of the records: complete, sent once, and never in the way."""

import json
import shutil

import pytest

import mmkd
from mmkd import track
from mmkd.record import Record, Records

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    mmkd.run("kd", student="sig", **tiny, runs=folder)
    mmkd.run("student", student="sig", **tiny, runs=folder)
    return folder


@pytest.fixture
def fresh(runs, tmp_path):
    """The same records in a folder of their own, where there is no MLflow store yet."""
    return shutil.copytree(runs, tmp_path / "runs")


def logged(runs, experiment="mmkd/sines/classification"):
    client = track._client(runs)
    found = client.get_experiment_by_name(experiment)
    return client, {run.data.tags["mmkd.key"]: run for run in client.search_runs([found.experiment_id])}


def test_every_record_becomes_one_run(fresh):
    records = list(Records(fresh))
    assert track.publish(fresh, records) is None
    client, found = logged(fresh)
    assert set(found) == {r.key for r in records}
    for record in records:
        run = found[record.key]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mmkd.kind"] == record.kind
        assert run.data.metrics["test/macro_f1"] == pytest.approx(record.metrics["test"]["macro_f1"])
        epochs = client.get_metric_history(run.info.run_id, "loss")
        assert [m.step for m in epochs] == [1, 2, 3]
        artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
        assert {"result.json", "predictions.npz", "history.csv"} <= artifacts
    kd = next(r for r in records if r.spec.get("method") == "kd")
    assert found[kd.key].info.run_name == "kd | sig+gaf+pi -> sig | seed 0"
    assert found[kd.key].data.params["options.temperature"] == "4.0"


def test_sending_twice_changes_nothing(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records)
    ids = {k: r.info.run_id for k, r in logged(fresh)[1].items()}
    assert track.unsent(fresh, records) == []
    track.publish(fresh, records)
    (fresh / track.SENT).unlink()  # the note is lost: runs are found by their key and replaced, never doubled
    track.publish(fresh, records)
    assert logged(fresh)[1].keys() == ids.keys()


def test_a_suite_has_a_parent_run_with_the_leaderboard(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records, suite="mine")
    client, found = logged(fresh)
    parent = found.pop("suite/mine")
    assert parent.data.tags["mmkd.kind"] == "summary"
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} == {"leaderboard.csv"}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in found.values())


def test_records_that_were_sent_before_join_a_suite_later(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records)
    track.publish(fresh, records, suite="later")
    _, found = logged(fresh)
    parent = found.pop("suite/later")
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in found.values())


def test_odd_names_of_terms_are_sent(fresh):
    record = next(r for r in Records(fresh) if r.spec.get("method") == "kd")
    path = record.folder / "history.csv"
    path.write_text(path.read_text().replace("loss/kd", "loss/a$b|c"))
    unchecked = Record(record.folder, {name: said for name, said in record.result.items() if name != "files"})
    assert track.publish(fresh, [unchecked]) is None
    assert logged(fresh)[1][record.key].data.metrics["loss/a_b_c"] > 0


def test_one_record_that_cannot_be_sent_keeps_no_other(fresh):
    records = list(Records(fresh))
    (records[0].folder / "history.csv").unlink()
    problem = track.publish(fresh, records)
    assert "1 of" in problem
    assert len(logged(fresh)[1]) >= len(records) - 1
    assert [r.key for r in track.unsent(fresh, records)] == [records[0].key]


def test_a_store_out_of_reach_is_one_line_and_no_error(fresh, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    problem = track.publish(fresh, list(Records(fresh)))
    assert problem is not None
    assert "--publish" in problem
    assert "\n" not in problem
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert track.publish(fresh, list(Records(fresh))) is None
    assert len(logged(fresh)[1]) == len(list(Records(fresh)))


def test_the_store_is_found_by_its_uri(fresh, monkeypatch):
    assert track.shown_uri(fresh).startswith("sqlite:///")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert track.default_uri(fresh) == track.shown_uri(fresh) == "http://example.org"


def test_parameters_are_flat_and_complete(fresh):
    record = next(iter(Records(fresh)))
    names = dict(track.flat(record.spec))
    assert "data.sha256" in names
    assert json.dumps(names)
