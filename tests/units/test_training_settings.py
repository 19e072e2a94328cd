"""Learning rate, batch size, optimizer, weight decay and label smoothing: from flags, suites and Python to keys."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

import mmkd
from mmkd import METHODS, MmkdError
from mmkd.bench import main
from mmkd.core.options import recorded
from mmkd.specs.unit import OPTIMIZERS, Training
from mmkd.training.optimization import MAKERS, make_optimizer
from mmkd.units.expansion import expand
from mmkd.units.names import title
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

OWN = {"batch_size": 16, "lr": 0.02, "optimizer": "sgd", "weight_decay": 0.001}


def spec_of(method="kd", **values):
    fast = {"datasets": ("gunpoint",), "students": ("sig",), "teachers": ("sig",)}
    ((spec, _),) = expand(Request(methods=(method,), **{**fast, **values}))
    return spec


def test_what_is_unset_is_the_presets_and_changes_no_key():
    spec = spec_of()
    assert (spec.training.lr, spec.training.optimizer, spec.training.weight_decay) == (2e-3, "adamw", 1e-4)
    assert spec.training.given == spec.teacher_training.given == ()
    same = spec_of(lr=2e-3, optimizer="adamw", weight_decay=1e-4, teacher_label_smoothing=0.0, label_smoothing=0.0)
    assert (same.key, same.teacher("sig").key, title(same)) == (spec.key, spec.teacher("sig").key, title(spec))
    assert not {"label_smoothing", "given"} & set(recorded(spec.teacher_training))


@pytest.mark.parametrize("name", OWN)
def test_each_holds_for_student_and_teachers(name):
    spec = spec_of(**{name: OWN[name]})
    plain = spec_of()
    for training in (spec.training, spec.teacher_training):
        assert getattr(training, name) == OWN[name]
        assert training.given == (name,)
    assert spec.key != plain.key
    assert spec.teacher("sig").key != plain.teacher("sig").key
    word = f"{name.replace('_', '-')}={OWN[name]}"
    assert spec.student_title.endswith(f"(small, {word})")
    assert spec.teacher("sig").title == f"sig WRN16-1 ({word})"
    assert word in title(spec)


@pytest.mark.parametrize("name", [*OWN, "label_smoothing"])
def test_teachers_may_have_their_own(name):
    own = {**OWN, "label_smoothing": 0.1}[name]
    spec, plain = spec_of(**{f"teacher_{name}": own}), spec_of()
    assert getattr(spec.teacher_training, name) == own
    assert replace(spec.training, epochs=1) == replace(plain.training, epochs=1)
    assert spec.teacher("sig").key != plain.teacher("sig").key
    assert spec.key != plain.key
    assert spec_of("student", **{name: own}).teacher_training is None


def test_the_number_of_epochs_follows_the_batch_size():
    """As many steps as the preset has, not as many epochs."""
    assert spec_of(batch_size=2).training.epochs < spec_of().training.epochs
    assert spec_of(batch_size=2, epochs=7).training.epochs == 7


def test_steps_are_set_in_place_of_epochs():
    """For both, for teachers alone, and next to the other one's epochs."""
    both = spec_of(steps=1234)
    assert (both.training.steps, both.training.epochs) == (1234, 12)
    assert (both.teacher_training.steps, both.teacher_training.epochs) == (1234, 12)
    assert both.training.given == ()
    assert both.key != spec_of(epochs=12).key
    assert spec_of(steps=30).training.epochs == 1
    own = spec_of(steps=700, teacher_steps=900)
    assert (own.training.steps, own.teacher_training.steps) == (700, 900)
    mixed = spec_of(steps=700, teacher_epochs=3)
    assert (mixed.training.steps, mixed.teacher_training.steps, mixed.teacher_training.epochs) == (700, 0, 3)
    mixed = spec_of(epochs=3, teacher_steps=900)
    assert (mixed.training.steps, mixed.training.epochs, mixed.teacher_training.steps) == (0, 3, 900)
    assert spec_of("student", steps=700).training.steps == 700


def test_label_smoothing_of_the_student_is_the_option_of_its_method():
    spec = spec_of(label_smoothing=0.2)
    assert spec.options["label_smoothing"] == 0.2
    assert spec.key == spec_of(options={"kd": {"label_smoothing": 0.2}}).key
    assert spec.teacher("sig").key == spec_of().teacher("sig").key
    assert spec.training == spec_of().training
    own = spec_of(label_smoothing=0.2, options={"kd": {"label_smoothing": 0.3}})
    assert own.options["label_smoothing"] == 0.3


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"lr": 0.0}, "lr = 0.0 must be > 0"),
        ({"lr": -1.0}, "lr = -1.0 must be > 0"),
        ({"teacher_lr": float("inf")}, "teacher-lr = inf is not a finite number"),
        ({"lr": "1e-3"}, "lr = '1e-3' is not a number"),
        ({"batch_size": 1}, "batch-size = 1 must be >= 2"),
        ({"weight_decay": -0.1}, "weight-decay = -0.1 must be >= 0"),
        ({"label_smoothing": 1.0}, "label-smoothing = 1.0 must be < 1"),
        ({"teacher_label_smoothing": -0.1}, "teacher-label-smoothing = -0.1 must be >= 0"),
        ({"optimizer": "adanw"}, "unknown optimizer 'adanw'; did you mean 'adamw'?"),
        ({"teacher_optimizer": "SDG"}, "unknown optimizer 'SDG'; did you mean 'sgd'?"),
        ({"steps": 0}, "steps = 0 must be >= 1"),
        ({"steps": 100, "epochs": 3}, "--epochs 3 and --steps 100 both set how long is trained; give one of them"),
        ({"teacher_steps": 9, "teacher_epochs": 3}, "--teacher-epochs 3 and --teacher-steps 9 both set how long"),
        ({"batch_size": 500}, "--batch-size 500: data 'gunpoint' has 50 training windows; give at most as many"),
        ({"teacher_batch_size": 51}, "--teacher-batch-size 51: data 'gunpoint' has 50 training windows"),
    ],
)
def test_values_that_make_no_sense_are_refused(values, line):
    with pytest.raises(MmkdError) as error:
        spec_of(**values)
    assert line in str(error.value)


def test_settings_of_teachers_that_do_not_exist_are_refused():
    with pytest.raises(MmkdError, match=r"--teacher-lr: student has no teachers; leave it out"):
        spec_of("student", teacher_lr=0.1)
    assert len(list(expand(Request(methods=("student", "kd"), teacher_lr=0.1, datasets=("gunpoint",))))) == 2


def test_flags_and_suites_say_the_same(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    lines = 'methods = ["kd"]\ndatasets = ["gunpoint"]\nstudents = ["sig"]\nteachers = ["sig"]\n'
    path.write_text(lines + 'lr = 0.02\nteacher-lr = 0.01\noptimizer = "sgd"\nbatch_size = 16\n', encoding="utf-8")
    ((spec, _),) = expand(read_suite(path))
    assert (spec.training.lr, spec.teacher_training.lr) == (0.02, 0.01)
    assert spec.key == spec_of(lr=0.02, teacher_lr=0.01, optimizer="sgd", batch_size=16).key
    flags = "--method kd --dataset gunpoint --student sig --teachers sig --lr 0.02 --teacher-lr 0.01 --optimizer sgd"
    folders = ["--runs", str(tmp_path / "runs")]
    assert main([*flags.split(), "--batch-size", "16", "--dry-run", *folders]) == 0
    out = capsys.readouterr().out
    assert f"{spec.key}  gunpoint, student sig (small, batch-size=16, lr=0.02, optimizer=sgd), kd, seed 0" in out
    assert "gunpoint, teacher sig WRN16-1 (batch-size=16, lr=0.01, optimizer=sgd), seed 0" in out


def test_the_optimizers_are_those_that_can_be_named():
    assert set(MAKERS) == set(OPTIMIZERS)


@pytest.mark.parametrize(("name", "kind"), [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_an_optimizer_has_what_was_set(name, kind):
    """Compared with a step by hand: a gradient of ones, so that AdamW and Adam move by the learning rate."""
    parameter = nn.Parameter(torch.full((2,), 10.0))
    optimizer = make_optimizer([parameter], Training(optimizer=name, lr=0.5, weight_decay=0.1))
    assert type(optimizer).__name__ == kind
    parameter.grad = torch.ones(2)
    optimizer.step()
    decay = {"adamw": 10 - 10 * 0.5 * 0.1 - 0.5, "adam": 10 - 0.5, "sgd": 10 - 0.5 * (1 + 10 * 0.1)}
    torch.testing.assert_close(parameter.detach(), torch.full((2,), decay[name]), rtol=1e-5, atol=0)


def test_teachers_and_student_train_with_what_was_set(sines, tmp_path, monkeypatch):
    """And the record holds it."""
    made = []

    def spy(parameters, training, **parts):
        made.append(training)
        return make_optimizer(parameters, training, **parts)

    smoothings = []
    student = METHODS.get("student")
    init = student.__init__
    monkeypatch.setattr(student, "__init__", lambda self, *a, **k: (init(self, *a, **k), smoothings.append(k))[0])
    monkeypatch.setattr("mmkd.training.loop.make_optimizer", spy)
    record = mmkd.run(
        "kd",
        data=sines,
        student="sig",
        teachers="sig",
        epochs=1,
        runs=tmp_path / "runs",
        lr=0.01,
        batch_size=6,
        optimizer="sgd",
        weight_decay=0.0,
        teacher_lr=0.003,
        label_smoothing=0.1,
        teacher_label_smoothing=0.2,
    )
    teacher, own = made
    assert (teacher.lr, teacher.batch_size, teacher.optimizer, teacher.label_smoothing) == (0.003, 6, "sgd", 0.2)
    assert (own.lr, own.batch_size, own.optimizer, own.weight_decay) == (0.01, 6, "sgd", 0.0)
    assert smoothings == [{"label_smoothing": 0.2, "class_weights": "none", "focal_gamma": 0.0}]
    stored = record.result["spec"]
    assert stored["training"]["lr"] == 0.01
    assert stored["training"]["given"] == ["batch_size", "lr", "optimizer", "weight_decay"]
    assert stored["teacher_training"]["label_smoothing"] == 0.2
    assert stored["options"]["label_smoothing"] == 0.1
    assert record.unit.key == record.key


def test_options_of_views_that_the_user_set_are_named_and_in_no_key():
    spec = spec_of(teachers=("sig,gaf",), view={"gaf": {"range": "train"}})
    assert spec.given_views == ("gaf.range",)
    assert spec.teacher("gaf").title == "gaf WRN16-1 (gaf.range=train)"
    assert not {"given_views"} & {*recorded(spec), *recorded(spec.teacher("gaf"))}
    usual = spec_of(teachers=("sig,gaf",))
    same = spec_of(teachers=("sig,gaf",), view={"gaf": {"range": usual.views["gaf"]["range"]}})
    assert (same.given_views, same.key) == ((), usual.key)
    assert type(spec).parse(json.loads(json.dumps(asdict(spec)))) == spec
