"""Networks that label every position: what all promise, and each against its source."""

import copy
import warnings

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.methods.outputs import Outputs
from mmkd.methods.pairing import matched_stages
from mmkd.nets import DENSE, build_dense, count_parameters
from mmkd.nets.dense.fast_scnn import Bottleneck, PyramidPooling
from mmkd.nets.dense.layers import BatchNorm, StochasticDepth, resize
from mmkd.nets.dense.segformer import Attention, Block, SegFormer
from mmkd.nets.dense.segnext import LinearDecoder, SegNext

NAMES = (
    "fast-scnn",
    "fast-scnn-small",
    "mamba",
    "segformer",
    "segformer-small",
    "segnext",
    "segnext-ham",
    "segnext-small",
    "segnext-small-ham",
    "unet",
    "unet-small",
)
SHAPES = {"signal": (6, 128), "image": (3, 48, 64)}
CASES = [(name, kind) for name in NAMES for kind in SHAPES]
PARAMETERS = {  # 6 channels, 4 classes; RGB, 19 classes
    "fast-scnn": (1_102_452, 1_136_259),
    "fast-scnn-small": (76_652, 85_259),
    "mamba": (42_468, 46_707),
    "segformer": (2_922_116, 3_716_723),
    "segformer-small": (143_636, 219_907),
    "segnext": (3_568_724, 4_037_875),
    "segnext-ham": (3_758_676, 4_229_747),
    "segnext-small": (483_964, 581_587),
    "segnext-small-ham": (478_908, 576_531),
    "unet": (163_812, 488_307),
    "unet-small": (8_284, 24_043),
}


def build(name: str, shape: tuple[int, ...], classes: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return build_dense(name, shape, classes)


def test_names() -> None:
    assert tuple(DENSE) == NAMES
    assert all((DENSE.get(name).__doc__ or "").strip() for name in NAMES)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_outputs(name: str, kind: str) -> None:
    shape = SHAPES[kind]
    net, x = build(name, shape), torch.randn(3, *shape)
    assert net.training
    outputs = net.eval()(x)
    assert isinstance(outputs, Outputs)
    assert outputs.logits.shape == (3, 4, *shape[1:])
    stages = list(outputs.features)
    deep = sum(s.startswith("encoder") for s in stages)
    assert stages == [f"encoder{n + 1}" for n in range(deep)] + [f"decoder{n + 1}" for n in range(len(stages) - deep)]
    assert 0 < deep < len(stages)
    assert all(f.ndim == x.ndim and len(f) == 3 for f in outputs.features.values())
    sizes = [f.flatten(2).shape[2] for f in outputs.features.values()]
    assert sizes[:deep] == sorted(sizes[:deep], reverse=True)
    assert sizes[deep:] == sorted(sizes[deep:])
    deepest = outputs.features[f"encoder{deep}"]
    assert torch.allclose(outputs.embedding, deepest.mean(dim=tuple(range(2, x.ndim))), atol=1e-6)

    # the class activation maps of the last decoder map, with the bias and interpolated, are the logits
    bias = net.get_parameter("head.conv.bias").view(-1, *(1,) * len(shape[1:]))
    maps = outputs.activation_maps() + bias
    assert torch.allclose(resize(maps, shape[1:]), outputs.logits, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [((32,), (33,), (61,), (250,)), ((32, 32), (45, 38))], ids=["signal", "image"])
def test_any_length_and_a_batch_of_one(name: str, sizes: tuple[tuple[int, ...], ...]) -> None:
    net = build(name, (2, *sizes[0]))
    for size in sizes:
        net.zero_grad()
        for batch in (1, 2):
            outputs = net.train()(torch.randn(batch, 2, *size))
            assert outputs.logits.shape == (batch, 4, *size)
            outputs.logits.square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        assert net.eval()(torch.randn(1, 2, *size)).logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_length_that_it_was_not_built_for(name: str) -> None:
    """Recordings may be labelled whole."""
    net = build(name, (2, 64)).eval()
    assert net(torch.randn(1, 2, 517)).logits.shape == (1, 4, 517)


def cancelled(net: nn.Module) -> set[str]:
    """Biases of SegNeXt that the next batch normalisation takes out, which its authors keep."""
    if not isinstance(net, SegNext):
        return set()
    biases = {f"encoder.stages.{n}.embed.{m}.bias" for n, m in ((0, 0), (0, 3), (1, 0), (2, 0), (3, 0))}
    if isinstance(net.decoder, LinearDecoder):
        biases |= {f"decoder.project.{n}.bias" for n in range(4)} | {"encoder.stages.3.norm.bias"}
    return biases


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_parameter_gets_a_gradient_that_counts(name: str, kind: str) -> None:
    """Of the logits alone, in training: no offset that a later normalisation takes out, nothing left unused."""
    shape = (6, 128) if kind == "signal" else (3, 32, 40)
    net = build(name, shape).double()
    for part in net.modules():
        if isinstance(part, StochasticDepth):
            part.drop = 0.0  # it might leave a branch out for all samples
    logits = net(torch.randn(2, *shape, dtype=torch.float64)).logits
    F.cross_entropy(logits, torch.randint(4, logits[:, 0].shape)).backward()
    size = {k: 0.0 if p.grad is None else p.grad.abs().max().item() for k, p in net.named_parameters()}
    assert {k for k, s in size.items() if s < 1e-11} == cancelled(net)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_parameters(name: str, kind: str) -> None:
    shape, classes = ((6, 128), 4) if kind == "signal" else ((3, 32, 32), 19)
    assert count_parameters(build(name, shape, classes)) == PARAMETERS[name][kind == "image"]


def test_parameters_are_near_those_of_the_papers() -> None:
    assert PARAMETERS["fast-scnn"][1] == pytest.approx(1.11e6, rel=0.03)  # Poudel et al., 19 classes of Cityscapes
    assert count_parameters(build("segformer", (3, 32, 32), 150)) == pytest.approx(
        3.8e6, rel=0.02
    )  # Xie et al., ADE20K
    assert 50_000 <= PARAMETERS["fast-scnn-small"][0] <= 100_000
    assert PARAMETERS["unet-small"][0] == pytest.approx(8_000, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_does_so_again(name: str) -> None:
    """A label that hangs on the sign of a slow wave; two runs under one seed agree to the last bit."""
    torch.manual_seed(0)
    wave = torch.sin(torch.arange(96) * 0.15 + torch.linspace(0, 6, 8)[:, None])
    x, y = torch.stack([wave, wave.roll(3, 1)], 1) + 0.1 * torch.randn(8, 2, 96), (wave > 0).long()

    def losses(steps: int) -> list[float]:
        net = build(name, (2, 96), 2)
        before = copy.deepcopy(net.state_dict())
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        values = []
        for _ in range(steps):
            loss = F.cross_entropy(net(x).logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        assert [k for k, p in net.named_parameters() if torch.equal(p, before[k])] == []
        return values

    first = losses(12)
    assert first[-1] < 0.85 * first[0]
    assert losses(3) == first[:3]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_sample_does_not_hang_on_its_batch(name: str, kind: str) -> None:
    shape = SHAPES[kind]
    net, x = build(name, shape).double(), torch.randn(5, *shape, dtype=torch.float64)
    net(x)  # statistics that are not the initial ones
    net.eval()
    together = net(x)
    for i in (0, 4):
        alone = net(x[i : i + 1])
        assert torch.allclose(together.logits[i : i + 1], alone.logits, atol=1e-9)
        assert torch.allclose(together.embedding[i : i + 1], alone.embedding, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_checkpoints(name: str) -> None:
    net, x = build(name, (2, 50)), torch.randn(4, 2, 50)
    net(x)
    stored, other = load(save(net.state_dict())), build_dense(name, (2, 50), 4)
    other.load_state_dict(stored)
    expected = net.eval()(x).logits
    assert torch.equal(other.eval()(x).logits, expected)
    assert torch.equal(copy.deepcopy(net)(x).logits, expected)


def test_batch_normalisation() -> None:
    ours, theirs, x = BatchNorm(3), nn.BatchNorm2d(3), torch.randn(2, 3, 4, 5)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)
    statistics, one = ours.running_var.clone(), torch.randn(1, 3, 1, 1)
    assert torch.equal(ours(one), theirs.eval()(one))  # a single value a channel: running statistics
    assert torch.equal(ours.running_var, statistics)
    bare = BatchNorm(3, shift=False)
    assert [n for n, _ in bare.named_parameters()] == ["weight"]
    assert torch.equal(bare(x), BatchNorm(3)(x))


class Wrong(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Outputs:
        return Outputs(x.new_zeros(self.shape), x.flatten(1))


def test_refusals() -> None:
    with pytest.raises(MmkdError, match=r"unknown dense network 'unets'; did you mean 'unet'\?"):
        build_dense("unets", (3, 64), 4)
    with pytest.raises(MmkdError, match=r"dense network 'unet': a sample is \(C, T\) or \(C, H, W\), not \(64,\)"):
        build_dense("unet", (64,), 4)
    for make, found in (
        (lambda s, k: Wrong(2, 4), r"'mine' gives logits \(2, 4\) for .* 4 classes, which should be \(2, 4, 64\)$"),
        (lambda s, k: Wrong(2, 4, 32), r"logits \(2, 4, 32\) for a batch of 2 and 4 classes, which should be"),
        (lambda s, k: nn.Linear(1, 1), r"'mine' cannot read samples of shape \(3, 64\): RuntimeError: .*--list dense"),
    ):
        DENSE.register("mine")(make)
        try:
            with pytest.raises(MmkdError, match=found) as refused:
                build_dense("mine", (3, 64), 4)
            assert "\n" not in str(refused.value)
        finally:
            DENSE.unregister("mine")


def test_bottlenecks_have_a_shortcut_where_the_shape_stays() -> None:
    x = torch.randn(2, 8, 10)
    for outputs, stride, expected in ((8, 1, x), (12, 1, torch.zeros(2, 12, 10)), (8, 2, torch.zeros(2, 8, 5))):
        block = Bottleneck(1, 8, outputs, stride)
        nn.init.zeros_(block.layers[-1].weight)
        assert torch.equal(block(x), expected)


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [
        ("fast-scnn", [5, 3, 2, 2, 2], [5, 5]),
        ("mamba", [17, 17, 17], [17]),
        ("segformer", [9, 5, 3, 2], [9]),
        ("segnext-small", [9, 5, 3, 2], [9]),
        ("segnext-small-ham", [9, 5, 3, 2], [5]),
        ("unet", [33, 17, 9, 5], [9, 17, 33]),
        ("unet-small", [33, 17, 9, 5, 3], [5, 9, 17, 33]),
    ],
)
def test_lengths_are_rounded_up(name: str, encoder: list[int], decoder: list[int]) -> None:
    """So that no sample at the end goes unseen."""
    net, x = build(name, (2, 33)).eval(), torch.randn(1, 2, 33, requires_grad=True)
    outputs = net(x)
    assert [f.shape[2] for f in outputs.features.values()] == encoder + decoder
    (reach,) = torch.autograd.grad(outputs.features[f"encoder{len(encoder)}"].square().sum(), x)
    assert reach[0, :, -1].any()


def test_pyramid_pooling_by_hand() -> None:
    """Means over bins, each with its own layers, joined and mixed."""
    pyramid = PyramidPooling(1, 8).eval()
    x = torch.randn(2, 8, 12)
    maps = [x]
    for bins, branch in zip((1, 2, 3, 6), pyramid.branches, strict=True):
        means = torch.stack([part.mean(2) for part in x.chunk(bins, dim=2)], dim=2)
        maps.append(F.interpolate(branch(means), 12, mode="linear"))
    assert torch.allclose(pyramid(x), pyramid.out(torch.cat(maps, 1)), atol=1e-6)


@pytest.mark.parametrize(("size", "reduction"), [((11,), 4), ((8,), 1), ((5, 8), 4)])
def test_attention_in_loops(size: tuple[int, ...], reduction: int) -> None:
    torch.manual_seed(0)
    dims, width, heads = len(size), 12, 3
    layer = Attention(dims, width, heads, reduction)
    count = torch.Size(size).numel()
    x = torch.randn(1, count, width)
    source = x[0]
    if layer.reduce is not None:
        padded = torch.zeros(width, *(-(-n // reduction) * reduction for n in size))
        padded[(slice(None), *(slice(n) for n in size))] = x[0].T.reshape(width, *size)
        source = layer.norm(layer.reduce(padded[None])[0].flatten(1).T)
    query, key, value = layer.query(x[0]), layer.key(source), layer.value(source)
    rows = []
    for i in range(count):
        parts = []
        for h in range(heads):
            own = slice(h * 4, h * 4 + 4)
            score = torch.stack([query[i, own] @ k[own] for k in key]) / 4**0.5
            share = score.exp() / score.exp().sum()
            parts.append(sum(s * v[own] for s, v in zip(share, value, strict=True)))
        rows.append(layer.out(torch.cat(parts)))
    assert torch.allclose(layer(x, size)[0], torch.stack(rows), atol=1e-5)


def test_residual_branches_are_left_out_by_sample_in_training_only() -> None:
    torch.manual_seed(0)
    block, x = Block(1, 8, 2, 1, drop=0.5), torch.ones(1000, 3, 8)
    kept = block.kept(x)
    assert set(kept.flatten().tolist()) == {0.0, 2.0}
    assert all(len(set(sample.flatten().tolist())) == 1 for sample in kept)
    assert kept.mean().item() == pytest.approx(1, abs=0.1)
    assert block.eval().kept(x) is x
    net = SegFormer((2, 64), 3, drop=0.7)
    drops = [block.kept.drop for stage in net.stages for block in stage.blocks]
    assert drops == pytest.approx([i / 10 for i in range(8)])


def test_segformer_is_that_of_transformers() -> None:
    """Config-initialised MiT-B0 with its decoder, weights mapped, in evaluation and in training mode.

    Theirs has biases that ours leaves out. That of the keys has no effect; those that the decoder's batch
    normalisation removes in training are taken off its running mean here.
    """
    pytest.importorskip("transformers")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except Exception as error:  # it loads torchvision, which may not fit this torch
        pytest.skip(f"transformers does not load here: {error}")
    torch.manual_seed(0)
    rates = dict.fromkeys(("hidden_dropout_prob", "classifier_dropout_prob", "drop_path_rate"), 0.0)
    theirs = SegformerForSemanticSegmentation(SegformerConfig(num_labels=5, **rates))
    if not hasattr(theirs.segformer, "stages"):
        pytest.skip("another version of transformers, whose weights have other names")
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # no bias at 0, no weight at 1
    ours = SegFormer((3, 64, 96), 5, drop=0.0)
    ours.head.dropout.p = 0.0
    state = theirs.state_dict()
    head, last = "decode_head.", len(ours.stages) - 1
    fuse = torch.cat(state.pop(f"{head}linear_fuse.weight").flatten(1).chunk(4, dim=1)[::-1], dim=1)  # deepest first
    mean = state[f"{head}batch_norm.running_mean"]
    shifts = [state.pop(f"{head}linear_projections.{n}.proj.bias") for n in range(4)]
    beta = state.pop(f"segformer.stages.{last}.layer_norm.bias")
    shifts[last] = shifts[last] + state[f"{head}linear_projections.{last}.proj.weight"] @ beta
    state[f"{head}batch_norm.running_mean"] = mean - fuse @ torch.cat(shifts)
    names = {
        "segformer.stages.": "stages.",
        "attention.sequence_reduction.sequence_reduction": "attention.reduce",
        "attention.sequence_reduction.layer_norm": "attention.norm",
        "patch_embeddings.proj": "embed",
        "patch_embeddings.layer_norm": "embed_norm",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "q_proj": "query",
        "k_proj": "key",
        "v_proj": "value",
        "o_proj": "out",
        "mlp.fc1": "feed.wide",
        "mlp.fc2": "feed.back",
        "mlp.dwconv.dwconv": "feed.depthwise",
        f"{head}linear_projections": "linears",
        ".proj.weight": ".weight",
        f"{head}batch_norm": "norm",
        f"{head}classifier": "head.conv",
        "layer_norm": "norm",
    }
    mapped = {"fuse.weight": fuse}
    for name, value in state.items():
        if not name.endswith("k_proj.bias"):
            for old, new in names.items():
                name = name.replace(old, new)
            mapped[name] = value
    ours.load_state_dict(mapped)
    x = torch.randn(2, 3, 64, 96)
    expected = F.interpolate(theirs.eval()(x).logits, (64, 96), mode="bilinear", align_corners=False)
    found = ours.eval()(x).logits
    assert expected.std() > 0.05
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().max().item())
    expected = F.interpolate(theirs.train()(x).logits, (64, 96), mode="bilinear", align_corners=False)
    found = ours.train()(x).logits
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().max().item())
    first = theirs.segformer.stages[0].patch_embeddings.proj.weight
    mask = torch.randn_like(found)
    (found * mask).sum().backward()
    (expected * mask).sum().backward()
    assert torch.allclose(ours.stages[0].embed.weight.grad, first.grad, atol=1e-3 * first.grad.abs().max().item())


def test_encoders_meet_encoders_and_decoders_decoders():
    nets = (build_dense(name, (2, 64), 3).eval() for name in ("unet-small", "segformer-small"))
    student, teacher = (net(torch.zeros(2, 2, 64)) for net in nets)
    assert matched_stages(student, teacher) == [
        ("decoder4", "decoder1"),
        ("encoder5", "encoder4"),
        ("encoder4", "encoder3"),
        ("encoder3", "encoder2"),
        ("encoder2", "encoder1"),
    ]
    assert matched_stages(student, teacher, "deep") == [("decoder4", "decoder1"), ("encoder5", "encoder4")]
    assert matched_stages(student.encoder, teacher.encoder, "last") == [("encoder5", "encoder4")]
    assert matched_stages(student.encoder, teacher)[0] == ("encoder5", "decoder1"), "one has no decoder: by depth"
