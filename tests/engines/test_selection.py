"""The selection phase: in folds of the training part, without a look at the test windows, and in no table."""

import json
from dataclasses import replace

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.compare import main as compare_main
from mmkd.comparison.compare import compare
from mmkd.comparison.gap import record_gaps
from mmkd.comparison.selection import is_of_selection, selections
from mmkd.core.progress import Progress
from mmkd.data import load_file
from mmkd.engines.execution import execute
from mmkd.engines.selection import plan_phase, run_phase
from mmkd.metrics.classes import mixture_shares
from mmkd.store.records import Records
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

SMALL = {"students": ("sig",), "teachers": ("sig",), "epochs": 1, "image_size": 16, "teacher_nets": {"sig": "small"}}
FLAGS = ["--student=sig", "--teachers=sig", "--teacher-net=sig=small", "--epochs=1", "--image-size=16", "--quiet"]


def workspace_of(request, folder, **more):
    return Workspace.for_request(
        request, runs=folder / "runs", cache_folder=str(folder / "cache"), device="cpu", progress=Progress(), **more
    )


def request_of(path, **more):
    return Request(**{"methods": ("kd",), "data": str(path), "select": 2, "seeds": (0, 1), **SMALL, **more})


def test_each_student_and_teacher_is_trained_in_each_fold(sines, tmp_path):
    request = request_of(sines, methods=("student", "kd", "aver"))
    outcome = execute(request, workspace_of(request, tmp_path))
    assert {result.spec.method for result in outcome.results} == {"student", "kd", "aver"}
    assert not any(result.spec.data.inner_fold for result in outcome.results)
    records = list(Records(tmp_path / "runs"))
    inner = [record for record in records if is_of_selection(record)]
    alone = [record for record in inner if record.kind == "student"]
    teachers = [record for record in inner if record.kind == "teacher"]
    parts = {(0, (1, 2)), (0, (2, 2)), (1, (1, 2)), (1, (2, 2))}
    assert {(record.spec.seed, record.spec.data.inner_fold) for record in alone} == parts
    assert {(record.spec.seed, record.spec.data.inner_fold) for record in teachers} == parts
    assert len(alone) == len(teachers) == 4
    (selection,) = outcome.selections
    (gap,) = selection.gaps
    scores = {r.spec.seed * 10 + r.spec.data.inner_fold[0]: r.metrics.test["accuracy"] for r in alone}
    taught = {r.spec.seed * 10 + r.spec.data.inner_fold[0]: r.metrics.test["accuracy"] for r in teachers}
    assert gap.n == 4
    assert gap.mean == pytest.approx(np.mean([taught[pair] - scores[pair] for pair in scores]))
    assert gap.of == "fold-and-seed pair"
    assert len(record_gaps(alone, teachers)) == 1
    lines = selection.lines
    assert lines[0].startswith("selection in 2 folds of the training part, sines, student sig (small): gap: ")


def test_the_student_alone_is_held_against_the_teachers_that_the_request_names(sines, tmp_path):
    """As protocols ask for it before any method runs; the unit itself has no teacher, and none of them is trained."""
    both = {"teachers": ("sig", "sig,gaf"), "teacher_nets": {"sig": "small", "gaf": "small"}, "seeds": (0,)}
    request = request_of(sines, methods=("student",), **both)
    outcome = execute(request, workspace_of(request, tmp_path))
    ((spec,), (selection,)) = [result.spec for result in outcome.results], outcome.selections
    assert spec.teachers == {}
    assert len(selection.gaps) == 2
    records = [record for record in Records(tmp_path / "runs") if record.kind == "teacher"]
    assert len(records) == 4
    assert all(is_of_selection(record) for record in records)
    taught = request_of(sines, methods=("kd",), **both)
    keys = {spec.teacher(name).key for spec, _ in plan_phase(list(expand(taught)), 2).taught for name in spec.teachers}
    assert {record.key for record in records} == keys, "as a method would have them"


def test_a_teacher_that_is_not_trained_in_folds_is_named(sines, tmp_path, capsys):
    """Else the user of `--select` sees no gap, and no reason."""
    flags = ["--method=kd", "--data", str(sines), *FLAGS, "--select=2", "--peers=none"]
    flags += ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    forest = [flag for flag in flags if not flag.startswith("--teacher-net")] + ["--teacher-net=sig=random-forest"]
    line = "selection: no gap of teacher sig random-forest: it is no network; mmkd.compare has its row"
    for command in (["--dry-run"], []):
        assert main([*forest, *command]) == 0
        assert line in capsys.readouterr().out.splitlines()
    assert main(flags) == 0
    assert "no gap of teacher" not in capsys.readouterr().out
    weights = min((tmp_path / "cache" / "teachers").glob("*/*.safetensors"))
    assert main([*flags, f"--teacher-checkpoint=sig={weights}"]) == 0
    assert "its weights were given, and may have seen any window" in capsys.readouterr().out


def test_nothing_of_it_reads_the_test_windows(sines, tmp_path):
    """Other values and labels of the test windows: the same weights, predictions and scores, bit for bit."""
    data = load_file(sines)
    rng = np.random.default_rng(5)
    x, y = data.x.copy(), data.y.copy()
    x[data.test] = 1e6 * rng.normal(size=x[data.test].shape)
    y[data.test] = rng.permutation(y[data.test])
    rubbish = replace(data, x=x, y=y, splits={})  # with the checksum of the good ones, so that keys are equal
    kept = []
    for name, windows in (("good", data), ("rubbish", rubbish)):
        request = request_of(sines, teachers=("sig,gaf",), teacher_nets={"sig": "small", "gaf": "small"}, seeds=(0,))
        units = [(spec, windows) for spec, _ in expand(request)]
        workspace = workspace_of(request, tmp_path / name)
        phase = plan_phase(units, 2)
        assert run_phase(phase, workspace, lambda result: None) == []
        kept.append({record.key: record for record in phase.records(workspace)})
    good, bad = kept
    assert good.keys() == bad.keys()
    assert len(good) == 6
    for key, record in good.items():
        assert record.metrics.test == bad[key].metrics.test
        for file in ("student.safetensors", "teacher.safetensors"):
            if (record.folder / file).exists():
                assert (record.folder / file).read_bytes() == (bad[key].folder / file).read_bytes()
        with np.load(record.folder / "predictions.npz") as one, np.load(bad[key].folder / "predictions.npz") as two:
            assert np.array_equal(one["probabilities"], two["probabilities"])
            assert not data.test[one["window"]].any()


def test_its_records_are_in_no_table(sines, tmp_path, capsys):
    argv = ["--method", "student,kd", "--data", str(sines), *FLAGS, "--runs", str(tmp_path / "runs")]
    argv += ["--cache", str(tmp_path / "cache")]
    assert main(argv) == 0
    plain = capsys.readouterr().out
    before = compare(list(Records(tmp_path / "runs")))
    assert main([*argv, "--select", "2"]) == 0
    out = capsys.readouterr().out
    assert "selection in 2 folds of the training part" in out
    assert next(line for line in plain.splitlines() if line.startswith("kd ")) in out
    after = compare(list(Records(tmp_path / "runs")))
    assert [row.name for group in after.groups for row in group.rows] == [
        row.name for group in before.groups for row in group.rows
    ]
    assert after.left_out == before.left_out == []
    assert (len(before.selections), len(after.selections)) == (0, 1)
    assert compare_main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "selection in 2 folds" in capsys.readouterr().out
    assert main([*argv, "--select", "2", "--existing", "only", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (selection,) = [entry for entry in found if entry.get("kind") == "selection"]
    assert selection["folds"] == 2
    assert selection["gaps"][0]["n"] == 2


def test_trainings_of_other_lengths_are_told_apart(sines, tmp_path):
    """Their titles are the same: both are of networks of the same name, with nothing else that the user set."""
    for epochs in (1, 2):
        request = request_of(sines, seeds=(0,), epochs=epochs)
        execute(request, workspace_of(request, tmp_path))
    found = selections(Records(tmp_path / "runs"))
    assert [entry.student for entry in found] == [
        "student sig (small) training.epochs=1",
        "student sig (small) training.epochs=2",
    ]
    for entry in found:
        assert sorted(gap.teacher for gap in entry.gaps) == [
            "sig small training.epochs=1",
            "sig small training.epochs=2",
        ]
        assert [gap.n for gap in entry.gaps] == [2, 2]


@pytest.mark.slow
def test_worker_processes_find_the_same(sines, tmp_path):
    request = request_of(sines, methods=("student",), seeds=(0,))
    here = execute(request_of(sines, seeds=(0,)), workspace_of(request, tmp_path / "here"))
    there = execute(request_of(sines, seeds=(0,)), workspace_of(request, tmp_path / "there", jobs=2))
    assert here.selections == there.selections
    assert there.failed_selections == []
    assert len(here.selections) == 1


def test_a_dry_run_counts_it(sines, tmp_path, capsys):
    argv = ["--method", "kd", "--data", str(sines), *FLAGS, "--runs", str(tmp_path / "runs"), "--dry-run"]
    assert main([*argv, "--select", "3"]) == 0
    out = capsys.readouterr().out
    assert "selection in 3 folds: 3 students alone, 0 on record, and their teachers" in out
    assert "teachers: 0 cached, 4 to be made, each once" in out
    assert out.count("of the training part, teacher sig small") == 3
    assert "1 unit, 0 on record" in out
    assert "--init-student trained" not in out


def test_more_folds_than_subjects_are_refused(sines, tmp_path):
    request = request_of(sines, select=40)
    with pytest.raises(MmkdError, match=r"40 folds of the training part of data 'sines': it has 4 subjects; take 2"):
        execute(request, workspace_of(request, tmp_path))
    assert not list((tmp_path / "runs").glob("*/result.json"))


def test_shares_are_searched_in_the_folds(sines, tmp_path, shared_cache):
    """As the lowest negative log-likelihood of the mixture on all training windows, out of fold."""
    options = {"student": "sig", "teachers": "sig,gaf", "teacher_nets": {"sig": "small", "gaf": "small"}}
    settings = {"data": sines, "epochs": 1, "image_size": 16, "runs": tmp_path, "cache": shared_cache, **options}
    with pytest.raises(MmkdError, match=r"--teacher-weights search needs windows .* add --select 3"):
        mmkd.run("kd", teacher_weights="search", **settings)
    record = mmkd.run("kd", teacher_weights="search", select=2, **settings)
    assert record.unit.selection_folds == 2
    text = record.result["teacher_weights"]
    inner = [other for other in Records(tmp_path) if is_of_selection(other) and other.kind == "teacher"]
    y, probabilities = {}, {"sig": {}, "gaf": {}}
    for other in inner:
        with np.load(other.folder / "predictions.npz") as z:
            for window, label, p in zip(z["window"], z["true"], z["probabilities"], strict=True):
                y[window] = label
                probabilities[other.teacher.modality][window] = p
    windows = sorted(y)
    assert len(windows) == record.data["windows"]["train"]
    shares = mixture_shares(
        np.array([y[w] for w in windows]), [np.stack([probabilities[m][w] for w in windows]) for m in ("sig", "gaf")]
    )
    found = [float(part.partition("=")[2]) for part in text.split(",")]
    assert found == pytest.approx(list(shares), abs=0.02)
    assert mmkd.run("kd", teacher_weights="equal", select=2, **settings).unit.selection_folds == 0
    assert len(selections(Records(tmp_path))) == 1
