"""What is better, what is paired and what counts once: rows made by hand."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd.comparison.compare import Comparison
from mmkd.comparison.groups import Group
from mmkd.comparison.ranking import rankings
from mmkd.comparison.repeats import Repeats
from mmkd.comparison.rows import Row, best_first
from mmkd.comparison.units import Unit
from mmkd.metrics.registry import METRICS
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.record import Record

SPEC = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="student",
    options={"branch_weight": 0.5},
    views={"sig": {}},
    teachers={},
    teacher_training=None,
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)


def row(name, scores, score="macro_f1", kind="student"):
    """A row with these scores by seed."""
    units = {seed: Unit(f"{name}{seed}", seed, {score: value}) for seed, value in scores.items()}
    return Row(kind, name, name, {}, units, variant=name, score=score)


@pytest.mark.parametrize(("score", "order"), [("macro_f1", ["high", "low"]), ("nll", ["low", "high"])])
def test_the_student_alone_comes_first_then_the_best(score, order):
    rows = [row("low", {0: 0.1, 1: 0.5}, score), row("high", {0: 0.4, 1: 0.4}, score), row("student", {0: 0.3}, score)]
    best = row("knn", {0: 0.2}, score, kind="simple")
    assert [each.name for each in best_first([*rows, best])] == ["student", *order, "knn"]
    assert [each.name for each in best_first([best, *rows[::-1]])] == ["student", *order, "knn"]


def test_which_values_of_a_metric_are_better():
    signs = {name: METRICS.get(name).sign for name in ("accuracy", "macro_f1", "vus_pr", "nll", "ece", "latency_ms")}
    assert signs == {"accuracy": 1, "macro_f1": 1, "vus_pr": 1, "nll": -1, "ece": -1, "latency_ms": -1}


def test_over_data_sets_means_are_of_the_seeds_that_both_have():
    """The student's seed 0 is far off and kd has none: it must not count."""
    groups = []
    for number in range(7):
        alone = row("student", {0: 0.1, 1: 0.5 + number / 100, 2: 0.6})
        taught = row("kd", {1: 0.55 + number / 100, 2: 0.65})
        groups.append(Group(f"set{number}", "classification", f"set{number}", "student sig", {}, [alone, taught]))
    (found,) = rankings(Comparison(groups, "student", [], []))
    (test,) = found.tests
    assert (test.first, test.second, test.n) == ("kd", "student", 7)
    assert test.mean == pytest.approx(0.05)
    assert (test.wins, test.losses) == (7, 0)
    assert test.test.p == pytest.approx(2 / 2**7)
    (pair,) = found.pairs
    assert abs(pair.mean) == pytest.approx(0.05)


def record(spec, score, folder):
    result = {
        "kind": "student",
        "key": spec.key,
        "spec": asdict(spec),
        "metrics": {"test": {"accuracy": score, "macro_f1": score, "balanced_accuracy": score}},
        "parameters": 1,
        "seconds": 1.0,
    }
    return Record(folder / spec.key, result)


def test_a_second_unit_of_one_seed_does_not_count(tmp_path):
    members = [
        record(SPEC, 0.5, tmp_path),
        record(replace(SPEC, training=Training(epochs=6)), 0.9, tmp_path),
        record(replace(SPEC, seed=1), 0.7, tmp_path),
    ]
    notes = {}
    units = Repeats(members).units(members, notes)
    assert {seed: unit.metrics["macro_f1"] for seed, unit in units.items()} == {0: 0.5, 1: 0.7}
    (note,) = notes
    assert members[1].key in note
    assert "a second one of seed 0" in note
    assert np.isfinite(list(units[0].metrics.values())).all()
