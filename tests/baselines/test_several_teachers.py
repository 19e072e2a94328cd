"""Methods that weigh, choose or move several teachers: values and gradients against slow formulas; who is trusted."""

import itertools
import math

import pytest
import torch
from scipy.stats import kendalltau
from torch import nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup, Step
from mmkd.baselines import ae_kd, base_sp, c2kd, meta_mkd, mst_distill, mtkd_rl
from mmkd.training.setup import build_method

B, K = 6, 4
MAPS = {"sig": (5, 8), "gaf": (7, 4, 4), "pi": (3, 4, 4)}


def outputs(shape, seed, grad=False):
    """Two stages, of which the embedding is the mean of the last, and a linear classifier with a bias reads it."""
    g = torch.Generator().manual_seed(seed)
    early = torch.randn(B, 2 * shape[0], *shape[1:], generator=g)
    last = torch.randn(B, *shape, generator=g)
    weight, bias = torch.randn(K, shape[0], generator=g), torch.randn(K, generator=g)
    if grad:
        early.requires_grad_()
        last.requires_grad_()
    embedding = last.flatten(2).mean(2)
    return Outputs(embedding @ weight.T + bias, embedding, {"a": early, "b": last}, weight)


def scene(name, modalities=("sig", "gaf", "pi"), epoch=3, **options):
    student = outputs(MAPS["sig"], 0, grad=True)
    teachers = {m: outputs(MAPS[m], n + 1) for n, m in enumerate(modalities)}
    batch = Batch(torch.arange(B) % K, torch.arange(B), epoch, 4)
    method = METHODS.get(name)(**options)
    build_method(method, Setup(student.detach(), teachers, K, 40, 4, torch.arange(40) % K), 0)
    return method, student, teachers, batch


def equal(found, expected, student, method, **tolerance):
    """Values, and gradients by the student's maps and the method's own parameters."""
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    inputs = [*student.features.values(), *(p for p in method.parameters() if p.requires_grad)]
    each = [torch.autograd.grad(x, inputs, allow_unused=True, retain_graph=True) for x in (found, expected)]
    some = 0
    for a, b in zip(*each, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            some += 1
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert some


def softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def slow_kl(student, teacher, t):
    """T^2 KL(teacher || student) of one sample, class by class."""
    s, p = torch.log_softmax(student / t, 0), torch.softmax(teacher / t, 0)
    return t**2 * sum(p[c] * (p[c].log() - s[c]) for c in range(len(s)))


# ae-kd


def least(gradients, most, step=0.02):
    """The smallest square of a combination on a grid of weights."""
    numbers = [n * step for n in range(round(1 / step) + 1)]
    found = math.inf
    for first in itertools.product(numbers, repeat=len(gradients) - 1):
        rest = 1 - sum(first)
        if -1e-9 <= rest <= most + 1e-9 and max(first) <= most + 1e-9:
            mixed = sum(w * g for w, g in zip((*first, rest), gradients, strict=True))
            found = min(found, mixed.square().sum().item())
    return found


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("most", [0.6, 1.0])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_weights_make_the_shortest_combination(count, most, scale):
    for seed in range(6):
        gradients = torch.randn(count, K, generator=torch.Generator().manual_seed(seed)) + seed % 3
        weights = ae_kd.least_conflict(scale * gradients, most)
        assert weights.sum().item() == pytest.approx(1, abs=1e-6)
        assert weights.min() >= 0
        assert weights.max() <= most + 1e-6
        best = least(gradients, most)
        assert (weights @ gradients).square().sum().item() <= best + 1e-6 + 1e-4 * best


def test_shortest_combinations_that_are_known():
    g = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    torch.testing.assert_close(ae_kd.least_conflict(g, 1.0), torch.tensor([0.75, 0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(ae_kd.least_conflict(g, 0.6), torch.tensor([0.6, 0.4]), atol=1e-4, rtol=0)
    torch.testing.assert_close(ae_kd.least_conflict(0 * g, 0.6), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("tolerance", [0.5, 1.0])
def test_ae_kd_is_its_formula(tolerance):
    method, student, teachers, batch = scene("ae-kd", temperature=3.0, kd_weight=0.8, tolerance=tolerance)
    if tolerance == 1:  # two that pull apart, so that no weight is at its limit
        opposite = 2 * student.logits.detach() - teachers["sig"].logits
        teachers = {"sig": teachers["sig"], "gaf": Outputs(opposite, teachers["gaf"].embedding)}
    logits = student.logits.detach().requires_grad_()
    slopes = [
        torch.autograd.grad(sum(slow_kl(logits[i], t.logits[i], 3.0) for i in range(B)), logits)[0].mean(0)
        for t in teachers.values()
    ]
    shares = ae_kd.least_conflict(torch.stack(slopes), tolerance)
    assert ((shares > 0.01) & (shares < tolerance - 0.01)).all() == (tolerance == 1)
    expected = sum(
        share * slow_kl(student.logits[i], t.logits[i], 3.0) / B
        for share, t in zip(shares, teachers.values(), strict=True)
        for i in range(B)
    )
    terms = method.losses(student, teachers, batch)
    assert set(terms) == {"ce", "kd"}
    equal(terms["kd"], 0.8 * expected, student, method)
    assert terms["ce"].item() == pytest.approx(F.cross_entropy(student.logits, batch.targets).item())


def test_a_tolerance_at_which_weights_cannot_sum_to_one_is_refused():
    with pytest.raises(MmkdError, match=r"tolerance 0.4: 2 weights .* use --tolerance 0.5"):
        scene("ae-kd", ("sig", "gaf"), tolerance=0.4)
    scene("ae-kd", tolerance=0.4)
    with pytest.raises(MmkdError, match=r"3 weights .* use --tolerance 0.34 or"):
        scene("ae-kd", tolerance=0.33)
    scene("ae-kd", tolerance=0.34)


# base+sp


def slow_similarities(x):
    rows = []
    for i in range(len(x)):
        row = torch.stack([(x[i] * x[j]).sum() for j in range(len(x))])
        rows.append(row / row.square().sum().sqrt())
    return torch.stack(rows)


def test_base_sp_is_its_formula():
    shares = {"sig": 0.5, "gaf": 0.3, "pi": 0.2}
    method, student, teachers, batch = scene("base+sp", teacher_weights="sig=5,gaf=3,pi=2", sp_weight=20.0)
    terms = method.losses(student, teachers, batch)
    assert set(terms) == {"ce", "kd", "sp_sig", "sp_gaf", "sp_pi"}
    ce = F.cross_entropy(student.logits, batch.targets)
    kd = sum(
        w * slow_kl(student.logits[i], teachers[m].logits[i], 4.0) / B for m, w in shares.items() for i in range(B)
    )
    sp = 0
    for m, w in shares.items():
        for stage in ("a", "b"):
            gap = slow_similarities(student.features[stage]) - slow_similarities(teachers[m].features[stage])
            sp = sp + 20.0 * w * gap.square().sum() / (64 * B) / 2  # B^2 in batches of 64
    equal(sum(terms.values()), 0.3 * ce + 0.7 * kd + sp, student, method)


def test_only_the_three_deepest_stages_meet():
    method, student, teachers, batch = scene("base+sp", ("sig",))
    more = {f"early{n}": torch.randn(B, 2, 8) for n in range(3)}
    deep = Outputs(student.logits, student.embedding, {**more, **student.features})
    other = Outputs(teachers["sig"].logits, teachers["sig"].embedding, {**more, **teachers["sig"].features})
    expected = 0
    for name in ("early2", "a", "b"):
        gap = base_sp.similarities(deep.features[name]) - base_sp.similarities(other.features[name])
        expected = expected + 700 * gap.square().sum() / (64 * B) / 3
    assert method.losses(deep, {"sig": other}, batch)["sp_sig"].item() == pytest.approx(expected.item(), rel=1e-5)


# meta-mkd


def test_meta_mkd_is_its_formula():
    method, student, teachers, batch = scene("meta-mkd", alpha=0.7, beta=3.0)
    method.eval()
    terms = method.losses(student, teachers, batch)
    u, v = method.shares(student, teachers)
    for shares in (u, v):
        assert shares.shape == (B, 3)
        assert not shares.requires_grad
        torch.testing.assert_close(shares.sum(1), torch.ones(B))
    kd = feature = 0
    for k, (m, teacher) in enumerate(teachers.items()):
        s, t = (student.features["b"], teacher.features["b"])
        s, t = (s, t) if m == "sig" else (s.mean(2, keepdim=True), t.mean((2, 3))[..., None])
        projected = method.projections[k](s)
        for i in range(B):
            kd = kd + u[i, k] * slow_kl(student.logits[i], teacher.logits[i], 4.0) / B
            feature = feature + v[i, k] * ((projected[i] - t[i]) ** 2).sum() / t[i].numel() / B
    equal(terms["kd"] + terms["feature"], 0.7 * kd + 3.0 * feature, student, method)


class Net(nn.Module):
    """A small student of real views."""

    def __init__(self, seed=0, width=6):
        super().__init__()
        torch.manual_seed(seed)
        self.map, self.head = nn.Conv1d(2, width, 3, padding=1), nn.Linear(width, K)

    def forward(self, views):
        last = torch.tanh(self.map(views["sig"]))
        embedding = last.mean(2)
        return Outputs(self.head(embedding), embedding, {"a": views["sig"], "b": last}, self.head.weight)


def meta_scene(**options):
    torch.manual_seed(3)
    net, views = Net(), {"sig": torch.randn(B, 2, 8)}
    teachers = {m: outputs(MAPS["sig"], n) for n, m in enumerate(("sig", "gaf"))}
    batch = Batch(torch.arange(B) % K, torch.arange(B), 0, 4)
    method = METHODS.get("meta-mkd")(beta=1.0, **options)
    build_method(method, Setup(net(views).detach(), teachers, K, 40, 4), 0)
    return method, Step(net, batch, 0.3, lambda _: (views, teachers, batch)), (views, teachers, batch)


@pytest.mark.parametrize("look_ahead", [1, 2])
def test_the_outer_loss_is_that_of_real_steps_and_its_slope_that_of_differences(look_ahead):
    method, step, given = meta_scene(look_ahead=look_ahead)
    method, net = method.double(), step.student.double()
    given = ({"sig": given[0]["sig"].double()}, {m: doubled(t) for m, t in given[1].items()}, given[2])
    before = {n: v.clone() for part in (net, method) for n, v in part.state_dict().items()}

    def real():
        """The same by gradient descent on copies of the networks."""
        import copy

        other, way = copy.deepcopy((net, method))
        moving = [*other.parameters(), *way.projections.parameters()]
        for number in range(look_ahead + 1):
            said = other(given[0])
            if number < look_ahead:
                loss = sum(way.distilled(said, given[1], way.distances(said, given[1])))
            else:
                loss = F.cross_entropy(said.logits, given[2].targets)
            slopes = torch.autograd.grad(loss, moving, allow_unused=True)
            with torch.no_grad():
                for p, slope in zip(moving, slopes, strict=True):
                    if slope is not None:
                        p -= 0.3 * slope
        return F.cross_entropy(other(given[0]).logits, given[2].targets).item()

    method.weigh.module.requires_grad_(True)
    value = method.later(step, *given)
    parameters = list(method.weigh.module.parameters())
    slopes = torch.autograd.grad(value, parameters)
    method.weigh.module.requires_grad_(False)
    assert value.item() == pytest.approx(real(), rel=1e-9)
    for parameter, slope in zip(parameters, slopes, strict=True):
        flat, at = parameter.data.view(-1), int(slope.abs().argmax())
        ends = []
        for sign in (1, -1):
            flat[at] += sign * 1e-6
            ends.append(real())
            flat[at] -= sign * 1e-6
        assert slope.view(-1)[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3)
    after = {n: v for part in (net, method) for n, v in part.state_dict().items()}
    assert all(torch.allclose(before[n], v, atol=1e-12) for n, v in after.items())


def doubled(o):
    return Outputs(o.logits.double(), o.embedding.double(), {k: v.double() for k, v in o.features.items()})


def test_the_buffer_takes_everything_and_then_what_is_hard():
    method, step, (views, teachers, _) = meta_scene(buffer=8, meta_every=100)
    right = step.student(views).logits.argmax(1)
    for number, index in enumerate((torch.arange(6), torch.arange(6, 12), torch.arange(20, 26))):
        targets = right.clone()
        targets[4:] = (right[4:] + 1) % K  # the last two are hard
        batch = Batch(targets, index, 0, 4)
        method.losses(step.student(views), teachers, batch)
        method.after_step(Step(step.student, batch, 0.1, lambda _, b=batch: (views, teachers, b)))
        if number < 2:
            assert method.kept[: int(method.filled)].tolist() == list(range((6, 8)[number]))
    assert int(method.filled) == 8
    assert int(method.steps) == 3
    new = [i for i in method.kept.tolist() if i >= 8]
    assert sorted(new) == [24, 25]


# mtkd-rl


def slow_agent(agent, state, distances):
    """The weights of one sample, for u and v: a third of each part, or their trained shares.

    Args:
        state: one row of what the agent sees.
        distances: for u and v, what the softmax over teachers is taken of, after the teachers' cross-entropies.
    """
    hidden = [max(0.0, float(row @ state)) for row in agent.stem.weight]
    wrong, *far = distances
    count = len(wrong)
    confidence = [(1 - x) / (count - 1) for x in softmax(wrong)]
    weights = []
    for which, head in enumerate(agent.heads):
        scores = [
            float(head.bias[k]) + sum(float(head.weight[k, j]) * h for j, h in enumerate(hidden)) for k in range(count)
        ]
        parts = softmax(scores), confidence, softmax(far[which])
        mix = [1 / 3] * 3 if agent.mix is None else softmax(agent.mix[which].tolist())
        weights.append([sum(m * part[k] for m, part in zip(mix, parts, strict=True)) for k in range(count)])
    return weights


@pytest.mark.parametrize("mix", ["mean", "learned"])
def test_mtkd_rl_is_its_formula(mix):
    method, student, teachers, batch = scene("mtkd-rl", alpha=0.7, beta=3.0, mix=mix)
    method.eval()
    agent = method.agent.module
    if mix == "learned":
        agent.mix.copy_(torch.tensor([[0.3, -0.4, 1.0], [2.0, 0.0, 0.5]]))
    terms = method.losses(student, teachers, batch)
    near = [[slow_kl(student.logits[i], t.logits[i], 4.0) for t in teachers.values()] for i in range(B)]
    gaps = [slow_gap(method, k, student, teacher) for k, teacher in enumerate(teachers.values())]
    kd = feature = 0
    losses = []
    for i in range(B):
        wrong, alike, state = [], [], []
        for k, (m, teacher) in enumerate(teachers.items()):
            s, t = (x.features["b"].flatten(2)[i] for x in (student, teacher))
            s, t = (s, t) if m == "sig" else (s.mean(1, keepdim=True), t.mean(1, keepdim=True))
            a = torch.stack([method.projections[k](s[:, p][None])[0] for p in range(s.shape[1])], 1).mean(1)
            alike.append((a @ t.mean(1) / (a.norm() * t.mean(1).norm())).item())
            wrong.append(-torch.log_softmax(teacher.logits[i], 0)[batch.targets[i]].item())
            state += [torch.tensor([alike[-1], near[i][k].item(), wrong[-1]]), teacher.embedding[i], teacher.logits[i]]
        u, v = slow_agent(agent, torch.cat(state), (wrong, [x.item() for x in near[i]], alike))
        assert sum(u) == pytest.approx(1)
        mine = 0.7 * sum(w * x for w, x in zip(u, near[i], strict=True))
        maps = 3.0 * sum(w * g[i] for w, g in zip(v, gaps, strict=True))
        kd, feature = kd + mine / B, feature + maps / B
        losses.append((mine + maps - torch.log_softmax(student.logits[i], 0)[batch.targets[i]]).item())
    equal(terms["kd"] + terms["feature"], kd + feature, student, method)
    mean = sum(losses) / B
    spread = math.sqrt(sum((x - mean) ** 2 for x in losses) / (B - 1))
    expected = [min(1.0, max(0.0, (mean - x) / spread)) for x in losses]
    torch.testing.assert_close(method.last[1], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def slow_gap(method, k, student, teacher):
    """(B,) squared errors of projected maps, in evaluation mode."""
    s, t = (x.features["b"].flatten(2) for x in (student, teacher))
    s, t = (s, t) if teacher.features["b"].ndim == 3 else (s.mean(2, keepdim=True), t.mean(2, keepdim=True))
    projected = torch.stack([method.projections[k](s[:, :, p]) for p in range(s.shape[2])], 2)
    return (projected - t).square().mean((1, 2))


def test_all_weights_are_one_in_the_first_epoch():
    method, student, teachers, batch = scene("mtkd-rl", epoch=0)
    terms = method.losses(student, teachers, batch)
    kl = [slow_kl(student.logits[i], t.logits[i], 4.0) for t in teachers.values() for i in range(B)]
    assert terms["kd"].item() == pytest.approx((sum(kl) / B).item(), rel=1e-5)


def test_the_agent_descends_once_for_each_batch_at_the_end_of_an_epoch():
    """By a gradient step on minus the mean of reward times log weight, from the weights that the last step left."""
    method, student, teachers, batch = scene("mtkd-rl", agent_lr=0.3)
    agent = method.agent.module
    start = [p.clone() for p in agent.parameters()]
    method.losses(student, teachers, batch)
    state, rewards = method.last
    assert rewards.min() == 0
    assert 0 < rewards.max() <= 1
    for ends in (False, True):
        assert all(torch.equal(a, b) for a, b in zip(start, agent.parameters(), strict=True))
        method.after_step(Step(nn.Identity(), batch, 0.1, lambda index: None, ends))
    copy = mtkd_rl.Agent(state.everything.shape[1], 3, 128, False)
    copy.load_state_dict(dict(zip(agent.state_dict(), start, strict=True)))
    for _ in range(2):
        weights = copy(state)
        loss = -sum(rewards[i] * weights[w, i, k].log() / (3 * B) for w in range(2) for i in range(B) for k in range(3))
        slopes = torch.autograd.grad(loss, list(copy.parameters()))
        with torch.no_grad():
            for p, slope in zip(copy.parameters(), slopes, strict=True):
                p -= 0.3 * slope
    for a, b in zip(copy.parameters(), agent.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert method.batches == []


def test_equal_losses_are_not_rewarded():
    assert mtkd_rl.reward(torch.full((3,), 4.0)).tolist() == [0.0] * 3


# c2kd


def test_rank_correlation_is_kendalls():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(30, 7, generator=g), torch.randn(30, 7, generator=g)
    tied = torch.randint(0, 3, (30, 7), generator=g).float()
    for x, y in ((a, b), (a, tied), (tied, b), (a, a), (a, -a)):
        expected = [kendalltau(p.numpy(), q.numpy()).statistic for p, q in zip(x, y, strict=True)]
        torch.testing.assert_close(c2kd.rank_correlation(x, y), torch.tensor(expected, dtype=torch.float32))


def slow_others(moving, fixed, target):
    """KL(fixed || moving) of one sample over the classes other than the target."""
    kept = [c for c in range(K) if c != target]
    p = softmax([fixed[c].item() for c in kept])
    total = sum(moving[c].exp() for c in kept)
    return sum(q * (math.log(q) - (moving[c] - total.log())) for q, c in zip(p, kept, strict=True))


def slow_fixed(moving, fixed):
    return slow_kl(moving, fixed.detach(), 1.0)


def test_c2kd_is_its_formula():
    method, student, teachers, batch = scene("c2kd", ("sig", "gaf"), teacher_weights="sig=3,gaf=1")
    moving = {m: t.logits.requires_grad_() for m, t in teachers.items()}
    method.eval()
    terms = method.losses(student, teachers, batch)
    assert set(terms) == {"ce", "c2kd_sig", "c2kd_gaf", "teacher_sig", "teacher_gaf"}
    used = 0
    for k, (m, share) in enumerate({"sig": 0.75, "gaf": 0.25}.items()):
        teacher = teachers[m]
        near = method.own[k](student.features["a"].flatten(2).mean(2))
        far = method.others[k](teacher.features["a"].flatten(2).mean(2))
        mine = yours = 0
        for i in range(B):
            mine = mine + slow_fixed(student.logits[i], near[i]) + slow_fixed(near[i], student.logits[i])
            yours = yours + slow_fixed(teacher.logits[i], far[i]) + slow_fixed(far[i], teacher.logits[i])
            if kendalltau(near[i].detach().numpy(), far[i].detach().numpy()).statistic > 0:
                used += 1
                mine = mine + slow_others(near[i], far[i].detach(), batch.targets[i])
                yours = yours + slow_others(far[i], near[i].detach(), batch.targets[i])
        equal(terms[f"c2kd_{m}"], share * mine / B, student, method)
        ce = sum(-torch.log_softmax(teacher.logits[i], 0)[batch.targets[i]] for i in range(B)) / B
        each = [
            torch.autograd.grad(x, moving[m], retain_graph=True)[0] for x in (terms[f"teacher_{m}"], ce + yours / B)
        ]
        assert terms[f"teacher_{m}"].item() == pytest.approx((ce + yours / B).item(), rel=1e-5)
        torch.testing.assert_close(*each, rtol=1e-4, atol=1e-6)
    assert 0 < used < 2 * B
    for m, logits in moving.items():  # what is a target in a term is not moved by it
        assert torch.autograd.grad(terms[f"c2kd_{m}"], logits, retain_graph=True, allow_unused=True) == (None,)
        inputs = [*student.features.values(), *method.own.parameters()]
        slopes = torch.autograd.grad(terms[f"teacher_{m}"], inputs, retain_graph=True, allow_unused=True)
        assert all(slope is None for slope in slopes)


def test_at_a_threshold_of_one_no_sample_is_used():
    both = [scene("c2kd", ("sig",), threshold=t) for t in (1.0, -1.0)]
    few, many = (m.eval().losses(*rest)["c2kd_sig"].item() for m, *rest in both)
    assert few < many


def test_a_network_of_one_map_has_its_proxy_there():
    one = Outputs(torch.zeros(2, K), torch.zeros(2, 3), {"only": torch.ones(2, 3, 5)})
    assert c2kd.middle(one).tolist() == [[1.0] * 3] * 2


# mst-distill


def test_mst_distill_in_its_three_stages():
    for epoch, trained in ((0, 1), (1, 2), (2, 3)):
        method, student, teachers, _ = scene("mst-distill", ("sig", "gaf"), chosen=1)
        batch = Batch(torch.arange(B) % K, torch.arange(B), epoch, 3)
        assert method.stage(batch) == trained
        logits = {m: t.logits.requires_grad_() for m, t in teachers.items()}
        terms = method.losses(student, teachers, batch)
        assert set(terms) == {"ce", "teachers_ce", "mutual", "masks", "kd", "router", "balance"}
        total = sum(terms.values())
        inputs = [student.features["b"], *logits.values(), *method.masks.parameters(), *method.router.parameters()]
        slopes = torch.autograd.grad(total, inputs, allow_unused=True)
        reached = [s is not None and bool(s.abs().sum() > 0) for s in slopes]
        masks = sum(1 for _ in method.masks.parameters())
        assert reached[0] == (trained != 2)
        assert reached[1:3] == [trained == 1] * 2
        assert any(reached[3 : 3 + masks]) == (trained == 2)
        assert any(reached[3 + masks :]) == (trained == 3)


def test_stages_take_an_epoch_each_and_the_rest():
    method, *_ = scene("mst-distill", ("sig", "gaf"))
    stages = [method.stage(Batch(torch.arange(B) % K, torch.arange(B), epoch, 6)) for epoch in range(6)]
    assert stages == [1, 2, 3, 3, 3, 3]
    method, *_ = scene("mst-distill", ("sig", "gaf"), first_epochs=0, second_epochs=3)
    stages = [method.stage(Batch(torch.arange(B) % K, torch.arange(B), epoch, 6)) for epoch in range(6)]
    assert stages == [2, 2, 2, 3, 3, 3]
    with pytest.raises(MmkdError, match=r"take 4 epochs, and there are 4.* use --epochs 5 or more"):
        scene("mst-distill", ("sig", "gaf"), second_epochs=3)


def test_the_first_stage_is_its_formula():
    method, student, teachers, batch = scene("mst-distill", ("sig", "gaf"), epoch=0)
    every = [student.logits, *(t.logits for t in teachers.values())]
    ce = [-torch.log_softmax(z[i], 0)[batch.targets[i]] / B for z in every for i in range(B)]
    mutual = [slow_kl(a[i], b[i], 4.0) / B for a in every for b in every if a is not b for i in range(B)]
    assert len(mutual) == 6 * B
    equal(sum(method.losses(student, teachers, batch).values()), sum(ce) + sum(mutual), student, method)


def test_a_mask_scales_what_the_classifier_reads():
    method, student, teachers, batch = scene("mst-distill", ("sig", "gaf"), epoch=1)
    bias = {m: t.logits - t.embedding @ t.classifier.T for m, t in teachers.items()}
    expected = 0
    for mask, (m, teacher) in zip(method.masks, teachers.items(), strict=True):
        scaled = mask(teacher.embedding)
        assert scaled.shape == teacher.embedding.shape
        assert 0 < scaled.min() <= scaled.max() < 1
        seen = (teacher.embedding * scaled) @ teacher.classifier.T + bias[m]
        expected = expected + sum(slow_kl(seen[i], student.logits[i].detach(), 4.0) for i in range(B)) / B
    found = method.losses(student, teachers, Batch(batch.targets, batch.index, 1, 3))["masks"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("chosen", [1, 2])
def test_the_last_stage_is_its_formula(chosen):
    method, student, teachers, batch = scene("mst-distill", chosen=chosen, kd_weight=0.6, balance_weight=0.4)
    seen, p = method.masked(list(teachers.values())), method.shares(student)
    torch.testing.assert_close(p.sum(1), torch.ones(B))
    kd = router = 0
    for i in range(B):
        far = [slow_kl(student.logits[i], z[i].detach(), 4.0) for z in seen]
        best = sorted(range(3), key=lambda k: -p[i, k].item())[:chosen]
        kd = kd + sum(far[k] for k in best) / chosen / B
        wrong = [-torch.log_softmax(z[i], 0)[batch.targets[i]].detach() for z in seen]
        router = router + sum(p[i, k] * wrong[k] for k in range(3)) / B
    balance = sum(math.log(1 / 3) - p.mean(0)[k].log() for k in range(3)) / 3 / 3
    ce = F.cross_entropy(student.logits, batch.targets)
    expected = ce + 0.6 * kd + router + 0.4 * balance
    equal(sum(method.losses(student, teachers, batch).values()), expected, student, method)
    assert mst_distill.unevenness(torch.full((5, 3), 1 / 3)).item() == pytest.approx(0, abs=1e-7)


def test_more_than_there_are_cannot_be_chosen():
    with pytest.raises(MmkdError, match=r"chosen 3: there are 2 teachers; use a lower --chosen"):
        scene("mst-distill", ("sig", "gaf"), chosen=3)


def test_teachers_rest_without_co_training():
    nets = {"sig": nn.Linear(2, 2)}
    assert not list(METHODS.get("mst-distill")(co_training=False).teacher_parameters(nets))
    for name in ("mst-distill", "c2kd"):
        assert len(list(METHODS.get(name)().teacher_parameters(nets))) == 2


# weights that are computed from the student


@pytest.mark.parametrize(("name", "weighs"), [("mtkd-rl", "agent"), ("meta-mkd", "weigh")])
def test_the_student_gets_no_gradient_through_its_teachers_weights(name, weighs):
    """The gradient is the same with the weights as constants, and reaches the student by the distances alone."""
    method, student, teachers, batch = scene(name)
    method.eval()
    network, slopes = getattr(method, weighs), []
    real = network.forward

    def constant(*inputs):
        answer = real(*inputs)
        return answer.detach() if isinstance(answer, torch.Tensor) else tuple(part.detach() for part in answer)

    for network.forward in (real, constant):
        terms = method.losses(student, teachers, batch)
        inputs = list(student.features.values())
        slopes.append(torch.autograd.grad(terms["kd"] + terms["feature"], inputs, allow_unused=True, retain_graph=True))
    for one, other in zip(*slopes, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert any(slope is not None for slope in slopes[0])


# whom they trust


class Toy:
    """A student on windows of which one teacher knows every class, and the other says another class each time."""

    def __init__(self, name, right, sureness, **options):
        torch.manual_seed(1)
        self.n = 48
        self.targets = torch.arange(self.n) % K
        x = torch.randn(self.n, 2, 8) + F.one_hot(self.targets, 8).float().mul(3)[:, None]
        self.views = {"sig": x}
        self.teachers = {}
        for m in ("sig", "gaf"):
            said = self.targets if m == right else (self.targets + 1) % K
            last = F.one_hot(said, K).float()[..., None].repeat(1, 1, 4) + 0.1 * torch.randn(self.n, K, 4)
            weight = (8.0 if m == right else sureness) * torch.eye(K)
            embedding = last.mean(2)
            self.teachers[m] = Outputs(embedding @ weight.T, embedding, {"a": last, "b": last}, weight)
        self.net, self.method = Net(width=8), METHODS.get(name)(**options)
        with torch.no_grad():
            setup = Setup(self.net(self.views), self.teachers, K, self.n, 40, self.targets)
        build_method(self.method, setup, 0)

    def read(self, index):
        taught = {
            m: Outputs(t.logits[index], t.embedding[index], {k: v[index] for k, v in t.features.items()}, t.classifier)
            for m, t in self.teachers.items()
        }
        return {"sig": self.views["sig"][index]}, taught, Batch(self.targets[index], index, self.epoch, 40)

    def train(self, steps=35, lr=0.05):
        """Steps of half the windows each, in the last epoch."""
        self.epoch = 39
        optimizer = torch.optim.SGD(
            [*self.net.parameters(), *(p for p in self.method.parameters() if p.requires_grad)], lr
        )
        for number in range(steps):
            views, taught, batch = self.read(torch.randperm(self.n)[: self.n // 2])
            optimizer.zero_grad()
            torch.stack(list(self.method.terms(self.net(views), taught, batch).values())).sum().backward()
            optimizer.step()
            self.method.after_step(Step(self.net, batch, lr, self.read, ends_epoch=number % 2 == 1))

    def shares(self):
        """Name of the weights -> (B, 2) of all windows, in the order of the teachers."""
        self.epoch = 39
        with torch.no_grad():
            student, logits = self.net(self.views), torch.stack([t.logits for t in self.teachers.values()])
            name = METHODS.name_of(type(self.method))
            if name == "ca-mkd":
                from mmkd.baselines import ca_mkd

                return {"u": ca_mkd.confidence(ca_mkd.sample_cross_entropy(logits, self.targets)).T}
            if name == "ebkd-entropy":
                from mmkd.baselines import ebkd_entropy

                return {"e": ebkd_entropy.entropy_weights(logits).T}
            if name == "mst-distill":
                return {"p": self.method.shares(student)}
            u, _ = self.method.shares(student, self.teachers)
            return {"u": u}


OPTIONS = {
    "meta-mkd": {"meta_every": 1, "beta": 1.0, "meta_lr": 0.01},
    "ca-mkd": {},
    "ebkd-entropy": {},
    "mst-distill": {},
}


@pytest.mark.parametrize(("right", "sureness"), [("sig", 3.0), ("gaf", 3.0), ("gaf", 8.0)])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_teacher_that_is_always_right_is_trusted(name, right, sureness):
    if name == "ebkd-entropy" and sureness == 8:
        pytest.skip("it looks at nothing but how sure a teacher is, and the wrong one is as sure as the other")
    toy = Toy(name, right, sureness, **OPTIONS[name])
    place = 0 if right == "sig" else 1
    before = {k: v[:, place].mean().item() for k, v in toy.shares().items()}
    if name not in ("ca-mkd", "ebkd-entropy"):  # these know it from the labels, or from the entropies
        toy.train()
    for which, shares in toy.shares().items():
        torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
        own = shares[:, place]
        assert own.mean() > 0.6
        assert (own > 0.5).float().mean() > 0.9
        assert own.mean() >= before[which]


def test_meta_weights_of_a_small_network():
    net = meta_mkd.half(6, 2)
    assert [tuple(p.shape) for p in net.parameters()] == [(3, 6), (3,), (2, 3), (2,)]
