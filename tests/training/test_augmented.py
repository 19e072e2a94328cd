"""Augmented training windows: what is read when, of which copies, by whom; and that nothing else is augmented."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd import METHODS, Batch, MmkdError, Outputs
from mmkd.core.errors import UnitFailed
from mmkd.core.progress import Progress
from mmkd.specs.unit import Training
from mmkd.store.cache import Cache
from mmkd.training import loop, preparation
from mmkd.training.augmented import AugmentedWindows
from mmkd.training.data import TrainingData
from mmkd.training.teacher_outputs import CachedTeachers, LiveTeachers, OwnViews
from mmkd.views import GAF, Signal

TRAIN = np.array([3, 11, 4, 20, 8, 9, 1])
LABELLED = np.array([True, False, True, True, False, False, True])


def augmented(tmp_path, copies=0, augment=("jitter:0.5", "mixup:0.4"), train=TRAIN, labelled=None, role="student"):
    x = np.random.default_rng(0).normal(size=(24, 2, 16)).astype(np.float32)
    modalities = {"sig": Signal().fit(x[train]), "gaf": GAF(size=8)}
    return AugmentedWindows(
        x,
        fitted_on=TRAIN,
        train=train,
        training=Training(augment=augment, augment_copies=copies),
        modalities=modalities,
        view_keys={"sig": "a", "gaf": "b"},
        seed=1,
        role=role,
        labelled=labelled,
        cache=Cache(tmp_path),
        progress=Progress(),
    )


def test_copies_are_what_is_drawn_anew_for_as_many_times(tmp_path):
    live, stored = augmented(tmp_path), augmented(tmp_path, copies=3)
    positions = np.array([5, 0, 2])
    for number in range(8):
        rows, kept = live.rows(positions, number), stored.rows(positions, number)
        assert rows.tolist() == (positions + 7 * number).tolist()
        assert kept.tolist() == (positions + 7 * (number % 3)).tolist()
        views = stored.views(kept, ("sig", "gaf"))
        again = live.views(live.rows(positions, number % 3), ("sig", "gaf"))
        for name, view in views.items():
            assert np.allclose(view, again[name], atol=1e-6)
            if number % 3:
                assert not np.allclose(view, live.views(positions, ("sig", "gaf"))[name], atol=1e-3)
    assert stored.count == 21
    assert len(list((tmp_path / "views").glob("*/view.npy"))) == 2


def test_views_are_made_of_the_mixture_of_two_augmented_windows(tmp_path):
    both, alone = augmented(tmp_path), augmented(tmp_path, augment=("jitter:0.5",))
    rows = np.arange(7) + 14
    mixing = both.mixing(rows)
    assert alone.mixing(rows) is None
    one, other = alone.raw(rows), alone.raw(mixing.partners + 14)
    shares = mixing.shares[:, None, None]
    assert np.allclose(both.raw(rows), shares * one + (1 - shares) * other, atol=1e-5)
    wanted = both.modalities["sig"].transform(shares * one + (1 - shares) * other)
    assert np.allclose(both.views(rows, ("sig",))["sig"], wanted, atol=1e-5)


def test_labelled_windows_are_the_same_whichever_others_there_are(tmp_path):
    """A student that reads labelled windows alone sees the copies that another one sees beside unlabelled windows."""
    every = augmented(tmp_path, copies=2, labelled=LABELLED)
    few = augmented(tmp_path, copies=2, train=TRAIN[LABELLED])
    few.modalities = every.modalities
    for number in range(2):
        all_rows, few_rows = every.rows(np.flatnonzero(LABELLED), number), few.rows(np.arange(4), number)
        assert np.allclose(every.raw(all_rows), few.raw(few_rows), atol=1e-6)
        partners = every.mixing(all_rows).partners
        assert LABELLED[partners].all()
        assert (TRAIN[partners] == TRAIN[LABELLED][few.mixing(few_rows).partners]).all()
    assert not LABELLED[every.mixing(np.flatnonzero(~LABELLED)).partners].any()
    assert every.key != few.key


def test_the_key_hangs_on_everything_that_copies_hang_on(tmp_path):
    usual = augmented(tmp_path, copies=2)
    others = [
        augmented(tmp_path, copies=3),
        augmented(tmp_path, copies=2, augment=("jitter:0.5",)),
        augmented(tmp_path, copies=2, train=TRAIN[::-1]),
        augmented(tmp_path, copies=2, role="teacher/sig"),
        augmented(tmp_path, copies=2, labelled=LABELLED),
    ]
    assert len({usual.key, *(other.key for other in others)}) == 6
    assert augmented(tmp_path / "elsewhere", copies=2).key == usual.key


def training_data(tmp_path, **settings):
    kept = augmented(tmp_path, **settings)
    views = {name: modality.transform(kept.x) for name, modality in kept.modalities.items()}
    y = np.arange(24) % 3
    return TrainingData(views, y, TRAIN, np.array([0, 2]), "abc", torch.device("cpu"), augmented=kept)


def test_batches_have_both_labels_and_the_rows_of_their_pass(tmp_path):
    data = training_data(tmp_path, copies=2)
    targets = torch.from_numpy(data.y[data.train])
    seen = []

    class Source:
        def outputs(self, positions, views):
            seen.append(positions)
            return {}

    index = torch.tensor([4, 1])
    views, _, batch = loop._read(data, Source(), Training(epochs=9), 5, 3, targets, index)
    assert seen[0].tolist() == [11, 8]
    assert torch.equal(views["gaf"], torch.from_numpy(data.augmented.views(seen[0], ("gaf",))["gaf"]))
    mixing = data.augmented.mixing(seen[0])
    assert torch.equal(batch.targets, targets[index])
    assert torch.equal(batch.mixed[0], targets[mixing.partners])
    assert batch.mixed[1].tolist() == mixing.shares.tolist()
    assert data.select_views(["sig"]).load_rows(seen[0]).keys() == {"sig"}
    plain = replace(data, augmented=None)
    views, _, batch = loop._read(plain, Source(), Training(epochs=9), 5, 3, targets, index)
    assert batch.mixed is None
    assert seen[1].tolist() == [4, 1]
    assert torch.equal(views["sig"], plain.load_views(TRAIN[[4, 1]])["sig"])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("labelled", [None, torch.tensor([True, True, False, True, False])])
def test_cross_entropy_of_mixtures(smoothing, labelled):
    torch.manual_seed(0)
    logits = torch.randn(5, 3, requires_grad=True)
    targets, others = torch.tensor([0, 2, -1, 1, -1]), torch.tensor([1, 0, -1, 1, -1])
    if labelled is None:
        targets, others = targets.clamp(min=0), others.clamp(min=0)
    shares = torch.tensor([0.9, 0.5, 0.6, 1.0, 0.7])
    batch = Batch(targets, torch.arange(5), labelled=labelled, mixed=(others, shares))
    losses = []
    for row in range(5):
        if labelled is None or labelled[row]:
            wanted = torch.full((3,), smoothing / 3)
            wanted[targets[row]] += (1 - smoothing) * shares[row]
            wanted[others[row]] += (1 - smoothing) * (1 - shares[row])
            losses.append(-(wanted * logits[row].log_softmax(0)).sum())
    wanted = sum(losses) / len(losses)
    terms = METHODS.get("kd")(label_smoothing=smoothing).supervised(Outputs(logits, torch.randn(5, 4)), batch)
    torch.testing.assert_close(terms["ce"], wanted)
    gradients = [torch.autograd.grad(term, logits, retain_graph=True)[0] for term in (terms["ce"], wanted)]
    torch.testing.assert_close(*gradients)


SETTINGS = {"student": "sig", "teachers": "sig,gaf", "student_net": "small"}


def prepared(monkeypatch):
    """The units that are prepared from now on."""
    units = []
    real = preparation.prepare_unit
    monkeypatch.setattr("mmkd.training.student.prepare_unit", lambda *a: units.append(real(*a)) or units[-1])
    return units


@pytest.fixture
def read(monkeypatch):
    """(views of a batch, mixed) of every batch of a student, in order: the first values of each view."""
    batches = []
    real = loop._read

    def spy(windows, teachers, *args):
        inputs = real(windows, teachers, *args)
        if windows.augmented is not None:
            values = {name: view.flatten(1).numpy() for name, view in inputs[0].items()}
            batches.append((windows.augmented, values, inputs[2].mixed, inputs[1]))
        return inputs

    monkeypatch.setattr(loop, "_read", spy)
    return batches


@pytest.mark.parametrize("copies", [0, 2])
def test_all_methods_of_a_seed_read_the_same_windows(copies, tiny, tmp_path, read):
    settings = {**tiny, **SETTINGS, "augment": ("jitter:0.1", "mixup:0.4"), "augment_copies": copies}
    seen = {}
    for method in ("student", "kd", "fitnet"):
        read.clear()
        mmkd.run(method, runs=tmp_path, **settings)
        seen[method] = [batch for batch in read if batch[0] is read[-1][0]]  # those of the student, not of a teacher
    for method in ("kd", "fitnet"):
        assert len(seen[method]) == len(seen["student"])
        for (_, one, mixed, _), (_, other, mixed_too, _) in zip(seen["student"], seen[method], strict=True):
            assert np.array_equal(one["sig"], other["sig"])
            assert torch.equal(mixed[0], mixed_too[0])
            assert torch.equal(mixed[1], mixed_too[1])
    first, *_, last = (batch[1]["sig"] for batch in seen["student"])
    assert not np.array_equal(first[: len(last)], last[: len(first)])


def test_a_teacher_reads_other_windows_than_the_student(tiny, tmp_path, read):
    """And new ones in each epoch, where students read copies."""
    settings = {**tiny, "student": "sig", "teachers": "sig", "augment": ("jitter:0.1",), "augment_copies": 1}
    mmkd.run("kd", runs=tmp_path, cache=tmp_path, **{k: v for k, v in settings.items() if k != "cache"})
    by_windows = {}
    for kept, values, *_ in read:
        by_windows.setdefault(id(kept), (kept, []))[1].append(values["sig"])
    (teacher, of_teacher), (student, of_student) = by_windows.values()
    assert (teacher.copies, student.copies) == (0, 1)
    rows = [{row.tobytes() for view in views for row in view} for views in (of_teacher, of_student)]
    steps = len(of_student) // 3
    windows = sum(map(len, of_student[:steps]))
    assert len(rows[0]) == 3 * windows
    assert windows <= len(rows[1]) <= len(student.train)  # the last window of an epoch may be left out
    assert not rows[0] & rows[1]


@pytest.mark.parametrize("copies", [0, 2])
def test_validation_and_test_windows_are_not_augmented(copies, tiny, tmp_path):
    """The stored student, which reads windows as they are, gives the predictions that are on record."""
    settings = {**tiny, "augment": ("jitter:5",), "augment_copies": copies}
    record = mmkd.run("student", runs=tmp_path, student="sig+gaf", **settings)
    student = mmkd.load_student(record.folder)
    x = np.load(tiny["data"])["x"]
    predictions = np.load(record.folder / "predictions.npz")
    assert np.allclose(student.predict_proba(x[predictions["window"]]), predictions["probabilities"], atol=1e-5)
    teacher = mmkd.run("kd", runs=tmp_path, student="sig", teachers="gaf", **settings)
    assert teacher.metrics.test.keys() >= {"accuracy"}


@pytest.mark.parametrize(("copies", "source"), [(0, LiveTeachers), (2, CachedTeachers)])
@pytest.mark.parametrize("method", ["kd", "at"])
def test_teachers_put_out_what_they_say_of_the_augmented_windows(
    method, copies, source, tiny, tmp_path, monkeypatch, read
):
    units = prepared(monkeypatch)
    settings = {**tiny, **SETTINGS, "augment": ("jitter:0.1", "shift:0.2"), "augment_copies": copies}
    mmkd.run(method, runs=tmp_path, **settings)
    (unit,) = units
    assert isinstance(unit.source, source)
    kept = unit.windows.augmented
    assert unit.windows.views.keys() == ({"sig"} if copies else {"sig", "gaf"})
    rows = kept.rows(np.array([3, 0, 17, 5]), 1)
    views = {name: torch.from_numpy(view) for name, view in kept.views(rows, ("sig", "gaf")).items()}
    found = unit.source.outputs(rows, views)
    for name, teacher in unit.teachers.items():
        wanted = teacher.network(views)
        torch.testing.assert_close(found[name].logits, wanted.logits, rtol=1e-4, atol=1e-5)
        for stage in wanted.features if method == "at" else ():
            torch.testing.assert_close(found[name].features[stage], wanted.features[stage], rtol=1e-4, atol=1e-5)


def test_maps_that_are_too_large_are_those_of_live_teachers_on_the_copies(tiny, tmp_path, monkeypatch):
    real = preparation.make_teacher_source
    settings = {**tiny, **SETTINGS, "augment": ("jitter:0.1",), "augment_copies": 2}
    stored = mmkd.run("at", runs=tmp_path / "stored", **settings)
    monkeypatch.setattr(preparation, "make_teacher_source", lambda *a, **k: real(*a, **k, budget=0))
    units = prepared(monkeypatch)
    live = mmkd.run("at", runs=tmp_path / "live", **settings)
    assert isinstance(units[0].source, LiveTeachers)
    assert units[0].windows.augmented.is_stored
    for name in ("nll", "macro_f1"):
        assert live.metrics.test[name] == pytest.approx(stored.metrics.test[name], abs=1e-4)


@pytest.mark.parametrize("copies", [0, 2])
def test_teachers_with_windows_of_their_own_read_their_views_of_the_students_windows(
    copies, tiny, tmp_path, monkeypatch
):
    units = prepared(monkeypatch)
    settings = {**tiny, **SETTINGS, "augment": ("jitter:0.1",), "augment_copies": copies, "epoch_rule": "last"}
    mmkd.run("eskd", runs=tmp_path, **settings)
    (unit,) = units
    assert isinstance(unit.source, CachedTeachers if copies else OwnViews)
    rows = unit.windows.augmented.rows(np.array([1, 12, 7]), 1)
    raw = torch.from_numpy(unit.windows.augmented.raw(rows)).numpy()
    teacher = unit.spec.teacher("sig")
    workspace = unit_workspace(tmp_path, tiny)
    _, view = preparation.teacher_view(teacher, unit.data, workspace)
    assert view.modality.state() != unit.views["sig"].modality.state()
    wanted = unit.teachers["sig"].network({"sig": torch.from_numpy(view.modality.transform(raw))}).logits
    found = unit.source.outputs(rows, {})["sig"].logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def unit_workspace(tmp_path, tiny):
    from mmkd.training.workspace import Workspace

    return Workspace(tmp_path, tiny["cache"], device="cpu")


@pytest.mark.parametrize("copies", [0, 2])
def test_a_training_that_was_cut_off_goes_on_bit_for_bit(copies, tiny, tmp_path, monkeypatch):
    settings = {**tiny, "student": "sig", "teachers": "sig", "augment": ("jitter:0.1", "mixup:0.4", "scale:0.1")}
    settings |= {"augment_copies": copies}
    whole = mmkd.run("kd", runs=tmp_path / "whole", **settings)
    real = loop.train_epoch
    with monkeypatch.context() as patch:

        def cut(network, method, *args, **kwargs):
            if kwargs["epoch"] == 1:
                raise RuntimeError("cut")
            return real(network, method, *args, **kwargs)

        patch.setattr(loop, "train_epoch", cut)
        with pytest.raises(UnitFailed, match="cut"):
            mmkd.run("kd", runs=tmp_path / "cut", **settings)
    again = mmkd.run("kd", runs=tmp_path / "cut", **settings)
    one, other = (load_file(record.folder / "student.safetensors") for record in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_with_steps_a_pass_reads_its_own_windows(tiny, tmp_path, read):
    """Copy p mod N in pass p, in trainings of a fixed number of steps too."""
    mmkd.run("student", runs=tmp_path, student="sig", augment=("jitter:0.1",), augment_copies=2, steps=9, batch_size=20,
             **{k: v for k, v in tiny.items() if k != "epochs"})  # fmt: skip
    kept = read[0][0]
    copies = [{row.tobytes() for row in np.asarray(kept._copies_of("sig")).reshape(2, -1, 64)[n]} for n in range(2)]
    a_pass = len(kept.train) // 20
    for step, (_, values, _, _) in enumerate(read):
        assert {row.tobytes() for row in values["sig"]} <= copies[step // a_pass % 2]
    assert len(read) == 9


PLUGIN = """
import numpy as np
from mmkd import AUGMENTATIONS, Augmentation

@AUGMENTATIONS.register("mine")
class Mine(Augmentation):
    "Adds its amount."
    name = "mine"

    def apply(self, x, draws, channels):
        return x + self.amount * draws.normal(1, 1)
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return x[:, :1]", "apply returned float32 (8, 1, 32); it must be numbers of shape (8, 2, 32)"),
        ("return x + np.random.normal()", "returns something else each time for the same draws"),
        ("return x * np.nan", "apply returned NaN or infinity"),
        ("return x.tolist()", "apply returned list"),
        ("return 1 / 0", "fails on windows (8, 2, 32): ZeroDivisionError"),
        ("return None", "apply returned NoneType"),
    ],
)
def test_what_a_plugin_does_wrong_is_said_before_a_training(line, message, tiny, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.replace("return x + self.amount * draws.normal(1, 1)", line))
    with pytest.raises(MmkdError, match=r"augmentation 'mine:1' \(class Mine\)") as error:
        mmkd.run("student", runs=tmp_path / "runs", student="sig", plugin=plugin, augment=("mine:1",), **tiny)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("[!.c]*"))


def test_a_plugin_runs_and_an_edit_changes_the_keys(tiny, tmp_path):
    plugin = tmp_path / "mine.py"
    keys = []
    for text in (PLUGIN, f"{PLUGIN}# edited"):
        plugin.write_text(text)
        settings = {**tiny, "student": "sig", "teachers": "sig", "plugin": plugin, "epochs": 1}
        record = mmkd.run("kd", runs=tmp_path / "runs", augment=("mine:0.1",), augment_copies=1, **settings)
        assert record.unit.sources.keys() == {"augmentation mine"}
        alone = mmkd.run("student", runs=tmp_path / "runs", augment=("mine:0.1",), augment_copies=1, **settings)
        mmkd.load_student(record.folder)
        keys += [record.key, alone.key, *record.teachers.values()]
        without = mmkd.run("student", runs=tmp_path / "runs", **settings)
        keys.append(without.key)
    assert len(set(keys)) == 7
