"""Which epoch of the teachers teaches: the option `teacher_epoch`, and `eskd`, whose teachers always validate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd.engines.plan import make_plan
from mmkd.store.cache import Cache
from mmkd.store.records import Records
from mmkd.training import preparation
from mmkd.training.teacher_outputs import OwnViews
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import split_for

KD = {"student": "sig", "teachers": "sig,gaf"}


def specs(tiny, methods, **more):
    settings = {name: value for name, value in tiny.items() if name != "cache"}
    request = Request(
        methods, **{**settings, "data": str(tiny["data"]), "students": ("sig",), "teachers": ("sig,gaf",), **more}
    )
    return list(expand(request))


def taught(record):
    """The records of its teachers."""
    return [Records(record.folder.parent).get(key) for key in record.teachers.values()]


def same(one, other):
    weights, others = (load_file(record.file("student.safetensors")) for record in (one, other))
    return one.metrics == other.metrics and all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.fixture(scope="module")
def units(tiny, tmp_path_factory):
    """Method and epoch of the teachers -> its record, under the usual rule."""
    runs = tmp_path_factory.mktemp("units")
    asked = {"kd": {}, "full-kd": {}, "eskd": {}, "kd best": {"teacher_epoch": "best"}}
    return {name: mmkd.run(name.split()[0], **KD, **tiny, runs=runs, **more) for name, more in asked.items()}


def test_kd_takes_the_last_epoch_and_eskd_the_best(units):
    assert any(teacher.result["best_epoch"] < 3 for teacher in taught(units["kd"])), "else there is nothing to see"
    assert [record.result["teacher_checkpoint"] for record in units.values()] == ["last", "last", "best", "best"]
    assert not same(units["kd"], units["eskd"])
    assert same(units["kd"], units["full-kd"])
    assert same(units["kd best"], units["eskd"])
    assert len({record.key for record in units.values()}) == 4
    assert len({tuple(record.teachers.values()) for record in units.values()}) == 1


@pytest.fixture(scope="module")
def without(tiny, tmp_path_factory):
    """`kd` and `eskd` of a student that is trained without validation windows."""
    runs = tmp_path_factory.mktemp("without")
    return {name: mmkd.run(name, **KD, **{**tiny, "epoch_rule": "last"}, runs=runs) for name in ("kd", "eskd")}


def test_without_validation_windows_the_teachers_of_eskd_alone_have_some(units, without):
    kd, eskd = without["kd"], without["eskd"]
    assert kd.teachers != eskd.teachers
    assert eskd.teachers == units["eskd"].teachers, "they are those of the rule val-best"
    for record in (kd, eskd):
        assert record.data["windows"]["validation"] == 0
    sizes = [{(t.data["windows"]["train"], t.data["windows"]["validation"]) for t in taught(r)} for r in (kd, eskd)]
    ((all_windows, none),), ((fewer, some),) = sizes
    assert none == 0
    assert fewer + some == all_windows == kd.data["windows"]["train"] == eskd.data["windows"]["train"]
    assert some > 0
    assert [record.result["teacher_checkpoint"] for record in (kd, eskd)] == ["last", "best"]
    assert eskd.spec.teacher_validation == 0.2
    assert kd.spec.teacher_validation == 0


def test_their_outputs_are_those_of_their_own_views_of_all_windows_of_the_student(tiny, without, tmp_path, monkeypatch):
    seen = []
    real = preparation.make_teacher_source

    def spy(teachers, *args, **kwargs):
        seen.append((teachers, real(teachers, *args, **kwargs)))
        return seen[-1][1]

    monkeypatch.setattr(preparation, "make_teacher_source", spy)
    record = mmkd.run("eskd", **KD, **{**tiny, "epoch_rule": "last"}, runs=tmp_path)
    assert same(record, without["eskd"])
    (spec, data), *_ = specs(tiny, ("eskd",), epoch_rule="last")
    train = split_for(data, spec.data, 0).train
    ((teachers, source),) = seen
    position = np.arange(len(train))
    found = source.outputs(position, {})
    for name, teacher in teachers.items():
        own = replace(spec, data=spec.teacher(name).data)
        workspace = Workspace(tmp_path, tiny["cache"])
        view = preparation.load_view(name, own, data, workspace).array
        expected = teacher.network({name: torch.from_numpy(np.ascontiguousarray(view[train]))}).logits
        torch.testing.assert_close(found[name].logits, expected, rtol=1e-4, atol=1e-5)


def test_what_they_put_out_is_not_mistaken_for_that_of_another_part(tiny, without, tmp_path):
    """The same teachers taught under the rule val-best first, with fewer windows, through the same cache."""
    settings = {**KD, **tiny, "cache": tmp_path / "cache"}
    mmkd.run("eskd", **settings, runs=tmp_path / "runs")
    after = mmkd.run("eskd", **{**settings, "epoch_rule": "last"}, runs=tmp_path / "runs")
    assert same(after, without["eskd"])


def test_teachers_that_run_live_read_their_own_views_too(tiny, tmp_path, monkeypatch):
    settings = {**KD, **tiny, "epoch_rule": "last", "teacher_epoch": "best"}
    cached = mmkd.run("at", **settings, runs=tmp_path / "cached")
    sources = []

    def live(*args, **kwargs):
        return real(*args, **kwargs, budget=0)

    real = preparation.make_teacher_source
    monkeypatch.setattr(preparation, "make_teacher_source", live)
    prepare = preparation.prepare_unit
    monkeypatch.setattr("mmkd.training.student.prepare_unit", lambda *a: sources.append(prepare(*a)) or sources[-1])
    record = mmkd.run("at", **settings, runs=tmp_path / "live")
    assert isinstance(sources[0].source, OwnViews)
    for name in ("nll", "macro_f1"):
        assert record.metrics.test[name] == pytest.approx(cached.metrics.test[name], abs=1e-5)


def test_units_without_a_choice_of_the_epoch_keep_the_keys_of_older_records(tiny):
    for rule, kept in (("last", True), ("val-best", False)):
        for spec, _ in specs(tiny, ("kd", "at"), epoch_rule=rule):
            older = {name: value for name, value in spec.options.items() if name != "teacher_epoch"}
            assert spec.options["teacher_epoch"] == "last"
            assert (replace(spec, options=older).key == spec.key) == kept


def test_a_plan_has_their_views_and_their_windows(tiny, tmp_path):
    units = specs(tiny, ("kd", "eskd"), epoch_rule="last")
    plan = make_plan(units, Records(tmp_path), Cache(tmp_path / "cache"))
    jobs = {kind: [job for job in plan if job.kind == kind] for kind in ("view", "teacher", "unit")}
    assert {kind: len(found) for kind, found in jobs.items()} == {
        "view": 3,
        "teacher": 4,
        "unit": 2,
    }
    by_id = {job.id: job for job in plan}
    windows = {}
    for job in jobs["teacher"]:
        teacher = job.spec.teacher(job.modality)
        (need,) = job.needs
        assert job.modality == "gaf" or by_id[need].spec.data == teacher.data
        windows.setdefault(job.spec.method, set()).add(job.windows)
    assert min(windows["kd"]) > max(windows["eskd"])
    for job in jobs["unit"]:
        assert len([need for need in job.needs if need.startswith("view/")]) == (3 if job.spec.method == "eskd" else 2)
