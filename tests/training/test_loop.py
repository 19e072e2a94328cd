"""The loop: it learns, the method's parameters and the student move, the teachers do not, and seeds fix everything."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmkd import METHODS, Method, MethodConfig
from mmkd.core.errors import UnitFailed
from mmkd.core.progress import Progress
from mmkd.nets import build_student, build_teacher
from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.loop import batches, batches_of, train
from mmkd.training.optimization import learning_rate
from mmkd.training.teacher_outputs import LiveTeachers, NoTeachers
from mmkd.training.teachers import Teacher

SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16)}
TRAINING = Training(epochs=3, batch_size=16)
pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    views = {
        m: (rng.normal(size=(60, *s)) + y.reshape(-1, *[1] * len(s))).astype(np.float32) for m, s in SHAPES.items()
    }
    return TrainingData(views, y, np.arange(40), np.arange(40, 60), "abc", torch.device("cpu"))


def student(seed=0):
    torch.manual_seed(seed)
    return build_student("small", SHAPES, 3)


def teachers():
    torch.manual_seed(1)
    nets = {m: build_teacher("WRN10-1", m, s, 3).eval() for m, s in SHAPES.items()}
    return LiveTeachers({m: Teacher(None, net, None) for m, net in nets.items()})


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_student_learns_what_can_be_learnt(windows):
    trained = train(
        student(),
        METHODS.get("student")(),
        windows,
        NoTeachers(),
        training=Training(epochs=15, batch_size=8),
        seed=0,
        label="",
        progress=Progress(),
    )
    assert trained.history[-1]["val_accuracy"] > 0.9
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


@pytest.mark.parametrize("name", ["fam", "fam-1d"])
def test_fam_and_student_move_and_teachers_do_not(windows, name):
    net, method, taught = student(), METHODS.get(name)(), teachers()
    before_net, before_taught = weights(net), {m: weights(t.network) for m, t in taught.teachers.items()}
    built = {}

    class Spy(type(method)):
        def build(self, setup):
            super().build(setup)
            built.update({k: p.detach().clone() for k, p in self.named_parameters()})

    method.__class__ = Spy
    trained = train(net, method, windows, taught, training=TRAINING, seed=0, label="", progress=Progress())
    assert trained.method_parameters > 0
    after = dict(method.named_parameters())
    still = [k for k in built if torch.equal(built[k], after[k])]
    assert built
    assert not still, f"these parameters of {name} never trained: {still}"
    assert all(not torch.equal(before_net[k], v) for k, v in net.named_parameters())
    assert all(same(before_taught[m], weights(t.network)) for m, t in taught.teachers.items())


def test_fam_moves_the_student_elsewhere_than_cross_entropy(windows):
    """A method that runs is not yet one that works: its term must change what the student becomes."""
    ends = {}
    for name in ("student", "fam"):
        net = student()
        train(
            net,
            METHODS.get(name)(),
            windows,
            teachers() if name == "fam" else NoTeachers(),
            training=TRAINING,
            seed=0,
            label="",
            progress=Progress(),
        )
        ends[name] = weights(net)
    assert not same(ends["student"], ends["fam"])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(windows):
    ends = []
    for seed in (0, 0, 1):
        net = student()
        train(
            net, METHODS.get("fam")(), windows, teachers(), training=TRAINING, seed=seed, label="", progress=Progress()
        )
        ends.append(weights(net))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_the_callers_random_state_is_left_alone(windows):
    net, taught = student(), teachers()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(net, METHODS.get("fam")(), windows, taught, training=TRAINING, seed=0, label="", progress=Progress())
    assert torch.equal(before, torch.get_rng_state())


def test_batches_depend_on_seed_and_epoch_only():
    first, again = batches(50, 16, 0, 2), batches(50, 16, 0, 2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert sorted(np.concatenate(first)) == list(range(50))
    assert not (first[0] == batches(50, 16, 0, 3)[0]).all()
    assert not (first[0] == batches(50, 16, 1, 2)[0]).all()


def test_a_last_batch_of_one_is_left_out_unless_it_is_the_only_one():
    assert [len(b) for b in batches(33, 16, 0, 0)] == [16, 16]
    assert [len(b) for b in batches(1, 16, 0, 0)] == [1]


@pytest.mark.parametrize("count", [17, 40, 5, 300])
def test_a_stream_of_batches_is_one_pass_after_the_other(count):
    """The same stream however it is cut into parts; each pass has no window twice, and every batch is full."""
    training = Training(epochs=4, steps=37, batch_size=16)
    parts = [batches_of(training, count, 0, epoch) for epoch in range(4)]
    assert [len(part) for part in parts] == [9, 9, 9, 10]
    stream = [batch for part in parts for batch in part]
    (whole,) = [batches_of(replace(training, epochs=1), count, 0, 0)]
    assert all(a == b and (one == two).all() for (a, one), (b, two) in zip(stream, whole, strict=True))
    size = min(16, count)
    assert {len(positions) for _, positions in stream} == {size}
    assert [number for number, _ in stream] == [step // (count // size) for step in range(37)]
    for number in {number for number, _ in stream}:
        read = np.concatenate([positions for own, positions in stream if own == number])
        assert len(set(read.tolist())) == len(read)
        assert read.tolist() == np.concatenate(batches(count, size, 0, number))[: len(read)].tolist()


def test_a_fixed_number_of_steps_is_taken_whatever_the_pool(windows, monkeypatch):
    """So that a method with more training windows is not trained longer."""
    taken = []
    real = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *args, **more: (taken.append(1), real(*args, **more))[1])
    for count in (40, 24):
        taken.clear()
        pool = replace(windows, train=np.arange(count))
        training = Training(epochs=2, steps=7, batch_size=16)
        method = METHODS.get("student")()
        trained = train(student(), method, pool, NoTeachers(), training=training, seed=0, label="", progress=Progress())
        assert len(taken) == 7
        assert [row["epoch"] for row in trained.history] == [1, 2]


def test_the_best_epoch_is_chosen_on_validation(windows):
    net = student()
    trained = train(
        net,
        METHODS.get("student")(),
        windows,
        NoTeachers(),
        training=Training(epochs=6, batch_size=16),
        seed=0,
        label="",
        progress=Progress(),
    )
    ranks = [(row["val_macro_f1"], -row["val_nll"]) for row in trained.history]
    assert trained.best_epoch == ranks.index(max(ranks))
    assert same(trained.last, weights(net))


def test_without_validation_the_last_epoch_is_kept(windows):
    blind = TrainingData(windows.views, windows.y, np.arange(60), np.arange(0), "abc", windows.device)
    trained = train(
        student(),
        METHODS.get("student")(),
        blind,
        NoTeachers(),
        training=TRAINING,
        seed=0,
        label="",
        progress=Progress(),
    )
    assert trained.best_epoch == 2
    assert same(trained.best, trained.last)
    assert "val_nll" not in trained.history[0]


def test_history_holds_the_mean_of_each_term(windows):
    trained = train(
        student(), METHODS.get("kd")(), windows, teachers(), training=TRAINING, seed=0, label="", progress=Progress()
    )
    for row in trained.history:
        assert row["loss"] == pytest.approx(row["loss/ce"] + row["loss/branch_ce"] + row["loss/kd"], rel=1e-6)


def test_a_loss_that_is_not_finite_breaks_the_unit_off(windows):
    class Broken(Method):
        Config = MethodConfig
        distils = False

        def losses(self, student, teachers, batch):
            return {"ce": student.logits.sum() * math.nan}

    with pytest.raises(UnitFailed, match=r"ce is nan in epoch 1"):
        train(student(), Broken(), windows, NoTeachers(), training=TRAINING, seed=0, label="", progress=Progress())


def test_bfloat16_trains_with_losses_in_float32(windows):
    training = Training(epochs=2, batch_size=16, precision="bf16")
    seen = set()

    class Spy(type(METHODS.get("kd")())):
        def losses(self, student, teachers, batch):
            seen.update({student.logits.dtype, *(b.embedding.dtype for b in student.branches.values())})
            return super().losses(student, teachers, batch)

    train(student(), Spy(), windows, teachers(), training=training, seed=0, label="", progress=Progress())
    assert seen == {torch.float32}


def test_learning_rates():
    cosine = Training(lr=1.0)
    assert learning_rate(cosine, 0.0) < 0.15
    assert learning_rate(cosine, 0.05) == pytest.approx(1.0)
    assert learning_rate(cosine, 0.999) < 1e-3
    steps = Training(lr=0.05, schedule="steps")
    found = [learning_rate(steps, p) for p in (0.0, 0.1, 0.5, 0.9)]
    assert found == pytest.approx([0.05, 0.01, 0.001, 0.0001])
