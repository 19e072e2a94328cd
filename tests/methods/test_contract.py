"""What must hold of every registered method, whoever wrote it."""

import contextlib
import copy
import inspect
import io
import math
import multiprocessing
import pickle
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields, replace
from functools import cache

import pytest
import torch

import mmkd.specs.unit
import mmkd.training.loop
import mmkd.training.trial
from mmkd import METHODS, Batch, GuidedConfig, Method, MmkdError, Outputs, Setup, Step
from mmkd.cli.listing import describe_needs, first_line
from mmkd.methods.losses import label_losses
from mmkd.nets import build_student, build_teacher
from mmkd.specs.unit import Training
from mmkd.training.optimization import make_optimizer, set_learning_rate
from mmkd.training.setup import build_method

CLASSES, B = 3, 6
SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16), "pi": (2, 16, 16)}
STUDENTS = ("sig+gaf+pi", "sig")
TEACHERS = (("sig",), ("gaf",), ("sig", "gaf"), ("sig", "gaf", "pi"))


@cache
def views_of(size):
    torch.manual_seed(7)
    return {m: torch.randn(size, *shape) for m, shape in SHAPES.items()}


@cache
def teacher_of(modality):
    """One network for all scenes, that no method may change; surer than an untrained one, so that gradients count."""
    torch.manual_seed(7)
    net = build_teacher("WRN10-1", modality, SHAPES[modality], CLASSES).eval()
    for p in net.parameters():
        p.data.mul_(1.3)
    return net


def surer(student):
    """A student of the same structure that teaches; no method may change it."""
    net = copy.deepcopy(student).eval()
    for p in net.parameters():
        p.data.mul_(1.3)
    return net


@cache
def untrained_student(student, fusion):
    torch.manual_seed(7)
    return build_student("small", {m: SHAPES[m] for m in student.split("+")}, CLASSES, fusion)


class Scene:
    """Small real networks, one batch, and a method set up as the loop sets it up."""

    def __init__(self, name, student, teachers, seed=0, size=B, options=None, few=False):
        self.views = views_of(size)
        self.batch = Batch(torch.arange(size) % CLASSES, torch.arange(size), epoch=3, epochs=4)
        attends = "attention" in METHODS.get(name).needs and "+" in student
        self.student = copy.deepcopy(untrained_student(student, "attention" if attends else "concat"))
        self.teachers = {m: teacher_of(m) for m in teachers}
        self.method = METHODS.get(name)(**(options or {}))
        if self.method.likes(seed) and not self.method.combines:
            self.teachers = {like: surer(self.student) for like in self.method.likes(seed)}
        self.student.eval()
        with torch.no_grad():
            targets = torch.arange(40) % CLASSES
            labelled = None
            if few:  # every other window has a label
                labelled = torch.arange(40) % 2 == 0
                guess = -1 if self.method.unlabelled == "all" else (targets + 1) % CLASSES
                targets = torch.where(labelled, targets, guess)
                self.batch = replace(self.batch, targets=targets[:size], labelled=labelled[:size])
            own = self.student(self.views)
            self.setup = Setup(own, self.taught(), CLASSES, 40, 4, targets, labelled=labelled, unlabelled=20)
        self.student.train()
        torch.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a mask that removes nothing at these small maps
            build_method(self.method, self.setup, seed)

    @torch.no_grad()
    def taught(self):
        """As the loop gives them: without gradients."""
        return {m: net(self.views) for m, net in self.teachers.items()}

    def terms(self):
        return self.method.terms(self.student(self.views), self.taught(), self.batch)

    def used(self):
        """The student's parameters that what is deployed depends on, by name."""
        deployed = self.method.deploy(self.student).train()
        named = dict(self.student.named_parameters())
        grads = torch.autograd.grad(deployed(self.views).logits.sum(), list(named.values()), allow_unused=True)
        branches = [n for n in named if "branches" in n] if self.method.deploy(self.student) is self.student else []
        return {n for n, g in zip(named, grads, strict=True) if g is not None} | set(branches)

    def trained(self):
        """The method's parameters that the loop trains, by name."""
        return {n: p for n, p in self.method.named_parameters() if p.requires_grad}

    def backward(self):
        """Of the last epoch; of those before too where a method has stages and a parameter is left without gradient."""
        for epoch in reversed(range(self.batch.epochs)):
            self.batch = replace(self.batch, epoch=epoch)
            terms = torch.stack(list(self.terms().values())).sum()
            if terms.requires_grad:
                terms.backward()
            if all(p.grad is not None for p in self.trained().values()):
                break

    def step(self):
        """What a method sees after a step."""

        def read(index):
            assert len(index) <= len(self.batch.index)
            return self.views, self.taught(), self.batch

        return Step(self.student, self.batch, 0.01, read, ends_epoch=True)


def seeded(method, setup, batch):
    """The terms under one seed, in this process or another."""
    torch.manual_seed(3)
    return {name: value.item() for name, value in method.terms(setup.student, setup.teachers, batch).items()}


def is_taught(name):
    """Whether a method reads outputs of teachers, or of students like its own."""
    method = METHODS.get(name)
    by_likes = method.likes is not Method.likes and issubclass(method.Config, GuidedConfig)
    return bool(method.distils and method.needs) or by_likes


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
def test_terms_gradients_and_a_step(name, student, teachers):
    """Terms are named finite scalars; their gradients reach every parameter that counts; a step moves every own one.

    The student's parameters that count: those that the deployed network depends on, and the heads of its branches.
    """
    s = scene(name, student, teachers)
    terms = s.terms()
    assert terms
    if s.method.combines:
        pytest.skip("it is never trained")
    for term, value in terms.items():
        assert isinstance(term, str)
        assert value.shape == ()
        assert math.isfinite(value.item())

    used = s.used()
    own = dict(s.method.named_parameters())
    before = {n: p.detach().clone() for n, p in own.items()}
    taught = {m: {n: v.clone() for n, v in net.state_dict().items()} for m, net in s.teachers.items()}
    optimizer = torch.optim.Adam(
        [*s.student.parameters(), *s.trained().values()], lr=0.1
    )  # moves by small gradients too
    s.backward()
    left = {n for n, p in s.student.named_parameters() if p.grad is None} & used
    assert len(used) > 5
    assert not left, f"no gradient for {sorted(left)[:3]}"
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in s.trained().values())

    optimizer.step()
    after = [p.detach().clone() for p in s.student.state_dict().values()]
    for _ in range(math.ceil(s.setup.train_size / B)):  # an agent may be trained at the end of an epoch
        s.method.after_step(s.step())
        still = [n for n, p in own.items() if torch.equal(before[n], p)]
        if not still:
            break
    assert all(torch.equal(a, b) for a, b in zip(after, s.student.state_dict().values(), strict=True))
    assert not still, f"neither the loop nor after_step trains {still[:3]}"
    for m, net in s.teachers.items():
        assert all(torch.equal(taught[m][n], v) for n, v in net.state_dict().items())


@every_method
def test_the_factor_scales_how_far_own_parameters_move(name):
    """A step of SGD moves the method's own parameters by the factor, and the student's as before."""
    s = scene(name, "sig+gaf+pi", ("sig", "gaf") if METHODS.get(name).distils else ())
    own, theirs = list(s.trained().values()), list(s.student.parameters())
    if not own:
        pytest.skip("no parameters of its own that train along")
    s.backward()
    moves = []
    for factor in (1.0, 10.0):
        before = [p.detach().clone() for p in (*own, *theirs)]
        optimizer = make_optimizer(theirs, Training(optimizer="sgd"), method=own, method_factor=factor)
        set_learning_rate(optimizer, 0.25)
        optimizer.step()
        moves.append([p.detach() - b for p, b in zip((*own, *theirs), before, strict=True)])
        for p, b in zip((*own, *theirs), before, strict=True):
            p.data.copy_(b)
    for number, (one, ten) in enumerate(zip(*moves, strict=True)):
        torch.testing.assert_close(ten, one * 10 if number < len(own) else one, rtol=1e-2, atol=1e-5)
    assert sum(move.abs().sum() for move in moves[0][: len(own)]) > 0


def test_label_smoothing_is_cross_entropy_with_smoothed_labels():
    share = 0.3
    s = Scene("student", "sig+gaf+pi", (), options={"label_smoothing": share})
    outputs = s.student(s.views)
    terms = s.method.terms(outputs, {}, s.batch)

    def smoothed(logits):
        losses = []
        for row, label in zip(logits.double(), s.batch.targets, strict=True):
            target = [share / CLASSES + (1 - share) * (k == label) for k in range(CLASSES)]
            log_z = torch.log(sum(torch.exp(z) for z in row))
            losses.append(-sum(t * (z - log_z) for t, z in zip(target, row, strict=True)))
        return sum(losses) / len(losses)

    naive = smoothed(outputs.logits)
    assert terms["ce"].item() == pytest.approx(naive.item(), rel=1e-5)
    branches = [smoothed(branch.logits).item() for branch in outputs.branches.values()]
    assert terms["branch_ce"].item() == pytest.approx(0.5 * sum(branches) / len(branches), rel=1e-5)
    weight = next(iter(s.student.parameters()))
    grad, naive_grad = (torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (terms["ce"], naive))
    assert grad.abs().max() > 1e-4
    torch.testing.assert_close(grad, naive_grad.float(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("label_smoothing", 0.3), ("focal_gamma", 2.0)])
@every_method
def test_options_of_cross_entropy_are_options_of_every_method(name, option, value):
    """It changes the loss of each method that is supervised by labels, and the others refuse it."""
    teachers = ("sig", "gaf", "pi") if METHODS.get(name).distils else ()
    try:
        plain = Scene(name, "sig+gaf+pi", teachers)
    except MmkdError as error:
        pytest.skip(str(error))
    if not METHODS.get(name).supervised_by_labels:
        with pytest.raises(MmkdError, match=f"leave --{option.replace('_', '-')} out"):
            Scene(name, "sig+gaf+pi", teachers, options={option: value})
        return
    changed = Scene(name, "sig+gaf+pi", teachers, options={option: value})
    terms, other = seeded(plain.method, plain.setup, plain.batch), seeded(changed.method, changed.setup, plain.batch)
    assert terms.keys() == other.keys()
    assert terms["ce"] != pytest.approx(other["ce"], rel=1e-6)


@every_method
def test_teachers_change_the_loss_of_every_method_that_has_some(name):
    if not is_taught(name):
        pytest.skip("a method without teachers")
    s = scene(name, "sig+gaf+pi", ("sig", "gaf"))
    first = torch.stack(list(s.terms().values())).sum().item()
    s.teachers = copy.deepcopy(s.teachers)
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
    """An option that nobody reads is a trap: each is named in the source of the class, its bases or the runner."""
    cls = METHODS.get(name)
    text = (
        inspect.getsource(mmkd.training.trial)
        + inspect.getsource(mmkd.training.loop)
        + inspect.getsource(mmkd.specs.unit)
        + "".join(inspect.getsource(base) for base in cls.__mro__ if issubclass(base, Method))
    )
    for f in fields(cls.Config):
        uses = text.count(f".{f.name}") + text.count(f'"{f.name}"')
        assert uses > 0, f"option {f.name} of {name} is never read"


@every_method
def test_it_pickles_and_its_state_round_trips(name):
    teachers = ("sig", "gaf") if METHODS.get(name).distils else ()
    s = scene(name, "sig+gaf+pi", teachers)
    again = pickle.loads(pickle.dumps(s.method))
    assert type(again) is type(s.method)
    assert again.config == s.method.config
    stream = io.BytesIO()
    torch.save(s.method.state_dict(), stream)
    stream.seek(0)
    again.load_state_dict(torch.load(stream, weights_only=True))


@every_method
def test_a_batch_of_one(name):
    """Where a loss is defined for one window it is finite; else the method says so, and one window is refused."""
    teachers = ("sig", "gaf") if METHODS.get(name).distils else ()
    cls = METHODS.get(name)
    if cls.minimum_batch > 1:
        one = scene(name, "sig+gaf+pi", teachers)
        with pytest.raises(MmkdError, match="--method"):
            one.method.check(replace(one.setup, train_size=1))
        return
    terms = scene(name, "sig+gaf+pi", teachers, size=1).terms()
    assert all(math.isfinite(value.item()) for value in terms.values())


def test_methods_pickle_to_a_spawned_worker():
    """Built, sent to a fresh process by name of their class, and of the same loss there."""
    sent = {}
    for name in METHODS:
        with contextlib.suppress(MmkdError):
            s = Scene(name, "sig+gaf+pi", ("sig", "gaf") if METHODS.get(name).distils else ())
            sent[name] = (s.method.eval(), s.setup, s.batch)
    assert len(sent) > 20
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        away = {name: pool.submit(seeded, *arguments) for name, arguments in sent.items()}
        there = {name: future.result() for name, future in away.items()}
    here = {name: seeded(*pickle.loads(pickle.dumps(arguments))) for name, arguments in sent.items()}
    for name in sent:
        assert there[name] == pytest.approx(here[name], rel=1e-4), name


@pytest.mark.parametrize("name", [n for n in METHODS if is_taught(n)])
def test_schedules_combine_with_every_method(name):
    """At weight 0 only cross-entropy is left; a temperature that is scheduled to the default changes nothing."""
    config = METHODS.get(name).Config()
    given = {"weight_schedule": "linear:1,0"} | (
        {"temperature_schedule": f"linear:9,{config.temperature}"} if hasattr(config, "temperature") else {}
    )
    plain, s = scene(name, "sig+gaf+pi", ("sig", "gaf")), scene(name, "sig+gaf+pi", ("sig", "gaf"), options=given)
    torch.manual_seed(3)
    expected = plain.terms()
    torch.manual_seed(3)
    found = s.terms()
    assert expected.keys() == found.keys()
    for term, value in expected.items():
        assert found[term].item() == pytest.approx(value.item() if term in ("ce", "branch_ce") else 0), term


without_labels = pytest.mark.parametrize(
    "name", [name for name in METHODS if METHODS.get(name).unlabelled != "labelled"]
)
MANY = ("sig+gaf+pi", ("sig", "gaf", "pi"))


@without_labels
def test_with_few_labels_terms_are_finite_and_own_parameters_train(name):
    """With some labelled windows in the batch, and with none."""
    plain = scene(name, *MANY)
    plain.backward()
    for labels in ("some", "none"):
        s = scene(name, *MANY, few=True)
        if labels == "none":
            guess = s.batch.targets.roll(1) if s.method.unlabelled == "teacher" else torch.full((B,), -1)
            s.batch = replace(s.batch, targets=guess, labelled=torch.zeros(B, dtype=torch.bool))
        assert all(math.isfinite(value.item()) for value in s.terms().values()), labels
        s.backward()
        expected = {n for n, p in plain.trained().items() if p.grad is not None and p.grad.any()}
        assert {n for n, p in s.trained().items() if p.grad is not None and p.grad.any()} == expected, labels
        assert all(p.grad is None or p.grad.isfinite().all() for p in s.student.parameters())
        for _ in range(2):
            s.method.after_step(s.step())


@without_labels
def test_windows_without_labels_teach_the_student(name):
    """In evaluation mode, where windows do not meet in batch normalisation, their own views have a gradient."""
    s = scene(name, *MANY, few=True)
    s.student.eval()
    others = ~s.batch.labelled
    gradients = torch.zeros(B)
    for epoch in range(s.batch.epochs):  # a method may have stages
        s.batch = replace(s.batch, epoch=epoch)
        views = {name: view.clone().requires_grad_() for name, view in s.views.items()}
        loss = torch.stack(list(s.method.terms(s.student(views), s.taught(), s.batch).values())).sum()
        for gradient in torch.autograd.grad(loss, list(views.values()), allow_unused=True):
            gradients += 0 if gradient is None else gradient.flatten(1).abs().sum(1)
    assert (gradients[others] > 0).all()


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS.get(name).unlabelled == "all"])
def test_only_cross_entropy_reads_labels_where_a_method_says_so(name):
    """Whatever stands in the place of a label that is missing, every term is the same to the bit."""
    found = []
    for missing in (-1, 0, 1):
        s = scene(name, *MANY, few=True)
        s.batch = replace(s.batch, targets=torch.where(s.batch.labelled, s.batch.targets, missing))
        torch.manual_seed(3)
        found.append({term: value.item() for term, value in s.terms().items()})
    assert found[0] == found[1] == found[2]


@every_method
def test_the_docstring_names_what_it_is(name):
    """With its year, in a line of `--list methods` that fits a terminal."""
    first = first_line(METHODS.get(name))
    assert len(first) > 20
    status = METHODS.get(name).status
    assert status == "control" or re.search(r"\b(19|20)\d\d\b|the notes", first)
    width = max(len(other) for other in METHODS if METHODS.get(other).status == status) + 2
    assert width + len(first + describe_needs(METHODS.get(name))) <= 120


def test_namesakes_name_each_other():
    for one, other in (("camkd", "ca-mkd"), ("ebkd", "ebkd-entropy")):
        assert f"`{other}`" in first_line(METHODS.get(one))
        assert f"`{one}`" in first_line(METHODS.get(other))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_balanced_classes_have_equal_shares_of_cross_entropy(smoothing):
    """Against a loop over windows; class 2 does not occur."""
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])
    method = METHODS.get("student")(class_weights="balanced", label_smoothing=smoothing)
    method.weigh_classes(labels, 4)
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    (term,) = method.supervised(Outputs(logits, logits), Batch(labels, torch.arange(10))).values()
    total = 0.0
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        log_p = row - row.exp().sum().log()
        target = [smoothing / 4 + (1 - smoothing) * (k == label) for k in range(4)]
        share = {0: 6, 1: 3, 3: 1}[label]
        total += 10 / (3 * share) * -sum(t * lp for t, lp in zip(target, log_p.tolist(), strict=True))
    assert float(term) == pytest.approx(total / 10, rel=1e-5)
    plain = METHODS.get("student")(label_smoothing=smoothing)
    plain.weigh_classes(labels, 4)
    assert float(plain.supervised(Outputs(logits, logits), Batch(labels, torch.arange(10)))["ce"]) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing))
    )


@pytest.mark.parametrize(
    ("gamma", "smoothing", "weights"), [(2.0, 0.0, "none"), (0.5, 0.0, "balanced"), (1.5, 0.2, "balanced")]
)
def test_focal_loss_and_its_gradient(gamma, smoothing, weights):
    """Against a loop in float64: w_y (1 - p_y)^g times the smoothed cross-entropy, the mean of a batch."""
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])
    method = METHODS.get("student")(focal_gamma=gamma, label_smoothing=smoothing, class_weights=weights)
    method.weigh_classes(labels, 4)
    logits = 2 * torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    own, naive = logits.clone().requires_grad_(), logits.double().requires_grad_()
    (term,) = method.supervised(Outputs(own, own), Batch(labels, torch.arange(10))).values()
    losses = []
    for row, label in zip(naive, labels.tolist(), strict=True):
        p = row.exp() / row.exp().sum()
        target = [smoothing / 4 + (1 - smoothing) * (k == label) for k in range(4)]
        weight = {0: 10 / 18, 1: 10 / 9, 3: 10 / 3}[label] if weights == "balanced" else 1.0
        losses.append(-weight * (1 - p[label]) ** gamma * sum(t * p[k].log() for k, t in enumerate(target)))
    total = sum(losses) / 10
    assert term.item() == pytest.approx(total.item(), rel=1e-5)
    (grad,), (naive_grad,) = (torch.autograd.grad(loss, x) for loss, x in ((term, own), (total, naive)))
    torch.testing.assert_close(grad, naive_grad.float(), rtol=1e-4, atol=1e-7)


def test_focal_loss_counts_what_is_labelled_and_each_label_of_a_mixture():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, others, shares = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 0]), torch.tensor([0.9, 0.8, 0.7, 0.6])
    known = torch.tensor([True, True, False, True])
    method = METHODS.get("student")(focal_gamma=3.0)
    batch = Batch(labels, torch.arange(4), labelled=known, mixed=(others, shares))
    p = logits.double().softmax(1)

    def loss(row, label):
        return float(-((1 - p[row, label]) ** 3) * p[row, label].log())

    total = [
        float(shares[i]) * loss(i, labels[i]) + (1 - float(shares[i])) * loss(i, others[i]) for i in known.nonzero()
    ]
    assert method.supervised(Outputs(logits, logits), batch)["ce"].item() == pytest.approx(sum(total) / 3, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_focal_loss_of_what_is_certain_has_a_finite_gradient(gamma):
    """Where 1 - p is 0 in float32, at the right and at the wrong label; and it is exact where p is nearly 1."""
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0], [8.0, 0.0]], requires_grad=True)
    losses = label_losses(logits, torch.tensor([0, 1, 0]), gamma=gamma)
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert losses[0] == 0
    assert losses[1].item() == pytest.approx(200)
    rest = math.exp(-8) / (1 + math.exp(-8))
    assert losses[2].item() == pytest.approx(rest**gamma * math.log1p(math.exp(-8)), rel=1e-3)


def test_class_weights_and_mixtures():
    labels, others = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 0, 1, 0])
    shares = torch.tensor([0.9, 0.8, 0.7, 0.6])
    method = METHODS.get("student")(class_weights="balanced")
    method.weigh_classes(labels, 2)
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    batch = Batch(labels, torch.arange(4), mixed=(others, shares))
    weights = {0: 4 / 6, 1: 4 / 2}
    rows = logits.double().log_softmax(1)
    total = sum(
        -float(s) * weights[a] * float(row[a]) - (1 - float(s)) * weights[b] * float(row[b])
        for row, a, b, s in zip(rows, labels.tolist(), others.tolist(), shares, strict=True)
    )
    assert float(method.supervised(Outputs(logits, logits), batch)["ce"]) == pytest.approx(total / 4, rel=1e-5)


def test_a_method_that_only_combines_students_has_nothing_to_round():
    with pytest.raises(MmkdError, match="leave --qat out"):
        Scene("student-ensemble", "sig", (), options={"qat": 0.5})
