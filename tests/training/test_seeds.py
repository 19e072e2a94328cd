"""The seed of a unit reaches everything that is drawn, each role by a seed of its own, and nothing else does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mmkd import METHODS, Outputs
from mmkd.core.progress import Progress
from mmkd.nets import build_student, build_teacher
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import TeacherSpec, Training
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.setup import build_method, make_setup
from mmkd.training.teacher_outputs import LiveTeachers, NoTeachers
from mmkd.training.teachers import Teacher, initial_network
from mmkd.training.trial import make_student
from mmkd.units.expansion import expand
from mmkd.units.request import Request

SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16), "pi": (2, 16, 16)}
TEACHER = TeacherSpec(DataSpec("d", "0"), 0, "gaf", {}, "WRN10-1", Training())


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    views = {m: rng.normal(size=(24, *s)).astype(np.float32) for m, s in SHAPES.items()}
    return TrainingData(views, np.arange(24) % 3, np.arange(16), np.arange(16, 24), "abc", torch.device("cpu"))


def same(a, b):
    """Whether two modules have the same weights."""
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_students_of_one_seed_start_alike_and_those_of_another_seed_do_not(sines):
    request = Request(methods=("kd", "student"), data=str(sines), image_size=16, seeds=(0, 1), epochs=1)
    specs = {(spec.method, spec.seed): spec for spec, _ in expand(request)}
    students = {key: make_student(spec, SHAPES, 3, 32) for key, spec in specs.items()}
    assert same(students["kd", 0], students["student", 0])
    assert same(students["kd", 1], students["student", 1])
    assert not same(students["kd", 0], students["kd", 1])


def test_teachers_start_by_seed_and_modality(windows):
    first = initial_network(TEACHER, windows)
    assert same(first, initial_network(TEACHER, windows))
    assert not same(first, initial_network(replace(TEACHER, seed=1), windows))
    other = initial_network(replace(TEACHER, modality="pi"), windows)
    values = zip(first.state_dict().values(), other.state_dict().values(), strict=True)
    assert not all(torch.equal(a, b) for a, b in values), "networks of one shape, for two modalities"


@pytest.mark.parametrize("name", ["fam", "crd", "vid"])
@pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")
def test_modules_of_a_method_are_made_by_the_seed_of_the_unit(windows, name):
    torch.manual_seed(0)
    network = build_student("small", SHAPES, 3)
    taught = LiveTeachers({m: Teacher(None, build_teacher("WRN10-1", m, s, 3).eval(), None) for m, s in SHAPES.items()})
    built = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(built))  # whatever was drawn before
        method = METHODS.get(name)()
        build_method(method, make_setup(network, windows, taught, Training()), seed)
        built.append(method)
    assert list(built[0].parameters())
    assert same(built[0], built[1])
    assert not same(built[0], built[2])


class Forgetful(nn.Module):
    """A classifier behind dropout."""

    def __init__(self):
        super().__init__()
        self.drop, self.classifier = nn.Dropout(0.5), nn.Linear(64, 3)

    def forward(self, views):
        embedding = self.drop(views["sig"].flatten(1))
        return Outputs(self.classifier(embedding), embedding)


def test_dropout_is_drawn_by_the_seed_of_the_unit(windows):
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        network = Forgetful()
        torch.manual_seed(len(ends))  # whatever was drawn before
        settings = {"training": Training(epochs=1, batch_size=8), "seed": 0, "label": "", "progress": Progress()}
        train(network, METHODS.get("student")(), windows, NoTeachers(), **settings)
        ends.append(network)
    assert same(*ends)
