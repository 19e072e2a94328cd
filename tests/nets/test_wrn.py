"""Wide residual networks: the published sizes, the stages, and exact class activation maps."""

import pytest
import torch

from mmkd.core.errors import MmkdError
from mmkd.nets import build_backbone, count_parameters

PUBLISHED = {  # 3 channels, 14 classes: 1-D, 2-D
    "WRN16-1": (61_374, 175_326),
    "WRN16-3": (536_254, 1_550_302),
    "WRN28-1": (126_782, 369_758),
    "WRN28-3": (1_119_550, 3_294_814),
    "WRN16-8": (3_774_654, 10_963_422),
    "WRN40-1": (192_190, 564_190),
}
SHAPES = {1: (3, 100), 2: (3, 32, 32)}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("dims", [1, 2])
def test_has_the_published_number_of_parameters(name: str, dims: int) -> None:
    assert count_parameters(build_backbone(name, SHAPES[dims], 14)) == PUBLISHED[name][dims - 1]


@pytest.mark.parametrize(("shape", "parameters"), [((40, 100), 63_020), ((40, 64, 64), 180_524)])
def test_has_the_published_number_of_parameters_on_40_channels(shape: tuple[int, ...], parameters: int) -> None:
    assert count_parameters(build_backbone("WRN16-1", shape, 12)) == parameters


def test_counts_what_is_frozen_too() -> None:
    net = build_backbone("WRN10-1", (3, 100), 14)
    everything = count_parameters(net)
    net.get_parameter("classifier.bias").requires_grad_(False)
    assert count_parameters(net) == everything


def test_stages_of_a_window_of_100() -> None:
    features = build_backbone("WRN16-1", (3, 100), 14)(torch.randn(2, 3, 100)).features
    assert {k: tuple(v.shape) for k, v in features.items()} == {
        "stage1": (2, 16, 100),
        "stage2": (2, 32, 50),
        "stage3": (2, 64, 25),
    }


def test_stages_of_small_halve_an_image_but_not_a_window() -> None:
    image = build_backbone("small", (6, 32, 32), 6)(torch.randn(2, 6, 32, 32)).features
    assert [tuple(v.shape[1:]) for v in image.values()] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    window = build_backbone("small", (6, 128), 6)(torch.randn(2, 6, 128)).features
    assert [v.shape[2] for v in window.values()] == [128, 64, 32]


@pytest.mark.parametrize("shape", [(3, 40), (3, 24, 20)])
def test_the_mean_of_the_class_activation_maps_and_the_bias_are_the_logits(shape: tuple[int, ...]) -> None:
    net = build_backbone("WRN16-1", shape, 5)
    torch.nn.init.normal_(net.get_parameter("classifier.bias"))
    outputs = net(torch.randn(4, *shape))
    assert outputs.classifier is not None
    maps = torch.einsum("kc,bcp->bkp", outputs.classifier, outputs.features["stage3"].flatten(2))
    assert torch.allclose(maps.mean(dim=2) + net.get_parameter("classifier.bias"), outputs.logits, atol=1e-5)


def test_starts_with_he_initialisation() -> None:
    torch.manual_seed(0)
    weight = build_backbone("WRN16-8", (3, 100), 14).get_parameter("stages.2.1.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (512 * 3)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["WRN16-1", "small"])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 8), (6, 9, 13)])
def test_reads_from_8_up(name: str, shape: tuple[int, ...]) -> None:
    assert build_backbone(name, shape, 3).eval()(torch.randn(1, *shape)).logits.shape == (1, 3)


def test_shorter_is_refused() -> None:
    with pytest.raises(MmkdError, match=r"'WRN16-1' needs windows of 8 samples or more, not 7 samples; take longer"):
        build_backbone("WRN16-1", (6, 7), 3)
    with pytest.raises(MmkdError, match=r"needs images of 8 x 8 or more, not 32 x 4"):
        build_backbone("small", (6, 32, 4), 3)


@pytest.mark.parametrize(("shape", "name"), [((3, 40), "temporal"), ((3, 24, 20), "spatial")])
def test_attention_pooling_is_a_weighted_mean_of_positions(shape: tuple[int, ...], name: str) -> None:
    torch.manual_seed(0)
    net = build_backbone("wrn-attn", shape, 5)
    torch.nn.init.normal_(net.get_parameter("score.weight"))
    outputs = net(torch.randn(4, *shape))
    last = outputs.features["stage3"]
    assert list(outputs.attention) == [name]
    attention = outputs.attention[name]
    assert attention.shape == (4, 1, last[0, 0].numel())
    assert torch.allclose(attention.sum(dim=2), torch.ones(4, 1))
    assert attention.std(dim=2).min() > 1e-3
    places = [(t,) for t in range(last.shape[2])]
    if len(shape) == 3:
        places = [(i, j) for i in range(last.shape[2]) for j in range(last.shape[3])]  # row by row
    for sample in range(4):
        vectors = [last[(sample, slice(None), *place)] for place in places]
        scores = torch.stack([net.get_parameter("score.weight")[0] @ v for v in vectors])
        weights = scores.exp() / scores.exp().sum()
        assert torch.allclose(attention[sample, 0], weights, atol=1e-5)
        expected = sum((w * v for w, v in zip(weights, vectors, strict=True)), torch.zeros(64))
        assert torch.allclose(outputs.embedding[sample], expected, atol=1e-4)
    logits = outputs.embedding @ net.get_parameter("classifier.weight").T + net.get_parameter("classifier.bias")
    assert torch.allclose(outputs.logits, logits, atol=1e-5)
    assert outputs.classifier is None, "it reads no plain mean of the map"


@pytest.mark.parametrize("shape", [(3, 40), (3, 24, 20)])
def test_attention_pooling_trains_its_score(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = build_backbone("wrn-attn", shape, 5)
    torch.nn.functional.cross_entropy(net(torch.randn(4, *shape)).logits, torch.arange(4)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("dims", [1, 2])
def test_attention_pooling_adds_one_weight_a_channel(dims: int) -> None:
    assert count_parameters(build_backbone("wrn-attn", SHAPES[dims], 14)) == PUBLISHED["WRN16-1"][dims - 1] + 64


def test_attention_pooling_without_scores_is_the_mean() -> None:
    torch.manual_seed(0)
    net, plain = build_backbone("wrn-attn", (3, 40), 5).eval(), build_backbone("WRN16-1", (3, 40), 5).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k != "score.weight"})
    torch.nn.init.zeros_(net.get_parameter("score.weight"))
    x = torch.randn(4, 3, 40)
    assert torch.allclose(net(x).logits, plain(x).logits, atol=1e-6)
