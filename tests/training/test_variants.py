"""Changed copies of training windows: what student and teachers read of them, stored or anew, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmkd import METHODS, Batch, MmkdError, ReadsVariants
from mmkd.bench import main
from mmkd.training.loop import _read, _terms
from mmkd.training.preparation import prepare_unit
from mmkd.training.setup import build_method, make_setup
from mmkd.training.student import train_student
from mmkd.training.variants import Variants, with_variants
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

SMALL = {"students": ("sig+gaf",), "teachers": ("sig,gaf",), "epochs": 1, "teacher_epochs": 1, "image_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("variants")


def prepared(sines, folder, **settings):
    ((spec, data),) = expand(Request(("tsd",), data=str(sines), **{**SMALL, **settings}))
    workspace = Workspace(folder / "runs", cache_folder=folder / "cache")
    unit = prepare_unit(spec, data, workspace)
    return replace(unit, windows=with_variants(unit, workspace)), workspace


AUGMENTED = {"augment": ("jitter:0.1", "mixup:0.2")}
KINDS = [{}, {**AUGMENTED, "augment_copies": 2}, AUGMENTED]


@pytest.mark.parametrize("settings", KINDS, ids=["plain", "copies", "anew"])
def test_views_and_logits_are_those_of_the_changed_windows(sines, folder, settings):
    """Against one window at a time: raw, changed, its view made, its teacher asked."""
    unit, _ = prepared(sines, folder, **settings)
    windows, variants = unit.windows, unit.windows.variants
    rows = windows.rows(np.array([3, 0, 5]), 1)
    views = windows.load_rows(rows)
    joined, outputs = variants.join(rows, views, unit.source.outputs(rows, views))
    for name in ("sig", "gaf"):
        made = joined[name]
        assert len(made) == 3 + 3 * 8
        torch.testing.assert_close(made[:3], views[name])
        for b, row in enumerate(rows):
            if windows.augmented is None:
                raw = unit.data.x[windows.train[row]]
            else:
                raw = windows.augmented.raw(np.array([row]))[0]
            changed = unit.method.variants(torch.from_numpy(np.asarray(raw, np.float32))[None])[0]
            modality = unit.views[name].modality
            for m in range(8):
                view = torch.from_numpy(modality.transform(changed[m : m + 1].numpy()))
                torch.testing.assert_close(made[3 + 8 * b + m], view[0], rtol=1e-5, atol=1e-5)
                with torch.no_grad():
                    logits = unit.teachers[name].network({name: view}).logits[0]
                torch.testing.assert_close(outputs[name].variants[b, m], logits, rtol=1e-4, atol=1e-4)


def test_the_student_reads_windows_and_copies_in_one_batch(sines, folder):
    unit, _ = prepared(sines, folder)
    windows = unit.windows
    setup = make_setup(unit.student, windows, unit.source, unit.training)
    build_method(unit.method, setup, 0)
    inputs = _read(windows, unit.source, unit.training, 0, 0, setup.targets, torch.tensor([1, 2, 4]))
    unit.student.train()
    whole = unit.student(inputs[0])
    seen = []
    real = unit.method.terms
    unit.method.terms = lambda student, *more: seen.append(student) or real(student, *more)
    terms = _terms(unit.student, unit.method, unit.training, windows.device, inputs)
    (student,) = seen
    assert student.logits.shape == (3, 3)
    assert student.variants.shape == (3, 8, 3)
    assert {name: x.logits.shape[0] for name, x in student.branches.items()} == {"sig": 3, "gaf": 3}
    assert student.branches["gaf"].variants.shape == (3, 8, 3)
    assert all(len(x) == 3 for x in (student.embedding, *student.branches["sig"].features.values()))
    torch.testing.assert_close(student.variants.flatten(0, 1), whole.logits[3:])
    assert terms["tsd"] > 0
    terms["tsd"].backward()
    assert sum(float(p.grad.abs().sum()) for p in unit.student.parameters() if p.grad is not None) > 0


def test_stored_and_made_anew_are_the_same(sines, folder, monkeypatch):
    unit, workspace = prepared(sines, folder)
    rows = np.array([4, 1])
    stored = unit.windows.variants.views(rows, ("sig", "gaf"))
    assert set(unit.windows.variants._views) == {"sig", "gaf"}
    again = Variants(unit, workspace)
    monkeypatch.setattr("mmkd.training.variants.STORED_BYTES", 0)
    made = again.views(rows, ("sig", "gaf"))
    assert not again._views
    for name in stored:
        torch.testing.assert_close(stored[name], made[name])
    monkeypatch.setattr(again, "_make", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(again, "_ask", lambda *_: pytest.fail("asked again"))
    torch.testing.assert_close(again.logits("sig", rows), unit.windows.variants.logits("sig", rows))


def test_other_options_have_other_copies(sines, folder):
    keys = set()
    for options in ({}, {"segments": 4}, {"fill": "mean"}, {"weight": 2.0}):
        unit, _ = prepared(sines, folder, options={"tsd": options})
        keys.add(unit.windows.variants.key)
    assert len(keys) == 3, "the weight changes no window"


def test_without_copies_no_training_begins(sines, folder, monkeypatch):
    """So that the term is never left out in silence."""
    unit, workspace = prepared(sines, folder)
    monkeypatch.setattr("mmkd.training.student.with_variants", lambda unit, _: replace(unit.windows, variants=None))
    with pytest.raises(AssertionError, match="variants"):
        train_student(unit, workspace)


def test_a_student_that_is_taught_saliency_has_more_of_it(sines, folder):
    """Than one whose term has weight 0, from the same start."""
    distances = []
    for weight in (0.0, 30.0):
        options = {"tsd": {"kd_weight": 0.0, "weight": weight}}
        lines = {"students": ("sig",), "teachers": ("sig",), "epochs": 4, "teacher_epochs": 4}
        unit, workspace = prepared(sines, folder, **lines, options=options)
        windows = unit.windows
        train_student(replace(unit, windows=replace(windows, variants=None)), workspace)
        rows = np.arange(len(windows.train))
        views = windows.load_rows(rows)
        joined, teachers = windows.variants.join(rows, views, unit.source.outputs(rows, views))
        with torch.no_grad():
            student = unit.student.eval()(joined).split_variants(len(rows))
        batch = Batch(torch.from_numpy(windows.y[windows.train]), torch.from_numpy(rows))
        distances.append(METHODS.get("tsd")().losses(student, teachers, batch)["tsd"].item())
    assert distances[1] < 0.7 * distances[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tsd.segments", "40"), "--segments"),
        (("--teacher-net", "sig=random-forest"), "--teacher-net"),
        (("--teacher-targets", "out-of-fold:2"), "--teacher-targets fitted"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(sines, tmp_path, capsys, monkeypatch, flags, words):
    monkeypatch.setattr("mmkd.training.student.run_unit", lambda *_: pytest.fail("something is trained"))
    where = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--data", str(sines)]
    common = ["--student", "sig", "--teachers", "sig", "--epochs", "1", *where]
    assert main(["--method", "tsd", *flags, *common]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*/result.json"))


def test_a_method_that_reads_variants_says_which():
    class Bare(ReadsVariants):
        """Bare, 2026."""

    with pytest.raises(NotImplementedError, match="Bare"):
        Bare().variants(torch.zeros(1, 2, 3))
    assert isinstance(METHODS.get("tsd")(), ReadsVariants)
    with pytest.raises(MmkdError):
        METHODS.get("tsd")(segments=1)
