"""What is said of a machine before its trainings, and what is limited."""

import warnings
from dataclasses import replace

import pytest
import torch

import mmkd
from mmkd.core.errors import MachineWarning
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.training import machine
from mmkd.training.workspace import Workspace

FP32 = UnitSpec(
    data=DataSpec("gunpoint", "ab" * 32),
    seed=0,
    method="student",
    options={},
    views={"sig": {}},
    teachers={},
    teacher_training=None,
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(),
)
BF16 = replace(FP32, training=Training(precision="bf16"))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "runs", device="cpu")


def lines_of(specs, workspace):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        machine.prepare_machine(specs, workspace)
    assert {warning.category for warning in caught} <= {MachineWarning}
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("cost", "specs", "warned"),
    [(7.25, [FP32, BF16], True), (1.3, [BF16], False), (0.5, [BF16], False), (7.25, [FP32], False)],
)
def test_bfloat16_without_instructions_for_it_is_told_with_the_figure(monkeypatch, workspace, cost, specs, warned):
    monkeypatch.setattr(machine, "bfloat16_cost", lambda: cost)
    lines = lines_of(specs, workspace)
    assert len(lines) == warned
    assert all(line.startswith("--precision bf16: this processor takes 7.2 times as long") for line in lines)


def test_a_gpu_is_not_probed(monkeypatch):
    monkeypatch.setattr(machine, "bfloat16_cost", lambda: pytest.fail("a GPU is not the processor"))
    monkeypatch.setattr(Workspace, "torch_device", torch.device("cuda"))
    assert lines_of([BF16], Workspace()) == []


def test_a_gpu_that_cannot_be_used_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(machine, "GPU", tmp_path / "nvidiactl")
    (line,) = lines_of([FP32], Workspace(tmp_path / "runs"))
    assert line.startswith("--device auto: an NVIDIA GPU is here, but PyTorch cannot use it (")
    assert lines_of([FP32], Workspace(tmp_path / "runs", device="cpu")) == []


def test_a_disk_that_is_almost_full_is_told(monkeypatch, workspace):
    """Before the first training, and not when the first record is written."""
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 5 << 20}))
    lines = lines_of([FP32], workspace)
    assert [line.partition(" ")[0] for line in lines] == ["--runs", "--cache"]
    assert "only 5 MiB are free on this disk" in lines[0]


def test_a_run_asks_once_and_changes_no_key(monkeypatch, sines, tmp_path):
    asked = []
    monkeypatch.setattr(machine, "bfloat16_cost", lambda: asked.append(1) or 9.0)
    settings = {"data": sines, "student": "sig", "epochs": 1, "runs": tmp_path, "precision": "bf16"}
    with pytest.warns(MachineWarning, match=r"9\.0 times as long"):
        record = mmkd.run("student", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mmkd.run("student", **settings).key == record.key  # on record: nothing is trained
    assert len(asked) == 1


def test_the_probe_measures_and_leaves_everything_as_it_was():
    machine.bfloat16_cost.cache_clear()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    cost = machine.bfloat16_cost()
    assert 0.05 < cost < 100
    assert machine.bfloat16_cost() == cost
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_figure_is_the_ratio_of_the_fastest_steps(monkeypatch):
    """By a clock that runs six times as fast while a network computes in bfloat16."""
    machine.bfloat16_cost.cache_clear()
    now = [0.0]

    def clock():
        return now[0]

    class Network:
        def __call__(self, views):
            now[0] += 6.0 if torch.is_autocast_enabled("cpu") else 1.0
            images = views["gaf"].clone().requires_grad_(True)
            return type("Outputs", (), {"logits": images.mean((1, 2, 3))})

    monkeypatch.setattr(machine.time, "perf_counter", clock)
    monkeypatch.setattr(machine, "build_teacher", lambda *args: Network())
    assert machine.bfloat16_cost() == pytest.approx(6.0)
    machine.bfloat16_cost.cache_clear()


@pytest.mark.parametrize(("quota", "variable", "threads"), [(2, None, 2), (None, None, 5), (2, "5", 5), (8, None, 5)])
def test_threads_are_no_more_than_the_quota_of_a_container(monkeypatch, workspace, quota, variable, threads):
    now = [5]
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.__setitem__(0, count))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    machine.prepare_machine([FP32], workspace)
    assert now == [threads]
