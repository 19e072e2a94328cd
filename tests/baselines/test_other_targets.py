"""`shuffled-teacher`, `noise-logits`, `random-teacher`, `pseudo-label`: reference numbers and what each keeps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup, Teaching, entropy_factor, mean_entropy
from mmkd.baselines import other_targets
from mmkd.core.keys import seed_for

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "controls.npz", allow_pickle=False)
STUDENT, TEACHER, TARGETS = (torch.from_numpy(ORACLE[key]) for key in ("logits_student", "logits_teacher", "target"))
B, K = STUDENT.shape
NAMES = ("shuffled-teacher", "noise-logits", "random-teacher")


def soft_loss(name, teacher, **options):
    """The term "kd" with l = 1 from these logits, and its gradient for the student's."""
    own = STUDENT.double().clone().requires_grad_()
    method = METHODS.get(name)(kd_weight=1, **options)
    found = method.losses(Outputs(own, own), {"sig": Outputs(teacher, teacher)}, Batch(TARGETS, torch.arange(B)))
    found["kd"].backward()
    assert set(found) == {"ce", "kd"}
    assert found["ce"].item() == 0
    return found["kd"].item(), own.grad.numpy()


def assert_reference(found, key):
    value, gradient = found
    assert value == pytest.approx(float(ORACLE[key]), rel=1e-6)
    np.testing.assert_allclose(gradient, ORACLE[f"{key}_grad"], rtol=0, atol=1e-6)


def teaching(logits, targets, copies=1, seed=0, labelled=None, untrained=None):
    """What the hook receives, of teachers with a table of logits: modality -> (copies N, K)."""
    n = len(targets)

    def read(index, copy, number):
        rows = index + n * copy
        return {name: Outputs(values[rows], values[rows]) for name, values in logits.items()}

    def batches():
        for rows in torch.arange(n * copies).split(3):
            yield rows % n, {name: values[rows] for name, values in logits.items()}

    return Teaching(
        teachers=tuple(logits),
        targets=targets,
        labelled=labelled,
        classes=next(iter(logits.values())).shape[1],
        device=torch.device("cpu"),
        read=read,
        logits=batches,
        generator=lambda role: torch.Generator().manual_seed(seed_for(seed, role)),
        untrained=untrained or (lambda: pytest.fail("no network was to be made")),
    )


def read_all(replacement, n, copy=0, number=0):
    """Modality -> the logits (n, K) of all windows."""
    found = replacement.read(torch.arange(n), torch.full((n,), copy), number)
    return {name: outputs.logits for name, outputs in found.items()}


# shuffled-teacher


def test_a_shuffled_teacher_equals_the_reference():
    within = ORACLE["own_shuffle_within_class"]
    assert (TARGETS[within] == TARGETS).all()
    assert_reference(soft_loss("shuffled-teacher", TEACHER.double()[within]), "own_shuffled_kd_T4")


def shuffled(n=30, classes=3, seed=0, teachers=("sig", "gaf"), copies=1, targets=None, **options):
    """What is taught, and the tables of logits, in which each row is told from every other one."""
    targets = torch.arange(n) % classes if targets is None else targets
    logits = {m: torch.arange(n * copies)[:, None] + 1000.0 * torch.rand(1, classes) for m in teachers}
    replacement = METHODS.get("shuffled-teacher")(**options).retarget(teaching(logits, targets, copies, seed))
    return replacement, logits, targets


def partners(replacement, logits, n, copy=0, number=0, name="sig"):
    """Whose outputs each window gets."""
    taught = read_all(replacement, n, copy, number)[name]
    return (taught[:, :1] == logits[name][:, 0]).nonzero()[:, 1]


def test_within_a_class_every_window_gets_the_target_of_another_one():
    replacement, logits, targets = shuffled()
    pi = partners(replacement, logits, 30)
    assert sorted(pi.tolist()) == list(range(30))
    assert (targets[pi] == targets).all()
    assert (pi != torch.arange(30)).all()
    assert replacement.facts == {"windows": 30, "windows_with_their_own_target": 0}
    taught = read_all(replacement, 30)
    for name, table in logits.items():
        for k in range(3):  # the mean target of a class is as before
            torch.testing.assert_close(taught[name][targets == k].mean(0), table[targets == k].mean(0))
    assert torch.equal(partners(replacement, logits, 30, name="gaf"), pi), "the same for all teachers"


def test_over_all_windows_classes_are_mixed():
    replacement, logits, targets = shuffled(scope="any")
    pi = partners(replacement, logits, 30)
    assert sorted(pi.tolist()) == list(range(30))
    assert (pi != torch.arange(30)).all()
    assert 5 < (targets[pi] != targets).sum() < 30


def test_a_class_of_one_window_keeps_its_target_and_is_counted():
    targets = torch.tensor([0, 0, 0, 1, 2, 2])
    replacement, logits, _ = shuffled(n=6, targets=targets)
    pi = partners(replacement, logits, 6)
    assert pi[3] == 3
    assert (pi != torch.arange(6)).sum() == 5
    assert replacement.facts["windows_with_their_own_target"] == 1


def test_it_is_drawn_once_from_the_seed_or_in_each_pass():
    once, logits, _ = shuffled()
    first = partners(once, logits, 30)
    assert torch.equal(partners(once, logits, 30, number=5), first)
    again, own, _ = shuffled()
    assert torch.equal(partners(again, own, 30), first)
    other, own, _ = shuffled(seed=1)
    assert not torch.equal(partners(other, own, 30), first)
    anew, own, targets = shuffled(redraw="epoch")
    passes = [partners(anew, own, 30, number=number) for number in (0, 1, 2, 1)]
    assert torch.equal(passes[1], passes[3])
    assert len({tuple(pi.tolist()) for pi in passes}) == 3
    assert all((targets[pi] == targets).all() and (pi != torch.arange(30)).all() for pi in passes)


def test_copies_of_a_window_share_the_partner_and_keep_their_number():
    replacement, logits, _ = shuffled(copies=3)
    pi = partners(replacement, logits, 30)
    for copy in range(3):
        assert torch.equal(partners(replacement, logits, 30, copy=copy), pi + 30 * copy)


# noise-logits


def test_noise_of_the_same_entropy_equals_the_reference():
    noise = torch.from_numpy(ORACLE["own_noise_gauss"]).double()
    entropy = torch.from_numpy(ORACLE["own_noise_teacher_entropy_T4"])
    log_p = torch.log_softmax(TEACHER.double() / 4, 1)
    torch.testing.assert_close(-(log_p.exp() * log_p).sum(1), entropy)
    entropies = other_targets.class_entropies(teaching({"sig": TEACHER}, TARGETS), 4.0)["sig"]
    found = other_targets.match_classes(noise, TARGETS, entropies, 4.0)
    np.testing.assert_allclose(found, ORACLE["own_noise_logits"], rtol=1e-5)
    factors = ORACLE["own_noise_scale"]
    np.testing.assert_allclose(found / noise, factors[:, None].repeat(K, 1), rtol=1e-5)
    assert_reference(soft_loss("noise-logits", found), "own_noise_kd_T4")


def noisy(n=60, classes=4, copies=1, seed=0, **options):
    targets = torch.arange(n) % classes
    torch.manual_seed(5)
    logits = {m: size * torch.randn(n * copies, classes) for m, size in (("sig", 3.0), ("gaf", 9.0))}
    replacement = METHODS.get("noise-logits")(**options).retarget(teaching(logits, targets, copies, seed))
    return replacement, logits, targets


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_entropy_of_each_class_is_that_of_each_teacher(temperature):
    replacement, logits, targets = noisy(copies=2, temperature=temperature)
    taught = read_all(replacement, 60)
    for name, table in logits.items():
        for k in range(4):
            expected = mean_entropy(table[targets.repeat(2) == k], temperature)
            assert mean_entropy(taught[name][targets == k], temperature) == pytest.approx(expected, abs=1e-3)
    first, second = (values[:, :1] / values[:, 1:2] for values in taught.values())
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)  # the same noise, scaled
    assert not torch.allclose(taught["sig"], taught["gaf"])


def test_noise_is_drawn_once_for_a_window_and_its_copies():
    replacement, _, _ = noisy(copies=2)
    first = read_all(replacement, 60)["sig"]
    for copy, number in ((0, 3), (1, 0), (1, 7)):
        assert torch.equal(read_all(replacement, 60, copy, number)["sig"], first)
    assert not torch.equal(read_all(noisy(copies=2, seed=1)[0], 60)["sig"], first)


def test_how_often_the_noise_is_right():
    replacement, _, targets = noisy(n=2000)
    right = (read_all(replacement, 2000)["sig"].argmax(1) == targets).double().mean().item()
    assert replacement.facts == {"windows": 2000, "share_with_label_largest": pytest.approx(right)}
    assert right == pytest.approx(1 / 4, abs=0.04)
    ranked, _, _ = noisy(n=2000, rank="rank")
    taught = read_all(ranked, 2000)["sig"]
    assert (taught.argmax(1) == targets).all()
    assert ranked.facts["share_with_label_largest"] == 1
    sums = read_all(replacement, 2000)["sig"].sort(1).values
    for values, others in ((taught.sort(1).values, sums),):  # exchanged, not changed: the factors hardly differ
        torch.testing.assert_close(values, others, rtol=1e-3, atol=1e-3)


def test_the_share_counts_windows_with_a_label_alone():
    targets = torch.arange(400) % 4
    labelled = torch.arange(400) < 40
    table = {"sig": torch.randn(400, 4)}
    replacement = METHODS.get("noise-logits")().retarget(teaching(table, targets, labelled=labelled))
    right = read_all(replacement, 400)["sig"].argmax(1) == targets
    assert replacement.facts["share_with_label_largest"] == pytest.approx(right[:40].double().mean().item())


# random-teacher


def random_case(**options):
    torch.manual_seed(3)
    targets = torch.arange(40) % 4
    own = {"sig": 5 * torch.randn(40, 4), "gaf": torch.randn(40, 4)}
    theirs = {"sig": 0.02 * torch.randn(40, 4) + 0.1, "gaf": 0.05 * torch.randn(40, 4)}
    untrained = teaching(theirs, targets)
    replacement = METHODS.get("random-teacher")(**options).retarget(teaching(own, targets, untrained=lambda: untrained))
    return read_all(replacement, 40), own, theirs, replacement.facts


def test_an_untrained_teacher_is_as_sure_as_the_trained_one():
    taught, own, theirs, facts = random_case()
    for name in own:
        assert mean_entropy(taught[name], 4.0) == pytest.approx(mean_entropy(own[name], 4.0), abs=1e-3)
        assert facts[f"entropy_{name}"] == pytest.approx(mean_entropy(own[name], 4.0), abs=1e-3)
        torch.testing.assert_close(taught[name], facts[f"factor_{name}"] * theirs[name])  # one factor, of its own
        assert mean_entropy(theirs[name], 4.0) > 0.99 * np.log(4)


def test_without_a_match_it_is_nearly_uniform():
    taught, _, theirs, facts = random_case(match="none")
    assert all(torch.equal(taught[name], theirs[name]) for name in theirs)
    assert set(facts) == {"entropy_sig", "entropy_gaf"}
    assert min(facts.values()) > 0.99 * np.log(4)


# pseudo-label


def test_pseudo_labels_are_those_of_the_highest_mean_probability():
    own = STUDENT.double().clone().requires_grad_()
    teachers = {"sig": TEACHER.double(), "gaf": 2 * TEACHER.double().flip(1)}
    labelled = torch.arange(B) < 3
    batch = Batch(torch.where(labelled, TARGETS, -1), torch.arange(B), labelled=labelled)
    method = METHODS.get("pseudo-label")(kd_weight=0.6)
    found = method.losses(Outputs(own, own), {m: Outputs(t, t) for m, t in teachers.items()}, batch)
    assert set(found) == {"ce", "pseudo"}
    total = 0.0
    for row in range(B):
        mean = [sum(float(t[row].softmax(0)[k]) for t in teachers.values()) for k in range(K)]
        total -= float(own[row].detach().log_softmax(0)[int(np.argmax(mean))])
    assert found["pseudo"].item() == pytest.approx(0.6 * total / B, rel=1e-9)
    hard = torch.nn.functional.cross_entropy(own[:3], TARGETS[:3])
    assert found["ce"].item() == pytest.approx(0.4 * hard.item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(found["pseudo"], own)
    assert (gradient.abs().sum(1) > 0).all(), "windows without a label learn too"


def test_shares_weigh_the_votes():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    student = Outputs(torch.tensor([[1.0, -1.0]]), a)
    losses = []
    for weights in ("sig=0.9,gaf=0.1", "sig=0.1,gaf=0.9"):
        method = METHODS.get("pseudo-label")(kd_weight=1, teacher_weights=weights)
        teachers = {"sig": Outputs(a, a), "gaf": Outputs(b, b)}
        losses.append(method.losses(student, teachers, Batch(torch.tensor([0]), torch.arange(1)))["pseudo"].item())
    assert losses[0] == pytest.approx(np.log1p(np.exp(-2)), rel=1e-5)
    assert losses[1] == pytest.approx(2 + losses[0], rel=1e-5)


# refusals and tools


def setup(**changes):
    outputs = Outputs(torch.zeros(4, 3), torch.zeros(4, 3))
    usual = {"targets": torch.arange(30) % 3, "unlabelled": 4}
    return Setup(outputs, {"sig": outputs}, 3, 30, 2, **{**usual, **changes})


@pytest.mark.parametrize(
    ("name", "options", "changes", "reason"),
    [
        ("shuffled-teacher", {}, {"mixes": True}, "--augment"),
        ("noise-logits", {}, {"mixes": True}, "--augment"),
        ("pseudo-label", {}, {"mixes": True}, "--augment"),
        ("pseudo-label", {}, {"unlabelled": 0}, "--labelled-subjects N or --labelled-windows N"),
        ("noise-logits", {"temperature_schedule": "linear:1,4"}, {}, "--temperature-schedule"),
        ("random-teacher", {"temperature_schedule": "linear:1,4"}, {}, "--temperature-schedule"),
        ("shuffled-teacher", {}, {"targets": torch.tensor([0, 1, 1]), "unlabelled": 0}, "--shuffled-teacher.scope any"),
        ("shuffled-teacher", {}, {"subjects": torch.arange(30) % 6}, "one class only"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, changes, reason):
    method = METHODS.get(name)(**options)
    with pytest.raises(MmkdError, match=reason):
        method.check(setup(**changes))
    METHODS.get(name)().check(setup())


def test_what_is_not_refused():
    one = {"targets": torch.tensor([0, 1, 1]), "unlabelled": 0}
    METHODS.get("shuffled-teacher")(scope="any").check(setup(**one))
    METHODS.get("shuffled-teacher")().check(setup(**{**one, "unlabelled": 9}))
    METHODS.get("random-teacher")(match="none", temperature_schedule="linear:1,4").check(setup(mixes=True))


def test_the_factor_of_an_entropy():
    torch.manual_seed(2)
    logits = torch.randn(50, 5)
    slow = -np.mean([sum(p * np.log(p) for p in (row / 3).softmax(0).tolist()) for row in logits.double()])
    assert mean_entropy(logits, 3.0) == pytest.approx(slow, rel=1e-9)
    for entropy in (0.01, 0.5, 1.5):
        factor = entropy_factor(logits, 3.0, entropy)
        assert mean_entropy(factor * logits.double(), 3.0) == pytest.approx(entropy, abs=1e-9)
    assert entropy_factor(logits, 3.0, 99.0) == pytest.approx(1e-6, rel=1e-3)
    assert mean_entropy(entropy_factor(logits, 3.0, 0.0) * logits.double(), 3.0) == 0
