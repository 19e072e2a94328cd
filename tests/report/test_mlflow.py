"""MLflow is a view of the records: complete, sent once, and never in the way."""

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import mmkd
from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.comparison.units import Unit
from mmkd.report import mlflow as track
from mmkd.report.mlflow import leaderboard, suites
from mmkd.report.mlflow import runs as store_runs
from mmkd.report.mlflow import sent as mlflow_sent
from mmkd.report.mlflow import store as mlflow_store
from mmkd.report.spreadsheet import leaderboard_csv
from mmkd.store.record import Record
from mmkd.store.records import Records

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    mmkd.run("kd", student="sig", **tiny, runs=folder)
    mmkd.run("student", student="sig", **tiny, runs=folder)
    with warnings.catch_warnings(action="ignore"):  # of what mlflow imports
        mlflow_store.connect(folder)  # makes the store, which takes longer than most of what is tested
    return folder


@pytest.fixture
def fresh(runs, tmp_path):
    """The same records in a folder of their own, with a store in which nothing is yet."""
    return shutil.copytree(runs, tmp_path / "runs")


def logged(runs, experiment="mmkd/sines/classification"):
    client = mlflow_store.connect(runs)
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
        assert run.data.tags["mmkd.understood"] == record.data["understood"]
        assert run.data.tags["mmkd.warnings"] == ("; ".join(record.data["warnings"]) or "none")
        assert run.data.metrics["test/macro_f1"] == pytest.approx(record.metrics["test"]["macro_f1"])
        epochs = client.get_metric_history(run.info.run_id, "loss")
        assert [m.step for m in epochs] == [1, 2, 3]
        artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
        assert {"result.json", "predictions.npz", "history.csv"} <= artifacts
    kd = next(r for r in records if r.result["spec"].get("method") == "kd")
    assert found[kd.key].info.run_name == "kd | sig+gaf+pi -> sig | seed 0"
    assert found[kd.key].data.params["options.temperature"] == "4.0"


def test_sending_twice_changes_nothing(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records)
    ids = {k: r.info.run_id for k, r in logged(fresh)[1].items()}
    assert track.unsent(fresh, records) == []
    track.publish(fresh, records)
    (fresh / mlflow_sent.SENT).unlink()  # the note is lost: runs are found by their key and replaced, never doubled
    track.publish(fresh, records)
    assert logged(fresh)[1].keys() == ids.keys()


def suite_of(runs, name="mine"):
    client, found = logged(runs)
    return client, found, found.pop(f"suite/{name}")


def artifact(client, run, name, folder):
    return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_text(encoding="utf-8")


def test_a_suite_has_a_parent_run_with_the_comparison(fresh, tmp_path):
    records = list(Records(fresh))
    assert track.publish(fresh, records, suite="mine") is None
    client, found, parent = suite_of(fresh)
    tags = parent.data.tags
    assert (tags["mmkd.kind"], tags["mmkd.suite"], tags["mmkd.dataset"]) == ("summary", "mine", "sines")
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in found.values())
    sent = {each.path for each in client.list_artifacts(parent.info.run_id)}
    assert sent == {"leaderboard.csv", "leaderboard.json", "tables.md", "report.html", "figures"}
    assert "</html>" in artifact(client, parent, "report.html", tmp_path)
    (group,) = compare(records).groups
    assert artifact(client, parent, "leaderboard.csv", tmp_path) == leaderboard_csv(compare(records))
    table = json.loads(artifact(client, parent, "leaderboard.json", tmp_path))
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert [line["row"] for line in lines] == [row.name for row in group.rows]
    assert [line["macro_f1_mean"] for line in lines] == [row.values("macro_f1")[0] for row in group.rows]
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "leaderboard.json", "type": "table"}]
    kd = next(row for row in group.rows if row.name == "kd").values("macro_f1")[0]
    assert parent.data.metrics["leaderboard/macro_f1 kd sig small"] == pytest.approx(kd)
    assert len(parent.data.metrics) == 3 * len(group.rows) + len(group.gaps)


def test_the_parent_run_leads_to_charts_of_its_rows(fresh):
    """By the tag that MLflow's own button "Share" writes; tests marked `browser` open it."""
    records = list(Records(fresh))
    track.publish(fresh, records, suite="mine")
    client, found, parent = suite_of(fresh)
    experiment = client.get_experiment(parent.info.experiment_id)
    id = suites.comparison_id("mine", suites.folder_id(fresh))
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{id}"])
    shown = client.search_runs([parent.info.experiment_id], view["searchFilter"], order_by=[view["orderByKey"]])
    assert {run.data.tags["mmkd.key"] for run in shown} == set(found)
    named = {run.data.tags[key["groupByData"]] for run in shown for key in view["groupBy"]["groupByKeys"]}
    teachers = {f"teacher {m} {n}" for m, n in (("sig", "WRN16-1"), ("gaf", "WRN16-1"), ("pi", "WRN16-1"))}
    assert named == teachers | {"kd | sig (small)", "student | sig (small)"}
    charts = view["compareRunCharts"]
    keys = {chart["metricKey"] for chart in charts if "metricKey" in chart}
    keys |= {chart[axis]["key"] for chart in charts if "xaxis" in chart for axis in ("xaxis", "yaxis")}
    assert all(keys <= run.data.metrics.keys() for run in shown), "teachers too"
    assert f"viewStateShareKey={id}" in parent.data.tags["mlflow.note.content"]
    assert "| kd |" in parent.data.tags["mlflow.note.content"]


def test_every_run_has_the_same_tags_to_group_by(fresh):
    track.publish(fresh, list(Records(fresh)))
    names = ("kind", "task", "dataset", "method", "student", "net", "teachers", "seed")
    said = {tuple(run.data.tags[f"mmkd.{name}"] for name in names) for run in logged(fresh)[1].values()}
    first = ("classification", "sines")
    assert said == {
        ("student", *first, "kd", "sig", "small", "sig+gaf+pi", "0"),
        ("student", *first, "student", "sig", "small", "none", "0"),
        *(("teacher", *first, "teacher", "none", "WRN16-1", name, "0") for name in ("sig", "gaf", "pi")),
    }


def test_a_suite_sent_twice_is_one_run_and_one_figure(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records, suite="mine")
    _, _, first = suite_of(fresh)
    (fresh / mlflow_sent.SENT).unlink()
    assert track.publish(fresh, records, suite="mine") is None
    client, _, again = suite_of(fresh)
    assert again.info.run_id == first.info.run_id
    assert again.data.metrics == first.data.metrics
    assert len(client.list_artifacts(again.info.run_id)) == len(client.list_artifacts(first.info.run_id))


def test_rows_that_are_no_more_leave_no_figure(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records, suite="mine")
    rest = [record for record in records if record.result["spec"].get("method") != "kd"]
    track.publish(fresh, rest, suite="mine")
    _, _, parent = suite_of(fresh)
    assert [name for name in parent.data.metrics if "student" in name]
    assert not [name for name in parent.data.metrics if "kd" in name]
    assert "kd" not in parent.data.tags["mlflow.note.content"]


def test_suites_of_one_name_from_two_folders_stay_apart(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'team.db'}")
    monkeypatch.chdir(tmp_path)
    (fresh / "mlflow.db").rename(tmp_path / "team.db")
    records = list(Records(fresh))
    track.publish(fresh, records, suite="mine")
    copy = shutil.copytree(fresh, tmp_path / "copy")
    other = shutil.copytree(fresh, tmp_path / "other", ignore=shutil.ignore_patterns(suites.FOLDER, mlflow_sent.SENT))
    for folder in (copy, other):
        track.publish(folder, list(Records(folder)), suite="mine")
    client, _ = logged(fresh)
    experiment = client.get_experiment_by_name("mmkd/sines/classification").experiment_id
    found = client.search_runs([experiment], "tags.mmkd.kind = 'summary'")
    assert len({run.data.tags["mmkd.folder"] for run in found}) == len(found) == 2, "a copy is the same suite"


def test_a_suite_that_cannot_be_compared_says_why(fresh):
    records = [record for record in Records(fresh) if record.kind == "teacher"]
    assert track.publish(fresh, records, suite="mine") is None
    client, _, parent = suite_of(fresh)
    assert "no unit is on record" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {}
    assert client.list_artifacts(parent.info.run_id) == []


def test_a_name_that_mlflow_does_not_take(fresh):
    """Only letters, figures and a few signs may be in a metric's name; what falls together is told apart."""
    row = Row("student", "kd", "kd a=1", {}, {0: Unit("k", 0, {"macro_f1": 0.5})})
    other = replace(row, name="kd a<1", units={0: Unit("k", 0, {"macro_f1": 0.25})})
    group = Group("x" * 400, "classification", "d", "s", {}, [row, other])
    found = leaderboard.leaderboard_metrics([group])
    assert sorted(found.values()) == [0.25, 0.5]
    assert all(len(name) <= 250 and re.fullmatch(r"[\w\-. :/]+", name) for name in found)


def test_what_was_there_is_not_counted_as_sent(fresh, capsys):
    records = list(Records(fresh))
    assert main(["--publish", "--runs", str(fresh)]) == 0
    assert capsys.readouterr().out.startswith(f"{len(records)} of {len(records)} records sent to sqlite:")
    (fresh / mlflow_sent.SENT).unlink()
    assert main(["--publish", "--runs", str(fresh)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"0 of {len(records)} records sent")
    assert said.endswith(f"it had the other {len(records)}\n")


def test_records_that_were_sent_before_join_a_suite_later(fresh):
    records = list(Records(fresh))
    track.publish(fresh, records)
    track.publish(fresh, records, suite="later")
    _, found = logged(fresh)
    parent = found.pop("suite/later")
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in found.values())


def test_odd_names_of_terms_are_sent(fresh):
    record = next(r for r in Records(fresh) if r.result["spec"].get("method") == "kd")
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
    names = dict(store_runs.flat_params(record.result["spec"]))
    assert "data.sha256" in names
    assert json.dumps(names)
