"""`crd`, `dcd`: reference numbers, formulas as slow loops, the memory and the negatives."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup, Step

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses.npz", allow_pickle=False)
B, K, N = 5, 3, 30
WIDTHS = {"sig": 7, "gaf": 9, "pi": 4}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def stored(name):
    return torch.from_numpy(ORACLE[name])


def network(width, size=B, **more):
    return Outputs(torch.randn(size, K), torch.randn(size, width), **more)


def built(name, teachers=("sig",), targets=None, size=N, student=None, **options):
    """A method in double precision, set up for teachers of these modalities; with its student and teachers' outputs."""
    student = network(6) if student is None else student
    taught = {m: network(WIDTHS[m]) for m in teachers}
    method = METHODS.get(name)(**options)
    setup = Setup(student, taught, classes=K, train_size=size, epochs=4, targets=targets)
    method.check(setup)
    method.build(setup)
    method.double()
    as_double = lambda out: replace(out, logits=out.logits.double(), embedding=out.embedding.double())  # noqa: E731
    return method, as_double(student), {m: as_double(t) for m, t in taught.items()}


def batch_of(index, targets=None):
    index = torch.as_tensor(index)
    return Batch(torch.zeros(len(index), dtype=torch.long) if targets is None else targets[index], index)


def own(terms):
    return {k: v for k, v in terms.items() if not k.endswith("ce")}


def unbalanced(size=N):
    """Classes of 15, 10 and 5 samples, in mixed order."""
    return torch.tensor([0, 1, 0, 2, 0, 1] * (size // 6))


# crd: value and gradient


def stepped(index):
    """What `after_step` sees."""
    return Step(None, batch_of(index), 0.1, None)


def reference():
    """The contrast with the stored layers and memory; how often each sample is a negative, of the stored indices."""
    from mmkd.baselines.crd import Contrast

    negatives, tau, _, _, momentum = ORACLE["crd_state_contrast_params"]
    samples, features = ORACLE["crd_state_contrast_memory_v1"].shape
    contrast = Contrast((12, 20), features, samples, float(tau), float(momentum))
    state = {
        "log_z": contrast.log_z,
        "memory": torch.stack([stored(f"crd_state_contrast_memory_v{i}") for i in (2, 1)]),
    }
    for k, name in enumerate("st"):
        for part in ("weight", "bias"):
            state[f"embed.{k}.{part}"] = stored(f"crd_state_embed_{name}_linear_{part}")
    contrast.load_state_dict(state)
    drawn = stored("crd_contrast_index")[:, 1:]
    assert drawn.shape[1] == negatives
    counts = torch.zeros(len(drawn), samples).scatter_add(1, drawn, torch.ones(drawn.shape))
    return contrast, counts


def test_crd_equals_the_reference_in_two_steps():
    contrast, counts = reference()
    student, teacher = stored("student_embedding").requires_grad_(), stored("teacher_embedding")
    first = contrast(student, teacher, stored("crd_index"), counts)
    assert first.item() == pytest.approx(float(ORACLE["crd_first_step"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(first, student)
    expected = ORACLE["crd_first_step_grad"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    contrast.remember(stored("crd_index"))
    second = contrast(student, teacher, stored("crd_index"), counts)
    assert second.item() == pytest.approx(float(ORACLE["crd_second_step"]), rel=1e-5)


def slow_crd(method, modality, student, teacher, index, targets, constants):
    """arXiv:1910.10699 with a memory, as in `crd`: h = p / (p + m/N), p = exp(s.t / tau) / Z.

    The positive's -log h and the negatives' -log(1 - h), of the student against the teacher's memory and the other way;
    all samples of other classes are negatives.
    """
    c, contrast = method.config, method.contrasts[modality]
    total = 0.0
    for side, embedding in enumerate((student, teacher)):
        memory, scores = contrast.memory[side], []
        for b, i in enumerate(index.tolist()):
            v = contrast.embed[side].weight @ embedding[b] + contrast.embed[side].bias
            v = v / v.square().sum().sqrt()
            others = [j for j in range(N) if targets[j] != targets[i]]
            scores.append([math.exp((v @ memory[j]).item() / c.tau) for j in (i, *others)])
        if len(constants) <= side:
            constants.append(N * sum(map(sum, scores)) / sum(map(len, scores)))
        for positive, *negatives in scores:
            noise = len(negatives) / N
            p = positive / constants[side]
            total -= math.log(p / (p + noise))
            total -= sum(math.log(noise / (e / constants[side] + noise)) for e in negatives)
    return total / len(index)


def test_crd_by_loops_with_classes_of_different_size():
    """Several teachers, each its memory and its share; Z of the first batch is kept for the second."""
    targets = unbalanced()
    shares = {"sig": 0.75, "pi": 0.25}
    method, student, teachers = built(
        "crd", shares, targets, weight=3, feature_size=8, teacher_weights="sig=3,pi=1", tau=0.2
    )
    constants = {m: [] for m in teachers}
    for index in (torch.tensor([0, 3, 7, 11, 20]), torch.tensor([1, 2, 3, 28, 29])):
        before = copy.deepcopy(method)
        terms = own(method.losses(student, teachers, batch_of(index, targets)))
        assert list(terms) == ["crd_sig", "crd_pi"]
        for k, (m, share) in enumerate(shares.items()):
            naive = slow_crd(before, k, student.embedding, teachers[m].embedding, index, targets, constants[m])
            assert terms[f"crd_{m}"].item() == pytest.approx(3 * share * naive, rel=1e-9)
        method.after_step(stepped(index))


def test_crd_scores_that_no_exponential_can_hold_are_finite():
    method, student, teachers = built("crd", tau=1e-3)
    method.float()
    student, teacher = student.embedding.float().requires_grad_(), teachers["sig"].embedding.float()
    loss = method.contrasts[0](student, teacher, torch.arange(B), method.negatives(torch.arange(B)))
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(student.grad).all()


# crd: the memory


def test_crd_renews_the_rows_of_the_batch_and_no_others():
    method, student, teachers = built("crd", ("sig", "gaf"), momentum=0.3)
    index = torch.tensor([4, 9, 0, 21, 13])
    before = [c.memory.clone() for c in method.contrasts]
    terms = own(method.losses(student, teachers, batch_of(index)))
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.equal(c.memory, old) for c, old in zip(method.contrasts, before, strict=True))
    method.after_step(stepped(index))
    left = torch.tensor([i for i in range(N) if i not in index])
    for contrast, old, teacher in zip(method.contrasts, before, teachers.values(), strict=True):
        new = contrast.memory
        torch.testing.assert_close(new.norm(dim=2), torch.ones(2, N, dtype=torch.double))
        assert torch.equal(new[:, left], old[:, left])
        for side, embedding in enumerate((teacher.embedding, student.embedding)):
            fresh = F.normalize(contrast.embed[1 - side](embedding), dim=1)
            mixed = F.normalize(0.3 * old[side, index] + 0.7 * fresh, dim=1)
            torch.testing.assert_close(new[side, index], mixed.detach())
            assert not torch.isclose(new[side, index], old[side, index]).all(1).any()


def test_crd_takes_a_sample_that_comes_twice_once():
    method, _, _ = built("crd")
    contrast = method.contrasts[0]
    once = copy.deepcopy(contrast)
    vectors = F.normalize(torch.randn(2, 4, 128, dtype=torch.double), dim=2)
    contrast.seen, once.seen = vectors, vectors[:, :2]
    contrast.remember(torch.tensor([5, 8, 5, 5]))
    once.remember(torch.tensor([5, 8]))
    assert torch.equal(contrast.memory, once.memory)


def test_crd_a_loss_that_is_only_looked_at_leaves_the_memory():
    method, student, teachers = built("crd")
    contrast = method.contrasts[0]
    before = contrast.memory.clone()
    first = method.losses(student, teachers, batch_of(range(B)))["crd_sig"]
    again = method.losses(student, teachers, batch_of(range(B)))["crd_sig"]
    with torch.no_grad():
        method.losses(student, teachers, batch_of(range(B)))
    assert torch.equal(contrast.memory, before)
    assert first.item() == again.item()
    method.after_step(stepped(torch.arange(B)))
    assert not torch.equal(contrast.memory, before)
    assert not contrast.memory.requires_grad


def test_crd_constants_are_set_once_and_travel_with_the_state():
    method, student, teachers = built("crd", targets=unbalanced())
    contrast = method.contrasts[0]
    assert torch.isinf(contrast.log_z).all()
    method.losses(student, teachers, batch_of(range(B)))["crd_sig"].backward()
    kept = contrast.log_z.clone()
    assert torch.isfinite(kept).all()
    other, _, _ = built("crd", targets=torch.zeros(N, dtype=torch.long))
    other.load_state_dict(method.state_dict())
    batch = batch_of([7, 8, 20, 21, 22])
    one, two = (m.losses(student, teachers, batch)["crd_sig"].item() for m in (method, other))
    assert one == two
    assert torch.equal(contrast.log_z, kept)
    assert torch.equal(other.contrasts[0].log_z, kept)


# crd: the negatives


@pytest.mark.parametrize("wanted", [1, 7, 15, 20, 16384])
def test_crd_negatives_are_of_other_classes_and_as_many_as_there_are(wanted):
    targets = unbalanced()
    method, _, _ = built("crd", targets=targets, negatives=wanted)
    index = torch.arange(N)
    for _ in range(20):
        negatives = method.negatives(index)
        assert negatives.dtype == torch.bool
        assert not negatives[targets[:, None] == targets].any(), "of its own class, itself among them"
        others = torch.tensor([{0: 15, 1: 20, 2: 25}[k] for k in targets.tolist()])
        assert torch.equal(negatives.sum(1), others.clamp(max=wanted))


@pytest.mark.parametrize("targets", [None, torch.full((N,), 2)])
@pytest.mark.parametrize("wanted", [4, 16384])
def test_crd_negatives_are_all_others_without_classes_or_with_one(targets, wanted):
    method, student, teachers = built("crd", targets=targets, negatives=wanted)
    negatives = method.negatives(torch.arange(N))
    assert not negatives.diagonal().any()
    assert (negatives.sum(1) == min(wanted, N - 1)).all()
    assert math.isfinite(method.losses(student, teachers, batch_of(range(B)))["crd_sig"].item())


def test_crd_negatives_are_drawn_evenly_and_apart_for_each_sample():
    targets = unbalanced()
    method, _, _ = built("crd", targets=targets, negatives=5)
    index = torch.tensor([3, 3, 0])
    draws = torch.stack([method.negatives(index) for _ in range(3000)]).double()
    found = draws.mean(0)
    assert found[0][targets != 2].numpy() == pytest.approx(5 / 25, abs=0.04)
    assert found[2][targets != 0].numpy() == pytest.approx(5 / 15, abs=0.05)
    both = (draws[:, 0] * draws[:, 1]).sum(1).mean().item()
    assert both == pytest.approx(5 * 5 / 25, abs=0.1), "two rows of one class share no more than chance has it"


def test_crd_draws_by_the_seed_of_torch():
    method, student, teachers = built("crd", negatives=3)

    def loss(seed):
        torch.manual_seed(seed)
        return method.losses(student, teachers, batch_of(range(B)))["crd_sig"].item()

    loss(0)
    assert loss(5) == loss(5)
    assert loss(5) != loss(6)


def test_crd_refuses_a_training_set_without_a_negative():
    with pytest.raises(MmkdError, match="--method"):
        built("crd", size=1)
    method, student, teachers = built("crd", size=2, student=network(6, 1))
    one = {m: replace(t, embedding=t.embedding[:1]) for m, t in teachers.items()}
    assert math.isfinite(method.losses(student, one, batch_of([1]))["crd_sig"].item())


# dcd


def slow_dcd(scorer, student, teacher, alpha):
    """The authors' public code as sums: contrast over rows, KL(column i || row i) over i; without their inert bias."""

    def vector(layer, x):
        v = layer.weight @ x + layer.bias
        return v / v.square().sum().sqrt()

    count = len(student)
    scale = min(scorer.log_scale.exp().item(), scorer.max_scale)
    s = [vector(scorer.embed[0], x) for x in student]
    t = [vector(scorer.embed[1], x) for x in teacher]
    e = [[(scale * (a @ b)).exp() for b in t] for a in s]
    total = 0.0
    for i in range(count):
        row = [e[i][j] / sum(e[i]) for j in range(count)]
        column = [e[j][i] / sum(e[k][i] for k in range(count)) for j in range(count)]
        total = total - row[i].log()
        total = total + alpha * sum(q * (q / p).log() for p, q in zip(row, column, strict=True))
    return total / count


@pytest.mark.parametrize("log_scale", [1.0, 2.0])
def test_dcd_by_loops(log_scale):
    method, student, teachers = built(
        "dcd", ("sig", "gaf"), weight=2, alpha=0.7, log_scale=log_scale, feature_size=5, teacher_weights="sig=1,gaf=4"
    )
    student.embedding.requires_grad_()
    terms = own(method.losses(student, teachers, batch_of(range(B))))
    assert list(terms) == ["dcd_sig", "dcd_gaf"]
    for scorer, (m, teacher), share in zip(method.scorers, teachers.items(), (0.2, 0.8), strict=True):
        naive = 2 * share * slow_dcd(scorer, student.embedding, teacher.embedding, 0.7)
        assert terms[f"dcd_{m}"].item() == pytest.approx(naive.item(), rel=1e-9)
        found, expected = (torch.autograd.grad(x, student.embedding)[0] for x in (terms[f"dcd_{m}"], naive))
        torch.testing.assert_close(found, expected)


def test_dcd_at_its_highest_factor_by_loops():
    method, student, teachers = built("dcd", max_scale=3)
    method.scorers[0].log_scale.data.fill_(2.0)
    found = own(method.losses(student, teachers, batch_of(range(B))))["dcd_sig"].item()
    naive = slow_dcd(method.scorers[0], student.embedding, teachers["sig"].embedding, 0.5)
    assert found == pytest.approx(naive.item(), rel=1e-9)


def test_dcd_a_bias_on_the_scores_does_nothing():
    """Why the bias of the authors' code is left out."""
    from mmkd.baselines.dcd import consistency, contrast

    scores = torch.randn(B, B, dtype=torch.double)
    bias = torch.tensor(0.0, dtype=torch.double, requires_grad=True)
    for loss in (contrast, consistency):
        assert loss(scores + 3).item() == pytest.approx(loss(scores).item(), rel=1e-12)
        (gradient,) = torch.autograd.grad(loss(scores + bias), bias)
        assert abs(gradient.item()) < 1e-12


def test_dcd_consistency_is_0_where_both_ways_agree():
    from mmkd.baselines.dcd import consistency

    scores = torch.randn(B, B, dtype=torch.double)
    assert abs(consistency(scores + scores.T).item()) < 1e-12
    assert consistency(scores).item() > 0.1


def test_dcd_is_lower_for_the_right_teacher_than_for_another_windows():
    method, student, _ = built("dcd", student=network(7))
    scorer = method.scorers[0]
    scorer.embed[1].load_state_dict(scorer.embed[0].state_dict())
    same, moved = student, replace(student, embedding=student.embedding.roll(1, 0))
    right, wrong = (
        own(method.losses(student, {"sig": t}, batch_of(range(B))))["dcd_sig"].item() for t in (same, moved)
    )
    assert right < wrong


def test_dcd_the_temperature_trains():
    method, student, teachers = built("dcd", ("sig", "pi"))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    losses = []
    for _ in range(30):
        loss = torch.stack(list(own(method.losses(student, teachers, batch_of(range(B)))).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(scorer.log_scale.item() > 1.2 for scorer in method.scorers), "pairs that are told apart: sharper"


def test_dcd_refuses_a_factor_that_cannot_train():
    with pytest.raises(MmkdError, match="--max-scale"):
        built("dcd", log_scale=2.5)


def test_dcd_refuses_one_training_window():
    with pytest.raises(MmkdError, match="--method"):
        built("dcd", size=1)


# both


@pytest.mark.parametrize("name", ["crd", "dcd"])
@pytest.mark.parametrize(
    ("pairs", "met"), [("fused", ("fused", "fused")), ("same", ("sig", "gaf")), ("all", ("sig", "sig"))]
)
def test_pairs_say_whose_embedding_meets_a_teacher(name, pairs, met):
    parts = {"fused": network(6), "sig": network(8), "gaf": network(5)}
    student = replace(parts["fused"], branches={m: parts[m] for m in ("sig", "gaf")})
    method, _, teachers = built(name, ("sig", "gaf"), student=student, pairs=pairs)
    method.float()
    teachers = {m: replace(t, embedding=t.embedding.float()) for m, t in teachers.items()}
    for part in parts.values():
        part.embedding.requires_grad_()
    terms = own(method.losses(student, teachers, batch_of(range(B))))
    for m, expected in zip(("sig", "gaf"), met, strict=True):
        wanted = [p.embedding for p in parts.values()]
        grads = torch.autograd.grad(terms[f"{name}_{m}"], wanted, allow_unused=True)
        assert [p for p, g in zip(parts, grads, strict=True) if g is not None] == [expected]
