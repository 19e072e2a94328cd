"""Training: bfloat16, steps of methods, stored outputs of teachers."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from method_cost import Steps, units
from numpy.typing import NDArray
from pairs import Row, pairs, user_seconds
from torch import Tensor, nn

from mmkd.core.memory import keep_freed_memory
from mmkd.core.progress import Progress
from mmkd.core.registry import METHODS
from mmkd.nets import SingleView, build_backbone, build_teacher, light, tsai_nets, wrn
from mmkd.nets.wrn import WideResNet
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import TeacherSpec, Training
from mmkd.store.cache import Cache
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.step_threads import on_threads
from mmkd.training.teacher_outputs import LiveTeachers, NoTeachers, TeacherSource, make_teacher_source
from mmkd.training.teachers import Teacher

CPU = torch.device("cpu")
IMAGE = (9, 64, 64)
WINDOWS = 256
CLASSES = ("a", "b", "c", "d", "e", "f")
LOGIT_METHODS = ("kd", "aver", "ca-mkd", "ebkd-entropy", "dkd", "dist")


def made_up(count: int, shapes: dict[str, tuple[int, ...]]) -> TrainingData:
    """Windows of noise whose mean tells the class, all for training."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % len(CLASSES)
    views: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        views[name] = rng.standard_normal((count, *shape), dtype=np.float32)
        views[name] += y.reshape(-1, *(1,) * len(shape)).astype(np.float32) / 10
    return TrainingData(views, y, np.arange(count), np.arange(0), CLASSES, CPU)


class Plain(WideResNet):
    """The network as it is usually written: the default layout, nothing in place."""

    def stage_maps(self, x: Tensor) -> dict[str, Tensor]:
        features = {}
        x = self.stem(x)
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                active = torch.relu(block.norm1(x))
                out = block.conv2(torch.relu(block.norm2(block.conv1(active))))
                x = out + (x if block.shortcut is None else block.shortcut(active))
            features[f"stage{number}"] = x
        features["stage3"] = torch.relu(self.norm(x))
        return features


class PlainWindows(TrainingData):
    """Batches in the default layout."""

    def at(self, windows: NDArray[np.int64]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.ascontiguousarray(a[windows])) for name, a in self.views.items()}


def epoch_seconds(how: str) -> float:
    """One epoch of a GAF teacher, after one that warms up: "plain" float32, or ours in "fp32" or "bf16"."""
    windows, make = made_up(WINDOWS, {"gaf": IMAGE}), WideResNet
    if how == "plain":
        windows, make, how = PlainWindows(**vars(windows)), Plain, "fp32"
    else:
        keep_freed_memory()
    torch.manual_seed(0)
    net = SingleView("gaf", make(IMAGE, len(CLASSES), depth=16, width=1))
    training = Training(epochs=2, precision=how)  # type: ignore[arg-type]
    trained = train(
        net, METHODS.get("student")(), windows, NoTeachers(), training=training, seed=0, label="", progress=Progress()
    )
    first, second = (row["seconds"] for row in trained.history)
    return second - first


def teacher_epoch(rounds: int) -> Iterator[Row]:
    """One epoch of a GAF teacher, each in a process of its own."""

    def seconds(how: str) -> float:
        return float(subprocess.run([sys.executable, __file__, how], check=True, capture_output=True, text=True).stdout)

    text = f"one epoch of a GAF teacher, WRN16-1, {WINDOWS} x 9 x 64 x 64, batch 64, "
    found = [{how: seconds(how) for how in ("plain", "fp32", "bf16")} for _ in range(min(rounds, 2))]
    for how, goal, name in (("bf16", 3.0, "--precision bf16"), ("fp32", None, "float32 as we run it")):
        yield Row(text + name, "float32, default layout", [times["plain"] / times[how] for times in found], goal)


def networks(rounds: int) -> Iterator[Row]:
    """A training step of networks for signals, on images of one row as we run it, and on lines."""
    ours = wrn.as_rows
    signal, batch = (9, 128), 64
    for name in ("tiny", "small", "WRN16-1", "WRN16-3", "InceptionTime"):
        torch.manual_seed(0)
        net, x, y = build_backbone(name, signal, len(CLASSES)), torch.randn(batch, *signal), torch.arange(batch) % 6

        def step(as_rows: Callable[[Tensor, nn.Module], Tensor], net=net, x=x, y=y) -> Tensor:
            for module in (wrn, light, tsai_nets):
                module.as_rows = as_rows  # type: ignore[attr-defined]
            net.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(net(x).logits, y)
            loss.backward()
            return loss.detach()

        on_lines = partial(step, lambda x, network: x)
        gap = abs(float(step(ours)) - float(on_lines()))
        assert gap < 1e-4, f"{name} on rows and on lines differ by {gap} in loss"
        repeat = 1 if name == "InceptionTime" else 5
        with on_threads(1):
            times = pairs(partial(step, ours), on_lines, rounds, repeat=repeat, clock=user_seconds)
        what = f"a training step of {name}, batch {batch} x {signal[0]} x {signal[1]}, 1 thread"
        yield Row(what, "torch's Conv1d as written", times.faster, 1.25, note=f"loss differs by {gap:.0e}")
    step(ours)


def steps(rounds: int) -> Iterator[Row]:
    """A training step of methods beside one of the student alone."""
    labels = torch.arange(7000) % len(CLASSES)
    for methods, net in ((LOGIT_METHODS, "small"), (("ca-mkd",), "WRN16-1")):
        first, *others = units(methods, "concat", net)
        alone = Steps(first, labels)
        for spec in others:
            own = Steps(spec, labels)
            with on_threads(1):
                times = pairs(own.seconds, alone.seconds, rounds, repeat=3, clock=user_seconds)
            what = f"a step of {spec.method}, student sig+gaf+pi of {net}, 1 thread"
            yield Row(what, "cross-entropy alone", times.cost, 1.1, cost=True)


def student_phase(rounds: int) -> Iterator[Row]:
    """Distilling into a signal-only student with the teachers' outputs stored, storing them included, and live."""
    shapes = {"sig": (9, 128), "gaf": (9, 32, 32), "pi": (9, 32, 32)}
    windows = made_up(WINDOWS, shapes)
    nets = {"sig": "WRN16-3", "gaf": "WRN16-1", "pi": "WRN16-1"}
    teachers = {}
    training = Training(epochs=20)
    for name, net in nets.items():
        torch.manual_seed(1)
        network = build_teacher(net, name, shapes[name], len(CLASSES)).eval().requires_grad_(False)
        of = TeacherSpec(DataSpec("made-up", ""), 0, name, {}, net, training)
        teachers[name] = Teacher(of, network, Path())
    kd = METHODS.get("kd")

    def phase(windows: TrainingData, source: TeacherSource, epochs: int) -> dict[str, float]:
        torch.manual_seed(0)
        student = build_teacher("small", "sig", shapes["sig"], len(CLASSES))
        how = replace(training, epochs=epochs)
        return train(student, kd(), windows, source, training=how, seed=0, label="", progress=Progress()).history[-1]

    def stored() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            source = make_teacher_source(teachers, kd.needs, windows, cache=Cache(folder), progress=Progress())
            return phase(windows.select_views(["sig"]), source, training.epochs)

    with tempfile.TemporaryDirectory() as folder:
        source = make_teacher_source(teachers, kd.needs, windows, cache=Cache(folder), progress=Progress())
        gap = abs(
            phase(windows.select_views(["sig"]), source, 1)["loss"] - phase(windows, LiveTeachers(teachers), 1)["loss"]
        )
    assert gap < 1e-4, f"stored and live teachers differ by {gap} in loss"
    times = pairs(stored, lambda: phase(windows, LiveTeachers(teachers), training.epochs), rounds, warm=False)
    yield Row(
        f"20 epochs of kd on {WINDOWS} windows, student sig, teachers sig WRN16-3, gaf and pi WRN16-1 at 32 x 32",
        "the same loop with live teachers",
        times.faster,
        4.0,
        note=f"storing the outputs included; loss after an epoch differs by {gap:.0e}",
    )


def rows(rounds: int) -> Iterator[Row]:
    """Of the teacher's epoch, the methods' steps and the student phase."""
    keep_freed_memory()
    for part in (teacher_epoch, networks, steps, student_phase):
        yield from part(rounds)


if __name__ == "__main__":
    print(epoch_seconds(sys.argv[1]))
