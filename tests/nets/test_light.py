"""Networks for devices, and networks that see half of a window: their sizes, and how far one position of a map sees."""

import numpy as np
import pytest
import torch
from torch import nn

import mmkd
from mmkd.data import load_dataset
from mmkd.nets import build_backbone, count_parameters
from mmkd.nets.wrn import Pointwise2d, receptive_field

HAPT6 = (6, 64)
"""Channels and samples of `hapt6` at 25 Hz."""
HALF = ("WRN16-1-window", "WRN16-3-window", "small-window", "tiny", "micro")


def seen(name: str, samples: int, length: int = 4001) -> int:
    """Samples of a signal that the middle of the last map of a network for windows of `samples` depends on."""
    net = build_backbone(name, (2, samples), 3).eval()
    for parameter in net.parameters():  # no path from the signal to the map is then cut by a ReLU
        parameter.data.abs_()
    x = torch.rand(1, 2, length, requires_grad=True)
    last = net(x).features["stage3"]
    last[0, :, last.shape[2] // 2].square().sum().backward()
    assert x.grad is not None
    where = x.grad[0].abs().sum(0).nonzero().flatten()
    return int(where.max() - where.min()) + 1


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("samples", [16, 45, 100, 128, 288, 1000])
def test_sees_half_of_the_window(name: str, samples: int) -> None:
    assert seen(name, samples) >= samples / 2


@pytest.mark.parametrize(("name", "depth"), [("WRN10-1", 10), ("WRN16-1", 16), ("WRN28-1", 28)])
def test_the_published_networks_see_what_their_depth_gives(name: str, depth: int) -> None:
    assert seen(name, 128) == seen(name, 1000) == receptive_field(depth)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("tiny", (6, 128), 5_632),
        ("tiny", HAPT6, 5_632),
        ("small", HAPT6, 28_294),
        ("tiny", (6, 32, 32), 4_766),
        ("micro", (6, 128), 2_086),
        ("micro", (6, 32, 32), 5_206),
        ("small-window", (6, 128), 28_678),
        ("WRN16-1-window", (6, 128), 61_382),
    ],
)
def test_number_of_parameters(name: str, shape: tuple[int, ...], parameters: int) -> None:
    assert count_parameters(build_backbone(name, shape, 6)) == parameters


def test_tiny_stays_small_with_many_channels_and_classes() -> None:
    assert count_parameters(build_backbone("tiny", (45, 125), 19)) < 10_000


@pytest.mark.slow
@pytest.mark.data
def test_tiny_is_no_more_than_a_point_behind_small_on_hapt6(tmp_path) -> None:
    """Macro-F1 on the official test subjects, mean of three seeds; preset standard with its fewest steps."""
    try:
        load_dataset("hapt6")
    except mmkd.MmkdError as error:
        pytest.skip(str(error))
    more = {"preset": "standard", "steps": 1200, "rate": 25.0, "student": "sig", "peers": "none"}
    scores = {
        name: [
            mmkd.run("student", "hapt6", student_net=name, seed=seed, runs=tmp_path, **more).metrics.test["macro_f1"]
            for seed in range(3)
        ]
        for name in ("tiny", "small")
    }
    assert np.mean(scores["tiny"]) >= np.mean(scores["small"]) - 0.01, scores


def test_of_images_only_the_stem_differs_in_name() -> None:
    torch.manual_seed(0)
    plain = build_backbone("WRN16-1", (3, 16, 16), 4)
    torch.manual_seed(0)
    other = build_backbone("WRN16-1-window", (3, 16, 16), 4)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 8), (6, 9, 13)])
def test_reads_from_8_up(name: str, shape: tuple[int, ...]) -> None:
    assert build_backbone(name, shape, 3).eval()(torch.randn(1, *shape)).logits.shape == (1, 3)


@pytest.mark.parametrize("name", ["tiny", "micro", "WRN16-1-window"])
@pytest.mark.parametrize("shape", [(3, 300), (3, 24, 20)])
def test_the_mean_of_the_class_activation_maps_and_the_bias_are_the_logits(name: str, shape: tuple[int, ...]) -> None:
    net = build_backbone(name, shape, 5)
    torch.nn.init.normal_(net.get_parameter("classifier.bias"))
    outputs = net(torch.randn(4, *shape))
    assert outputs.classifier is not None
    maps = torch.einsum("kc,bcp->bkp", outputs.classifier, outputs.features["stage3"].flatten(2))
    assert torch.allclose(maps.mean(dim=2) + net.get_parameter("classifier.bias"), outputs.logits, atol=1e-5)


def test_micro_learns_from_images_in_a_layout_whose_gradients_torch_writes_beyond_its_memory() -> None:
    """A 1x1 convolution with stride of four channels, channels-last: the process used to be killed."""
    torch.manual_seed(0)
    network = build_backbone("micro", (1, 32, 32), 3)
    shortcut = network.stages[1][0].shortcut
    assert type(shortcut) is Pointwise2d
    assert shortcut.stride == (2, 2)
    x = torch.randn(16, 4, 31, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    plain = nn.functional.conv2d(x.detach().contiguous(), shortcut.weight, stride=2)
    y = shortcut(x)
    torch.testing.assert_close(y, plain, rtol=1e-5, atol=1e-6)
    up = torch.randn_like(plain)
    own = torch.autograd.grad(y, (x, shortcut.weight), up)
    torch.testing.assert_close(
        own[0], nn.grad.conv2d_input(x.shape, shortcut.weight.detach(), up, stride=2), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        own[1],
        nn.grad.conv2d_weight(x.detach().contiguous(), shortcut.weight.shape, up, stride=2),
        rtol=1e-4,
        atol=1e-4,
    )
    for _ in range(20):
        network(torch.randn(16, 1, 32, 32)).logits.square().mean().backward()
