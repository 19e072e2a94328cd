import warnings
from dataclasses import asdict
from typing import get_args, get_type_hints

import pytest
import torch

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.frequency import (
    DOMAINS,
    LIFTS,
    MASKS,
    RESIZES,
    SCALES,
    TRANSFORMS,
    FrequencyAttention,
    IdleMaskWarning,
    hierarchical_context,
    masks,
    scaled,
)
from mmkd.training.trial import Trial
from mmkd.units.expansion import expand
from mmkd.units.request import Request

SIG = {"stage1": (8, 32), "stage2": (16, 16)}
GAF = {"stage1": (8, 16, 16), "stage2": (16, 8, 8)}
BOTH = pytest.mark.parametrize("name", ["fam", "fam-1d"])
EITHER_STUDENT = pytest.mark.parametrize("branches", [True, False], ids=["branches", "signal"])


def outputs(shapes, batch=6, scale=1.0, relu=True, **more):
    features = {k: (scale * torch.randn(batch, *s)) for k, s in shapes.items()}
    features = {k: (f.relu() if relu else f).requires_grad_() for k, f in features.items()}
    return Outputs(torch.randn(batch, 3, requires_grad=True), torch.randn(batch, 16), features, **more)


def student(branches=True, batch=6, relu=True):
    if not branches:
        return outputs(SIG, batch, relu=relu)
    parts = {"sig": outputs(SIG, batch, relu=relu), "gaf": outputs(GAF, batch, relu=relu)}
    return outputs({}, batch, branches=parts)


def teachers(batch=6, scale=1.0, relu=True):
    shapes = {"sig": SIG, "gaf": GAF, "p.i@8": GAF}  # a name that no module may have
    return {m: outputs(s, batch, scale, relu) for m, s in shapes.items()}


def made(name, s, t, **options):
    torch.manual_seed(0)
    method = METHODS.get(name)(**options)
    setup = Setup(s, t, classes=3, train_size=60, epochs=24)
    method.check(setup)
    method.build(setup)
    return method


def batch(epoch=23, size=6):
    return Batch(torch.arange(size) % 3, torch.arange(size), epoch, 24)


def feature_terms(terms):
    return {k: v for k, v in terms.items() if k.startswith("fam_")}


@BOTH
@EITHER_STUDENT
@pytest.mark.parametrize("pairs", ["same", "all"])
@pytest.mark.parametrize("relu", [True, False])
def test_terms_and_where_gradients_go(name, branches, pairs, relu):
    torch.manual_seed(1)
    s, t = student(branches, relu=relu), teachers(relu=relu)
    method = made(name, s, t, pairs=pairs, logit_weight=0.5, **({"local_attention": True} if name == "fam" else {}))
    terms = method.losses(s, t, batch())
    want = {"ce", "fam_sig", "fam_gaf", "fam_p.i@8", "kd"} | ({"branch_ce"} if branches else set())
    assert set(terms) == want
    assert all(v.ndim == 0 and torch.isfinite(v) for v in terms.values())
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    optimiser = torch.optim.SGD(method.parameters(), lr=1.0)
    sum(terms.values()).backward()
    for teacher in t.values():
        assert all(x.grad is None for x in (teacher.logits, *teacher.features.values()))
    guided = {"sig"} if pairs == "all" else {"sig", "gaf"}
    for modality in guided if branches else ():
        assert all(f.grad.abs().sum() > 0 for f in s.branches[modality].features.values())
    if branches and pairs == "all":
        assert all(f.grad is None for f in s.branches["gaf"].features.values())
    if not branches:
        assert all(f.grad.abs().sum() > 0 for f in s.features.values())
    assert s.logits.grad.abs().sum() > 0
    optimiser.step()
    for n, p in method.named_parameters():
        assert p.requires_grad
        assert not torch.equal(p, before[n]), n
    assert len(method.paths) == 6


@BOTH
def test_deterministic_and_seeded(name):
    torch.manual_seed(1)
    s, t = student(), teachers()
    first, second = (made(name, s, t).losses(s, t, batch()) for _ in range(2))
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}


@BOTH
def test_a_step_lowers_the_loss(name):
    torch.manual_seed(1)
    s, t = student(), teachers()
    method = made(name, s, t)
    optimiser = torch.optim.Adam(method.parameters(), lr=0.01)
    values = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = sum(feature_terms(method.losses(s, t, batch())).values())
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


@BOTH
def test_scale_of_the_teacher_does_not_matter_by_default(name):
    torch.manual_seed(1)
    s, t = student(relu=False), teachers(relu=False)
    base = feature_terms(made(name, s, t).losses(s, t, batch()))
    large = {m: Outputs(o.logits, o.embedding, {k: 30 * f for k, f in o.features.items()}) for m, o in t.items()}
    for k, v in feature_terms(made(name, s, large).losses(s, large, batch())).items():
        assert v.item() == pytest.approx(base[k].item(), rel=1e-4)
        assert v.item() < 2  # two stages, a third of the weight, about 1 to 2 a stage
    plain = feature_terms(made(name, s, large, target_scale="none").losses(s, large, batch()))
    assert plain["fam_sig"] > 100 * base["fam_sig"]  # the paper's, which the default is there to avoid


@BOTH
def test_weights(name):
    torch.manual_seed(1)
    s, t = student(), teachers()
    base = feature_terms(made(name, s, t).losses(s, t, batch()))
    for k, v in feature_terms(made(name, s, t, feature_weight=3).losses(s, t, batch())).items():
        assert v.item() == pytest.approx(3 * base[k].item(), rel=1e-5)
    shares = feature_terms(made(name, s, t, teacher_weights="sig=2,gaf=1,p.i@8=1").losses(s, t, batch()))
    assert shares["fam_sig"].item() == pytest.approx(base["fam_sig"].item() * 3 / 2, rel=1e-5)
    assert shares["fam_gaf"].item() == pytest.approx(base["fam_gaf"].item() * 3 / 4, rel=1e-5)


def test_warm_up_has_no_dead_epoch():
    torch.manual_seed(1)
    s, t = student(), {"sig": outputs(SIG)}
    method = made("fam-1d", s, t)
    full = method.losses(s, t, batch())["fam_sig"].item()
    cases = [(0.25, 0, 1 / 6), (0.25, 2, 0.5), (0.25, 5, 1), (0.25, 23, 1), (0, 0, 1), (1, 0, 1 / 24), (1 / 12, 0, 0.5)]
    for warmup, epoch, ramp in cases:
        method.config = type(method).Config(warmup=warmup)
        now = method.losses(s, t, batch(epoch))["fam_sig"].item()
        assert now == pytest.approx(ramp * full, rel=1e-5), (warmup, epoch)
    one = Batch(torch.arange(6) % 3, torch.arange(6), 0, 1)
    assert method.losses(s, t, one)["fam_sig"].item() == pytest.approx(full)  # a single epoch has no ramp


@BOTH
def test_each_ablation_flag_changes_what_it_says(name):
    torch.manual_seed(1)
    s, t = student(), teachers()
    base = made(name, s, t)
    names = {n for n, _ in base.named_parameters()}
    no_global = {n for n, p in made(name, s, t, global_branch=False).named_parameters() if p.requires_grad}
    no_local = {n for n, p in made(name, s, t, local_branch=False).named_parameters() if p.requires_grad}
    assert names - no_global == {n for n in names if "filter" in n or "rate" in n}
    assert names - no_local == {n for n in names if "attention.local" in n or "rate" in n}
    value = base.losses(s, t, batch())["fam_gaf"].item()
    changes = [{"mask": "none"}, {"cutoff": 0.6}, {"init": "reference"}, {"width": 5}, {"stages": "last"}]
    changes += [{"loss_domain": "amplitude"}, {"target_scale": "channel"}, {"target_scale": "none"}, {"pairs": "all"}]
    changes += [{"global_branch": False}, {"local_branch": False}, {"loss": "reviewkd-hcl"}]
    changes += [{"transform": "dct"}, {"transform": "haar"}]
    for change in changes:
        assert made(name, s, t, **change).losses(s, t, batch())["fam_gaf"].item() != pytest.approx(value, rel=1e-4), (
            change
        )
    same = made(name, s, t, loss_domain="frequency").losses(s, t, batch())["fam_gaf"].item()
    assert same == pytest.approx(value, rel=1e-5)  # Parseval
    assert "kd" not in base.losses(s, t, batch())


EACH = pytest.mark.parametrize("name", ["fam", "fam-1d", "fam-review"])


@EACH
@pytest.mark.filterwarnings("ignore::mmkd.frequency.IdleMaskWarning")
def test_an_ablation_of_the_paper_is_one_flag(name):
    """Global only, local only, no high-pass, with soft targets; each leaves the rest as it was."""
    torch.manual_seed(1)
    s, t = student(), teachers()

    def parts(**flag):
        """Of each path: has it a filter, a 1x1 convolution, a mask? And whether there is a soft-target term."""
        method = made(name, s, t, **flag)
        has = {
            (a.filter is not None, a.local is not None, a.kept is not None)
            for a in (p.attention for p in method.paths.values())
            if max(a.size) > 1
        }
        assert len(has) == 1
        return (*has.pop(), "kd" in method.losses(s, t, batch()))

    assert parts() == (True, True, True, False)
    assert parts(local_branch=False) == (True, False, True, False)
    assert parts(global_branch=False) == (False, True, False, False)
    assert parts(mask="none") == (True, True, False, False)
    assert parts(logit_weight=1.0) == (True, True, True, True)
    # the published mask on these maps is no mask: the documents say so, and it is not the default
    values = [made(name, s, t, mask=m, pairs="same").losses(s, t, batch())["fam_gaf"] for m in ("reference", "none")]
    torch.testing.assert_close(*values)
    # without a filter there is no mask, so that no choice of it is in the way
    made(name, s, t, global_branch=False, transform="dct", mask="reference")


@EACH
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("loss", ["mse", "reviewkd-hcl"])
def test_transforms_and_losses_train(name, transform, loss):
    torch.manual_seed(1)
    s, t = student(), teachers()
    method = made(name, s, t, transform=transform, loss=loss)
    sum(feature_terms(method.losses(s, t, batch())).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert {p.attention.transform for p in method.paths.values()} == {transform}


@BOTH
def test_hierarchical_context_of_the_predicted_maps(name):
    torch.manual_seed(1)
    s, t = student(), {"gaf": outputs(GAF)}
    method = made(name, s, t, loss="reviewkd-hcl")
    want = 0
    for stage, path in zip(("stage2", "stage1"), method.paths.values(), strict=True):
        source, target = method.bring(s.branches["gaf"].features[stage], t["gaf"].features[stage], 0)
        want = want + hierarchical_context(path(source), scaled(target, "rms"))
    torch.testing.assert_close(method.losses(s, t, batch())["fam_gaf"], want)


@EACH
def test_what_has_no_meaning_is_refused(name):
    s, t = student(), teachers()
    for transform in ("dct", "haar"):
        with pytest.raises(MmkdError, match="signed frequencies of the FFT.*--mask symmetric"):
            METHODS.get(name)(transform=transform, mask="reference")
        made(name, s, t, transform=transform, mask="radial")
    for domain in ("frequency", "amplitude"):
        with pytest.raises(MmkdError, match="--loss mse"):
            METHODS.get(name)(loss="reviewkd-hcl", loss_domain=domain)


def test_flags_of_the_maps():
    torch.manual_seed(1)
    s, t = student(), teachers()
    value = made("fam", s, t).losses(s, t, batch())["fam_sig"].item()
    changes = [{"lift": kind} for kind in LIFTS if kind != "outer"] + [{"side_limit": 8}, {"local_attention": True}]
    for change in changes:
        assert made("fam", s, t, **change).losses(s, t, batch())["fam_sig"].item() != pytest.approx(value, rel=1e-4), (
            change
        )
    signal = student(False)  # here the lines change their length to meet the images
    t = {"gaf": outputs({"stage1": (8, 10, 10)})}
    value = made("fam", signal, t).losses(signal, t, batch())["fam_gaf"].item()
    for resize in ("linear", "spectral"):
        other = made("fam", signal, t, resize=resize).losses(signal, t, batch())["fam_gaf"].item()
        assert other != pytest.approx(value, rel=1e-4)


def test_sizes():
    s, t = student(), teachers()

    def sizes(teachers, **options):
        method = made("fam", s, teachers, **options)
        return [method.paths[r.key].size[0] for r in method.routes]

    assert sizes(t) == [8, 16, 8, 16, 8, 16]  # lifted lines are as large as the images at that depth
    assert sizes(t, stages="stage1") == [16, 16, 16]
    assert sizes({"sig": t["sig"]}) == [16, 32]  # without images as long as the lines
    assert sizes({"sig": t["sig"]}, side_limit=12) == [12, 12]
    assert sizes({"gaf": t["gaf"]}, side_limit=12) == [8, 16]  # a map keeps its size
    lines = made("fam-1d", s, t)
    assert [lines.paths[r.key].size for r in lines.routes] == [(16,), (32,), (8,), (16,), (8,), (16,)]


def test_rectangular_and_rectified_targets():
    shapes = {"stage1": (4, 6, 10)}
    t = {"gaf": outputs(shapes), "mtf": outputs(shapes, relu=False)}
    s = student(False)
    for name, size in (("fam", (6, 10)), ("fam-1d", (10,))):
        method = made(name, s, t)
        assert [p.size for p in method.paths.values()] == [size, size]
        assert [p.rectify for p in method.paths.values()] == [True, False]
        assert all(torch.isfinite(v) for v in method.losses(s, t, batch()).values())
        assert not any(p.rectify for p in made(name, s, t, target_scale="channel").paths.values())


def test_stages():
    t = {"sig": outputs({"a": (4, 64), "b": (8, 32), "c": (16, 16)})}
    s = outputs(SIG)

    def met(**options):
        return [r[1:3] for r in made("fam", s, t, **options).routes]

    assert met() == [("stage2", "c"), ("stage1", "b")]
    assert met(stages="last") == [("stage2", "c")]
    assert met(stages="stage1") == [("stage1", "b")]
    assert met(stages="stage1, stage2") == met()


@BOTH
def test_evaluation_takes_a_batch_of_1(name):
    method = made(name, student(), teachers()).eval()
    terms = method.losses(student(batch=1), teachers(batch=1), batch(size=1))
    assert all(torch.isfinite(v) for v in terms.values())


@BOTH
def test_mixed_precision(name):
    s, t = student(), teachers()
    method = made(name, s, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = feature_terms(method.losses(s, t, batch()))
    sum(terms.values()).backward()
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in terms.values())


def test_refusals():
    s, t = student(), teachers()
    with pytest.raises(
        MmkdError, match=r"no student stage 'stage3' meets the sig teacher; use --stages .* stage1,stage2"
    ):
        made("fam", s, t, stages="stage3")
    with pytest.raises(MmkdError, match=r"no feature maps.*--student-net"):
        made("fam", outputs({}), t)
    with pytest.raises(MmkdError, match="--teacher-net"):
        made("fam", s, {"sig": outputs({})})
    with pytest.raises(MmkdError, match="--teachers"):
        made("fam", s, {})
    with pytest.raises(MmkdError, match=r"needs maps.*\(6, 16\).*--stages"):
        made("fam-1d", outputs({"pooled": (16,)}), t)
    with pytest.raises(MmkdError, match="--global-branch true"):
        made("fam", s, t, global_branch=False, local_branch=False)
    with pytest.raises(MmkdError, match="cutoff"):
        made("fam", s, t, cutoff=1.5)
    with pytest.raises(MmkdError, match="no option 'lift'"):
        METHODS.get("fam-1d")(lift="outer")
    with pytest.raises(MmkdError, match="removes every frequency"):
        made("fam", s, t, cutoff=1.0)


@BOTH
def test_the_published_mask_says_once_that_it_is_idle(name, monkeypatch):
    monkeypatch.setattr(masks, "_warned", set())
    s, t = student(), teachers()
    with pytest.warns(IdleMaskWarning, match="removes nothing from maps of 8") as seen:
        made(name, s, t, mask="reference")
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(name, s, t, mask="reference")
        made(name, s, t, mask="reference", global_branch=False)


@EACH
@pytest.mark.parametrize("preset", ["quick", "full"])
def test_under_every_preset_the_default_filters_are_high_passes(name, preset):
    """On the maps that the networks of the presets have, for the data set of the default command."""
    ((spec, data),) = expand(Request((name,), preset=preset))
    trial = Trial.make(
        spec, shape=data.x.shape[1:], classes=len(data.classes), targets=torch.zeros(40).long(), validated=True
    )
    filters = [module for module in trial.method.modules() if isinstance(module, FrequencyAttention)]
    sizes = {module.size for module in filters}
    assert len(filters) >= 6
    assert len(sizes) > 1
    for module in filters:
        if max(module.size) > 1:
            assert module.kept.flatten()[0] == 0, module.size
            assert module.kept.max() == 1, module.size


@EACH
def test_options_round_trip_and_offer_all_that_there_is(name):
    config = METHODS.get(name).Config
    given = config(cutoff=0.3, mask="radial", stages="last")
    assert config.parse({k: str(v) for k, v in asdict(given).items()}, name) == given
    hints = get_type_hints(config)
    offered = {"mask": MASKS, "transform": TRANSFORMS, "target_scale": SCALES, "loss_domain": DOMAINS}
    offered |= {"lift": LIFTS, "resize": RESIZES} if name != "fam-1d" else {}
    for field, names in offered.items():
        assert get_args(hints[field]) == tuple(names)
