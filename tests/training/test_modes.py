"""Who runs in training mode and who does not, and that teachers are only looked at."""

import numpy as np
import pytest
import torch
from torch import nn

import mmkd
from mmkd import METHODS, Method, MethodConfig, Outputs
from mmkd.core.progress import Progress
from mmkd.nets import build_student, build_teacher
from mmkd.specs.unit import Training
from mmkd.training import preparation
from mmkd.training.data import TrainingData
from mmkd.training.loop import batches, train
from mmkd.training.prediction import predict
from mmkd.training.teacher_outputs import LiveTeachers, NoTeachers
from mmkd.training.teachers import Teacher


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2, 32)).astype(np.float32)
    return TrainingData({"sig": x}, np.arange(40) % 3, np.arange(24), np.arange(24, 40), "abc", torch.device("cpu"))


def student():
    torch.manual_seed(0)
    return build_student("small", {"sig": (2, 32)}, 3)


def test_student_and_method_train_in_training_mode_in_every_epoch(windows):
    """A validation in evaluation mode lies between two epochs."""
    seen = []

    class Watches(Method):
        """Notes the modes. Test 2026."""

        Config = MethodConfig
        distils = False

        def build(self, setup):
            self.own = nn.Dropout()

        def losses(self, student, teachers, batch):
            seen.append((batch.epoch, network.training, self.training, self.own.training))
            return self.supervised(student, batch)

    network = student()
    training = Training(epochs=2, batch_size=12)
    train(network, Watches(), windows, NoTeachers(), training=training, seed=0, label="", progress=Progress())
    assert seen == [(epoch, True, True, True) for epoch in (0, 0, 1, 1)]


def test_predictions_are_those_of_evaluation_mode_and_change_nothing(windows):
    network = student().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = predict(network, windows.load_views, np.arange(10), batch_size=3)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    with torch.no_grad():
        wanted = network.eval()(windows.load_views(np.arange(10))).logits.softmax(1)
        batch = network.train()(windows.load_views(np.arange(10))).logits.softmax(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not np.allclose(found, batch, rtol=1e-3), "statistics of the batch give other answers"


def test_teachers_of_a_unit_rest(tiny, tmp_path, monkeypatch):
    taken = {}
    real = preparation.make_teacher_source
    monkeypatch.setattr(
        preparation, "make_teacher_source", lambda teachers, *a, **k: taken.update(teachers) or real(teachers, *a, **k)
    )
    mmkd.run("kd", student="sig", teachers="sig,gaf", **tiny, runs=tmp_path)
    assert set(taken) == {"sig", "gaf"}
    for teacher in taken.values():
        assert not any(module.training for module in teacher.network.modules())
        assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_no_gradient_reaches_a_teacher_that_runs_on_each_batch(windows):
    network = build_teacher("WRN10-1", "sig", (2, 32), 3).eval()
    assert all(parameter.requires_grad for parameter in network.parameters())
    positions = np.arange(4)
    (outputs,) = (
        LiveTeachers({"sig": Teacher(None, network, None)}).outputs(positions, windows.load_views(positions)).values()
    )
    assert not outputs.logits.requires_grad
    assert not outputs.embedding.requires_grad
    assert not any(feature.requires_grad for feature in outputs.features.values())


class Dense(nn.Module):
    """Says for each step the signal itself, in three classes."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Conv1d(2, 3, 1)

    def forward(self, views):
        x = views["sig"]
        return Outputs(self.classifier(x), x.mean(2), {"a": x})


def test_steps_of_student_and_teachers_are_those_with_a_label(windows):
    rng = np.random.default_rng(1)
    y = rng.integers(-1, 3, (40, 32))
    places = (np.arange(40), np.zeros(40, np.int64))
    data = TrainingData(
        windows.views, y, windows.train, windows.validation, ("a", "b", "c"), windows.device, locations=places
    )
    torch.manual_seed(0)
    network, teacher, seen = Dense(), Dense().eval(), []

    class Watches(METHODS.get("kd")):
        """Notes what it is given. Test 2026."""

        def losses(self, student, teachers, batch):
            x = torch.from_numpy(data.views["sig"][data.train[batch.index]])
            known = torch.from_numpy(y[data.train[batch.index]]) >= 0
            taught = torch.cat([teacher.classifier(w[None])[0].T[k] for w, k in zip(x, known, strict=True)])
            own = torch.cat([network.classifier(w[None])[0].T[k] for w, k in zip(x, known, strict=True)])
            torch.testing.assert_close(teachers["sig"].logits, taught)
            torch.testing.assert_close(student.logits, own)
            labels = np.concatenate([row[row >= 0] for row in y[data.train[batch.index]]])
            assert batch.targets.tolist() == labels.tolist()
            seen.append(len(labels))
            return super().losses(student, teachers, batch)

    source = LiveTeachers({"sig": Teacher(None, teacher, None)})
    training = Training(epochs=1, batch_size=12)
    train(network, Watches(), data, source, training=training, seed=0, label="", progress=Progress())
    assert sum(seen) == (y[data.train] >= 0).sum()


def test_windows_without_a_label_do_not_count_in_the_means_of_the_history(windows):
    """A term that is always 1 has the mean 1, although two of six batches are passed over."""
    y = np.zeros((40, 32), np.int64)
    order = np.concatenate(batches(24, 4, 0, 0))
    y[windows.train[order[:8]]] = -1  # the windows of the first two batches
    places = (np.arange(40), np.zeros(40, np.int64))
    data = TrainingData(
        windows.views, y, windows.train, windows.validation, ("a", "b", "c"), windows.device, locations=places
    )
    seen = []

    class One(METHODS.get("student")):
        """A term of 1. Test 2026."""

        def losses(self, student, teachers, batch):
            seen.append(len(batch.targets))
            return {"one": student.logits.sum() * 0 + 1}

    training = Training(epochs=1, batch_size=4)
    result = train(Dense(), One(), data, NoTeachers(), training=training, seed=0, label="", progress=Progress())
    assert seen == [4 * 32] * 4
    assert result.history[0]["loss/one"] == pytest.approx(1)
