"""`dkd`, `dist`, `ls-kd`, `ebkd-entropy`: against reference numbers and the papers' formulas as slow loops."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
NAMES = ("sig", "gaf", "pi")
SINGLE = ("dkd", "dist", "ls-kd")
LAST = {"epoch": 23, "epochs": 24}  # after any warm-up


def case(branches=False):
    """The reference batch: a student that takes gradients, three teachers, the batch."""
    logits = torch.from_numpy(ORACLE["student_logits"]).requires_grad_()
    each = {m: Outputs(logits.detach().roll(i + 1, 0).requires_grad_(), logits) for i, m in enumerate(NAMES)}
    student = Outputs(logits, logits, branches=each if branches else {})
    stored = (torch.from_numpy(z) for z in ORACLE["teacher_logits"])
    teachers = {m: Outputs(z, z) for m, z in zip(NAMES, stored, strict=True)}
    return student, teachers, Batch(torch.from_numpy(ORACLE["target"]), torch.arange(len(logits)), **LAST)


def distilled(name, used=("sig",), **options):
    """The sum of the method's own terms and its gradient for the student's logits."""
    student, teachers, batch = case()
    terms = METHODS.get(name)(**options).losses(student, {m: teachers[m] for m in used}, batch)
    own = sum(term for key, term in terms.items() if key != "ce")
    own.backward()
    return own.item(), student.logits.grad.numpy()


def assert_reference(found, name, scale=1.0):
    value, gradient = found
    assert value == pytest.approx(scale * float(ORACLE[name]), rel=1e-5)
    expected = scale * ORACLE[f"{name}_grad"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_dkd_equals_the_reference():
    assert_reference(distilled("dkd"), "dkd_alpha1_beta8")


def test_dist_equals_the_reference():
    assert_reference(distilled("dist"), "dist_beta1_gamma1_no_tau")


def test_ls_kd_equals_the_reference():
    assert_reference(distilled("ls-kd", kd_weight=1), "logit_standardisation_T2")
    assert_reference(distilled("ls-kd"), "logit_standardisation_T2", scale=9)


def test_ls_kd_weighs_cross_entropy_as_the_authors_train():
    student, teachers, batch = case()
    terms = METHODS.get("ls-kd")().losses(student, {"sig": teachers["sig"]}, batch)
    full = METHODS.get("student")().losses(student, {}, batch)["ce"]
    assert terms["ce"].item() == pytest.approx(0.1 * full.item(), rel=1e-6)


def test_two_standardised_logits_have_no_gradient():
    """Why `ls-kd` refuses two classes; and what two classes leave of `dkd` and `dist`."""
    batch = Batch(torch.arange(6) % 2, torch.arange(6), **LAST)
    logits = torch.randn(6, 2, dtype=torch.double, requires_grad=True)
    teacher = Outputs(3 * torch.randn(6, 2, dtype=torch.double), logits)
    for name, empty in (("ls-kd", "kd"), ("dkd", "dkd_others"), ("dist", "dist_classes")):
        terms = METHODS.get(name)().losses(Outputs(logits, logits), {"sig": teacher}, batch)
        size = {key: torch.autograd.grad(term, logits, retain_graph=True)[0].abs().max() for key, term in terms.items()}
        assert size[empty] < 1e-4
        assert all(value > 1e-3 for key, value in size.items() if key not in (empty, "ce"))
    soft = METHODS.get("kd")(kd_weight=1.0, temperature=4.0).losses(Outputs(logits, logits), {"sig": teacher}, batch)
    terms = METHODS.get("dkd")().losses(Outputs(logits, logits), {"sig": teacher}, batch)
    assert terms["dkd_target"].item() == pytest.approx(soft["kd"].item())


def test_entropy_weighted_term_equals_the_reference_but_for_its_scale():
    """The reference's weights sum to M - 1 = 2 and it divides by M = 3; ours sum to 1."""
    found = distilled("ebkd-entropy", NAMES, kd_weight=1, temperature=float(ORACLE["temperature"]))
    assert_reference(found, "entropy_weighted_kl_divided_by_M", scale=3 / 2)


def test_entropy_weights_equal_the_reference_over_m_minus_1():
    from mmkd.baselines.ebkd_entropy import entropy_weights

    weights = entropy_weights(torch.from_numpy(ORACLE["teacher_logits"]))
    np.testing.assert_allclose(weights, ORACLE["entropy_weights"] / 2, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)


def test_entropy_weights_of_certain_teachers_are_equal_and_finite():
    student, _, batch = case()
    certain = torch.full((6, 5), -200.0)
    certain[:, 0] = 200.0
    teachers = {m: Outputs(certain.roll(i, 1), certain) for i, m in enumerate(NAMES)}
    term = METHODS.get("ebkd-entropy")(kd_weight=1, temperature=1).losses(student, teachers, batch)["kd"]
    equal = METHODS.get("kd")(kd_weight=1, temperature=1).losses(student, teachers, batch)["kd"]
    term.backward()
    assert torch.isfinite(student.logits.grad).all()
    assert term.item() == pytest.approx(equal.item(), rel=1e-5)


def test_the_certain_teacher_counts_most():
    from mmkd.baselines.ebkd_entropy import entropy_weights

    certain, vague = torch.tensor([[200.0, -200, -200]]), torch.tensor([[1.0, 0, 0]])
    weights = entropy_weights(torch.stack([certain, vague, vague]))  # entropies 0, H, H: shares 0, 1/2, 1/2
    torch.testing.assert_close(weights[:, 0], torch.tensor([0.5, 0.25, 0.25]))


def test_dkd_is_the_papers_two_divergences():
    """alpha TCKD + beta NCKD of arXiv:2203.08679, probabilities by hand."""
    student, teachers, batch = case()
    t = 4.0
    p, q = ((x.logits.double() / t).softmax(1) for x in (teachers["sig"], student))
    target = others = 0.0
    for b, y in enumerate(batch.targets.tolist()):
        for r, s in ((p[b, y], q[b, y]), (1 - p[b, y], 1 - q[b, y])):
            target += (r * (r / s).log()).item() / len(p)
        for k in set(range(p.shape[1])) - {y}:
            r, s = p[b, k] / (1 - p[b, y]), q[b, k] / (1 - q[b, y])
            others += (r * (r / s).log()).item() / len(p)
    terms = METHODS.get("dkd")(alpha=0.5, beta=3).losses(student, {"sig": teachers["sig"]}, batch)
    assert terms["dkd_target"].item() == pytest.approx(t**2 * 0.5 * target, rel=1e-5)
    assert terms["dkd_others"].item() == pytest.approx(t**2 * 3 * others, rel=1e-5)


def test_dkd_with_the_teachers_own_mass_as_beta_is_kd():
    """The decomposition of arXiv:2203.08679: KL = target KL + (1 - p_target) non-target KL, for one sample."""
    student, teachers, batch = case()
    one = Outputs(student.logits[:1], student.logits), {"sig": Outputs(teachers["sig"].logits[:1], student.logits)}
    first = Batch(batch.targets[:1], batch.index[:1], **LAST)
    mass = 1 - (one[1]["sig"].logits / 4).softmax(1)[0, first.targets[0]].item()
    terms = METHODS.get("dkd")(beta=mass).losses(*one, first)
    kd = METHODS.get("kd")(kd_weight=1).losses(*one, first)["kd"]
    assert (terms["dkd_target"] + terms["dkd_others"]).item() == pytest.approx(kd.item(), rel=1e-5)


def test_dkd_warms_up_without_a_dead_epoch():
    student, teachers, batch = case()
    full = METHODS.get("dkd")().losses(student, teachers, batch)["dkd_others"].item()
    for warmup, epoch, ramp in ((1 / 12, 0, 0.5), (0.25, 2, 0.5), (0.25, 5, 1), (0, 0, 1), (1, 0, 1 / 24)):
        now = Batch(batch.targets, batch.index, epoch, 24)
        value = METHODS.get("dkd")(warmup=warmup).losses(student, teachers, now)["dkd_others"].item()
        assert value == pytest.approx(ramp * full, rel=1e-5)


def test_dist_is_the_papers_correlations():
    """Inter-class and intra-class relation of arXiv:2205.10536, with numpy's corrcoef."""
    student, teachers, batch = case()
    t = 3.0
    p, q = ((x.logits.detach().double() / t).softmax(1).numpy() for x in (teachers["sig"], student))
    within = np.mean([1 - np.corrcoef(p[b], q[b])[0, 1] for b in range(len(p))])
    across = np.mean([1 - np.corrcoef(p[:, k], q[:, k])[0, 1] for k in range(p.shape[1])])
    terms = METHODS.get("dist")(beta=2, gamma=5, temperature=t).losses(student, {"sig": teachers["sig"]}, batch)
    assert terms["dist_classes"].item() == pytest.approx(t**2 * 2 * within, rel=1e-5)
    assert terms["dist_samples"].item() == pytest.approx(t**2 * 5 * across, rel=1e-5)


@pytest.mark.parametrize("name", ["dist", "ls-kd"])
def test_shift_and_scale_of_logits_do_not_matter(name):
    """DIST: of probabilities only the shift; logit standardisation: both (arXiv:2403.01427)."""
    student, teachers, batch = case()
    factor = 3.0 if name == "ls-kd" else 1.0
    moved = {"sig": Outputs(factor * teachers["sig"].logits + 2, student.logits)}
    value = [METHODS.get(name)().losses(student, t, batch) for t in ({"sig": teachers["sig"]}, moved)]
    for key in value[0]:
        assert value[0][key].item() == pytest.approx(value[1][key].item(), rel=1e-4)


@pytest.mark.parametrize("name", SINGLE)
def test_several_teachers_take_their_shares(name):
    alone = [distilled(name, (m,))[0] for m in NAMES]
    shared = distilled(name, NAMES, teacher_weights="sig=2,gaf=1,pi=1")[0]
    assert shared == pytest.approx(np.average(alone, weights=[2, 1, 1]), rel=1e-5)


@pytest.mark.parametrize("name", SINGLE)
def test_pairs_say_whose_logits_meet_a_teacher(name):
    student, teachers, batch = case(branches=True)
    for pairs, touched in (("fused", {"fused"}), ("same", set(NAMES)), ("all", {"sig"})):
        for outputs in (student, *student.branches.values()):
            outputs.logits.grad = None
        terms = METHODS.get(name)(pairs=pairs).losses(student, teachers, batch)
        sum(v for k, v in terms.items() if not k.endswith("ce")).backward()
        found = {m for m, b in student.branches.items() if b.logits.grad is not None}
        assert found | ({"fused"} if student.logits.grad is not None else set()) == touched


@pytest.mark.parametrize("name", SINGLE)
def test_extreme_logits_give_finite_values_and_gradients(name):
    logits = torch.tensor([[200.0, -200, 0], [-200, 200, 0]], requires_grad=True)
    teacher = Outputs(torch.tensor([[-200.0, 200, 0], [200, -200, 0]]), logits)
    batch = Batch(torch.tensor([0, 1]), torch.arange(2), **LAST)
    total = sum(METHODS.get(name)().losses(Outputs(logits, logits), {"sig": teacher}, batch).values())
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()


def test_one_teacher_cannot_be_weighed_by_entropy():
    student, teachers, _ = case()
    setup = Setup(student, {"sig": teachers["sig"]}, classes=5, train_size=10, epochs=1)
    with pytest.raises(MmkdError, match="--teachers sig,gaf,pi"):
        METHODS.get("ebkd-entropy")().check(setup)
    assert "teacher_weights" not in METHODS.get("ebkd-entropy").Config.__dataclass_fields__
