"""What every registered backbone promises, whoever wrote it; those that do not load here must say why."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.methods.outputs import Outputs
from mmkd.nets import BACKBONES, build_backbone
from mmkd.nets.tsai_nets import NEED_TORCHVISION, RECIPES

SHAPES = {"signal": (6, 40), "image": (6, 12, 16)}
FROM_TSAI = {**RECIPES, **NEED_TORCHVISION}
CASES = [(name, "signal") for name in BACKBONES] + [(name, "image") for name in BACKBONES if name not in FROM_TSAI]

SAME_CLASS = {
    "WRN16-1",
    "WRN16-1-window",
    "WRN16-3-window",
    "WRN16-3",
    "WRN16-8",
    "WRN28-1",
    "WRN28-3",
    "WRN40-1",
}  # as WRN10-1, whose turn is enough


def build(name: str, kind: str) -> nn.Module:
    if name in FROM_TSAI:
        pytest.importorskip("tsai")
    torch.manual_seed(3)
    try:
        return build_backbone(name, SHAPES[kind], 5)
    except MmkdError as error:
        if name in NEED_TORCHVISION and "needs a torchvision that loads" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_outputs(name: str, kind: str) -> None:
    net, shape = build(name, kind), SHAPES[kind]
    assert net.training
    x = torch.randn(3, *shape)
    outputs = net(x)
    assert isinstance(outputs, Outputs)
    assert outputs.logits.shape == (3, 5)
    assert outputs.embedding.ndim == 2
    assert list(outputs.features) == [f"stage{n}" for n in range(1, len(outputs.features) + 1)]
    sizes = [f.flatten(2).shape[2] for f in outputs.features.values()]
    assert all(len(f) == 3 and f.ndim == x.ndim for f in outputs.features.values())
    assert sizes == sorted(sizes, reverse=True)
    if outputs.classifier is not None:
        assert outputs.classifier.shape == (5, outputs.features[f"stage{len(sizes)}"].shape[1])

    outputs.logits.square().sum().backward()
    assert [k for k, p in net.named_parameters() if p.requires_grad and p.grad is None] == []

    net.eval()
    together, alone = net(x), net(x[:1])  # a batch of 1 is no special case
    assert torch.allclose(together.logits[:1], alone.logits, atol=1e-4)
    assert torch.allclose(together.embedding[:1], alone.embedding, atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [c for c in CASES if c[0] not in SAME_CLASS])
def test_seeds_copies_pickles_and_checkpoints_say_the_same(name: str, kind: str) -> None:
    net, restored = build(name, kind), build(name, kind)
    assert all(torch.equal(v, restored.state_dict()[k]) for k, v in net.state_dict().items())
    net(torch.randn(4, *SHAPES[kind])).logits.sum().backward()
    net.eval()
    x = torch.randn(2, *SHAPES[kind])
    expected = net(x).logits
    for p in restored.parameters():
        nn.init.zeros_(p)
    restored.load_state_dict(load(save(net.state_dict())))
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), restored):
        assert torch.equal(other.eval()(x).logits, expected)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_the_dry_run_leaves_seed_and_statistics_alone() -> None:
    torch.manual_seed(0)
    net = BACKBONES.get("WRN10-1")((3, 16), 2)
    expected = torch.rand(3)
    torch.manual_seed(0)
    dry = build_backbone("WRN10-1", (3, 16), 2)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(v, dry.state_dict()[k]) for k, v in net.state_dict().items())


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(MmkdError, match=r"unknown backbone 'wrn16-1'; did you mean 'WRN16-1'\? \(python -m mmkd.bench"):
        build_backbone("wrn16-1", (3, 16), 2)


@pytest.mark.parametrize("shape", [(16,), (3, 0), (1, 2, 3, 4)])
def test_a_shape_that_is_no_view_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MmkdError, match=r"a sample is \(C, T\) or \(C, H, W\), not"):
        build_backbone("small", shape, 2)


def test_a_plugin_that_fails_or_breaks_the_contract_is_told_so() -> None:
    def broken(shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Linear(shape[1] + 1, classes)

    def bare(shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Linear(shape[1], classes)

    def wrong(shape: tuple[int, ...], classes: int) -> nn.Module:
        return BACKBONES.get("small")(shape, classes + 1)

    cases = (
        (broken, r"'mine' cannot read samples of shape \(3, 16\): RuntimeError: .*use another backbone"),
        (bare, "Linear returned Tensor; a backbone returns mmkd.Outputs"),
        (wrong, r"'mine' gives logits \(2, 3\) for a batch of 2 and 2 classes"),
    )
    for factory, message in cases:
        BACKBONES.register("mine")(factory)
        try:
            with pytest.raises(MmkdError, match=message):
                build_backbone("mine", (3, 16), 2)
        finally:
            BACKBONES.unregister("mine")
