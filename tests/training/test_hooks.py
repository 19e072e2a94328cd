"""Teachers that train too, and a method's own outer optimisation: where the loop meets them, and what it keeps."""

import copy
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mmkd
from mmkd import METHODS, Method, MmkdError, Outer
from mmkd.core.errors import UnitFailed
from mmkd.core.progress import Progress
from mmkd.nets import build_student, build_teacher
from mmkd.specs.unit import Training
from mmkd.training import distributed as parallel
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.teacher_outputs import LiveTeachers, MovingTeachers
from mmkd.training.teachers import Teacher

SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16)}
TRAINING = Training(epochs=3, batch_size=16)
WITH_HOOKS = {"c2kd": {}, "mst-distill": {}, "crd": {}, "meta-mkd": {"meta_every": 1, "buffer": 24}, "mtkd-rl": {}}


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    views = {
        m: (rng.normal(size=(60, *s)) + y.reshape(-1, *[1] * len(s))).astype(np.float32) for m, s in SHAPES.items()
    }
    return TrainingData(views, y, np.arange(40), np.arange(40, 60), "abc", torch.device("cpu"))


def student():
    torch.manual_seed(0)
    return build_student("small", SHAPES, 3)


def teachers():
    torch.manual_seed(1)
    nets = {m: build_teacher("WRN10-1", m, s, 3).eval() for m, s in SHAPES.items()}
    return {m: Teacher(None, net, None) for m, net in nets.items()}


def source(method, taught):
    moving = list(method.teacher_parameters({m: t.network for m, t in taught.items()}))
    return (MovingTeachers if moving else LiveTeachers)(taught)


def states(*modules):
    return [{k: v.clone() for k, v in module.state_dict().items()} for module in modules]


def same(a, b):
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True))


def run(name, windows, checkpoint=None, **options):
    """What training leaves: student, method and copies of teachers."""
    net, method = student(), METHODS.get(name)(**options)
    given = source(method, teachers())
    train(net, method, windows, given, training=TRAINING, seed=0, label="", progress=Progress(), checkpoint=checkpoint)
    return states(net, method, *given.networks.values())


@pytest.mark.parametrize("name", WITH_HOOKS)
def test_a_cut_training_goes_on_bit_for_bit(name, windows, tmp_path, monkeypatch):
    """With copies of teachers, the moments of the outer optimisation, counters and buffers of the method."""
    from mmkd.training import loop, state

    monkeypatch.setattr(state, "SAVE_EVERY_S", 0.0)
    whole, real, seen = run(name, windows, **WITH_HOOKS[name]), loop.train_epoch, []

    def cut(network, method, windows, teachers, **settings):
        seen.append(settings["epoch"])
        row = real(network, method, windows, teachers, **settings)
        if seen == [0, 1]:
            raise RuntimeError("cut")
        return row

    monkeypatch.setattr(loop, "train_epoch", cut)
    kept = Checkpoint(tmp_path / "kept")
    with pytest.raises(RuntimeError, match="cut"):
        run(name, windows, kept, **WITH_HOOKS[name])
    again = run(name, windows, kept, **WITH_HOOKS[name])
    assert seen == [0, 1, 1, 2]
    assert same(whole, again)
    assert len(whole) == 2 + 2 * (name in ("c2kd", "mst-distill"))


@pytest.mark.parametrize("name", WITH_HOOKS)
def test_student_and_every_parameter_of_the_method_train(name, windows):
    net, method, taught = student(), METHODS.get(name)(**WITH_HOOKS[name]), teachers()
    given, before, built = source(method, taught), states(net)[0], {}
    real = method.build

    def build(setup):
        real(setup)
        built.update({k: p.detach().clone() for k, p in method.named_parameters()})

    method.build = build
    originals = states(*(t.network for t in taught.values()))
    train(net, method, windows, given, training=TRAINING, seed=0, label="", progress=Progress())
    assert all(not torch.equal(before[k], p) for k, p in net.named_parameters())
    still = [k for k, p in method.named_parameters() if torch.equal(built[k], p)]
    assert not still
    assert same(originals, states(*(t.network for t in taught.values())))
    assert all(p.grad is None for t in taught.values() for p in t.network.parameters())
    for m, copied in given.networks.items():
        own = dict(taught[m].network.named_parameters())
        assert all(not torch.equal(own[k], p) for k, p in copied.named_parameters())


class Named(Method):
    """Trains the last layer of the signal teacher alone. Test 2026."""

    modes = ()

    def teacher_parameters(self, teachers):
        return [p for n, p in teachers["sig"].named_parameters() if "head" in n or "linear" in n or "classifier" in n]

    def losses(self, student, teachers, batch):
        self.modes = {m: t.logits.requires_grad for m, t in teachers.items()}
        wrong = [F.cross_entropy(t.logits, batch.targets) for t in teachers.values()]
        return {**self.supervised(student, batch), "teachers": torch.stack(wrong).sum()}


def test_what_is_not_named_rests(windows):
    net, method, taught = student(), Named(), teachers()
    given = MovingTeachers(taught)
    named = {id(p) for p in method.teacher_parameters(given.networks)}
    assert 0 < len(named) < 4
    train(net, method, windows, given, training=TRAINING, seed=0, label="", progress=Progress())
    assert method.modes == {"sig": True, "gaf": False}
    for m, copied in given.networks.items():
        own = dict(taught[m].network.named_parameters())
        for k, p in copied.named_parameters():
            assert torch.equal(own[k], p) == (id(p) not in named), k
    moved = {m: not same(states(taught[m].network), states(n)) for m, n in given.networks.items()}
    assert moved == {"sig": True, "gaf": False}
    assert given.networks["sig"].training
    assert not given.networks["gaf"].training  # its running averages rest too


def test_outer_is_adam():
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(9, 3)
    other = copy.deepcopy(module)
    outer = Outer(module, lr=0.05, weight_decay=0.01)
    adam = torch.optim.Adam(other.parameters(), lr=0.05, weight_decay=0.01)
    assert not any(p.requires_grad for p in outer.parameters())
    for _ in range(5):
        value = outer.lower(lambda: outer(x).square().mean())
        loss = other(x).square().mean()
        assert value.item() == pytest.approx(loss.item(), rel=1e-6)
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert not any(p.requires_grad for p in outer.parameters())
    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ZeroDivisionError):
        outer.lower(lambda: 1 / 0)
    assert not any(p.requires_grad for p in outer.parameters())


class Two(parallel.ProcessGroup):
    """One of two processes, that never meets the other."""

    rank, world_size = 0, 2

    @contextmanager
    def synchronized(self, parameters=()):
        yield

    def sum_over_processes(self, sums):
        return {name: value * (2 if name == "epochs" else 1) for name, value in sums.items()}

    def shard(self, positions, minimum):
        return parallel.shard(positions, 0, 2, minimum)


def test_several_processes_are_refused_to_methods_with_an_after_step_alone(windows):
    for name in WITH_HOOKS:
        method, net = METHODS.get(name)(**WITH_HOOKS[name]), student()
        arguments = (net, method, windows, source(method, teachers()))
        settings = {"training": TRAINING, "seed": 0, "label": "", "progress": Progress()}
        if name in ("crd", "meta-mkd", "mtkd-rl"):
            with pytest.raises(MmkdError, match=f"{name} .*in place of torchrun"):
                train(*arguments, **settings, group=Two())
        else:
            train(*arguments, **settings, group=Two())


def test_an_outer_step_sees_the_windows_that_it_asks_for(windows):
    seen = []

    class Asks(Method):
        """Reads some windows. Test 2026."""

        def losses(self, student, teachers, batch):
            return self.supervised(student, batch)

        def after_step(self, step):
            views, taught, batch = step.read(torch.tensor([5, 0]))
            seen.append((views, taught, batch, step))

    net = student()
    train(
        net,
        Asks(),
        windows,
        LiveTeachers(teachers()),
        training=replace(TRAINING, epochs=1),
        seed=0,
        label="",
        progress=Progress(),
    )
    assert len(seen) == 3
    views, taught, batch, step = seen[-1]
    assert step.student is net
    assert len(step.batch.index) == 8
    assert step.rate > 0
    assert batch.targets.tolist() == windows.y[[5, 0]].tolist()
    for m, view in views.items():
        assert np.array_equal(view.numpy(), windows.views[m][[5, 0]])
        torch.testing.assert_close(taught[m].logits, teachers()[m].network(views).logits)


def test_an_outer_step_that_fails_is_found_before_anything_is_trained(tiny, tmp_path):
    plugin = tmp_path / "breaks.py"
    plugin.write_text(
        '''"""Breaks. Test 2026."""
from mmkd import METHODS, Method


@METHODS.register("breaks")
class Breaks(Method):
    """Breaks after a step. Test 2026."""

    def losses(self, student, teachers, batch):
        return self.supervised(student, batch)

    def after_step(self, step):
        raise KeyError("gone")
'''
    )
    with pytest.raises(UnitFailed, match="made-up batch: KeyError"):
        mmkd.run("breaks", **{**tiny, "cache": tmp_path / "cache"}, runs=tmp_path / "runs", plugin=plugin)
    assert not list(tmp_path.glob("cache/teachers/*"))


def test_a_unit_with_moving_teachers_leaves_those_of_the_cache_alone(tiny, tmp_path):
    common = {**tiny, "student": "sig", "teachers": "sig,gaf"}
    mmkd.run("kd", runs=tmp_path, **common)
    folders = [p for p in (tiny["cache"] / "teachers").iterdir() if p.is_dir()]
    before = {p: p.read_bytes() for folder in folders for p in folder.glob("*.safetensors")}
    record = mmkd.run("c2kd", runs=tmp_path, **common)
    assert before
    assert before == {p: p.read_bytes() for p in before}
    assert "MovingTeachers" in (record.folder / "events.log").read_text()
