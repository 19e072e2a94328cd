"""The option `teacher_errors`: reference numbers, slow loops, and what it leaves alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd import METHODS, Batch, LogitConfig, Outputs, Setup
from mmkd.bench import main
from mmkd.methods.teacher_errors import corrected, is_wrong, select_taught

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses2.npz", allow_pickle=False)
CORRECTIONS = ("swap", "reorder", "translate", "mix")
LOGIT_METHODS = [name for name in METHODS if issubclass(METHODS.get(name).Config, LogitConfig)]


def case():
    s, t, y = (torch.from_numpy(ORACLE[key]) for key in ("logits_student", "logits_teacher", "target"))
    student = Outputs(s.clone().requires_grad_(), s, {"stage1": torch.randn(8, 4, 9)})
    return student, {"sig": Outputs(t, t)}, Batch(y, torch.arange(8), 23, 24)


def built(name, **options):
    student, teachers, batch = case()
    method = METHODS.get(name)(**options)
    torch.manual_seed(1)
    method.build(Setup(student, teachers, 6, 8, 24, batch.targets))
    return method, student, teachers, batch


def test_it_is_an_option_of_the_methods_that_teach_by_logits():
    new = {"rld", "ttm", "wttm", "abkd", "ofa", "ikl", "gkl"}
    assert set(LOGIT_METHODS) >= new | {"kd", "full-kd", "eskd", "aver", "dkd", "dist", "ls-kd", "ctkd", "mlkd"}


@pytest.mark.parametrize("how", CORRECTIONS)
def test_corrections_equal_the_reference(how):
    """The logits, and the soft targets of `kd` on them."""
    _, teachers, batch = case()
    found = select_taught(teachers["sig"].logits, teachers["sig"].logits, batch, how, 4.0).teacher
    if how == "mix":
        expected = torch.from_numpy(ORACLE["own_correct_mix_probabilities_T4"])
        torch.testing.assert_close((found / 4).softmax(1).double(), expected, rtol=1e-5, atol=1e-7)
        return
    key = "swap" if how == "swap" else f"own_correct_{how}"
    expected = ORACLE["swap_teacher_logits"] if how == "swap" else ORACLE[key]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    method, student, teachers, batch = built("kd", kd_weight=1, teacher_errors=how)
    term = method.losses(student, teachers, batch)["kd"]
    term.backward()
    assert term.item() == pytest.approx(float(ORACLE[f"{key}_kd_T4"]), rel=1e-5)
    gradient = ORACLE[f"{key}_kd_T4_grad"]
    np.testing.assert_allclose(student.logits.grad, gradient, rtol=0, atol=1e-5 * np.abs(gradient).max())


def test_corrections_by_slow_loops():
    torch.manual_seed(2)
    logits, targets = torch.randn(40, 5), torch.randint(0, 5, (40,))
    targets = torch.where(logits.argmax(1) == targets, (targets + 1) % 5, targets)
    found = {how: corrected(logits, targets, how, 2.0) for how in CORRECTIONS}
    for b, y in enumerate(targets.tolist()):
        row = logits[b].tolist()
        top = max(range(5), key=row.__getitem__)
        others = sorted((k for k in range(5) if k != y), key=row.__getitem__, reverse=True)
        swapped = [row[{y: top, top: y}.get(k, k)] for k in range(5)]
        assert found["swap"][b].tolist() == swapped
        values = sorted(row, reverse=True)
        assert [found["reorder"][b, k].item() for k in (y, *others)] == values
        assert found["translate"][b].tolist() == [max(row) if k == y else row[k] for k in range(5)]
        p = np.exp(np.array(row) / 2) / np.exp(np.array(row) / 2).sum()
        share = min(s for s in np.linspace(0, 1, 100001) if (1 - s) * p[y] + s >= (1 - s) * p[top])
        mixed = (1 - share) * p + share * (np.arange(5) == y)
        np.testing.assert_allclose((found["mix"][b] / 2).softmax(0), mixed, atol=3e-5)


def test_mix_of_a_sure_teacher_and_of_a_tie_is_finite():
    sure = torch.tensor([[300.0, -300.0, 0.0], [1.0, 1.0, 0.0]])
    found = corrected(sure, torch.tensor([1, 1]), "mix")
    assert torch.isfinite(found[:, :2]).all()
    torch.testing.assert_close(found.softmax(1)[0], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(found[1].softmax(0), sure[1].softmax(0))


@pytest.mark.parametrize("how", ["drop", *CORRECTIONS])
def test_windows_without_a_label_and_those_that_are_right_stay(how):
    _, teachers, batch = case()
    t = teachers["sig"].logits
    wrong = is_wrong(t, batch)
    assert wrong.tolist() == (t.argmax(1) != batch.targets).tolist()
    assert 1 < wrong.sum() < 8
    hidden = torch.where(torch.arange(8) == int(wrong.nonzero()[0]), -1, batch.targets)
    few = Batch(hidden, batch.index)
    guessed = Batch(batch.targets, batch.index, labelled=hidden >= 0)
    for part in (few, guessed):
        assert (is_wrong(t, part) == wrong & (hidden >= 0)).all()
        taught = select_taught(t, t, part, how, 4.0)
        if how == "drop":
            assert taught.share == pytest.approx((9 - wrong.sum().item()) / 8)
        else:
            changed = (taught.teacher != t).any(1)
            assert (changed <= (wrong & (hidden >= 0))).all()
            assert taught.share == 1


def test_dropped_windows_weigh_nothing():
    """The mean is still over all windows of the batch."""
    method, student, teachers, batch = built("kd", kd_weight=1, teacher_errors="drop")
    term = method.losses(student, teachers, batch)["kd"]
    term.backward()
    t = teachers["sig"].logits
    p, q = ((z.detach().double() / 4).softmax(1) for z in (t, student.logits))
    right = (t.argmax(1) == batch.targets).nonzero()[:, 0].tolist()
    naive = sum(16 * (p[b] * (p[b] / q[b]).log()).sum().item() / 8 for b in right)
    assert term.item() == pytest.approx(naive, rel=1e-5)
    touched = student.logits.grad.abs().sum(1) > 0
    assert touched.nonzero()[:, 0].tolist() == right


@pytest.mark.parametrize("how", ["drop", *CORRECTIONS])
@pytest.mark.parametrize("name", LOGIT_METHODS)
def test_every_logit_method_reads_the_option(name, how):
    """It changes the loss, not the cross-entropy; a dropped window has no gradient."""
    method, student, teachers, batch = built(name, teacher_errors=how)
    plain = built(name)[0]
    terms, kept = (m.losses(student, teachers, batch) for m in (method, plain))
    own = sum(term for key, term in terms.items() if key != "ce")
    assert own.item() != pytest.approx(sum(term.item() for key, term in kept.items() if key != "ce"), rel=1e-4)
    assert terms["ce"].item() == kept["ce"].item()
    (gradient,) = torch.autograd.grad(own, student.logits)
    assert torch.isfinite(gradient).all()
    wrong = is_wrong(teachers["sig"].logits, batch)
    if how == "drop":
        assert gradient[wrong].abs().max() == 0
        assert gradient[~wrong].abs().max() > 0


@pytest.mark.parametrize("name", LOGIT_METHODS)
def test_if_all_windows_are_dropped_the_terms_are_0(name):
    method, student, teachers, batch = built(name, teacher_errors="drop")
    batch = Batch((teachers["sig"].logits.argmax(1) + 1) % 6, batch.index, 23, 24)
    own = sum(term for key, term in method.losses(student, teachers, batch).items() if key != "ce")
    (gradient,) = torch.autograd.grad(own, student.logits)
    assert own.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("how", ["drop", *CORRECTIONS])
def test_a_teacher_that_is_right_everywhere_is_not_changed(how):
    """The option is then without effect: a row of the same numbers as `kd`."""
    terms = []
    for choice in ("keep", how):
        method, student, teachers, batch = built("kd", teacher_errors=choice)
        batch = Batch(teachers["sig"].logits.argmax(1), batch.index)
        terms.append(method.losses(student, teachers, batch)["kd"].item())
    assert terms[0] == terms[1]


def test_a_run_says_that_teachers_are_wrong_on_almost_no_window(tiny, tmp_path, capsys):
    where = ["--runs", str(tmp_path), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    flags = ["--method", "student,kd", "--student", "sig", "--teachers", "sig", "--epochs", "1", *where]
    line = "teacher-errors drop: the teachers of kd are wrong on less than 1% of the training windows"
    for epochs, errors, said in ((12, "drop", True), (12, "keep", False), (1, "drop", False)):
        own = ["--teacher-epochs", str(epochs), "--teacher-errors", errors]
        assert main([*flags, *own]) == 0
        assert (line in capsys.readouterr().out) == said, (epochs, errors)


@pytest.mark.parametrize("average", ["logits", "losses", "probabilities"])
def test_the_average_of_teachers_is_corrected_as_one_teacher(average):
    """But the average of losses, where each teacher is."""
    student, teachers, batch = case()
    teachers = {"sig": teachers["sig"], "gaf": Outputs(teachers["sig"].logits.roll(1, 0), student.logits)}
    method = METHODS.get("aver")(average=average, teacher_errors="translate", kd_weight=1)
    found = method.losses(student, teachers, batch)["kd"].item()
    each = [t.logits for t in teachers.values()]
    means = {"logits": [sum(each) / 2], "losses": each}
    means["probabilities"] = [4 * (sum((z / 4).softmax(1) for z in each) / 2).log()]
    kd = METHODS.get("kd")(kd_weight=1, teacher_errors="translate")
    expected = [kd.losses(student, {"sig": Outputs(z, z)}, batch)["kd"].item() for z in means[average]]
    assert found == pytest.approx(np.mean(expected), rel=1e-5)
