"""SegNeXt whose decoder joins the stages by a stage fusion."""

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from mmkd.nets import STAGE_FUSIONS, build_dense
from mmkd.nets.carafe import enlarge
from mmkd.nets.dense.segnext import SegNext

CASES = [(decoder, fusion) for decoder in ("mlp", "ham") for fusion in STAGE_FUSIONS]
SIZES = {"signal": ((32,), (33,), (127,), (1,)), "image": ((33, 50), (1, 3))}


def build(decoder: str, fusion: str | None, channels: int, dims: int) -> SegNext:
    """A network of four thin stages of a block each, for 4 classes; no branch is left out at random."""
    torch.manual_seed(1)
    shape = (channels, *(32,) * dims)
    thin = {"widths": (6, 8, 10, 12), "depths": (1, 1, 1, 1), "ratios": (2, 2, 2, 2), "drop": 0.0}
    return SegNext(shape, 4, decoder=decoder, channels=16, groups=4, fusion=fusion, **thin)


@pytest.mark.parametrize(("decoder", "fusion"), CASES)
@pytest.mark.parametrize("kind", SIZES)
def test_any_length_and_a_batch_of_one(decoder: str, fusion: str, kind: str) -> None:
    sizes = SIZES[kind]
    net, plain = (build(decoder, name, 2, len(sizes[0])) for name in (fusion, None))
    for size in sizes:
        net.zero_grad()
        for batch in (1, 2):
            outputs = net.train()(torch.randn(batch, 2, *size))
            assert outputs.logits.shape == (batch, 4, *size)
            outputs.logits.square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        x = torch.randn(2, 2, *size)
        with torch.no_grad():
            together, alone, other = net.eval()(x), net(x[1:]), plain.eval()(x)
        assert torch.allclose(together.logits[1:], alone.logits, atol=1e-4)
        shapes = [{name: value.shape for name, value in o.features.items()} for o in (together, other)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("decoder", "fusion"), CASES)
@pytest.mark.parametrize("size", [(128,), (32, 40)], ids=str)
def test_every_parameter_of_the_decoder_gets_a_gradient_that_counts(
    decoder: str, fusion: str, size: tuple[int, ...]
) -> None:
    """But for the first biases of the linear decoder, where its normalisation takes out their sum."""
    net = build(decoder, fusion, 3, len(size)).double()
    logits = net(torch.randn(2, 3, *size, dtype=torch.float64)).logits
    F.cross_entropy(logits, torch.randint(4, logits[:, 0].shape)).backward()
    sizes = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in net.decoder.named_parameters()}
    left = {name for name, s in sizes.items() if s < 1e-11}
    assert left <= ({f"project.{n}.bias" for n in range(4)} if decoder == "mlp" else set())


@pytest.mark.parametrize("fusion", ["sum", "concat", "freqfusion"])
def test_hamburger_joins_the_stages_themselves_the_coarsest_first(fusion: str) -> None:
    """As in the decoder of FreqFusion's authors; a concatenation has the fine map first."""
    net = build("ham", fusion, 2, 1).eval()
    maps = net(torch.randn(2, 2, 71)).features
    x = maps["encoder4"]
    for n, join in zip((3, 2), net.decoder.joins, strict=True):
        fine = maps[f"encoder{n}"]
        up = enlarge(x, fine.shape[2:])
        if fusion == "sum":
            x = fine + F.conv1d(up, join.join.project.weight)
        else:
            x = torch.cat([fine, up] if fusion == "concat" else list(join.operator(fine, x)), dim=1)
    squeezed = torch.relu(net.decoder.squeeze(x))
    low = net.decoder.factorisation(torch.relu(net.decoder.lower(squeezed)))
    burger = torch.relu(squeezed + net.decoder.upper(low))
    assert torch.allclose(torch.relu(net.decoder.align(burger)), maps["decoder1"], atol=1e-5)
    if fusion == "freqfusion":
        compressed = [join.operator.compress_high.out_channels for join in net.decoder.joins]
        assert compressed == [8, 8]  # at least
        wide = build_dense("segnext-ham", (2, 64), 4, fusion).decoder.joins
        assert [join.operator.compress_high.out_channels for join in wide] == [(256 + 160) // 8, (256 + 160 + 64) // 8]


def test_linear_decoder_joins_projected_maps_the_coarsest_first() -> None:
    net = build("mlp", "sum", 2, 1).eval()
    maps = net(torch.randn(2, 2, 71)).features
    projected = [layer(maps[f"encoder{n}"]) for n, layer in enumerate(net.decoder.project, 1)]
    x = projected[3]
    for n, join in zip((2, 1, 0), net.decoder.joins, strict=True):
        x = projected[n] + F.conv1d(enlarge(x, projected[n].shape[2:]), join.join.project.weight)
    assert torch.allclose(torch.relu(net.decoder.norm(net.decoder.fuse(x))), maps["decoder1"], atol=1e-5)


@pytest.mark.parametrize("name", ["segnext", "segnext-ham", "segnext-small", "segnext-small-ham"])
def test_registered_networks_take_a_fusion(name: str) -> None:
    plain, joined = build_dense(name, (2, 64), 4), build_dense(name, (2, 64), 4, "gated")
    assert [len(net.get_submodule("decoder.joins")) for net in (plain, joined)] == [0, 2 if "ham" in name else 3]


@pytest.mark.parametrize("decoder", ["mlp", "ham"])
def test_it_learns_and_is_stored(decoder: str) -> None:
    torch.manual_seed(0)
    wave = torch.sin(torch.arange(96) * 0.15 + torch.linspace(0, 6, 8)[:, None])
    x, y = torch.stack([wave, wave.roll(3, 1)], 1) + 0.1 * torch.randn(8, 2, 96), (wave > 0).long()
    net: nn.Module = build(decoder, "freqfusion", 2, 1)
    other = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(net(x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
    other.load_state_dict(load(save(net.state_dict())))
    assert torch.equal(other.eval()(x).logits, net.eval()(x).logits)
