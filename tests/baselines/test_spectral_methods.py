"""`timedistill` and `fd-cmkd`: reference numbers, slow loops, identities, controls, and what is refused."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmkd.baselines.timedistill import Regressor, scale_distance, spectrum, spectrum_distance
from torch.nn import functional as F

from mmkd import METHODS, TASKS, Batch, MmkdError, Outputs, Setup
from mmkd.baselines import fd_cmkd
from mmkd.frequency import BandFilter, band_mask

ORACLES = Path(__file__).parents[1] / "oracles"
INPUTS = np.load(ORACLES / "losses2.npz", allow_pickle=False)
ORACLE = np.load(ORACLES / "losses2_bands.npz", allow_pickle=False)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(4)


def assert_reference(value, x, key, ending="_grad"):
    assert value.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
    expected = ORACLE[key + ending]
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def case(size=(16,), teacher_size=None, channels=(3, 4), **more):
    """A student and a teacher with a map, and a classifier that reads its mean."""
    s = torch.randn(5, channels[0], *size, requires_grad=True)
    t = torch.randn(5, channels[1], *(size if teacher_size is None else teacher_size))
    pooled = t.flatten(2).mean(2) if t.ndim > 2 else t
    weight = torch.randn(6, channels[1])
    teacher = Outputs(pooled @ weight.T + torch.linspace(-1, 1, 6), pooled, {"stage1": t}, weight)
    return Outputs(torch.randn(5, 6), torch.randn(5, 2), {"stage1": s}), {"sig": teacher}, batch_of(**more)


def batch_of(**more):
    return Batch(torch.tensor([0, 5, 2, 2, 1]), torch.arange(5), **more)


def built(name, student, teachers, **options):
    method = METHODS.get(name)(**options)
    setup = Setup(student, teachers, 6, 60, 6, torch.arange(60) % 6)
    method.check(setup)
    method.build(setup)
    return method


# timedistill


def td_case(kind):
    s, t = (torch.from_numpy(ORACLE[f"td_{kind}_{who}"]) for who in ("student", "teacher"))
    return s.requires_grad_(), t


def test_predictions_along_time_equal_the_reference():
    """Time is the second axis there."""
    x, t = td_case("output")
    s, t = x.transpose(1, 2), t.transpose(1, 2)
    assert_reference(spectrum_distance(spectrum(s), spectrum(t), 0.5, "elements"), x, "td_logit_frequency")
    assert_reference(scale_distance(s, t, 3), x, "td_logit_multiscale")


def test_features_through_the_regressor_equal_the_reference():
    """The code's regressor, pooling and transform run along the last axis, the numbering of features."""
    s, t = td_case("feature")
    regressor = Regressor(10, 16)
    names = [(i, kind) for i in (0, 2) for kind in ("weight", "bias")]
    regressor.load_state_dict(
        {f"layers.{i}.{kind}": torch.from_numpy(ORACLE[f"td_regressor_{kind}{i}"]) for i, kind in names}
    )
    adapted = regressor(t.movedim(-1, 1)).movedim(1, -1)
    frequency = spectrum_distance(spectrum(s), spectrum(adapted), 0.5, "elements")
    for term, key in (
        (frequency, "td_feature_frequency"),
        (scale_distance(s, adapted, 3), "td_feature_multiscale"),
    ):
        assert_reference(term, s, key)
        assert_reference(term, regressor.layers[0].weight, key, "_grad_regressor_weight0")


def slow_spectrum(line, unit):
    n = len(line)
    if unit:
        mean = sum(line) / n
        deviation = math.sqrt(sum((v - mean) ** 2 for v in line) / n + 1e-6)
        line = [(v - mean) / deviation / math.sqrt(n) for v in line]
    waves = [[np.exp(-2j * math.pi * k * i / n) for i in range(n)] for k in range(1, n // 2 + 1)]
    return [abs(sum(v * w for v, w in zip(line, wave, strict=True))) for wave in waves]


@pytest.mark.parametrize("scale", ["unit", "raw"])
@pytest.mark.parametrize("reduction", ["sample", "elements"])
def test_timedistill_by_slow_loops(scale, reduction):
    student, teachers, batch = case((13,))
    options = {"spectrum_scale": scale, "reduction": reduction, "levels": 2, "weight": 3}
    method = built("timedistill", student, teachers, **options).double()
    s = method.adapters[0](student.features["stage1"].detach().double())
    t = teachers["sig"].features["stage1"].double()
    spectral = 0.0
    for b in range(5):
        for c in range(4):
            own, other = (np.array(slow_spectrum(x[b, c].tolist(), scale == "unit")) / 0.5 for x in (s.detach(), t))
            q, p = (np.exp(z - z.max()) / np.exp(z - z.max()).sum() for z in (own, other))
            spectral += (p * (np.log(p) - np.log(q + 1e-8))).sum()
    spectral /= 5 * 4 * (1 if reduction == "sample" else 6)
    scales = [F.mse_loss(s, t)]
    for _ in range(2):
        s, t = ((x[..., 0 : x.shape[-1] // 2 * 2 : 2] + x[..., 1::2]) / 2 for x in (s, t))
        scales.append(F.mse_loss(s, t))
    doubled = {m: replace(x, features={"stage1": x.features["stage1"].double()}) for m, x in teachers.items()}
    wide = replace(student, features={"stage1": student.features["stage1"].double()})
    found = method.losses(wide, doubled, batch)["timedistill_sig"].item()
    assert found == pytest.approx(3 * (spectral + sum(scales).item() / 3), rel=1e-6)


def test_a_shift_around_the_ring_changes_the_scales_and_not_the_spectrum():
    s, t = torch.randn(4, 3, 16), torch.randn(4, 3, 16)
    moved = s.roll(5, -1)
    own, other, shifted = (spectrum(x, "unit") for x in (s, t, moved))
    torch.testing.assert_close(spectrum_distance(shifted, other, 0.5), spectrum_distance(own, other, 0.5))
    assert spectrum_distance(shifted, own, 0.5).abs() < 1e-5
    assert scale_distance(moved, s, 3) > 0.1


def test_the_unit_of_a_line_does_not_change_its_spectrum():
    s = torch.randn(4, 3, 64)
    torch.testing.assert_close(spectrum(40 * s + 7, "unit"), spectrum(s, "unit"), rtol=1e-3, atol=1e-4)
    raw = (spectrum(40 * s) / 0.5).softmax(-1).amax(-1)
    assert raw.mean() > 0.99, "one-hot: why it is not the default"
    assert (spectrum(s, "unit") / 0.5).softmax(-1).amax(-1).mean() < 0.5
    tall = (200 * s).requires_grad_()
    spectrum_distance(spectrum(tall), spectrum(-tall.detach().roll(1, 0)), 0.5).backward()
    assert tall.grad.isfinite().all()


def test_scales_stop_where_a_line_has_one_sample():
    s, t = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    assert torch.equal(scale_distance(s, t, 9), scale_distance(s, t, 2))
    assert torch.equal(scale_distance(s, t, 0), F.mse_loss(s, t))


def test_an_adapted_teacher_is_watched():
    student, teachers, batch = case()
    method = built("timedistill", student, teachers, adapt="teacher")
    terms = method.losses(student, teachers, batch)
    adapted = method.adapters[0](teachers["sig"].features["stage1"])
    assert adapted.shape[1] == 3
    spread = adapted.detach().numpy().std(-1).mean()
    assert terms["timedistill_spread"].item() == pytest.approx(spread, rel=1e-5)
    assert not terms["timedistill_spread"].requires_grad
    terms["timedistill_sig"].backward()
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())
    assert "timedistill_spread" not in built("timedistill", student, teachers).losses(student, teachers, batch)


def test_both_sides_at_0_cost_nothing():
    """Why the student is adapted by default: a trained regressor could bring the teacher there."""
    zero = torch.zeros(2, 3, 16)
    assert scale_distance(zero, zero, 3) == 0
    assert spectrum_distance(spectrum(zero), spectrum(zero), 0.5).abs() < 1e-5


def test_logits_along_time_where_steps_have_labels():
    student, teachers, _ = case()
    s, t = torch.randn(5, 6, 16, requires_grad=True), torch.randn(5, 6, 16)
    student = replace(student, logits=s)
    teachers = {"sig": replace(teachers["sig"], logits=t)}
    known = torch.rand(5, 16) < 0.7
    student, teachers = student.steps(known), {"sig": teachers["sig"].steps(known)}
    targets = torch.randint(6, (int(known.sum()),))
    method = built("timedistill", student, teachers, logit_weight=2)
    terms = method.losses(student, teachers, Batch(targets, torch.arange(5)))
    expected = spectrum_distance(spectrum(s, "unit"), spectrum(t, "unit"), 0.5) + scale_distance(s, t, 3)
    torch.testing.assert_close(terms["timedistill_logits"], 2 * expected)
    (gradient,) = torch.autograd.grad(terms["timedistill_logits"], s)
    assert gradient.movedim(1, -1)[~known].abs().min() > 0, "steps without annotation too"
    assert teachers["sig"].detach().sequence is not None


def test_windows_have_no_logits_along_time():
    student, teachers, batch = case()
    assert set(built("timedistill", student, teachers).losses(student, teachers, batch)) == {"ce", "timedistill_sig"}


@pytest.mark.parametrize("sizes", [((8, 8), (8, 8)), ((16,), (8, 8)), ((8, 8), (16,))])
def test_images_are_refused_or_averaged_over_rows(sizes):
    student, teachers, batch = case(*sizes)
    with pytest.raises(MmkdError, match="--images rows") as caught:
        built("timedistill", student, teachers)
    assert "\n" not in str(caught.value)
    method = built("timedistill", student, teachers, images="rows")
    own, other = method.lines(student, "sig", teachers["sig"])[0]
    assert own.shape[2:] == other.shape[2:] == (8,)
    if len(sizes[1]) == 2:
        torch.testing.assert_close(other, teachers["sig"].features["stage1"].mean(2))
    assert method.losses(student, teachers, batch)["timedistill_sig"] > 0


@pytest.mark.parametrize("size", [(), (1,)])
def test_what_has_no_time_is_refused(size):
    student, teachers, _ = case(size, size)
    with pytest.raises(MmkdError, match="2 or more samples"):
        built("timedistill", student, teachers)


# fd-cmkd


def fd_case(dims):
    pairs = {
        "1d": [torch.from_numpy(INPUTS[f"map1d_{who}"][:2]) for who in ("student", "teacher")],
        "2d": [torch.from_numpy(ORACLE[f"own_fdcmkd_map2d_{who}"]) for who in ("student", "teacher")],
    }
    s, t = pairs[dims]
    return s.requires_grad_(), t


@pytest.mark.parametrize("dims", ["1d", "2d"])
def test_fd_cmkd_equals_the_reference(dims):
    s, t = fd_case(dims)
    rho = float(ORACLE["own_fdcmkd_rho"])
    low_pass = BandFilter(band_mask(tuple(s.shape[2:]), "low", rho, "hard", transform="fft"), "fft")
    for form, ending in (("sample", ""), ("element", "_elementwise")):
        low, high = METHODS.get("fd-cmkd")(logmse=form).bands(s, t, low_pass)
        assert_reference(low, s, f"own_fdcmkd_{dims}_low")
        assert_reference(high, s, f"own_fdcmkd_{dims}_high{ending}")
    assert_reference(fd_cmkd.scale_distance(s, t), s, f"own_fdcmkd_{dims}_scale")


def test_the_teachers_classifier_equals_the_reference_bias_included():
    """The bias is found from logits and embedding, as `Outputs` has the weight alone."""
    s, t = fd_case("1d")
    weight, bias = (torch.from_numpy(ORACLE[f"own_fdcmkd_classifier_{kind}"]) for kind in ("weight", "bias"))
    pooled = t.mean(2)
    teacher = Outputs(F.linear(pooled, weight, bias), pooled, {"stage1": t}, weight)
    batch = Batch(torch.from_numpy(INPUTS["target"][:2]), torch.arange(2))
    found = METHODS.get("fd-cmkd")().classified(s, teacher, batch, 0)
    assert_reference(found, s, "own_fdcmkd_1d_classifier")


def plain(method):
    for adapter in method.adapters:
        torch.nn.init.dirac_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
    return method


@pytest.mark.parametrize("size", [(16,), (6, 7)])
def test_low_and_high_are_the_standardised_map(size):
    student, teachers, _ = case(size)
    method = built("fd-cmkd", student, teachers)
    x = fd_cmkd.standardised(teachers["sig"].features["stage1"])
    np.testing.assert_allclose(x.flatten(1).mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(x.flatten(1).std(1, correction=0), 1, atol=1e-4)
    low = method.filters[0](x)
    assert low.square().sum() + (x - low).square().sum() == pytest.approx(x.square().sum().item(), rel=1e-5)
    assert low.square().sum() > 0.01


def test_a_scaled_and_moved_window_moves_scale_and_classifier_alone():
    student, teachers, batch = case(channels=(4, 4))
    method = plain(built("fd-cmkd", student, teachers))
    before = method.losses(student, teachers, batch)
    x = student.features["stage1"].detach()
    moved = replace(student, features={"stage1": 3 * x + 2})
    after = method.losses(moved, teachers, batch)
    for name in ("low", "high"):
        torch.testing.assert_close(after[f"fd_cmkd_{name}_sig"], before[f"fd_cmkd_{name}_sig"], rtol=1e-4, atol=1e-6)
    for name in ("scale", "classifier"):
        assert abs(after[f"fd_cmkd_{name}_sig"] - before[f"fd_cmkd_{name}_sig"]) > 0.1


def test_controls_exchange_and_join_the_bands():
    student, teachers, batch = case((9,), channels=(4, 4))
    found = {}
    for strategy in ("basic", "swap", "all-pass", "random-mask"):
        method = plain(built("fd-cmkd", student, teachers, strategy=strategy))
        found[strategy] = method.losses(student, teachers, batch)
        gain = method.filters[0].gain
        assert gain.sum() == band_mask((9,), "low", 0.25, "hard", transform="fft").sum()
    s, t = (fd_cmkd.standardised(x) for x in (student.features["stage1"], teachers["sig"].features["stage1"]))
    low_pass = BandFilter(band_mask((9,), "low", 0.25, "hard", transform="fft"), "fft")
    low = low_pass(s - t)
    high = s - t - low
    torch.testing.assert_close(found["swap"]["fd_cmkd_low_sig"], high.square().mean())
    torch.testing.assert_close(found["swap"]["fd_cmkd_high_sig"], fd_cmkd.log_square(low))
    torch.testing.assert_close(found["all-pass"]["fd_cmkd_low_sig"], F.mse_loss(s, t))
    assert found["all-pass"]["fd_cmkd_high_sig"] == 0
    masks = [built("fd-cmkd", student, teachers, strategy="random-mask").filters[0].gain for _ in range(8)]
    assert len({tuple(mask.tolist()) for mask in masks}) > 1


def test_the_weak_term_lets_go_where_bands_are_equal():
    """That of ln MSE would be strongest there."""
    gradients = []
    for size in (1e-3, 1e-1, 1.0):
        e = torch.full((1, 2, 8), size, requires_grad=True)
        fd_cmkd.log_square(e).backward()
        gradients.append(e.grad.norm().item())
    assert gradients == sorted(gradients)
    assert gradients[0] < 1e-2 * gradients[2]


def test_a_trained_classifier_reads_both():
    student, teachers, batch = case(channels=(4, 4))
    method = plain(built("fd-cmkd", student, teachers, shared="trained"))
    terms = method.losses(student, teachers, batch)
    pooled = student.features["stage1"].mean(2), teachers["sig"].features["stage1"].mean(2)
    expected = sum(F.cross_entropy(method.classifiers[0](x), batch.targets) for x in pooled)
    torch.testing.assert_close(terms["fd_cmkd_classifier_sig"], expected)
    assert not built("fd-cmkd", student, teachers).classifiers


def test_cross_entropy_of_labelled_windows_and_of_mixtures():
    logits = torch.randn(5, 6)
    labelled = torch.tensor([True, False, True, True, False])
    targets = torch.where(labelled, batch_of().targets, -1)
    found = fd_cmkd.cross_entropy(logits, replace(batch_of(labelled=labelled), targets=targets))
    torch.testing.assert_close(found, F.cross_entropy(logits[labelled], targets[labelled]))
    others, shares = torch.tensor([1, 1, 0, 3, 4]), torch.tensor([0.5, 0.6, 0.7, 1.0, 0.9])
    found = fd_cmkd.cross_entropy(logits, batch_of(mixed=(others, shares)))
    expected = -sum(
        share * logits[i].log_softmax(0)[y] + (1 - share) * logits[i].log_softmax(0)[o]
        for i, (y, o, share) in enumerate(zip(batch_of().targets, others, shares, strict=True))
    )
    torch.testing.assert_close(found, expected / 5)


@pytest.mark.parametrize("sizes", [((40,), (6, 6)), ((6, 6), (16,)), ((8, 9), (9, 8)), ((20,), (9,))])
def test_fd_cmkd_where_maps_meet(sizes):
    student, teachers, batch = case(*sizes)
    method = built("fd-cmkd", student, teachers)
    terms = method.losses(student, teachers, batch)
    torch.stack([term for name, term in terms.items() if name != "ce"]).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())
    assert student.features["stage1"].grad.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [(((), ()), {}, "--student-net"), (((8,), ()), {}, "--teacher-net"), (((8,), (8,)), {"cutoff": 1}, "--cutoff")],
)
def test_fd_cmkd_refuses_what_has_no_bands(sizes, options, words):
    student, teachers, _ = case(*sizes)
    state = torch.get_rng_state()
    with pytest.raises(MmkdError, match=words) as caught:
        built("fd-cmkd", student, teachers, strategy="random-mask", **options)
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_where_steps_have_labels_a_preset_sets_smaller_weights(preset):
    weights = TASKS.get("segmentation").preset(preset).options["timedistill"]
    config = METHODS.get("timedistill").Config.parse(weights, "timedistill")
    assert (config.weight, config.logit_weight) == (0.1, 0.01)
    assert "timedistill" not in TASKS.get("classification").preset(preset).options
