"""`eskd` and `full-kd`: which teachers they take, and what is left after the student's stop."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, TaughtConfig
from mmkd.core.options import recorded

B, K, EPOCHS = 6, 5, 10


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def case():
    student = Outputs(torch.randn(B, K, requires_grad=True), torch.randn(B, 8))
    teachers = {m: Outputs(torch.randn(B, K), torch.randn(B, 8)) for m in ("sig", "gaf")}
    return student, teachers, Batch(torch.arange(B) % K, torch.arange(B), 0, EPOCHS)


def gradient(name, epoch, **options):
    student, teachers, batch = case()
    torch.stack(
        list(METHODS.get(name)(**options).losses(student, teachers, replace(batch, epoch=epoch)).values())
    ).sum().backward()
    return student.logits, batch.targets, student.logits.grad


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_after_the_stop_the_gradient_is_that_of_cross_entropy_alone(epoch):
    logits, targets, found = gradient("eskd", epoch, early_stop="student", stop=0.6)
    (pure,) = torch.autograd.grad(F.cross_entropy(logits, targets), logits)
    assert torch.allclose(found, pure, rtol=1e-6, atol=1e-8) == (epoch >= 6)


@pytest.mark.parametrize(("name", "options"), [("full-kd", {}), ("eskd", {}), ("eskd", {"early_stop": "student"})])
def test_until_then_the_loss_is_that_of_kd(name, options):
    torch.manual_seed(1)
    _, _, found = gradient(name, 2, **options)
    torch.manual_seed(1)
    _, _, expected = gradient("kd", 2)
    torch.testing.assert_close(found, expected)


def test_which_epoch_of_the_teachers_is_taken():
    for name in METHODS:
        method = METHODS.get(name)
        if issubclass(method.Config, TaughtConfig) and name not in ("eskd", "full-kd"):
            assert method().checkpoint == "last", name
            assert method(teacher_epoch="best").checkpoint == "best", name
    assert METHODS.get("full-kd")().checkpoint == "last"
    assert METHODS.get("eskd")().checkpoint == "best"
    assert METHODS.get("eskd")(early_stop="student").checkpoint == "last"


def test_an_epoch_of_the_teachers_that_is_another_method_is_refused():
    with pytest.raises(MmkdError, match="with early-stop = 'teacher' the teachers .* of their best epoch"):
        METHODS.get("eskd")(teacher_epoch="last")
    with pytest.raises(MmkdError, match="with early-stop = 'student' the teachers .* of their last epoch"):
        METHODS.get("eskd")(early_stop="student", teacher_epoch="best")
    with pytest.raises(MmkdError, match="'best' is not one of last"):
        METHODS.get("full-kd")(teacher_epoch="best")
    assert METHODS.get("eskd")(teacher_epoch="best").checkpoint == "best"


def test_the_epoch_of_the_teachers_in_keys():
    """Older records name none: of `kd` they mean the best epoch, of `eskd` and `full-kd` what these still take."""
    assert recorded(METHODS.get("kd").Config())["teacher_epoch"] == "last"
    for name, options in (("kd", {"teacher_epoch": "best"}), ("eskd", {}), ("eskd", {"early_stop": "student"})):
        assert "teacher_epoch" not in recorded(METHODS.get(name).Config(**options))
    assert "teacher_epoch" not in recorded(METHODS.get("full-kd").Config())
