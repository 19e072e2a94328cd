"""Teachers' outputs: what is read from disk equals what the networks say live."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmkd import METHODS, Batch, MmkdError
from mmkd.core.progress import Progress
from mmkd.nets import build_student, build_teacher
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import TeacherSpec, Training
from mmkd.store.cache import Cache
from mmkd.training.data import TrainingData
from mmkd.training.setup import build_method, make_setup
from mmkd.training.teacher_outputs import CachedTeachers, LiveTeachers, NoTeachers, make_teacher_source
from mmkd.training.teachers import Teacher

SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16)}
FEATURES = frozenset({"features"})
pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    views = {m: rng.normal(size=(50, *s)).astype(np.float32) for m, s in SHAPES.items()}
    return TrainingData(views, np.arange(50) % 3, np.arange(0, 50, 2), np.arange(1, 50, 2), "abc", torch.device("cpu"))


@pytest.fixture
def teachers():
    found = {}
    for m, s in SHAPES.items():
        torch.manual_seed(len(m))
        net = build_teacher("WRN10-1", m, s, 3).eval().requires_grad_(False)
        found[m] = Teacher(TeacherSpec(DataSpec("d", "0"), 0, m, {}, "WRN10-1", Training()), net, None)
    return found


def test_cached_equals_live_in_outputs_and_in_loss(windows, teachers, tmp_path):
    cached = make_teacher_source(teachers, FEATURES, windows, Cache(tmp_path), Progress())
    live = LiveTeachers(teachers)
    assert isinstance(cached, CachedTeachers)
    positions = np.array([3, 17, 0, 8])
    views = windows.load_views(windows.train[positions])
    a, b = cached.outputs(positions, views), live.outputs(positions, views)
    assert a.keys() == b.keys()
    for m in a:
        assert list(a[m].features) == list(b[m].features), "stages keep their order"
        for one, two in (
            (a[m].logits, b[m].logits),
            (a[m].embedding, b[m].embedding),
            (a[m].classifier, b[m].classifier),
        ):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
        for stage in a[m].features:
            torch.testing.assert_close(a[m].features[stage], b[m].features[stage], rtol=1e-5, atol=1e-5)
    compared = 0
    for name in (n for n in METHODS if "classification" in METHODS.get(n).tasks):
        torch.manual_seed(0)
        student = build_student("small", SHAPES, 3, "attention")
        method = METHODS.get(name)()
        try:
            build_method(method, make_setup(student, windows, live, Training()), 0)
        except MmkdError:  # such as those that need windows without a label
            continue
        compared += 1
        student.train()
        out = student(views)
        batch = Batch(torch.zeros(4, dtype=torch.long), torch.from_numpy(positions))
        one, two = method.losses(out, a, batch), method.losses(out, b, batch)
        for term in one:
            torch.testing.assert_close(one[term], two[term], rtol=1e-4, atol=1e-6, msg=f"{name}: {term}")
    assert compared > 50


def test_outputs_carry_no_gradient(windows, teachers, tmp_path):
    for source in (
        LiveTeachers(teachers),
        make_teacher_source(teachers, FEATURES, windows, Cache(tmp_path), Progress()),
    ):
        for out in source.outputs(np.array([0, 1]), windows.load_views(windows.train[:2])).values():
            assert not out.logits.requires_grad
            assert not any(f.requires_grad for f in out.features.values())


def test_logit_methods_keep_no_maps(windows, teachers, tmp_path):
    cached = make_teacher_source(teachers, frozenset({"logits"}), windows, Cache(tmp_path), Progress())
    out = cached.outputs(np.array([0, 1]), {})
    assert all(not o.features for o in out.values())
    assert not list(tmp_path.glob("features/*"))


def test_maps_past_the_budget_are_computed_live(windows, teachers, tmp_path):
    assert isinstance(
        make_teacher_source(teachers, FEATURES, windows, Cache(tmp_path), Progress(), budget=1000), LiveTeachers
    )
    assert not list(tmp_path.glob("features/*"))


def test_the_budget_holds_over_several_units(windows, teachers, tmp_path):
    cache = Cache(tmp_path)
    both = make_teacher_source(teachers, FEATURES, windows, cache, Progress())
    assert isinstance(both, CachedTeachers)
    size = sum(f.stat().st_size for f in tmp_path.rglob("*.npy"))
    other = {
        m: Teacher(TeacherSpec(t.spec.data, 1, m, {}, t.spec.net, Training()), t.network, None)
        for m, t in teachers.items()
    }
    make_teacher_source(other, FEATURES, windows, cache, Progress(), budget=int(1.2 * size))
    assert sum(f.stat().st_size for f in tmp_path.rglob("*.npy")) <= 1.2 * size
    assert isinstance(
        make_teacher_source(other, FEATURES, windows, cache, Progress(), budget=int(1.2 * size)), CachedTeachers
    )


def test_outputs_are_computed_once(windows, teachers, tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    make_teacher_source(teachers, FEATURES, windows, cache, Progress())
    monkeypatch.setattr(
        "mmkd.training.teacher_outputs._write_outputs", lambda *_: pytest.fail("computed a second time")
    )
    make_teacher_source(teachers, FEATURES, windows, cache, Progress())


@pytest.mark.parametrize("needs", [frozenset({"logits"}), FEATURES])
def test_every_teacher_has_outputs_of_its_own(windows, teachers, tmp_path, needs):
    """Another seed, network or epoch of a teacher never finds what another one put out."""
    cache, first = Cache(tmp_path), teachers["sig"]
    positions = np.array([1, 4])
    others = {
        "seed": replace(first, spec=replace(first.spec, seed=1)),
        "training": replace(first, spec=replace(first.spec, training=Training(epochs=7))),
        "epoch": replace(first, checkpoint="last"),
    }
    for number, teacher in enumerate((first, *others.values())):
        torch.manual_seed(100 + number)
        net = build_teacher("WRN10-1", "sig", SHAPES["sig"], 3).eval().requires_grad_(False)
        source = make_teacher_source({"sig": replace(teacher, network=net)}, needs, windows, cache, Progress())
        views = windows.load_views(windows.train[positions])
        torch.testing.assert_close(source.outputs(positions, views)["sig"].logits, net(views).logits)


def test_no_teachers(windows, tmp_path):
    assert isinstance(make_teacher_source({}, FEATURES, windows, Cache(tmp_path), Progress()), NoTeachers)
