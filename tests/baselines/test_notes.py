"""`camkd`, `ebkd`, `progressive`: the project's notes, which have no reference numbers; formulas as slow loops."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import mmkd
from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.core.progress import Progress
from mmkd.nets import build_student, build_teacher
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import TeacherSpec, Training
from mmkd.store.cache import Cache
from mmkd.training.data import TrainingData
from mmkd.training.setup import build_method
from mmkd.training.teacher_outputs import CachedTeachers, make_teacher_source
from mmkd.training.teachers import Teacher

B, K = 4, 3
SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16), "pi": (2, 16, 16)}
TARGETS = torch.tensor([2, 0, 1, 2])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(2)


def network(last, **more):
    """Outputs of a network whose linear classifier reads the mean of its last map; a shallow map stands before it."""
    embedding = last.flatten(2).mean(2)
    weight = torch.randn(K, last.shape[1], dtype=last.dtype)
    maps = {"stage1": torch.randn_like(last), "stage2": last}
    return Outputs(embedding @ weight.T, embedding, maps, weight, **more)


def noise(*shape):
    return torch.randn(B, *shape, dtype=torch.double)


def whole(branches, **more):
    """A student of these branches whose embedding is theirs side by side."""
    embedding = torch.cat([b.embedding for b in branches.values()], 1)
    logits = embedding @ torch.randn(embedding.shape[1], K, dtype=torch.double)
    features = branches["sig"].features if "sig" in branches else {}
    return Outputs(logits, embedding, features, branches=branches, **more)


def built(name, student, teachers, **options):
    method = METHODS.get(name)(**options).double()
    setup = Setup(student, teachers, classes=K, train_size=60, epochs=6)
    build_method(method, setup, 0)
    return method.double()


def terms_of(name, student, teachers, epoch=5, epochs=6, **options):
    batch = Batch(TARGETS, torch.arange(B), epoch, epochs)
    return built(name, student, teachers, **options).losses(student, teachers, batch)


def resized(x, *size):
    """Adaptive averages of the last axes, by loops."""
    for axis, length in zip(range(x.ndim - len(size), x.ndim), size, strict=True):
        n = x.shape[axis]
        parts = []
        for i in range(length):
            low, high = i * n // length, math.ceil((i + 1) * n / length)
            parts.append(x.narrow(axis, low, high - low).mean(axis))
        x = torch.stack(parts, axis)
    return x


def cam(outputs, b):
    """(H, W), the map of the target class of sample b, by loops over channels."""
    last = outputs.features["stage2"][b]
    return sum(outputs.classifier[TARGETS[b], c] * last[c] for c in range(len(last)))


def assert_same_with_gradient(found, expected, leaf):
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(x, leaf, retain_graph=True)[0] for x in (found, expected))
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


# camkd


def images():
    """A student of three branches whose image maps require gradients, and its teachers, with maps of other sizes."""
    own = {"sig": noise(4, 8), "gaf": noise(4, 4, 5), "pi": noise(3, 3, 3)}
    for x in own.values():
        x.requires_grad_()
    student = whole({m: network(x) for m, x in own.items()})
    teachers = {"sig": network(noise(5, 8)), "gaf": network(noise(5, 7, 3)), "pi": network(noise(5, 6, 6))}
    return own, student, teachers


def test_camkd_by_loops():
    """The notes' definition: CAM of the target class, resized, scaled to [0, 1], mean squared error."""
    own, student, teachers = images()
    terms = terms_of("camkd", student, teachers, teacher_weights="sig=2,gaf=3,pi=1", cam_weight=7)
    assert set(terms) == {"ce", "branch_ce", "kd", "camkd_gaf", "camkd_pi"}
    for modality, size, share in (("gaf", (4, 3), 3 / 4), ("pi", (3, 3), 1 / 4)):
        expected = 0
        for b in range(B):
            s, t = (resized(cam(x, b), *size) for x in (student.branches[modality], teachers[modality]))
            s, t = ((x - x.min()) / (x.max() - x.min()) for x in (s, t))
            for i in range(size[0]):
                for j in range(size[1]):
                    expected = expected + (s[i, j] - t[i, j]) ** 2 / (B * size[0] * size[1])
        assert_same_with_gradient(terms[f"camkd_{modality}"], 7 * share * expected, own[modality])


@pytest.mark.parametrize("pairs", ["fused", "same", "all"])
@pytest.mark.parametrize("name", ["camkd", "ebkd"])
def test_soft_targets_and_cross_entropy_have_the_weights_of_kd(name, pairs):
    if name == "camkd":
        _, student, teachers = images()
    else:
        _, student, teachers = attending()
    options = {"pairs": pairs, "temperature": 3, "teacher_weights": "sig=2,gaf=1,pi=1"}
    expected = terms_of("kd", student, teachers, kd_weight=0.7, **options)
    found = terms_of(name, student, teachers, **options)
    for term in ("ce", "branch_ce", "kd"):
        assert found[term].item() == pytest.approx(expected[term].item(), rel=1e-9)
    other = terms_of(name, student, teachers, ce_weight=0.6, kd_weight=2.1, **options)
    assert other["ce"].item() == pytest.approx(2 * expected["ce"].item())
    assert other["kd"].item() == pytest.approx(3 * expected["kd"].item())


@pytest.mark.parametrize("scale", [0.05, 5])
def test_camkd_of_equal_maps_is_zero_whatever_their_scale(scale):
    _, student, teachers = images()
    for m in ("gaf", "pi"):
        branch = student.branches[m]
        shifted = torch.cat([branch.features["stage2"], torch.ones_like(branch.features["stage2"][:, :1])], 1)
        weight = torch.cat([scale * branch.classifier, noise(1)[:K]], 1)  # maps times `scale`, plus a number a class
        teachers[m] = replace(teachers[m], features={"stage2": shifted.detach()}, classifier=weight)
    terms = terms_of("camkd", student, teachers)
    assert terms["camkd_gaf"].item() == pytest.approx(0, abs=1e-12)
    assert terms["camkd_pi"].item() == pytest.approx(0, abs=1e-12)
    negative = replace(teachers["gaf"], classifier=-teachers["gaf"].classifier)
    assert terms_of("camkd", student, {**teachers, "gaf": negative})["camkd_gaf"].item() > 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e6])
def test_a_constant_map_becomes_zeros(value):
    from mmkd.baselines.camkd import unit_range

    x = torch.full((2, 3, 3), value)
    x[1] = torch.arange(9.0).reshape(3, 3) * max(abs(value), 1)
    x[0, 1, 1] *= 1 + 1e-7  # rounding
    x.requires_grad_()
    scaled = unit_range(x)
    assert scaled[0].abs().max() == 0
    assert (scaled[1].min(), scaled[1].max()) == (0, 1)
    (gradient,) = torch.autograd.grad(scaled.square().sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient[0].abs().max() == 0
    assert gradient[1].abs().max() > 0


def test_camkd_of_a_dead_branch_is_finite():
    _, student, teachers = images()
    dead = torch.zeros(B, 4, 4, 5, dtype=torch.double, requires_grad=True)
    student.branches["gaf"] = replace(network(dead), logits=student.branches["gaf"].logits)
    terms = terms_of("camkd", student, teachers)
    (gradient,) = torch.autograd.grad(terms["camkd_gaf"], dead)
    assert math.isfinite(terms["camkd_gaf"].item())
    assert torch.isfinite(gradient).all()


def test_camkd_leaves_out_teachers_without_a_share_or_a_branch():
    _, student, teachers = images()
    assert terms_of("camkd", student, teachers, teacher_weights="sig=1,gaf=0,pi=0")["camkd_gaf"].item() == 0
    fewer = whole({m: b for m, b in student.branches.items() if m != "pi"})
    terms = terms_of("camkd", fewer, teachers)
    assert "camkd_pi" not in terms
    both = terms_of("camkd", student, teachers)
    assert terms["camkd_gaf"].item() == pytest.approx(2 * both["camkd_gaf"].item())
    silent = terms_of("camkd", student, {**teachers, "sig": replace(teachers["sig"], classifier=None)})
    assert silent["camkd_gaf"].item() == pytest.approx(both["camkd_gaf"].item()), "the sig teacher needs no CAM"


def test_camkd_refuses():
    _, student, teachers = images()
    bare = {m: replace(t, classifier=None) for m, t in teachers.items()}
    small = {**teachers, "gaf": network(noise(5, 1, 1))}
    headless = {**student.branches, "pi": replace(student.branches["pi"], classifier=None)}
    for s, t, flag in (
        (network(noise(4, 8)), teachers, "--student sig"),
        (student, {"sig": teachers["sig"]}, "--teachers sig,gaf,pi"),
        (whole({m: b for m, b in student.branches.items() if m != "pi"}), {"pi": teachers["pi"]}, "--student sig"),
        (student, {**teachers, "gaf": bare["gaf"]}, "--teacher-net gaf=WRN16-1"),
        (whole(headless), teachers, "--student-net"),
        (student, small, "--image-size"),
    ):
        with pytest.raises(MmkdError, match=flag):
            built("camkd", s, t)


# ebkd

N = 4


def attending(pooling=False, **more):
    """A student whose attention to gaf requires a gradient, 6 queries and 5 x 5 keys; the teachers' n is 4."""
    scores = noise(6, 25).requires_grad_()
    branches = {"sig": network(noise(4, 6)), "gaf": network(noise(4, 5, 5)), "pi": network(noise(4, 5, 5))}
    attention = {"gaf": scores.softmax(2), "pi": noise(6, 25).softmax(2)}
    student = whole(branches, attention=attention)
    extra = {"attention": {"temporal": noise(1, 9).softmax(2)}} if pooling else {}
    teachers = {
        "sig": network(noise(5, 9), **extra),
        "gaf": network(noise(5, 4, 4)),
        "pi": network(noise(5, 4, 4)),
    }
    return scores, student, {**teachers, **more}


def evidence_by_loops(teachers, b, how, pooling):
    """The teachers' map of sample b, (n, n)."""
    if pooling:
        a = teachers["sig"].attention["temporal"][b, 0]
    else:
        last = teachers["sig"].features["stage2"][b]
        a = torch.stack([sum(last[c, t] ** 2 for c in range(len(last))) / len(last) for t in range(last.shape[1])])
        a = a / a.sum()
    outer = resized(torch.stack([torch.stack([x * y for y in a]) for x in a]), N, N)
    outer = outer / outer.sum()
    place = resized(cam(teachers["gaf"], b), N, N)
    place = (place - place.min()) / (place - place.min()).sum()
    both = (outer + place) / 2 if how == "mean" else outer * place
    return both / both.sum()


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("how", ["mean", "product"])
def test_ebkd_by_loops(how, pooling):
    """The notes' definition: cross-attention against a a^T and the CAM, maps of time x time that sum to 1."""
    scores, student, teachers = attending(pooling)
    terms = terms_of("ebkd", student, teachers, evidence=how, evidence_weight=3)
    name = "ebkd_pooling" if pooling else "ebkd_activation"
    assert set(terms) == {"ce", "branch_ce", "kd", name}
    expected = 0
    for b in range(B):
        keys = student.attention["gaf"][b].reshape(6, 5, 5)
        rows = torch.stack([torch.stack([sum(keys[q, i, j] for j in range(5)) for i in range(5)]) for q in range(6)])
        columns = torch.stack([torch.stack([sum(keys[q, i, j] for i in range(5)) for j in range(5)]) for q in range(6)])
        p = resized((rows + columns) / 2, N, N)
        p = p / p.sum()
        q = evidence_by_loops(teachers, b, how, pooling)
        expected = expected + sum((p[i, j] - q[i, j]) ** 2 for i in range(N) for j in range(N)) / B
    assert_same_with_gradient(terms[name], 3 * N**2 * expected, scores)


def test_ebkd_knows_no_axis_of_the_image_before_the_other():
    _, student, teachers = attending()
    before = terms_of("ebkd", student, teachers)["ebkd_activation"].item()
    turned = student.attention["gaf"].unflatten(2, (5, 5)).transpose(2, 3).flatten(2)
    student = replace(student, attention={"gaf": turned})
    assert terms_of("ebkd", student, teachers)["ebkd_activation"].item() == pytest.approx(before, rel=1e-9)


def uniform_case(pooling):
    """Nobody prefers any time: maps without contrast."""
    _, student, teachers = attending(pooling)
    student = replace(student, attention={"gaf": torch.full((B, 6, 25), 1 / 25, dtype=torch.double)})
    flat = {m: torch.full_like(teachers[m].features["stage2"], 3.7) for m in ("sig", "gaf")}
    attention = {"temporal": torch.full((B, 1, 9), 1 / 9, dtype=torch.double)} if pooling else {}
    for m, x in flat.items():
        teachers[m] = replace(teachers[m], features={"stage2": x}, attention=attention if m == "sig" else {})
    return student, teachers


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("how", ["mean", "product"])
def test_ebkd_of_equal_maps_is_zero(how, pooling):
    student, teachers = uniform_case(pooling)
    name = "ebkd_pooling" if pooling else "ebkd_activation"
    assert terms_of("ebkd", student, teachers, evidence=how)[name].item() == pytest.approx(0, abs=1e-20)


def test_ebkd_of_dead_teachers_is_that_of_uniform_maps():
    _, student, teachers = attending()
    for m in ("sig", "gaf"):
        teachers[m] = replace(teachers[m], features={"stage2": torch.zeros_like(teachers[m].features["stage2"])})
    own = built("ebkd", student, teachers).maps(student, noise(9).softmax(1), teachers["gaf"], TARGETS)[0]
    expected = N**2 * (own - 1 / N**2).square().sum((1, 2)).mean()
    assert terms_of("ebkd", student, teachers)["ebkd_activation"].item() == pytest.approx(expected.item())


def test_ebkd_does_not_vanish_where_there_are_many_cells():
    """The same maps, each cell split in four: the same value."""
    values = []
    for factor in (1, 2):
        torch.manual_seed(0)
        scores, place, line = noise(4, 4), noise(1, 4, 4), noise(4).softmax(1)
        wide = scores.repeat_interleave(factor, 1).repeat_interleave(factor, 2).softmax(2)
        # keys (i, j): the weight of row i, the same in every column; both marginals then differ, as they may
        keys = (wide[..., None] / wide.shape[2]).expand(*wide.shape, wide.shape[2]).flatten(2)
        branches = {"sig": network(noise(2, 4 * factor)), "gaf": network(noise(2, 4 * factor, 4 * factor))}
        student = whole(branches, attention={"gaf": keys})
        image = place.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        attention = {"temporal": line.repeat_interleave(factor, 1)[:, None] / factor}
        teachers = {"sig": network(noise(2, 8), attention=attention), "gaf": network(image)}
        teachers["gaf"] = replace(teachers["gaf"], classifier=torch.ones(K, 1, dtype=torch.double))
        values.append(terms_of("ebkd", student, teachers)["ebkd_pooling"].item())
    assert values[0] > 1e-3
    assert values[1] == pytest.approx(values[0], rel=1e-9)


def test_ebkd_maps_sum_to_1():
    from mmkd.baselines.ebkd import sum_to_one

    x = torch.rand(3, 4, 4)
    x[1] = 0
    scaled = sum_to_one(x)
    torch.testing.assert_close(scaled.sum((1, 2)), torch.ones(3))
    torch.testing.assert_close(scaled[1], torch.full((4, 4), 1 / 16))
    torch.testing.assert_close(scaled[0] / scaled[0, 0, 0], x[0] / x[0, 0, 0])


def test_ebkd_refuses():
    _, student, teachers = attending()
    sig, gaf = teachers["sig"], teachers["gaf"]
    plain = replace(student, attention={})
    without = replace(student, branches={m: student.branches[m] for m in ("sig", "pi")})
    flat = replace(student, branches={**student.branches, "gaf": network(noise(4, 25))})
    for s, t, flag in (
        (network(noise(4, 8)), teachers, "--student sig"),
        (plain, teachers, "--fusion attention"),
        (replace(student, attention={"pi": student.attention["pi"]}), teachers, "--fusion attention"),
        (without, teachers, "--student sig"),
        (flat, teachers, "--student-net"),
        (student, {"sig": sig}, "--teachers sig,gaf"),
        (student, {"gaf": gaf, "pi": teachers["pi"]}, "--teachers sig,gaf"),
        (student, {**teachers, "sig": replace(sig, features={})}, "--teacher-net sig=WRN16-1"),
        (student, {**teachers, "gaf": replace(gaf, classifier=None)}, "--teacher-net gaf=WRN16-1"),
        (student, {**teachers, "gaf": replace(gaf, features={})}, "--teacher-net gaf=WRN16-1"),
        (student, {**teachers, "gaf": network(noise(4, 1, 1))}, "--image-size"),
    ):
        with pytest.raises(MmkdError, match=flag):
            built("ebkd", s, t)


REAL = [(("sig", "gaf"), "WRN10-1"), (("sig", "gaf"), "wrn-attn"), (("sig", "gaf", "pi"), "wrn-attn")]


def real(names, net, fusion="attention"):
    """Networks as a unit has them."""
    torch.manual_seed(7)
    views = {m: torch.randn(6, *shape) for m, shape in SHAPES.items()}
    student = build_student("small", SHAPES, K, fusion)
    teachers = {m: build_teacher(net if m == "sig" else "WRN10-1", m, SHAPES[m], K).eval() for m in names}
    with torch.no_grad():
        taught = {m: teacher(views) for m, teacher in teachers.items()}
        setup = Setup(student.eval()(views), taught, K, 40, 4)
    student.train()
    return views, student, taught, setup


@pytest.mark.parametrize(("names", "net"), REAL)
@pytest.mark.parametrize("how", ["mean", "product"])
def test_ebkd_with_real_networks(names, net, how):
    """What the contract asks of every method, under the fusion that this one needs."""
    views, student, taught, setup = real(names, net)
    method = METHODS.get("ebkd")(evidence=how)
    build_method(method, setup, 0)
    batch = Batch(torch.arange(6) % K, torch.arange(6), 3, 4)
    terms = method.terms(student(views), taught, batch)
    name = "ebkd_pooling" if net == "wrn-attn" else "ebkd_activation"
    assert set(terms) == {"ce", "branch_ce", "kd", name}
    assert all(t.shape == () and math.isfinite(t.item()) for t in terms.values())
    terms[name].backward(retain_graph=True)
    fusion = dict(student.fusion.named_parameters())
    for part in ("queries.weight", "keys.0.weight"):
        assert fusion[part].grad.abs().max() > 0, "the term itself teaches the attention"
    torch.stack(list(terms.values())).sum().backward()
    assert [n for n, p in student.named_parameters() if p.grad is None] == []
    assert list(method.parameters()) == []


def test_ebkd_default_fusion_and_an_image_teacher_with_pooling_are_refused():
    *_, setup = real(("sig", "gaf"), "wrn-attn", "concat")
    with pytest.raises(MmkdError, match="--fusion attention"):
        build_method(METHODS.get("ebkd")(), setup, 0)
    views, _, taught, setup = real(("sig", "gaf"), "wrn-attn")
    image = build_teacher("wrn-attn", "gaf", SHAPES["gaf"], K).eval()
    with torch.no_grad():
        taught = {**taught, "gaf": image(views)}
    with pytest.raises(MmkdError, match="--teacher-net gaf=WRN16-1"):
        build_method(METHODS.get("ebkd")(), replace(setup, teachers=taught), 0)
    with pytest.raises(MmkdError, match="--teacher-net gaf=WRN16-1"):
        build_method(METHODS.get("camkd")(), replace(setup, teachers=taught), 0)


@pytest.mark.parametrize("name", ["camkd", "ebkd"])
def test_stored_teachers_give_the_same_terms(name, tmp_path):
    """The maps and the attention that the methods read are stored for them."""
    views, student, _, setup = real(("sig", "gaf"), "wrn-attn")
    arrays = {m: x.numpy() for m, x in views.items()}
    windows = TrainingData(arrays, np.arange(6) % K, np.arange(6), np.arange(0), K, torch.device("cpu"))
    spec = DataSpec("d", "0")
    found = {}
    for m in ("sig", "gaf"):
        net = build_teacher("wrn-attn" if m == "sig" else "WRN10-1", m, SHAPES[m], K).eval().requires_grad_(False)
        found[m] = Teacher(TeacherSpec(spec, 0, m, {}, "any", Training()), net, None)
    method = METHODS.get(name)()
    source = make_teacher_source(found, method.needs, windows, Cache(tmp_path), Progress())
    assert isinstance(source, CachedTeachers)
    live = {m: t.network(views) for m, t in found.items()}
    build_method(method, setup, 0)
    batch = Batch(torch.arange(6) % K, torch.arange(6), 3, 4)
    own = student(views)
    a, b = (method.losses(own, t, batch) for t in (source.outputs(np.arange(6), views), live))
    assert a.keys() == b.keys()
    assert {"camkd": "camkd_gaf", "ebkd": "ebkd_pooling"}[name] in a
    for term in a:
        torch.testing.assert_close(a[term], b[term], rtol=1e-4, atol=1e-6)


# progressive


def stepping():
    """A student and teachers of different widths, with leaves for every embedding of the student."""
    leaves = {m: noise(d).requires_grad_() for m, d in (("sig", 4), ("gaf", 5), ("pi", 6), ("fused", 7))}
    logits = noise(K)
    branches = {m: Outputs(logits, x) for m, x in leaves.items() if m != "fused"}
    student = Outputs(logits, leaves["fused"], branches=branches)
    return leaves, student, {m: Outputs(logits, noise(d)) for m, d in (("sig", 3), ("gaf", 4), ("pi", 2))}


def squared(project, own, other):
    """Mean squared error of a linear projection, by loops."""
    total = 0
    for b in range(B):
        for i in range(other.shape[1]):
            y = project.bias[i] + sum(project.weight[i, j] * own[b, j] for j in range(own.shape[1]))
            total = total + (y - other[b, i]) ** 2
    return total / (B * other.shape[1])


def test_progressive_by_loops():
    """The notes' three stages; in the third all of their terms are there."""
    leaves, student, teachers = stepping()
    method = built("progressive", student, teachers, weight=5, teacher_weights="sig=5,gaf=3,pi=2")
    terms = method.losses(student, teachers, Batch(TARGETS, torch.arange(B), 5, 6))
    t = {m: x.embedding for m, x in teachers.items()}
    first, second, third = method.to_signal, method.to_images, method.to_all
    expected = {
        1: [(0.5, first[0], "gaf", "sig"), (0.5, first[1], "pi", "sig")],
        2: [(0.6, second[0], "sig", "gaf"), (0.4, second[1], "sig", "pi")],
        3: [(0.5, third[0], "fused", "sig"), (0.3, third[1], "fused", "gaf"), (0.2, third[2], "fused", "pi")],
    }
    for number, parts in expected.items():
        value = 5 * sum(w * squared(f, leaves[own], t[other]) for w, f, own, other in parts)
        for own in {own for _, _, own, _ in parts}:
            assert_same_with_gradient(terms[f"progressive_{number}"], value, leaves[own])


@pytest.mark.parametrize(
    ("epochs", "borders", "stages"),
    [
        (6, {}, [1, 1, 2, 2, 3, 3]),
        (4, {}, [1, 2, 3, 3]),
        (3, {}, [1, 2, 3]),
        (2, {}, [2, 3]),
        (1, {}, [3]),
        (5, {"first_border": 0.4, "second_border": 0.6}, [1, 1, 2, 3, 3]),
        (5, {"first_border": 0, "second_border": 0.2}, [2, 3, 3, 3, 3]),
        (100, {"first_border": 0.29, "second_border": 0.57}, [1] * 29 + [2] * 28 + [3] * 43),
    ],
)
def test_progressive_stages(epochs, borders, stages):
    method = METHODS.get("progressive")(**borders)
    assert [method.stage(Batch(TARGETS, TARGETS, e, epochs)) for e in range(epochs)] == stages


def test_progressive_trains_what_the_stage_says():
    _, student, teachers = stepping()
    method = built("progressive", student, teachers)
    for epoch, guided, modules in (
        (0, {"gaf", "pi"}, {"to_signal"}),
        (3, {"sig"}, {"to_images"}),
        (5, {"sig", "gaf", "pi", "fused"}, {"to_signal", "to_images", "to_all"}),
    ):
        leaves, student, teachers = stepping()
        terms = method.losses(student, teachers, Batch(TARGETS, torch.arange(B), epoch, 6))
        assert set(terms) == {"ce", "branch_ce", *(f"progressive_{n}" for n in (1, 2, 3))}
        assert sum(terms[f"progressive_{n}"].item() > 0 for n in (1, 2, 3)) == len(modules)
        method.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        assert {m for m, x in leaves.items() if x.grad is not None} == guided
        trained = {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None}
        assert trained == modules
        assert all(p.grad.abs().max() > 0 for p in method.parameters() if p.grad is not None)


def test_progressive_with_one_image_teacher_and_a_share_of_0():
    leaves, student, teachers = stepping()
    terms = terms_of("progressive", student, {m: teachers[m] for m in ("sig", "gaf")})
    assert terms["progressive_1"].item() > 0, "the sig teacher guides the branch that has no teacher too"
    assert torch.autograd.grad(terms["progressive_1"], leaves["pi"])[0].abs().max() > 0
    assert terms_of("progressive", student, teachers, teacher_weights="sig=1,gaf=0,pi=0")["progressive_2"].item() == 0


def test_progressive_refuses():
    _, student, teachers = stepping()
    branches = student.branches
    for s, t, flag in (
        (replace(student, branches={}), teachers, "--student sig"),
        (student, {m: teachers[m] for m in ("gaf", "pi")}, "--teachers sig"),
        (student, {"sig": teachers["sig"]}, "--teachers sig,gaf,pi"),
        (replace(student, branches={m: branches[m] for m in ("gaf", "pi")}), teachers, "--student sig"),
        (
            replace(student, branches={m: branches[m] for m in ("sig", "gaf")}),
            {m: teachers[m] for m in ("sig", "pi")},
            "--student sig",
        ),
    ):
        with pytest.raises(MmkdError, match=flag):
            built("progressive", s, t)
    for borders in ((0.5, 0.5), (0.7, 0.6)):
        with pytest.raises(MmkdError, match="first-border .* is not before second-border"):
            METHODS.get("progressive")(first_border=borders[0], second_border=borders[1])
    with pytest.raises(MmkdError, match="second-border = 1.0 must be < 1"):
        METHODS.get("progressive")(second_border=1)


# channel groups


@pytest.mark.parametrize(("name", "made"), [("ebkd", lambda: attending()[1:]), ("progressive", lambda: stepping()[1:])])
def test_modalities_of_a_channel_group_are_as_good(name, made):
    student, teachers = made()

    def of_group(values):
        return {f"{modality}@acc": value for modality, value in values.items()}

    grouped = replace(student, branches=of_group(student.branches), attention=of_group(student.attention))
    plain, other = terms_of(name, student, teachers), terms_of(name, grouped, of_group(teachers))
    assert {term: value.item() for term, value in plain.items()} == {term: v.item() for term, v in other.items()}
    two = {**of_group(teachers), "sig@gyro": teachers["sig"]}
    with pytest.raises(MmkdError, match="one sig.* sig@gyro"):
        built(name, grouped, two)
    with pytest.raises(MmkdError, match="one sig"):
        built(name, replace(grouped, branches={**grouped.branches, "sig@gyro": student.branches["sig"]}), teachers)


# records


def columns(record):
    with (record.folder / "history.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_history_shows_the_stages(tiny, tmp_path):
    record = mmkd.run("progressive", runs=tmp_path, teachers="sig,gaf", student="sig+gaf", **tiny)
    rows = [{n: float(row[f"loss/progressive_{n}"]) > 0 for n in (1, 2, 3)} for row in columns(record)]
    assert rows == [{1: True, 2: False, 3: False}, {1: False, 2: True, 3: False}, {1: True, 2: True, 3: True}]
    assert (record.folder / "curves.svg").stat().st_size > 0


def test_the_record_says_which_attention_was_used(tiny, tmp_path):
    for net, term in (("wrn-attn", "ebkd_pooling"), ("WRN16-1", "ebkd_activation")):
        record = mmkd.run(
            "ebkd",
            runs=tmp_path,
            teachers="sig,gaf",
            student="sig+gaf",
            fusion="attention",
            teacher_nets={"sig": net},
            **tiny,
        )
        assert [n for n in columns(record)[0] if n.startswith("loss/ebkd")] == [f"loss/{term}"]
