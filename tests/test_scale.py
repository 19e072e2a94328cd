"""A default weight that makes a loss term very large or very small beside cross-entropy is explained."""

import csv
import importlib.util
from pathlib import Path

import pytest
import torch

from mmkd.training.workspace import Workspace

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
_SPEC = importlib.util.spec_from_file_location("method_scale", ROOT / "experiments" / "method_scale.py")
scale = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(scale)
ROWS = list(csv.DictReader((RESULTS / "method-scale.csv").read_text(encoding="utf-8").splitlines()))


def test_every_method_is_measured_on_every_set():
    methods = set(scale.measured())
    assert {"kd", "fam"} <= methods
    assert {(row["method"], row["dataset"]) for row in ROWS} == {(m, d) for m in methods for d in scale.SETS}


def test_what_is_outside_the_band_is_explained():
    found = scale.outside(ROWS)
    assert set(found) <= set(scale.EXPLAINED)
    for name in scale.EXPLAINED:  # none is stale
        own = [max(float(row["start"]), float(row["later"])) for row in ROWS if row["method"] == name]
        assert max(own) > scale.HIGHEST or min(own) < scale.LOWEST, name


def test_the_page_has_the_rows():
    page = (RESULTS / "method-scale.md").read_text(encoding="utf-8")
    assert scale.table(ROWS) in page
    assert page.endswith(scale.explanations())


def rows(**terms):
    return [
        {"method": "m", "term": term, "dataset": str(n), "start": start, "later": later}
        for term, (start, later) in terms.items()
        for n in range(3)
    ]


def test_the_band():
    assert scale.outside(rows(a=("9", "9"), b=("0.03", "0.001"))) == {}
    assert scale.outside(rows(a=("1", "11"), b=("0.01", "0.019"))) == {"m": ["a", "b"]}
    assert scale.outside([*rows(a=("1", "1"))[:2], *rows(a=("99", "99"))[2:]]) == {}, "the median of the sets"


def test_a_ratio_is_that_of_the_gradients(tiny, tmp_path):
    """`kd` with half of its weight has half of the ratio; cross-entropy of the same weight is 1."""
    request = scale.Request(
        ("kd",),
        data=str(tiny["data"]),
        students=("sig",),
        teachers=("sig,gaf",),
        epochs=3,
        image_size=16,
        options={"kd": {"kd_weight": [0.8, 0.5]}},
    )
    found = []
    for spec, data in scale.expand(request):
        steps = scale.Steps(spec, data, Workspace(tmp_path, tiny["cache"]))
        before = [p.detach().clone() for p in steps.unit.student.parameters()]
        found.append(steps.ratios(0)["kd"])
        assert all(torch.equal(a, b) for a, b in zip(before, steps.unit.student.parameters(), strict=True))
        steps.train()
        assert steps.ratios(1)["kd"] > 0
    assert found[0] / found[1] == pytest.approx(4.0, rel=1e-3)
