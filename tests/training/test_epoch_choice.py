"""Which epoch is kept, by what scores of which network, and that its weights are what is tested and stored."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import mmkd
from mmkd import METHODS, Method, MethodConfig, Outputs
from mmkd.core.progress import Progress
from mmkd.metrics.scores import window_scores
from mmkd.nets import build_student
from mmkd.specs.unit import Training
from mmkd.training import loop, state
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.data import TrainingData
from mmkd.training.loop import TrainingResult, train
from mmkd.training.teacher_outputs import NoTeachers
from mmkd.training.testing import evaluate_on_test

SHAPES = {"sig": (2, 32)}
TEST = np.arange(50, 60)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.normal(size=(60, 2, 32)) + 0.5 * y[:, None, None]).astype(np.float32)
    return TrainingData({"sig": x}, y, np.arange(32), np.arange(32, 50), "abc", torch.device("cpu"))


def student():
    torch.manual_seed(0)
    return build_student("small", SHAPES, 3)


def trained(windows, method=None, epochs=2, checkpoint=None):
    method = method or METHODS.get("student")()
    training = Training(epochs=epochs, batch_size=8)
    return train(
        student(),
        method,
        windows,
        NoTeachers(),
        training=training,
        seed=0,
        label="",
        progress=Progress(),
        checkpoint=checkpoint,
    )


def answers(network, windows, positions):
    """Class probabilities (n, K) of the network as it is, by hand."""
    network.eval()
    with torch.no_grad():
        return network(windows.load_views(positions)).logits.double().softmax(1).numpy()


def copy_of(weights):
    return {name: value.clone() for name, value in weights.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Scripted:
    """In the place of `validate`: says these scores, one an epoch, and keeps the weights that it was shown."""

    def __init__(self, f1, nll=None, accuracy=None):
        self.f1, self.nll, self.accuracy = f1, nll or [1.0] * len(f1), accuracy or [0.5] * len(f1)
        self.seen = []

    def __call__(self, network, windows, training):
        number = len(self.seen)
        self.seen.append(copy_of(network.state_dict()))
        return {"accuracy": self.accuracy[number], "macro_f1": self.f1[number], "nll": self.nll[number]}


def test_validation_scores_are_those_of_the_validation_windows(windows):
    result = trained(windows)
    wanted = window_scores(windows.y[windows.validation], answers(result.network, windows, windows.validation))
    others = window_scores(windows.y[windows.train], answers(result.network, windows, windows.train))
    row = result.history[-1]
    for name in ("accuracy", "macro_f1", "nll"):
        assert row[f"val_{name}"] == pytest.approx(wanted[name], rel=1e-6)
    assert others["nll"] != pytest.approx(wanted["nll"], rel=1e-3)


@pytest.mark.parametrize(
    ("f1", "nll", "best"),
    [
        ([0.5, 0.8, 0.8, 0.8, 0.8, 0.7], [0.1, 0.9, 0.4, 0.5, 0.6, 0.1], 2),  # of equal macro-F1 the lowest NLL
        ([0.5, 0.8, 0.8, 0.8, 0.2, 0.7], [0.1, 0.4, 0.4, 0.4, 0.1, 0.1], 1),  # of equal epochs the first
        ([0.0, 0.0, 0.1, 0.0, 0.0, 0.0], [0.1, 0.1, 9.0, 0.1, 0.1, 0.1], 2),
    ],
)
def test_the_highest_macro_f1_is_kept_then_the_lowest_nll(windows, monkeypatch, f1, nll, best):
    said = Scripted(f1, nll, accuracy=[0.9, 0.1, 0.1, 0.1, 0.1, 1.0])
    monkeypatch.setattr(loop, "validate", said)
    result = trained(windows, epochs=6)
    assert result.best_epoch == best
    assert same(result.best, said.seen[best])
    assert same(result.last, said.seen[-1])
    assert not same(result.best, result.last)


class Doubtful(Method):
    """Deploys a network of its own, which says the next class. Test 2026."""

    Config = MethodConfig
    distils = False

    def losses(self, student, teachers, batch):
        return self.supervised(student, batch)

    def deploy(self, student):
        return Next(student)


class Next(nn.Module):
    def __init__(self, student):
        super().__init__()
        self.inner = student

    def forward(self, views):
        outputs = self.inner(views)
        return Outputs(outputs.logits.roll(1, 1), outputs.embedding)


def test_what_is_deployed_is_validated_and_kept(windows, monkeypatch):
    result = trained(windows, Doubtful())
    assert isinstance(result.network, Next)
    wanted = window_scores(windows.y[windows.validation], answers(result.network, windows, windows.validation))
    assert result.history[-1]["val_nll"] == pytest.approx(wanted["nll"], rel=1e-6)
    students = window_scores(windows.y[windows.validation], answers(result.network.inner, windows, windows.validation))
    assert students["nll"] != pytest.approx(wanted["nll"], rel=1e-3)
    assert result.best.keys() == result.last.keys() == result.network.state_dict().keys()


def test_an_interrupted_training_remembers_its_best_epoch(windows, monkeypatch, tmp_path):
    """Cut off in the third epoch; the second was the best, and the others after it are no better."""
    said = Scripted([0.3, 0.8, 0.5, 0.4])
    real = loop.train_epoch

    def cut(*args, **settings):
        if settings["epoch"] == 2 and len(said.seen) == 2 and not cut.done:
            cut.done = True
            raise RuntimeError("cut")
        return real(*args, **settings)

    cut.done = False
    monkeypatch.setattr(state, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(loop, "validate", said)
    monkeypatch.setattr(loop, "train_epoch", cut)
    checkpoint = Checkpoint(tmp_path / "kept")
    with pytest.raises(RuntimeError, match="cut"):
        trained(windows, epochs=4, checkpoint=checkpoint)
    result = trained(windows, epochs=4, checkpoint=checkpoint)
    assert len(said.seen) == 4
    assert result.best_epoch == 1
    assert same(result.best, said.seen[1])
    assert [row["val_macro_f1"] for row in result.history] == said.f1


def test_test_scores_are_of_the_best_weights_and_test_last_of_the_last(windows):
    network = student()
    best = copy_of(network.state_dict())
    last = {name: value + 0.1 if value.is_floating_point() else value for name, value in best.items()}
    row = {"val_accuracy": 0.1, "val_macro_f1": 0.2, "val_nll": 0.3}
    result = TrainingResult([{**row, "val_nll": 9.0}, row], network, best, last, 1, 0.0, 0)
    scores, arrays, last_arrays = evaluate_on_test(result, windows, TEST, Training())
    for part, weights, kept in (("test_last", last, last_arrays), ("test", best, arrays)):
        network.load_state_dict(weights)
        probabilities = answers(network, windows, TEST)
        np.testing.assert_allclose(kept["probabilities"], probabilities, atol=1e-6)
        assert scores[part]["nll"] == pytest.approx(window_scores(windows.y[TEST], probabilities)["nll"])
    assert scores["test"]["nll"] != pytest.approx(scores["test_last"]["nll"])
    assert scores["validation"] == {"accuracy": 0.1, "macro_f1": 0.2, "nll": 0.3}
    np.testing.assert_array_equal(arrays["window"], TEST)
    np.testing.assert_array_equal(arrays["true"], windows.y[TEST])


def test_best_and_last_weights_are_stored_by_their_names(tiny, tmp_path, monkeypatch):
    """Teacher and student are best in their first of three epochs."""
    said = Scripted([0.9, 0.2, 0.1] * 2)
    monkeypatch.setattr(loop, "validate", said)
    own = {**tiny, "cache": tmp_path / "cache"}
    record = mmkd.run("kd", student="sig", teachers="sig", **own, runs=tmp_path / "runs")
    (folder,) = (path for path in (tmp_path / "cache" / "teachers").iterdir() if path.is_dir())
    assert len(said.seen) == 6
    assert same(load_file(folder / "best.safetensors"), said.seen[0])
    assert same(load_file(folder / "last.safetensors"), said.seen[2])
    assert same(load_file(record.folder / "student.safetensors"), said.seen[3])
    assert record.result["best_epoch"] == 1
    model, data = mmkd.load_student(record), mmkd.data.load_file(tiny["data"])
    with np.load(record.folder / "predictions.npz") as z:
        np.testing.assert_allclose(model.predict_proba(data.x[z["window"]]), z["probabilities"], atol=1e-5)
