"""`fitnet`, `at`, `sp`, `rkd`, `pkt`: against reference numbers, and the papers' formulas as slow loops."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
B, K = 6, 5
MAPS = ("fitnet", "at", "sp")
VECTORS = ("rkd", "pkt")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def stored(name):
    return torch.from_numpy(ORACLE[name])


def outputs(features=None, embedding=None, **more):
    """Outputs with one map, several, or an embedding; what is not given is arbitrary."""
    features = features if isinstance(features, dict) else {} if features is None else {"stage1": features}
    return Outputs(torch.randn(B, K), torch.randn(B, 8) if embedding is None else embedding, features, **more)


def terms_of(name, student, teachers, **options):
    """The method's own terms, set up as the loop sets it up."""
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, classes=K, train_size=60, epochs=4)
    method.check(setup)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.build(setup)
    terms = method.losses(student, teachers, Batch(torch.arange(B) % K, torch.arange(B)))
    return {k: v for k, v in terms.items() if not k.endswith("ce")}


def assert_reference(name, student, teacher, own, key, **options):
    """The sum of the terms and its gradient for the student's map or embedding `own`.

    The weights in `options` undo that the terms have the scale of batches of 64.
    """
    total = sum(terms_of(name, student, {"sig": teacher}, **options).values())
    (gradient,) = torch.autograd.grad(total, own)
    assert total.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)
    expected = ORACLE[f"{key}_grad"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "key"), [("at", "at_p2"), ("sp", "sp")])
def test_losses_on_maps_equal_the_reference(name, key):
    own = stored("student_map").requires_grad_()
    weight = 64 / B if name == "sp" else 1
    assert_reference(name, outputs(own), outputs(stored("teacher_map")), own, key, weight=weight)


PAIRS, TRIPLES = (B - 1) / B * 64 / 63, (B - 1) * (B - 2) / B**2 * 64**2 / (63 * 62)
"""How much fewer distinct pairs and triples of samples there are than in a batch of 64."""


@pytest.mark.parametrize(
    ("name", "key", "options"),
    [
        ("rkd", "rkd_wd25_wa50", {"distance_weight": 25 * PAIRS, "angle_weight": 50 * TRIPLES}),
        ("pkt", "pkt", {"weight": 64 / B}),
    ],
)
def test_losses_on_embeddings_equal_the_reference(name, key, options):
    own = stored("student_embedding").requires_grad_()
    teacher = outputs(embedding=stored("teacher_embedding"))
    assert_reference(name, outputs(embedding=own), teacher, own, key, **options)


@pytest.mark.parametrize("signed", [True, False])
def test_fitnet_is_the_squared_error_after_a_convolution_a_normalisation_and_a_relu(signed):
    """The hint loss of arXiv:1412.6550 with a convolution of kernel 1, batch statistics and a ReLU, channel by channel;
    the constant 1/2 is in the weight."""
    s, t = stored("student_map").requires_grad_(), stored("teacher_map")
    t = t if signed else t.abs()
    method = METHODS.get("fitnet")(weight=7)
    method.build(Setup(outputs(s), {"sig": outputs(t)}, classes=K, train_size=60, epochs=4))
    regressor = method.regressors[0]
    convolved = F.conv2d(s, regressor.convolution.weight[:, :, None, None])
    expected = 0
    with torch.no_grad():
        regressor.norm.weight.uniform_(0.5, 2)
        regressor.norm.bias.normal_()
    for c in range(t.shape[1]):
        x = convolved[:, c]
        mean = x.mean()
        x = (x - mean) / ((x - mean).square().mean() + 1e-5).sqrt() * regressor.norm.weight[c] + regressor.norm.bias[c]
        expected = expected + 7 * ((x if signed else x.clamp_min(0)) - t[:, c]).square().mean() / t.shape[1]
    value = method.losses(outputs(s), {"sig": outputs(t)}, Batch(torch.arange(B) % K, torch.arange(B)))["fitnet_sig"]
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    parameters = [s, *method.parameters()]
    for found, slow in zip(*(torch.autograd.grad(v, parameters) for v in (value, expected)), strict=True):
        torch.testing.assert_close(found, slow, rtol=1e-3, atol=1e-5)


def test_fitnet_does_not_run_away_where_a_bare_convolution_does():
    """The full preset: SGD with momentum 0.9 at 0.05. A map ten times as large is a common scale of residual sums."""
    s, t = 10 * torch.randn(32, 16, 8), 10 * torch.randn(32, 48, 8)

    def after_steps(regress, parameters):
        optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
        for _ in range(60):
            loss = 100 * F.mse_loss(regress(s), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    method = METHODS.get("fitnet")()
    method.build(Setup(outputs(s), {"sig": outputs(t)}, classes=K, train_size=60, epochs=4))
    assert after_steps(method.regressors[0], list(method.parameters())) < 2e4
    bare = torch.nn.Linear(16, 48)
    assert not after_steps(lambda x: bare(x.movedim(1, -1)).movedim(-1, 1), list(bare.parameters())) < 1e9


def test_fitnet_takes_the_middle_stage_or_the_last():
    s = {f"s{i}": torch.randn(B, 2 + i, 8) for i in range(3)}
    t = {f"t{i}": torch.randn(B, 5 + i, 8) for i in range(4)}
    for stage, widths in (("middle", (3, 7)), ("last", (4, 8))):
        method = METHODS.get("fitnet")(stage=stage)
        method.build(Setup(outputs(s), {"sig": outputs(t)}, classes=K, train_size=60, epochs=4))
        convolution = method.regressors[0].convolution
        assert (convolution.in_features, convolution.out_features) == widths


@pytest.mark.parametrize("shape", [(), (6,), (4, 3)])
def test_sp_by_loops(shape):
    """The loss of arXiv:1907.09682, for vectors, lines and maps."""
    s, t = torch.randn(B, 2, *shape, dtype=torch.double), torch.randn(B, 3, *shape, dtype=torch.double)

    def similarities(x):
        g = torch.tensor([[(x[i] * x[j]).sum() for j in range(B)] for i in range(B)], dtype=torch.double)
        return torch.stack([row / row.square().sum().sqrt() for row in g])

    expected = (similarities(s) - similarities(t)).square().sum().item() / (64 * B)  # B^2 in batches of 64
    assert terms_of("sp", outputs(s), {"sig": outputs(t)}, weight=5)["sp_sig"].item() == pytest.approx(5 * expected)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_at_by_loops(power):
    """The activation-based loss of arXiv:1612.03928 on lines, with the mean over positions and samples for the norm."""
    s, t = torch.randn(B, 2, 7, dtype=torch.double), torch.randn(B, 3, 7, dtype=torch.double)
    expected = 0.0
    for b in range(B):
        q = [torch.stack([x[b, :, i].abs().pow(power).sum() for i in range(7)]) for x in (s, t)]
        expected += (q[0] / q[0].norm() - q[1] / q[1].norm()).square().sum().item() / (7 * B)
    found = terms_of("at", outputs(s), {"sig": outputs(t)}, weight=3, power=power)["at_sig"].item()
    assert found == pytest.approx(3 * expected)


def test_at_lifts_the_attention_of_a_line():
    """`outer`: the line's attention a meets an image's as a a^T, so that a map of that form is at distance 0."""
    line = torch.rand(B, 1, 8)
    image = line[..., :, None] * line[..., None, :]
    assert terms_of("at", outputs(line), {"gaf": outputs(image)})["at_gaf"].item() == pytest.approx(0, abs=1e-6)
    assert terms_of("at", outputs(line), {"gaf": outputs(image)}, mixed="repeat")["at_gaf"] > 0.1


def test_rkd_by_loops():
    """The distance-wise and angle-wise losses of arXiv:1904.05068; Huber loss, means over all pairs and triples."""
    s, t = torch.randn(B, 4, dtype=torch.double), torch.randn(B, 3, dtype=torch.double)

    def huber(a, b):
        return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5

    def mean_distance(x):
        return np.mean([(x[i] - x[j]).norm().item() for i, j in itertools.permutations(range(B), 2)])

    def cosine(x, i, j, k):
        a, b = x[j] - x[i], x[k] - x[i]
        return 0.0 if i in (j, k) else (a @ b / (a.norm() * b.norm())).item()

    pairs = itertools.permutations(range(B), 2)
    distance = sum(
        huber((s[i] - s[j]).norm().item() / mean_distance(s), (t[i] - t[j]).norm().item() / mean_distance(t))
        for i, j in pairs
    )
    angle = sum(huber(cosine(s, *n), cosine(t, *n)) for n in itertools.product(range(B), repeat=3))
    found = terms_of("rkd", outputs(embedding=s), {"sig": outputs(embedding=t)})
    assert found["distance_sig"].item() == pytest.approx(25 * distance / B**2 / PAIRS)
    assert found["angle_sig"].item() == pytest.approx(50 * angle / B**3 / TRIPLES)


def test_rkd_of_equal_embeddings_has_finite_gradients():
    own = torch.randn(B, 4).index_fill(0, torch.tensor([1, 2]), 0.0).requires_grad_()
    total = sum(terms_of("rkd", outputs(embedding=own), {"sig": outputs(embedding=torch.randn(B, 3))}).values())
    (gradient,) = torch.autograd.grad(total, own)
    assert gradient.abs().max() < 1e3
    same = torch.zeros(B, 4, requires_grad=True)
    total = sum(terms_of("rkd", outputs(embedding=same), {"sig": outputs(embedding=torch.randn(B, 3))}).values())
    assert torch.isfinite(torch.autograd.grad(total, same)[0]).all()


def test_pkt_by_loops():
    """The divergence of arXiv:1803.10837 with the cosine kernel."""
    s, t = torch.randn(B, 4, dtype=torch.double), torch.randn(B, 3, dtype=torch.double)

    def probabilities(x):
        k = np.array([[(F.cosine_similarity(a, b, dim=0).item() + 1) / 2 for b in x] for a in x])
        return k / k.sum(1, keepdims=True)

    p, q = probabilities(t), probabilities(s)
    found = terms_of("pkt", outputs(embedding=s), {"sig": outputs(embedding=t)}, weight=1)["pkt_sig"].item()
    assert found == pytest.approx(np.sum(p * np.log(p / q)) / (64 * B), rel=1e-5)


@pytest.mark.parametrize("name", ["sp", "base+sp", "pkt", "mlkd", "kd", "at", "nst", "dist"])
def test_a_batch_with_every_window_twice_has_the_same_loss(name):
    """So that the scale of a term, and of its gradient, does not depend on the number of windows in a batch."""
    maps, others = torch.rand(B, 3, 8), torch.rand(B, 4, 8)
    logits, target = torch.randn(2, B, K), torch.arange(B) % K
    found = []
    for times in (1, 2):
        own = maps.clone().requires_grad_()
        scores = logits[0].clone().requires_grad_()
        twice = torch.arange(B).repeat(times)
        student = Outputs(scores[twice], own.flatten(1)[twice], {"s": own[twice]})
        teacher = Outputs(logits[1][twice], others.flatten(1)[twice], {"s": others[twice]})
        terms = METHODS.get(name)().losses(student, {"sig": teacher}, Batch(target[twice], torch.arange(len(twice))))
        total = sum(terms.values())
        found.append((total, *torch.autograd.grad(total, [own, scores], allow_unused=True)))
    for one, two in zip(*found, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["at", "sp", *VECTORS])
def test_equal_features_cost_nothing(name):
    x = torch.rand(B, 4, 6)
    s = outputs(x, embedding=x.flatten(1))
    assert sum(terms_of(name, s, {"sig": s}).values()).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["at", "sp"])
def test_all_stages_or_the_last(name):
    s = {f"s{i}": torch.rand(B, 3, 8 // 2**i) for i in range(3)}
    t = {f"t{i}": torch.rand(B, 4, 8 // 2**i) for i in range(3)}
    each = [terms_of(name, outputs(s[f"s{i}"]), {"sig": outputs(t[f"t{i}"])})[f"{name}_sig"].item() for i in range(3)]
    found = {
        n: terms_of(name, outputs(s), {"sig": outputs(t)}, stages=n)[f"{name}_sig"].item() for n in ("all", "last")
    }
    assert found["last"] == pytest.approx(each[2])
    assert found["all"] == pytest.approx(sum(each), rel=1e-5)
    more = {"t": torch.rand(B, 2, 20), **t}  # a surplus shallow stage has no partner
    assert terms_of(name, outputs(s), {"sig": outputs(more)}, stages="all")[f"{name}_sig"].item() == pytest.approx(
        found["all"]
    )


RANKS = ((), (8,), (6, 4))
LIFTS = ("outer", "repeat", "hankel", "toeplitz")
MEETINGS = [("sp", {}, own, other) for own, other in itertools.product(RANKS, repeat=2)]
MEETINGS += [("fitnet", {"mixed": m}, *both) for m in ("pool", *LIFTS) for both in itertools.product(RANKS, repeat=2)]
MEETINGS += [("at", {"mixed": m}, *both) for m in LIFTS for both in itertools.product(RANKS[1:], repeat=2)]


@pytest.mark.parametrize(("name", "options", "own", "other"), MEETINGS)
def test_any_rank_meets_any(name, options, own, other):
    """But for the attention of vectors, which have one position."""
    s, t = torch.rand(B, 3, *own, requires_grad=True), torch.rand(B, 4, *other)
    total = sum(terms_of(name, outputs(s), {"sig": outputs(t)}, **options).values())
    (gradient,) = torch.autograd.grad(total, s)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", [*MAPS, *VECTORS])
def test_several_teachers_take_their_shares(name):
    s = outputs(torch.rand(B, 3, 8), torch.rand(B, 8))
    t = {m: outputs(torch.rand(B, 3, 8), torch.rand(B, 4)) for m in ("sig", "gaf", "pi")}
    equal = terms_of(name, s, t)
    shared = terms_of(name, s, t, teacher_weights="sig=2,gaf=1,pi=1")
    for key, value in equal.items():
        share = 0.5 if key.endswith("_sig") else 0.25
        assert shared[key].item() == pytest.approx(3 * share * value.item(), rel=1e-5)


@pytest.mark.parametrize("name", [*MAPS, *VECTORS])
def test_pairs_say_which_branch_is_guided(name):
    own = {m: torch.rand(B, 3, 8, requires_grad=True) for m in ("sig", "gaf")}
    s = outputs(branches={m: outputs(x, x.flatten(1)) for m, x in own.items()})
    t = {m: outputs(torch.rand(B, 3, 8), torch.rand(B, 4)) for m in ("sig", "gaf")}
    for pairs, guided in (("same", {"sig", "gaf"}), ("all", {"sig"})):
        total = sum(terms_of(name, s, t, pairs=pairs).values())
        gradients = torch.autograd.grad(total, list(own.values()), allow_unused=True)
        assert {m for m, g in zip(own, gradients, strict=True) if g is not None} == guided


@pytest.mark.parametrize("name", MAPS)
def test_networks_without_maps_are_refused(name):
    whole, bare = outputs(torch.rand(B, 3, 8)), outputs()
    with pytest.raises(MmkdError, match="--student-net"):
        terms_of(name, bare, {"sig": whole})
    with pytest.raises(MmkdError, match="--teacher-net"):
        terms_of(name, whole, {"sig": bare})


@pytest.mark.parametrize("name", ["sp", *VECTORS])
def test_a_single_sample_costs_nothing(name):
    one = [Outputs(torch.randn(1, K), x, {"a": x}) for x in (torch.rand(1, 3), torch.rand(1, 4))]
    terms = METHODS.get(name)().losses(
        one[0], {"sig": one[1]}, Batch(torch.zeros(1, dtype=torch.long), torch.arange(1))
    )
    assert sum(v.item() for k, v in terms.items() if k != "ce") == pytest.approx(0, abs=1e-6)
