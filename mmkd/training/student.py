"""One unit from data to record: its views, teachers and student, and the one reading of the test windows."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mmkd.core.errors import describe_error
from mmkd.data import Dataset
from mmkd.nets import count_parameters
from mmkd.specs.unit import UnitSpec
from mmkd.store.environment import environment
from mmkd.store.record import Record, write_history
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.loop import TrainingResult, train
from mmkd.training.pictures import save_pictures
from mmkd.training.preparation import PreparedUnit, prepare_unit
from mmkd.training.teacher_record import describe_data
from mmkd.training.teachers import peak_memory
from mmkd.training.testing import evaluate_on_test
from mmkd.training.workspace import Workspace


def run_unit(spec: UnitSpec, data: Dataset, workspace: Workspace) -> Record:
    """Do one unit and write its record, and those of its teachers.

    Raises:
        MmkdError: the unit is refused. UnitFailed: it broke off.
    """
    unit = prepare_unit(spec, data, workspace)
    with workspace.group.training("student", key=spec.key, spec=asdict(spec), shares=unit.shares):
        trained = train_student(unit, workspace)

    def fill(folder: Path) -> Mapping[str, Any]:
        metrics, predictions = evaluate_on_test(trained, unit.windows, unit.split.test, spec.training)
        np.savez(folder / "predictions.npz", **predictions)
        log_scores(unit, metrics["test"])
        try:
            save_pictures(folder, unit, trained, predictions)
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
        checkpoint=student_checkpoint(spec, workspace),
        group=workspace.group,
    )
    epochs, seconds = spec.training.epochs, trained.seconds
    unit.log.add(f"trained {epochs} epochs in {seconds:.1f} s, best epoch {trained.best_epoch + 1}")
    return trained


def student_checkpoint(spec: UnitSpec, workspace: Workspace) -> Checkpoint:
    """The file where the training of a unit's student stands after each epoch."""
    return Checkpoint(workspace.cache.path("checkpoints", f"student-{spec.key}"))


def finish_unit(spec: UnitSpec, workspace: Workspace, record: Record) -> Record:
    """The record, once it is in its place and nothing is left to resume."""
    student_checkpoint(spec, workspace).remove()
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
        "data": describe_data(unit.data, unit.split),
        "environment": environment(str(workspace.torch_device), torch.get_num_threads(), workspace.group.world_size),
    }
