"""Fusions of branches: which maps meet how, for signals, images, both; and what is refused."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.methods.outputs import Outputs
from mmkd.nets import FUSIONS, build_student
from mmkd.nets.freqfusion import FreqFusion
from mmkd.nets.fusion import Joined, MapFusion, averaged, finer_stage, has_time
from mmkd.nets.stage_fusions import OPERATORS

OPERATED = ("carafe", "freqfusion", "freqfusion-attention", "freqfusion-pi", "dwt", "dwt-attention", "dsconv")
PAIRWISE = ("sum", "gated", *OPERATED)
LINE, IMAGE = {"a": (6, 30), "b": (10, 15), "c": (12, 7)}, {"a": (6, 12, 10), "b": (8, 6, 5), "c": (16, 3, 4)}


def branch(kind: dict[str, tuple[int, ...]], batch: int = 2) -> Outputs:
    """A branch whose deepest map is of stage `c`."""
    features = {stage: torch.rand(batch, *shape, requires_grad=True) for stage, shape in kind.items()}
    return Outputs(torch.randn(batch, 5), features["c"].flatten(2).mean(2), features)


def views(text: str, batch: int = 2) -> dict[str, Outputs]:
    """`sig+gaf+pi` and the like; names that begin with `s` are lines."""
    return {m: branch(LINE if m.startswith("s") else IMAGE, batch) for m in text.split("+")}


def made(name: str, dry: dict[str, Outputs]) -> MapFusion:
    torch.manual_seed(0)
    net = FUSIONS.get(name)(dry, 5)
    assert isinstance(net, MapFusion)
    return net


def test_all_names_are_registered() -> None:
    assert set(FUSIONS) >= {"concat", "attention", *PAIRWISE}


@pytest.mark.parametrize("text", ["sig+gaf+pi", "pi+gaf+sig", "sig+gaf", "sig+s2", "gaf+gaf.2", "sig+s2+gaf+gaf.2+pi"])
@pytest.mark.parametrize("name", PAIRWISE)
def test_every_mixture_of_kinds(name: str, text: str) -> None:
    """Logits, a gradient for every parameter and every branch, no leak between samples."""
    dry = views(text)
    net = made(name, dry)
    branches = views(text, batch=3)
    outputs = net(branches)
    width = 12 if "s" in text else 16
    assert (outputs.logits.shape, outputs.embedding.shape) == ((3, 5), (3, width))
    assert outputs.classifier is None
    torch.testing.assert_close(outputs.logits, net.classifier(outputs.embedding))
    F.cross_entropy(outputs.logits, torch.tensor([0, 1, 2])).backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    for modality, each in branches.items():
        used = net.stage if modality == net.order[0] else "c"
        assert [s for s, m in each.features.items() if m.grad is not None and m.grad.any()] == [used], modality
    one = {
        m: Outputs(b.logits[:1], b.embedding[:1], {s: f[:1] for s, f in b.features.items()})
        for m, b in branches.items()
    }
    torch.testing.assert_close(net(one).logits, outputs.logits[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PAIRWISE)
def test_the_order_of_the_views_does_not_matter_to_the_fusion(name: str) -> None:
    dry = views("sig+gaf+pi")
    again = dict(reversed(dry.items()))
    assert made(name, dry).order == made(name, again).order == ("sig", "gaf", "pi")
    torch.testing.assert_close(made(name, dry)(dry).logits, made(name, again)(again).logits)


def spy(net: MapFusion) -> list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """What each join gets and gives, filled in by the next forward pass."""
    seen: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = []

    def note(module: torch.nn.Module, given: tuple[Tensor, Tensor], out: Tensor) -> None:
        seen.append((type(module).__name__, *(tuple(t.shape[1:]) for t in (*given, out))))

    for join in net.joins:
        join.register_forward_hook(note)
    return seen


def test_freqfusion_takes_a_finer_stage_of_the_signal_and_gates_the_persistence_image() -> None:
    branches = views("sig+gaf+pi")  # S = 4: the deepest stage with 8 samples is b, of 15
    net = made("freqfusion", branches)
    assert (net.stage, net.dims) == ("b", 2)
    seen = spy(net)
    net(branches)
    assert seen == [
        ("Joined", (10, 6, 8), (16, 3, 4), (12, 6, 8)),
        ("Gate", (12, 6, 8), (16, 1, 1), (12, 6, 8)),
    ]


def test_the_fine_map_is_the_stage_lifted_to_twice_the_side_and_averaged_to_twice_the_image() -> None:
    branches = views("sig+gaf")
    net = made("carafe", branches)
    given: list[Tensor] = []
    net.joins[0].register_forward_hook(lambda module, inputs, out: given.extend(inputs))
    net(branches)
    line = F.adaptive_avg_pool1d(branches["sig"].features["b"], 8)
    lifted = F.group_norm(line[..., :, None] * line[..., None, :], 1)
    torch.testing.assert_close(given[0], F.adaptive_avg_pool2d(lifted, (6, 8)))
    torch.testing.assert_close(given[1], F.group_norm(branches["gaf"].last_map, 1))


def test_the_control_takes_the_persistence_image_as_a_map() -> None:
    branches = views("sig+gaf+pi")
    net = made("freqfusion-pi", branches)
    seen = spy(net)
    net(branches)
    assert seen[1] == ("Joined", (12, 6, 8), (16, 3, 4), (12, 6, 8))
    assert all(isinstance(join.operator, FreqFusion) for join in net.joins)
    net = made("freqfusion-pi", two := views("sig+pi"))
    assert net(two).logits.shape == (2, 5)


def test_lines_alone_are_not_lifted() -> None:
    branches = views("sig+s2+pi")
    for name, stage, expected in (
        ("dwt", "b", [("Joined", (10, 14), (12, 7), (12, 14)), ("Gate", (12, 14), (16, 1), (12, 14))]),
        ("sum", "c", [("Sum", (12, 7), (12, 7), (12, 7)), ("Sum", (12, 7), (16, 1), (12, 7))]),
        ("gated", "c", [("Gate", (12, 7), (12, 7), (12, 7)), ("Gate", (12, 7), (16, 1), (12, 7))]),
    ):
        net = made(name, branches)
        assert (net.stage, net.dims) == (stage, 1)
        seen = spy(net)
        net(branches)
        assert seen == expected


def test_sum_is_the_sum() -> None:
    branches = views("sig+gaf+pi")
    net = made("sum", branches)
    sig, gaf, pi = (b.last_map for b in branches.values())
    line = F.adaptive_avg_pool1d(sig, 4)
    lifted = line[..., :, None] * line[..., None, :]

    def norm(x: Tensor) -> Tensor:
        whole = x.flatten(1)
        return (
            (whole - whole.mean(1, keepdim=True)) / (whole.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        ).view(x.shape)

    fused = torch.relu(F.adaptive_avg_pool2d(norm(lifted), (3, 4)) + net.joins[0].project(norm(gaf)))
    fused = torch.relu(fused + net.joins[1].project(norm(pi).mean(dim=(2, 3), keepdim=True)))
    torch.testing.assert_close(net.fused_map(branches), fused)
    torch.testing.assert_close(net(branches).embedding, fused.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", [n for n in OPERATED if n != "freqfusion-pi"])
def test_an_operator_joins_its_two_outputs(name: str) -> None:
    torch.manual_seed(0)
    join = Joined(name, 10, 16, 12, 2)
    assert type(join.operator) is type(OPERATORS[name](10, 16, 2, compressed=8))
    high, low = torch.randn(2, 10, 6, 8), torch.randn(2, 16, 3, 4)
    torch.testing.assert_close(join(high, low), join.project(torch.cat(join.operator(high, low), dim=1)))


def test_the_place_of_a_persistence_image_does_not_matter_unless_it_is_taken_as_a_map() -> None:
    branches = views("sig+gaf+pi")
    pi = branches["pi"]
    turned = {**branches, "pi": Outputs(pi.logits, pi.embedding, {s: m.flip(2, 3) for s, m in pi.features.items()})}
    for name in PAIRWISE:
        net = made(name, branches)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.1 * torch.randn_like(p))
        same = torch.allclose(net(branches).logits, net(turned).logits, atol=1e-5)
        assert same == (name != "freqfusion-pi"), name


def test_stages_and_averages() -> None:
    each = branch(IMAGE)
    assert [finer_stage(each, n) for n in (1, 3, 4, 5, 6, 10, 11, 99)] == ["c", "c", "b", "b", "a", "a", "a", "a"]
    x = torch.randn(1, 2, 6)
    assert averaged(x, [6]) is x
    torch.testing.assert_close(averaged(x, [3]), F.avg_pool1d(x, 2))
    torch.testing.assert_close(averaged(x, [12]), x.repeat_interleave(2, dim=2))
    assert [has_time(m) for m in ("sig", "gaf", "rp", "pi", "pi.2", "pie")] == [True, True, True, False, False, True]
    assert not any(has_time(m) for m in ("stft", "cwt@gyro"))


@pytest.mark.parametrize("name", PAIRWISE)
def test_what_cannot_be_joined_is_refused(name: str) -> None:
    with pytest.raises(MmkdError, match=rf"--fusion {name} joins two or more views; use --student sig\+gaf\+pi"):
        made(name, views("sig"))
    mute = views("sig+gaf")
    mute["gaf"] = Outputs(torch.randn(2, 5), torch.randn(2, 8))
    with pytest.raises(MmkdError, match=f"--fusion {name} reads feature maps, and the gaf branch has none"):
        made(name, mute)


@pytest.mark.parametrize("name", [n for n in OPERATED if n != "freqfusion-pi"])
def test_one_view_of_time_and_a_persistence_image_are_no_pair_of_maps(name: str) -> None:
    for text, one in (("sig+pi", "sig"), ("pi+gaf", "gaf")):
        with pytest.raises(
            MmkdError, match=f"--fusion {name} joins views whose axes are time, .* only {one} has them"
        ) as error:
            made(name, views(text))
        assert "\n" not in str(error.value)
        assert "--fusion gated" in str(error.value)
    for plain in ("sum", "gated"):
        assert made(plain, views("sig+pi"))(views("sig+pi")).logits.shape == (2, 5)


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_student_learns_with_it(name: str) -> None:
    """Signal and image say one half of the class each."""
    torch.manual_seed(0)
    target = torch.arange(16) % 4
    sig = torch.randn(16, 1, 32) * 0.1 + (target // 2).view(-1, 1, 1) * torch.linspace(-2, 2, 32)
    gaf = torch.randn(16, 1, 16, 16) * 0.1 + (target % 2).view(-1, 1, 1, 1) * torch.eye(16)
    net = build_student("small", {"sig": (1, 32), "gaf": (1, 16, 16)}, 4, name)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(8):
        optimiser.zero_grad()
        loss = F.cross_entropy(net({"sig": sig, "gaf": gaf}).logits, target)
        loss.backward()
        optimiser.step()
    assert loss < 0.5
