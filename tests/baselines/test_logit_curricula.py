"""`mlkd`, `ctkd`, `pskd`: against reference numbers of plain soft targets, and definitions as slow loops."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.specs.unit import Training
from mmkd.training.optimization import make_optimizer

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
T = float(ORACLE["temperature"])
NAMES = ("sig", "gaf", "pi")
SUPERVISED = ("ce", "branch_ce")
LAST = {"epoch": 239, "epochs": 240}  # after any warm-up


def case(branches=False, kind=torch.float):
    """The reference logits and embeddings of several widths: a student that takes gradients, teachers, the batch."""
    torch.manual_seed(1)
    logits = torch.from_numpy(ORACLE["student_logits"]).to(kind).requires_grad_()
    student = Outputs(logits, torch.randn(len(logits), 7, requires_grad=True))
    if branches:
        each = {
            m: Outputs(logits.detach().roll(i + 1, 0).requires_grad_(), torch.randn(len(logits), 3 + i))
            for i, m in enumerate(NAMES)
        }
        student = replace(student, branches=each)
    stored = (torch.from_numpy(z).to(kind) for z in ORACLE["teacher_logits"])
    teachers = {m: Outputs(z, torch.randn(len(z), 4 + i)) for i, (m, z) in enumerate(zip(NAMES, stored, strict=True))}
    return student, teachers, Batch(torch.from_numpy(ORACLE["target"]), torch.arange(len(logits)), **LAST)


def built(name, student, teachers, train_size=60, **options):
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, classes=student.logits.shape[1], train_size=train_size, epochs=240)
    method.check(setup)
    method.build(setup)
    return method


def own_terms(name, student, teachers, batch, **options):
    terms = built(name, student, teachers, **options).losses(student, teachers, batch)
    return {k: v for k, v in terms.items() if k not in SUPERVISED}


def assert_equal(total, own, value, gradient):
    (found,) = torch.autograd.grad(total, own, retain_graph=True)
    assert total.item() == pytest.approx(value.item(), rel=1e-5)
    np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-6 * abs(gradient).max().item())


def divergence(p, q):
    return sum(a * (a / b).log() for a, b in zip(p, q, strict=True))


def doubled(student):
    """Copies of the student's logits and embedding in double precision, for formulas by loops."""
    return (x.detach().double().requires_grad_() for x in (student.logits, student.embedding))


def used(teachers, *names):
    return {m: teachers[m] for m in names}


# mlkd


def test_the_instance_level_of_mlkd_at_one_temperature_is_the_reference_of_kd():
    student, teachers, batch = case()
    terms = own_terms("mlkd", student, used(teachers, "sig"), batch, temperatures=str(T), kd_weight=1)
    assert_equal(terms["mlkd_instance"], student.logits, ORACLE["kd"], ORACLE["kd_grad"])


@pytest.mark.parametrize("names", [("sig",), NAMES])
def test_mlkd_is_its_three_levels_by_loops(names):
    """Jin, Wang, Lin, CVPR 2023: KL of predictions, squared differences of the Gram matrices of windows, divided by B,
    and of classes, divided by K, scaled to batches of 64 and 100 classes, summed over temperatures, weighted 0.9."""
    student, teachers, batch = case()
    teachers = used(teachers, *names)
    logits, _ = doubled(student)
    b, k = logits.shape
    levels = {"instance": 0.0, "batch": 0.0, "class": 0.0}
    for teacher in teachers.values():
        for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
            q, p = ((z / temperature).softmax(1) for z in (logits, teacher.logits.double()))
            w = 0.9 / len(teachers)
            levels["instance"] += w * temperature**2 * sum(divergence(p[i], q[i]) for i in range(b)) / b
            for i in range(b):
                for j in range(b):
                    levels["batch"] += w * ((q[i] * q[j]).sum() - (p[i] * p[j]).sum()) ** 2 / b * (64 / b)
            for i in range(k):
                for j in range(k):
                    gap = (q[:, i] * q[:, j]).sum() - (p[:, i] * p[:, j]).sum()
                    levels["class"] += w * gap**2 / k * (64 / b) ** 2 * (k / 100) ** 2
    found = own_terms("mlkd", student, teachers, batch)
    assert found.keys() == {f"mlkd_{level}" for level in levels}
    for level, value in levels.items():
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert_equal(found[f"mlkd_{level}"], student.logits, value, gradient)


def test_mlkd_sums_over_temperatures():
    student, teachers, batch = case()
    both, low, high = (own_terms("mlkd", student, teachers, batch, temperatures=t) for t in ("1.5, 7", "1.5", "7"))
    for name in both:
        assert both[name].item() == pytest.approx(low[name].item() + high[name].item(), rel=1e-5)


def test_the_relations_of_mlkd_do_not_see_what_they_are_not_about():
    """Windows with orthogonal certain predictions: a permutation of classes keeps the Gram matrix of windows alone, and
    one of windows keeps that of classes alone."""
    _, _, batch = case()
    logits = 40 * torch.eye(6, 5) + 40 * torch.eye(6, 5).roll(2, 0) * torch.tensor([0.0, 1, 0, 1, 0])
    student = Outputs(logits, logits)
    levels = {}
    for name, other in (("classes", logits[:, [1, 0, 2, 3, 4]]), ("windows", logits[[1, 0, 2, 3, 4, 5]])):
        levels[name] = own_terms("mlkd", student, {"sig": Outputs(other, other)}, batch, temperatures="1")
    assert levels["classes"]["mlkd_batch"].item() == pytest.approx(0, abs=1e-6)
    assert levels["windows"]["mlkd_class"].item() == pytest.approx(0, abs=1e-6)
    assert levels["classes"]["mlkd_class"] > 0.05 * (5 / 100) ** 2
    assert levels["windows"]["mlkd_batch"] > 0.05


@pytest.mark.parametrize("text", ["", "4,", "4,0", "4,-1", "4,inf", "4,nan", "2;3", "warm"])
def test_mlkd_refuses_what_is_no_list_of_temperatures(text):
    with pytest.raises(MmkdError, match="temperatures"):
        METHODS.get("mlkd")(temperatures=text)


# ctkd


def trained_against(epoch, epochs=240, names=NAMES, **options):
    """The method, its student, and the sum of its own terms at an epoch."""
    student, teachers, batch = case(kind=torch.double)
    teachers = used(teachers, *names)
    method = built("ctkd", student, teachers, **options).double()
    terms = method.losses(student, teachers, replace(batch, epoch=epoch, epochs=epochs))
    return method, student, teachers, sum(v for k, v in terms.items() if k not in SUPERVISED)


def test_the_temperature_of_ctkd_moves():
    """By the factor 100 on its learning rate: AdamW at 2e-3 over 40 steps, in which a factor of 1 does not move it."""
    moved = {}
    for factor in (1.0, 100.0):
        torch.manual_seed(0)
        method, student, *_ = trained_against(239, names=("sig",))
        _, teachers, batch = case(kind=torch.double)
        assert method.config.method_lr_factor == 100
        optimizer = make_optimizer([], Training(), method=method.parameters(), method_factor=factor)
        for _ in range(40):
            optimizer.zero_grad()
            method.losses(student, used(teachers, "sig"), replace(batch, epoch=239, epochs=240))["ctkd_sig"].backward()
            optimizer.step()
        moved[factor] = abs(20 * (torch.sigmoid(method.raw[0]) - torch.sigmoid(torch.tensor(1.0))).item())
    assert moved[1.0] < 0.5
    assert moved[100.0] > 3


def test_ctkd_at_its_lowest_temperature_is_the_reference_of_kd():
    student, teachers, batch = case()
    method = built("ctkd", student, used(teachers, "sig"), t_start=T, kd_weight=1)
    torch.nn.init.constant_(method.raw[0], -200)
    terms = method.losses(student, used(teachers, "sig"), batch)
    assert_equal(terms["ctkd_sig"], student.logits, ORACLE["kd"], ORACLE["kd_grad"])


@pytest.mark.parametrize(("epoch", "factor"), [(0, (1 - math.cos(math.pi / 10)) / 2), (4, 0.5), (9, 1.0), (239, 1.0)])
def test_ctkd_temperature_climbs_what_the_student_descends(epoch, factor):
    """arXiv:2211.16231: T^2 KL at T = 1 + 20 sigmoid(a), the gradient of a times -(1 - cos(pi e / 10)) / 2 in epoch e
    of 240, counted from 1 and at most 10; the student's gradient is that of plain KD at this temperature."""
    method, student, teachers, total = trained_against(epoch, t_start=1.5, t_range=9)
    logits, _ = doubled(student)
    expected = 0.0
    raw = [torch.ones((), dtype=torch.double, requires_grad=True) for _ in teachers]
    for a, teacher in zip(raw, teachers.values(), strict=True):
        temperature = 1.5 + 9 / (1 + torch.exp(-a))
        q, p = ((z / temperature).softmax(1) for z in (logits, teacher.logits.double()))
        mean = sum(divergence(p[i], q[i]) for i in range(len(p))) / len(p)
        expected = expected + 0.9 / len(teachers) * temperature**2 * mean
    plain, *slopes = torch.autograd.grad(expected, [logits, *raw])
    assert_equal(total, student.logits, expected, plain)
    found = torch.autograd.grad(total, list(method.raw))
    assert all(slope.abs() > 1e-4 for slope in slopes)
    np.testing.assert_allclose(found, [-factor * slope for slope in slopes], rtol=1e-5)


def test_steps_of_the_own_parameters_raise_the_loss_of_ctkd():
    student, teachers, batch = case()
    method = built("ctkd", student, teachers)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    seen = []
    for _ in range(5):
        total = sum(v for k, v in method.losses(student, teachers, batch).items() if k not in SUPERVISED)
        seen.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert all(after > before for before, after in itertools.pairwise(seen))
    assert len({p.item() for p in method.parameters()}) == len(teachers), "each teacher has its own temperature"


def test_the_warm_up_of_ctkd_changes_the_temperatures_gradient_alone():
    first = trained_against(0, epochs=100, warmup=1.0)
    last = trained_against(99, epochs=100, warmup=1.0)
    at_once = trained_against(0, epochs=100, warmup=0.0)
    runs = (first, last, at_once)
    slopes = [torch.autograd.grad(total, list(method.raw), retain_graph=True) for method, _, _, total in runs]
    ratio = (1 - math.cos(math.pi / 100)) / 2
    np.testing.assert_allclose(slopes[0], [ratio * s for s in slopes[1]], rtol=1e-6)
    np.testing.assert_allclose(slopes[2], slopes[1], rtol=1e-6)
    grads = [torch.autograd.grad(total, student.logits)[0] for _, student, _, total in (first, last)]
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=0)
    assert first[3].item() == last[3].item()


@pytest.mark.parametrize("name", ["mlkd", "ctkd"])
def test_there_is_no_one_temperature_to_schedule(name):
    student, teachers, _ = case()
    assert not hasattr(METHODS.get(name).Config(), "temperature")
    with pytest.raises(MmkdError, match="--temperature-schedule"):
        built(name, student, teachers, temperature_schedule="linear:8,2")


# pskd


def toy():
    """Four windows of class 0, 1, 2, 0; what each teacher says of them, as probabilities."""
    said = {
        "sig": [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.4, 0.5, 0.1]],  # right, right, wrong, wrong
        "gaf": [[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.9, 0.0, 0.1], [0.1, 0.1, 0.8]],  # surer, less sure, wrong, wrong
        "pi": [[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.3, 0.3, 0.4], [0.4, 0.6, 0.0]],  # surely wrong twice, right, wrong
    }
    return {m: torch.tensor(p).log().clamp(min=-30) for m, p in said.items()}, torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("names", "expected"),
    [(NAMES, [1, 0, 2, 3]), (("sig", "pi"), [0, 0, 1, 2]), (("gaf",), [0, 0, 1, 1]), (("pi", "gaf"), [1, 1, 0, 2])],
)
def test_pskd_follows_the_surest_right_teacher_or_the_label(names, expected):
    from mmkd.baselines.pskd import followed

    logits, targets = toy()
    assert followed(torch.stack([logits[m] for m in names]), targets).tolist() == expected


@pytest.mark.parametrize("names", [("gaf",), ("sig", "pi"), NAMES])
def test_pskd_is_its_definition_by_loops(names):
    """The reconstruction in the docstring of `pskd` (the paper's own equation was not at hand)."""
    logits, targets = toy()
    torch.manual_seed(3)
    student = Outputs(torch.randn(4, 3, requires_grad=True), torch.randn(4, 5, requires_grad=True))
    teachers = {m: Outputs(logits[m], torch.randn(4, 3 + i)) for i, m in enumerate(names)}
    z, e = doubled(student)
    target = semantic = torch.zeros((), dtype=torch.double)
    for i, y in enumerate(targets.tolist()):
        said = {m: t.logits[i].double().softmax(0) for m, t in teachers.items()}
        right = [m for m, p in said.items() if p.argmax() == y]
        if not right:
            target = target - 0.6 * z[i].log_softmax(0)[y] / 4
            continue
        teacher = teachers[max(right, key=lambda m: said[m][y].item())]
        p, q = (teacher.logits[i].double() / 2.5).softmax(0), (z[i] / 2.5).softmax(0)
        target = target + 0.6 * 2.5**2 * divergence(p, q) / 4
        for j in set(range(4)) - {i}:
            own, other = ((x[i] * x[j]).sum() / x[i].norm() / x[j].norm() for x in (e, teacher.embedding.double()))
            semantic = semantic + 3 * (own - other) ** 2 / 3 / 4
    batch = Batch(targets, torch.arange(4))
    options = {"temperature": 2.5, "kd_weight": 0.6, "semantic_weight": 3}
    found = own_terms("pskd", student, teachers, batch, **options)
    assert found.keys() == {"pskd_target", "pskd_semantic"}
    assert_equal(found["pskd_target"], student.logits, target, torch.autograd.grad(target, z)[0])
    assert_equal(found["pskd_semantic"], student.embedding, semantic, torch.autograd.grad(semantic, e)[0])


def test_pskd_of_a_teacher_that_is_always_right_is_the_reference_of_kd():
    student, teachers, batch = case()
    batch = replace(batch, targets=teachers["sig"].logits.argmax(1))
    options = {"temperature": T, "kd_weight": 1}
    terms = own_terms("pskd", student, used(teachers, "sig"), batch, **options)
    assert_equal(terms["pskd_target"], student.logits, ORACLE["kd"], ORACLE["kd_grad"])


def test_pskd_with_teachers_that_are_always_wrong_is_the_student_alone():
    student, teachers, batch = case()
    wrong = teachers["sig"].logits.argmin(1)
    terms = built("pskd", student, used(teachers, "sig")).losses(
        student, used(teachers, "sig"), replace(batch, targets=wrong)
    )
    alone = METHODS.get("student")().losses(student, {}, replace(batch, targets=wrong))["ce"]
    assert terms["pskd_semantic"].item() == 0
    assert (terms["ce"] + terms["pskd_target"]).item() == pytest.approx(alone.item(), rel=1e-6)


def test_a_teacher_that_is_not_followed_does_not_count():
    logits, targets = toy()
    torch.manual_seed(3)
    student = Outputs(torch.randn(4, 3), torch.randn(4, 5))
    vectors = torch.randn(4, 6)
    wrong = Outputs((-30.0 * torch.nn.functional.one_hot(targets, 3)), torch.randn(4, 2))
    teachers = {"sig": Outputs(logits["sig"], vectors)}
    batch = Batch(targets, torch.arange(4))
    one, two = (own_terms("pskd", student, t, batch) for t in (teachers, {"gaf": wrong, **teachers}))
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}


def test_the_semantic_term_sees_directions_only():
    from mmkd.baselines.pskd import unlike

    torch.manual_seed(3)
    a, b = torch.randn(5, 4), torch.randn(5, 6)
    turn, _ = torch.linalg.qr(torch.randn(4, 4))
    np.testing.assert_allclose(unlike(a, a @ turn * torch.rand(5, 1).add(0.1)), 0, atol=1e-6)
    torch.testing.assert_close(unlike(a, 3 * b), unlike(a, b))
    assert unlike(a, b).min() > 1e-3


def test_the_semantic_term_compares_a_window_with_others_not_with_itself():
    from mmkd.baselines.pskd import unlike

    own, other = torch.tensor([[0.0, 0], [1, 0], [2, 0]]), torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    # Cosines with the others: of a vector of zeros 0 and 0, of the second 0 and 1; the other's 1, 0 and 1, 0.
    torch.testing.assert_close(unlike(own, other), torch.tensor([0.5, 1.0, 0.5]))


def test_pskd_refuses_a_single_window():
    student, teachers, _ = case()
    with pytest.raises(MmkdError, match="--method"):
        built("pskd", student, teachers, train_size=1)
    assert "teacher_weights" not in METHODS.get("pskd").Config.__dataclass_fields__


# all three


@pytest.mark.parametrize("name", ["mlkd", "ctkd", "pskd"])
def test_pairs_say_which_logits_are_guided(name):
    student, teachers, batch = case(branches=True)
    right = torch.stack([t.logits for t in teachers.values()]).argmax(2)
    batch = replace(batch, targets=torch.where(batch.index < 3, right[0], right[1]))  # some follow sig, some gaf
    teachers = used(teachers, "sig", "gaf")
    parts = {"fused": student, **student.branches}
    for pairs, guided in (("fused", {"fused"}), ("same", {"sig", "gaf"}), ("all", {"sig"})):
        total = sum(own_terms(name, student, teachers, batch, pairs=pairs).values())
        found = torch.autograd.grad(total, [p.logits for p in parts.values()], allow_unused=True)
        moved = {m for m, g in zip(parts, found, strict=True) if g is not None and g.abs().sum() > 0}
        assert moved == guided


@pytest.mark.parametrize("name", ["mlkd", "ctkd", "pskd"])
def test_the_weight_is_shared_with_cross_entropy(name):
    student, teachers, batch = case(branches=True)
    full, part = (built(name, student, teachers, kd_weight=w).losses(student, teachers, batch) for w in (1.0, 0.25))
    alone = METHODS.get("student")().losses(student, {}, batch)
    for term in ("ce", "branch_ce"):
        assert full[term].item() == 0
        assert part[term].item() == pytest.approx(0.75 * alone[term].item(), rel=1e-6)
    for term in full.keys() - {*SUPERVISED, "pskd_semantic"}:
        assert part[term].item() == pytest.approx(0.25 * full[term].item(), rel=1e-6)


@pytest.mark.parametrize("name", ["mlkd", "ctkd"])
def test_a_teacher_without_a_share_does_not_count(name):
    student, teachers, batch = case()
    alone = own_terms(name, student, used(teachers, "gaf"), batch)
    shared = own_terms(name, student, teachers, batch, teacher_weights="sig=0,gaf=2,pi=0")
    assert sum(shared.values()).item() == pytest.approx(sum(alone.values()).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["mlkd", "ctkd", "pskd"])
def test_a_student_that_says_what_its_teacher_says_pays_nothing(name):
    student, _, batch = case()
    teacher = {"sig": student.detach()}
    batch = replace(batch, targets=student.logits.argmax(1))
    assert sum(own_terms(name, student, teacher, batch).values()).item() == pytest.approx(0, abs=1e-5)
