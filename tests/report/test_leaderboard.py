"""The leaderboard of a suite in MLflow: means over seeds, the best on top."""

import pytest

from mmkd.comparison.groups import Group
from mmkd.comparison.rows import Row
from mmkd.comparison.units import Unit
from mmkd.metrics.registry import METRICS
from mmkd.report.mlflow.leaderboard import leaderboard_metrics, row_labels, view_state
from mmkd.tasks import TASKS


def group(*rows):
    return Group("sines, student sig (small)", "classification", "sines", "student sig (small)", {}, list(rows))


def row(name, scores, kind="student"):
    units = {seed: Unit(f"{name}{seed}", seed, {"macro_f1": value}) for seed, value in enumerate(scores)}
    return Row(kind, name, name, {}, units)


def test_a_row_has_the_mean_over_its_seeds():
    found = leaderboard_metrics([group(row("sig", [0.9], "teacher"), row("kd", [0.2, 0.4, 0.9]), row("at", []))])
    assert found == {
        "leaderboard/macro_f1 teacher sig": pytest.approx(0.9),
        "leaderboard/macro_f1 kd sig small": pytest.approx(0.5),
    }


def test_every_unit_has_the_label_of_its_row():
    found = row_labels([group(row("sig", [0.9], "teacher"), row("kd", [0.2, 0.4]))])
    assert found == {"sig0": "teacher sig", "kd0": "kd | sig (small)", "kd1": "kd | sig (small)"}


@pytest.mark.parametrize("task", list(TASKS))
def test_the_best_rows_stand_on_top(task):
    """Runs are ordered by the first score: downwards where higher is better."""
    first = METRICS.get(TASKS.get(task).charts[0])
    view = view_state("parent", task)
    assert view["orderByKey"] == f"metrics.`test/{first.name}`"
    assert view["orderByAsc"] is (first.direction == "lower")
    assert first.direction == "higher", "if there is one where lower is better, it needs a case of its own"
