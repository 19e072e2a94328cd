"""Students: views in, outputs of every branch and of the fusion out."""

import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.nets import FUSIONS, MultiBranch, SingleView, build_student, build_teacher

SHAPES = {"gaf": (3, 16, 16), "sig": (3, 32), "pi": (2, 12, 12)}


def views(batch: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, torch.Tensor]:
    return {m: torch.randn(batch, *shape) for m, shape in shapes.items()}


def student(fusion: str) -> MultiBranch:
    torch.manual_seed(1)
    net = build_student("small", SHAPES, 5, fusion)
    assert isinstance(net, MultiBranch)
    return net


@pytest.mark.parametrize("fusion", FUSIONS)
def test_outputs_of_several_branches(fusion: str) -> None:
    net = student(fusion).eval()
    x = views(4)
    outputs = net(x)
    assert list(outputs.branches) == list(SHAPES)
    assert outputs.logits.shape == (4, 5)
    assert outputs.embedding.shape == (4, 3 * 64 if fusion in ("concat", "attention") else 64)
    assert outputs.classifier is None
    assert outputs.features is outputs.branches["sig"].features
    for modality, branch in outputs.branches.items():
        assert branch.logits.shape == (4, 5)
        assert branch.classifier is not None
        alone = net.branches[f"view_{modality}"](x[modality])
        assert torch.equal(alone.logits, branch.logits)
    one = net({m: v[:1] for m, v in x.items()})
    assert torch.allclose(one.logits, outputs.logits[:1], atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_gradient_reaches_every_parameter(fusion: str) -> None:
    net, target = student(fusion), torch.tensor([0, 1, 2, 3])
    outputs = net(views(4))
    branch_ce = sum(F.cross_entropy(b.logits, target) for b in outputs.branches.values())
    (F.cross_entropy(outputs.logits, target) + branch_ce).backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_seed_pickle_and_checkpoint(fusion: str) -> None:
    net, again = student(fusion).eval(), student(fusion).eval()
    x = views(3)
    expected = net(x).logits
    assert torch.equal(again(x).logits, expected)
    torch.nn.init.zeros_(again.fusion.get_parameter("classifier.weight"))
    again.load_state_dict(load(save(net.state_dict())))
    assert torch.equal(again(x).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x).logits, expected)


def test_attention_asks_from_the_signal_and_its_rows_sum_to_1() -> None:
    outputs = student("attention").eval()(views(4))
    assert {m: tuple(a.shape) for m, a in outputs.attention.items()} == {"gaf": (4, 8, 4), "pi": (4, 8, 4)}
    for weight in outputs.attention.values():
        assert torch.allclose(weight.sum(dim=2), torch.ones(4, 8), atol=1e-6)
        assert weight.std() > 0


def test_attention_is_scaled_dot_product_attention() -> None:
    net = student("attention").eval()
    outputs = net(views(4))
    signal, image = (outputs.branches[m].features["stage3"].flatten(2).transpose(1, 2) for m in ("sig", "gaf"))
    fusion = net.fusion
    attended = F.scaled_dot_product_attention(
        fusion.queries(signal), fusion.keys[0](image), fusion.values[0](image)
    ).mean(dim=1)
    assert torch.allclose(outputs.embedding[:, 64:128], attended, atol=1e-5)
    assert torch.equal(outputs.embedding[:, :64], outputs.branches["sig"].embedding)


def test_attention_asks_from_the_first_view_where_there_is_no_signal() -> None:
    shapes = {m: SHAPES[m] for m in ("pi", "gaf")}
    outputs = build_student("small", shapes, 5, "attention").eval()(views(2, shapes))
    assert list(outputs.attention) == ["gaf"]
    assert outputs.features is outputs.branches["pi"].features


def test_attention_of_one_view_is_refused() -> None:
    with pytest.raises(MmkdError, match=r"--fusion attention joins two or more views; use --student sig\+gaf\+pi"):
        build_student("small", {"sig": (3, 32)}, 5, "attention")


def test_attention_over_a_branch_without_maps_is_refused() -> None:
    pytest.importorskip("tsai")
    with pytest.raises(MmkdError, match="the sig branch has none; use --fusion concat"):
        build_student({"sig": "MLP", "gaf": "small", "pi": "small"}, SHAPES, 5, "attention")


def test_one_view_is_read_and_the_others_left_alone() -> None:
    net = build_student("WRN10-1", {"sig": (3, 32)}, 5)
    assert isinstance(net, SingleView)
    x = views(2)
    net.eval()
    assert torch.equal(net(x).logits, net({"sig": x["sig"]}).logits)
    assert net(x).branches == {}
    assert net(x).classifier is not None


def test_a_teacher_reads_its_own_modality() -> None:
    teacher = build_teacher("WRN10-1", "gaf", (3, 16, 16), 5)
    assert teacher(views(2)).logits.shape == (2, 5)
    with pytest.raises(MmkdError, match="reads the view 'gaf'; the batch has sig"):
        teacher({"sig": torch.randn(2, 3, 32)})


def test_a_backbone_for_each_branch() -> None:
    net = build_student({"sig": "WRN16-3", "gaf": "small", "pi": "small"}, SHAPES, 5)
    widths = {m: b.embedding.shape[1] for m, b in net(views(2)).branches.items()}
    assert widths == {"gaf": 64, "sig": 192, "pi": 64}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"sig": "small", "gaf": "small"}, "no backbone is named for the student's 'pi'; add for example pi=small"),
        (
            {"sig": "small", "gaf": "small", "pi": "small", "gag": "small"},
            "named for 'gag', which the student does not read; did you mean 'gaf'",
        ),
    ],
)
def test_backbones_that_do_not_fit_the_views_are_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(MmkdError, match=message):
        build_student(names, SHAPES, 5)


def test_other_errors() -> None:
    with pytest.raises(MmkdError, match="at least one modality"):
        build_student("small", {}, 5)
    with pytest.raises(MmkdError, match=r"unknown fusion 'concta'; did you mean 'concat'\?"):
        build_student("small", SHAPES, 5, "concta")
    with pytest.raises(MmkdError, match="'FCN' reads signals"):
        build_student("FCN", SHAPES, 5)


def test_a_modality_may_have_a_dot_in_its_name() -> None:
    shapes = {"sig": (3, 32), "gaf.2": (3, 16, 16)}
    assert list(build_student("small", shapes, 5)(views(2, shapes)).branches) == ["sig", "gaf.2"]
