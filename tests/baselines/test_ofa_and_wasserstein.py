"""`ofa` and `wkd-f`: reference numbers, slow loops, identities, and what is refused or deployed."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from mmkd.baselines.ofa import Head, make_head
from mmkd.baselines.wkd_f import cells, moment_distances, remaining

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses2.npz", allow_pickle=False)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def assert_reference(value, gradient, key):
    assert value.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)
    expected = ORACLE[f"{key}_grad"]
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def logits_case():
    s, t, y = (torch.from_numpy(ORACLE[key]) for key in ("logits_student", "logits_teacher", "target"))
    student = Outputs(s.clone().requires_grad_(), s, {"stage1": torch.randn(8, 4, 9), "stage2": torch.randn(8, 8, 5)})
    return student, {"sig": Outputs(t, t)}, Batch(y, torch.arange(8))


def built(name, student, teachers, batch, classes=6, **options):
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, classes, len(batch.targets), batch.epochs, batch.targets)
    method.check(setup)
    method.build(setup)
    return method


# ofa


@pytest.mark.parametrize(("eps", "temperature"), [(1.0, 1), (1.5, 1), (1.2, 2)])
def test_ofa_equals_the_reference(eps, temperature):
    student, teachers, batch = logits_case()
    method = built("ofa", student, teachers, batch, eps=eps, temperature=temperature, stage_weight=0)
    assert not list(method.parameters())
    term = method.losses(student, teachers, batch)["ofa_logits"]
    term.backward()
    assert_reference(term, student.logits.grad, f"ofa_eps{eps}_T{temperature}")


def test_a_head_of_ofa_equals_the_reference():
    """MST-Distill's projector of two blocks: output and gradient for the map, in training mode."""
    head = Head([4, 8, 12], (8, 6), 6)
    prefix = "ofa_projector_state."
    own, theirs = list(head.state_dict()), [k for k in ORACLE.files if k.startswith(prefix)]
    tracked = [name for name in own if not name.endswith("num_batches_tracked")]
    assert len(tracked) == len(theirs)
    pairs = zip(tracked, theirs, strict=True)
    head.load_state_dict({mine: torch.from_numpy(ORACLE[key]) for mine, key in pairs}, strict=False)
    x = torch.from_numpy(ORACLE["ofa_projector_in"]).requires_grad_()
    found = head(x)
    np.testing.assert_allclose(found.detach(), ORACLE["ofa_projector_out"], rtol=1e-4, atol=1e-5)
    found.backward(torch.from_numpy(ORACLE["ofa_projector_grad_out"]))
    expected = ORACLE["ofa_projector_in_grad"]
    np.testing.assert_allclose(x.grad, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_at_eps_1_ofa_has_the_gradient_of_soft_targets():
    student, teachers, batch = logits_case()
    for name, key, options in (("ofa", "ofa_logits", {"eps": 1}), ("kd", "kd", {"kd_weight": 1, "temperature": 1})):
        term = built(name, student, teachers, batch, **options).losses(student, teachers, batch)[key]
        (gradient,) = torch.autograd.grad(term, student.logits)
        if name == "ofa":
            found, value = gradient, term.item()
    torch.testing.assert_close(found, gradient)
    p = teachers["sig"].logits.softmax(1)
    assert value - term.item() == pytest.approx(-(p * p.log()).sum(1).mean().item(), rel=1e-4), "the teacher's entropy"


def test_ofa_adds_the_heads_of_all_stages():
    """Each as on the student's own logits, by slow loops over windows and classes."""
    student, teachers, batch = logits_case()
    method = built("ofa", student, teachers, batch, logit_weight=2, stage_weight=3).eval()
    eps, p = 1.5, teachers["sig"].logits.double().softmax(1)

    def naive(logits):
        total = 0.0
        for b, y in enumerate(batch.targets.tolist()):
            q = logits[b].detach().double().softmax(0)
            for k in range(6):
                weight = (p[b, k] + 1) ** eps - 1 if k == y else p[b, k] ** eps
                total -= (weight * q[k].log()).item() / 8
        return total

    heads = [head(x) for head, x in zip(method.heads, student.features.values(), strict=True)]
    terms = method.losses(student, teachers, batch)
    assert terms["ofa_logits"].item() == pytest.approx(2 * naive(student.logits), rel=1e-5)
    assert terms["ofa_stages"].item() == pytest.approx(3 * sum(naive(z) for z in heads), rel=1e-5)
    assert built("ofa", student, teachers, batch, stages="last").heads[0].blocks[0].in_channels == 8


@pytest.mark.parametrize("size", [(9,), (2,), (1,), (8, 6), (3, 1), (1, 1)])
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_heads_fit_maps_of_any_size(size, blocks):
    x = torch.randn(5, 4, *size)
    head = make_head(x, blocks, 3)
    assert head(x).shape == (5, 3)
    strides = [m.stride for m in head.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Conv2d)]
    sides = list(size)
    for stride in strides:
        assert all(step == 1 or side > 2 for step, side in zip(stride, sides, strict=True))
        sides = [-(-side // step) for step, side in zip(stride, sides, strict=True)]
    if blocks and max(size) > 2:
        assert min(sides) < min(size) or min(size) <= 2
    assert len(strides) == max(4 * blocks, 1)
    assert make_head(torch.randn(5, 4), blocks, 3)(torch.randn(5, 4)).shape == (5, 3)


def test_heads_of_ofa_are_not_deployed():
    student, teachers, batch = logits_case()
    method = built("ofa", student, teachers, batch)
    network = torch.nn.Linear(2, 2)
    assert method.deploy(network) is network
    assert sum(p.numel() for p in method.parameters()) > 0


def test_ofa_needs_maps_of_the_student_alone():
    student, teachers, batch = logits_case()
    bare = replace(student, features={})
    with pytest.raises(MmkdError, match="--student-net"):
        built("ofa", bare, teachers, batch)
    assert built("ofa", bare, teachers, batch, stage_weight=0).losses(bare, teachers, batch)["ofa_stages"] == 0


# wkd-f


@pytest.mark.parametrize(("maps", "grid"), [("2d", 1), ("2d", 2), ("2d", 3), ("1d", 1)])
def test_moments_equal_the_reference(maps, grid):
    s, t = (torch.from_numpy(ORACLE[f"map{maps}_{who}"]) for who in ("student", "teacher"))
    s.requires_grad_()
    for number, name in enumerate(("mean", "std")):
        distance = moment_distances(s, t, grid)[number]
        (gradient,) = torch.autograd.grad(distance, s)
        assert_reference(distance, gradient, f"wkd_f_{maps}_grid{grid}_{name}")


def test_moments_by_slow_loops():
    s, t = torch.randn(3, 2, 7).double(), torch.randn(3, 2, 4, 5).double()
    means = deviations = 0.0
    for b in range(3):
        for c in range(2):
            one, other = s[b, c].flatten().numpy(), t[b, c].flatten().numpy()
            means += (one.mean() - other.mean()) ** 2 / 3
            deviations += (np.sqrt(one.var(ddof=1) + 1e-5) - np.sqrt(other.var(ddof=1) + 1e-5)) ** 2 / 3
    found = moment_distances(s, t)
    assert [x.item() for x in found] == pytest.approx([means, deviations], rel=1e-10)


def test_positions_have_no_order_and_a_line_is_an_image_of_one_row():
    s, t = torch.randn(3, 2, 8), torch.randn(3, 2, 4, 4)
    found = torch.stack(moment_distances(s, t))
    torch.testing.assert_close(torch.stack(moment_distances(s[..., torch.randperm(8)], t)), found)
    torch.testing.assert_close(torch.stack(moment_distances(s[:, :, None], t)), found)
    shuffled = t.flatten(2)[..., torch.randperm(16)].unflatten(2, (4, 4))
    assert moment_distances(t, shuffled, 2)[0] > 1e-3


def test_cells_overlap_where_the_grid_does_not_divide():
    assert [cell[0, 0].tolist() for cell in cells(torch.arange(5.0).view(1, 1, 5), 2)] == [[0, 1, 2], [2, 3, 4]]


def maps_case(student_size=(8,), teacher_size=(4, 4), **more):
    s = Outputs(torch.randn(6, 3), torch.randn(6, 3), {"stage1": torch.randn(6, 5, *student_size, requires_grad=True)})
    t = Outputs(torch.randn(6, 3), torch.randn(6, 3), {"stage1": torch.randn(6, 7, *teacher_size).relu()})
    return s, {"gaf": t}, Batch(torch.arange(6) % 3, torch.arange(6), **more)


def test_the_weight_of_wkd_f_is_20_over_the_channels_and_the_means_count_4_times():
    student, teachers, batch = maps_case()
    method = built("wkd-f", student, teachers, batch, classes=3)
    projected = method.projectors[0](student.features["stage1"])
    assert projected.min() == 0
    means, deviations = moment_distances(projected, teachers["gaf"].features["stage1"])
    term = method.losses(student, teachers, batch)["wkd_f_gaf"]
    assert term.item() == pytest.approx(20 / 7 * (4 * means + deviations).item(), rel=1e-5)
    other = built("wkd-f", student, teachers, batch, classes=3, weight=3, mean_ratio=0)
    other.load_state_dict(method.state_dict())
    assert other.losses(student, teachers, batch)["wkd_f_gaf"].item() == pytest.approx(3 * deviations.item(), rel=1e-4)


def test_maps_with_negative_values_are_met_without_relu():
    student, teachers, batch = maps_case()
    teachers["gaf"].features["stage1"][0, 0, 0, 0] = -1.0
    method = built("wkd-f", student, teachers, batch, classes=3)
    assert method.projectors[0](student.features["stage1"]).min() < 0


def test_the_weight_falls_after_five_eighths():
    factors = [remaining(epoch, 16, 5 / 8) for epoch in range(16)]
    assert factors[:11] == [1.0] * 11
    assert factors[13] == pytest.approx(0.5)
    assert all(a > b > 0 for a, b in pairwise(factors[10:]))
    assert {remaining(epoch, 16, 1.0) for epoch in range(16)} == {1.0}
    student, teachers, batch = maps_case(epochs=16)
    method = built("wkd-f", student, teachers, batch, classes=3)
    terms = [
        method.losses(student, teachers, Batch(batch.targets, batch.index, epoch, 16))["wkd_f_gaf"].item()
        for epoch in (0, 13)
    ]
    assert terms[1] == pytest.approx(terms[0] / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        (((8,), (1, 1)), {}, "one position"),
        (((), (4, 4)), {}, "one position"),
        (((8,), (4, 4)), {"grid": 2}, "equal rank"),
        (((8,), (3,)), {"grid": 3}, "one position"),
        (((8,), (3,)), {"grid": 9}, "one position"),
    ],
)
def test_maps_without_a_deviation_are_refused(sizes, options, words):
    student, teachers, batch = maps_case(*sizes)
    with pytest.raises(MmkdError, match=words) as caught:
        built("wkd-f", student, teachers, batch, classes=3, **options)
    assert "--" in str(caught.value)
