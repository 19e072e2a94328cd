"""`freekd` with `prompts=trained`: the stage that learns prompts, by reference numbers, slow loops and properties."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmkd.baselines.freekd import position_loss
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.frequency import haar_bands, prompt_dice, prompt_masks, prompted_map
from mmkd.training.setup import build_method

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses2_bands.npz", allow_pickle=False)
N, K, C = 48, 3, 4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(8)


def test_the_stage_equals_the_reference():
    x = torch.from_numpy(ORACLE["freekd_map_teacher"])
    prompts = torch.from_numpy(ORACLE["freekd_prompts"]).requires_grad_()
    found, dice = prompted_map(x, prompts)
    expected = ORACLE["freekd_prompt_stage_map"]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert dice.item() == pytest.approx(float(ORACLE["freekd_prompt_stage_dice"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(dice, prompts)
    expected = ORACLE["freekd_prompt_stage_dice_grad_prompts"]
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_loss_under_its_prompts_equals_the_reference():
    s, t = (torch.from_numpy(ORACLE[f"freekd_map_{who}"]) for who in ("student", "teacher"))
    s.requires_grad_()
    student = Outputs(torch.randn(3, K), s.mean((2, 3)), {"stage1": s})
    teachers = {"gaf": Outputs(torch.randn(3, K), t.mean((2, 3)), {"stage1": t})}
    method = METHODS.get("freekd")(prompts="trained")
    build_method(method, Setup(student, teachers, K, 60, 6), 0)
    torch.nn.init.dirac_(method.adapters[0].weight)
    torch.nn.init.zeros_(method.adapters[0].bias)
    assert method.prompts_0.shape == (4, 2, 6)
    method.prompts_0.copy_(torch.from_numpy(ORACLE["freekd_prompts"]))
    value = method.losses(student, teachers, Batch(torch.arange(3) % K, torch.arange(3)))["freekd_gaf"]
    (gradient,) = torch.autograd.grad(value, s)
    assert value.item() == pytest.approx(float(ORACLE["freekd_loss"]), rel=1e-5)
    expected = ORACLE["freekd_loss_grad"]
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_likeness_by_slow_loops():
    masks = torch.rand(2, 3, 4, 5)
    values = []
    for b in range(2):
        for i in range(3):
            for j in range(3):
                if i != j:
                    a, c = masks[b, i], masks[b, j]
                    values.append((2 * (a * c).sum() / ((a * a).sum() + (c * c).sum())).item())
    assert prompt_dice(masks).item() == pytest.approx(np.mean(values), rel=1e-6)
    assert prompt_dice(masks[:, :1].expand(-1, 3, -1, -1)).item() == pytest.approx(1)
    assert prompt_dice(masks[:, :1]).item() == 0


@pytest.mark.parametrize("size", [(16,), (8, 8)])
def test_a_mean_over_positions_teaches_prompts_of_high_bands_nothing(size):
    """Why the classifier reads every position: the mean has the low band alone in it."""
    x = torch.randn(3, C, *size)
    prompts = torch.randn(3, 2, C, requires_grad=True)
    found, _ = prompted_map(x, list(prompts))
    weights = torch.randn(C)
    pooled = (found.flatten(2).mean(2).square() * weights).sum()
    (gradient,) = torch.autograd.grad(pooled, prompts, retain_graph=True)
    assert gradient[0].abs().max() > 1e-3
    assert gradient[1:].abs().max() < 1e-6
    (gradient,) = torch.autograd.grad((found.square() * weights.view(-1, *[1] * len(size))).sum(), prompts)
    assert gradient[1:].abs().max() > 1e-3


def test_the_loss_of_positions_by_slow_loops():
    logits = torch.randn(2, K, 4)
    y = torch.tensor([2, 0])
    log = logits.log_softmax(1)
    expected = -sum(log[b, y[b], p].item() for b in range(2) for p in range(4)) / 8
    assert position_loss(logits, y).item() == pytest.approx(expected, rel=1e-6)
    steps = torch.tensor([[0, 0, 1, 1, 1, 2, -1, -1], [2] * 8])  # positions 0 to 3 are steps 1, 3, 5, 7
    at = [(0, 0, 0), (0, 1, 1), (0, 2, 2), *((1, p, 2) for p in range(4))]
    expected = -sum(log[b, k, p].item() for b, p, k in at) / 7
    assert position_loss(logits, steps).item() == pytest.approx(expected, rel=1e-6)
    image = torch.randn(2, K, 3, 4)
    assert position_loss(image, steps).item() == pytest.approx(position_loss(image.mean(2), steps).item(), rel=1e-6)
    pixels = steps.view(2, 2, 4)
    assert position_loss(image[:, :, :2], pixels).item() == pytest.approx(
        position_loss(image[:, :, :2].flatten(2), steps).item(), rel=1e-6
    )
    nothing = position_loss(logits.requires_grad_(), -torch.ones(2, 8, dtype=torch.int64))
    assert nothing.item() == 0


def case(size=(16,), classifier=True, dense=False, labelled=None):
    """A teacher whose maps show the class in a high band of one channel, and the set-up of a student beside it."""
    y = torch.arange(N) % K
    maps = 0.5 * torch.randn(N, C, *size)
    for n in range(N):
        maps[n, y[n], ..., 5:9] += torch.tensor([3.0, -3.0, 3.0, -3.0])
    weight = torch.eye(K, C) if classifier else None
    own = torch.randn(N, C, *size)
    bias = torch.tensor([0.3, -0.2, 0.1])

    def outputs(index, x):
        pooled = x[index].flatten(2).mean(2)
        logits = pooled @ torch.eye(K, C).T + bias
        sequence = torch.randn(len(index), K, 2 * size[-1]) if dense else None
        return Outputs(logits, pooled, {"stage1": x[index]}, weight, sequence=sequence)

    read = []

    def teachers(index):
        read.append(index)
        return {"sig": outputs(index, maps)}

    four = torch.arange(4)
    targets = y[:, None].expand(-1, 2 * size[-1]).clone() if dense else y
    setup = Setup(outputs(four, own), teachers(four), K, N, 6, targets, read=teachers, labelled=labelled)
    read.clear()
    return setup, maps, y, read


def built(setup, seed=0, **options):
    method = METHODS.get("freekd")(prompts="trained", **{"prompt_steps": 60, **options})
    build_method(method, setup, seed)
    return method


def stage_loss(method, maps, y, prompts):
    x, dice = prompted_map(maps, list(prompts))
    logits = torch.einsum("kc,bc...->bk...", torch.eye(K, C), x) + torch.tensor([0.3, -0.2, 0.1]).view(-1, 1)
    return position_loss(logits, y).item(), dice.item()


def test_learned_prompts_lower_the_loss_of_the_stage_and_do_not_vanish():
    setup, maps, y, _ = case()
    before = maps.clone()
    untrained = built(replace(setup, read=None))
    method = built(setup)
    first, last = (stage_loss(m, maps, y, m.prompts_0) for m in (untrained, method))
    assert sum(last) < sum(first) - 0.3
    assert last[0] < first[0], "the labels are read"
    assert torch.equal(maps, before), "the teacher is frozen"
    _, high = haar_bands(maps, 3)
    masks = [prompt_masks(p, band) for p, band in zip(method.prompts_0[1:], high, strict=True)]
    assert all(mask.sum(1).mean() > 0.2 for mask in masks)


@pytest.mark.parametrize(
    "options", [{"classifier": False}, {"size": (8, 16)}, {"dense": True}, {"size": (8, 16), "dense": True}]
)
def test_prompts_are_learned_of_any_map(options):
    setup, *_ = case(**options)
    method = built(setup, prompt_steps=20)
    untrained = built(replace(setup, read=None))
    assert torch.isfinite(method.prompts_0).all()
    assert (method.prompts_0 - untrained.prompts_0).abs().max() > 0.05
    terms = method.losses(setup.student, setup.teachers, Batch(torch.arange(4) % K, torch.arange(4)))
    assert math.isfinite(sum(term.item() for term in terms.values()))


def test_they_are_frozen_kept_and_of_the_seed():
    setup, *_ = case()
    method = built(setup, prompt_steps=5)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"adapters"}
    assert "prompts_0" in method.state_dict()
    assert not method.prompts_0.requires_grad
    state = torch.get_rng_state()
    again, other = built(setup, prompt_steps=5), built(setup, 1, prompt_steps=5)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(again.prompts_0, method.prompts_0)
    assert not torch.allclose(other.prompts_0, method.prompts_0, atol=1e-2)
    assert built(setup, prompt_steps=5, tokens=3).prompts_0.shape == (4, 3, C)
    assert built(setup, prompt_steps=5, tokens=1, levels=2).prompts_0.shape == (3, 1, C)


def test_only_labelled_windows_are_read():
    labelled = torch.arange(N) < 20
    setup, _, _, read = case(labelled=labelled)
    targets = setup.targets.masked_fill(~labelled, -1)
    built(replace(setup, targets=targets), prompt_steps=5)
    assert torch.cat(read).max() < 20
    assert len(read) == 5, "the teacher's own classifier needs no training"


def test_the_low_band_has_a_prompt_of_its_own():
    setup, *_ = case()
    student, teachers = setup.student, setup.teachers
    method = built(setup, prompt_steps=5, bands="all-pass", levels=2)
    high = built(setup, prompt_steps=5, levels=2)
    high.load_state_dict(method.state_dict())
    batch = Batch(torch.arange(4) % K, torch.arange(4))
    s = method.adapters[0](student.features["stage1"])
    low_s, low_t = (haar_bands(x, 2)[0][:, :, None] for x in (s, teachers["sig"].features["stage1"]))
    mask = prompt_masks(method.prompts_0[0], low_t)
    expected = ((low_s - low_t).abs() * mask.mean(1)[:, None, None]).mean()
    found, rest = (m.losses(student, teachers, batch)["freekd_sig"] for m in (method, high))
    torch.testing.assert_close(found - rest, expected, atol=1e-5, rtol=1e-5)


def test_mixtures_of_windows_are_refused():
    setup, *_ = case()
    with pytest.raises(MmkdError, match="mixup"):
        built(replace(setup, mixes=True))
    METHODS.get("freekd")(prompts="energy").check(replace(setup, mixes=True))


def test_cross_entropy_is_that_of_the_teachers_own_classifier():
    setup, maps, _, _ = case()
    head = METHODS.get("freekd")(prompts="trained").head(setup, "sig", 0)
    assert not any(p.requires_grad for p in head.parameters())
    expected = F.conv1d(maps[:4], torch.eye(K, C)[..., None], torch.tensor([0.3, -0.2, 0.1]))
    torch.testing.assert_close(head(maps[:4]), expected)
    setup, *_ = case(classifier=False)
    head = METHODS.get("freekd")(prompts="trained").head(setup, "sig", 0)
    assert all(p.requires_grad for p in head.parameters())
