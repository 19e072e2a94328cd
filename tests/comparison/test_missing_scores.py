"""Metrics that are newer than a record, from its predictions."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from mmkd.bench import main
from mmkd.comparison.compare import compare
from mmkd.comparison.predictions import missing_scores
from mmkd.comparison.units import unit_metrics
from mmkd.store.record import Metrics
from mmkd.store.records import Records

RNG = np.random.default_rng(0)


class OldRecord(SimpleNamespace):
    """A record as far as its scores and predictions are read."""

    kind = "student"

    def file(self, name: str) -> Path:
        return self.folder / name

    def measurement(self, name: str) -> dict[str, object]:
        return {}


def record(folder, task, test, **arrays):
    np.savez(folder / "predictions.npz", **arrays)
    spec = SimpleNamespace(task=task)
    return OldRecord(
        folder=folder, spec=spec, metrics=Metrics({"test": test}), result={"files": {}}, parameters=1, seconds=1.0
    )


def test_of_windows(tmp_path):
    true, predicted = RNG.integers(0, 4, (2, 50))
    old = record(tmp_path, "classification", {"accuracy": 0.5}, true=true, predicted=predicted)
    found = missing_scores(old)
    assert found["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert "accuracy" not in found, "what is on record stays"
    assert "miou" not in found, "it is of another task"
    assert unit_metrics(old)["macro_f1"] == found["macro_f1"]
    json.dumps(found)


@pytest.mark.parametrize("with_probabilities", [True, False])
def test_of_recordings_whose_windows_overlap(tmp_path, with_probabilities):
    true = RNG.integers(0, 3, (2, 30))
    true[1, :4] = -1
    probabilities = RNG.random((2, 5, 10, 3))  # recording, window, step, class; a window every 5 steps
    starts = np.arange(5) * 5
    total = np.zeros((2, 30, 3))
    for recording in range(2):
        for n, start in enumerate(starts):
            votes = probabilities[recording, n]
            if not with_probabilities:
                votes = np.eye(3)[votes.argmax(-1)]
            total[recording, start : start + 10] += votes
    windows = np.stack([true[r, s : s + 10] for r in range(2) for s in starts])
    flat = probabilities.reshape(10, 10, 3)
    more = {"probabilities": flat.transpose(0, 2, 1)} if with_probabilities else {}
    old = record(
        tmp_path,
        "segmentation",
        {},
        true=windows,
        predicted=flat.argmax(-1),
        recording=np.repeat([7, 3], 5),
        start=np.tile(starts, 2),
        **more,
    )
    each = []
    for recording in range(2):
        known = true[recording] >= 0
        pair = true[recording][known], total[recording].argmax(-1)[known]
        each.append(jaccard_score(*pair, average="macro"))
    assert missing_scores(old)["miou"] == pytest.approx(np.mean(each))


def test_of_images(tmp_path):
    true, predicted = RNG.integers(0, 3, (2, 4, 5, 6))
    old = record(tmp_path, "segmentation", {}, true=true, predicted=predicted)
    each = [jaccard_score(t.ravel(), p.ravel(), average="macro") for t, p in zip(true, predicted, strict=True)]
    assert missing_scores(old)["miou"] == pytest.approx(np.mean(each))


def test_what_cannot_be_read_is_empty_and_no_error(tmp_path):
    old = record(tmp_path, "classification", {}, true=np.zeros(3, int))
    assert missing_scores(old) == {}
    (tmp_path / "predictions.npz").unlink()
    assert missing_scores(old) == {}
    unlabelled = record(tmp_path, "segmentation", {}, true=np.full((2, 9), -1), predicted=np.zeros((2, 9), int))
    assert missing_scores(unlabelled) == {}
    assert missing_scores(record(tmp_path, "anomaly", {}, true=np.zeros(3), predicted=np.zeros(3))) == {}


METRIC = """
import numpy as np
from mmkd import METRICS, Metric

METRICS.register("factor")(Metric("factor", "factor", forms=("window",), of_counts=lambda counts: VALUE))
METRICS.register("sure")(
    Metric("sure", "sure", forms=("window",), of_probabilities=lambda true, p: VALUE * float(p.max(1).mean()))
)
"""


def test_an_edited_metric_does_not_answer_with_old_numbers(tiny, tmp_path, capsys):
    plugin = tmp_path / "factor.py"
    own = ["--method", "kd", "--teachers", "sig", "--plugin", str(plugin), "--data", str(tiny["data"]), "--epochs", "1"]
    own += ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--quiet"]
    found = []
    for value in ("0.5", "0.5", "0.25"):
        plugin.write_text(METRIC.replace("VALUE", value), encoding="utf-8")
        assert main([*own, "--json"]) == 0
        (unit,) = json.loads(capsys.readouterr().out)
        test = unit["metrics"]["test"]
        found.append((unit["status"], test["factor"], test["sure"]))
    assert [status for status, *_ in found] == ["done", "cached", "cached"], "a metric is no part of a key"
    assert [factor for _, factor, _ in found] == [0.5, 0.5, 0.25]
    assert found[1][2] == found[0][2]
    assert found[2][2] == pytest.approx(found[0][2] / 2, rel=1e-6)
    comparison = compare(list(Records(tmp_path / "runs")))
    rows = {row.kind: row for row in comparison.groups[0].rows}
    assert [rows[kind].values("factor") for kind in ("teacher", "student")] == [[0.25], [0.25]]
    assert main(own) == 0
    assert "0.250" in capsys.readouterr().out
