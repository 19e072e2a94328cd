"""SegNeXt and its Hamburger decoder against numbers of the reference implementation, and against slow loops."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmkd.nets import build_dense, count_parameters
from mmkd.nets.dense.hamburger import Factorisation, Hamburger, factorise
from mmkd.nets.dense.layers import resize
from mmkd.nets.dense.segnext import Block, LinearDecoder, Mscan, MultiScale, SegNext

with np.load(Path(__file__).parents[1] / "oracles" / "segnext.npz") as _file:
    NUMBERS = dict(_file)

STAGES = {  # of the encoder of the reference -> of ours
    r"patch_embed(\d)\.proj\.(\d)": lambda m: f"stages.{int(m[1]) - 1}.embed.{m[2]}",
    r"patch_embed(\d)\.proj": lambda m: f"stages.{int(m[1]) - 1}.embed.0",
    r"patch_embed(\d)\.norm": lambda m: f"stages.{int(m[1]) - 1}.embed.1",
    r"block(\d)": lambda m: f"stages.{int(m[1]) - 1}.blocks",
    r"^norm(\d)": lambda m: f"stages.{int(m[1]) - 1}.norm",
}
NAMES = {  # of the parts
    r"attn\.proj_1": "attention.before",
    r"attn\.proj_2": "attention.after",
    r"attn\.spatial_gating_unit": "attention.multi_scale",
    r"conv([012])_([12])": lambda m: f"strips.{m[1]}.{int(m[2]) - 1}",
    r"conv0": "near",
    r"conv3": "mix",
    r"layer_scale_": "scale",
    r"mlp\.fc1": "feed.wide",
    r"mlp\.dwconv\.dwconv": "feed.depthwise",
    r"mlp\.fc2": "feed.back",
}
HAMBURGER = {
    r"squeeze\.conv": "decoder.squeeze.0",
    r"squeeze\.norm": "decoder.squeeze.1",
    r"hamburger\.ham_in\.conv": "decoder.lower",
    r"hamburger\.ham_out\.conv": "decoder.upper.0",
    r"hamburger\.ham_out\.norm": "decoder.upper.1",
    r"align\.conv": "decoder.align.0",
    r"align\.norm": "decoder.align.1",
}


def tensor(name: str) -> Tensor:
    return torch.from_numpy(NUMBERS[name])


def ours(name: str, names: dict = NAMES) -> str:
    """The name of a weight of the reference in our networks."""
    for theirs, own in names.items():
        name = re.sub(theirs, own, name)
    return name


def load(module: nn.Module, prefix: str, names: dict = NAMES) -> None:
    """Copy the weights of the reference that are stored under `prefix`; all of both sides must have a partner."""
    state = {ours(key.removeprefix(prefix), names): tensor(key) for key in NUMBERS if key.startswith(prefix)}
    left = module.load_state_dict(state, strict=False)
    assert left.unexpected_keys == []
    assert [key for key in left.missing_keys if not key.endswith(("num_batches_tracked", ".bases"))] == []


def assert_near(found: Tensor, name: str) -> None:
    """Within 1e-5 of the largest number."""
    expected = tensor(name).float()
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


# Attention, block, encoder --------------------------------------------------------------------------------------------


def test_multi_scale_attention_of_images() -> None:
    module, x = MultiScale(2, 4), tensor("msca_in").requires_grad_()
    load(module, "msca_state.")
    out = module(x)
    assert_near(out, "msca_out")
    out.backward(tensor("msca_grad_out"))
    assert_near(x.grad, "msca_in_grad")
    for key in (key for key in NUMBERS if key.startswith("msca_grad.")):
        assert_near(module.get_parameter(ours(key.removeprefix("msca_grad."))).grad, key)


def test_multi_scale_attention_of_signals() -> None:
    """One convolution along time in place of two strips; on a map shorter than the longest kernel."""
    module, x = MultiScale(1, 4), tensor("own_msca1d_in").requires_grad_()
    names = {"near": "conv0", "mix": "mix", **{f"strips.{n}.0": f"strip{k}" for n, k in enumerate((7, 11, 21))}}
    state = {}
    for own, theirs in names.items():
        state[f"{own}.weight"] = tensor(f"own_msca1d_state.{theirs}.w")
        state[f"{own}.bias"] = tensor(f"own_msca1d_state.{theirs}.b")
    module.load_state_dict(state)
    out = module(x)
    assert_near(out, "own_msca1d_out")
    out.backward(tensor("own_msca1d_grad_out"))
    assert_near(x.grad, "own_msca1d_in_grad")


@pytest.mark.parametrize("training", [False, True])
def test_block(training: bool) -> None:
    block = Block(2, 4, 2)
    load(block, "mscan_block_state.")
    assert_near(block.train(training)(tensor("msca_in")), f"mscan_block_out_{'train' if training else 'eval'}")


def test_encoder() -> None:
    encoder = Mscan(2, 3, (4, 6, 8, 10), (1, 1, 2, 1), (2, 2, 2, 2))
    load(encoder, "mscan_state.", STAGES | NAMES)
    for n, x in enumerate(encoder.eval()(tensor("mscan_in")), 1):
        assert_near(x, f"mscan_out_stage{n}")


def test_parameters_of_the_encoder() -> None:
    counts = {dims: count_parameters(Mscan(dims, 3)) for dims in (1, 2)}
    assert counts == {1: 3_436_224, 2: int(NUMBERS["mscan_t_parameters_2d"])} == {1: 3_436_224, 2: 3_903_584}
    assert count_parameters(Mscan(2, 1)) == 3_903_296
    assert count_parameters(Mscan(1, 1)) == 3_436_128
    wide = Mscan(2, 3, (64, 128, 320, 512), (2, 2, 4, 2))
    assert count_parameters(wide) == NUMBERS["mscan_s_parameters_2d"] == 13_450_176
    small = [build_dense("segnext-small", (3, *size), 6) for size in ((64,), (32, 32))]
    assert [count_parameters(net.encoder) for net in small] == [453_552, 550_272]
    assert [count_parameters(MultiScale(dims, 32)) for dims in (1, 2)] == [2_592, 4_576]
    assert [count_parameters(Block(dims, 32, 8)) for dims in (1, 2)] == [22_592, 26_112]


def test_parameters_of_the_decoders() -> None:
    def head(net: nn.Module) -> int:
        return count_parameters(net) - count_parameters(net.encoder)

    published = int(NUMBERS["segnext_t_head_parameters_150_classes"])
    for shape in ((3, 64), (3, 32, 32)):
        assert head(build_dense("segnext-ham", shape, 150)) == published == 359_830
        assert head(build_dense("segnext-ham", shape, 6)) == 322_822
        assert head(build_dense("segnext", shape, 6)) == 132_614


def test_initial_weights() -> None:
    """Convolutions N(0, 2 / fan_out), biases 0, scales of the branches 0.01."""
    torch.manual_seed(0)
    block = Block(2, 64, 4)
    feed = block.feed
    for layer, fan_out in (
        (block.attention.multi_scale.near, 25),
        (block.attention.multi_scale.strips[2][0], 21),
        (block.attention.before, 64),
        (feed.wide, 256),
        (feed.depthwise, 9),
    ):
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert not layer.bias.any()
    assert set(block.scale1.tolist()) == set(block.scale2.tolist()) == {torch.tensor(0.01).item()}


def test_stochastic_depth_rises_to_a_tenth() -> None:
    encoder = Mscan(1, 2)
    drops = [block.kept.drop for stage in encoder.stages for block in stage.blocks]
    assert drops == pytest.approx([0.1 * n / 12 for n in range(13)])


@pytest.mark.parametrize(("stride", "lengths"), [((2, 2), [32, 16, 8, 4]), ((2, 1), [64, 32, 16, 8])])
def test_strides_of_the_stem(stride: tuple[int, int], lengths: list[int]) -> None:
    net = SegNext((2, 128), 3, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), channels=8, stem_stride=stride).eval()
    outputs = net(torch.randn(1, 2, 128))
    assert [x.shape[2] for x in outputs.features.values()] == [*lengths, lengths[0]]
    assert outputs.logits.shape == (1, 3, 128)


@pytest.mark.parametrize("name", ["segnext-small", "segnext-small-ham"])
@pytest.mark.parametrize("size", [(1,), (2,), (7,), (1, 1), (1, 9)], ids=str)
def test_maps_of_one_position(name: str, size: tuple[int, ...]) -> None:
    net = build_dense(name, (2, *size), 3)
    for batch in (1, 2):
        net.train()(torch.randn(batch, 2, *size)).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.eval()(torch.randn(1, 2, *size)).logits.isfinite().all()


# Decoders -------------------------------------------------------------------------------------------------------------


def test_linear_decoder_by_hand() -> None:
    decoder = LinearDecoder(1, (3, 4, 5), 8).eval()
    maps = [torch.randn(2, width, length) for width, length in ((3, 9), (4, 5), (5, 3))]
    parts = [resize(layer(x), (9,)) for layer, x in zip(decoder.project, maps, strict=True)]
    mixed = torch.einsum("oi,bit->bot", decoder.fuse.weight[..., 0], torch.cat(parts, 1))
    assert decoder.fuse.bias is None
    assert torch.allclose(decoder(maps), torch.relu(decoder.norm(mixed)), atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_factorisation(training: bool) -> None:
    """Published numbers of steps: 6 in training, 7 in evaluation."""
    mode = "train" if training else "eval"
    module = Factorisation(4, 3, steps=6, eval_steps=7).train(training)
    module.bases = tensor("nmf_bases")
    x = tensor("nmf_in").requires_grad_()
    out = module(x)
    assert_near(out, f"nmf_out_{mode}")
    out.backward(tensor("msca_grad_out"))
    assert_near(x.grad, f"nmf_in_grad_{mode}")


def test_factorisation_in_loops() -> None:
    torch.manual_seed(0)
    x, bases = torch.rand(1, 5, 6, dtype=torch.float64), torch.rand(5, 2, dtype=torch.float64)
    w, h = bases.clone(), torch.zeros(6, 2, dtype=torch.float64)
    for n in range(6):
        scores = torch.stack([x[0, :, n] @ w[:, r] for r in range(2)]).exp()
        h[n] = scores / scores.sum()

    def shares() -> Tensor:
        new = h.clone()
        for n in range(6):
            for r in range(2):
                below = sum(h[n, q] * (w[:, q] @ w[:, r]) for q in range(2))
                new[n, r] = h[n, r] * (x[0, :, n] @ w[:, r]) / (below + 1e-6)
        return new

    for _ in range(3):
        h = shares()
        new = w.clone()
        for c in range(5):
            for r in range(2):
                below = sum(w[c, q] * (h[:, q] @ h[:, r]) for q in range(2))
                new[c, r] = w[c, r] * (x[0, c] @ h[:, r]) / (below + 1e-6)
        w = new
    assert torch.allclose(factorise(x, bases, 3)[0], w @ shares().T, atol=1e-12)


def test_factorisation_comes_nearer_with_every_step() -> None:
    torch.manual_seed(0)
    low = torch.rand(1, 12, 2) @ torch.rand(1, 2, 30)
    bases = torch.rand(12, 2)
    errors = [(factorise(low, bases, steps) - low).square().mean().item() for steps in (1, 5, 20, 500)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_bases_are_drawn_once_under_the_seed() -> None:
    torch.manual_seed(3)
    first, other = Factorisation(6, 4), Factorisation(6, 4)
    torch.manual_seed(3)
    assert torch.equal(first.bases, Factorisation(6, 4).bases)
    assert not torch.equal(first.bases, other.bases)
    assert torch.allclose(first.bases.norm(dim=0), torch.ones(4))
    assert (first.bases >= 0).all()
    assert [name for name, _ in first.named_parameters()] == []
    other.load_state_dict(first.state_dict())
    x = torch.rand(2, 6, 9)
    assert torch.equal(first(x), other(x))
    assert torch.equal(first(x), first.eval()(x))  # as many steps in both modes, nothing random


@pytest.mark.parametrize(("positions", "rank"), [(1, 1), (2, 1), (5, 2), (8, 4), (100, 4)])
def test_no_more_bases_than_half_the_positions(positions: int, rank: int) -> None:
    module = Factorisation(6, 4).double()
    x = torch.rand(1, 6, positions, dtype=torch.float64)
    assert torch.equal(module(x), factorise(x, module.bases[:, :rank], 6))
    assert torch.linalg.matrix_rank(module(x)[0], rtol=1e-9) <= rank


def test_hamburger() -> None:
    """With three bases and 7 steps, and the reference's classifier."""
    decoder, classifier = Hamburger(2, (6, 8, 10), 32, rank=3, eval_steps=7).eval(), nn.Conv2d(32, 5, 1)
    load(nn.ModuleDict({"decoder": decoder, "conv_seg": classifier}), "ham_head_state.", HAMBURGER)
    decoder.factorisation.bases = tensor("ham_head_bases")
    maps = [tensor(f"mscan_out_stage{n}").float() for n in (2, 3, 4)]
    assert_near(classifier(decoder(maps)), "ham_head_out_eval")
