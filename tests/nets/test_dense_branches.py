"""Students with several branches that label every time step, and dense networks of pictures."""

import math

import pytest
import torch
from torch import nn

from mmkd import MmkdError
from mmkd.nets import DENSE, STAGE_FUSIONS, MultiBranch
from mmkd.nets.dense.branches import LineFusion, build_dense_student, make_branch
from mmkd.nets.dense.pictures import MAPS, to_line

STEPS, K = 64, 3
SHAPES = {"sig": (2, STEPS), "gaf": (2, 16, 16), "pi": (2, 12, 12), "cwt": (2, 10, 16)}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def views(batch=3, names=tuple(SHAPES)):
    return {name: torch.randn(batch, *SHAPES[name]) for name in names}


def interpolated(line, length):
    """(B, C, S) to (B, C, length) between the centres of positions, held constant beyond the first and the last."""
    steps = []
    for t in range(length):
        place = min(max((t + 0.5) * line.shape[2] / length - 0.5, 0), line.shape[2] - 1)
        first = int(place)
        second = min(first + 1, line.shape[2] - 1)
        steps.append((1 - place + first) * line[..., first] + (place - first) * line[..., second])
    return torch.stack(steps, 2)


def test_lines_of_pictures_by_loops():
    maps = torch.randn(2, 3, 5, 5)
    found = to_line(maps, "gaf")
    assert found.shape == (2, 6, 5)
    for i in range(5):
        torch.testing.assert_close(found[:, :3, i], maps[:, :, i, i])
        crossing = sum(maps[:, :, i, j] + maps[:, :, j, i] for j in range(5)) / 10
        torch.testing.assert_close(found[:, 3:, i], crossing)
    wide = torch.randn(2, 3, 4, 7)
    assert to_line(wide, "cwt").shape == (2, 3, 7)
    torch.testing.assert_close(to_line(wide, "cwt")[0, 1, 6], sum(wide[0, 1, f, 6] for f in range(4)) / 4)
    torch.testing.assert_close(to_line(wide, "pi")[1, 2, 0], wide[1, 2].sum() / 28)


@pytest.mark.parametrize("modality", ["gaf", "gaf@acc", "mtf", "rp", "cwt", "pi"])
def test_the_steps_of_a_picture(modality):
    """The classifier reads the line, which is the last decoder map, and its logits are interpolated to the steps."""
    shape = SHAPES.get(modality, SHAPES["gaf"])
    net = make_branch("unet-small", modality, shape, K, STEPS).eval()
    with torch.no_grad():
        net.head.conv.bias.copy_(torch.randn(K))
    x = torch.randn(3, *shape)
    found, inner = net(x), net.backbone(x)
    assert inner.logits.shape == (3, MAPS, *shape[1:])
    line = to_line(inner.logits, modality.partition("@")[0])
    groups = 1 if modality in ("pi", "cwt") else 2
    parts = [part - part.mean((1, 2), keepdim=True) for part in line.chunk(groups, 1)]
    line = torch.cat([part / (part.square().mean((1, 2), keepdim=True) + 1e-5).sqrt() for part in parts], 1).relu()
    torch.testing.assert_close(found.last_map, line, rtol=1e-4, atol=1e-5)
    logits = torch.einsum("kc,bct->bkt", found.classifier, line) + net.head.conv.bias[:, None]
    torch.testing.assert_close(found.logits, interpolated(logits, STEPS), rtol=1e-4, atol=1e-5)
    assert list(found.features) == [*inner.features, "decoder5"]
    torch.testing.assert_close(found.embedding, inner.embedding)
    if modality == "pi":
        assert found.logits.std(2).max() < 1e-6


@pytest.mark.parametrize("fusion", ["attention", *STAGE_FUSIONS])
@pytest.mark.parametrize("net", ["unet-small", "fast-scnn-small"])
def test_every_fusion_joins_every_kind_of_view(net, fusion):
    student = build_dense_student(net, SHAPES, K, STEPS, fusion)
    assert isinstance(student, MultiBranch)
    found = student(views())
    assert found.logits.shape == (3, K, STEPS)
    assert list(found.branches) == list(SHAPES)
    assert all(branch.logits.shape == (3, K, STEPS) for branch in found.branches.values())
    assert found.features is found.branches["sig"].features
    assert found.classifier is None
    heads = sum(branch.logits.square().mean() for branch in found.branches.values())
    (found.logits.square().mean() + heads).backward()
    left = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert not left
    if fusion == "attention":
        assert {name: tuple(a.shape[1:]) for name, a in found.attention.items()} == {
            name: (found.branches["sig"].last_map.shape[2], found.branches[name].last_map.shape[2])
            for name in ("gaf", "cwt")
        }
        for weights in found.attention.values():
            torch.testing.assert_close(weights.sum(2), torch.ones(weights.shape[:2]))


@pytest.mark.parametrize("net", DENSE)
def test_every_network_makes_branches(net):
    student = build_dense_student(net, {name: SHAPES[name] for name in ("gaf", "sig")}, K, STEPS).eval()
    assert student(views(names=("sig", "gaf"))).logits.shape == (3, K, STEPS)
    assert student.fusion.lead == "sig"


@pytest.mark.parametrize("fusion", ["sum", "gated", "concat", "attention"])
def test_the_fused_line_by_loops(fusion):
    """Interpolated or attended, joined, then a convolution of kernel 3 with batch normalisation and ReLU."""
    student = build_dense_student("fast-scnn-small", {n: SHAPES[n] for n in ("sig", "gaf")}, K, STEPS, fusion).eval()
    found = student(views(names=("sig", "gaf")))
    line, other = (found.branches[name].last_map for name in ("sig", "gaf"))  # 8 and 16 positions
    join, (conv, norm, _) = student.fusion.joins[0], student.fusion.mixes[0]
    pooled = (other[..., ::2] + other[..., 1::2]) / 2
    if fusion == "attention":
        joined = torch.zeros(3, 2 * line.shape[1], 8)
        for t in range(8):
            query = line[..., t] @ join.query.weight.T
            scores = torch.stack([(query * (other[..., s] @ join.key.weight.T)).sum(1) for s in range(16)], 1)
            share = (scores / math.sqrt(line.shape[1])).exp()
            share = share / share.sum(1, keepdim=True)
            torch.testing.assert_close(share, found.attention["gaf"][:, t], rtol=1e-4, atol=1e-5)
            value = sum(share[:, s, None] * join.value(other[..., s]) for s in range(16))
            joined[..., t] = torch.cat([line[..., t], value], 1)
    else:
        module = join.join
        joined = torch.stack([module(line[..., t : t + 1], pooled[..., t : t + 1])[..., 0] for t in range(8)], 2)
    expected = torch.relu(norm(nn.functional.conv1d(joined, conv.weight, padding=1)))
    torch.testing.assert_close(found.embedding, expected.mean(2), rtol=1e-4, atol=1e-5)
    logits = torch.einsum("kc,bct->bkt", student.fusion.head.conv.weight[..., 0], expected)
    torch.testing.assert_close(found.logits, interpolated(logits, STEPS), rtol=1e-4, atol=1e-5)


def test_without_a_signal_the_first_view_with_time_leads():
    student = build_dense_student("unet-small", {name: SHAPES[name] for name in ("pi", "cwt", "gaf")}, K, STEPS)
    assert isinstance(student.fusion, LineFusion)
    assert (student.fusion.lead, student.fusion.others) == ("cwt", ("pi", "gaf"))
    assert student(views()).logits.shape == (3, K, STEPS)


@pytest.mark.parametrize(
    ("words", "shapes", "fusion"),
    [
        ("pi@acc: persistence images have no axis of time", {"pi": (2, 8, 8), "pi@acc": (1, 8, 8)}, "sum"),
        ("do not reach the ends of a window.* use cwt", {"sig": (2, 64), "stft": (2, 9, 20)}, "sum"),
        ("mine: a picture of 9 x 20 has no two axes of time", {"sig": (2, 64), "mine": (2, 9, 20)}, "sum"),
        ("--fusion freqfuson: .*did you mean 'freqfusion'", {"sig": (2, 64), "gaf": (2, 8, 8)}, "freqfuson"),
    ],
)
def test_refusals(words, shapes, fusion):
    with pytest.raises(MmkdError, match=words):
        build_dense_student("unet-small", shapes, K, STEPS, fusion)
