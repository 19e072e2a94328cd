"""The tuning phase: configurations tried in a fold of the training part, without a look at the test windows."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

import mmkd
from mmkd import METHODS, DistillConfig, Method, MmkdError, Range, option
from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.core.progress import Progress
from mmkd.data import load_file
from mmkd.engines.execution import execute
from mmkd.engines.tuning import expand_with_tuning, plan_tuning, run_tuning
from mmkd.report.mlflow import store as mlflow_store
from mmkd.store.records import Records
from mmkd.training.workspace import Workspace
from mmkd.units.request import Request
from mmkd.units.splits import split_for

SMALL = {"students": ("sig",), "teachers": ("sig",), "epochs": 1, "image_size": 16, "teacher_nets": {"sig": "small"}}
FLAGS = ["--student=sig", "--teachers=sig", "--teacher-net=sig=small", "--epochs=1", "--image-size=16", "--quiet"]


PLUGIN = """
from dataclasses import dataclass
from mmkd import METHODS, DistillConfig, Method, Range, option

@METHODS.register("plugged")
class Plugged(Method):
    "Soft targets."

    @dataclass(frozen=True)
    class Config(DistillConfig):
        temperature: float = option(4.0, "temperature", gt=0, tune=Range(1, 16, log=True))

    def losses(self, student, teachers, batch):
        soft = self.soft(student, teachers, self.config.temperature, "fused", batch)
        return {**self.supervised(student, batch), "soft": soft}
"""
"""A method that worker processes can load."""


class Soft(Method):
    """Soft targets, with ranges of their own."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        temperature: float = option(4.0, "temperature", gt=0, tune=Range(1, 16, log=True))
        share: float = option(0.7, "share of the soft targets", ge=0, le=1, tune=Range(0.1, 1))

    def losses(self, student, teachers, batch):
        hard = {name: (1 - self.config.share) * term for name, term in self.supervised(student, batch).items()}
        soft = self.config.share * self.soft(student, teachers, self.config.temperature, "fused", batch)
        return {**hard, "soft": soft}


@pytest.fixture(autouse=True)
def _soft():
    METHODS.register("soft")(Soft)
    yield
    METHODS.unregister("soft")


def workspace_of(request, folder, **more):
    return Workspace.for_request(
        request, runs=folder / "runs", cache_folder=str(folder / "cache"), device="cpu", progress=Progress(), **more
    )


def request_of(path, **more):
    return Request(**{"methods": ("soft",), "data": str(path), "tune": 3, "seeds": (0, 1), **SMALL, **more})


def test_the_best_configuration_is_trained_beside_the_default(sines, tmp_path):
    request = request_of(sines, methods=("student", "soft"))
    outcome = execute(request, workspace_of(request, tmp_path))
    names = [(result.spec.method, bool(result.spec.tuned), result.spec.seed) for result in outcome.results]
    assert names == [
        *[("student", False, 0), ("soft", False, 0), ("soft", True, 0)],
        *[("student", False, 1), ("soft", False, 1), ("soft", True, 1)],
    ]
    tried = {r.spec.tuning["number"]: r for r in Records(tmp_path / "runs") if r.kind == "student" and r.spec.tuning}
    assert sorted(tried) == [0, 1, 2]
    assert {(r.spec.seed, r.spec.data.inner_fold) for r in tried.values()} == {(10_000, (1, 3))}
    teachers = [r for r in Records(tmp_path / "runs") if r.kind == "teacher" and r.spec.data.inner_fold]
    assert [r.spec.seed for r in teachers] == [10_000]  # trained in the fold, once for all configurations
    assert tried[0].unit.options["temperature"] == 4.0
    scores = {number: record.metrics.test["macro_f1"] for number, record in tried.items()}
    best = max(scores, key=lambda number: (scores[number], -number))
    (choice,) = outcome.tunings
    assert (choice.number, choice.score, choice.default_score) == (best, scores[best], scores[0])
    assert (choice.budget, choice.trainings, choice.on) == (3, 3, ["sines"])
    assert choice.seconds == pytest.approx(sum(record.seconds for record in tried.values()))
    for result in outcome.results:
        if result.spec.tuned:
            assert result.spec.options == dict(tried[best].unit.options)
            assert result.spec.tuned == {"table": choice.table, "number": best, "budget": 3, "on": ["sines"]}
    assert outcome.untuned == ["not tuned, without a range or as a control: student"]
    assert not outcome.failed_selections


def test_nothing_of_it_reads_the_test_windows(sines, tmp_path):
    """Other values and labels of the test windows: the same weights, predictions, scores and choice, bit for bit."""
    data = load_file(sines)
    rng = np.random.default_rng(5)
    x, y = data.x.copy(), data.y.copy()
    x[data.test] = 1e6 * rng.normal(size=x[data.test].shape)
    y[data.test] = rng.permutation(y[data.test])
    rubbish = replace(data, x=x, y=y, splits={})  # with the checksum of the good ones, so that keys are equal
    kept, chosen = [], []
    for name, windows in (("good", data), ("rubbish", rubbish)):
        request = request_of(sines, seeds=(0,), tune=2)
        units, bases = expand_with_tuning(request)
        tuning = plan_tuning(request, units, [(spec, windows) for spec, _ in bases])
        workspace = workspace_of(request, tmp_path / name)
        assert run_tuning(tuning, workspace, "skip", lambda result: None) == []
        kept.append({record.key: record for record in workspace.records})
        chosen.append([choice.number for choice in tuning.choices(workspace.records).values()])
    good, bad = kept
    assert chosen[0] == chosen[1]
    assert good.keys() == bad.keys()
    assert len(good) == 3
    for key, record in good.items():
        assert record.metrics.test == bad[key].metrics.test
        for file in ("student.safetensors", "teacher.safetensors"):
            if (record.folder / file).exists():
                assert (record.folder / file).read_bytes() == (bad[key].folder / file).read_bytes()
        with np.load(record.folder / "predictions.npz") as one, np.load(bad[key].folder / "predictions.npz") as two:
            assert np.array_equal(one["probabilities"], two["probabilities"])
            assert not data.test[one["window"]].any()


def test_tables_show_default_and_tuned_and_nothing_that_was_tried(sines, tmp_path, capsys):
    argv = ["--method", "student,soft", "--data", str(sines), *FLAGS, "--runs", str(tmp_path / "runs"), "--tune", "2"]
    argv += ["--cache", str(tmp_path / "cache")]
    assert main([*argv, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "tuning: 2 students in a fold of the training part, 0 on record" in out
    assert "then 1 tuned unit" in out
    assert main(argv) == 0
    out = capsys.readouterr().out
    starts = [" ".join(line.split()[:2]) for line in out.splitlines()]
    assert sum(start.startswith("soft ") for start in starts) == 2
    assert any("soft (tuned)" in line for line in out.splitlines())
    assert "tuning of soft on sines: number " in out
    assert "2 student trainings" in out
    comparison = compare(list(Records(tmp_path / "runs")))
    (group,) = comparison.groups
    assert sorted(row.name for row in group.rows if row.kind == "student") == ["soft", "soft (tuned)", "student"]
    assert comparison.left_out == []
    assert main([*argv, "--existing", "only", "--json"]) == 0
    out = capsys.readouterr().out
    store = mlflow_store.connect(tmp_path / "runs")
    sent = store.search_runs([store.get_experiment_by_name("mmkd/sines/classification").experiment_id])
    tried = [run for run in sent if run.data.tags["mmkd.kind"] == "tried"]
    assert sorted(run.info.run_name for run in tried) == [
        f"soft, configuration {n} | sig -> sig | seed 10000" for n in (0, 1)
    ]
    assert "soft (tuned) | sig -> sig | seed 0" in [run.info.run_name for run in sent]
    (entry,) = [entry for entry in json.loads(out) if entry.get("kind") == "tuning"]
    assert entry["budget"] == 2


def test_a_longer_table_goes_on_where_the_shorter_ended(sines, tmp_path, shared_cache):
    settings = {"data": sines, "epochs": 1, "image_size": 16, "student": "sig", "teachers": "sig", "runs": tmp_path}
    settings |= {"teacher_nets": {"sig": "small"}, "cache": shared_cache}
    record = mmkd.run("soft", tune=2, **settings)
    assert record.unit.tuned["budget"] == 2
    before = {r.key for r in Records(tmp_path)}
    mmkd.run("soft", tune=4, **settings)
    after = {r.key: r for r in Records(tmp_path)}
    new = [after[key] for key in after.keys() - before]
    assert sorted(r.spec.tuning.get("number", 99) for r in new if r.kind == "student") == [2, 3, 99]  # and the tuned


@pytest.mark.slow
def test_worker_processes_choose_the_same(sines, tmp_path):
    plugin = tmp_path / "soft_plugin.py"
    plugin.write_text(PLUGIN)
    request = request_of(sines, seeds=(0,), methods=("plugged",), plugins=(str(plugin),), tune=2)
    here = execute(request, workspace_of(request, tmp_path / "here"))
    there = execute(request, workspace_of(request, tmp_path / "there", jobs=2))
    METHODS.unregister("plugged")
    assert len(here.tunings) == 1
    assert [replace(c, seconds=0) for c in here.tunings] == [replace(c, seconds=0) for c in there.tunings]
    assert [result.status for result in there.results] == ["done", "done"]
    assert there.failed_selections == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"methods": ("student",)}, "--tune 3: student has no option with a range to tune"),
        ({"options": {"soft": {"temperature": [2.0, 4.0]}}}, "--tune 3: soft is asked for with 2 sets of options"),
        ({"options": {"soft": {"teacher_weights": "search"}}, "select": 2}, "--tune: --teacher-weights search would"),
        ({"train_subjects": 2}, "--tune: the training part of 'sines' cannot be cut: .* --tune-on A,B"),
    ],
)
def test_what_cannot_be_tuned_is_refused(sines, tmp_path, more, message):
    if "select" in more:
        more = {**more, "teachers": ("sig,gaf",), "teacher_nets": {"sig": "small", "gaf": "small"}}
    request = request_of(sines, **more)
    with pytest.raises(MmkdError, match=message):
        execute(request, workspace_of(request, tmp_path))
    assert not list(tmp_path.glob("runs/*/result.json"))


def test_the_selection_phase_does_not_count_what_tuning_trained(sines, tmp_path):
    request = request_of(sines, seeds=(0,), tune=2, select=3)
    outcome = execute(request, workspace_of(request, tmp_path))
    assert [gap.n for gap in outcome.selections[0].gaps] == [3]
    assert len(outcome.tunings) == 1
    assert [gap.n for gap in compare(list(Records(tmp_path / "runs"))).selections[0].gaps] == [3]


def test_with_few_labels_the_labelled_part_is_cut(sines):
    """Four subjects train, of which three have labels: two of them train a configuration, one tests it."""
    request = request_of(sines, labelled_subjects=3)
    units, bases = expand_with_tuning(request)
    tuning = plan_tuning(request, units, bases)
    for spec, data in tuning.units:
        outer = split_for(data, replace(spec.data, inner_fold=()), spec.seed)
        inner = split_for(data, spec.data, spec.seed)
        assert len(set(data.subject[inner.train])) == 2
        assert len(set(data.subject[inner.test])) == 1
        assert set(inner.test) < set(outer.train)
        assert set(inner.unlabelled) == set(outer.unlabelled)
    request = request_of(sines, labelled_subjects=2)
    units, bases = expand_with_tuning(request)
    with pytest.raises(MmkdError, match="cannot be cut: .* it has 2 subjects"):
        plan_tuning(request, units, bases)


def test_targets_out_of_fold_are_not_tuned(sines):
    with pytest.raises(MmkdError, match="--teacher-targets out-of-fold:2 would need folds inside a fold"):
        request_of(sines, teacher_targets="out-of-fold:2")
