"""What people meet in MLflow after a command: its address, its comparison, the columns of its runs, their data."""

import json
import shutil
from dataclasses import replace

import pytest

import mmkd
from mmkd.bench import main
from mmkd.report import mlflow as track
from mmkd.report.mlflow import experiments, suites
from mmkd.report.mlflow import store as mlflow_store
from mmkd.store.records import Records

pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for method in ("student", "kd"):
        mmkd.run(method, student="sig", **{**tiny, "teachers": "sig"}, runs=folder)
    return folder


@pytest.fixture
def runs(made, tmp_path):
    return shutil.copytree(made, tmp_path / "runs")


def units(records):
    return [record.unit for record in records if record.kind == "student"]


def found(runs, filter_string=""):
    client = mlflow_store.connect(runs)
    experiment = client.get_experiment_by_name("mmkd/sines/classification")
    return client, experiment, client.search_runs([experiment.experiment_id], filter_string)


def test_a_command_of_several_units_has_a_name_of_its_own(runs):
    one, two = units(Records(runs))
    assert track.command_name([one]) is track.command_name([]) is None
    name = track.command_name([one, two])
    assert name == track.command_name([one, two, one])
    assert name[-10:] == track.command_name([two, one])[-10:], "whatever the order"
    other = track.command_name([one, replace(two, seed=4)])
    assert other != name
    assert ", 2 seeds (" in other
    assert ", seeds 0-2 (" in track.command_name([replace(one, seed=seed) for seed in (2, 0, 1)])
    assert suites.title(name) == f"comparison of {name[:-11]}"
    assert suites.title("mine") == "suite mine"


def test_comparisons_that_share_runs_each_show_all_of_theirs(runs):
    """The second command leaves the runs below the first; the view of each finds its own by their tag."""
    records = list(Records(runs))
    teachers = [record for record in records if record.kind == "teacher"]
    alone = next(record for record in records if record.kind == "student" and record.unit.method == "student")
    names = ("student, kd, seed 0 (00000000)", "student, fam, seed 0 (11111111)")
    assert track.publish(runs, records, names[0]) is None
    assert track.publish(runs, [*teachers, alone], names[1]) is None
    for name, members in ((names[0], records), (names[1], [*teachers, alone])):
        id = suites.comparison_id(name, suites.folder_id(runs))
        _, experiment, _ = found(runs)
        view = json.loads(experiment.tags[f"mlflow.sharedViewState.{id}"])
        shown = found(runs, view["searchFilter"])[2]
        assert {run.data.tags["mmkd.key"] for run in shown} == {record.key for record in members}
    parent = found(runs, f"tags.`mmkd.suite` = '{names[0]}'")[2][0]
    assert parent.info.run_name == "comparison of student, kd, seed 0"
    below = found(runs, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")[2]
    assert len(below) == len(records), "they stay"
    assert track.publish(runs, [*teachers, alone], "a suite") is None
    assert len(found(runs, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")[2]) == 1, "a suite takes its runs"


def test_a_run_that_left_a_comparison_is_not_shown_in_it(runs):
    records = list(Records(runs))
    track.publish(runs, records, "mine")
    rest = [record for record in records if record.result["spec"].get("method") != "kd"]
    track.publish(runs, rest, "mine")
    id = suites.comparison_id("mine", suites.folder_id(runs))
    shown = found(runs, f"tags.`mmkd.comparisons` LIKE '%{id}%'")[2]
    assert {run.data.tags["mmkd.key"] for run in shown} == {record.key for record in rest}


def test_an_experiment_opens_with_its_runs_and_their_scores(runs):
    track.publish(runs, list(Records(runs)), "mine")
    client, experiment, listed = found(runs, "tags.`mmkd.kind` != 'summary'")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags["mlflow.sharedViewState.mmkd"])
    columns = view["selectedColumns"]
    keys = {run.data.tags["mmkd.key"] for run in found(runs, view["searchFilter"])[2]}
    assert keys == {record.key for record in Records(runs)}, "every record, and no comparison"
    assert columns[:4] == [
        "metrics.`test/macro_f1`",
        "metrics.`test/accuracy`",
        "metrics.`test/ece`",
        "tags.`mmkd.seed`",
    ]
    for run in listed:
        assert {"test/macro_f1", "test/accuracy", "parameters", "seconds"} <= run.data.metrics.keys()
        assert {"mmkd.seed", "mmkd.method", "mmkd.student", "mmkd.teachers"} <= run.data.tags.keys()
    for kind, kept in (("no_inferred_type", False), ("genai_development", True)):
        client.set_experiment_tag(experiment.experiment_id, "mlflow.experimentKind", kind)
        experiments.experiment_id(client, runs, experiment.name, "classification")
        now = client.get_experiment(experiment.experiment_id).tags["mlflow.experimentKind"]
        assert now == (kind if kept else "custom_model_development")


def test_runs_say_where_they_come_from_and_on_what_data(runs):
    records = {record.key: record for record in Records(runs)}
    track.publish(runs, list(records.values()))
    for run in found(runs)[2]:
        record = records[run.data.tags["mmkd.key"]]
        tags = run.data.tags
        command = record.environment["command"]
        assert (tags["mlflow.source.type"], tags["mmkd.command"]) == ("LOCAL", command)
        assert tags["mlflow.source.name"] == {"__main__.py": "mmkd"}.get(command.split()[0], command.split()[0])
        (given,) = run.inputs.dataset_inputs
        sha256 = record.spec.data.sha256
        assert (given.dataset.name, given.dataset.digest) == ("sines", sha256[:16])
        assert json.loads(given.dataset.source) == {"name": "sines", "sha256": sha256}
        assert json.loads(given.dataset.profile)["num_rows"] == sum(record.data["windows"].values())
        features = json.loads(json.loads(given.dataset.schema)["mlflow_tensorspec"]["features"])
        shape = [-1, len(record.data["channels"]), record.data["window"]]
        assert features[0]["tensor-spec"]["shape"] == shape


def test_the_address_of_a_command_is_printed(runs, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    records, here = list(Records(runs)), runs.relative_to(tmp_path)
    command = f"MLflow: mlflow ui --backend-store-uri sqlite:///{here}/mlflow.db"
    assert track.where_to_look(here, records) == [command], "nothing was sent"
    assert not (runs / suites.FOLDER).exists()
    track.publish(runs, records, "mine")
    number = found(runs)[1].experiment_id
    id = suites.comparison_id("mine", suites.folder_id(runs))
    start = f"then open http://127.0.0.1:5000/#/experiments/{number}/runs?viewStateShareKey="
    end = "&workflowType=machine_learning"
    assert track.where_to_look(here, records, "mine") == [command, f"{start}{id}{end}"]
    assert track.where_to_look(here, records, "never sent") == [command, f"{start}mmkd{end}"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/")
    assert track.where_to_look(here, records, "mine") == ["MLflow: https://example.org/"], "another store"


def test_the_page_of_records_that_an_older_version_sent_is_found(runs):
    records = list(Records(runs))
    track.publish(runs, records)
    note = json.loads((runs / "mlflow-sent.json").read_text())
    older = {name: text for name, text in note.items() if not name.startswith("page/")}
    (runs / "mlflow-sent.json").write_text(json.dumps(older))
    assert len(track.where_to_look(runs, records)) == 1
    new = []
    assert track.publish(runs, records, new=new) is None
    assert new == []
    assert len(track.where_to_look(runs, records)) == 2


def test_a_command_makes_its_comparison_once(runs, tiny, capsys):
    flags = ["--method", "student,kd", "--student", "sig", "--teachers", "sig", "--runs", str(runs), "--peers", "none"]
    for name, value in tiny.items():
        if name not in ("teachers", "peers"):
            flags += [f"--{name.replace('_', '-')}", str(value)]
    for _ in range(2):
        assert main(flags) == 0
        assert "/runs?viewStateShareKey=" in capsys.readouterr().out
        (parent,) = found(runs, "tags.`mmkd.kind` = 'summary'")[2]
        assert parent.info.run_name == "comparison of student, kd, seed 0"
        assert "leaderboard/macro_f1 kd sig small" in parent.data.metrics
