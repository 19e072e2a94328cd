"""One unit from data to record: its views, teachers and student, and the one reading of the test windows."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from mmkd.core.errors import describe_error
from mmkd.core.keys import digest
from mmkd.data import Dataset, Split
from mmkd.drawing import figures
from mmkd.metrics.segments import stitch
from mmkd.nets import count_parameters
from mmkd.specs.unit import UnitSpec
from mmkd.store.cache import Cache
from mmkd.store.environment import environment
from mmkd.store.record import Record, write_history
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.loop import TrainingResult, train
from mmkd.training.preparation import PreparedUnit, prepare_unit
from mmkd.training.teacher_record import describe
from mmkd.training.teachers import peak_memory, test_scores
from mmkd.training.workspace import Workspace
from mmkd.views.cached import view_key


def run_unit(spec: UnitSpec, data: Dataset, workspace: Workspace) -> Record:
    """Do one unit and write its record, and those of its teachers.

    Raises:
        MmkdError: the unit is refused. UnitFailed: it broke off.
    """
    unit = prepare_unit(spec, data, workspace)
    with workspace.group.training("student", key=spec.key, spec=asdict(spec), shares=unit.shares):
        trained = train_student(unit, workspace)

    def fill(folder: Path) -> Mapping[str, Any]:
        path = folder / "predictions.npz"
        metrics = test_scores(trained, unit.windows, unit.split.test, spec.training, path)
        log_scores(unit, metrics["test"])
        try:
            arrays = {name: view.array for name, view in unit.views.items()}
            draw(folder, spec, data, arrays, unit.split, workspace.cache, trained.history, trained.best_epoch + 1)
        except Exception as error:  # a picture never costs a record
            unit.log.add(f"pictures left out: {describe_error(error)}")
        return write_student(folder, unit, trained, metrics, workspace)

    return finish_unit(spec, workspace, workspace.records.write(spec.key, fill))


def train_student(unit: PreparedUnit, workspace: Workspace) -> TrainingResult:
    """Train the student of a unit, in step with the other processes of the group."""
    spec = unit.spec
    trained = train(
        unit.student,
        unit.method,
        unit.windows,
        unit.source,
        training=spec.training,
        seed=spec.seed,
        label=f"{spec.method} -> {spec.student_name}",
        progress=workspace.progress,
        checkpoint=checkpoint_of(spec, workspace),
        group=workspace.group,
    )
    epochs, seconds = spec.training.epochs, trained.seconds
    unit.log.add(f"trained {epochs} epochs in {seconds:.1f} s, best epoch {trained.best_epoch + 1}")
    return trained


def checkpoint_of(spec: UnitSpec, workspace: Workspace) -> Checkpoint:
    """The file where the training of a unit's student stands after each epoch."""
    return Checkpoint(workspace.cache.path("checkpoints", f"student-{spec.key}"))


def finish_unit(spec: UnitSpec, workspace: Workspace, record: Record) -> Record:
    """The record, once it is in its place and nothing is left to resume."""
    checkpoint_of(spec, workspace).remove()
    return record


def log_scores(unit: PreparedUnit, scores: Mapping[str, float]) -> None:
    """Enter the test scores into the log of a unit."""
    unit.log.add(f"test accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}")


def write_student(
    folder: Path, unit: PreparedUnit, trained: TrainingResult, metrics: Mapping[str, Any], workspace: Workspace
) -> dict[str, Any]:
    """Write what every trained student has, of every task: weights, history and log; and return its `result.json`."""
    save_file(trained.best, folder / "student.safetensors")
    write_history(folder / "history.csv", trained.history)
    (folder / "events.log").write_text(unit.log.text(), encoding="utf-8")
    spec = unit.spec
    views = {name: {"config": spec.views[name], "state": unit.views[name].modality.state()} for name in spec.student}
    return {
        "kind": "student",
        "key": spec.key,
        "status": "done",
        "spec": asdict(spec),
        "metrics": metrics,
        "best_epoch": trained.best_epoch + 1,
        "parameters": count_parameters(trained.network),
        "method_parameters": trained.method_parameters,
        "seconds": trained.seconds,
        "process_peak_memory_mib": peak_memory(),
        "teachers": {name: teacher.spec.key for name, teacher in unit.teachers.items()},
        "teacher_checkpoint": unit.method.checkpoint if unit.teachers else None,
        "teacher_weights": unit.shares,
        "deploys": "student" if trained.network is unit.student else "method",
        "views": views,
        "data": describe(unit.data, unit.split),
        "environment": environment(str(workspace.torch_device), torch.get_num_threads(), workspace.group.world),
    }


def draw(
    folder: Path,
    spec: UnitSpec,
    data: Dataset,
    arrays: Mapping[str, NDArray[np.float32]],
    split: Split,
    cache: Cache,
    history: list[dict[str, float]],
    best_epoch: int,
) -> None:
    """The pictures of a record: `curves.png`, `confusion.png`, and `views.png` of the first test window.

    The latter is the same for all units that share the views, and is drawn once.

    Where every sample has a label: in the place of the views `recording.png`, a test recording with its labels, or
    `image.png`, a test image with its labels.
    """
    name = f"{spec.method} on {data.name}, seed {spec.seed}"
    draw_scores(folder, name, data, history, best_epoch)
    if data.form == "step":
        (draw_image if data.grid else draw_recording)(folder, name, data)
        return
    window = int(np.flatnonzero(data.test)[0])
    title = f"{data.name}: test {'image' if data.grid else 'window'} {window}, {data.classes[data.y[window]]}"
    one = {name: array[window] for name, array in arrays.items()}
    keys = {name: view_key(name, spec.views[name], spec.data, split) for name in one}
    drawn = cache.get_or_create(
        "pictures",
        digest({"views": keys, "title": title, "channels": data.channels}),
        lambda drawing: figures.example_views(drawing / "views.png", one, data.channels, title),
    )
    shutil.copy(drawn / "views.png", folder / "views.png")


def draw_scores(folder: Path, name: str, data: Dataset, history: list[dict[str, float]], best_epoch: int) -> None:
    """`curves.png` and `confusion.png` of a record."""
    if history:  # weights that were given have none
        figures.learning_curves(folder / "curves.png", history, best_epoch, name)
    with np.load(folder / "predictions.npz", allow_pickle=False) as z:
        true, predicted = z["true"], z["predicted"]
    known, what = true >= 0, ("windows", "samples", "pixels")[true.ndim - 1]
    figures.confusion(folder / "confusion.png", true[known], predicted[known], data.classes, f"{name}: test {what}")


def draw_recording(folder: Path, name: str, data: Dataset) -> None:
    """`recording.png`: the first test recording, its true labels and the student's."""
    with np.load(folder / "predictions.npz", allow_pickle=False) as z:
        first = z["recording"] == z["recording"][0]
        window, start, true = z["window"][first], z["start"][first], z["true"][first]
        number, probabilities = int(z["recording"][0]), z["probabilities"][first].astype(np.float32)
    length = int(start.max()) + data.window
    signal = np.zeros((data.x.shape[1], length), np.float32)
    labels = np.full(length, -1)
    for n, at, y in zip(window, start, true, strict=True):
        signal[:, at : at + data.window], labels[at : at + data.window] = data.x[n], y
    (predicted,) = stitch(probabilities.transpose(0, 2, 1), np.zeros_like(start), start).values()
    title = f"{name}: test recording {number}"
    rows = {"true": labels, "predicted": np.where(labels < 0, -1, predicted)}  # as it is scored
    figures.labelled_recording(folder / "recording.png", signal, rows, data.classes, data.rate_hz, title)


def draw_image(folder: Path, name: str, data: Dataset) -> None:
    """`image.png`: the first test image that has labels, its true labels and the student's."""
    with np.load(folder / "predictions.npz", allow_pickle=False) as z:
        first = int((z["true"] >= 0).any(axis=(1, 2)).argmax())
        window = int(z["window"][first])
        maps = {name: z[name][first] for name in ("true", "predicted")}
    assert data.grid is not None
    image = data.x[window].reshape(-1, *data.grid)
    figures.labelled_image(folder / "image.png", image, maps, data.classes, f"{name}: test image {window}")
