"""`freekd` and `figkd`: reference numbers, slow loops, identities, controls, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmkd.baselines.figkd import band_distance, shuffled_classes
from mmkd.baselines.freekd import energy_mask, masked_distance
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.core.options import recorded
from mmkd.frequency import haar_bands, prompt_masks, ring_bands

ORACLES = Path(__file__).parents[1] / "oracles"
INPUTS = np.load(ORACLES / "losses2.npz", allow_pickle=False)
ORACLE = np.load(ORACLES / "losses2_bands.npz", allow_pickle=False)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


def assert_reference(value, gradient, key):
    assert value.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)
    expected = ORACLE[f"{key}_grad"]
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def built(name, student, teachers, classes=6, **options):
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, classes, 60, 6, torch.arange(60) % classes)
    method.check(setup)
    method.build(setup)
    return method


# figkd


def logits_case():
    s, t = (torch.from_numpy(INPUTS[f"logits_{who}"]) for who in ("student", "teacher"))
    y = torch.from_numpy(INPUTS["target"])
    return Outputs(s.clone().requires_grad_(), s), {"sig": Outputs(t, t)}, Batch(y, torch.arange(8))


@pytest.mark.parametrize("levels", [1, 2])
def test_figkd_equals_the_reference(levels):
    student, teachers, batch = logits_case()
    term = built("figkd", student, teachers, levels=levels).losses(student, teachers, batch)["figkd"]
    term.backward()
    assert_reference(term, student.logits.grad, f"own_figkd_haar_levels{levels}")


def test_figkd_compares_neighbours_in_the_order_of_classes():
    """Another order is another value; within a pair it is not."""
    student, teachers, _ = logits_case()
    s, t = student.logits.detach(), teachers["sig"].logits
    order = torch.from_numpy(ORACLE["own_figkd_class_permutation"])
    expected = float(ORACLE["own_figkd_haar_levels1_permuted_classes"])
    assert band_distance(s[:, order], t[:, order]).item() == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(band_distance(s, t).item(), rel=0.1)
    within = torch.tensor([1, 0, 2, 3, 5, 4])
    torch.testing.assert_close(band_distance(s[:, within], t[:, within]), band_distance(s, t))


def test_the_class_order_is_one_of_its_number():
    student, teachers, batch = logits_case()
    values = {}
    for number in range(4):
        method = built("figkd", student, teachers, class_order=number)
        order = method.order
        assert torch.equal(order, shuffled_classes(6, number)), "not of the seed"
        s, t = student.logits.detach()[:, order], teachers["sig"].logits[:, order]
        values[number] = method.losses(student, teachers, batch)["figkd"].item()
        assert values[number] == pytest.approx(band_distance(s, t).item(), rel=1e-6)
        assert sorted(order.tolist()) == list(range(6))
    assert torch.equal(shuffled_classes(6, 0), torch.arange(6))
    assert len({round(value, 4) for value in values.values()}) == 4


def test_all_levels_of_a_power_of_two_are_centred_logits_in_any_order():
    """Each level is a mean over its own details; weighed by their number they keep the energy of all but the mean."""
    s, t = torch.randn(5, 8, dtype=torch.double), torch.randn(5, 8, dtype=torch.double)
    expected = ((s - s.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))).square().sum(1).mean()
    for order in (torch.arange(8), torch.randperm(8)):
        found = 0.0
        for level in (1, 2, 3):
            own = band_distance(s[:, order], t[:, order], level) - (
                band_distance(s[:, order], t[:, order], level - 1) if level > 1 else 0
            )
            found = found + own * 8 / 2**level
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(band_distance(s, t, 9), band_distance(s, t, 3))


def test_bands_of_logits():
    s, t = torch.randn(5, 6), torch.randn(5, 6)
    torch.testing.assert_close(band_distance(s, t, 2, "all-pass"), F.mse_loss(s, t))
    torch.testing.assert_close(
        band_distance(s, t, 1, "low") + band_distance(s, t, 1, "high"), 2 * band_distance(s, t, 1, "all-pass")
    )
    torch.testing.assert_close(band_distance(s + 3, t, 1), band_distance(s, t, 1))
    odd = band_distance(s[:, :5], t[:, :5])
    torch.testing.assert_close(odd, band_distance(s[:, :4], t[:, :4]) * 2 / 3)


def test_figkd_of_another_wavelet():
    student, teachers, batch = logits_case()
    method = built("figkd", student, teachers, wavelet="db2", levels=2)
    found = method.losses(student, teachers, batch)["figkd"]
    gap = student.logits - teachers["sig"].logits
    _, high = ring_bands(gap, 2, "db2")
    torch.testing.assert_close(found, sum(band.square().mean() for band in high))
    plain = built("figkd", student, teachers, levels=2).losses(student, teachers, batch)["figkd"]
    assert found.item() != pytest.approx(plain.item(), rel=1e-2)
    assert "wavelet" not in recorded(METHODS.get("figkd").Config())


def test_figkd_divides_by_the_temperature_and_weighs_teachers():
    student, teachers, batch = logits_case()
    other = torch.randn(8, 6)
    teachers = {**teachers, "gaf": Outputs(other, other)}
    options = {"temperature": 2, "weight": 3, "teacher_weights": "sig=0.75,gaf=0.25"}
    found = built("figkd", student, teachers, **options).losses(student, teachers, batch)["figkd"]
    values = [band_distance(student.logits / 2, teachers[m].logits / 2) for m in ("sig", "gaf")]
    torch.testing.assert_close(found, 3 * (0.75 * values[0] + 0.25 * values[1]))


# freekd


@pytest.mark.parametrize("key", ["freekd_loss", "own_freekd1d"])
def test_freekd_under_given_prompts_equals_the_reference(key):
    lines = key == "own_freekd1d"
    names = [("map1d" if lines else "freekd_map") + f"_{who}" for who in ("student", "teacher")]
    s, t = (torch.from_numpy((INPUTS if lines else ORACLE)[name]) for name in names)
    prompts = torch.from_numpy(ORACLE["own_freekd1d_prompts"] if lines else ORACLE["freekd_prompts"][1:])
    s.requires_grad_()
    bands = zip(haar_bands(s, 3)[1], haar_bands(t, 3)[1], prompts, strict=True)
    value = sum(masked_distance(own, other, prompt_masks(p, other)) for own, other, p in bands)
    value.backward()
    assert_reference(value, s.grad, key)


def maps_case(student_size=(16,), teacher_size=(16,), channels=(3, 3)):
    s = {"stage1": torch.randn(4, channels[0], *student_size, requires_grad=True)}
    t = {"stage1": torch.randn(4, channels[1], *teacher_size)}
    logits = torch.randn(4, 3)
    return Outputs(logits, logits, s), {"gaf": Outputs(logits, logits, t)}, Batch(torch.arange(4) % 3, torch.arange(4))


def plain(method):
    """With adapters that change nothing."""
    for adapter in method.adapters:
        torch.nn.init.dirac_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
    return method


@pytest.mark.parametrize("size", [(16,), (8, 12)])
@pytest.mark.parametrize("prompts", ["energy", "none"])
def test_freekd_by_slow_loops(size, prompts):
    student, teachers, batch = maps_case(size, size)
    method = plain(built("freekd", student, teachers, classes=3, prompts=prompts, weight=2, mse_weight=3))
    terms = method.losses(student, teachers, batch)
    s, t = student.features["stage1"].detach(), teachers["gaf"].features["stage1"]
    total = 0.0
    for own, other in zip(haar_bands(s, 3)[1], haar_bands(t, 3)[1], strict=True):
        level = 0.0
        for b in range(4):
            size_of = other[b].abs().mean((0, 1))
            mask = torch.sigmoid((size_of - size_of.mean()) / (size_of.std(correction=0) + 1e-6))
            mask = torch.ones_like(mask) if prompts == "none" else mask
            for c in range(3):
                for o in range(own.shape[2]):
                    level += (mask * own[b, c, o] - mask * other[b, c, o]).abs().sum().item()
        total += level / own.numel()
    assert terms["freekd_gaf"].item() == pytest.approx(2 * total, rel=1e-5)
    assert terms["freekd_mse_gaf"].item() == pytest.approx(3 * F.mse_loss(s, t).item(), rel=1e-5)


@pytest.mark.parametrize("size", [(16,), (16, 8)])
def test_maps_that_differ_in_the_low_band_alone(size):
    student, teachers, batch = maps_case(size, size)
    s = student.features["stage1"].detach()
    teachers["gaf"].features["stage1"] = s + torch.arange(3.0).view(1, 3, *[1] * len(size))
    method = plain(built("freekd", student, teachers, classes=3))
    terms = method.losses(student, teachers, batch)
    assert terms["freekd_gaf"].item() < 1e-6
    assert terms["freekd_mse_gaf"].item() > 1
    control = plain(built("freekd", student, teachers, classes=3, bands="all-pass"))
    assert control.losses(student, teachers, batch)["freekd_gaf"].item() > 0.5


def test_the_mask_has_no_parameters_because_trained_ones_would_vanish():
    student, teachers, _ = maps_case()
    method = built("freekd", student, teachers, classes=3)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"adapters"}
    bands = [haar_bands(x, 1)[1][0] for x in (student.features["stage1"].detach(), teachers["gaf"].features["stage1"])]
    prompts = torch.randn(2, 3, requires_grad=True)
    optimizer = torch.optim.SGD([prompts], lr=20)
    values = []
    for _ in range(60):
        loss = masked_distance(*bands, prompt_masks(prompts, bands[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.85 * values[0]
    assert prompt_masks(prompts, bands[1]).mean() < 0.4, "masks of 0 have no loss"


def test_a_mask_is_largest_where_the_teachers_bands_are():
    t = torch.zeros(2, 3, 3, 4, 4)
    t[0, :, :, 1, 2] = -5.0
    mask = energy_mask(t)
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0].argmax() == 6
    assert mask[1].unique().tolist() == [0.5], "no band, no place"


def test_shuffled_masks_have_the_same_values_elsewhere():
    student, teachers, batch = maps_case((16, 16), (16, 16))
    method = plain(built("freekd", student, teachers, classes=3, prompts="shuffled"))
    s, t = student.features["stage1"].detach(), teachers["gaf"].features["stage1"]
    expected = 0.0
    for level, (own, other) in enumerate(zip(haar_bands(s, 3)[1], haar_bands(t, 3)[1], strict=True)):
        order = getattr(method, f"order_0_{level}")
        assert sorted(order.tolist()) == list(range(len(order)))
        mask = energy_mask(other).flatten(2)[..., order].unflatten(2, other.shape[3:])
        expected += masked_distance(own, other, mask).item()
    found = method.losses(student, teachers, batch)["freekd_gaf"].item()
    assert found == pytest.approx(expected, rel=1e-6)
    energy = plain(built("freekd", student, teachers, classes=3)).losses(student, teachers, batch)["freekd_gaf"]
    assert found != pytest.approx(energy.item(), rel=1e-4)
    again = built("freekd", student, teachers, classes=3, prompts="shuffled")
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.order_0_0, method.order_0_0), "the checkpoint has it"


@pytest.mark.parametrize(("sizes", "levels"), [(((16,), (9,)), 3), (((5,), (5,)), 2), (((40,), (6, 6)), 2)])
def test_freekd_where_maps_meet(sizes, levels):
    student, teachers, batch = maps_case(*sizes, channels=(2, 5))
    method = built("freekd", student, teachers, classes=3)
    own, other = method.maps(student, "gaf", teachers["gaf"])[0]
    assert own.shape[2:] == other.shape[2:]
    assert len(method.bands(other)) == levels
    terms = method.losses(student, teachers, batch)
    (terms["freekd_gaf"] + terms["freekd_mse_gaf"]).backward()
    assert student.features["stage1"].grad.abs().sum() > 0


def test_freekd_is_a_mean_over_stages_and_weighs_teachers():
    student, teachers, batch = maps_case()
    student.features["stage2"] = torch.randn(4, 3, 8)
    teachers["gaf"].features["stage2"] = torch.randn(4, 3, 8)
    teachers["sig"] = Outputs(torch.randn(4, 3), torch.randn(4, 3), {"stage1": torch.randn(4, 3, 16)})
    method = plain(built("freekd", student, teachers, classes=3, teacher_weights="gaf=0.75,sig=0.25"))
    assert len(method.adapters) == 3
    terms = method.losses(student, teachers, batch)
    single = []
    for stage in ("stage1", "stage2"):
        s = Outputs(student.logits, student.logits, {"stage1": student.features[stage]})
        t = {"gaf": Outputs(student.logits, student.logits, {"stage1": teachers["gaf"].features[stage]})}
        single.append(plain(built("freekd", s, t, classes=3)).losses(s, t, batch))
    for name in ("freekd_gaf", "freekd_mse_gaf"):
        torch.testing.assert_close(terms[name], 0.75 * (single[0][name] + single[1][name]) / 2)
    assert terms["freekd_sig"] > 0


@pytest.mark.parametrize("sizes", [((), (8, 8)), ((8,), (1, 1)), ((1,), (8,)), ((2,), (8, 8))])
def test_freekd_refuses_what_has_no_bands(sizes):
    student, teachers, _ = maps_case(*sizes)
    with pytest.raises(MmkdError, match="--stages") as caught:
        built("freekd", student, teachers, classes=3, mixed="hankel")
    assert "\n" not in str(caught.value)
