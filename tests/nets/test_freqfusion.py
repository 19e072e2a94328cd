"""CARAFE and FreqFusion against loops, in one axis and two; the identities that their parts promise."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.nets.carafe import (
    Carafe,
    displace,
    enlarge,
    neighbours,
    normalise,
    reassemble,
    similarity,
    spread,
)
from mmkd.nets.freqfusion import DwtFusion, FreqFusion, SeparableFusion, haar, self_attention
from mmkd.nets.stage_fusions import OPERATORS, STAGE_FUSIONS, stage_fusion

SIZES = {  # fine, coarse
    "1-D": ((8,), (4,)),
    "1-D odd": ((11,), (4,)),
    "1-D one": ((5,), (1,)),
    "1-D same": ((6,), (6,)),
    "2-D": ((6, 4), (3, 2)),
    "2-D odd": ((7, 5), (3, 4)),
    "2-D same": ((3, 4), (3, 4)),
}


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def sizes(request: pytest.FixtureRequest) -> tuple[tuple[int, ...], tuple[int, ...]]:
    torch.manual_seed(0)
    pair: tuple[tuple[int, ...], tuple[int, ...]] = request.param
    return pair


def every(size: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, size))


def value_at(x: Tensor, at: tuple[int, ...], padding: str) -> Tensor:
    """x (B, C, *size) at a position that may lie beyond the border."""
    inside = all(0 <= a < n for a, n in zip(at, x.shape[2:], strict=True))
    if padding == "zeros" and not inside:
        return torch.zeros_like(x.flatten(2)[..., 0])
    return x[(slice(None), slice(None), *(min(max(a, 0), n - 1) for a, n in zip(at, x.shape[2:], strict=True)))]


def slow_reassemble(x: Tensor, filters: Tensor, kernel: int, padding: str) -> Tensor:
    fine, coarse = filters.shape[2:], x.shape[2:]
    out = torch.zeros(*x.shape[:2], *fine, dtype=x.dtype)
    for p in every(tuple(fine)):
        for tap, delta in enumerate(every((kernel,) * len(fine))):
            at = tuple(
                math.floor(a * c / f) + d - kernel // 2 for a, c, f, d in zip(p, coarse, fine, delta, strict=True)
            )
            weight = filters[(slice(None), slice(tap, tap + 1), *p)]
            out[(slice(None), slice(None), *p)] += weight * value_at(x, at, padding)
    return out


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_reassembly_is_the_loop_with_its_gradient(
    sizes: tuple[tuple[int, ...], tuple[int, ...]], kernel: int, padding: str
) -> None:
    fine, coarse = sizes
    x = torch.randn(2, 3, *coarse, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(2, kernel ** len(fine), *fine, dtype=torch.float64, requires_grad=True)
    found, expected = reassemble(x, filters, padding), slow_reassemble(x, filters, kernel, padding)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(found)
    for a, b in zip(
        torch.autograd.grad(found, (x, filters), upstream),
        torch.autograd.grad(expected, (x, filters), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("hamming", [False, True])
@pytest.mark.parametrize("dims", [1, 2])
def test_filters_sum_to_1_and_a_window_favours_the_middle(dims: int, hamming: bool) -> None:
    scores = torch.randn(2, 5**dims, *[4] * dims)
    filters = normalise(scores, hamming)
    torch.testing.assert_close(filters.sum(dim=1), torch.ones(2, *[4] * dims))
    assert filters.min() > 0
    line = torch.tensor([0.08, 0.54, 1.0, 0.54, 0.08]) if hamming else torch.ones(5)
    window = line if dims == 1 else line[:, None] * line[None, :]
    flat = normalise(torch.zeros(1, 5**dims, *[1] * dims), hamming).flatten()
    torch.testing.assert_close(flat, window.flatten() / window.sum())
    weighted = scores.exp() * window.reshape(1, -1, *[1] * dims)
    torch.testing.assert_close(filters, weighted / weighted.sum(dim=1, keepdim=True))


def test_enlarging_is_in_whole_numbers() -> None:
    x = torch.arange(29.0).view(1, 1, 29)
    for fine in range(29, 2 * 29 + 3):
        assert enlarge(x, [fine]).flatten().tolist() == [p * 29 // fine for p in range(fine)]
    assert torch.equal(
        enlarge(torch.arange(6.0).view(1, 1, 2, 3), [4, 6]),
        F.interpolate(torch.arange(6.0).view(1, 1, 2, 3), scale_factor=2, mode="nearest"),
    )


def test_spread_is_pixel_shuffle_at_twice_the_size_and_takes_the_part_that_a_position_lies_in(
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    fine, coarse = sizes
    d = len(fine)
    x = torch.randn(2, 3 * 2**d, *coarse)
    found = spread(x, fine)
    for p in every(fine):
        doubled = [2 * a * c // f for a, c, f in zip(p, coarse, fine, strict=True)]
        part = sum((a % 2) * 2 ** (d - 1 - i) for i, a in enumerate(doubled))
        expected = x.view(2, 3, 2**d, *coarse)[(slice(None), slice(None), part, *(a // 2 for a in doubled))]
        assert torch.equal(found[(slice(None), slice(None), *p)], expected)
    image = torch.randn(1, 8, 3, 2)
    assert torch.equal(spread(image, (6, 4)), F.pixel_shuffle(image, 2))


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("size", [(7,), (1,), (4, 5)])
def test_similarity_is_the_cosine_at_dilation_2(size: tuple[int, ...], padding: str) -> None:
    x = torch.randn(2, 6, *size)
    found = similarity(x, padding)
    deltas = [d for d in every((3,) * len(size)) if any(a != 1 for a in d)]
    assert found.shape == (2, len(deltas), *size)
    for p in every(size):
        for i, delta in enumerate(deltas):
            other = value_at(x, tuple(a + 2 * (d - 1) for a, d in zip(p, delta, strict=True)), padding)
            cosine = F.cosine_similarity(x[(slice(None), slice(None), *p)], other, dim=1)
            torch.testing.assert_close(found[(slice(None), i, *p)], cosine)


def test_displacement_is_that_of_grid_sample() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    offsets = (3 * torch.randn(2, 2, 3, 5, 4, dtype=torch.float64)).requires_grad_()
    found = displace(x, offsets)
    rows = (torch.arange(5)[:, None] + offsets[:, 0] + 0.5) * 2 / 5 - 1
    columns = (torch.arange(4)[None, :] + offsets[:, 1] + 0.5) * 2 / 4 - 1
    grid = torch.stack([columns, rows], dim=-1).view(6, 5, 4, 2)
    expected = F.grid_sample(
        x.view(6, 2, 5, 4), grid, mode="bilinear", padding_mode="border", align_corners=False
    ).view(x.shape)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(found)
    for a, b in zip(
        torch.autograd.grad(found, (x, offsets), upstream),
        torch.autograd.grad(expected, (x, offsets), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_displacement_of_a_line_is_that_of_an_image_that_repeats_it() -> None:
    x, offsets = torch.randn(2, 4, 9), 2 * torch.randn(2, 1, 2, 9)
    image = displace(
        x[:, :, None].expand(-1, -1, 3, -1),
        torch.cat([torch.zeros_like(offsets), offsets], dim=1)[:, :, :, None].expand(-1, -1, -1, 3, -1),
    )
    torch.testing.assert_close(displace(x, offsets), image[:, :, 1])
    assert torch.equal(displace(x, torch.zeros_like(offsets)), x)
    one = torch.randn(2, 4, 1)
    torch.testing.assert_close(displace(one, torch.randn(2, 1, 2, 1)), one)


def pair(sizes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    fine, coarse = sizes
    return torch.randn(2, 5, *fine, dtype=dtype), torch.randn(2, 4, *coarse, dtype=dtype)


def lively(net: torch.nn.Module) -> torch.nn.Module:
    """Parameters as after some training: none near zero."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net


@pytest.mark.parametrize(("padding", "hamming"), [("replicate", True), ("zeros", False)])
def test_freqfusion_is_the_nine_steps(
    sizes: tuple[tuple[int, ...], tuple[int, ...]], padding: str, hamming: bool
) -> None:
    """The nine steps written again with loops and torch's own convolutions; every gradient too."""
    d = len(sizes[0])
    high, low = (t.requires_grad_() for t in pair(sizes, torch.float64))
    net = lively(FreqFusion(5, 4, d, compressed=16, padding=padding, hamming=hamming, groups=2).double())
    conv, mode = (F.conv1d, F.conv2d)[d - 1], "replicate" if padding == "replicate" else "constant"

    def conv1(layer: torch.nn.Module, x: Tensor) -> Tensor:
        return conv(x, layer.weight, layer.bias)

    def conv3(layer: torch.nn.Module, x: Tensor) -> Tensor:
        return conv(F.pad(x, [1] * (2 * d), mode=mode), layer.weight, layer.bias)

    line = {3: [0.08, 1.0, 0.08], 5: [0.08, 0.54, 1.0, 0.54, 0.08]}

    def norm(m: Tensor, k: int) -> Tensor:
        window = torch.tensor(line[k] if hamming else [1.0] * k, dtype=torch.float64)
        if d == 2:
            window = window[:, None] * window
        w = m.exp() / m.exp().sum(dim=1, keepdim=True) * window.reshape(1, -1, *[1] * d)
        return w / w.sum(dim=1, keepdim=True)

    def r(x: Tensor, w: Tensor, k: int) -> Tensor:
        return slow_reassemble(x, w, k, padding)

    e_lp, e_hp = net.encode_low[0], net.encode_high
    zh, zl = conv1(net.compress_high, high), conv1(net.compress_low, low)
    a = conv3(e_hp, zh)
    zh = 2 * zh - r(zh, norm(a, 3), 3)
    b = conv3(e_lp, zh)
    w_lp = norm(b + r(conv3(e_lp, zl), norm(b, 5), 5), 5)
    m_hp = a + r(conv3(e_hp, zl), w_lp, 5)
    up = r(low, w_lp, 5)
    sharp = 2 * high - r(high, norm(m_hp, 3), 3)
    s = net.resampler
    gh, gl = (F.group_norm(z, 2, n.weight, n.bias) for z, n in ((zh, s.norm_high), (zl, s.norm_low)))
    fh, fl = (torch.cat([g, similarity(g, padding)], dim=1) for g in (gh, gl))
    fine = high.shape[2:]
    offsets = (conv3(s.high, fh) + spread(conv3(s.low, fl), fine)) * torch.sigmoid(
        conv3(s.high_gate, fh) + spread(conv3(s.low_gate, fl), fine)
    )
    ratio = torch.tensor([f / c for f, c in zip(*sizes, strict=True)], dtype=torch.float64).view(1, d, 1, *[1] * d)
    expected = sharp, displace(up, offsets.view(2, d, 2, *fine) * ratio)

    found = net(high, low)
    leaves = [high, low, *net.parameters()]
    upstream = [torch.randn_like(t) for t in found]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    gradients = (torch.autograd.grad(outputs, leaves, upstream, allow_unused=True) for outputs in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_parameter_gets_a_gradient_and_trains(name: str, sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    high, low = pair(sizes)
    net = OPERATORS[name](5, 4, len(sizes[0]), compressed=16)
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=10.0)
    weights = [torch.randn(2, 5, *sizes[0]), torch.randn(2, 4, *sizes[0])]
    sum((w * y).sum() for w, y in zip(weights, net(high, low), strict=True)).backward()
    dead = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    if sizes[1] == (1,):  # one coarse position: a constant, which no filter changes and which cannot be moved
        assert set(dead) <= {k for k in before if "resampler" in k or "compress_low" in k or "encode_low" in k}
        return
    assert dead == []
    optimiser.step()
    assert [k for k, p in net.named_parameters() if torch.equal(p, before[k])] == []


@pytest.mark.parametrize("name", [n for n in OPERATORS if not n.endswith("-attention")])
def test_a_constant_stays_under_replicate(name: str, sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    fine, coarse = sizes
    net = lively(OPERATORS[name](5, 4, len(fine), compressed=16))
    high, up = net(torch.full((2, 5, *fine), 3.0), torch.full((2, 4, *coarse), -2.0))
    torch.testing.assert_close(high, torch.full((2, 5, *fine), 3.0))
    torch.testing.assert_close(up, torch.full((2, 4, *fine), -2.0))


def test_a_constant_falls_at_the_border_under_zeros() -> None:
    """Filters start as boxes of 5: at the end of a line 3 of 5 taps are inside."""
    net = FreqFusion(5, 4, 1, padding="zeros", hamming=False, offsets=False)
    _, up = net(torch.ones(1, 5, 12), torch.ones(1, 4, 6))
    torch.testing.assert_close(
        up[0, 0], torch.tensor([0.6, 0.6, 0.8, 0.8, *[1.0] * 4, 0.8, 0.8, 0.6, 0.6]), atol=0.02, rtol=0
    )


def test_low_and_high_band_of_one_filter_are_the_whole() -> None:
    for d, size in ((1, (9,)), (2, (6, 5))):
        net = lively(FreqFusion(5, 4, d, compressed=16, offsets=False))
        high, low = torch.randn(2, 5, *size), torch.randn(2, 4, *(n // 2 for n in size))
        w_lp, (m_hp,), *_ = net.scores(high, low)
        assert [tuple(w.shape) for w in (w_lp, m_hp)] == [(2, 5**d, *size), (2, 3**d, *size)]
        smooth = reassemble(high, normalise(m_hp, hamming=True))
        torch.testing.assert_close(net(high, low)[0] - high + smooth, high)
        assert not torch.allclose(smooth, high, atol=0.1)


def test_offsets_of_zero_leave_the_enlarged_map_unchanged(sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    high, low = pair(sizes)
    net = lively(FreqFusion(5, 4, len(sizes[0]), compressed=16))
    moved = net(high, low)[1]
    for layer in (net.resampler.high, net.resampler.low):
        for p in layer.parameters():
            torch.nn.init.zeros_(p)
    still = net(high, low)[1]
    net.resampler = None
    assert torch.equal(still, net(high, low)[1])
    if max(sizes[1]) > 1:
        assert not torch.allclose(moved, still, atol=1e-3)


def test_an_offset_counts_coarse_positions() -> None:
    net = FreqFusion(5, 4, 1, compressed=16)
    for p in (net.resampler.high, net.resampler.low, net.resampler.high_gate):
        torch.nn.init.zeros_(p.weight)
    torch.nn.init.ones_(net.resampler.high.bias)
    torch.nn.init.constant_(net.resampler.high_gate.bias, 50.0)
    x = torch.randn(1, 4, 8)
    found = net.resampler(torch.randn(1, 16, 8), torch.randn(1, 16, 4), x)
    torch.testing.assert_close(found[..., :6], x[..., 2:])
    torch.testing.assert_close(found[..., 6:], x[..., -1:].expand(-1, -1, 2))


def test_parameters_of_the_encoders() -> None:
    def count(net: torch.nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    full, separable = FreqFusion(64, 64, 2), SeparableFusion(64, 64, 2)
    assert [count(full.encode_low[0]), count(full.encode_high)] == [14_425, 5_193]
    assert [count(separable.encode_low[0]), count(separable.encode_high)] == [2_265, 1_225]
    assert count(DwtFusion(64, 64, 2).encode_high) == 3 * 64 * 9 * 9 + 9
    assert count(DwtFusion(64, 64, 1).encode_high) == 64 * 3 * 3 + 3


@pytest.mark.parametrize("size", [(8,), (4, 6)])
def test_haar_keeps_energy_and_constants_are_low(size: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    low, high = haar(x)
    d = len(size)
    assert low.shape == (2, 3, *(n // 2 for n in size))
    assert high.shape == (2, 3 * (2**d - 1), *low.shape[2:])
    torch.testing.assert_close(low.square().sum() + high.square().sum(), x.square().sum())
    pool = (F.avg_pool1d, F.avg_pool2d)[d - 1]
    torch.testing.assert_close(low, 2 ** (d / 2) * pool(x, 2))
    assert haar(torch.ones(1, 1, *size))[1].abs().max() == 0


def test_haar_bands_in_order_and_odd_lengths() -> None:
    rows = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).view(1, 1, 2, 2)
    low, high = haar(rows)
    assert (low.item(), high.flatten().tolist()) == (0, [0, pytest.approx(2), 0])
    assert haar(rows.mT)[1].flatten().tolist() == [pytest.approx(2), 0, 0]
    low, high = haar(torch.tensor([1.0, 3.0, 5.0]).view(1, 1, 3))
    torch.testing.assert_close(low.flatten(), torch.tensor([4.0, 10.0]) / math.sqrt(2))
    torch.testing.assert_close(high.flatten(), torch.tensor([-2.0, 0.0]) / math.sqrt(2))


def test_dwt_encoders_read_the_bands() -> None:
    torch.manual_seed(0)
    net = lively(DwtFusion(5, 4, 2, compressed=16))
    z = torch.randn(2, 16, 5, 6)
    low, high = haar(z)
    assert torch.equal(net.smooth(z), enlarge(low, (5, 6)))
    assert torch.equal(net.high_scores(z)[0], enlarge(net.encode_high(high), (5, 6)))
    flat = net.encode_high.bias.detach().view(1, -1, 1, 1).expand(2, -1, 5, 6)
    torch.testing.assert_close(net.high_scores(torch.ones_like(z))[0], flat)


@pytest.mark.parametrize("size", [(9,), (4, 5)])
def test_self_attention_is_its_formula_and_large_maps_are_pooled(size: tuple[int, ...]) -> None:
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    flat = x.flatten(2)
    weight = torch.softmax(flat.mT @ flat / math.sqrt(6), dim=-1)
    torch.testing.assert_close(self_attention(x), (weight @ flat.mT).mT.view(x.shape) + x)
    pooled = self_attention(x, limit=4)
    keys = (F.adaptive_avg_pool1d(x, 4) if len(size) == 1 else F.adaptive_avg_pool2d(x, 2)).flatten(2)
    weight = torch.softmax(flat.mT @ keys / math.sqrt(6), dim=-1)
    torch.testing.assert_close(pooled, (weight @ keys.mT).mT.view(x.shape) + x)
    assert self_attention(torch.randn(1, 2, 1, 50), limit=7).shape == (1, 2, 1, 50)


@pytest.mark.parametrize("name", ["freqfusion", "dwt"])
def test_attention_comes_after_the_operator(name: str) -> None:
    torch.manual_seed(0)
    attentive = lively(OPERATORS[f"{name}-attention"](5, 4, 2, compressed=16))
    plain = OPERATORS[name](5, 4, 2, compressed=16)
    assert isinstance(attentive, type(plain))
    plain.load_state_dict(attentive.state_dict())
    high, low = torch.randn(2, 5, 6, 6), torch.randn(2, 4, 3, 3)
    for found, before in zip(attentive(high, low), plain(high, low), strict=True):
        torch.testing.assert_close(found, self_attention(before))


def test_carafe_predicts_its_filters_from_the_coarse_map() -> None:
    torch.manual_seed(0)
    net = lively(Carafe(5, 4, 2, compressed=8, padding="zeros"))
    high, low = torch.randn(2, 5, 6, 8), torch.randn(2, 4, 3, 4)
    same, up = net(high, low)
    assert same is high
    scores = F.pixel_shuffle(F.conv2d(net.compress(low), net.encode.weight, net.encode.bias, padding=1), 2)
    torch.testing.assert_close(up, slow_reassemble(low, scores.softmax(dim=1), 5, "zeros"))


@pytest.mark.parametrize("name", STAGE_FUSIONS)
def test_stages_of_a_decoder(name: str, sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    high, low = pair(sizes)
    net = STAGE_FUSIONS.get(name)(5, 4, len(sizes[0]))
    assert net.channels == (5 if name in ("sum", "gated") else 9)
    joined = net(high, low)
    assert joined.shape == (2, net.channels, *sizes[0])
    if list(net.parameters()):
        (joined * torch.randn_like(joined)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    again = STAGE_FUSIONS.get(name)(5, 4, len(sizes[0]))
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again(high[:1], low[:1]), joined[:1])


def test_plain_joins() -> None:
    torch.manual_seed(0)
    high, low = torch.randn(2, 5, 7), torch.randn(2, 4, 3)
    up = enlarge(low, [7])
    total = stage_fusion("sum", 5, 4, 1)
    torch.testing.assert_close(total(high, low), high + total.join.project(up))
    assert torch.equal(stage_fusion("concat", 5, 4, 1)(high, low), torch.cat([high, up], dim=1))
    gate = stage_fusion("gated", 5, 4, 1)
    z = torch.sigmoid(gate.join.high_gate(high) + gate.join.low_gate(up))
    expected = z * torch.tanh(gate.join.high(high)) + (1 - z) * torch.tanh(gate.join.low(up))
    torch.testing.assert_close(gate(high, low), expected)


def test_what_cannot_be_is_refused() -> None:
    high, low = torch.randn(2, 5, 8), torch.randn(2, 4, 4)
    for name in STAGE_FUSIONS:
        net = STAGE_FUSIONS.get(name)(5, 4, 1)
        with pytest.raises(MmkdError, match=r"was made for a low map \(B, 4, T\) and got \(2, 5, 8\)"):
            net(high, high)
        with pytest.raises(MmkdError, match=r"was made for a high map \(B, 5, T\) and got \(2, 5, 8, 1\)"):
            net(high[..., None], low)
        with pytest.raises(MmkdError, match="exchange them"):
            net(high[..., :3], low)
        with pytest.raises(MmkdError, match="a batch of 2 and one of 1"):
            net(high, low[:1])
    with pytest.raises(MmkdError, match="did you mean 'freqfusion'"):
        stage_fusion("freqfuson", 5, 4, 1)
    with pytest.raises(MmkdError, match="'sum' has no options, and padding was given"):
        stage_fusion("sum", 5, 4, 1, padding="zeros")
    for options, message in (
        ({"kernels": (4,)}, "kernels = 4: take odd sizes from 3 to 15"),
        ({"kernels": ()}, "kernels = none: take odd sizes"),
        ({"padding": "reflect"}, "unknown padding"),
    ):
        with pytest.raises(MmkdError, match=message):
            FreqFusion(5, 4, 1, **options)
    with pytest.raises(MmkdError, match="k odd"):
        reassemble(low, torch.randn(2, 4, 8))
    with pytest.raises(MmkdError, match="do not fit"):
        displace(low, torch.randn(2, 1, 3, 4))
    assert len(list(neighbours(low, [8], 5))) == 5
