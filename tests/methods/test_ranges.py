"""The ranges that equal tuning tries: the default is in them, and no term vanishes or drowns cross-entropy in all."""

import csv
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import get_type_hints

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, Range, Setup
from mmkd.core.ranges import tuned_in
from mmkd.methods.configs import MethodConfig, TaughtConfig
from mmkd.methods.contract import SUPERVISED
from mmkd.nets import build_student, build_teacher
from mmkd.training.setup import build_method

SCALE = Path(__file__).parents[2] / "experiments" / "results" / "method-scale.csv"
CLASSES, SIZE = 4, 12
SHAPES = {"sig": (2, 32), "gaf": (2, 16, 16), "pi": (2, 16, 16)}
THOUGHT_THROUGH = ("kd", "aver", "dkd", "rld", "fam", "fam-1d", "fitnet", "at", "sp", "rkd", "crd", "feature-kd")
THOUGHT_THROUGH += ("camkd", "abkd", "ttm", "wttm", "wkd-f", "ikl", "gkl", "ofa")
TUNED = [name for name in METHODS if tuned_in(METHODS.get(name).Config) and METHODS.get(name).status != "control"]


def default(config, name):
    return next(f.default for f in fields(config) if f.name == name)


def test_every_method_but_controls_has_ranges():
    assert set(THOUGHT_THROUGH) <= set(TUNED)
    assert {name for name in METHODS if METHODS.get(name).status != "control"} == set(TUNED)
    shared = {f.name for config in (MethodConfig, TaughtConfig) for f in fields(config)}
    for name in TUNED:
        tuned = tuned_in(METHODS.get(name).Config)
        assert not set(tuned) & shared, "options of all methods, and learning rates, are not a method's own"
        assert not any("lr" in option.split("_") for option in tuned)


@pytest.mark.parametrize("name", TUNED)
def test_the_default_lies_inside(name):
    """Or is `none`, which stands for a number that depends on the others."""
    config = METHODS.get(name).Config
    for option, tune in tuned_in(config).items():
        value = default(config, option)
        if value is None:
            assert type(None) in get_type_hints(config)[option].__args__
        elif isinstance(tune, Range):
            assert tune.low <= value <= tune.high, option
        else:
            assert value in tune, option
        for end in (tune.low, tune.high) if isinstance(tune, Range) else tune:
            config(**{option: end})  # within what the option accepts


OF_TERM = {
    "abkd": ("abkd", "weight", 16),
    "ae-kd": ("kd", "kd_weight"),
    "at": ("at", "weight"),
    "base+sp": ("sp", "sp_weight"),
    "ca-mkd": ("feature", "beta"),
    "camkd": ("camkd", "cam_weight"),
    "cat-kd": ("cat", "weight"),
    "cc": ("cc", "weight"),
    "crd": ("crd", "weight"),
    "dcd": ("dcd", "weight"),
    "dist": ("dist_samples", "gamma"),
    "dkd": ("dkd_others", "beta"),
    "ebkd": ("ebkd_activation", "evidence_weight"),
    "evidential": ("dirichlet", "dirichlet_weight"),
    "fam": ("fam", "feature_weight"),
    "fam-1d": ("fam", "feature_weight"),
    "fam-review": ("fam", "feature_weight"),
    "fd-cmkd": ("fd_cmkd_high", "high_weight"),
    "feature-kd": ("feature", "weight"),
    "figkd": ("figkd", "weight"),
    "fitnet": ("fitnet", "weight"),
    "freekd": ("freekd", "weight"),
    "freq-lh": ("freq_lh_encoder", "feature_weight"),
    "gkl": ("weighted_mse", "beta"),
    "ikl": ("weighted_mse", "beta"),
    "ls-kd": ("kd", "kd_weight"),
    "meta-mkd": ("feature", "beta"),
    "mst-distill": ("kd", "kd_weight"),
    "mtkd-rl": ("feature", "beta"),
    "nst": ("nst", "weight"),
    "ofa": ("ofa_stages", "stage_weight"),
    "pkt": ("pkt", "weight"),
    "progressive": ("progressive_1", "weight"),
    "projector": ("projector", "weight"),
    "pskd": ("pskd_semantic", "semantic_weight"),
    "reviewkd": ("reviewkd", "weight"),
    "rkd": ("angle", "angle_weight"),
    "rld": ("rld_masked", "beta"),
    "sp": ("sp", "weight"),
    "timedistill": ("timedistill", "weight"),
    "tsd": ("tsd", "weight"),
    "ttm": ("ttm", "weight", 4),
    "vid": ("vid", "weight"),
    "wkd-f": ("wkd_f", "weight", 20 / 64),
    "wttm": ("wttm", "weight", 4 / CLASSES**0.75),
}
"""Method -> a term, the weight that multiplies it and, of one whose default is `none`, what that stands for at the
sizes that were measured."""


@pytest.mark.parametrize("name", OF_TERM)
def test_a_weights_range_reaches_over_the_scale_of_cross_entropy(name):
    """By the gradients measured on three sets its term is smaller than cross-entropy at one end, larger at the other.

    Neither end is far off, unless the published default itself is.
    """
    term, option, *stands = OF_TERM[name]
    config = METHODS.get(name).Config
    rows = csv.DictReader(SCALE.read_text(encoding="utf-8").splitlines())
    found = [max(float(r["start"]), float(r["later"])) for r in rows if (r["method"], r["term"]) == (name, term)]
    tune = tuned_in(config)[option]
    assert tune.log
    one = median(found) / (stands[0] if stands else default(config, option))
    assert len(found) == 3
    assert min(1 / 50, median(found)) <= one * tune.low <= 1 / 1.5
    assert 1.5 <= one * tune.high <= max(50, 2.1 * median(found))


@pytest.fixture(scope="module")
def networks():
    """An untrained student of three branches by fusion, its teachers, and the views of one batch."""
    torch.manual_seed(5)
    views = {m: torch.randn(SIZE, *shape) for m, shape in SHAPES.items()}
    teachers = {m: build_teacher("WRN10-1", m, shape, CLASSES).eval() for m, shape in SHAPES.items()}
    for net in teachers.values():
        [*net.modules()][-1].weight.data.mul_(5)  # of the classifier: surer than an untrained one
    found = {}
    with torch.no_grad():
        taught = {m: net(views) for m, net in teachers.items()}
    for fusion in ("concat", "attention"):
        student = build_student("small", SHAPES, CLASSES, fusion)
        with torch.no_grad():
            dry = student.eval()(views)
        found[fusion] = (list(student.parameters()), dry, student.train()(views))
    return taught, found


def draws(name, count):
    """So many configurations, evenly drawn from the ranges of a method."""
    rng = np.random.default_rng(len(name))
    tuned = tuned_in(METHODS.get(name).Config)
    return [
        {
            option: tune.at(rng.uniform()) if isinstance(tune, Range) else tune[rng.integers(len(tune))]
            for option, tune in tuned.items()
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [6, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name in TUNED if "classification" in METHODS.get(name).tasks])
@pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")
def test_terms_of_drawn_configurations(networks, name, count):
    """Each is built and finite, and in some of them the terms neither vanish beside cross-entropy nor drown it."""
    taught, students = networks
    parameters, dry, outputs = students["attention" if "attention" in METHODS.get(name).needs else "concat"]
    targets = torch.arange(SIZE) % CLASSES
    batch = Batch(targets, torch.arange(SIZE), epoch=2, epochs=4)
    plain = norm(F.cross_entropy(outputs.logits, targets), parameters)
    ratios = []
    if name == "timedistill":  # which refuses images
        taught = {"sig": taught["sig"]}
    for options in draws(name, count):
        method = METHODS.get(name)(**options)
        build_method(method, Setup(dry, taught, CLASSES, 40, 4, torch.arange(40) % CLASSES), 0)
        terms = method.terms(outputs, taught, batch)
        assert all(torch.isfinite(value) for value in terms.values()), options
        own = torch.stack([value for term, value in terms.items() if term not in SUPERVISED]).sum()
        ratios.append(norm(own, parameters) / (norm(terms["ce"], parameters) if "ce" in terms else plain))
    assert max(ratios) < 1e3
    assert min(ratios) > 1e-3
    assert sum(1 / 10 < ratio < 10 for ratio in ratios) >= count / 6, ratios


def norm(term, parameters):
    """Of the gradient of a term on the student's parameters."""
    if not term.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in gradients if g is not None) ** 0.5)
