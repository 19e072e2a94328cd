"""`rld`, `ttm`, `wttm`, `abkd`, `ikl`, `gkl`: reference numbers, slow loops, and what they share with others."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses2.npz", allow_pickle=False)
NAMES = ("rld", "ttm", "wttm", "abkd", "ikl", "gkl")
LAST = {"epoch": 23, "epochs": 24}  # after any warm-up
KEYS = ("logits_student", "logits_teacher", "target")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def case(right=False):
    """The reference batch: student that takes gradients, teacher, batch; on request only windows it gets right."""
    s, t, y = (torch.from_numpy(ORACLE[key]) for key in KEYS)
    if right:
        kept = t.argmax(1) == y
        assert 2 <= kept.sum() < len(y)
        s, t, y = s[kept], t[kept], y[kept]
    student = Outputs(s.clone().requires_grad_(), s)
    return student, {"sig": Outputs(t, t)}, Batch(y, torch.arange(len(y)), **LAST)


def built(name, student, teachers, batch, **options):
    """The method, set up as the loop sets it up; the class priors are those of the reference."""
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, 6, len(batch.targets), 24, batch.targets)
    method.check(setup)
    method.build(setup)
    for buffer in method.buffers():
        buffer.copy_(torch.from_numpy(ORACLE["dkl_class_prior"]))
    return method


def distilled(name, right=False, **options):
    """The method's own terms, and the gradient of their sum for the student's logits."""
    student, teachers, batch = case(right)
    terms = built(name, student, teachers, batch, **options).losses(student, teachers, batch)
    own = {key: term for key, term in terms.items() if key != "ce"}
    sum(own.values()).backward()
    return {key: term.item() for key, term in own.items()}, student.logits.grad.numpy()


def assert_reference(found, key, scale=1.0):
    terms, gradient = found
    assert sum(terms.values()) == pytest.approx(scale * float(ORACLE[key]), rel=1e-5)
    expected = scale * ORACLE[f"{key}_grad"]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("temperature", [1, 4])
def test_rld_terms_equal_the_reference(temperature):
    assert_reference(distilled("rld", beta=0, confidence_temperature=temperature), f"rld_scd_T{temperature}")
    assert_reference(distilled("rld", alpha=0, beta=1, temperature=temperature), f"rld_mcd_T{temperature}")


def test_rld_equals_the_reference():
    assert_reference(distilled("rld", confidence_temperature=1), "rld_default")
    standardised = {"standardise": True, "temperature": 2, "confidence_temperature": 2, "alpha": 9, "beta": 72}
    assert_reference(distilled("rld", **standardised), "rld_standardised_T2")


@pytest.mark.parametrize(
    ("name", "gamma", "key"), [(n, g, f"{n}_gamma{g}") for n in ("ttm", "wttm") for g in (0.1, 0.25)]
)
def test_transformed_teachers_equal_the_reference(name, gamma, key):
    assert_reference(distilled(name, gamma=gamma, weight=1), key)
    own = 1 / gamma if name == "ttm" else 1 / (gamma * 6 ** (1 - gamma))
    assert_reference(distilled(name, gamma=gamma), key, scale=own)


@pytest.mark.parametrize(
    ("key", "alpha", "beta", "temperature", "scale"),
    [
        ("abkd_a0.8_b0.3_T4", 0.8, 0.3, 4, 1),
        ("abkd_a0.5_b0.5_T4", 0.5, 0.5, 4, 1),
        ("abkd_a0.8_b0.3_T1", 0.8, 0.3, 1, 1),
        ("abkd_a1.2_b-0.4_T4", 1.2, -0.4, 4, 1),
        ("abkd_a0_b0_T4", 0, 0, 4, 1),
        ("abkd_a0_b1_T4", 0, 1, 4, 1),
        ("abkd_a1_b0_T4", 1, 0, 4, 1),
        ("abkd_a0_b0.7_T4", 0, 0.7, 4, 1 / 0.7),
        ("abkd_a0.6_b0_T4", 0.6, 0, 4, 1 / 0.6),
        ("abkd_a0.5_b-0.5_T4", 0.5, -0.5, 4, 1 / 0.5),
        ("own_abkd_limit_a0_b0.7_T4", 0, 0.7, 4, 1),
        ("own_abkd_limit_a0.6_b0_T4", 0.6, 0, 4, 1),
        ("own_abkd_limit_a0.5_b-0.5_T4", 0.5, -0.5, 4, 1),
    ],
)
def test_abkd_equals_the_reference_and_its_limits_the_definition(key, alpha, beta, temperature, scale):
    """The code's special cases lack a factor, with which the divergence is continuous."""
    assert_reference(distilled("abkd", alpha=alpha, beta=beta, temperature=temperature, weight=1), key, scale)


@pytest.mark.parametrize(
    ("name", "key", "options"),
    [
        ("ikl", "ikl_wmse_T2_100", {"alpha": 0, "beta": 1}),
        ("ikl", "ikl_wmse_T2_1", {"alpha": 0, "beta": 1, "weight_temperature": 1}),
        ("ikl", "ikl_wmse_prior", {"alpha": 0, "beta": 1, "prior": "class"}),
        ("ikl", "ikl_sce_T4", {"beta": 0}),
        ("ikl", "ikl_default_cifar", {}),
        ("gkl", "gkl_wmse_prior_gamma0.05", {"alpha": 0, "beta": 1}),
        ("gkl", "gkl_wmse_sample_gamma0.3", {"alpha": 0, "beta": 1, "prior": "sample", "gamma": 0.3}),
        ("gkl", "gkl_wmse_gamma0", {"alpha": 0, "beta": 1, "gamma": 0}),
        ("gkl", "gkl_default_cifar", {}),
    ],
)
def test_decoupled_losses_equal_the_reference(name, key, options):
    assert_reference(distilled(name, **options), key)


def test_rld_is_dkd_where_the_teacher_is_right():
    rld, dkd = distilled("rld", right=True), distilled("dkd", right=True)
    assert list(rld[0].values()) == pytest.approx(list(dkd[0].values()), rel=1e-5)
    np.testing.assert_allclose(rld[1], dkd[1], rtol=1e-4, atol=1e-6)
    wrong = distilled("rld")[0]["rld_confidence"]
    assert wrong != pytest.approx(distilled("dkd")[0]["dkd_target"], rel=1e-2)


def test_rld_masks_the_classes_above_the_label_and_ties():
    """Slow loops over the classes that stay; the reference batch has a label that is last, and a tie."""
    student, teachers, batch = case()
    s, t = (z.logits.detach().double().numpy() for z in (student, teachers["sig"]))
    total, kept_classes = 0.0, []
    for row_s, row_t, y in zip(s, t, batch.targets.tolist(), strict=True):
        kept = [k for k in range(6) if row_t[k] < row_t[y]]
        kept_classes.append(len(kept))
        p, q = ({k: math.exp(row[k] / 4) for k in kept} for row in (row_t, row_s))
        total += sum(p[k] / sum(p.values()) * math.log(p[k] / sum(p.values()) / (q[k] / sum(q.values()))) for k in kept)
    assert min(kept_classes) == 0
    found = distilled("rld", alpha=0, beta=1)
    assert found[0]["rld_masked"] == pytest.approx(16 * total / len(s), rel=1e-5)
    assert np.abs(found[1][[n for n, count in enumerate(kept_classes) if count < 2]]).max() == 0


def test_rld_of_two_classes_has_no_masked_term():
    batch = Batch(torch.arange(6) % 2, torch.arange(6), **LAST)
    logits = torch.randn(6, 2, requires_grad=True)
    terms = METHODS.get("rld")().losses(Outputs(logits, logits), {"sig": Outputs(torch.randn(6, 2), logits)}, batch)
    assert terms["rld_masked"].item() == 0
    assert terms["rld_confidence"].item() > 0


def test_ttm_is_kl_at_a_temperature_of_the_teacher_alone():
    """Gradient (q - p) / B; at gamma 1 soft targets at T = 1."""
    student, teachers, batch = case()
    q, p = (F.softmax(z, 1) for z in (student.logits.detach(), 0.25 * teachers["sig"].logits))
    np.testing.assert_allclose(distilled("ttm", weight=1)[1], (q - p) / len(batch.targets), atol=1e-6)
    same, kd = distilled("ttm", gamma=1), distilled("kd", temperature=1, kd_weight=1)
    assert same[0]["ttm"] == pytest.approx(kd[0]["kd"], rel=1e-5)
    np.testing.assert_allclose(same[1], kd[1], atol=1e-6)
    assert distilled("wttm", gamma=1)[0]["wttm"] == pytest.approx(kd[0]["kd"], rel=1e-5), "U is 1"


def test_the_default_weight_of_ttm_is_that_of_soft_targets_for_a_uniform_student():
    _, teachers, batch = case()
    gradients = []
    for name, options in (("ttm", {}), ("kd", {"kd_weight": 1, "temperature": 4})):
        logits = torch.zeros(8, 6, requires_grad=True)
        terms = METHODS.get(name)(**options).losses(Outputs(logits, logits), teachers, batch)
        gradients += torch.autograd.grad(terms[name], logits)
    torch.testing.assert_close(*gradients)


def test_wttm_counts_unsure_teachers_more():
    logits = torch.zeros(2, 6, requires_grad=True)
    teacher = Outputs(torch.tensor([[50.0, 0, 0, 0, 0, 0], [0.1, 0, 0, 0, 0, 0]]), logits)
    batch = Batch(torch.zeros(2).long(), torch.arange(2), **LAST)
    ratio = []
    for name in ("ttm", "wttm"):
        METHODS.get(name)(gamma=0.5).losses(Outputs(logits, logits), {"sig": teacher}, batch)[name].backward()
        ratio.append((logits.grad[1].norm() / logits.grad[0].norm()).item())
        logits.grad = None
    assert ratio[1] / ratio[0] == pytest.approx(6**0.5, rel=1e-2)


def test_abkd_contains_soft_targets_reverse_kl_and_hellinger():
    student, teachers, _ = case()
    forward, kd = distilled("abkd", alpha=1, beta=0), distilled("kd", kd_weight=1)
    assert forward[0]["abkd"] == pytest.approx(kd[0]["kd"], rel=1e-5)
    np.testing.assert_allclose(forward[1], kd[1], atol=1e-6)
    p, q = ((x.logits.detach().double() / 4).softmax(1) for x in (teachers["sig"], student))
    reverse = (q * (q / p).log()).sum(1).mean().item()
    hellinger = 4 * (1 - (p * q).sqrt().sum(1)).mean().item()
    assert distilled("abkd", alpha=0, beta=1)[0]["abkd"] == pytest.approx(16 * reverse, rel=1e-5)
    assert distilled("abkd", alpha=0.5, beta=0.5)[0]["abkd"] == pytest.approx(16 * hellinger, rel=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(0, 0.7), (0.6, 0), (0.5, -0.5), (0, 0), (0, 1)])
def test_abkd_is_continuous_where_a_power_is_zero(alpha, beta):
    limit = distilled("abkd", alpha=alpha, beta=beta)
    for shift in ((1e-4, 0), (0, 1e-4), (-1e-4, 0), (1e-5, 1e-5), (1e-7, 1e-7)):
        near = distilled("abkd", alpha=alpha + shift[0], beta=beta + shift[1])
        assert near[0]["abkd"] == pytest.approx(limit[0]["abkd"], rel=1e-3)
        np.testing.assert_allclose(near[1], limit[1], atol=1e-3 * np.abs(limit[1]).max())


def test_abkd_from_logarithms_is_the_plain_formula():
    student, teachers, _ = case()
    p, q = ((x.logits.detach().double() / 4).softmax(1).numpy() for x in (teachers["sig"], student))
    a, b = 0.7, -0.2
    plain = -(p**a * q**b - a / (a + b) * p ** (a + b) - b / (a + b) * q ** (a + b)).sum(1).mean() / (a * b)
    assert distilled("abkd", alpha=a, beta=b, weight=1)[0]["abkd"] == pytest.approx(plain, rel=1e-6)


def test_abkd_refuses_powers_that_explode():
    for power in ("alpha", "beta"):
        with pytest.raises(MmkdError, match=f"{power} = -1.1 must be >= -1"):
            METHODS.get("abkd")(**{power: -1.1})


@pytest.mark.parametrize("gamma", [0, 0.4, 1])
def test_the_variance_form_is_the_sum_over_pairs(gamma):
    """1/4 sum_jk w_j w_k (d_j - d_k)^2 by slow loops; `gkl` divides by the sum of W^2, not window by window."""
    student, teachers, batch = case()
    d = (teachers["sig"].logits - student.logits.detach()).double().numpy()
    weights = ORACLE["dkl_class_prior"].astype(float)[batch.targets] ** gamma
    pairs = [
        sum(w[j] * w[k] * (e[j] - e[k]) ** 2 for j in range(6) for k in range(6)) / 4
        for w, e in zip(weights, d, strict=True)
    ]
    found = distilled("gkl", alpha=0, beta=1, gamma=gamma)[0]["weighted_mse"]
    assert found == pytest.approx(sum(pairs) / (weights.sum(1) ** 2).sum(), rel=1e-5)
    if gamma == 1:
        found = distilled("ikl", alpha=0, beta=1, prior="class")[0]["weighted_mse"]
        assert found == pytest.approx(np.mean(pairs), rel=1e-5)


def test_equal_weights_are_centred_logit_matching():
    student, teachers, _ = case()
    s, t = (x.logits.detach() - x.logits.detach().mean(1, keepdim=True) for x in (student, teachers["sig"]))
    expected = F.mse_loss(s, t).item() / 2
    assert distilled("gkl", alpha=0, beta=1, gamma=0)[0]["weighted_mse"] == pytest.approx(expected, rel=1e-5)
    assert distilled("ikl", alpha=0, beta=1)[0]["weighted_mse"] == pytest.approx(expected, rel=2e-2)


def test_the_cross_entropy_term_alone_has_the_whole_gradient_of_soft_targets():
    """So that the second term is an addition, not a part of the divergence, as long as the teacher is frozen."""
    soft, kd = distilled("ikl", beta=0), distilled("kd", kd_weight=1)
    np.testing.assert_allclose(16 * soft[1], kd[1], atol=1e-5)


@pytest.mark.parametrize("name", ["ikl", "gkl"])
def test_a_constant_added_to_logits_changes_nothing(name):
    student, teachers, batch = case()
    shift = torch.arange(8.0)[:, None]
    moved = {"sig": Outputs(teachers["sig"].logits - 2 * shift, shift)}
    both = [(student, teachers), (replace(student, logits=student.logits + shift), moved)]
    one, other = (built(name, s, t, batch).losses(s, t, batch) for s, t in both)
    assert one["soft_ce"].item() == pytest.approx(other["soft_ce"].item(), rel=1e-5)
    assert one["weighted_mse"].item() == pytest.approx(other["weighted_mse"].item(), rel=1e-4)


def test_class_weights_are_means_over_the_training_windows():
    """Of windows with a label; of classes without any they are 1/K. Read in parts, of windows or of time steps."""
    logits = torch.randn(1100, 3)
    targets = torch.randint(-1, 2, (1100,))
    asked = []

    def read(index):
        asked.append(len(index))
        return {"sig": Outputs(logits[index], logits)}

    outputs = Outputs(logits[:4], logits)
    for steps in (False, True):
        y = targets.view(550, 2) if steps else targets

        def by_step(index):
            return {"sig": Outputs(logits.view(550, 2, 3)[index].movedim(-1, 1), logits)}

        setup = Setup(outputs, {"sig": outputs}, 3, len(y), 4, y, read=by_step if steps else read)
        method = METHODS.get("gkl")()
        method.build(setup)
        p = (logits / 4).softmax(1)
        for k in (0, 1):
            torch.testing.assert_close(method.prior0[k], p[targets == k].mean(0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(method.prior0[2], torch.full((3,), 1 / 3))
    assert sum(asked) == 1100
    assert max(asked) < 1100
    assert "prior0" in method.state_dict()


def test_the_prior_is_read_from_the_teachers_of_a_real_unit(tiny, tmp_path, monkeypatch):
    """`Setup.read` in a run: the logits of all training windows, in the order of the targets."""
    import mmkd
    from mmkd.baselines import ikl

    found = []
    plain = ikl.class_probabilities

    def watched(setup, temperature):
        if setup.read is not None:
            outputs = setup.read(torch.arange(setup.train_size))
            found.append((setup.targets, {m: o.logits for m, o in outputs.items()}, plain(setup, temperature)))
        return plain(setup, temperature)

    monkeypatch.setattr(ikl, "class_probabilities", watched)
    where = {"runs": tmp_path, "cache": tiny["cache"], "data": tiny["data"]}
    mmkd.run("gkl", student="sig", teachers="sig,gaf", epochs=2, image_size=16, **where)
    ((targets, logits, priors),) = found
    for modality in ("sig", "gaf"):
        p = (logits[modality] / 4).softmax(1)
        for k in targets.unique().tolist():
            torch.testing.assert_close(priors[modality][k], p[targets == k].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_several_teachers_take_their_shares(name):
    student, teachers, batch = case()
    others = {m: Outputs(teachers["sig"].logits.roll(n, 0), student.logits) for n, m in enumerate(("sig", "gaf", "pi"))}

    def total(taught, **options):
        terms = built(name, student, taught, batch, **options).losses(student, taught, batch)
        return sum(term.item() for key, term in terms.items() if key != "ce")

    alone = [total({m: teacher}) for m, teacher in others.items()]
    assert total(others, teacher_weights="sig=2,gaf=1,pi=1") == pytest.approx(np.average(alone, weights=[2, 1, 1]))
    assert total({m: others[m] for m in ("sig", "gaf")}, teacher_weights="gaf=3,sig=1") == pytest.approx(
        np.average(alone[:2], weights=[1, 3])
    )


@pytest.mark.parametrize("name", NAMES)
def test_pairs_say_whose_logits_meet_a_teacher(name):
    student, teachers, batch = case()
    names = ("sig", "gaf", "pi")
    branches = {
        m: Outputs(student.logits.detach().roll(n + 1, 0).requires_grad_(), student.logits) for n, m in enumerate(names)
    }
    student = replace(student, branches=branches)
    taught = dict.fromkeys(names, teachers["sig"])
    for pairs, touched in (("fused", {"fused"}), ("same", set(names)), ("all", {"sig"})):
        for outputs in (student, *branches.values()):
            outputs.logits.grad = None
        terms = built(name, student, taught, batch, pairs=pairs).losses(student, taught, batch)
        sum(v for k, v in terms.items() if not k.endswith("ce") or k == "soft_ce").backward()
        found = {m for m, b in branches.items() if b.logits.grad is not None}
        assert found | ({"fused"} if student.logits.grad is not None else set()) == touched


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_give_finite_values_and_gradients(name):
    logits = torch.tensor([[200.0, -200, 0], [-200, 200, 0]], requires_grad=True)
    teacher = Outputs(torch.tensor([[-200.0, 200, 0], [200, -200, 0]]), logits)
    batch = Batch(torch.tensor([0, 1]), torch.arange(2), **LAST)
    student = Outputs(logits, logits)
    options = [{}, *({"alpha": 1.2, "beta": -0.2, "temperature": 1} for _ in range(name == "abkd"))]
    for changes in options:
        method = METHODS.get(name)(**changes)
        method.build(Setup(student, {"sig": teacher}, 3, 2, 24, batch.targets))
        total = sum(method.losses(student, {"sig": teacher}, batch).values())
        (gradient,) = torch.autograd.grad(total, logits)
        assert torch.isfinite(total)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["rld", "ikl", "gkl"])
def test_warm_up(name):
    student, teachers, batch = case()
    method = built(name, student, teachers, batch)
    full, half = (method.losses(student, teachers, replace(batch, epoch=epoch)) for epoch in (23, 0))
    for key in full.keys() - {"ce"}:
        assert half[key].item() == pytest.approx(full[key].item() / 2, rel=1e-5)
    assert half["ce"].item() == full["ce"].item()
