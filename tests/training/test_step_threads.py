"""A training takes as many threads as its steps are worth, the same ones each time, and gives back those it found."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS
from mmkd.bench import main
from mmkd.core.progress import Progress
from mmkd.nets import build_teacher
from mmkd.specs.unit import Training
from mmkd.store.records import Records
from mmkd.training import step_threads
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.step_threads import StepThreads
from mmkd.training.teacher_outputs import NoTeachers

CPU = torch.device("cpu")
AVAILABLE = 4


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(AVAILABLE)
    yield
    torch.set_num_threads(before)


def forward(name, shape, batch=64):
    """The forward pass of a training step of a network with the loss."""
    torch.manual_seed(0)
    view = "sig" if len(shape) == 2 else "gaf"
    net, x, y = build_teacher(name, view, shape, 3), torch.randn(batch, *shape), torch.arange(batch) % 3
    return lambda: F.cross_entropy(net({view: x}).logits, y)


def take(threads, action):
    """What an action returns, taken as the first step of a training."""
    with threads.counting():
        return action()


@pytest.mark.parametrize(
    ("net", "shape", "expected"),
    [("micro", (6, 64), 1), ("small", (6, 100), 1), ("WRN16-3", (6, 100), 2), ("WRN16-1", (6, 64, 64), AVAILABLE)],
)
def test_small_networks_get_one_thread_and_large_ones_all(net, shape, expected):
    with StepThreads(CPU) as threads:
        assert torch.get_num_threads() == 1, "the first forward pass takes one thread"
        take(threads, forward(net, shape))
        assert threads.used == torch.get_num_threads() == expected
    assert torch.get_num_threads() == AVAILABLE


def test_never_more_than_the_process_has():
    torch.set_num_threads(2)
    with StepThreads(CPU) as threads:
        take(threads, forward("WRN16-1", (6, 64, 64), batch=32))
    assert (threads.used, torch.get_num_threads()) == (2, 2)


def test_work_is_elements_and_operations_of_products_and_transforms():
    x = torch.ones(10, 100)
    with StepThreads(CPU) as threads:
        take(threads, lambda: (x + 1) * 2)
    assert threads.work == 1000  # two operations of a thousand elements
    with StepThreads(CPU) as threads:
        take(threads, lambda: x @ torch.ones(100, 30).t().t())  # ones and the product; views write nothing
    assert threads.work == pytest.approx((3000 + 300 + 2 * 10 * 100 * 30 / step_threads.FLOPS_AN_ELEMENT) / 2)
    with StepThreads(CPU) as threads:
        take(threads, lambda: torch.fft.fft2(x.to(torch.complex64)))
    operations = 5 * 1000 * np.log2(1000)
    assert threads.work == pytest.approx((2000 + operations / step_threads.FLOPS_AN_ELEMENT) / 2, rel=1e-3)


def test_counting_changes_no_number():
    results = []
    for counting in (True, False):
        with StepThreads(CPU, work=0.0 if counting else 1.0) as threads:
            results.append(take(threads, forward("WRN16-1", (6, 16, 16))))
    assert torch.equal(*results)


def test_what_was_counted_is_not_counted_again(monkeypatch):
    monkeypatch.setattr(step_threads, "FlopCounterMode", lambda **_: pytest.fail("counted again"))
    with StepThreads(CPU, work=3.5 * step_threads.WORK_A_THREAD) as threads:
        assert take(threads, lambda: "result") == "result"
        assert torch.get_num_threads() == 3


def test_threads_come_back_after_an_error():
    with pytest.raises(ZeroDivisionError), StepThreads(CPU):
        raise ZeroDivisionError
    assert torch.get_num_threads() == AVAILABLE


def test_another_device_keeps_all_threads():
    with StepThreads(torch.device("cuda")) as threads:
        take(threads, lambda: torch.ones(3))
        assert torch.get_num_threads() == threads.used == AVAILABLE
    assert threads.work == 0


def small_training(epochs, checkpoint=None):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 2, 32), dtype=np.float32)
    windows = TrainingData({"sig": x}, np.arange(40) % 2, np.arange(40), np.arange(0), "ab", CPU)
    torch.manual_seed(0)
    net = build_teacher("micro", "sig", (2, 32), 2)
    return train(
        net,
        METHODS.get("student")(),
        windows,
        NoTeachers(),
        training=Training(epochs=epochs, batch_size=16),
        seed=0,
        label="",
        progress=Progress(),
        checkpoint=checkpoint,
    )


def test_a_training_uses_them_and_goes_on_with_as_many(tmp_path, monkeypatch):
    counted, real = [], StepThreads.counting

    def spy(self):
        counted.append((self.work, torch.get_num_threads()))
        return real(self)

    monkeypatch.setattr(StepThreads, "counting", spy)
    checkpoint = Checkpoint(tmp_path / "state")
    assert small_training(2, checkpoint).threads == 1
    assert {threads for _, threads in counted} == {1}
    assert torch.get_num_threads() == AVAILABLE
    counted.clear()
    assert small_training(4, checkpoint).threads == 1
    assert counted
    assert all(work > 0 for work, _ in counted), "its work was counted again"


def test_without_counting_a_training_would_take_all(monkeypatch):
    monkeypatch.setattr(step_threads, "WORK_A_THREAD", 1)
    assert small_training(1).threads == AVAILABLE


def test_a_record_says_how_many(sines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["--method", "kd", "--data", str(sines), "--student", "sig", "--teachers", "sig", "--epochs", "1"]
    assert main([*command, "--teacher-epochs", "1", "--peers", "none", "--quiet"]) == 0
    for record in Records("runs"):
        if record.kind in ("student", "teacher"):
            assert record.result["training_threads"] == 1, json.dumps(record.result)[:200]
            assert record.environment["threads"] == AVAILABLE
