"""FreqFusion with several kernels and several bands: against its plain form, loops and reference numbers."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.nets import build_dense, count_parameters
from mmkd.nets.carafe import check_pair, conv, initialise, normalise, reassemble
from mmkd.nets.filter_banks import (
    BandGates,
    ContinuousGain,
    Mixture,
    constant_conv,
    dense_scales,
    embed,
    gain_basis,
    gains_of,
    middle,
    scale_windows,
    weigh_bands,
    weighted_sum,
)
from mmkd.nets.freqfusion import AttentiveFreqFusion, DwtFusion, FreqFusion, OffsetResampler, SeparableFusion
from mmkd.nets.fusion_options import FreqFusionOptions

SIZES = {"1-D": ((12,), (6,)), "1-D odd": ((11,), (4,)), "2-D": ((8, 10), (4, 5)), "2-D odd": ((9, 7), (3, 4))}
FORMS = {
    "one kernel": {"kernels": (7,)},
    "kernels": {"kernels": (3, 5, 7)},
    "gate": {"gates": "learned"},
    "bands 3": {"bands": 3},
    "bands 4": {"bands": 4},
    "bands of kernel 7": {"bands": 3, "kernels": (7,)},
    "continuous": {"bands": "continuous"},
}
MANY = [name for name in FORMS if name not in ("one kernel", "gate")]
"""Forms with several sizes of kernels."""


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def sizes(request: pytest.FixtureRequest) -> tuple[tuple[int, ...], tuple[int, ...]]:
    torch.manual_seed(0)
    found: tuple[tuple[int, ...], tuple[int, ...]] = request.param
    return found


def pair(sizes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    fine, coarse = sizes
    return torch.randn(2, 5, *fine, dtype=dtype), torch.randn(2, 4, *coarse, dtype=dtype)


def lively(net: nn.Module) -> nn.Module:
    """Parameters as after some training: none near zero."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net


def scores_of(kernels: tuple[int, ...], size: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(2, k ** len(size), *size, dtype=torch.float64) for k in kernels]


# --- the published operator, as it was before it had options ---


class Plain(nn.Module):
    """The nine steps with one kernel and two bands, line by line as they were."""

    def __init__(self, high: int, low: int, dims: int, kernel: int) -> None:
        super().__init__()
        self.dims = dims
        sharp = max(3, kernel - 2)
        self.compress_high = conv(dims, high, 16, 1)
        self.compress_low = conv(dims, low, 16, 1)
        self.encode_low = nn.ModuleList([initialise(conv(dims, 16, kernel**dims, 3, "replicate"), std=0.001)])
        self.encode_high = initialise(conv(dims, 16, sharp**dims, 3, "replicate"), std=0.001)
        self.resampler = OffsetResampler(dims, 16, low, 4, "replicate")

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        check_pair("plain", high, low, (5, 4), self.dims)
        zh, zl = self.compress_high(high), self.compress_low(low)
        a = self.encode_high(zh)
        zh = 2 * zh - reassemble(zh, normalise(a, True))
        encode = self.encode_low[0]
        b = encode(zh)
        w_lp = normalise(b + reassemble(encode(zl), normalise(b, True)), True)
        w_hp = normalise(a + reassemble(self.encode_high(zl), w_lp), True)
        up = reassemble(low, w_lp)
        high = 2 * high - reassemble(high, w_hp)
        return high, self.resampler(zh, zl, up)


@pytest.mark.parametrize("size", [((12,), (6,)), ((5,), (2,)), ((8, 6), (4, 3))], ids=str)
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_one_kernel_and_two_bands_are_the_published_operator_bit_for_bit(
    kernel: int, size: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Initial weights, names of weights, outputs and every gradient; on maps shorter than the kernel, too."""
    d = len(size[0])
    nets = []
    for make in (
        lambda: Plain(5, 4, d, kernel),
        lambda: FreqFusion(5, 4, d, compressed=16, kernels=(kernel,), bands=2),
        lambda: FreqFusion(5, 4, d, compressed=16, kernels=(kernel,), gates="fixed"),
    ):
        torch.manual_seed(3)
        nets.append(make())
    state = nets[0].state_dict()
    torch.manual_seed(4)
    moved = {name: value + 0.3 * torch.randn_like(value) for name, value in state.items()}
    high, low = (x.requires_grad_() for x in pair(size))
    for weights in (state, moved):  # as initialised, and as after a training
        results = []
        for net in nets:
            if weights is state:
                assert list(net.state_dict()) == list(state)
                assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
            net.load_state_dict(weights)
            outputs = net(high, low)
            torch.manual_seed(5)
            loss = sum((y * torch.randn_like(y)).sum() for y in outputs)
            results.append([*outputs, *torch.autograd.grad(loss, [high, low, *net.parameters()])])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_gate_of_two_bands_starts_as_the_published_operator_bit_for_bit() -> None:
    """In a whole network under one seed: the gates draw no random numbers, so that all other weights are the same."""
    x = torch.randn(2, 3, 64)
    nets = []
    for fusion in ("freqfusion", "freqfusion:gates=learned"):
        torch.manual_seed(0)
        nets.append(build_dense("unet-small", (3, 64), 4, fusion))
    plain, gated = nets
    own = dict(gated.named_parameters())
    shared = dict(plain.named_parameters())
    assert {name.rpartition(".sharpen.gates.")[2] for name in set(own) - set(shared)} == {"weight", "bias"}
    assert all(torch.equal(value, own[name]) for name, value in shared.items())
    found, expected = gated(x).logits, plain(x).logits
    assert torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for name, value in shared.items():
        torch.testing.assert_close(own[name].grad, value.grad, rtol=1e-4, atol=1e-5)
    assert all(own[name].grad.abs().max() > 0 for name in own if "sharpen.gates" in name)


# --- reference numbers (slow loops in plain numpy) ---


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    path = Path(__file__).parents[1] / "oracles" / "freqfusion_options.npz"
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]).double()[None] for name in stored}


def test_a_mixture_is_that_of_the_reference(reference: dict[str, Tensor]) -> None:
    scores = [reference["logits3"], reference["logits5"]]
    mixture = Mixture(1, 2, 2, hamming=False).double()
    mixture.shares = nn.Identity()  # z are the logits of the shares
    found = reassemble(reference["x"], mixture(scores, reference["mix_logits"], 9))
    torch.testing.assert_close(found, reference["mixed_low"], rtol=1e-6, atol=1e-7)


def test_bands_are_those_of_the_reference(reference: dict[str, Tensor]) -> None:
    filters = [normalise(reference["logits3"]), normalise(reference["logits5"])]
    x, bands = reference["x"], reference["bands"]
    for number in range(3):
        one = F.one_hot(torch.tensor([number]), 3).double().view(1, 3, 1).expand(1, 3, 9)
        torch.testing.assert_close(weigh_bands(x, filters, one), bands[:, number], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        weigh_bands(x, filters, reference["gates"]), reference["band_output"], rtol=1e-6, atol=1e-7
    )


# --- the parts ---


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("size", [(9,), (7, 8)])
def test_filters_added_in_the_largest_kernel_are_their_outputs_added(size: tuple[int, ...], padding: str) -> None:
    torch.manual_seed(0)
    filters = [normalise(each, hamming=True) for each in scores_of((3, 7, 5), size)]
    weights = torch.randn(2, 3, *size, dtype=torch.float64)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    expected = sum(weights[:, i : i + 1] * reassemble(x, each, padding) for i, each in enumerate(filters))
    together = weighted_sum(filters, weights)
    assert together.shape[1] == 7 ** len(size)
    torch.testing.assert_close(reassemble(x, together, padding), expected)
    assert torch.equal(middle(embed(filters[0], 7), 3), filters[0])
    assert embed(filters[0], 3) is filters[0]


def test_middle_taps() -> None:
    line = torch.arange(7.0).view(1, 7, 1)
    fitting = {1: [3], 2: [3], 3: [2, 3, 4], 4: [2, 3, 4], 5: [1, 2, 3, 4, 5], 6: [1, 2, 3, 4, 5], 7: list(range(7))}
    for length, taps in fitting.items():
        assert middle(line, length).flatten().tolist() == taps
    assert middle(line, 8) is line
    image = torch.arange(25.0).view(1, 25, 1, 1)
    assert middle(image, 4).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


@pytest.mark.parametrize("size", [(9,), (7, 8)])
def test_a_mixture_is_a_filter_and_starts_with_equal_shares(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    d = len(size)
    scores, z = scores_of((3, 5, 7), size), torch.randn(2, 6, *size, dtype=torch.float64)
    mixture = Mixture(d, 6, 3, hamming=True).double()
    filters = [embed(normalise(each, hamming=True), 7) for each in scores]
    torch.testing.assert_close(mixture(scores, z, 7), sum(filters) / 3)
    lively(mixture)
    found = mixture(scores, z, 7)
    shares = mixture.shares(z).softmax(dim=1)
    assert shares.std(dim=-1).min() > 0.01  # other ones at other positions
    torch.testing.assert_close(found, sum(shares[:, i : i + 1] * each for i, each in enumerate(filters)))
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, *size, dtype=torch.float64))


@pytest.mark.parametrize("form", ["gate", "bands 3", "bands 4", "bands of kernel 7", "continuous"])
def test_bands_add_up_to_the_map_whatever_the_filters(
    form: str, sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """With all gates 0 the gains are 1, and the fine map stays as it is; with all 1 it is 2 x - L."""
    high, low = pair(sizes, torch.float64)
    net = lively(FreqFusion(5, 4, high.ndim - 2, compressed=16, **FORMS[form]).double())
    last = net.sharpen.gates if isinstance(net.sharpen, BandGates) else net.sharpen.coefficients
    for value in (0.0, 1.0):
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, value)
        found = net(high, low)[0]
        scores, side = net.scores(high, low)[1], min(sizes[0])
        scores = scores if form == "gate" else [middle(each, side) for each in scores]
        smooth = reassemble(high, normalise(scores[-1], hamming=True))
        torch.testing.assert_close(found, high + value * (high - smooth))


@pytest.mark.parametrize("size", [(11,), (8, 9)])
def test_the_band_output_is_its_formula_band_by_band(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    scores, z = scores_of((3, 5, 7), size), torch.randn(2, 6, *size, dtype=torch.float64)
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    net = lively(BandGates(len(size), 6, 4, "replicate", hamming=True).double())
    smooth = [x, *(reassemble(x, normalise(each, hamming=True)) for each in scores)]
    bands = [a - b for a, b in itertools.pairwise(smooth)]
    torch.testing.assert_close(sum([*bands, smooth[-1]]), x)
    gates = net.gates(z)
    expected = x + sum(gates[:, i : i + 1] * band for i, band in enumerate(bands))
    torch.testing.assert_close(net(x, scores, z), expected)
    gains = gains_of(gates)
    assert torch.equal(gains[:, -1], torch.ones_like(gains[:, -1]))
    fresh = BandGates(len(size), 6, 4, "replicate", hamming=True).double()
    torch.testing.assert_close(fresh(x, scores, z), 2 * x - smooth[1])


# --- the continuous gain ---


def test_the_gain_passes_through_its_coefficients_and_is_smooth() -> None:
    sizes = (3, 5, 7)
    torch.testing.assert_close(gain_basis(sizes, sizes), torch.eye(3))
    logs = torch.linspace(0, math.log(9), 4001, dtype=torch.float64)
    basis = gain_basis(logs.exp().tolist(), sizes).double()
    torch.testing.assert_close(basis.sum(0), torch.ones(4001, dtype=torch.float64))
    assert basis.min() >= 0
    slope = basis.diff() / logs.diff()
    steepest = math.pi / 2 / math.log(7 / 5)  # of a squared cosine over the narrowest band
    assert slope.abs().max() <= steepest * 1.001
    assert slope.diff().abs().max() < 0.03 * steepest  # the derivative has no jump
    assert basis[:, logs < math.log(3)].T.unique(dim=0).tolist() == [[1.0, 0.0, 0.0]]
    assert basis[:, logs > math.log(7)].T.unique(dim=0).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize("hamming", [True, False])
@pytest.mark.parametrize("dims", [1, 2])
def test_windows_grow_smoothly_from_one_tap_to_all(dims: int, hamming: bool) -> None:
    scales = torch.linspace(0, math.log(7), 2001, dtype=torch.float64).exp().clamp(max=7).tolist()
    windows = scale_windows(scales, 7, dims, hamming)
    lines = {1: [0, 0, 0, 1, 0, 0, 0], 3: [0, 0, 0.08, 1, 0.08, 0, 0], 5: [0, 0.08, 0.54, 1, 0.54, 0.08, 0]}
    for scale, values in lines.items():
        line = torch.tensor(values, dtype=torch.float64) if hamming else torch.tensor([float(v > 0) for v in values])
        expected = (line if dims == 1 else torch.outer(line, line).flatten()).double()
        torch.testing.assert_close(scale_windows([scale], 7, dims, hamming)[0], expected)
    assert windows.diff(dim=0).min() >= -1e-12  # no tap loses weight
    assert windows.diff(dim=0).abs().max() < 0.02
    assert windows.diff(dim=0).diff(dim=0).abs().max() < 5e-4


def test_the_usual_scales_reach_every_size() -> None:
    scales = dense_scales((3, 5, 7))
    assert len(scales) == 12
    assert set(scales) >= {3.0, 5.0, 7.0}
    assert [1.0, *scales] == sorted({1.0, *scales})
    assert max(b / a for a, b in itertools.pairwise([1.0, *scales])) < 1.33


@pytest.mark.parametrize("size", [(11,), (8, 9)])
def test_the_continuous_output_is_its_formula_scale_by_scale(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    d = len(size)
    (scores,) = scores_of((7,), size)
    x, z = torch.randn(2, 5, *size, dtype=torch.float64), torch.randn(2, 6, *size, dtype=torch.float64)
    net = lively(ContinuousGain(d, 6, (3, 5, 7), "replicate", hamming=True).double())
    nodes = net.coefficients(z)
    expected, before = x.clone(), x
    for scale in dense_scales((3, 5, 7)):
        window = scale_windows([scale], 7, d, True)[0].view(1, -1, *[1] * d)
        filters = scores.exp() * window
        smooth = reassemble(x, filters / filters.sum(dim=1, keepdim=True))
        at = [math.log(scale / 3) / math.log(5 / 3), math.log(scale / 5) / math.log(7 / 5)]
        first, second = (math.sin(math.pi / 2 * min(max(part, 0), 1)) ** 2 for part in at)
        gain = nodes[:, :1] + first * (nodes[:, 1:2] - nodes[:, :1]) + second * (nodes[:, 2:] - nodes[:, 1:2])
        expected = expected + gain * (before - smooth)
        before = smooth
    torch.testing.assert_close(net(x, [scores], z), expected)


@pytest.mark.parametrize("hamming", [True, False])
def test_a_gain_through_the_gates_is_the_operator_of_four_bands(
    hamming: bool, sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Whole operators: the scores of smaller kernels are the middle ones of the largest, c_i = g_i at each position."""
    high, low = pair(sizes, torch.float64)
    d = len(sizes[0])
    bands = lively(FreqFusion(5, 4, d, compressed=16, bands=4, hamming=hamming).double())
    smooth = FreqFusion(5, 4, d, compressed=16, bands="continuous", hamming=hamming).double()
    encoders = bands.encode_high
    with torch.no_grad():
        for encode, kernel in zip(encoders, (3, 5), strict=False):
            for name in ("weight", "bias"):
                taps = getattr(encoders[-1], name)
                place = middle(torch.arange(7**d).view(1, -1, *[1] * d), kernel).flatten()
                getattr(encode, name).copy_(taps[place])
    shared = {name: value for name, value in bands.state_dict().items() if "encode_high" not in name}
    gates = {name.replace("gates", "coefficients"): shared.pop(name) for name in list(shared) if "gates" in name}
    last = {
        name.replace("encode_high.2", "encode_high"): v for name, v in bands.state_dict().items() if "high.2" in name
    }
    smooth.load_state_dict({**shared, **gates, **last})
    through = ContinuousGain(d, 16, (3, 5, 7), "replicate", hamming, scales=(3, 5, 7)).double()
    through.load_state_dict(smooth.sharpen.state_dict())
    dense = smooth(high, low)
    smooth.sharpen = through
    for found, expected in zip(smooth(high, low), bands(high, low), strict=True):
        torch.testing.assert_close(found, expected)
    assert not torch.allclose(dense[0], bands(high, low)[0], atol=1e-3)

    # with all usual scales, too, where the gain is one number within each band
    again = ContinuousGain(d, 16, (3, 5, 7), "replicate", hamming).double()
    again.load_state_dict(through.state_dict())
    again.basis = torch.eye(3).repeat_interleave(4, dim=1).double()
    smooth.sharpen = again
    for found, expected in zip(smooth(high, low), bands(high, low), strict=True):
        torch.testing.assert_close(found, expected)


# --- whole operators ---


@pytest.mark.parametrize("variant", [FreqFusion, AttentiveFreqFusion, DwtFusion, SeparableFusion])
@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_gets_a_gradient_and_trains(
    form: str, variant: type[FreqFusion], sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """In the first step the filters of bands with gate 0 get none; their gates do, and so they do in the second."""
    high, low = pair(sizes, torch.float64)
    net = variant(5, 4, len(sizes[0]), compressed=16, **FORMS[form]).double()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    weights = [torch.randn(2, c, *sizes[0], dtype=torch.float64) for c in (5, 4)]
    for step in (1, 2):
        optimiser.zero_grad()
        outputs = net(high, low)
        assert [tuple(y.shape) for y in outputs] == [(2, 5, *sizes[0]), (2, 4, *sizes[0])]
        sum((w * y).sum() for w, y in zip(weights, outputs, strict=True)).backward()
        dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
        waiting = ("encode_high.1", "encode_high.2") if step == 1 and net.options.has_gates else ()
        assert [name for name in dead if not name.startswith(waiting or "none")] == []
        optimiser.step()
    assert [name for name, p in net.named_parameters() if torch.equal(p, before[name])] == []


@pytest.mark.parametrize("form", MANY)
def test_gradients_are_those_of_differences(form: str) -> None:
    torch.manual_seed(0)
    net = lively(FreqFusion(2, 2, 1, compressed=8, offsets=False, **FORMS[form]).double())
    high, low = torch.randn(1, 2, 8, dtype=torch.float64), torch.randn(1, 2, 4, dtype=torch.float64)
    names = [name for name, _ in net.named_parameters()]

    def run(high: Tensor, low: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(names, parameters, strict=True))
        found: tuple[Tensor, ...] = torch.func.functional_call(net, values, (high, low))
        return found

    inputs = [high, low, *(p.detach().clone() for p in net.parameters())]
    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in inputs], fast_mode=True)


@pytest.mark.parametrize("form", MANY)
def test_a_constant_stays(form: str, sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    fine, coarse = sizes
    net = lively(FreqFusion(5, 4, len(fine), compressed=16, **FORMS[form]))
    high, up = net(torch.full((2, 5, *fine), 3.0), torch.full((2, 4, *coarse), -2.0))
    torch.testing.assert_close(high, torch.full((2, 5, *fine), 3.0))
    torch.testing.assert_close(up, torch.full((2, 4, *fine), -2.0))


@pytest.mark.parametrize("dims", [1, 2])
def test_parameters(dims: int) -> None:
    """A 3x3 convolution to k^d scores for each size, and a number a size, gate or coefficient for each position."""
    c = 24

    def added(**options: object) -> int:
        return count_parameters(FreqFusion(5, 4, dims, compressed=c, **options))

    def encoders(*kernels: int) -> int:
        return sum((3**dims * c + 1) * k**dims for k in kernels)

    def gates(number: int) -> int:
        return (c + 1) * number

    rest = added() - encoders(5, 3)
    assert added(kernels=(3, 5, 7)) == rest + encoders(3, 5, 7) + encoders(3, 3, 5) + 2 * gates(3)
    assert added(kernels=(5, 9)) == rest + encoders(5, 9) + encoders(3, 7) + 2 * gates(2)
    assert added(kernels=(7,)) == rest + encoders(7, 5)
    assert added(gates="learned") == rest + encoders(5, 3) + gates(1)
    assert added(bands=3) == rest + encoders(5) + encoders(3, 5) + gates(2)
    assert added(bands=4) == rest + encoders(7) + encoders(3, 5, 7) + gates(3)
    assert added(bands=3, kernels=(7,)) == rest + encoders(7) + encoders(5, 7) + gates(2)
    assert added(bands="continuous") == rest + encoders(7, 7) + gates(3)


@pytest.mark.parametrize("form", MANY)
@pytest.mark.parametrize("coarse", [1, 2, 3, 4])
def test_no_kernel_is_longer_than_the_map(form: str, coarse: int) -> None:
    """Of a stage of n positions the outer taps are left out: their scores change nothing, and all sizes train."""
    torch.manual_seed(0)
    net = lively(FreqFusion(5, 4, 1, compressed=16, **FORMS[form]))
    fine = 2 * coarse
    high, low = torch.randn(2, 5, fine), torch.randn(2, 4, coarse)
    filters, scores, z, *_ = net.scores(high, low)
    if form == "kernels":
        assert filters.shape[1] == coarse - (coarse + 1) % 2
    before = net.sharpen(high, scores, z)
    longest = fine - 1
    changed = []
    for each in scores:
        outer = torch.arange(each.shape[1]) - each.shape[1] // 2
        changed.append(torch.where((outer.abs() > longest // 2).view(1, -1, 1), each + 5, each))
    assert torch.equal(net.sharpen(high, changed, z), before)
    sum(y.square().sum() for y in net(high, low)).backward()
    if coarse > 2:
        assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


def test_a_decoder_with_stages_of_few_positions_takes_every_form() -> None:
    for form in ("kernels=3-5-7", "bands=4", "bands=continuous"):
        torch.manual_seed(0)
        net = build_dense("unet-small", (2, 40), 3, f"freqfusion:{form}")
        outputs = net(torch.randn(2, 2, 40))
        assert min(value.shape[2] for value in outputs.features.values()) < 5
        assert outputs.logits.isfinite().all()


def test_a_constant_convolution_draws_nothing() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    layer = constant_conv(2, 3, [1.0, -2.0])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert layer(torch.randn(1, 3, 2, 2)).flatten(2).unique(dim=2).flatten().tolist() == [1.0, -2.0]


@pytest.mark.parametrize("form", ["bands 4", "continuous"])
def test_gains_learn_which_scale_belongs_where(form: str) -> None:
    """Twice the second band in the first half of a line, and none of the finest in the second."""
    torch.manual_seed(0)
    size, sizes = (32,), (3, 5, 7)
    x, place = torch.randn(4, 2, *size), (torch.arange(32) < 16).float().expand(4, 1, 32)
    scores = [torch.zeros(4, k, *size) for k in sizes]
    smooth = [x, *(reassemble(x, normalise(each, hamming=True)) for each in scores)]
    target = x + 2 * place * (smooth[1] - smooth[2]) - (1 - place) * (x - smooth[1])
    if form == "continuous":
        net: nn.Module = ContinuousGain(1, 1, sizes, "replicate", hamming=True, scales=sizes)
        scores = scores[-1:]
    else:
        net = BandGates(1, 1, 4, "replicate", hamming=True)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.2)
    before = F.mse_loss(net(x, scores, place), target).item()
    for _ in range(60):
        optimiser.zero_grad()
        loss = F.mse_loss(net(x, scores, place), target)
        loss.backward()
        optimiser.step()
    assert loss < 0.02 * before


def test_options_that_cannot_be() -> None:
    for options, message in (
        ({"kernels": (3, 4)}, "kernels = 3-4: take odd sizes from 3 to 15, such as 5 or 3-5-7"),
        ({"kernels": (1,)}, "kernels = 1: take odd sizes"),
        ({"kernels": (17,)}, "kernels = 17: take odd sizes"),
        ({"kernels": (5, 3, 5)}, "kernels = 5-3-5: a size is named twice"),
        ({"kernels": ("x",)}, "kernels = 'x' is not a number"),
        ({"bands": 5}, "bands = 5 is not one of 2, 3, 4, continuous"),
        ({"bands": 1}, "bands = 1 is not one of"),
        ({"bands": "smooth"}, "bands = 'smooth' is not one of"),
        ({"bands": 3, "gates": "fixed"}, "gates = fixed: only two bands have a fixed gate"),
        ({"gates": "free"}, "gates = 'free' is not one of fixed, learned"),
        ({"kernels": (3, 5), "bands": 3}, "kernels = 3-5: bands with learned gates have sizes of their own"),
        ({"kernels": (3, 5), "gates": "learned"}, "kernels = 3-5: bands with learned gates"),
        ({"kernels": (3, 5), "bands": "continuous"}, "kernels = 3-5: bands with learned gates"),
    ):
        with pytest.raises(MmkdError, match=message) as error:
            FreqFusion(5, 4, 1, **options)
        assert "\n" not in str(error.value)
    assert FreqFusionOptions((7, 3)).kernels == (3, 7)
    assert FreqFusionOptions(bands=3, gates="learned") == FreqFusionOptions(bands=3)
