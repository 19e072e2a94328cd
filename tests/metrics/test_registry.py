"""The registry of metrics: one entry is all that a new column needs."""

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from mmkd.core.errors import MmkdError
from mmkd.metrics.registry import METRICS, SELECTION, Metric, count_metrics, file_scores, score_columns
from mmkd.metrics.series import SERIES_METRICS
from mmkd.metrics.steps import frame_accuracy
from mmkd.tasks import TASKS


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_metric_that_a_task_names_has_an_entry(task):
    names = {task.headline, *task.metrics, *task.charts}
    assert {METRICS.get(name).name for name in names} == names
    assert task.headline in task.metrics
    assert [metric.name for metric in score_columns(task)][: len(task.metrics)] == list(task.metrics)
    assert all(task.form in metric.forms for metric in score_columns(task))


def test_scores_of_series_are_those_that_are_computed():
    assert [metric.name for metric in METRICS.values() if metric.forms == ("series",)] == list(SERIES_METRICS)
    assert SELECTION in {metric.name for metric in count_metrics("window")} & {m.name for m in count_metrics("step")}


def test_entries_are_complete():
    metrics = METRICS.values()
    assert len({metric.label for metric in metrics}) == len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.format(0.25)
        assert metric.sign == (-1 if metric.direction == "lower" else 1)


def test_files_have_all_scores_of_classes_and_those_of_series_where_they_belong():
    names = {name: [metric.name for metric in file_scores(TASKS.get(name))] for name in TASKS}
    assert names["classification"] == names["segmentation"]
    assert names["classification"][:4] == ["accuracy", "macro_f1", "balanced_accuracy", "miou"]
    assert names["classification"][4:] == ["nll", "ece", "agreement", "seconds"]
    assert set(names["anomaly"]) == {*names["classification"], *SERIES_METRICS}


def test_a_new_entry_is_a_column_without_another_line():
    metric = Metric("twice", "twice", forms=("window",), of_counts=lambda counts: 2 * frame_accuracy(counts))
    METRICS.register("twice")(metric)
    try:
        assert metric in score_columns(TASKS.get("classification"))
        assert metric not in score_columns(TASKS.get("segmentation"))
        assert metric in file_scores(TASKS.get("segmentation"))
    finally:
        METRICS.unregister("twice")
    assert metric not in score_columns(TASKS.get("classification"))


def test_what_is_no_metric_is_refused():
    with pytest.raises(MmkdError, match="no Metric"):
        METRICS.register("wrong")(SimpleNamespace())
    with pytest.raises(MmkdError, match="macro_f1"):
        METRICS.get("macro-f1")
    assert replace(METRICS.get("bytes"), name="other").format(2_500_000) == "2.50 MB"
    assert {"name", "label", "meaning", "direction", "forms"} <= {field.name for field in fields(Metric)}
