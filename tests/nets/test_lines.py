"""Networks for signals give the same numbers on images of one row, where training is faster, as on lines."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmkd.methods.outputs import Outputs
from mmkd.nets import build_backbone
from mmkd.nets.lines import LineConv, LineMaxPool, LineMeanPool, LineNorm, as_lines, as_rows, take_rows

SHAPES = ((1, 96), (9, 64), (3, 29))
NETWORKS = (
    "micro",
    "tiny",
    "small",
    "small-window",
    "WRN16-1",
    "WRN16-1-window",
    "WRN16-3",
    "wrn-attn",
    "InceptionTime",
)


def built(name: str, shape: tuple[int, ...]) -> nn.Module:
    """The network in float64, so that what differs is the formula and not the rounding."""
    if name == "InceptionTime":
        pytest.importorskip("tsai")
    torch.manual_seed(0)
    return build_backbone(name, shape, 5).double()


def step(net: nn.Module, x: Tensor) -> tuple[Outputs, dict[str, Tensor]]:
    """Outputs and gradients of a training step that reads logits and all features."""
    outputs: Outputs = net(x)
    loss = outputs.logits.square().sum() + sum(f.sin().sum() for f in outputs.features.values())
    torch.autograd.backward(loss)
    return outputs, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def seen_by(kind: type[nn.Module], net: nn.Module) -> list[int]:
    """A list that takes the number of axes of all that layers of this kind are given."""
    axes: list[int] = []
    for module in net.modules():
        if isinstance(module, kind):
            module.register_forward_pre_hook(lambda module, args: axes.append(args[0].ndim))
    return axes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_is_that_of_lines(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    on_rows = built(name, shape)
    on_lines = copy.deepcopy(on_rows)
    x = torch.randn(6, *shape, dtype=torch.float64)
    axes = seen_by(nn.Conv1d, on_rows)
    outputs, gradients = step(on_rows, x)
    assert set(axes) == {4}, "the fast way was not taken"
    for module in ("wrn", "light", "tsai_nets"):
        monkeypatch.setattr(f"mmkd.nets.{module}.as_rows", lambda x, network: x)
    axes = seen_by(nn.Conv1d, on_lines)
    expected, expected_gradients = step(on_lines, x)
    assert set(axes) == {3}
    assert torch.allclose(outputs.logits, expected.logits, rtol=1e-9, atol=1e-11)
    assert torch.allclose(outputs.embedding, expected.embedding, rtol=1e-9, atol=1e-11)
    assert outputs.features.keys() == expected.features.keys()
    for stage, feature in outputs.features.items():
        assert feature.shape == expected.features[stage].shape
        assert torch.allclose(feature, expected.features[stage], rtol=1e-9, atol=1e-11)
    assert gradients.keys() == expected_gradients.keys()
    for parameter, gradient in gradients.items():
        assert torch.allclose(gradient, expected_gradients[parameter], rtol=1e-8, atol=1e-9), parameter
    for key, value in on_rows.state_dict().items():
        assert torch.allclose(value, on_lines.state_dict()[key], rtol=1e-9, atol=1e-11), key


@pytest.mark.parametrize("name", ["tiny", "small", "InceptionTime"])
def test_evaluation_and_steps_without_gradient_stay_on_lines(name: str) -> None:
    net = built(name, (3, 32))
    axes = seen_by(nn.Conv1d, net)
    x = torch.randn(2, 3, 32, dtype=torch.float64)
    with torch.no_grad():
        net(x)
    net.eval()(x)
    assert set(axes) == {3}


def test_a_network_of_other_makers_keeps_its_state_and_its_kinds() -> None:
    net = nn.Sequential(nn.Conv1d(2, 3, 5, padding=2), nn.BatchNorm1d(3), nn.ReLU(), nn.AdaptiveAvgPool1d(1))
    keys = list(net.state_dict())
    changed = take_rows(net)
    assert changed is net
    assert list(net.state_dict()) == keys
    assert [type(m) for m in net] == [LineConv, LineNorm, nn.ReLU, LineMeanPool]
    assert isinstance(net[0], nn.Conv1d)
    x = torch.randn(4, 2, 16)
    assert torch.allclose(net(as_rows(x, net)).flatten(1), net(x).flatten(1), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 4, 12])
@pytest.mark.parametrize(
    "make",
    [
        lambda c: LineConv(c, c, 7, 2, 3, groups=c, bias=False),
        lambda c: LineConv(c, 6, 1, 2),
        lambda c: LineConv(c, 6, 3, 1, 4, 4),
        lambda c: LineMaxPool(3, 1, 1),
        lambda c: LineMaxPool(4, 2, 1, 2),
        lambda c: LineMeanPool(5),
        lambda c: LineNorm(c),
    ],
)
def test_a_layer_of_rows_is_that_of_lines(make: Callable[[int], nn.Module], channels: int) -> None:
    torch.manual_seed(0)
    layer = make(channels).double()
    x = torch.randn(3, channels, 21, dtype=torch.float64)
    inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
    on_lines = layer(inputs[0])
    on_rows = layer(as_rows(inputs[1], layer))
    assert on_rows.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(as_lines(on_rows, 1), on_lines, atol=1e-12)
    upstream = torch.randn_like(on_lines)
    on_lines.backward(upstream)
    on_rows.backward(upstream.unsqueeze(2))
    assert inputs[0].grad is not None
    assert inputs[1].grad is not None
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-12)


def test_images_and_signals_on_other_devices_are_left_alone() -> None:
    net = nn.Identity()
    image = torch.zeros(2, 3, 4, 5)
    assert as_rows(image, net) is image
    assert as_lines(image, 2) is image
    elsewhere = torch.zeros(2, 3, 4, device="meta")
    assert as_rows(elsewhere, net) is elsewhere
