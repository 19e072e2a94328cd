"""One training by several processes: shares and sums, and `torchrun` beside one process."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmkd import METHODS, Outputs
from mmkd.bench import main
from mmkd.core.progress import Progress
from mmkd.methods.contract import Method
from mmkd.specs.unit import Training
from mmkd.store.records import Records
from mmkd.training import distributed as parallel
from mmkd.training.data import TrainingData
from mmkd.training.loop import count_labels, train
from mmkd.training.teacher_outputs import LiveTeachers, NoTeachers
from mmkd.training.teachers import Teacher

ROOT = Path(__file__).parents[2]

PLAIN = '''
"""For tests. A network without batch normalisation, and methods that fail where the test says so."""

import os
import signal
from pathlib import Path

import torch
from torch import nn

from mmkd import METHODS, Outputs
from mmkd.nets import BACKBONES
from mmkd.training import state

HERE = Path(__file__).parent
state.SAVE_EVERY_S = 0.0


class Plain(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.inner = nn.Conv1d(shape[0], 6, 5, padding=2)
        self.classifier = nn.Linear(6, classes)

    def forward(self, x):
        stage = torch.tanh(self.inner(x))
        embedding = stage.mean(2)
        return Outputs(self.classifier(embedding), embedding, {"stage1": stage}, self.classifier.weight)


@BACKBONES.register("plain")
def plain(shape, classes):
    return Plain(shape, classes)


@METHODS.register("fails-in-one")
class FailsInOne(METHODS.get("kd")):
    """Soft targets that fail in the process that follows. For tests 2026, https://example.org."""

    def losses(self, student, teachers, batch):
        if os.environ.get("RANK") == "1":
            raise RuntimeError("no luck here")
        return super().losses(student, teachers, batch)


@METHODS.register("killed-once")
class KilledOnce(METHODS.get("kd")):
    """Soft targets whose process is killed in the third epoch, once. For tests 2026, https://example.org."""

    def losses(self, student, teachers, batch):
        if (HERE / "kill").exists() and batch.epoch == 2 and os.environ.get("RANK", "0") == "0":
            (HERE / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(student, teachers, batch)
'''


class Plain(nn.Module):
    """Without batch normalisation: a window's outputs do not hang on the others in its batch."""

    def __init__(self, dense=False):
        super().__init__()
        self.inner, self.classifier, self.dense = nn.Conv1d(2, 6, 5, padding=2), nn.Linear(6, 3), dense

    def forward(self, views):
        stage = torch.tanh(self.inner(views["sig"]))
        embedding = stage.mean(2)
        logits = self.classifier(stage.transpose(1, 2)).transpose(1, 2) if self.dense else self.classifier(embedding)
        return Outputs(logits, embedding, {"stage1": stage}, self.classifier.weight)


def plain(seed, dense=False):
    torch.manual_seed(seed)
    return Plain(dense)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    y = np.arange(61) % 3
    x = (rng.normal(size=(61, 2, 16)) + y[:, None, None]).astype(np.float32)
    return TrainingData({"sig": x}, y, np.arange(41), np.arange(41, 61), "abc", torch.device("cpu"))


@pytest.fixture
def dense_windows(windows):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, (61, 16))
    y[:30][rng.random((30, 16)) < 0.6] = -1
    y[3:30] = -1  # whole windows whose labels nobody knows
    return replace(windows, y=y, locations=(np.arange(61), np.zeros(61, np.int64)))


def teacher(dense=False):
    return LiveTeachers({"sig": Teacher(None, plain(9, dense).eval(), None)})


def test_shares_are_all_of_a_batch_and_none_is_smaller_than_asked():
    for count in range(1, 40):
        for world in range(1, 9):
            for least in (1, 2, 5):
                shares = [parallel.shard(np.arange(count), rank, world, least) for rank in range(world)]
                assert sorted(np.concatenate(shares)) == list(range(count))
                assert all(len(s) == 0 or len(s) >= min(least, count) for s in shares)
                full = [len(s) for s in shares if len(s)]
                assert max(full) - min(full) <= 1


def test_labels_are_those_of_windows_or_of_their_known_steps():
    assert count_labels(torch.tensor([0, 1, 2]), np.array([0, 2])) == 2
    steps = torch.tensor([[0, -1, 1], [-1, -1, -1], [2, 2, 2]])
    assert [count_labels(steps, np.array(p)) for p in ([0], [1], [0, 2], [0, 1, 2])] == [2, 0, 5, 5]


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # a variable of somebody else's
    assert parallel.current_group() is parallel.SINGLE_PROCESS
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "3")
    group = parallel.current_group()
    assert (group.rank, group.world_size, group.is_leader) == (3, 4, False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert parallel.current_group() is parallel.SINGLE_PROCESS


def test_gradients_are_summed_and_missing_ones_are_zero():
    a, b = (nn.Parameter(torch.randn(2, 3, 4).permute(2, 0, 1)) for _ in range(2))
    a.grad = torch.randn_like(a)
    before = a.grad.clone()
    parallel.sum_gradients([a, b], lambda flat: flat.mul_(3).add_(1))
    torch.testing.assert_close(a.grad, before * 3 + 1)
    torch.testing.assert_close(b.grad, torch.ones_like(b))
    assert b.grad.stride() == b.stride()
    parallel.sum_gradients([], lambda flat: pytest.fail("nothing is to be summed"))


class One(parallel.ProcessGroup):
    """A process of several, whose gradients before the first step are kept; nobody sums them."""

    def __init__(self, rank, world):
        self.rank, self.world_size, self.steps = rank, world, []

    def shard(self, positions, minimum):
        return parallel.shard(positions, self.rank, self.world_size, minimum)

    def sum_over_processes(self, sums):
        return {name: value * (self.world_size if name == "epochs" else 1) for name, value in sums.items()}

    @contextmanager
    def synchronized(self, parameters=()):
        yield
        if len(parameters):
            self.steps.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters])
            for p in parameters:
                p.grad = None  # the weights stay, so that every step of the epoch can be compared


@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("name", ["kd", "dkd", "student"])
def test_shares_add_up_to_the_gradients_and_terms_of_a_batch(windows, dense_windows, name, task, world):
    """For every batch of an epoch, the odd last one and one without labels included."""
    dense = task == "segmentation"
    data = dense_windows if dense else windows
    if name not in METHODS or task not in METHODS.get(name).tasks:
        pytest.skip(f"{name} is not for {task}")
    training = Training(epochs=1, batch_size=4 if dense else 8)

    def follow(group):
        source = teacher(dense) if name != "student" else NoTeachers()
        settings = {"training": training, "seed": 0, "label": "", "progress": Progress(), "group": group}
        trained = train(plain(0, dense), METHODS.get(name)(), data, source, **settings)
        return group.steps, {k: v for k, v in trained.history[0].items() if k.startswith("loss")}

    whole, terms = follow(One(0, 1))
    parts = [follow(One(rank, world)) for rank in range(world)]
    assert len({len(steps) for steps, _ in parts}) == 1
    without = [step for step in whole if not any(g.abs().sum() for g in step)]
    assert bool(without) == dense
    whole = [step for step in whole if any(g.abs().sum() for g in step)]
    shared = list(zip(*(steps for steps, _ in parts), strict=True))
    assert len(whole) == len(shared) > 3
    for alone, shares in zip(whole, shared, strict=True):
        for expected, *each in zip(alone, *shares, strict=True):
            torch.testing.assert_close(torch.stack(each).sum(0), expected, atol=1e-6, rtol=1e-4)
    for term, value in terms.items():
        assert sum(found.get(term, 0.0) for _, found in parts) == pytest.approx(value, rel=1e-4)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Variables of the commands: one thread, one MLflow store for all, and nothing of a torchrun around the tests."""
    ours = {name: value for name, value in os.environ.items() if name not in ("TORCHELASTIC_RUN_ID", "MMKD_CACHE")}
    store = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    return ours | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": store}


@pytest.fixture(scope="module")
def torchrun(environment):
    """`torchrun -m mmkd.bench` with two processes; gives what came of it."""

    def start(*arguments):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
        command += ["mmkd.bench", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)

    return start


def said(done):
    """What the command itself wrote to stderr, but for a latency on a busy machine; torchrun has lines of its own."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("mmkd.bench:")]
    return [line for line in lines if "the machine was busy" not in line]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "plain.py"
    path.write_text(PLAIN)
    return path


@pytest.fixture(scope="module")
def common(sines, plugin):
    given = ["--data", str(sines), "--plugin", str(plugin), "--student", "sig", "--teachers", "sig", "--epochs", "4"]
    given += ["--peers", "none"]
    return [*given, "--student-net", "plain", "--teacher-net", "sig=plain", "--json"]


@pytest.fixture(scope="module")
def alone(common, environment, tmp_path_factory):
    """The records of one process, and its units as `--json` prints them."""
    runs = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "mmkd.bench", "--method", "kd,killed-once", *common, "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return Records(runs), {unit["method"]: unit for unit in json.loads(done.stdout)}


def numbers(record):
    """The history without times, one row an epoch."""
    header, *rows = (line.split(",") for line in (record.folder / "history.csv").read_text().splitlines())
    kept = [i for i, name in enumerate(header) if name != "seconds"]
    return [header[i] for i in kept], np.array([[float(row[i]) for i in kept] for row in rows])


def assert_alike(one, two):
    """Two records of one unit: the same within what another order of the sums does."""
    assert one.key == two.key
    name = "student.safetensors" if one.kind == "student" else "teacher.safetensors"
    weights, others = load_file(one.file(name)), load_file(two.file(name))
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        torch.testing.assert_close(others[key], value, atol=1e-5, rtol=1e-4)
    assert numbers(one)[0] == numbers(two)[0]
    np.testing.assert_allclose(numbers(one)[1], numbers(two)[1], atol=1e-5, rtol=1e-4)
    assert one.result["best_epoch"] == two.result["best_epoch"]
    assert one.metrics["test"] == pytest.approx(two.metrics["test"], abs=1e-4)


def test_two_processes_train_what_one_does(torchrun, common, alone, plugin, tmp_path):
    """Teacher and students, one of them killed and begun anew; a unit that fails in one process is heard of by all."""
    runs = tmp_path / "runs"
    arguments = [*common, "--runs", str(runs)]
    (plugin.parent / "kill").touch()
    assert torchrun("--method", "killed-once", *arguments).returncode != 0
    assert not (plugin.parent / "kill").exists()
    assert len(list((runs / "cache" / "checkpoints").glob("student-*"))) == 1

    done = torchrun("--method", "killed-once,fails-in-one,kd", *arguments)
    assert done.returncode == 1, done.stderr
    killed, failed, unit = json.loads(done.stdout)
    assert (failed["status"], failed["error"]) == ("failed", "process 1: RuntimeError: no luck here")
    assert len(said(done)) == 1, done.stderr
    assert "Traceback" not in (runs / "failed" / f"{failed['key']}.log").read_text().split("UnitFailed")[-1]
    records, units = alone
    assert killed["key"] == units["killed-once"]["key"]
    assert_alike(records.get(killed["key"]), Records(runs).get(killed["key"]))
    assert unit["key"] == units["kd"]["key"]
    two, one = Records(runs).get(unit["key"]), records.get(unit["key"])
    assert_alike(one, two)
    assert [r.result["environment"]["processes"] for r in (one, two)] == [1, 2]
    teachers = [r.get(one.result["teachers"]["sig"]) for r in (records, Records(runs))]
    assert_alike(*teachers)
    assert teachers[1].result["environment"]["processes"] == 2
    assert not list((runs / "cache" / "checkpoints").iterdir())

    again = torchrun("--method", "kd", *arguments)  # nothing is to be trained
    assert again.returncode == 0, again.stderr
    assert [u["status"] for u in json.loads(again.stdout)] == ["cached"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "kdd"], "unknown method 'kdd'"),
        (["--method", "kd", "--jobs", "2"], "--jobs 2: torchrun has started 2 processes"),
    ],
)
def test_a_refusal_is_one_line_of_one_process(torchrun, tmp_path, arguments, words):
    done = torchrun(*arguments, "--runs", str(tmp_path / "runs"))
    assert done.returncode != 0
    assert len(said(done)) == 1, done.stderr
    assert words in said(done)[0]
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_with_ray_torchrun_is_refused(tmp_path, monkeypatch, capsys):
    """In this process, where it is the leader: it refuses before it meets the others."""
    monkeypatch.setattr("mmkd.cli.bench.current_group", lambda: One(0, 2))
    monkeypatch.setattr("mmkd.training.workspace.check_engine", lambda name: None)
    code = main(["--method", "kd", "--engine", "ray", "--runs", str(tmp_path / "runs")])
    assert code == 2
    assert "--engine ray: torchrun has started 2 processes" in capsys.readouterr().err


def test_dropout_differs_by_process(windows):
    drawn = []

    class Draws(type(METHODS.get("student")())):
        def losses(self, student, teachers, batch):
            drawn.append(torch.rand(()).item())
            return super().losses(student, teachers, batch)

    assert issubclass(Draws, Method)
    for rank in (0, 1):
        group = One(rank, 2)
        settings = {"training": Training(epochs=1, batch_size=8), "seed": 0, "label": "", "progress": Progress()}
        train(plain(0), Draws(), windows, NoTeachers(), **settings, group=group)
    half = len(drawn) // 2
    assert not set(drawn[:half]) & set(drawn[half:])
