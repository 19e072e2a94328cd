"""A task of somebody else registers itself in one file and gets as far as a record: a number for each window."""

import json

import pytest

import mmkd
from mmkd.bench import main
from mmkd.compare import main as compare
from mmkd.core.registry import METHODS
from mmkd.metrics.registry import METRICS
from mmkd.store.records import Records
from mmkd.tasks import TASKS

PLUGIN = '''"""Regression, a sketch: the name of a window's class is the number that belongs to it."""

from dataclasses import asdict

import numpy as np
import torch
from torch.nn import functional as F

from mmkd import METHODS, Method, MmkdError
from mmkd.metrics.registry import METRICS, Metric
from mmkd.store.record import write_history
from mmkd.tasks import TASKS, Task
from mmkd.tasks.classification import PRESETS
from mmkd.training.unit_windows import load_view
from mmkd.training.trial import make_student
from mmkd.units.splits import split_for

METRICS.register("rmse")(Metric("rmse", "RMSE", "root mean squared error", direction="lower"))


@METHODS.register("least-squares")
class LeastSquares(Method):
    """Squared error of the student alone."""

    distils = False
    tasks = frozenset({"regression"})

    def losses(self, student, teachers, batch):
        return {"squared": F.mse_loss(student.logits[:, 0], batch.targets.float())}


class Regression(Task):
    def accept(self, data):
        try:
            numbers = [float(name) for name in data.classes]
        except ValueError:
            raise MmkdError(f"data {data.name!r}: a class name is no number; --task regression needs numbers") from None
        return data

    def run_unit(self, spec, data, workspace):
        split = split_for(data, spec.data, spec.seed)
        arrays = {name: load_view(name, spec, data, workspace).array for name in spec.student}
        views = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        numbers = torch.tensor([float(data.classes[k]) for k in data.y])
        student = make_student(spec, {name: view.shape[1:] for name, view in views.items()}, 1, data.window)
        optimizer = torch.optim.Adam(student.parameters(), spec.training.lr)
        history = []
        for epoch in range(spec.training.epochs):
            outputs = student({name: view[split.train] for name, view in views.items()})
            loss = F.mse_loss(outputs.logits[:, 0], numbers[split.train])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append({"epoch": epoch + 1, "loss": loss.item()})
        with torch.no_grad():
            predicted = student.eval()({name: view[split.test] for name, view in views.items()}).logits[:, 0]
        error = F.mse_loss(predicted, numbers[split.test]).sqrt().item()

        def fill(folder):
            write_history(folder / "history.csv", history)
            np.savez(folder / "predictions.npz", window=split.test, predicted=predicted.numpy())
            return {
                "kind": "student",
                "key": spec.key,
                "status": "done",
                "spec": asdict(spec),
                "metrics": {"test": {"rmse": error}},
                "parameters": sum(p.numel() for p in student.parameters()),
                "seconds": 0.0,
            }

        return workspace.records.write(spec.key, fill)


TASKS.register("regression")(
    Regression(
        name="regression",
        text="a number a window",
        form="window",
        presets=PRESETS,
        datasets=("basic-motions",),
        students=("sig",),
        teachers=("sig",),
        headline="rmse",
        metrics=("rmse",),
        has_predictions=False,
    )
)
'''


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "regression.py"
    path.write_text(PLUGIN, encoding="utf-8")
    yield str(path)
    TASKS.unregister("regression")
    METRICS.unregister("rmse")


def test_it_gets_as_far_as_a_record(plugin, sines, tmp_path, capsys):
    common = ["--task", "regression", "--plugin", plugin, "--data", str(sines), "--epochs", "3", "--quiet", "--json"]
    places = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    assert main(["--method", "least-squares", *common, *places]) == 0
    (unit,) = json.loads(capsys.readouterr().out)
    assert unit["status"] == "done"
    assert unit["metrics"]["test"]["rmse"] > 0
    (record,) = Records(tmp_path / "runs")
    assert (record.unit.task, record.unit.method) == ("regression", "least-squares")
    assert record.metrics.test["rmse"] == unit["metrics"]["test"]["rmse"]
    assert main(["--method", "least-squares", *common, *places]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "cached"


def test_its_records_are_compared_and_sent(plugin, sines, tmp_path, capsys):
    suite = tmp_path / "numbers.toml"
    text = 'task = "regression"\nmethods = ["least-squares"]\nstudents = ["sig"]\nepochs = 2\nseeds = "0-1"\n'
    suite.write_text(f"{text}data = {json.dumps(str(sines))}\n", encoding="utf-8")
    runs = str(tmp_path / "runs")
    assert main(["--suite", str(suite), "--plugin", plugin, "--runs", runs, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "RMSE" in out
    assert "not sent" not in err
    assert compare(["--runs", runs, "--plugin", plugin]) == 0
    assert "RMSE" in capsys.readouterr().out


def test_what_it_cannot_do_is_said_in_one_line(plugin, windows_file, tmp_path, capsys):
    words = windows_file(tmp_path / "words.npz", y=[("walk", "sit", "run")[n % 3] for n in range(96)])
    common = ["--task", "regression", "--plugin", plugin, "--runs", str(tmp_path / "runs")]
    assert main(["--method", "least-squares", "--data", str(words), *common]) == 2
    assert "needs numbers" in capsys.readouterr().err
    assert main(["--method", "kd", "--data", str(words), *common]) == 2
    assert not (tmp_path / "runs").exists()


def test_a_plugin_without_a_method_may_bring_a_task_alone(tmp_path, sines):
    text = PLUGIN[: PLUGIN.index("METRICS.register")] + PLUGIN[PLUGIN.index("class Regression") :]
    path = tmp_path / "task_alone.py"
    path.write_text(text.replace('"regression"', '"regression-alone"'), encoding="utf-8")
    before = set(METHODS)
    try:
        with pytest.raises(mmkd.MmkdError, match="kd is not defined for --task regression-alone"):
            mmkd.run("kd", data=sines, task="regression-alone", plugin=path, runs=tmp_path / "runs")
    finally:
        TASKS.unregister("regression-alone")
    assert set(METHODS) == before
