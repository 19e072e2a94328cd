"""`freq-lh`: the formula of the project's notes by explicit sums of cosines, and its identities for hard masks."""

import itertools
import math
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup, soft_targets
from mmkd.frequency import BAND_MASKS, BAND_SHAPES, BAND_TRANSFORMS, LIFTS, IdleMaskWarning, masks
from mmkd.training.setup import build_method

B, K = 4, 3
TARGETS = torch.tensor([2, 0, 1, 2])
LINE = {"stage1": (3, 12), "stage2": (4, 9), "stage3": (5, 6)}
IMAGE = {"stage1": (3, 6, 7), "stage2": (4, 5, 4), "stage3": (5, 3, 4)}
DENSE = {"encoder1": (3, 16), "encoder2": (4, 8), "decoder1": (4, 8), "decoder2": (3, 16)}
COSTS = ("freq_lh_encoder_", "freq_lh_decoder_")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(6)


def outputs(shapes, **more):
    features = {k: torch.randn(B, *s, dtype=torch.double, requires_grad=True) for k, s in shapes.items()}
    logits = torch.randn(B, K, dtype=torch.double, requires_grad=True)
    return Outputs(logits, torch.randn(B, 5, dtype=torch.double), features, **more)


def setup_of(student, teachers, **more):
    return Setup(student, teachers, classes=K, train_size=60, epochs=6, **more)


def made(student, teachers, plain=False, window_s=None, task="classification", **options):
    """The method as the loop sets it up, errors not divided; `plain`: its adapters are the identity."""
    method = METHODS.get("freq-lh")(**{"band_scale": "none", **options})
    build_method(method, setup_of(student, teachers, window_s=window_s, task=task), 0)
    method.double()
    for adapter in method.adapters if plain else ():
        torch.nn.init.dirac_(adapter.weight)
    return method


def terms_of(student, teachers, **options):
    return made(student, teachers, **options).losses(student, teachers, Batch(TARGETS, torch.arange(B), 5, 6))


def feature_loss(student, teachers, **options):
    """The term of the maps, and its gradients for the student's."""
    terms = terms_of(student, teachers, **options)
    loss = sum(v for k, v in terms.items() if k.startswith("freq_lh"))
    return loss, torch.autograd.grad(loss, list(student.features.values()), allow_unused=True)


def same(first, second):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def bank(size, dtype=torch.double):
    """(bins, positions): the cosines of the DCT-II, and (bins,) the radius of each."""
    waves, radii = [], []
    for at in itertools.product(*(range(n) for n in size)):
        wave = torch.ones(size, dtype=dtype)
        for axis, (k, n) in enumerate(zip(at, size, strict=True)):
            line = [
                math.sqrt((1 if k == 0 else 2) / n) * math.cos(math.pi * k * (2 * i + 1) / (2 * n)) for i in range(n)
            ]
            wave = wave * torch.tensor(line, dtype=dtype).view(*[-1 if a == axis else 1 for a in range(len(size))])
        waves.append(wave.flatten())
        radii.append(math.hypot(*(k / n for k, n in zip(at, size, strict=True))) / math.sqrt(len(size)))
    return torch.stack(waves), torch.tensor(radii, dtype=dtype)


def filtered(x, gain_of):
    """(B, C, *size) times a gain of the radius, by sums over explicit cosines."""
    waves, radii = bank(x.shape[2:])
    gain = torch.tensor([gain_of(r.item()) for r in radii], dtype=x.dtype)
    return (torch.einsum("bcp,kp->bck", x.flatten(2), waves) * gain @ waves).view_as(x)


def low(cutoff):
    return lambda r: 2 ** -((r / cutoff) ** 2)


def high(cutoff):
    return lambda r: 1 - 2 ** -((r / cutoff) ** 2)


@pytest.mark.parametrize("shapes", [LINE, IMAGE, DENSE], ids=["lines", "images", "dense"])
def test_value_and_gradient_by_explicit_cosine_sums(shapes):
    student, teachers = outputs(shapes), {"sig": outputs({k: (2 + s[0], *s[1:]) for k, s in shapes.items()})}
    task = "segmentation" if shapes is DENSE else "classification"
    options = {"low_cutoff": 0.3, "high_cutoff": 0.2, "encoder_share": 0.3, "feature_weight": 2.0, "temperature": 3.0}
    method = made(student, teachers, task=task, kd_weight=0.7, **options)
    terms = method.losses(student, teachers, Batch(TARGETS, torch.arange(B)))
    names = list(shapes)
    early = ["encoder1", "encoder2"] if shapes is DENSE else ["stage1"]
    assert [r[2] for r in method.routes] == names
    want = {
        "ce": F.cross_entropy(student.logits, TARGETS),
        "kd": 0.7 * soft_targets(student.logits, teachers["sig"].logits, 3.0),
    }
    parts = {"encoder": [], "decoder": []}
    for name, adapter in zip(names, method.adapters, strict=True):
        s = torch.einsum("oc,bcp->bop", adapter.weight.flatten(1), student.features[name].flatten(2))
        t = teachers["sig"].features[name].detach()
        place = "encoder" if name in early else "decoder"
        gain = low(0.3) if place == "encoder" else high(0.2)
        parts[place].append((filtered(s.view(B, -1, *t.shape[2:]), gain) - filtered(t, gain)).square().mean())
    want["freq_lh_encoder_sig"] = 2.0 * 0.3 * sum(parts["encoder"]) / len(parts["encoder"])
    want["freq_lh_decoder_sig"] = 2.0 * 0.7 * sum(parts["decoder"]) / len(parts["decoder"])
    assert terms.keys() == want.keys()
    for term, value in want.items():
        assert terms[term].item() == pytest.approx(value.item(), rel=1e-6), term
    wanted = [*student.features.values(), student.logits, *method.parameters()]
    same(torch.autograd.grad(sum(terms.values()), wanted), torch.autograd.grad(sum(want.values()), wanted))


HARD = {"mask": "hard", "low_cutoff": 0.4, "high_cutoff": 0.4, "plain": True}
every_transform = pytest.mark.parametrize("transform", ["dct", "fft"])
every_kind = pytest.mark.parametrize("shapes", [LINE, IMAGE], ids=["lines", "images"])


@every_kind
@every_transform
@pytest.mark.parametrize("strategy", ["basic", "reversed", "low", "high", "random-mask"])
@pytest.mark.parametrize("standardise", ["none", "channel"])
def test_hard_masks_make_placements_alike(shapes, transform, strategy, standardise):
    """Identities 1 and 2 of the docstring."""
    student, teachers = outputs(shapes), {"sig": outputs(shapes)}
    given = {**HARD, "strategy": strategy, "transform": transform, "standardise": standardise}
    both, own, other = (feature_loss(student, teachers, placement=p, **given) for p in ("both", "student", "teacher"))
    same(both[1], own[1])
    method = made(student, teachers, **given)

    def outside(o):
        """||(1 - M) x||^2 of each stage, mean over elements, in the weights of the method."""
        parts = {"encoder": [], "decoder": []}
        for route, band in zip(method.routes, method.filters, strict=True):
            x = o.features[route.student_stage]
            if standardise == "channel":
                over = (0, *range(2, x.ndim))
                x = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + 1e-6).sqrt()
            parts[route.place].append((x - band(x)).square().mean())
        return sum(sum(v) / len(v) for v in parts.values()) / 2

    assert (own[0] - both[0]).item() == pytest.approx(outside(teachers["sig"]).item(), rel=1e-6)
    assert (other[0] - both[0]).item() == pytest.approx(outside(student).item(), rel=1e-6)
    assert outside(student) > 0.01
    penalty = torch.autograd.grad(outside(student), list(student.features.values()))
    same(other[1], [a + b for a, b in zip(both[1], penalty, strict=True)])


@every_kind
@every_transform
def test_hard_low_plus_high_is_plain_feature_distillation(shapes, transform):
    """Identity 3 of the docstring."""
    student, teachers = outputs(shapes), {"sig": outputs(shapes)}
    plain = feature_loss(student, teachers, strategy="all-pass", plain=True)

    def norms(o):
        each = [x.square().mean() for x in o.features.values()]
        return (each[0] + (each[1] + each[2]) / 2) / 2

    extra = {"both": 0, "teacher": norms(student), "student": norms(teachers["sig"])}
    for placement, more in extra.items():
        given = {**HARD, "transform": transform, "placement": placement}
        parts = [feature_loss(student, teachers, strategy=s, **given) for s in ("low", "high")]
        assert (parts[0][0] + parts[1][0] - plain[0]).item() == pytest.approx(
            float(torch.as_tensor(more).detach()), rel=1e-6, abs=1e-8
        )
        grads = [a + b for a, b in zip(parts[0][1], parts[1][1], strict=True)]
        if placement == "teacher":
            added = torch.autograd.grad(more, list(student.features.values()))
            same(grads, [a + b for a, b in zip(plain[1], added, strict=True)])
        else:
            same(grads, plain[1])


@pytest.mark.parametrize("mask", ["gaussian", "butterworth"])
def test_soft_masks_are_not_degenerate(mask):
    """Which is why they are the default: each identity fails."""
    student, teachers = outputs(LINE), {"sig": outputs(LINE)}
    given = {**HARD, "mask": mask}
    both, own = (feature_loss(student, teachers, placement=p, **given) for p in ("both", "student"))
    assert (both[1][0] - own[1][0]).norm() > 0.05 * both[1][0].norm()
    plain = feature_loss(student, teachers, strategy="all-pass", plain=True)[0]
    parts = [feature_loss(student, teachers, strategy=s, **given)[0] for s in ("low", "high")]
    assert (plain - sum(parts)).abs() > 0.05 * plain
    assert METHODS.get("freq-lh").Config().mask == "gaussian"


@every_kind
@pytest.mark.filterwarnings("ignore::mmkd.frequency.IdleMaskWarning")
def test_all_pass_is_plain_feature_distillation(shapes):
    student, teachers = outputs(shapes), {"sig": outputs(shapes)}
    each = [F.mse_loss(student.features[k], teachers["sig"].features[k].detach()) for k in shapes]
    want = 0.5 * each[0] + 0.5 * (each[1] + each[2]) / 2
    for placement in ("both", "teacher", "student"):
        loss, grads = feature_loss(student, teachers, strategy="all-pass", plain=True, placement=placement)
        assert loss.item() == pytest.approx(want.item(), rel=1e-9)
        same(grads, torch.autograd.grad(want, list(student.features.values()), retain_graph=True))
    soft = feature_loss(student, teachers, low_high_ratio=0.5, plain=True)[0]  # half of either: half of the map
    assert soft.item() == pytest.approx(want.item() / 4, rel=1e-6)


def test_strategies_and_ratios_choose_the_bands():
    student, teachers = outputs(LINE), {"sig": outputs(LINE)}
    given = {"low_cutoff": 0.3, "high_cutoff": 0.5, "kd_weight": 0.0}
    values = {
        s: [terms_of(student, teachers, strategy=s, **given)[f"{c}sig"].item() for c in COSTS]
        for s in ("basic", "reversed", "low", "high", "random-mask", "all-pass")
    }
    assert values["basic"] == [values["low"][0], values["high"][1]]
    assert values["reversed"] == [values["high"][0], values["low"][1]]
    assert len({v[0] for v in values.values()}) == 4
    for ratio, late, like in ((1, None, "low"), (0, None, "high"), (1, 0, "basic"), (0, 1, "reversed")):
        mixed = terms_of(student, teachers, low_high_ratio=ratio, decoder_low_high_ratio=late, **given)
        assert [mixed[f"{c}sig"].item() for c in COSTS] == pytest.approx(values[like], rel=1e-12)
    gains = [band.gain for band in made(student, teachers, low_high_ratio=0.7, **given).filters]
    for gain in gains:
        r = torch.arange(len(gain)) / len(gain)
        torch.testing.assert_close(gain, (0.7 * low(0.3)(r) + 0.3 * high(0.5)(r)).double(), rtol=1e-6, atol=1e-6)


def test_random_masks():
    """As many bins as the hard low-pass, from the method's seed, stored with its state."""
    student, teachers = outputs(IMAGE), {"sig": outputs(IMAGE)}
    for transform in ("dct", "fft"):
        lows = made(student, teachers, strategy="low", mask="hard", low_cutoff=0.4, transform=transform).filters
        methods = []
        for seed in (0, 0, 1):
            method = METHODS.get("freq-lh")(strategy="random-mask", low_cutoff=0.4, transform=transform)
            build_method(method, setup_of(student, teachers), seed)
            methods.append(method)
        for band, one, again, other in zip(lows, *(m.filters for m in methods), strict=True):
            assert one.gain.sum() == band.gain.sum()
            assert set(one.gain.unique().tolist()) <= {0.0, 1.0}
            assert torch.equal(one.gain, again.gain)
            assert one.gain.shape == other.gain.shape
        firsts = [torch.cat([band.gain.flatten() for band in m.filters]) for m in methods]
        assert not torch.equal(firsts[0], firsts[2])
        methods[2].load_state_dict(methods[0].state_dict())
        assert torch.equal(methods[2].filters[0].gain, methods[0].filters[0].gain)


def test_refusing_draws_no_numbers():
    """Networks of two methods under one seed see the same batches."""
    student, teachers = outputs(IMAGE), {"sig": outputs(IMAGE)}
    before = torch.get_rng_state()
    METHODS.get("freq-lh")(strategy="random-mask").check(setup_of(student, teachers))
    assert torch.equal(before, torch.get_rng_state())


def attention(x):
    a = x.square().mean(1)
    return a / a.flatten(1).norm(dim=1).view(-1, *[1] * (a.ndim - 1))


@every_kind
def test_attention_by_explicit_cosine_sums(shapes):
    student, teachers = outputs(shapes), {"sig": outputs({k: (s[0] + 1, *s[1:]) for k, s in shapes.items()})}
    loss, grads = feature_loss(student, teachers, target="attention")
    assert not list(made(student, teachers, target="attention").parameters())
    each = []
    for name, gain in zip(shapes, (low(0.25), high(0.25), high(0.25)), strict=True):
        s, t = (attention(x) for x in (student.features[name], teachers["sig"].features[name].detach()))
        each.append((filtered(s[:, None], gain) - filtered(t[:, None], gain)).square().mean())
    want = 0.5 * each[0] + 0.25 * (each[1] + each[2])
    assert loss.item() == pytest.approx(want.item(), rel=1e-6)
    same(grads, torch.autograd.grad(want, list(student.features.values())))


@pytest.mark.parametrize("standardise", ["channel", "l2"])
def test_standardised_maps_by_explicit_cosine_sums(standardise):
    student, teachers = outputs(LINE), {"sig": outputs(LINE)}
    loss, grads = feature_loss(student, teachers, standardise=standardise, plain=True)
    each = []
    for name, gain in zip(LINE, (low(0.25), high(0.25), high(0.25)), strict=True):
        s, t = student.features[name], teachers["sig"].features[name].detach()
        if standardise == "channel":
            s, t = (
                torch.stack(
                    [
                        (x[:, c] - x[:, c].mean()) / x[:, c].var(correction=0).add(1e-6).sqrt()
                        for c in range(x.shape[1])
                    ],
                    1,
                )
                for x in (s, t)
            )
        s, t = filtered(s, gain), filtered(t, gain)
        if standardise == "l2":
            s, t = (torch.stack([one / one.norm() for one in x]) for x in (s, t))
        each.append((s - t).square().mean())
    want = 0.5 * each[0] + 0.25 * (each[1] + each[2])
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)
    for a, b in zip(grads, torch.autograd.grad(want, list(student.features.values())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_dead_maps_give_finite_gradients():
    zeros = {k: torch.zeros(B, *s, dtype=torch.double, requires_grad=True) for k, s in LINE.items()}
    student, teachers = replace(outputs(LINE), features=zeros), {"sig": outputs(LINE)}
    for given in ({"standardise": "channel"}, {"standardise": "l2"}, {"target": "attention"}):
        loss, grads = feature_loss(student, teachers, **given)
        assert torch.isfinite(loss)
        assert all(torch.isfinite(g).all() and g.abs().max() < 1e5 for g in grads)


def cropped(x, m):
    """The last axis brought down to m positions, by explicit cosines."""
    n = x.shape[-1]
    return (x @ bank((n,))[0].T)[..., :m] * math.sqrt(m / n) @ bank((m,))[0]


@pytest.mark.parametrize("longer", ["student", "teacher"])
def test_the_longer_line_is_brought_down_without_aliases(longer):
    long, short = {"stage1": (3, 16), "stage2": (3, 12)}, {"stage1": (3, 10), "stage2": (3, 5)}
    student, teachers = (
        outputs(long if longer == "student" else short),
        {"sig": outputs(short if longer == "student" else long)},
    )
    loss, grads = feature_loss(student, teachers, plain=True)
    want = 0
    for name, gain in (("stage1", low(0.25)), ("stage2", high(0.25))):
        m = short[name][1]
        s, t = (cropped(x, m) for x in (student.features[name], teachers["sig"].features[name].detach()))
        want = want + 0.5 * (filtered(s, gain) - filtered(t, gain)).square().mean()
    assert loss.item() == pytest.approx(want.item(), rel=1e-6)
    same(grads, torch.autograd.grad(want, list(student.features.values())))


@pytest.mark.parametrize("mixed", ["outer", "repeat", "hankel", "toeplitz"])
def test_a_line_meets_an_image_at_the_smaller_side(mixed):
    student = outputs({"stage1": (3, 16), "stage2": (3, 5)})
    teachers = {"gaf": outputs({"stage1": (3, 8, 6), "stage2": (3, 9, 9)})}
    method = made(student, teachers, mixed=mixed)
    sides = [tuple(band.gain.shape) for band in method.filters]
    assert sides == [(8, 6), (3, 3) if mixed == "hankel" else (5, 5)]
    image = {"gaf": outputs({"stage1": (3, 16, 16), "stage2": (3, 5, 5)})}
    if mixed == "outer":  # where no size changes: a map of products
        products = {k: (x[..., :, None] * x[..., None, :]) for k, x in student.features.items()}
        lifted = replace(student, features=products)
        assert feature_loss(student, image)[0].item() == pytest.approx(feature_loss(lifted, image)[0].item(), rel=1e-9)
    else:
        assert feature_loss(student, teachers, mixed=mixed)[0].item() != pytest.approx(
            feature_loss(student, teachers, mixed="outer")[0].item(), rel=1e-4
        )


def test_which_stages_meet_where():
    def met(student, teacher, **options):
        method = made(outputs(student), {"sig": outputs(teacher)}, **options)
        return [tuple(r[1:]) for r in method.routes]

    assert met(LINE, LINE) == [
        ("encoder", "stage1", "stage1"),
        *(("decoder", f"stage{i}", f"stage{i}") for i in (2, 3)),
    ]
    four = {f"stage{i}": (3, 8) for i in range(1, 5)}
    assert [m[0] for m in met(four, four)] == ["encoder", "encoder", "decoder", "decoder"]
    two = {"stage1": (3, 8), "stage2": (3, 8)}  # matched from the deepest
    assert met(two, LINE) == [("encoder", "stage1", "stage2"), ("decoder", "stage2", "stage3")]
    large = {**{f"encoder{i}": (3, 8) for i in (1, 2, 3)}, "decoder1": (3, 8), "decoder2": (3, 8)}
    small = {"encoder1": (3, 8), "encoder2": (3, 8), "decoder1": (3, 8)}
    want = [
        ("encoder", "encoder1", "encoder2"),
        ("encoder", "encoder2", "encoder3"),
        ("decoder", "decoder1", "decoder2"),
    ]
    assert met(small, large) == want
    assert [m[0] for m in met(four, large)] == ["encoder", "encoder", "decoder", "decoder"]  # names on one side only
    assert [m[0] for m in met(small, large, encoder_share=1)] == ["encoder", "encoder"]
    assert [m[0] for m in met(small, large, encoder_share=0)] == ["decoder"]
    assert met(small, large, feature_weight=0) == []


def test_shares_of_places_and_teachers():
    student = outputs(LINE, branches={"sig": outputs(LINE), "gaf": outputs(IMAGE)})
    teachers = {"sig": outputs(LINE), "gaf": outputs(IMAGE)}
    base = terms_of(student, teachers)
    assert set(base) == {"ce", "branch_ce", "kd", *(f"{c}{m}" for c in COSTS for m in teachers)}
    other = terms_of(student, teachers, encoder_share=0.2, teacher_weights="sig=3,gaf=1", feature_weight=10)
    for cost, place in zip(COSTS, (0.4, 1.6), strict=True):
        for modality, share in (("sig", 1.5), ("gaf", 0.5)):
            want = 10 * place * share * base[f"{cost}{modality}"].item()
            assert other[f"{cost}{modality}"].item() == pytest.approx(want, rel=1e-9)
    assert set(terms_of(student, teachers, kd_weight=0, feature_weight=0)) == {"ce", "branch_ce"}
    sum(v for k, v in base.items() if "freq" in k).backward()
    assert all(x.grad is not None for b in student.branches.values() for x in b.features.values())
    assert all(x.grad is None for t in teachers.values() for x in (t.logits, *t.features.values()))


CHANGES = [
    {"placement": "teacher"},
    {"placement": "student"},
    {"target": "attention"},
    {"transform": "fft"},
    {"mask": "hard"},
    {"mask": "butterworth"},
    {"mask": "butterworth", "order": 5},
    {"shape": "box"},
    {"low_cutoff": 0.4},
    {"high_cutoff": 0.4},
    {"low_high_ratio": 0.6},
    {"low_high_ratio": 0.6, "decoder_low_high_ratio": 0.3},
    {"encoder_share": 0.4},
    {"standardise": "channel"},
    {"standardise": "l2"},
    {"feature_weight": 2},
    {"pairs": "all"},
    {"mixed": "hankel", "pairs": "all"},
    {"strategy": "reversed"},
    {"strategy": "random-mask"},
    {"strategy": "all-pass"},
    {"unit": "hz", "low_cutoff": 4, "high_cutoff": 5, "window_s": 0.5},
    {"unit": "hz", "low_cutoff": 4, "high_cutoff": 5, "window_s": 0.4},
]


def test_every_option_does_something():
    student = outputs(LINE, branches={"sig": outputs(LINE), "gaf": outputs(IMAGE)})
    found = {}
    for change in [{}, *CHANGES]:
        torch.manual_seed(1)
        taught = {"sig": outputs(LINE)} if "unit" in change else {"gaf": outputs(IMAGE)}
        terms = terms_of(student, taught, **change)
        found[str(change)] = sum(v for k, v in terms.items() if k.startswith("freq_lh")).item()
    values = sorted(found.values())
    assert all(b - a > 1e-6 * b for a, b in itertools.pairwise(values)), found
    kd = [terms_of(student, {"sig": student}, **o)["kd"] for o in ({}, {"temperature": 1.0})]
    assert kd[0].item() == pytest.approx(0, abs=1e-9)
    kd = [terms_of(student, taught, **o)["kd"].item() for o in ({}, {"temperature": 1.0}, {"kd_weight": 3.0})]
    assert kd[1] != pytest.approx(kd[0], rel=1e-3)
    assert kd[2] == pytest.approx(3 * kd[0])


def test_hertz_use_the_rate_of_each_stage():
    """A window of 2 s: 12, 9 and 6 positions are 6, 4.5 and 3 samples a second; half of each is the highest."""
    student, teachers = outputs(LINE), {"sig": outputs(LINE)}
    given = {"unit": "hz", "low_cutoff": 1.2, "high_cutoff": 0.8, "window_s": 2.0}
    gains = [band.gain for band in made(student, teachers, **given).filters]
    for gain, top, of in zip(gains, (3, 2.25, 1.5), (low(1.2), high(0.8), high(0.8)), strict=True):
        hertz = torch.arange(len(gain)) / len(gain) * top
        torch.testing.assert_close(gain, of(hertz).double(), rtol=1e-5, atol=1e-6)


def test_hertz_of_images_whose_axes_are_time():
    """A line of 12 samples over 2 s meets an image of 6 x 6: 3 samples a second on both axes."""
    shapes = {"stage1": (3, 6, 6), "stage2": (4, 5, 5)}
    student, teachers = outputs({"stage1": (3, 12), "stage2": (4, 9)}), {"gaf@acc": outputs(shapes)}
    method = made(student, teachers, unit="hz", low_cutoff=1.2, high_cutoff=0.8, window_s=2.0)
    hertz = torch.arange(6) / 6 * 1.5
    radius = (hertz[:, None] ** 2 + hertz[None] ** 2).sqrt()
    torch.testing.assert_close(method.filters[0].gain, low(1.2)(radius).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shapes", [LINE, IMAGE])
@pytest.mark.parametrize("placement", ["both", "teacher", "student"])
@pytest.mark.parametrize("standardise", ["none", "channel", "l2"])
def test_the_scale_of_a_band_is_its_mean_square_in_the_teacher(shapes, placement, standardise):
    """By the errors of single stages; a student of zeros costs 1 under both, whatever the band."""
    student, teachers = outputs(shapes), {"sig": outputs(shapes)}
    given = {"placement": placement, "standardise": standardise, "plain": True}
    divided, whole = (made(student, teachers, band_scale=scale, **given) for scale in ("teacher", "none"))
    for route, band in zip(divided.routes, divided.filters, strict=True):
        s, t = student.features[route.student_stage].detach(), teachers["sig"].features[route.teacher_stage].detach()
        target = t
        if standardise == "channel":
            over = (0, *range(2, t.ndim))
            target = (t - t.mean(over, keepdim=True)) / (t.var(over, correction=0, keepdim=True) + 1e-6).sqrt()
        filtered = band(target)
        if standardise == "l2":
            filtered = F.normalize(filtered.flatten(1), eps=1e-6)
        expected = whole.distance(s, t, band) / filtered.square().mean()
        torch.testing.assert_close(divided.distance(s, t, band), expected)
        if placement == "both":
            assert divided.distance(0 * s, t, band).item() == pytest.approx(1, rel=1e-6)


def test_the_default_divides_and_older_records_did_not():
    assert METHODS.get("freq-lh")().config.band_scale == "teacher"
    student, teachers = outputs(LINE), {"sig": outputs(LINE)}
    found = [
        sum(v for k, v in terms_of(student, teachers, **o).items() if k.startswith(COSTS[1]))
        for o in ({}, {"band_scale": "teacher"})
    ]
    assert found[1] > 1.2 * found[0]


def test_a_band_that_the_teacher_has_not_does_not_take_over():
    t = torch.full((B, 3, 12), 5.0, dtype=torch.double)  # a constant: no high band at all
    s = torch.randn(B, 3, 12, dtype=torch.double)
    method = made(outputs(LINE), {"sig": outputs(LINE)}, band_scale="teacher", strategy="high", plain=True)
    error = method.error(s, t, method.filters[0])
    torch.testing.assert_close(method.distance(s, t, method.filters[0]), error / 0.025)
    assert method.distance(s, 0 * t, method.filters[0]).isfinite()


def test_own_parameters_train():
    for strategy, placement in itertools.product(("basic", "high", "all-pass"), ("both", "teacher", "student")):
        student, teachers = outputs(DENSE), {"sig": outputs({k: (6, s[1]) for k, s in DENSE.items()})}
        method = made(
            student, teachers, strategy=strategy, placement=placement, standardise="channel", task="segmentation"
        )
        own = list(method.parameters())
        assert len(own) == 4
        optimizer = torch.optim.Adam(own, lr=0.05)
        values = []
        for _ in range(25):
            optimizer.zero_grad()
            terms = method.losses(student, teachers, Batch(TARGETS, torch.arange(B)))
            loss = sum(v for k, v in terms.items() if k.startswith("freq_lh"))
            loss.backward()
            assert all(p.grad.abs().sum() > 0 for p in own)
            optimizer.step()
            values.append(loss.item())
        assert values[-1] < values[0]


def test_dense_logits_are_steps_and_maps_are_windows():
    """The runner flattens logits to n annotated steps; the maps keep their batch."""
    student, taught = (replace(outputs(DENSE), logits=torch.randn(37, K).double()) for _ in range(2))
    method = made(student, {"sig": taught}, task="segmentation")
    terms = method.losses(student, {"sig": taught}, Batch(torch.arange(37) % K, torch.arange(B)))
    assert all(v.ndim == 0 and torch.isfinite(v) for v in terms.values())


def test_mixed_precision():
    student, teachers = outputs(IMAGE), {"sig": outputs(LINE)}
    single = [replace(o, features={k: v.float() for k, v in o.features.items()}) for o in (student, teachers["sig"])]
    method = METHODS.get("freq-lh")(standardise="channel")
    build_method(method, setup_of(single[0], {"sig": single[1]}), 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.losses(single[0], {"sig": single[1]}, Batch(TARGETS, torch.arange(B)))
    for cost in COSTS:
        assert terms[f"{cost}sig"].dtype == torch.float32
        assert torch.isfinite(terms[f"{cost}sig"])


def test_a_filter_that_does_nothing_says_so(monkeypatch):
    monkeypatch.setattr(masks, "_warned", set())
    sides = [{f"stage{n}": (2, side), f"stage{n + 1}": (2, side)} for n, side in enumerate(range(2, 65))]
    for shapes in sides:  # the defaults never do
        made(outputs(shapes), {"sig": outputs(shapes)})
    student, teacher = outputs(LINE), outputs(LINE)
    with pytest.warns(IdleMaskWarning, match="frequencies of 6, 9, 12 maps alike; .*--strategy all-pass") as seen:
        made(student, {"sig": teacher}, strategy="low", unit="hz", low_cutoff=50.0, window_s=2.0)
    assert len(seen) == 1
    made(student, {"sig": teacher}, strategy="low", unit="hz", low_cutoff=50.0, window_s=2.0)  # said already
    with pytest.warns(IdleMaskWarning, match="3x4, 5x4, 6x7 maps alike"):  # one half of each band is one half of all
        made(outputs(IMAGE), {"gaf": outputs(IMAGE)}, low_high_ratio=0.5)


def test_refusals():
    student, teachers = outputs(LINE), {"sig": outputs(LINE)}
    short = {**LINE, "stage3": (5, 1)}
    with pytest.raises(
        MmkdError, match=r"decoder stages stage3 .* stage3 \(sig teacher\).*high band of 1 .*--high-cut"
    ):
        made(outputs(short), teachers)
    made(outputs(short), teachers, strategy="low")
    made(outputs(short), teachers, strategy="all-pass")
    with pytest.raises(MmkdError, match=r"stage2.*no bin at the cutoff 0\.9; change --high-cutoff"):
        made(student, teachers, high_cutoff=0.9)
    hertz = {"unit": "hz", "low_cutoff": 1.0, "high_cutoff": 0.5}
    with pytest.raises(MmkdError, match=r"no sampling rate; use --unit nyquist"):
        made(student, teachers, **hertz)
    square = {"stage1": (3, 6, 6), "stage2": (4, 5, 5), "stage3": (5, 4, 4)}
    for name, shapes, more in (
        ("gaf", IMAGE, {}),
        ("pi", square, {}),
        ("gaf", square, {"mixed": "hankel"}),
    ):
        with pytest.raises(MmkdError, match=r"image.*--unit nyquist"):
            made(student, {name: outputs(shapes)}, window_s=2.0, **hertz, **more)
    with pytest.raises(MmkdError, match=r"0\.5 Hz at .*--high-cutoff"):
        made(student, teachers, window_s=20.0, **hertz)
    for name in ("low_cutoff", "high_cutoff"):
        with pytest.raises(MmkdError, match="above 1; use --unit hz"):
            METHODS.get("freq-lh")(**{name: 1.5})
        with pytest.raises(MmkdError, match="> 0"):
            METHODS.get("freq-lh")(**{name: 0.0})
    with pytest.raises(MmkdError, match="leave --strategy"):
        METHODS.get("freq-lh")(strategy="low", low_high_ratio=0.5)
    with pytest.raises(MmkdError, match="--low-high-ratio"):
        METHODS.get("freq-lh")(decoder_low_high_ratio=0.5)
    with pytest.raises(MmkdError, match="mixed = 'pool' is not one of outer"):
        METHODS.get("freq-lh")(mixed="pool")
    with pytest.raises(MmkdError, match=r"no encoder stage.*--teacher-net"):
        made(outputs({"stage1": (3, 8)}), teachers)
    with pytest.raises(MmkdError, match=r"teacher's pooled is \(4, 5\); choose another --teacher-net"):
        made(student, {"sig": outputs({"stage1": (3, 8), "pooled": (5,)})})
    with pytest.raises(MmkdError, match="--task regression"):
        made(student, teachers, task="regression")


@pytest.mark.parametrize("transform", BAND_TRANSFORMS)
@pytest.mark.parametrize("shapes", [LINE, IMAGE])
def test_spectra_are_those_of_its_filters(shapes, transform):
    """Waves of one frequency go in; the energy that comes out is the square of the magnitude that is told."""
    student, teachers = outputs(shapes), {"gaf": outputs(shapes)}
    method = made(student, teachers, transform=transform)
    found = method.spectra(student, teachers)
    assert list(found) == [f"gaf: {stage} to {stage}" for stage in shapes]
    for (_, own, _, band), one in zip(method.maps(student, teachers), found.values(), strict=True):
        size = tuple(own.shape[2:])
        torch.testing.assert_close(one.before, own)
        torch.testing.assert_close(one.after, band(own))
        grid = torch.meshgrid(*(torch.arange(n).double() / n for n in size), indexing="ij")
        at = tuple(n // 3 for n in size)
        phase = 2 * math.pi * sum(k * axis for k, axis in zip(at, grid, strict=True))
        waves = torch.stack([phase.cos(), phase.sin()])[None] / math.sqrt(math.prod(size))
        energy = band(waves).square().sum()
        torch.testing.assert_close(one.response[at].square(), energy, atol=1e-6, rtol=0)
        kept = band(own).square().sum() / own.square().sum()
        assert one.removed == pytest.approx(1 - kept.item(), abs=1e-6)
        assert one.timed == (len(size) == 1)
    assert made(student, teachers, strategy="all-pass").spectra(student, teachers) == {}


def test_the_options_offer_all_that_there_is():
    hints = get_type_hints(METHODS.get("freq-lh").Config)
    for field, names in {
        "mask": BAND_MASKS,
        "shape": BAND_SHAPES,
        "transform": BAND_TRANSFORMS,
        "mixed": LIFTS,
    }.items():
        assert set(get_args(hints[field])) == set(names)


def test_the_help_says_why_the_mask_is_soft():
    field = METHODS.get("freq-lh").Config.__dataclass_fields__["mask"]
    assert "student and both have the same gradients" in field.metadata["help"]
