"""`student`, `kd`, `aver`: values and gradients against reference numbers, and the identities that tell them apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
T = float(ORACLE["temperature"])
NAMES = ("sig", "gaf", "pi")


def case(branches=False):
    """The reference batch: student outputs that take gradients, three teachers, the batch."""
    logits = torch.from_numpy(ORACLE["student_logits"]).requires_grad_()
    student = Outputs(logits, logits)
    if branches:
        each = {m: Outputs(logits.detach().roll(i + 1, 0).requires_grad_(), logits) for i, m in enumerate(NAMES)}
        student = replace(student, branches=each)
    teachers = {
        m: Outputs(torch.from_numpy(z), torch.from_numpy(z))
        for m, z in zip(NAMES, ORACLE["teacher_logits"], strict=True)
    }
    target = torch.from_numpy(ORACLE["target"])
    return student, teachers, Batch(target, torch.arange(len(target)))


def soft_term(name, teachers_used=NAMES, **options):
    """The soft-target term at full weight and its gradient for the student's logits."""
    student, teachers, batch = case()
    method = METHODS.get(name)(temperature=T, kd_weight=1.0, **options)
    terms = method.losses(student, {m: teachers[m] for m in teachers_used}, batch)
    terms["kd"].backward()
    return terms["kd"].item(), student.logits.grad.numpy()


def assert_reference(found, name):
    value, gradient = found
    assert value == pytest.approx(float(ORACLE[name]), rel=1e-5)
    expected = ORACLE[f"{name}_grad"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_kd_of_one_teacher_equals_the_reference():
    assert_reference(soft_term("kd", ("sig",)), "kd")


@pytest.mark.parametrize("average", ["logits", "losses", "probabilities"])
def test_aver_equals_the_reference(average):
    assert_reference(soft_term("aver", average=average), f"aver_mean_of_{average}")


def test_averaged_losses_and_probabilities_have_one_gradient_and_logits_another():
    losses, probabilities, logits = (soft_term("aver", average=a) for a in ("losses", "probabilities", "logits"))
    np.testing.assert_allclose(losses[1], probabilities[1], rtol=1e-4, atol=1e-7)
    assert losses[0] > probabilities[0], "they differ by a constant: the spread of the teachers"
    assert np.abs(losses[1] - logits[1]).max() > 1e-3


def test_kd_of_several_teachers_is_the_average_of_losses():
    kd, aver = soft_term("kd"), soft_term("aver", average="losses")
    assert kd[0] == pytest.approx(aver[0], rel=1e-6)
    np.testing.assert_allclose(kd[1], aver[1], rtol=1e-5, atol=1e-8)


def test_the_soft_term_is_a_sum_over_classes_not_a_mean():
    student, teachers, batch = case()
    value = METHODS.get("kd")(temperature=T, kd_weight=1.0).losses(student, {"sig": teachers["sig"]}, batch)["kd"]
    p = torch.softmax(teachers["sig"].logits.double() / T, 1)
    q = torch.softmax(student.logits.double() / T, 1)
    naive = sum((p[b, k] * (p[b, k] / q[b, k]).log()).item() for b in range(len(p)) for k in range(p.shape[1])) / len(p)
    assert value.item() == pytest.approx(T**2 * naive, rel=1e-5)


@pytest.mark.parametrize("name", ["kd", "aver"])
def test_hard_and_soft_terms_share_the_weight(name):
    student, teachers, batch = case()
    terms = METHODS.get(name)(temperature=T, kd_weight=0.25).losses(student, teachers, batch)
    assert terms["ce"].item() == pytest.approx(0.75 * F.cross_entropy(student.logits, batch.targets).item(), rel=1e-6)
    assert terms["kd"].item() == pytest.approx(0.25 * soft_term(name)[0], rel=1e-5)


@pytest.mark.parametrize("name", ["kd", "aver"])
def test_teacher_weights_choose_the_teacher(name):
    only = soft_term(name, teacher_weights="sig=0,gaf=3,pi=0")
    alone = soft_term(name, ("gaf",))
    assert only[0] == pytest.approx(alone[0], rel=1e-5)


def test_kd_pairs_say_whose_logits_meet_a_teacher():
    student, teachers, batch = case(branches=True)
    for pairs, touched in (("fused", {"fused"}), ("same", set(NAMES)), ("all", {"sig"})):
        for outputs in (student, *student.branches.values()):
            outputs.logits.grad = None
        METHODS.get("kd")(pairs=pairs).losses(student, teachers, batch)["kd"].backward()
        found = {m for m, b in student.branches.items() if b.logits.grad is not None}
        found |= {"fused"} if student.logits.grad is not None else set()
        assert found == touched


def test_student_is_cross_entropy_of_the_prediction_and_of_the_branches():
    student, _, batch = case(branches=True)
    terms = METHODS.get("student")(branch_weight=0.5).losses(student, {}, batch)
    assert set(terms) == {"ce", "branch_ce"}
    each = [F.cross_entropy(b.logits, batch.targets).item() for b in student.branches.values()]
    assert terms["branch_ce"].item() == pytest.approx(0.5 * np.mean(each), rel=1e-6)
    assert set(METHODS.get("student")(branch_weight=0).losses(student, {}, batch)) == {"ce"}


@pytest.mark.parametrize(
    "text", ["sig", "sig=x", "sig=1", "sig=1,gaf=1,pi=-1", "sig=0,gaf=0,pi=0", "sag=1", "sig=nan,gaf=1,pi=1"]
)
def test_bad_teacher_weights_are_refused_before_training(text):
    student, teachers, _ = case()
    setup = Setup(student, teachers, classes=5, train_size=10, epochs=1)
    with pytest.raises(MmkdError, match="teacher-weights"):
        METHODS.get("kd")(teacher_weights=text).check(setup)


def test_a_method_with_teachers_is_refused_without_them():
    student, _, _ = case()
    with pytest.raises(MmkdError, match="--teachers"):
        METHODS.get("kd")().check(Setup(student, {}, classes=5, train_size=10, epochs=1))
