"""What must hold of every registered method, whoever wrote it."""

import inspect
import io
import math
import pickle
import warnings
from dataclasses import asdict, fields

import pytest
import torch

import mmkd.unit
from mmkd import METHODS, Batch, Method, MmkdError, Setup
from mmkd.nets import build_student, build_teacher
from mmkd.train import prepare

CLASSES, B = 3, 6
SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16), "pi": (2, 16, 16)}
STUDENTS = ("sig+gaf+pi", "sig")
TEACHERS = (("sig",), ("gaf",), ("sig", "gaf"), ("sig", "gaf", "pi"))


class Scene:
    """Small real networks, one batch, and a method set up as the loop sets it up."""

    def __init__(self, name, student, teachers, seed=0, size=B):
        torch.manual_seed(7)
        self.views = {m: torch.randn(size, *shape) for m, shape in SHAPES.items()}
        self.batch = Batch(torch.arange(size) % CLASSES, torch.arange(size), epoch=3, epochs=4)
        self.student = build_student("small", {m: SHAPES[m] for m in student.split("+")}, CLASSES)
        self.teachers = {m: build_teacher("WRN10-1", m, SHAPES[m], CLASSES).eval() for m in teachers}
        self.method = METHODS.get(name)()
        self.student.eval()
        with torch.no_grad():
            self.setup = Setup(self.student(self.views), self.taught(), CLASSES, 40, 4)
        self.student.train()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a mask that removes nothing at these small maps
            prepare(self.method, self.setup, seed)

    @torch.no_grad()
    def taught(self):
        """As the loop gives them: without gradients."""
        return {m: net(self.views) for m, net in self.teachers.items()}

    def terms(self):
        return self.method.losses(self.student(self.views), self.taught(), self.batch)

    def backward(self):
        torch.stack(list(self.terms().values())).sum().backward()


def scenes():
    for name in METHODS:
        teachers = TEACHERS if METHODS.get(name).distils else ((),)
        for student in STUDENTS:
            for taught in teachers:
                yield pytest.param(name, student, taught, id=f"{name}-{student}-{'+'.join(taught) or 'alone'}")


def scene(name, student, teachers, **more):
    """The scene, or a skip where the method refuses it with a flag that helps."""
    try:
        return Scene(name, student, teachers, **more)
    except MmkdError as error:
        if "--" not in str(error):
            pytest.fail(f"{name} refuses without naming a flag that helps: {error}")
        pytest.skip(str(error))


every_scene = pytest.mark.parametrize(("name", "student", "teachers"), list(scenes()))
every_method = pytest.mark.parametrize("name", list(METHODS))


@every_scene
def test_terms_are_named_finite_scalars(name, student, teachers):
    terms = scene(name, student, teachers).terms()
    assert terms
    for term, value in terms.items():
        assert isinstance(term, str)
        assert value.shape == ()
        assert math.isfinite(value.item())


@every_scene
def test_gradients_reach_the_student_and_every_own_parameter(name, student, teachers):
    s = scene(name, student, teachers)
    s.backward()
    heads = {n for n, p in s.student.named_parameters() if p.grad is None}
    assert not heads, f"no gradient for {sorted(heads)[:3]}"
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in s.method.parameters() if p.requires_grad)


@every_scene
def test_a_step_moves_every_own_parameter(name, student, teachers):
    s = scene(name, student, teachers)
    own = {n: p for n, p in s.method.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in own.items()}
    taught = {m: {n: v.clone() for n, v in net.state_dict().items()} for m, net in s.teachers.items()}
    optimizer = torch.optim.SGD([*s.student.parameters(), *own.values()], lr=0.1)
    s.backward()
    optimizer.step()
    assert all(not torch.equal(before[n], p) for n, p in own.items())
    for m, net in s.teachers.items():
        assert all(torch.equal(taught[m][n], v) for n, v in net.state_dict().items())


@every_method
def test_teachers_change_the_loss_of_every_method_that_has_some(name):
    if not METHODS.get(name).distils:
        pytest.skip("a method without teachers")
    s = scene(name, "sig+gaf+pi", ("sig", "gaf"))
    first = torch.stack(list(s.terms().values())).sum().item()
    for net in s.teachers.values():
        for p in net.parameters():
            p.data.mul_(1.5)
    assert torch.stack(list(s.terms().values())).sum().item() != pytest.approx(first, rel=1e-6)


@every_method
def test_the_same_seed_gives_the_same_loss(name):
    teachers = ("sig", "gaf") if METHODS.get(name).distils else ()
    first, second = (scene(name, "sig+gaf+pi", teachers, seed=5) for _ in range(2))
    assert {k: v.item() for k, v in first.terms().items()} == {k: v.item() for k, v in second.terms().items()}


@every_method
def test_options_round_trip_and_have_help(name):
    config = METHODS.get(name).Config()
    assert type(config).parse(asdict(config), name) == config
    assert type(config).parse({k: str(v) for k, v in asdict(config).items()}, name) == config
    for f in fields(config):
        assert f.metadata["help"], f"option {f.name} has no line of help"


@every_method
def test_options_are_read(name):
    """An option that nobody reads is a trap: every field is named in the source of the class, its bases or the unit."""
    cls = METHODS.get(name)
    text = inspect.getsource(mmkd.unit) + "".join(
        inspect.getsource(base) for base in cls.__mro__ if issubclass(base, Method)
    )
    for f in fields(cls.Config):
        uses = text.count(f".{f.name}") + text.count(f'"{f.name}"')
        assert uses > 0, f"option {f.name} of {name} is never read"


@every_method
def test_it_pickles_and_its_state_round_trips(name):
    teachers = ("sig", "gaf") if METHODS.get(name).distils else ()
    s = scene(name, "sig+gaf+pi", teachers)
    copy = pickle.loads(pickle.dumps(s.method))
    assert type(copy) is type(s.method)
    assert copy.config == s.method.config
    stream = io.BytesIO()
    torch.save(s.method.state_dict(), stream)
    stream.seek(0)
    copy.load_state_dict(torch.load(stream, weights_only=True))


@every_method
def test_the_docstring_names_what_it_is(name):
    first = (vars(METHODS.get(name)).get("__doc__") or "").strip().split("\n")[0]
    assert len(first) > 20
