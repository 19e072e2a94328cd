"""`ca-mkd`, `cat-kd`, `feature-kd`, `nst`, `vid`, `cc`, `evidential`: reference numbers, formulas as slow loops."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
B, K = 6, 5
NAMES = ("sig", "gaf", "pi")
RANKS = ((), (8,), (6, 4))
LIFTS = ("outer", "repeat", "hankel", "toeplitz")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def stored(name):
    return torch.from_numpy(ORACLE[name])


def network(last, classes=K, **more):
    """Outputs of a network whose linear classifier, with a bias, reads the mean of its last map."""
    embedding = last.flatten(2).mean(2) if last.ndim > 2 else last
    weight, bias = torch.randn(classes, last.shape[1]), torch.randn(classes)
    logits = embedding @ weight.to(last.dtype).T + bias
    return Outputs(logits, embedding, {"stage1": last}, classifier=weight.to(last.dtype), **more)


def built(name, student, teachers, **options):
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, classes=K, train_size=60, epochs=24)
    method.check(setup)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.build(setup)
    return method


def terms_of(name, student, teachers, targets=None, epoch=23, **options):
    """The method's own terms, set up as the loop sets it up."""
    batch = Batch(torch.arange(B) % K if targets is None else targets, torch.arange(B), epoch, 24)
    terms = built(name, student, teachers, **options).losses(student, teachers, batch)
    return {k: v for k, v in terms.items() if not k.endswith("ce")}


def assert_reference(total, own, key):
    (gradient,) = torch.autograd.grad(total, own)
    assert total.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)
    expected = ORACLE[f"{key}_grad"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


# ca-mkd


def confident_case(double=False):
    """The reference logits, with maps of two ranks beside them."""
    kind = torch.double if double else torch.float
    logits = stored("student_logits").to(kind).requires_grad_()
    student = replace(network(torch.rand(B, 3, 8, dtype=kind)), logits=logits)
    shapes = {"sig": (4, 8), "gaf": (5, 4, 4), "pi": (6, 2, 2)}
    teachers = {
        m: replace(network(torch.rand(B, *shapes[m], dtype=kind)), logits=z.to(kind))
        for m, z in zip(NAMES, stored("teacher_logits"), strict=True)
    }
    return student, teachers


def test_ca_mkd_logit_term_equals_the_reference():
    student, teachers = confident_case()
    terms = terms_of("ca-mkd", student, teachers, stored("target"))
    assert_reference(terms["kd"], student.logits, "ca_mkd_logit_term")


def test_ca_mkd_weights_equal_the_reference_and_sum_to_1():
    from mmkd.baselines.ca_mkd import confidence

    losses = torch.stack([F.cross_entropy(z, stored("target"), reduction="none") for z in stored("teacher_logits")])
    weights = confidence(losses)
    np.testing.assert_allclose(weights, ORACLE["ca_mkd_weights"], rtol=1e-5)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(confidence(torch.full((3, B), 2.5)), 1 / 3, rtol=1e-6)


def test_ca_mkd_feature_term_by_loops():
    """arXiv:2201.00007: v_k from the cross-entropy of teacher k's classifier, with its bias, on the projection."""
    student, teachers = confident_case(double=True)
    bias = torch.randn(3, K, dtype=torch.double)
    for (m, t), b in zip(list(teachers.items()), bias, strict=True):
        teachers[m] = replace(t, logits=t.embedding @ t.classifier.T + b)
    method = built("ca-mkd", student, teachers, beta=7).double()
    batch = Batch(torch.arange(B) % K, torch.arange(B))
    found = method.losses(student, teachers, batch)["feature"].item()
    wrong, far = torch.zeros(3, B), torch.zeros(3, B)
    for k, t in enumerate(teachers.values()):
        s, hint = student.features["stage1"], t.features["stage1"]
        if hint.ndim == 4:
            s, hint = s.mean(2, keepdim=True), hint.mean((2, 3))[..., None]
        linear, *rest = method.projections[k]
        projected = F.conv1d(s, linear.weight[..., None])  # of a batch, as the BatchNorm reads it
        for layer in rest:
            projected = layer(projected)
        for i in range(B):
            z = t.classifier @ projected[i].mean(1) + bias[k]
            wrong[k, i] = -z.log_softmax(0)[batch.targets[i]]
            far[k, i] = (projected[i] - hint[i]).square().mean()
    v = (1 - wrong.exp() / wrong.exp().sum(0)) / 2
    assert found == pytest.approx(7 * (v * far).sum(0).mean().item(), rel=1e-5)


def test_ca_mkd_weights_of_the_maps_have_a_gradient():
    """As in the authors' code v_k is no constant: the gradient is that of the whole formula."""
    student, teachers = confident_case(double=True)
    own = student.features["stage1"].requires_grad_()
    method = built("ca-mkd", student, teachers, beta=7).double()
    batch = Batch(torch.arange(B) % K, torch.arange(B))
    found = method.losses(student, teachers, batch)["feature"]
    wrong, far = [], []
    for project, teacher in zip(method.projections, teachers.values(), strict=True):
        s, hint = own, teacher.features["stage1"]
        if hint.ndim == 4:
            s, hint = s.mean(2, keepdim=True), hint.mean((2, 3))[..., None]
        projected = project(s.movedim(1, 2).flatten(0, 1)).view(B, s.shape[2], -1).movedim(2, 1)
        logits = teacher.logits + (projected.mean(2) - teacher.embedding) @ teacher.classifier.T
        wrong.append(-logits.log_softmax(1)[torch.arange(B), batch.targets])
        far.append((projected - hint).square().mean((1, 2)))
    v = (1 - torch.stack(wrong).softmax(0)) / 2
    slopes = [
        torch.autograd.grad(7 * (weights * torch.stack(far)).sum(0).mean(), own, retain_graph=True)[0]
        for weights in (v, v.detach())
    ]
    (gradient,) = torch.autograd.grad(found, own)
    torch.testing.assert_close(gradient, slopes[0])
    assert not torch.allclose(*slopes, rtol=1e-2), "constant weights would have another one"


def test_ca_mkd_rectifies_only_towards_maps_without_negative_values():
    student, teachers = confident_case()
    teachers["gaf"] = network(torch.randn(B, 5, 4, 4))
    method = built("ca-mkd", student, teachers)
    assert [len(p) for p in method.projections] == [3, 2, 3]


def test_ca_mkd_refuses_one_teacher():
    student, teachers = confident_case()
    with pytest.raises(MmkdError, match="--teachers sig,gaf,pi"):
        built("ca-mkd", student, {"sig": teachers["sig"]})
    assert "teacher_weights" not in METHODS.get("ca-mkd").Config.__dataclass_fields__


# cat-kd


def classes_as_channels(cam):
    """Outputs whose class activation maps are `cam`."""
    return replace(network(cam, classes=cam.shape[1]), classifier=torch.eye(cam.shape[1], dtype=cam.dtype))


def test_cat_kd_equals_the_reference():
    own = stored("cam_student").requires_grad_()
    teachers = {"gaf": classes_as_channels(stored("cam_teacher"))}
    terms = terms_of("cat-kd", classes_as_channels(own), teachers, weight=1)
    assert_reference(terms["cat_gaf"], own, "cat_kd_2x2_normalised")


@pytest.mark.parametrize("normalise", [True, False])
def test_cat_kd_of_lines_by_loops(normalise):
    """arXiv:2304.12777 in one dimension: the map of class k is the classifier's row k over the last map."""
    s, t = network(torch.randn(B, 3, 8)), network(torch.randn(B, 4, 4))
    expected = 0.0
    for b, k in itertools.product(range(B), range(K)):
        maps = []
        for x in (s, t):
            cam = x.classifier[k] @ x.features["stage1"][b]
            cam = torch.stack([half.mean() for half in cam.chunk(2)])
            maps.append(cam / cam.norm() if normalise else cam)
        expected += (maps[0] - maps[1]).square().mean().item() / (B * K)
    found = terms_of("cat-kd", s, {"sig": t}, weight=3, normalise=normalise)["cat_sig"].item()
    assert found == pytest.approx(3 * expected, rel=1e-5)


def test_cat_kd_trains_the_students_classifier_too():
    s = network(torch.randn(B, 3, 8))
    s = replace(s, classifier=s.classifier.requires_grad_())
    terms = terms_of("cat-kd", s, {"gaf": network(torch.randn(B, 4, 4, 4))})
    assert torch.autograd.grad(terms["cat_gaf"], s.classifier)[0].abs().sum() > 0


def test_cat_kd_lifts_the_map_of_a_line():
    line = torch.randn(B, K, 4)
    image = line[:, :, None, :].expand(-1, -1, 6, -1)
    s, t = classes_as_channels(line), {"gaf": classes_as_channels(image)}
    assert terms_of("cat-kd", s, t)["cat_gaf"].item() == pytest.approx(0, abs=1e-6)
    assert terms_of("cat-kd", s, t, mixed="outer")["cat_gaf"] > 0.01


def test_cat_kd_refuses_what_has_no_maps():
    s = network(torch.randn(B, 3, 8))
    with pytest.raises(MmkdError, match="--student-net"):
        built("cat-kd", replace(s, classifier=None), {"sig": s})
    with pytest.raises(MmkdError, match="--teacher-net"):
        built("cat-kd", s, {"sig": replace(s, classifier=None)})
    with pytest.raises(MmkdError, match="--resolution 2"):
        built("cat-kd", s, {"sig": s}, resolution=1)


# feature-kd


def vectors(width):
    return Outputs(torch.randn(B, K), torch.randn(B, width, requires_grad=True))


def test_feature_kd_is_the_squared_error_of_hidden_vectors():
    """The notes' item 5; without a projection where widths agree."""
    s, t = vectors(8), {m: vectors(8) for m in NAMES}
    terms = terms_of("feature-kd", s, t, weight=3)
    assert set(terms) == {"feature_sig"}
    expected = 3 * sum((a - b) ** 2 for a, b in zip(s.embedding.flatten(), t["sig"].embedding.flatten(), strict=True))
    assert terms["feature_sig"].item() == pytest.approx(expected.item() / (B * 8), rel=1e-5)
    assert not list(built("feature-kd", s, t).parameters())


def test_feature_kd_projects_where_widths_differ():
    s, t = vectors(8), {"sig": vectors(5)}
    method = built("feature-kd", s, t)
    value = method.losses(s, t, Batch(torch.arange(B) % K, torch.arange(B)))["feature_sig"]
    layer = method.projections[0]
    expected = (s.embedding @ layer.weight.T + layer.bias - t["sig"].embedding).square().mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_feature_kd_follows_one_teacher_or_all_by_their_shares():
    s, t = vectors(8), {m: vectors(8) for m in NAMES}
    alone = {m: terms_of("feature-kd", s, t, followed=m)[f"feature_{m}"].item() for m in NAMES}
    every = terms_of("feature-kd", s, t, followed="all", teacher_weights="sig=2,gaf=1,pi=1")
    for m, share in zip(NAMES, (0.5, 0.25, 0.25), strict=True):
        assert every[f"feature_{m}"].item() == pytest.approx(share * alone[m], rel=1e-5)


def test_feature_kd_pairs():
    own = {m: vectors(8) for m in ("fused", "sig", "gaf")}
    s = replace(own["fused"], branches={m: own[m] for m in ("sig", "gaf")})
    t = {"sig": vectors(8), "gaf": vectors(8)}
    for pairs, touched in (("fused", {"fused"}), ("same", {"sig", "gaf"}), ("all", {"sig"})):
        total = sum(terms_of("feature-kd", s, t, followed="all", pairs=pairs).values())
        gradients = torch.autograd.grad(total, [x.embedding for x in own.values()], allow_unused=True)
        assert {m for m, g in zip(own, gradients, strict=True) if g is not None} == touched


def test_feature_kd_refuses_a_teacher_that_is_not_there():
    with pytest.raises(MmkdError, match="--followed all"):
        built("feature-kd", vectors(8), {"gaf": vectors(8)})
    with pytest.raises(MmkdError, match="--teacher-weights"):
        built("feature-kd", vectors(8), {m: vectors(8) for m in ("sig", "gaf")}, teacher_weights="sig=0,gaf=1")


# nst


def test_nst_equals_the_reference():
    own = stored("student_map").requires_grad_()
    terms = terms_of("nst", network(own), {"gaf": network(stored("teacher_map"))}, weight=1)
    assert_reference(terms["nst_gaf"], own, "nst")


def test_nst_by_loops():
    """arXiv:1707.01219, squared maximum mean discrepancy with the polynomial kernel of degree 2, on lines."""
    s, t = torch.randn(B, 3, 7, dtype=torch.double), torch.randn(B, 2, 7, dtype=torch.double)

    def kernel(a, b):
        values = [(x @ y / (x.norm() * y.norm())) ** 2 for x in a for y in b]
        return sum(values).item() / len(values)

    expected = sum(kernel(t[b], t[b]) + kernel(s[b], s[b]) - 2 * kernel(s[b], t[b]) for b in range(B)) / B
    found = terms_of("nst", network(s), {"sig": network(t)}, weight=3)["nst_sig"].item()
    assert found == pytest.approx(3 * expected)


# vid


def test_vid_is_minus_the_log_likelihood_of_a_gaussian():
    """arXiv:1904.05835 with torch.distributions, up to its constant, after the variances have moved."""
    s, t = network(torch.randn(B, 3, 8)), {"sig": network(torch.randn(B, 4, 8))}
    method = built("vid", s, t, weight=2)
    (gaussian,) = method.gaussians[0]
    with torch.no_grad():
        gaussian.log_scale.add_(torch.randn(4))
    value = method.losses(s, t, Batch(torch.arange(B) % K, torch.arange(B)))["vid_sig"].item()
    mean = gaussian.mean(s.features["stage1"].transpose(1, 2))
    scale = (gaussian.log_scale.exp().log1p() + 1e-5).sqrt()
    exact = torch.distributions.Normal(mean, scale).log_prob(t["sig"].features["stage1"].transpose(1, 2)).mean()
    assert value == pytest.approx(2 * (-exact.item() - math.log(2 * math.pi) / 2), rel=1e-5)


def test_vid_variance_starts_as_said_and_is_trained():
    s, t = network(torch.randn(B, 3, 8)), {"sig": network(torch.randn(B, 4, 8))}
    method = built("vid", s, t, variance=3)
    scales = [p for n, p in method.named_parameters() if n.endswith("log_scale")]
    assert len(scales) == 1
    torch.testing.assert_close(F.softplus(scales[0]) + 1e-5, torch.full((4,), 3.0))
    method.losses(s, t, Batch(torch.arange(B) % K, torch.arange(B)))["vid_sig"].backward()
    assert scales[0].grad.abs().min() > 0


def test_vid_stages():
    s = Outputs(torch.randn(B, K), torch.randn(B, 3), {f"s{i}": torch.rand(B, 3 + i, 8) for i in range(2)})
    t = {"sig": Outputs(torch.randn(B, K), torch.randn(B, 3), {f"t{i}": torch.rand(B, 5 + i, 8) for i in range(3)})}
    widths = [
        [(g.mean[0].in_features, len(g.log_scale)) for g in built("vid", s, t, stages=n).gaussians[0]]
        for n in ("all", "last")
    ]
    names = [n for n, _ in built("vid", s, t).named_parameters()]
    assert not any("bias" in n for n in names), "the published convolutions have none"
    assert widths == [[(4, 7), (3, 6)], [(4, 7)]]


# cc


def test_cc_by_loops():
    """arXiv:1904.01802: the Taylor series of the Gaussian kernel, order 2."""
    s, t = torch.randn(B, 4, dtype=torch.double), torch.randn(B, 3, dtype=torch.double)

    def kernel(a, b):
        c = (a @ b / (a.norm() * b.norm())).item()
        return math.exp(-0.8) * (1 + 0.8 * c + 0.8**2 / 2 * c**2)

    pairs = itertools.permutations(range(B), 2)  # a batch of 64 has 63 other samples for each of 64
    expected = sum((kernel(s[i], s[j]) - kernel(t[i], t[j])) ** 2 for i, j in pairs) / (B * (B - 1)) * 63 / 64
    student, teacher = (Outputs(torch.randn(B, K), x) for x in (s, t))
    found = terms_of("cc", student, {"sig": teacher}, weight=3)
    assert set(found) == {"cc_sig"}
    assert found["cc_sig"].item() == pytest.approx(3 * expected)


def test_cc_of_a_high_order_is_the_gaussian_kernel():
    from mmkd.baselines.cc import kernel

    x = torch.randn(B, 4, dtype=torch.double)
    exact = torch.exp(-0.7 * torch.cdist(F.normalize(x), F.normalize(x)).square())
    torch.testing.assert_close(kernel(x, 0.7, 20), exact)


def test_cc_is_not_the_toolkits_product():
    """The reference holds a common toolkit's form, read as in its description; ours is another loss."""
    s, t = stored("student_embedding"), stored("teacher_embedding_same_width")
    delta = (s - t).abs()
    value = (delta[:-1] * delta[1:]).sum(1).mean().item()
    assert value == pytest.approx(float(ORACLE["cc_adjacent_product"]), rel=1e-5)
    student, teacher = (Outputs(torch.randn(B, K), x) for x in (s, t))
    assert terms_of("cc", student, {"sig": teacher}, weight=1)["cc_sig"].item() < 0.1 * value


def test_cc_with_soft_targets():
    student, teacher = vectors(4), vectors(3)
    terms = terms_of("cc", student, {"sig": teacher}, logit_weight=0.5, temperature=2)
    batch = Batch(torch.arange(B) % K, torch.arange(B))
    kd = METHODS.get("kd")(kd_weight=0.5, temperature=2).losses(student, {"sig": teacher}, batch)["kd"]
    assert terms["kd"].item() == pytest.approx(kd.item(), rel=1e-5)


# evidential


def test_dirichlet_divergence_equals_the_reference_and_torch_distributions():
    from mmkd.baselines.evidential import dirichlet_kl

    s, t = stored("dirichlet_student").double().requires_grad_(), stored("dirichlet_teacher").double()
    value = dirichlet_kl(t, s)
    assert value.item() == pytest.approx(float(ORACLE["evidential_kl"]), rel=1e-5)
    exact = kl_divergence(Dirichlet(t), Dirichlet(s)).mean()
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(torch.autograd.grad(value, s), torch.autograd.grad(exact, s))


def test_evidential_terms_by_hand():
    """The three terms of the authors' code, with torch.distributions and float64."""
    z = {n: stored(f"{n}_logits").double() for n in ("student", "teacher")}
    own, target, prior = z["student"], stored("target"), math.exp(-1.16)
    student, teacher = Outputs(own, own), Outputs(z["teacher"][0], own)
    batch = Batch(target, torch.arange(B), 0, 24)
    terms = METHODS.get("evidential")(mean_weight=3, dirichlet_weight=5).losses(student, {"sig": teacher}, batch)
    draws = Dirichlet(own.exp() + prior).sample((200_000,)).log()
    expected = -draws.mean(0)[torch.arange(B), target].mean().item()
    assert terms["ce"].item() == pytest.approx(expected, rel=1e-2), "cross-entropy under the Dirichlet, by sampling"
    s, t = ((x.logits.exp() + prior) for x in (student, teacher))
    s, t = (x / x.sum(1, keepdim=True) for x in (s, t))
    assert terms["mean"].item() == pytest.approx(3 * (t * (t / s).log()).sum(1).mean().item(), rel=1e-6)
    s, t = (Dirichlet((1 + (1 + x.logits.exp()).log()).log() + prior) for x in (student, teacher))
    assert terms["dirichlet"].item() == pytest.approx(5 / 3 * kl_divergence(t, s).mean().item(), rel=1e-6)


def test_evidential_warm_up():
    student, teachers = vectors(3), {"sig": vectors(3)}
    full = terms_of("evidential", student, teachers)["dirichlet"].item()
    for warmup, epoch, ramp in ((1 / 8, 0, 1 / 3), (1 / 8, 2, 1), (0, 0, 1), (1, 11, 0.5)):
        value = terms_of("evidential", student, teachers, epoch=epoch, warmup=warmup)["dirichlet"].item()
        assert value == pytest.approx(ramp * full, rel=1e-5)


def test_evidential_of_extreme_logits_is_finite():
    logits = torch.tensor([[200.0, -200, 0], [-200, 200, 0]], requires_grad=True)
    teacher = Outputs(-logits.detach(), logits)
    batch = Batch(torch.tensor([1, 1]), torch.arange(2), 1, 2)
    total = sum(METHODS.get("evidential")().losses(Outputs(logits, logits), {"sig": teacher}, batch).values())
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()


# all


MEETINGS = [("ca-mkd", {}, *both) for both in itertools.product(RANKS, repeat=2)]
MEETINGS += [("vid", {"mixed": m}, *both) for m in ("pool", *LIFTS) for both in itertools.product(RANKS, repeat=2)]
for _name, _mixed in itertools.product(("nst", "cat-kd"), LIFTS):
    MEETINGS += [(_name, {"mixed": _mixed}, *both) for both in itertools.product(RANKS[1:], repeat=2)]


@pytest.mark.parametrize(("name", "options", "own", "other"), MEETINGS)
def test_any_rank_meets_any(name, options, own, other):
    """But for patterns of vectors, which have one position."""
    last = torch.rand(B, 3, *own, requires_grad=True)
    teachers = {m: network(torch.rand(B, 4, *other)) for m in ("sig", "gaf")}
    terms = terms_of(name, network(last), teachers, **options)
    total = sum(v for k, v in terms.items() if k != "kd")
    assert torch.autograd.grad(total, last)[0].abs().sum() > 0


@pytest.mark.parametrize("name", ["cat-kd", "nst", "vid", "cc", "evidential"])
def test_several_teachers_take_their_shares(name):
    s, t = network(torch.rand(B, 3, 8)), {m: network(torch.rand(B, 3, 8)) for m in NAMES}
    alone = [sum(terms_of(name, s, {m: t[m]}).values()).item() for m in NAMES]
    if name == "vid":  # each teacher has a start of its own: compare with equal shares
        equal = list(terms_of(name, s, t).values())
        alone = [3 * v.item() for v in equal]
    shared = sum(terms_of(name, s, t, teacher_weights="sig=2,gaf=1,pi=1").values()).item()
    assert shared == pytest.approx(np.average(alone, weights=[2, 1, 1]), rel=1e-5)


@pytest.mark.parametrize("name", ["ca-mkd", "cat-kd", "nst", "vid", "cc", "evidential"])
def test_pairs_say_which_branch_is_guided(name):
    own = {m: torch.rand(B, 3, 8, requires_grad=True) for m in ("sig", "gaf")}
    s = replace(network(torch.rand(B, 3, 8)), features={}, branches={m: network(x) for m, x in own.items()})
    t = {m: network(torch.rand(B, 4, 8)) for m in ("sig", "gaf")}
    for pairs, guided in (("same", {"sig", "gaf"}), ("all", {"sig"})):
        terms = terms_of(name, s, t, pairs=pairs)
        total = sum(v for k, v in terms.items() if k != "kd")
        gradients = torch.autograd.grad(total, list(own.values()), allow_unused=True, retain_graph=True)
        assert {m for m, g in zip(own, gradients, strict=True) if g is not None} == guided


@pytest.mark.parametrize("name", ["ca-mkd", "nst", "vid"])
def test_networks_without_maps_are_refused(name):
    whole, t = network(torch.rand(B, 3, 8)), {m: network(torch.rand(B, 4, 8)) for m in ("sig", "gaf")}
    with pytest.raises(MmkdError, match="--student-net"):
        built(name, replace(whole, features={}), t)
    with pytest.raises(MmkdError, match="--teacher-net"):
        built(name, whole, {**t, "gaf": replace(t["gaf"], features={})})


@pytest.mark.parametrize("name", ["cat-kd", "nst", "cc"])
def test_equal_features_cost_nothing(name):
    s = network(torch.rand(B, 4, 6))
    assert sum(terms_of(name, s, {"sig": s}).values()).item() == pytest.approx(0, abs=1e-5)
