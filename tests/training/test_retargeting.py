"""What replaces the teachers' outputs in a unit: stored, live and augmented, with a resume, few labels and plugins."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmkd import METHODS, MmkdError, load_plugin, mean_entropy
from mmkd.bench import main
from mmkd.core.errors import Refused
from mmkd.training import loop, retargeting
from mmkd.training.preparation import prepare_unit
from mmkd.training.replaced import Replaced
from mmkd.training.student import run_unit
from mmkd.training.teacher_outputs import CachedTeachers
from mmkd.training.teachers import initial_network
from mmkd.training.trial import preflight
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request
from mmkd.units.splits import split_for

AUGMENTED = {
    "stored": {},
    "copies": {"augment": ("gain:0.3",), "augment_copies": 2},
    "live": {"augment": ("gain:0.3",), "augment_copies": 0},
}


@pytest.fixture
def unit(sines, tmp_path, shared_cache):
    """A function from a method and settings to a unit, its data and a workspace."""

    def make(method, **settings):
        nets = {"sig": settings.pop("net", "small")}
        usual = {"students": ("sig",), "teachers": ("sig",), "epochs": 2, "peers": ("none",), "epoch_rule": "last"}
        request = Request(**{**usual, "methods": (method,), "data": str(sines), "teacher_nets": nets, **settings})
        ((spec, data),) = expand(request)
        workspace = Workspace.for_request(request, runs=tmp_path / "runs", cache_folder=shared_cache)
        return spec, data, workspace

    return make


def taught(prepared, number=0, name="sig"):
    """The logits (n, K) that teach in a pass, as the loop reads them."""
    windows = prepared.windows
    index = torch.arange(len(windows.train))
    targets = torch.from_numpy(windows.y[windows.train])
    _, outputs, _ = loop._read(windows, prepared.source, prepared.spec.training, 0, number, targets, index)
    return outputs[name].logits


def own_logits(unit, number=0, **settings):
    """The logits (n, K) of the teachers themselves in a pass, and the classes of the windows."""
    prepared = prepare_unit(*unit("kd", **settings))
    assert not isinstance(prepared.source, Replaced)
    return taught(prepared, number), torch.from_numpy(prepared.windows.y[prepared.windows.train])


def matches(logits, own):
    """(n,) the windows whose own logits these are."""
    near = (logits[:, None] - own[None]).abs().amax(2) < 1e-5
    assert (near.sum(1) == 1).all()
    return near.long().argmax(1)


@pytest.mark.parametrize("kind", AUGMENTED)
def test_another_window_of_the_class_teaches_in_each_pass(unit, kind):
    settings = AUGMENTED[kind]
    prepared = prepare_unit(*unit("shuffled-teacher", **settings))
    assert isinstance(prepared.source, Replaced)
    assert set(prepared.windows.views) == {"sig"}
    found = []
    for number in (0, 1, 2):
        own, y = own_logits(unit, number, **settings)
        pi = matches(taught(prepared, number), own)
        assert (y[pi] == y).all()
        assert (pi != torch.arange(len(y))).all()
        found.append(pi.tolist())
    assert found[0] == found[1] == found[2], "that of copy c is the output for copy c of the same other window"
    assert prepared.replaced == {"windows": len(y), "windows_with_their_own_target": 0}
    assert "the method replaced them: windows" in prepared.log.text()


def test_teachers_that_run_on_each_batch_are_exchanged_too(unit, monkeypatch):
    """As with too many feature maps to store; here of a view that is not the student's."""
    settings = {"students": ("gaf",), "image_size": 16, "augment": ("gain:0.3",), "augment_copies": 0}
    spec, data, workspace = unit("shuffled-teacher", **settings)
    assert spec.student == ("gaf",)
    prepared = prepare_unit(spec, data, workspace)
    own, y = own_logits(unit, **settings)
    pi = matches(taught(prepared), own)
    assert (y[pi] == y).all()
    assert (pi != torch.arange(len(y))).all()
    assert set(prepared.windows.views) == {"gaf"}


def test_targets_out_of_fold_and_of_peers_are_exchanged(unit):
    for settings in ({"teacher_targets": "out-of-fold:3"}, {"net": "minirocket"}):
        own, y = own_logits(unit, **settings)
        prepared = prepare_unit(*unit("shuffled-teacher", **settings))
        rows = taught(prepared)
        assert not torch.equal(rows, own)
        for k in range(3):
            assert torch.equal(rows[y == k].sort(0).values, own[y == k].sort(0).values)


def test_a_permutation_in_each_pass(unit):
    spec, data, workspace = unit("shuffled-teacher", options={"shuffled-teacher": {"redraw": "epoch"}})
    prepared = prepare_unit(spec, data, workspace)
    rows = [taught(prepared, number) for number in (0, 1, 0)]
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("kind", AUGMENTED)
def test_noise_has_the_entropy_of_the_teacher_by_class(unit, kind):
    settings = AUGMENTED[kind]
    prepared = prepare_unit(*unit("noise-logits", **settings))
    passes = 2 if kind == "copies" else 1
    own, y = zip(*(own_logits(unit, number, **settings) for number in range(passes)), strict=True)
    noise = [taught(prepared, number) for number in (0, 1)]
    assert torch.equal(*noise), "drawn for the window, not for the copy or the pass"
    for k in range(3):
        expected = mean_entropy(torch.cat(own)[torch.cat(y) == k], 4.0)
        assert mean_entropy(noise[0][y[0] == k], 4.0) == pytest.approx(expected, abs=1e-3)
    assert 0.1 < prepared.replaced["share_with_label_largest"] < 0.6


@pytest.mark.parametrize("kind", AUGMENTED)
def test_an_untrained_teacher_in_a_unit(unit, kind):
    settings = {**AUGMENTED[kind], "net": "WRN10-1"}
    passes = 2 if kind == "copies" else 1
    own = torch.cat([own_logits(unit, number, **settings)[0] for number in range(passes)])
    prepared = prepare_unit(*unit("random-teacher", **settings))
    found = torch.cat([taught(prepared, number) for number in range(passes)])
    assert mean_entropy(found, 4.0) == pytest.approx(mean_entropy(own, 4.0), abs=1e-3)
    assert found.std(0).min() > 0, "it is a function of the window"
    again = prepare_unit(*unit("random-teacher", **settings))
    assert torch.equal(taught(again), taught(prepared))
    plain = prepare_unit(*unit("random-teacher", options={"random-teacher": {"match": "none"}}, **settings))
    assert mean_entropy(taught(plain), 4.0) > 0.99 * np.log(3)
    factor = prepared.replaced["factor_sig"]
    torch.testing.assert_close(taught(prepared), factor * taught(plain), rtol=1e-4, atol=1e-4)


def test_an_untrained_network_has_a_seed_of_its_own_and_statistics_of_30_batches(unit):
    spec, data, workspace = unit("random-teacher", net="WRN10-1", batch_size=32)
    prepared = prepare_unit(spec, data, workspace)
    teacher = prepared.teachers["sig"]
    other = retargeting.untrained_teacher(teacher, prepared.windows, spec.seed)
    norms = [m for m in other.network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert {int(m.num_batches_tracked) for m in norms} == {30}
    assert all(m.momentum is not None and not m.training for m in norms)
    first = next(module for module in other.network.modules() if isinstance(module, torch.nn.Conv1d))
    seen = []
    hook = norms[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        other.network(prepared.windows.load_views(prepared.windows.train))
    hook.remove()
    torch.testing.assert_close(norms[0].running_mean, seen[0].mean((0, 2)), rtol=0.1, atol=0.02)
    start = initial_network(teacher.spec, prepared.windows)
    same = next(module for module in start.modules() if isinstance(module, torch.nn.Conv1d))
    assert not torch.equal(first.weight, same.weight)
    assert all(not p.requires_grad for p in other.network.parameters())


def test_outputs_of_untrained_teachers_are_stored(unit, monkeypatch):
    made = []
    real = retargeting.make_teacher_source

    def spy(teachers, *args, **more):
        source = real(teachers, *args, **more)
        made.append(({t.checkpoint for t in teachers.values()}, source))
        return source

    monkeypatch.setattr(retargeting, "make_teacher_source", spy)
    prepare_unit(*unit("random-teacher"))
    ((epochs, source),) = made
    assert epochs == {"untrained, 30 batches"}
    assert isinstance(source, CachedTeachers)


@pytest.mark.parametrize(
    ("method", "options", "kind"),
    [
        ("shuffled-teacher", {"redraw": "epoch"}, "copies"),
        ("noise-logits", {}, "stored"),
        ("random-teacher", {}, "live"),
    ],
)
def test_a_training_that_resumes_has_the_same_numbers(unit, method, options, kind, monkeypatch, tmp_path, shared_cache):
    spec, data, workspace = unit(method, options={method: options}, epochs=3, **AUGMENTED[kind])
    whole = run_unit(spec, data, workspace)
    weights, history = load_file(whole.folder / "student.safetensors"), numbers(whole)
    real = loop.train_epoch

    def stop(*args, epoch, **more):
        if epoch == 2:
            raise KeyboardInterrupt
        return real(*args, epoch=epoch, **more)

    other = Workspace(tmp_path / "again", cache_folder=shared_cache)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_unit(spec, data, other)
    resumed = run_unit(spec, data, other)
    assert resumed.folder != whole.folder
    found = load_file(resumed.folder / "student.safetensors")
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert numbers(resumed) == history


def numbers(record):
    with (record.folder / "history.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_the_record_says_what_was_replaced(unit):
    record = run_unit(*unit("shuffled-teacher"))
    assert record.result["replaced_outputs"]["windows_with_their_own_target"] == 0
    assert record.result["method_status"] == "control"
    assert "replaced_outputs" not in run_unit(*unit("virtual-teacher")).result


FEW = {"labelled_subjects": 2, "batch_size": 8}


def test_windows_without_a_label_count_to_the_class_that_the_teachers_predict(unit):
    prepared = prepare_unit(*unit("shuffled-teacher", **FEW))
    own, _ = own_logits(unit, **FEW)
    windows = prepared.windows
    y = torch.from_numpy(windows.y[windows.train])
    unlabelled = ~torch.from_numpy(windows.labelled)
    assert torch.equal(y[unlabelled], own[unlabelled].argmax(1))
    pi = matches(taught(prepared), own)
    assert torch.equal(y[pi], y)
    alone = int((torch.bincount(y) == 1).sum())
    assert prepared.replaced == {"windows": len(y), "windows_with_their_own_target": alone}
    noisy = prepare_unit(*unit("noise-logits", **FEW))
    logits = taught(noisy)
    for k in y.unique():
        assert mean_entropy(logits[y == k], 4.0) == pytest.approx(mean_entropy(own[y == k], 4.0), abs=1e-3)


def test_what_needs_no_teacher_trains_on_labelled_windows_only(unit):
    for method in ("label-smoothing", "virtual-teacher"):
        prepared = prepare_unit(*unit(method, **FEW))
        assert prepared.windows.labelled is None
        assert len(prepared.windows.train) == len(prepared.split.train) < len(prepared.split.pool)
    prepared = prepare_unit(*unit("pseudo-label", **FEW))
    np.testing.assert_array_equal(prepared.windows.train, prepared.split.pool)
    assert (prepared.windows.y[prepared.split.unlabelled] == -1).all()


@pytest.mark.parametrize(
    ("method", "settings", "reason"),
    [
        ("pseudo-label", {}, "--labelled-subjects N or --labelled-windows N"),
        ("shuffled-teacher", {"augment": ("mixup:0.2",), "augment_copies": 0}, "leave mixup out of --augment"),
        ("random-teacher", {"net": "minirocket"}, "use another --teacher-net"),
    ],
)
def test_refusals_come_before_any_training(unit, method, settings, reason):
    spec, data, _ = unit(method, **settings)
    with pytest.raises(Refused, match=reason):
        preflight(spec, data)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (lambda y, subject: np.where(np.arange(len(y)) == 0, 2, y % 2), "class number 2 has one training window"),
        (lambda y, subject: subject % 3, "each training subject has windows of one class only"),
    ],
)
def test_sets_in_which_a_shuffle_within_classes_makes_no_sense(unit, classes, reason):
    spec, data, _ = unit("shuffled-teacher")
    other = replace(data, y=classes(data.y, data.subject).astype(np.int64), splits={})
    assert 0 in split_for(other, spec.data, spec.seed).train
    with pytest.raises(Refused, match=reason):
        preflight(spec, other)
    preflight(replace(spec, options={**spec.options, "scope": "any"}), other)


def test_a_command_leaves_out_what_makes_no_sense(sines, tmp_path, capsys):
    where = ["--runs", str(tmp_path), "--data", str(sines), "--student", "sig", "--teachers", "sig", "--epochs", "1"]
    code = main(["--method", "pseudo-label", *where, "--quiet"])
    assert code == 2
    assert "--labelled-subjects" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_plugin_replaces_what_its_teachers_put_out(unit, tmp_path, monkeypatch):
    text = '''
from dataclasses import replace

from mmkd import METHODS, Method, Replacement


@METHODS.register("doubled")
class Doubled(Method):
    """Soft targets of twice the logits, for a test of 2026."""

    def retarget(self, teaching):
        def read(index, copies, number):
            found = teaching.read(index, copies, number)
            return {name: replace(outputs, logits=2 * outputs.logits) for name, outputs in found.items()}

        return Replacement(read, {"factor": 2})

    def losses(self, student, teachers, batch):
        return {**self.supervised(student, batch), "soft": self.soft(student, teachers, 1.0)}
'''
    (tmp_path / "doubled.py").write_text(text)
    load_plugin(tmp_path / "doubled.py")
    prepared = prepare_unit(*unit("doubled"))
    own, _ = own_logits(unit)
    torch.testing.assert_close(taught(prepared), 2 * own)
    assert prepared.replaced == {"factor": 2}
    monkeypatch.setattr(METHODS.get("doubled"), "teacher_parameters", lambda self, nets: nets["sig"].parameters())
    with pytest.raises(MmkdError, match="cannot replace"):
        prepare_unit(*unit("doubled"))
