"""Networks of tsai: what the wrapper reads out is what the network computed."""

import subprocess
import sys

import pytest
import torch

from mmkd.core.errors import MmkdError
from mmkd.nets import build_backbone
from mmkd.nets.tsai_nets import NEED_TORCHVISION, RECIPES, TsaiBackbone

CAM = ["ConvTranPlus", "FCN", "FCNPlus", "InceptionTime", "ResCNN", "gMLP"]


def build(name: str, window: int = 24) -> TsaiBackbone:
    pytest.importorskip("tsai")
    torch.manual_seed(0)
    net = build_backbone(name, (3, window), 4).eval()
    assert isinstance(net, TsaiBackbone)
    return net


def test_which_have_class_activation_maps() -> None:
    assert sorted(name for name, recipe in RECIPES.items() if recipe.cam) == CAM


@pytest.mark.parametrize("name", CAM)
def test_the_mean_of_the_class_activation_maps_and_the_bias_are_the_logits(name: str) -> None:
    net = build(name)
    outputs = net(torch.randn(5, 3, 24))
    assert outputs.classifier is not None
    deepest = outputs.features[f"stage{len(outputs.features)}"]
    maps = torch.einsum("kc,bct->bkt", outputs.classifier, deepest)
    bias = net.net.get_parameter(f"{net.reader}.bias")
    assert torch.allclose(maps.mean(dim=2) + bias, outputs.logits, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_the_embedding_is_what_the_last_linear_layer_reads(name: str) -> None:
    net = build(name)
    outputs = net(torch.randn(5, 3, 24))
    reader = net.net.get_submodule(net.reader)
    assert torch.allclose(reader(outputs.embedding), outputs.logits, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_the_shortest_window(name: str) -> None:
    shortest = RECIPES[name].minimum
    assert build(name, shortest)(torch.randn(1, 3, shortest)).logits.shape == (1, 4)
    with pytest.raises(MmkdError, match=f"'{name}' needs windows of {shortest} samples or more"):
        build_backbone(name, (3, shortest - 1), 4)


def test_stages() -> None:
    def lengths(name: str) -> list[tuple[int, ...]]:
        return [tuple(f.shape[1:]) for f in build(name)(torch.randn(2, 3, 24)).features.values()]

    assert lengths("FCN") == [(128, 24), (256, 24), (128, 24)]
    assert lengths("MLP") == []
    assert lengths("PatchTST") == [(128, 3)] * 3


def test_the_hooks_go_even_when_the_network_fails() -> None:
    net = build("FCN")
    with pytest.raises(RuntimeError):
        net(torch.randn(2, 4, 24))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_images_are_refused() -> None:
    with pytest.raises(MmkdError, match=r"'FCN' reads signals \(C, T\) only, not images \(3, 32, 32\); use WRN16-1"):
        build_backbone("FCN", (3, 32, 32), 4)


def test_without_tsai_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m == "tsai" or m.startswith("tsai.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tsai", None)
    with pytest.raises(MmkdError, match=r"install the extra mmkd\[tsai\]"):
        build_backbone("FCN", (3, 24), 4)


@pytest.mark.parametrize("name", NEED_TORCHVISION)
def test_what_needs_torchvision_builds_or_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tsai")
    for module in [m for m in sys.modules if m.startswith("tsai.models.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, f"tsai.models.{NEED_TORCHVISION[name].module}", None)
    with pytest.raises(MmkdError, match=rf"'{name}' of tsai needs a torchvision that loads .* or use InceptionTime"):
        build_backbone(name, (3, 24), 4)


def test_the_names_are_listed_without_importing_tsai() -> None:
    code = (
        "import sys; from mmkd.nets import BACKBONES; assert 'InceptionTime' in list(BACKBONES); "
        "assert all(BACKBONES.get(name).__doc__ for name in BACKBONES); "
        "sys.exit(any(m.split('.')[0] in ('tsai', 'fastai', 'torchvision') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
