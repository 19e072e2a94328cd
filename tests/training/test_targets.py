"""Targets that do not come from the teacher that was fitted to a window: out of fold, of ensembles and of peers."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmkd import MmkdError, recompute_scores
from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.engines.plan import make_plan
from mmkd.peers import PEERS
from mmkd.peers.base import softmax
from mmkd.specs.teacher_nets import PEER_NETS, canonical_net, kind_of_net, single_nets, target_folds
from mmkd.specs.unit import UnitSpec
from mmkd.store.records import Records
from mmkd.training.preparation import prepare_unit
from mmkd.training.targets import FoldTargets, Retargeted
from mmkd.training.teachers import get_teacher
from mmkd.training.unit_windows import teacher_windows
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request
from mmkd.units.splits import split_for


@pytest.fixture
def unit(sines, tmp_path):
    """A function from settings to a unit of `kd`, its data and a workspace."""

    def make(**settings):
        nets = {"sig": settings.pop("net", "small")}
        usual = {"methods": ("kd",), "students": ("sig",), "teachers": ("sig",), "epochs": 1, "peers": ("none",)}
        request = Request(**{**usual, "data": str(sines), "teacher_nets": nets, **settings})
        ((spec, data),) = expand(request)
        workspace = Workspace.for_request(request, runs=tmp_path / "runs", cache_folder=tmp_path / "cache")
        return spec, data, workspace

    return make


def fold_logits(spec, data, workspace, raw):
    """(n, K) logits of student windows `raw` (n, C, W): each by the teacher that did not see its subject."""
    train = split_for(data, spec.data, spec.seed).train
    rows = []
    for position, window in enumerate(train):
        (inner,) = (other for other in spec.without_folds if window in split_for(data, other.data, spec.seed).test)
        split, windows = teacher_windows(inner.teacher("sig"), data, workspace)
        assert data.subject[window] not in data.subject[split.train]
        teacher = get_teacher(inner.teacher("sig"), windows, split.test, workspace, "last")
        seen = data.x[split.train].astype(float)
        mean, std = seen.mean((0, 2)), seen.std((0, 2))
        view = torch.tensor((raw[position] - mean[:, None]) / std[:, None], dtype=torch.float32)[None]
        with torch.no_grad():
            rows.append(teacher.network({"sig": view}).logits[0].numpy())
    return np.stack(rows)


def test_logits_come_from_the_teacher_that_did_not_see_the_subject(unit):
    spec, data, workspace = unit(teacher_targets="out-of-fold:3")
    prepared = prepare_unit(spec, data, workspace)
    assert isinstance(prepared.source, Retargeted)
    n = len(prepared.windows.train)
    outputs = prepared.source.outputs(np.arange(n), {})["sig"]
    expected = fold_logits(spec, data, workspace, data.x[prepared.windows.train])
    np.testing.assert_allclose(outputs.logits, expected, atol=1e-4)
    fitted = prepare_unit(replace(spec, teacher_targets="fitted"), data, workspace)
    own = fitted.source.outputs(np.arange(n), {})["sig"]
    assert not np.allclose(own.logits, outputs.logits)
    torch.testing.assert_close(own.embedding, outputs.embedding)


@pytest.mark.parametrize("copies", [0, 2])
def test_augmented_copies_of_a_window_belong_to_its_fold(unit, copies):
    spec, data, workspace = unit(teacher_targets="out-of-fold:3", augment=("gain:0.3",), augment_copies=copies)
    prepared = prepare_unit(spec, data, workspace)
    n = len(prepared.windows.train)
    rows = prepared.windows.rows(np.arange(n), 1)
    views = prepared.windows.load_rows(rows)
    logits = prepared.source.outputs(rows, views)["sig"].logits
    raw = prepared.windows.augmented.raw(rows)
    assert not np.allclose(raw, data.x[prepared.windows.train])
    np.testing.assert_allclose(logits, fold_logits(spec, data, workspace, raw), atol=1e-4)
    assert (prepared.source.targets["sig"]._stored is not None) == bool(copies)


def test_a_window_of_no_fold_keeps_the_logits_of_the_full_teacher(unit):
    """So it is of windows without a label, which no teacher saw."""
    spec, data, workspace = unit(teacher_targets="out-of-fold:3")
    prepared = prepare_unit(spec, data, workspace)
    targets = prepared.source.targets["sig"]
    targets = FoldTargets([replace(t, held_out=t.held_out[1:]) for t in targets.teachers], prepared.windows)
    targets.teachers = list(targets.teachers)
    source = Retargeted(prepared.source.source, {"sig": targets}, ("sig",))
    unknown = np.flatnonzero(targets.folds < 0)
    assert 0 < len(unknown) < len(targets.folds)
    with torch.no_grad():
        targets.windows = replace(prepared.windows, views={})
        own = prepared.source.source.outputs(np.arange(len(targets.folds)), {})["sig"].logits
        new = source.outputs(np.arange(len(targets.folds)), {})["sig"].logits
        alone = source.outputs(unknown, {})["sig"].logits
    torch.testing.assert_close(new[unknown], own[unknown])
    torch.testing.assert_close(alone, own[unknown])
    assert not torch.allclose(new, own)


def test_keys_plan_and_record_of_out_of_fold_targets(unit):
    spec, data, workspace = unit(teacher_targets="out-of-fold:3")
    fitted, _, _ = unit()
    assert spec.key != fitted.key
    assert spec.teacher("sig").key == fitted.teacher("sig").key
    assert student_alone(spec).key == student_alone(fitted).key
    assert UnitSpec.parse(json.loads(json.dumps(asdict(spec)))).key == spec.key
    phase = replace(fitted, data=replace(fitted.data, inner_fold=(2, 3)))
    assert spec.without_folds[1].teacher("sig").key == phase.teacher("sig").key, "that of the selection phase"
    plan = make_plan([(spec, data)], workspace.records, workspace.cache)
    assert sum(job.kind == "teacher" for job in plan) == 4
    assert {job.id for job in plan if job.kind != "unit"} == set(plan[-1].needs)


@pytest.fixture
def bench(capsys, sines, tmp_path):
    def call(*argv, data=sines):
        flags = ["--data", str(data), "--student", "sig", "--epochs", "2", "--peers", "none", "--quiet"]
        flags += [] if "--teachers" in argv else ["--teachers", "sig"]
        code = main([*flags, "--runs", str(tmp_path / "runs"), *argv])
        return code, *capsys.readouterr()

    return call


SMALL = ("--teacher-net", "sig=small")


def test_a_command_with_out_of_fold_targets(bench, tmp_path):
    for flags in (SMALL, (*SMALL, "--teacher-targets", "out-of-fold:3")):
        assert bench("--method", "student,kd", *flags)[0] == 0
    records = list(Records(tmp_path / "runs"))
    (unit,) = (r for r in records if "fold_teachers" in r.result)
    assert {r.key for r in records if r.kind == "teacher"} >= set(unit.result["fold_teachers"]["sig"])
    comparison = compare(records)
    assert comparison.left_out == []
    assert [row.name for row in comparison.groups[0].rows if row.base == "kd"].count("kd") == 1
    assert any("teacher_targets=out-of-fold:3" in row.name for row in comparison.groups[0].rows)


def test_an_ensemble_predicts_the_mean_of_the_probabilities_of_its_members(unit):
    spec, data, workspace = unit(net="ensemble:2:small")
    split, windows = teacher_windows(spec.teacher("sig"), data, workspace)
    teacher = get_teacher(spec.teacher("sig"), windows, split.test, workspace)
    members = [get_teacher(member, windows, split.test, workspace) for member in spec.teacher("sig").members]
    alone, _, _ = unit(net="small")
    assert members[0].spec.key == alone.teacher("sig").key, "the first is the network that teaches alone"
    views = windows.load_views(split.test)
    with torch.no_grad():
        parts = [torch.softmax(member.network(views).logits, 1) for member in members]
        probabilities = torch.exp(teacher.network(views).logits)
    assert not torch.allclose(parts[0], parts[1])
    torch.testing.assert_close(probabilities, (parts[0] + parts[1]) / 2)
    first = [load_file(member.folder / "best.safetensors") for member in members]
    assert len(load_file(teacher.folder / "best.safetensors")) == sum(map(len, first))


@pytest.mark.parametrize("rule", ["val-best", "last"])
def test_a_command_with_an_ensemble(bench, tmp_path, rule):
    flags = ("--teacher-net", "sig=ensemble:2:small", "--epoch-rule", rule)
    code, out, _ = bench("--method", "student,kd", *flags)
    assert code == 0
    assert "teacher sig ensemble:2:small" in out
    (record,) = (r for r in Records(tmp_path / "runs") if r.kind == "teacher")
    assert recompute_scores(record) == dict(record.metrics.test)
    assert record.knows_last_epoch
    assert recompute_scores(record.at_epoch("last")) == dict(record.metrics.test_last)
    assert set(record.result["training_fit"]) == {"best", "last"}
    rows = compare(Records(tmp_path / "runs")).groups[0].rows
    assert [row.kind for row in rows] == ["teacher", "student", "student"]


def test_a_peer_teaches_out_of_fold_and_on_the_scale_of_logits(unit, monkeypatch):
    fits = []

    class Centres(PEERS["random-forest"]):
        """Logits: minus the distance from the mean window of each class; and who was fitted is written down."""

        def fit(self, x, y, classes, seed):
            fits.append(len(y))
            self.centres = np.stack([x[0][y == k].mean(0).ravel() for k in range(classes)])
            return self

        def logits(self, x):
            flat = x[0].reshape(len(x[0]), -1)
            return -np.linalg.norm(flat[:, None] - self.centres, axis=2).astype(np.float64)

    monkeypatch.setitem(PEERS, "random-forest", Centres)
    spec, data, workspace = unit(net="random-forest")
    prepared = prepare_unit(spec, data, workspace)
    train = prepared.windows.train
    teacher = prepared.teachers["sig"]
    subjects = data.subject[train]
    folds = min(5, len(np.unique(subjects)))
    assert len(fits) == folds + 1
    assert fits[0] == len(train)
    assert sum(fits[1:]) == (folds - 1) * len(train)
    _, windows = teacher_windows(spec.teacher("sig"), data, workspace)
    x = np.asarray(windows.views["sig"])
    temperature = 1 / np.polyfit(
        Centres().fit([x[train]], data.y[train], 3, 0).logits([x[data.test]]).ravel(),
        teacher.logits[data.test].astype(float).ravel(), 1,
    )[0]  # fmt: skip
    if folds == len(np.unique(subjects)):
        for subject in np.unique(subjects):
            rest = train[subjects != subject]
            other = Centres().fit([x[rest]], data.y[rest], 3, 0).logits([x[train[subjects == subject]]])
            np.testing.assert_allclose(teacher.logits[train[subjects == subject]], other / temperature, rtol=1e-3)
    outputs = prepared.source.outputs(np.arange(len(train)), {})["sig"]
    np.testing.assert_array_equal(outputs.logits, teacher.logits[train])
    nll = [
        -np.log(softmax(teacher.logits[train] * f)[np.arange(len(train)), data.y[train]]).mean() for f in (0.8, 1, 1.25)
    ]
    assert nll[1] <= min(nll)


def test_a_peer_teaches_a_window_and_not_its_copy(unit):
    spec, data, workspace = unit(net="random-forest", augment=("gain:0.1",), augment_copies=2)
    prepared = prepare_unit(spec, data, workspace)
    n = len(prepared.windows.train)
    one, other = (prepared.source.outputs(rows, {})["sig"].logits for rows in (np.arange(n), np.arange(n) + n))
    torch.testing.assert_close(one, other)
    with pytest.raises(MmkdError, match="random-forest has no logits of mixtures"):
        unit(net="random-forest", augment=("mixup:0.2",))


def test_a_command_with_a_peer_as_teacher(bench, tmp_path):
    code, out, _ = bench("--method", "student,kd", "--teacher-net", "sig=random-forest")
    assert code == 0
    assert "teacher sig random-forest" in out
    (record,) = (r for r in Records(tmp_path / "runs") if r.kind == "teacher")
    assert recompute_scores(record) == dict(record.metrics.test)
    assert record.result["temperature"] > 0
    assert 0 <= record.result["training_fit"]["last"]["wrong"] <= 1
    search = ("--teachers", "sig,gaf", "--image-size", "16", "--teacher-weights", "search", "--epoch-rule", "val-best")
    assert bench("--method", "kd", "--teacher-net", "sig=random-forest,gaf=small", *search)[0] == 0
    assert [row.kind for row in compare(Records(tmp_path / "runs")).groups[0].rows][:2] == ["teacher"] * 2


def test_who_reads_more_than_logits_refuses_in_one_line(bench, tmp_path):
    cases = [
        (("feature-kd", "--teacher-net", "sig=random-forest"), "feature-kd reads embeddings of its teachers, and"),
        (
            ("at", "--teacher-net", "sig=ensemble:2:small"),
            "at reads feature maps of its teachers, and sig=ensemble:2:small",
        ),
        (
            ("c2kd", *SMALL, "--teacher-targets", "out-of-fold:3"),
            "c2kd trains its teachers along: no targets out of fold",
        ),
        (("kd", "--teacher-net", "sig=ensemble:1"), "write ensemble, ensemble:N or ensemble:N:NET, N from 2 to 20"),
        (("kd", "--teacher-net", "sig=ensemble:2:tree"), "unknown backbone 'tree'"),
        (("kd", *SMALL, "--teacher-targets", "oof"), "write fitted, out-of-fold or out-of-fold:K, with K folds"),
        (("kd", *SMALL, "--teacher-targets", "out-of-fold:40"), "--teacher-targets out-of-fold:40: 40 folds of the"),
        (("kd", "--teacher-net", "sig=random-forest", "--teacher-targets", "out-of-fold"), "always out of fold"),
        (("student", "--teacher-targets", "out-of-fold"), "--teacher-targets: student has no teachers"),
    ]
    for (method, *flags), problem in cases:
        code, _, err = bench("--method", method, *flags)
        assert code == 2, problem
        assert problem in err
        assert len(err.splitlines()) == 1
    assert not [r for r in Records(tmp_path / "runs") if r.kind == "student"]


def test_one_subject_cannot_be_left_out(unit, windows_file, tmp_path):
    subject = np.array([1, 1, 1, 2] * 24)
    path = windows_file(tmp_path / "one.npz", subject=subject, test=subject == 2)
    spec, data, workspace = unit(net="random-forest", data=str(path), epoch_rule="last")
    with pytest.raises(MmkdError, match="out of fold by subject, and there is one training subject"):
        prepare_unit(spec, data, workspace)


def test_names_of_teachers():
    assert tuple(PEERS) == PEER_NETS
    assert [kind_of_net(net) for net in ("small", "ensemble:3:small", "minirocket")] == ["network", "ensemble", "peer"]
    assert canonical_net("ensemble:4", "small") == "ensemble:4:small"
    assert single_nets(["ensemble:2:FCN", "random-forest", "WRN16-1"]) == ["FCN", "WRN16-1"]
    for text in ("ensemble:x", "ensemble:2:a:b", "ensemble:2:minirocket", "ensemble:99"):
        with pytest.raises(MmkdError, match="write ensemble"):
            canonical_net(text, "small")
    for text in ("out-of-fold:1", "out-of-fold:", "none"):
        with pytest.raises(MmkdError, match="write fitted"):
            target_folds(text)


def test_few_labels_with_targets_out_of_fold(unit):
    """Folds are of the labelled windows; those without a label are taught by the teacher of all labelled ones."""
    spec, data, workspace = unit(teacher_targets="out-of-fold:2", labelled_subjects=2, epoch_rule="last")
    split = split_for(data, spec.data, spec.seed)
    prepared = prepare_unit(spec, data, workspace)
    train = prepared.windows.train
    assert len(train) == len(split.train) + len(split.unlabelled) > len(split.train)
    folds = prepared.source.targets["sig"].folds
    np.testing.assert_array_equal(folds >= 0, prepared.windows.labelled)
    rows = np.arange(len(train))
    own = prepared.source.source.outputs(rows, {})["sig"].logits
    logits = prepared.source.outputs(rows, {})["sig"].logits
    torch.testing.assert_close(logits[folds < 0], own[folds < 0])
    assert not torch.isclose(logits[folds >= 0], own[folds >= 0]).all(1).any()


def test_few_labels_with_a_peer(unit, monkeypatch):
    fitted = []
    fit = PEERS["random-forest"].fit
    monkeypatch.setattr(
        PEERS["random-forest"], "fit", lambda self, x, y, *rest: (fitted.append(y), fit(self, x, y, *rest))[1]
    )
    spec, data, workspace = unit(net="random-forest", labelled_subjects=2, epoch_rule="last")
    split = split_for(data, spec.data, spec.seed)
    prepared = prepare_unit(spec, data, workspace)
    np.testing.assert_array_equal(fitted[0], data.y[split.train])
    assert sum(len(y) for y in fitted[1:]) == len(split.train)
    rows = np.arange(len(prepared.windows.train))
    assert torch.isfinite(prepared.source.outputs(rows, {})["sig"].logits).all()
