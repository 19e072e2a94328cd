"""`reviewkd`, `projector`, `simkd`: reference numbers, formulas as slow loops, and what `simkd` deploys."""

import itertools
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.frequency import lift
from mmkd.nets import build_student, build_teacher

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
B, K = 6, 5
NAMES = ("sig", "gaf", "pi")
LIFTS = ("outer", "repeat", "hankel", "toeplitz")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def network(*maps, **more):
    """Outputs, in float64, of a network whose linear classifier, with a bias, reads the mean of its last map."""
    maps = [x.double().requires_grad_(x.requires_grad) for x in maps]
    embedding = maps[-1].flatten(2).mean(2) if maps[-1].ndim > 2 else maps[-1]
    weight, bias = (torch.randn(*shape, dtype=torch.double) for shape in ((K, embedding.shape[1]), (K,)))
    features = {f"stage{number}": x for number, x in enumerate(maps, 1)}
    return Outputs(embedding @ weight.T + bias, embedding, features, classifier=weight, **more)


def built(name, student, teachers, task="classification", **options):
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, classes=K, train_size=60, epochs=24, task=task)
    method.check(setup)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.build(setup)
    return method.double()


def batch_at(epoch=23):
    return Batch(torch.arange(B) % K, torch.arange(B), epoch, 24)


def terms_of(name, student, teachers, epoch=23, **options):
    """The method's own terms, set up as the loop sets it up."""
    terms = built(name, student, teachers, **options).losses(student, teachers, batch_at(epoch))
    return {k: v for k, v in terms.items() if not k.endswith("ce")}


def shaken(method):
    """The method with random numbers in place of what its modules start with."""
    with torch.no_grad():
        for p in method.parameters():
            p.copy_(torch.randn_like(p))
    return method


def assert_same(found, expected, *inputs):
    """Equal values, and equal gradients for the inputs."""
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    pairs = zip(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True)
    for a, b in pairs:
        assert b.abs().sum() > 0
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


# slow formulas


def normalised(x, eps, weight=None, bias=None):
    """Batch normalisation in training, channel by channel: (B, C, ...)."""
    channels = []
    for c in range(x.shape[1]):
        one = x[:, c]
        mean = one.sum() / one.numel()
        variance = ((one - mean) ** 2).sum() / one.numel()
        one = (one - mean) / (variance + eps) ** 0.5
        channels.append(one if weight is None else weight[c] * one + bias[c])
    return torch.stack(channels, 1)


def convolved(x, weight):
    """A convolution with zeros around, of odd side, output channel by output channel: (B, C, *size)."""
    size, reach = x.shape[2:], weight.shape[2] // 2
    out = []
    for o in range(len(weight)):
        total = torch.zeros(x.shape[0], *size, dtype=x.dtype)
        for c in range(x.shape[1]):
            for tap in itertools.product(range(weight.shape[2]), repeat=len(size)):
                moved = torch.zeros_like(total)
                there = [range(max(0, k - reach), min(n, n + k - reach)) for k, n in zip(tap, size, strict=True)]
                for at in itertools.product(*there):
                    to = tuple(i - k + reach for i, k in zip(at, tap, strict=True))
                    moved[(slice(None), *to)] = x[(slice(None), c, *at)]
                total = total + weight[(o, c, *tap)] * moved
        out.append(total)
    return torch.stack(out, 1)


def nearest(x, size):
    """Position i of n takes position floor(i m / n) of m."""
    for axis, n in enumerate(size, 2):
        m = x.shape[axis]
        x = x.index_select(axis, torch.tensor([i * m // n for i in range(n)]))
    return x


def context(s, t):
    """arXiv:2104.09044: the hierarchical context loss of one pair of maps, cell by cell."""

    def pooled(x, side):
        cells = []
        for at in itertools.product(range(side), repeat=x.ndim - 2):
            part = x
            for axis, i in enumerate(at, 2):
                n = x.shape[axis]
                first, last = i * n // side, math.ceil((i + 1) * n / side)
                part = part.narrow(axis, first, last - first)
            cells.append(part.flatten(2).mean(2))
        return torch.stack(cells, 2)

    sums, weights = [((s - t) ** 2).mean()], [1.0]
    for side in (4, 2, 1):
        if side < min(s.shape[2:]):
            weights.append(weights[-1] / 2)
            sums.append(weights[-1] * ((pooled(s, side) - pooled(t, side)) ** 2).mean())
    return sum(sums) / sum(weights)


# reviewkd


def pair(key):
    """The stored maps, student's and teacher's, of `{}` in place of their owner."""
    return [torch.from_numpy(ORACLE[key.format(owner)]) for owner in ("student", "teacher")]


@pytest.mark.parametrize(
    ("key", "pairs"),
    [
        ("hcl", [f"hcl_{{}}_{n}" for n in range(4)]),
        ("hcl_side3", ["hcl_side3_{}"]),
        ("hcl_side4", ["hcl_side4_{}"]),
    ],
)
def test_hierarchical_context_equals_the_reference(key, pairs):
    from mmkd.baselines.reviewkd import hierarchical_context

    total = sum(hierarchical_context(*pair(p)) for p in pairs)
    assert total.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)


@pytest.mark.parametrize("size", [(1,), (2,), (3,), (5,), (9,), (1, 1), (3, 3), (4, 4), (5, 5), (8, 6), (2, 9), (9, 2)])
def test_hierarchical_context_by_loops(size):
    """The gradient, which the reference does not hold, and lines; levels below the smaller side."""
    from mmkd.baselines.reviewkd import hierarchical_context

    s, t = (torch.randn(3, 2, *size, dtype=torch.double) for _ in range(2))
    s.requires_grad_()
    assert_same(hierarchical_context(s, t), context(s, t), s)


def reviewed(method, pairs):
    """arXiv:2104.09044, figure 3 and the authors' code: the loss of levels, deepest first, of one teacher."""
    residual, total = None, 0.0
    for block, (x, t) in zip(method.reviews[0].blocks, pairs, strict=True):
        conv, norm = block.enter
        x = normalised(convolved(x, conv.weight), norm.eps, norm.weight, norm.bias)
        if residual is not None:
            residual = nearest(residual, x.shape[2:])
            conv = block.attend[0]
            bias = conv.bias.reshape(1, 2, *[1] * (x.ndim - 2))
            shares = 1 / (1 + (-convolved(torch.cat([x, residual], 1), conv.weight) - bias).exp())
            x = x * shares[:, [0]] + residual * shares[:, [1]]
        x = residual = nearest(x, t.shape[2:])
        conv, norm = block.leave
        predicted = normalised(convolved(x, conv.weight), norm.eps, norm.weight, norm.bias)
        total = total + context(predicted, t)
    return total


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ([(6,), (3,)], [(7,), (4,)]),
        ([(5, 4), (3, 3)], [(6, 6), (2, 2)]),
        ([(4,)], [(4,)]),
        ([(3, 3)] * 2, [(3, 3)] * 3),
    ],
)
@pytest.mark.parametrize("pooled", [True, False])
def test_review_by_loops(own, other, pooled):
    """Lines and images, of equal and of other sizes, one stage and several, a surplus stage of the teacher."""
    mine = [torch.randn(B, 2 + n, *size, requires_grad=True) for n, size in enumerate(own)]
    s, t = network(*mine), network(*(torch.randn(B, 3 + n, *size) for n, size in enumerate(other)))
    method = shaken(built("reviewkd", s, {"sig": t}, weight=3, pooled=pooled))
    found = method.losses(s, {"sig": t}, batch_at())["reviewkd_sig"]
    deep_s, deep_t = (list(x.features.values())[::-1] for x in (s, t))
    pairs = list(zip(deep_s, deep_t, strict=False))
    if pooled:
        one = [1] * (deep_t[0].ndim - 2)
        pairs.insert(0, tuple(x.embedding.reshape(*x.embedding.shape, *one) for x in (s, t)))
    assert len(method.reviews[0].blocks) == len(own) + pooled
    assert_same(found, 3 * reviewed(method, pairs), *deep_s, *method.parameters())


def test_review_meets_across_ranks():
    """A line is lifted to the image's side; an image is averaged over its rows."""
    line, image = torch.randn(B, 3, 8, requires_grad=True), torch.randn(B, 4, 6, 5, requires_grad=True)
    s, t = network(line), network(image.detach())
    for mixed in LIFTS:
        method = built("reviewkd", s, {"gaf": t}, mixed=mixed, pooled=False)
        found = method.losses(s, {"gaf": t}, batch_at())["reviewkd_gaf"]
        lifted = [(lift(s.features["stage1"], mixed, 6), t.features["stage1"])]
        assert_same(found, reviewed(method, lifted), s.features["stage1"])
    s, t = network(image), network(line.detach())
    method = built("reviewkd", s, {"sig": t}, pooled=False)
    found = method.losses(s, {"sig": t}, batch_at())["reviewkd_sig"]
    rows = s.features["stage1"]
    assert_same(found, reviewed(method, [(sum(rows[:, :, i] for i in range(6)) / 6, t.features["stage1"])]), rows)


def test_review_hands_the_deep_stage_on():
    """The shallow level's loss has a gradient in the deep stage, which at one level it has not."""
    s = network(torch.randn(B, 2, 8, requires_grad=True), torch.randn(B, 3, 4, requires_grad=True))
    t = {"sig": network(torch.randn(B, 2, 8), torch.randn(B, 3, 4))}
    for stages, reached in (("all", {"stage1", "stage2"}), ("last", {"stage2"})):
        term = terms_of("reviewkd", s, t, stages=stages, pooled=False)["reviewkd_sig"]
        gradients = torch.autograd.grad(term, list(s.features.values()), allow_unused=True)
        assert {n for n, g in zip(s.features, gradients, strict=True) if g is not None} == reached
    method = built("reviewkd", s, t, pooled=False)
    deep, shallow = method.reviews[0].blocks
    predicted, _ = shallow(s.features["stage1"], deep(s.features["stage2"], None, (4,))[1], (8,))
    assert torch.autograd.grad(predicted.square().sum(), s.features["stage2"])[0].abs().sum() > 0


def test_review_options():
    s, t = network(torch.randn(B, 7, 8)), {"sig": network(torch.randn(B, 4, 8))}
    full = terms_of("reviewkd", s, t)["reviewkd_sig"].item()
    for warmup, epoch, ramp in ((1 / 8, 0, 1 / 3), (1 / 8, 2, 1), (0, 0, 1), (1, 11, 0.5)):
        found = terms_of("reviewkd", s, t, epoch=epoch, warmup=warmup)["reviewkd_sig"].item()
        assert found == pytest.approx(ramp * full)
    for width, made in ((512, 7), (3, 3)):
        blocks = built("reviewkd", s, t, width=width).reviews[0].blocks
        assert [b.enter[0].out_channels for b in blocks] == [made, made]
        assert [b.attend is None for b in blocks] == [True, False]


# projector


@pytest.mark.parametrize("alpha", [4, 1.5])
def test_projector_by_loops(alpha):
    """The authors' code for ImageNet: sums over samples and channels within the logarithm."""
    s, t = network(torch.randn(B, 3, requires_grad=True)), network(3 * torch.randn(B, 4) + 2)
    method = shaken(built("projector", s, {"gaf": t}, weight=5, alpha=alpha))
    (layer,) = method.projectors
    assert layer.bias is None
    found = method.losses(s, {"gaf": t}, batch_at())["projector_gaf"]
    projected = torch.stack([torch.stack([row @ w for w in layer.weight]) for row in s.embedding])
    a, b = normalised(projected, 1e-4), normalised(t.embedding, 1e-4)
    total = sum(abs(a[i, d] - b[i, d]) ** alpha for i in range(B) for d in range(4))
    assert_same(found, 5 * torch.log(total + 1e-5), s.embedding, layer.weight)


def test_projector_defaults_are_the_authors():
    s, t = network(torch.randn(B, 3)), {"sig": network(torch.randn(B, 4))}
    terms = terms_of("projector", s, t)
    plain = terms_of("projector", s, t, weight=1, alpha=4)["projector_sig"].item()
    assert terms["projector_sig"].item() == pytest.approx(2 * plain)
    p, q = s.logits.softmax(1), t["sig"].logits.softmax(1)
    assert terms["kd"].item() == pytest.approx((q * (q / p).log()).sum(1).mean().item())
    assert set(terms_of("projector", s, t, logit_weight=0)) == {"projector_sig"}


def test_projector_looks_at_shapes_not_at_units():
    """Batch normalisation: a teacher's units and offsets do not matter; a sum or a mean do not move the gradient."""
    s, t = network(torch.randn(B, 3, requires_grad=True)), network(torch.randn(B, 4))
    other = replace(t, embedding=1000 * t.embedding + torch.arange(4))
    values = [terms_of("projector", s, {"sig": x}, logit_weight=0)["projector_sig"] for x in (t, other)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-3)


def test_projector_of_equal_embeddings_is_finite():
    from mmkd.baselines.projector import log_sum

    x = torch.randn(B, 4, requires_grad=True)
    value = log_sum(x, x.detach(), 4)
    assert value.item() == pytest.approx(math.log(1e-5), rel=1e-6)
    assert torch.autograd.grad(value, x)[0].abs().max() == 0


def test_projector_pairs():
    own = {m: network(torch.randn(B, 3, requires_grad=True)) for m in ("fused", "sig", "gaf")}
    s = replace(own["fused"], branches={m: own[m] for m in ("sig", "gaf")})
    t = {m: network(torch.randn(B, 4)) for m in ("sig", "gaf")}
    for pairs, touched in (("fused", {"fused"}), ("same", {"sig", "gaf"}), ("all", {"sig"})):
        total = sum(terms_of("projector", s, t, pairs=pairs, logit_weight=0).values())
        gradients = torch.autograd.grad(total, [x.embedding for x in own.values()], allow_unused=True)
        assert {m for m, g in zip(own, gradients, strict=True) if g is not None} == touched


# simkd


class Fixed(nn.Module):
    """A student that puts out what it is given."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, views):
        return self.outputs


def projected(head, x):
    """arXiv:2203.14001 and the authors' code, in training: three convolutions with BatchNorm and ReLU."""
    for conv, norm in (head.projector[n : n + 2] for n in (0, 3, 6)):
        x = normalised(convolved(x, conv.weight), norm.eps, norm.weight, norm.bias).clamp(min=0)
    return x


@pytest.mark.parametrize("size", [(5,), (4, 3)])
def test_simkd_loss_by_loops(size):
    s, t = network(torch.randn(B, 3, *size, requires_grad=True)), network(torch.rand(B, 4, *size))
    method = shaken(built("simkd", s, {"sig": t}, weight=3))
    found = method.losses(s, {"sig": t}, batch_at())
    assert set(found) == {"simkd_sig"}, "no cross-entropy"
    own = s.features["stage1"]
    expected = ((projected(method.heads[0], own) - t.features["stage1"]) ** 2).mean()
    assert_same(found["simkd_sig"], 3 * expected, own, *method.parameters())


@pytest.mark.parametrize("size", [(5,), (4, 3)])
def test_simkd_deploys_the_teachers_classifier_on_the_projected_mean(size):
    s, t = network(torch.randn(B, 3, *size)), network(torch.rand(B, 4, *size))
    method = shaken(built("simkd", s, {"sig": t}))
    says = method.deploy(Fixed(s))({})
    embedding = projected(method.heads[0], s.features["stage1"]).flatten(2).mean(2)
    bias = t.logits[0] - t.classifier @ t.features["stage1"][0].flatten(1).mean(1)
    torch.testing.assert_close(says.embedding, embedding)
    expected = torch.stack([torch.stack([z @ w for w in t.classifier]) + bias for z in embedding])
    torch.testing.assert_close(says.logits, expected)
    assert says.features is s.features
    assert says.classifier is None, "the student's own classifier is not the one that is read"


@pytest.mark.parametrize("kind", [torch.rand, torch.randn])
def test_simkd_is_the_teacher_where_the_projected_map_is_the_teachers(kind):
    """The paper's point; with a teacher whose map has negative values too, which the last ReLU would cut off."""
    t = network(kind(B, 4, 5, 5))
    method = built("simkd", network(t.features["stage1"]), {"gaf": t})
    method.heads[0].projector = nn.Identity()
    s = network(t.features["stage1"])
    assert method.losses(s, {"gaf": t}, batch_at())["simkd_gaf"].item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(method.deploy(Fixed(s))({}).logits, t.logits)


@pytest.mark.parametrize(("own", "other"), [(12, 6), (3, 6), (6, 6)])
def test_simkd_of_labelled_steps_by_loops(own, other):
    """Lines of a decoder are longer or shorter than the teacher's; its classifier reads each position."""
    steps = 24
    weight, bias = torch.randn(K, 4, dtype=torch.double), torch.randn(K, dtype=torch.double)

    def labelled(line, logits_of):
        """Outputs for every step, as methods get them, with the logits of all steps as `sequence`."""
        values = interpolated(torch.einsum("kc,bct->bkt", weight, logits_of) + bias[:, None], steps)
        made = Outputs(values, line.mean(2), {"encoder1": line[..., :1], "decoder1": line}, classifier=weight)
        return made, made.steps(torch.ones(B, steps, dtype=torch.bool))

    target = torch.rand(B, 4, other, dtype=torch.double)
    line = torch.randn(B, 3, own, dtype=torch.double, requires_grad=True)
    teacher = labelled(target, target)[1]
    whole, student = labelled(line, target)
    method = shaken(built("simkd", student, {"sig": teacher}, task="segmentation", factor=1))
    torch.testing.assert_close(method.heads[0].bias, bias)
    met = averaged(line, min(own, other)), averaged(target, min(own, other))
    projection = projected(method.heads[0], met[0])
    found = method.losses(student, {"sig": teacher}, batch_at())
    assert_same(found["simkd_sig"], ((projection - met[1]) ** 2).mean(), line, *method.parameters())
    says = method.deploy(Fixed(whole))({})
    expected = torch.stack([weight @ projection[..., t].T + bias[:, None] for t in range(projection.shape[2])], 2)
    torch.testing.assert_close(says.logits, interpolated(expected.transpose(0, 1), steps))
    assert says.logits.shape == (B, K, steps)


def interpolated(x, length):
    """(B, C, T) to (B, C, length) between the centres of positions, held constant beyond the first and the last."""
    rows = []
    for t in range(length):
        place = min(max((t + 0.5) * x.shape[2] / length - 0.5, 0), x.shape[2] - 1)
        first = min(int(place), x.shape[2] - 1)
        second = min(first + 1, x.shape[2] - 1)
        rows.append((1 - place + first) * x[..., first] + (place - first) * x[..., second])
    return torch.stack(rows, 2)


def averaged(x, length):
    """(B, C, T) to (B, C, length), where T is a multiple of the length."""
    return x.unflatten(2, (length, -1)).mean(3)


def test_simkd_refuses_pixels():
    t = network(torch.rand(B, 4, 5, 5))
    with pytest.raises(MmkdError, match="time steps of signals"):
        built("simkd", network(torch.rand(B, 3, 5, 5)), {"img": t}, task="segmentation")


def test_simkd_of_several_teachers_averages_by_shares():
    s = replace(network(torch.randn(B, 3, 8)), branches={m: network(torch.randn(B, 3, 8)) for m in ("sig", "gaf")})
    t = {m: network(torch.rand(B, 4 + n, 8)) for n, m in enumerate(NAMES)}
    method = shaken(built("simkd", s, t, teacher_weights="sig=2,gaf=1,pi=1"))
    says = method.deploy(Fixed(s))({})
    each = []
    for head, m in zip(method.heads, NAMES, strict=True):
        own = s.branches["gaf" if m == "gaf" else "sig"].features["stage1"]
        each.append(projected(head, own).mean(2))
    alone = [
        z @ x.classifier.T + x.logits - x.embedding @ x.classifier.T for z, x in zip(each, t.values(), strict=True)
    ]
    torch.testing.assert_close(says.logits, alone[0] / 2 + alone[1] / 4 + alone[2] / 4)
    torch.testing.assert_close(says.embedding, torch.cat(each, 1))


def test_simkd_meets_at_the_smaller_size():
    """The larger of the two maps is averaged: the student's before its projector, or the teacher's."""
    large, small = torch.randn(B, 4, 6, 6), torch.randn(B, 4, 3, 3)
    pooled = torch.stack(
        [large[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for i in range(3) for j in range(3)]
    )
    pooled = pooled.permute(1, 2, 0).reshape(B, 4, 3, 3)
    for own, other, met in ((large, small, (pooled, small)), (small, large, (small, pooled))):
        s, t = network(own), network(other)
        method = built("simkd", s, {"gaf": t})
        method.heads[0].projector = nn.Identity()
        found = method.losses(s, {"gaf": t}, batch_at())["simkd_gaf"].item()
        assert found == pytest.approx((met[0] - met[1]).square().mean().item(), rel=1e-6)
        embedding = method.deploy(Fixed(s))({}).embedding
        torch.testing.assert_close(embedding, met[0].double().mean((2, 3)))


def test_simkd_options():
    s, t = network(torch.randn(B, 3, 8)), {"gaf": network(torch.rand(B, 8, 4, 4))}
    for factor, width in ((2, 4), (4, 2), (100, 1)):
        assert built("simkd", s, t, factor=factor).heads[0].projector[0].out_channels == width
    for mixed, kernel in (("pool", (1,)), ("repeat", (3, 3))):
        assert built("simkd", s, t, mixed=mixed).heads[0].projector[3].kernel_size == kernel


class Real:
    """Small networks, a batch, and the method set up on teachers of their own seed."""

    def __init__(self, seed, student="sig+gaf"):
        shapes = {"sig": (2, 32), "gaf": (2, 16, 16)}
        torch.manual_seed(7)
        self.views = {m: torch.randn(B, *shape) for m, shape in shapes.items()}
        torch.manual_seed(seed)
        self.student = build_student("small", {m: shapes[m] for m in student.split("+")}, K).eval()
        nets = {m: build_teacher("WRN10-1", m, shape, K).eval() for m, shape in shapes.items()}
        with torch.no_grad():
            self.taught = {m: net(self.views) for m, net in nets.items()}
            first = self.student(self.views)
        self.method = METHODS.get("simkd")()
        setup = Setup(first, self.taught, K, 40, 24)
        self.method.check(setup)
        self.method.build(setup)
        self.deployed = self.method.deploy(self.student)

    def says(self):
        self.deployed.eval()
        with torch.no_grad():
            return self.deployed(self.views)

    def step(self):
        self.student.train()
        self.method.train()
        own = [*self.student.parameters(), *self.method.parameters()]
        optimizer = torch.optim.SGD(own, lr=0.1)
        torch.stack(
            list(self.method.losses(self.student(self.views), self.taught, batch_at()).values())
        ).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("student", ["sig", "sig+gaf"])
def test_simkd_deployed_network_shares_its_parameters(student):
    real = Real(0, student)
    before = real.says().logits
    real.step()
    assert (real.says().logits - before).abs().max() > 1e-3
    owned = {id(p) for p in [*real.student.parameters(), *real.method.parameters()]}
    assert {id(p) for p in real.deployed.parameters()} == owned


def test_simkd_deployed_network_reads_running_statistics():
    real = Real(0)
    real.step()
    real.deployed.eval()
    assert not any(m.training for m in real.method.heads.modules())
    with torch.no_grad():
        one = real.deployed({m: x[:1] for m, x in real.views.items()}).logits
    torch.testing.assert_close(one, real.says().logits[:1])
    real.method.train()
    assert all(m.training for m in real.deployed.heads.modules())


def test_simkd_state_brings_teachers_back():
    """As a student is loaded: built anew on other teachers and another student, then filled."""
    first, second = Real(0), Real(1)
    first.step()
    expected = first.says()
    assert (second.says().logits - expected.logits).abs().max() > 1e-3
    second.deployed.load_state_dict({k: v.clone() for k, v in first.deployed.state_dict().items()})
    torch.testing.assert_close(second.says().logits, expected.logits, rtol=0, atol=0)
    copy = pickle.loads(pickle.dumps(first.deployed))
    torch.testing.assert_close(copy(first.views).logits, expected.logits, rtol=0, atol=0)


def test_simkd_state_says_whether_the_last_relu_is_there():
    s, signed = network(torch.randn(B, 3, 8)), network(torch.randn(B, 4, 8))
    method, other = (shaken(built("simkd", s, {"sig": t})) for t in (signed, network(torch.rand(B, 4, 8))))
    deployed, again = (m.deploy(Fixed(s)).eval() for m in (method, other))
    assert deployed({}).embedding.min() < 0 <= again({}).embedding.min()
    again.load_state_dict(deployed.state_dict())
    torch.testing.assert_close(again({}).logits, deployed({}).logits, rtol=0, atol=0)


def test_simkd_bias_of_a_trained_teacher_is_found():
    """The bias of a network's own classifier, from its outputs alone."""
    torch.manual_seed(3)
    net = build_teacher("WRN10-1", "sig", (2, 32), K).eval()
    with torch.no_grad():
        net.backbone.classifier.bias.copy_(torch.randn(K))
        t = net({"sig": torch.randn(B, 2, 32)})
    head = METHODS.get("simkd")()
    head.build(Setup(t, {"sig": t}, K, 40, 24))
    torch.testing.assert_close(head.heads[0].bias, net.backbone.classifier.bias.detach(), rtol=1e-4, atol=1e-5)


# all

RANKS = ((), (8,), (6, 4))
MEETINGS = [("reviewkd", {"mixed": m}, *both) for m in LIFTS for both in itertools.product(RANKS, repeat=2)]
MEETINGS += [("simkd", {"mixed": m}, *both) for m in ("pool", *LIFTS) for both in itertools.product(RANKS, repeat=2)]
MEETINGS += [("projector", {}, *both) for both in itertools.product(RANKS, repeat=2)]


@pytest.mark.parametrize(("name", "options", "own", "other"), MEETINGS)
def test_any_rank_meets_any(name, options, own, other):
    last = torch.rand(B, 3, *own, dtype=torch.double, requires_grad=True)
    teachers = {m: network(torch.rand(B, 4, *other)) for m in ("sig", "gaf")}
    method = built(name, network(last), teachers, **options)
    s = network(last)
    terms = {k: v for k, v in method.losses(s, teachers, batch_at()).items() if not k.endswith("ce")}
    assert torch.autograd.grad(sum(terms.values()), last)[0].abs().sum() > 0
    assert method.deploy(Fixed(s))({}).logits.shape == (B, K)


@pytest.mark.parametrize("name", ["reviewkd", "projector", "simkd"])
def test_teachers_take_their_shares(name):
    s, t = network(torch.rand(B, 3, 8)), {m: network(torch.rand(B, 4, 8)) for m in NAMES}
    options = {"logit_weight": 0} if name == "projector" else {}
    equal = terms_of(name, s, t, **options)
    shared = terms_of(name, s, t, teacher_weights="sig=2,gaf=1,pi=1", **options)
    for m, share in zip(NAMES, (0.5, 0.25, 0.25), strict=True):
        assert shared[f"{name}_{m}"].item() == pytest.approx(3 * share * equal[f"{name}_{m}"].item(), rel=1e-9)


@pytest.mark.parametrize("name", ["reviewkd", "simkd"])
def test_pairs_say_which_branch_is_guided(name):
    own = {m: torch.rand(B, 3, 8, dtype=torch.double, requires_grad=True) for m in ("sig", "gaf")}
    s = replace(network(torch.rand(B, 3, 8)), features={}, branches={m: network(x) for m, x in own.items()})
    t = {m: network(torch.rand(B, 4, 8)) for m in ("sig", "gaf")}
    for pairs, guided in (("same", {"sig", "gaf"}), ("all", {"sig"})):
        total = sum(terms_of(name, s, t, pairs=pairs).values())
        gradients = torch.autograd.grad(total, list(own.values()), allow_unused=True, retain_graph=True)
        assert {m for m, g in zip(own, gradients, strict=True) if g is not None} == guided


@pytest.mark.parametrize("name", ["reviewkd", "projector", "simkd"])
def test_refusals(name):
    s, t = network(torch.rand(B, 3, 8)), {m: network(torch.rand(B, 4, 8)) for m in ("sig", "gaf")}
    method = METHODS.get(name)()
    with pytest.raises(MmkdError, match="use another --method"):
        method.check(Setup(s, t, K, train_size=1, epochs=1))
    if name == "projector":
        built(name, replace(s, features={}), {m: replace(x, features={}) for m, x in t.items()})
        return
    with pytest.raises(MmkdError, match="--student-net"):
        built(name, replace(s, features={}), t)
    with pytest.raises(MmkdError, match="--teacher-net"):
        built(name, s, {**t, "gaf": replace(t["gaf"], features={})})
    if name == "simkd":
        with pytest.raises(MmkdError, match="--teacher-net"):
            built(name, s, {**t, "gaf": replace(t["gaf"], classifier=None)})
