"""Dense networks whose decoder joins its stages by a stage fusion."""

import copy
from functools import cache

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.methods.outputs import Outputs
from mmkd.nets import DENSE, STAGE_FUSIONS, build_dense, check_dense_fusion, count_parameters
from mmkd.nets.carafe import enlarge
from mmkd.nets.dense.layers import resize, stage_join

SEGNEXT = ("segnext", "segnext-ham", "segnext-small", "segnext-small-ham")
NETS = ("fast-scnn", "fast-scnn-small", "segformer", "segformer-small", *SEGNEXT, "unet", "unet-small")
SMALL = ("fast-scnn-small", "segformer-small", "unet-small")
CASES = [(net, fusion) for net in SMALL for fusion in STAGE_FUSIONS]
PARAMETERS = {  # without a fusion, on 6 channels, with 4 classes
    "fast-scnn-small": 76_652,
    "segformer-small": 143_636,
    "unet-small": 8_284,
}


def build(net: str, shape: tuple[int, ...], fusion: str | None, classes: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return build_dense(net, shape, classes, fusion)


@cache
def plain_shapes(net: str, size: tuple[int, ...]) -> dict[str, torch.Size]:
    """Shapes of the features of two samples, without a fusion."""
    features = build(net, (2, *size), None).eval()(torch.randn(2, 2, *size)).features
    return {name: value.shape for name, value in features.items()}


@pytest.mark.parametrize(("net", "fusion"), CASES)
@pytest.mark.parametrize("sizes", [((32,), (33,), (50,), (127,)), ((32, 32), (33, 50))], ids=["signal", "image"])
def test_any_length_and_a_batch_of_one(net: str, fusion: str, sizes: tuple[tuple[int, ...], ...]) -> None:
    model = build(net, (2, *sizes[0]), fusion)
    for size in sizes:
        model.zero_grad()
        for batch in (1, 2):
            outputs = model.train()(torch.randn(batch, 2, *size))
            assert isinstance(outputs, Outputs)
            assert outputs.logits.shape == (batch, 4, *size)
            outputs.logits.square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        x = torch.randn(2, 2, *size)
        with torch.no_grad():
            together, alone = model.eval()(x), model(x[1:])
        assert torch.allclose(together.logits[1:], alone.logits, atol=1e-4)
        assert {name: value.shape for name, value in together.features.items()} == plain_shapes(net, size)


@pytest.mark.parametrize(("net", "fusion"), CASES)
@pytest.mark.parametrize("shape", [(6, 128), (3, 32, 40)], ids=str)
def test_every_parameter_gets_a_gradient_that_counts(net: str, fusion: str, shape: tuple[int, ...]) -> None:
    """Of the logits alone, in training: none that a later normalisation takes out, none unused."""
    model = build(net, shape, fusion).double()
    logits = model(torch.randn(2, *shape, dtype=torch.float64)).logits
    F.cross_entropy(logits, torch.randint(4, logits[:, 0].shape)).backward()
    size = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in model.named_parameters()}
    assert [name for name, s in size.items() if s < 1e-11] == []


@pytest.mark.parametrize("net", NETS)
def test_paper_sized_networks_take_them_too(net: str) -> None:
    model = build(net, (2, 64), "freqfusion")
    model(torch.randn(1, 2, 64)).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("net", "plain", "numbers"),
    [
        ("unet-small", 110, (1692.6898645854453, 7.900901691069521, 16.156089696808294)),
        ("fast-scnn-small", 237, (19347.312959850642, 23.05519762574113, 765.4912736099795)),
        ("segformer-small", 111, (5833.039885971083, 32.328735791903455, 1.1555899066906932)),
    ],
)
def test_none_is_the_network_as_it_was(net: str, plain: int, numbers: tuple[float, ...]) -> None:
    """Numbers of weights, logits in training and in evaluation, computed before there were fusions."""
    model = build(net, (3, 50), None)
    x = torch.randn(2, 3, 50)
    state = model.state_dict()
    assert len(state) == plain
    weights = sum(value.double().abs().sum().item() for value in state.values())
    torch.manual_seed(5)
    trained = model(x).logits.double().abs().sum().item()
    found = (weights, trained, model.eval()(x).logits.double().abs().sum().item())
    assert found == pytest.approx(numbers, rel=1e-4)


def test_none_is_interpolation_and_concatenation() -> None:
    model = build("unet-small", (2, 45), None).eval()
    outputs = model(torch.randn(1, 2, 45))
    maps = outputs.features
    x = maps["encoder5"]
    for n, stage in enumerate(model.up, 1):
        skip = maps[f"encoder{5 - n}"]
        x = stage(torch.cat([resize(x, skip.shape[2:]), skip], dim=1))
        assert torch.equal(x, maps[f"decoder{n}"])


@pytest.mark.parametrize("fusion", ["sum", "concat", "freqfusion"])
def test_unet_joins_every_skip(fusion: str) -> None:
    model = build("unet-small", (2, 45), fusion).eval()
    maps = model(torch.randn(1, 2, 45)).features
    x = maps["encoder5"]
    for n, (join, stage) in enumerate(zip(model.joins, model.up, strict=True), 1):
        skip = maps[f"encoder{5 - n}"]
        up = enlarge(x, skip.shape[2:])
        if fusion == "sum":
            joined = skip + F.conv1d(up, join.join.project.weight)
        else:
            joined = torch.cat([skip, up] if fusion == "concat" else list(join.operator(skip, x)), dim=1)
        x = stage(joined)
        assert torch.allclose(x, maps[f"decoder{n}"], atol=1e-5)


def test_fast_scnn_goes_in_two_steps_of_twice_the_positions() -> None:
    model = build("fast-scnn-small", (2, 127), "sum").eval()
    maps = model(torch.randn(1, 2, 127)).features
    fine, middle, coarse = maps["encoder1"], maps["encoder2"], maps["encoder5"]
    assert [m.shape[2] for m in (fine, middle, coarse)] == [16, 8, 4]
    first, second = (join.join.project.weight for join in (model.fusion.first, model.fusion.second))
    half = middle + F.conv1d(coarse.repeat_interleave(2, 2), first)
    whole = fine + F.conv1d(half.repeat_interleave(2, 2), second)
    assert torch.allclose(model.fusion.out(whole), maps["decoder1"], atol=1e-5)


def test_segformer_joins_the_coarsest_first() -> None:
    model = build("segformer-small", (2, 64), "concat").eval()
    maps = model(torch.randn(1, 2, 64)).features
    linear = [layer(maps[f"encoder{n}"].transpose(1, 2)).transpose(1, 2) for n, layer in enumerate(model.linears, 1)]
    fused = model.fuse(torch.cat([enlarge(y, (16,)) for y in linear], dim=1).transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(torch.relu(model.norm(fused)), maps["decoder1"], atol=1e-5)


def test_parameters() -> None:
    own = {(net, fusion): count_parameters(build(net, (6, 128), fusion)) for net, fusion in CASES}
    for net, plain in PARAMETERS.items():
        assert count_parameters(build(net, (6, 128), None)) == plain
        assert own[net, "dwt"] == own[net, "dwt-attention"] == own[net, "freqfusion"]  # one axis has one high band
        assert own[net, "freqfusion-attention"] == own[net, "freqfusion"]
        assert own[net, "concat"] < own[net, "carafe"] < own[net, "freqfusion"]
        assert own[net, "dsconv"] < own[net, "freqfusion"]
        different = {own[net, fusion] for fusion in STAGE_FUSIONS if not fusion.startswith("dwt")}
        assert len(different) == 6 - (net == "segformer-small")  # where a sum costs as much as a concatenation
    image = {fusion: count_parameters(build("unet-small", (3, 32, 32), fusion)) for fusion in STAGE_FUSIONS}
    assert image["dwt"] > image["freqfusion"]  # two axes have three
    assert image["dwt"] == image["dwt-attention"]

    assert own["unet-small", "concat"] == own["segformer-small", "concat"] - 143_636 + 8_284 == 8_284
    # of the first of two convolutions of kernel 3 the coarse map's part goes, a 1x1 convolution of it comes
    widths = [(12, 16), (16, 12), (12, 8), (8, 4)]
    assert own["unet-small", "sum"] == 8_284 + sum(-3 * low * fine + low * fine for low, fine in widths)
    assert own["segformer-small", "sum"] == 143_636 - 3 * 64 * 64 + 3 * 64 * 64
    # without Fusion(16, 32 -> 32), with two concatenations and a separable convolution
    fusion = 16 * 32 + 2 * 32 + 32 * 3 + 2 * 32 + 32 * 32 + 2 * 32
    channels = 16 + 16 + 32
    assert own["fast-scnn-small", "concat"] == 76_652 - fusion + channels * 3 + channels * 32 + 2 * 32


def test_compressed_channels_are_an_eighth_of_both_and_at_least_eight() -> None:
    for fine, coarse, expected in ((64, 128, 24), (4, 8, 8), (256, 768, 128)):
        assert stage_join("freqfusion", fine, coarse, 1).operator.compress_high.out_channels == expected
    operator = stage_join("freqfusion", 64, 64, 2).operator
    assert operator.padding == operator.resampler.padding == "replicate"


@pytest.mark.parametrize(("net", "fusion"), [(net, fusion) for net in SMALL for fusion in ("gated", "dwt", "dsconv")])
def test_copies_and_checkpoints(net: str, fusion: str) -> None:
    model, x = build(net, (2, 50), fusion), torch.randn(4, 2, 50)
    model(x)
    other = build_dense(net, (2, 50), 4, fusion)
    other.load_state_dict(load(save(model.state_dict())))
    expected = model.eval()(x).logits
    assert torch.equal(other.eval()(x).logits, expected)
    assert torch.equal(copy.deepcopy(model)(x).logits, expected)
    assert model(torch.randn(1, 2, 517)).logits.shape == (1, 4, 517)  # a length that it was not built for


@pytest.mark.parametrize("net", SMALL)
@pytest.mark.parametrize("fusion", ["carafe", "freqfusion"])
def test_it_learns(net: str, fusion: str) -> None:
    torch.manual_seed(0)
    wave = torch.sin(torch.arange(96) * 0.15 + torch.linspace(0, 6, 8)[:, None])
    x, y = torch.stack([wave, wave.roll(3, 1)], 1) + 0.1 * torch.randn(8, 2, 96), (wave > 0).long()
    model = build(net, (2, 96), fusion, 2)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model(x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
    assert [k for k, p in model.named_parameters() if torch.equal(p, before[k])] == []


def test_refusals() -> None:
    taking = ", ".join(NETS)
    with pytest.raises(MmkdError, match=rf"'mamba' joins no coarser with a finer map; use one of {taking}, or no "):
        build_dense("mamba", (2, 64), 4, "freqfusion")
    with pytest.raises(MmkdError, match="unknown stage fusion 'freqfuson'; did you mean 'freqfusion'"):
        build_dense("unet", (2, 64), 4, "freqfuson")
    with pytest.raises(MmkdError, match="unknown dense network 'unett'; did you mean 'unet'"):
        check_dense_fusion("unett", "freqfusion")

    class Mine(nn.Module):
        def forward(self, x: Tensor) -> Outputs:
            return Outputs(x.new_zeros(len(x), 4, *x.shape[2:]), x.flatten(1))

    seen = []
    DENSE.register("mine")(lambda shape, classes, fusion=None: seen.append(fusion) or Mine())
    try:
        for fusion in (None, "dwt"):
            build_dense("mine", (2, 64), 4, fusion)
        assert seen == [None, "dwt"]
    finally:
        DENSE.unregister("mine")
