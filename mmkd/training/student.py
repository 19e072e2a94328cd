"""Run one unit: prepare it, train its student, evaluate it on the test windows, and write the record."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mmkd.core.errors import describe_error
from mmkd.data import Dataset
from mmkd.drawing.spectra import FilterSpectra
from mmkd.metrics.registry import checksum_field
from mmkd.nets import count_parameters
from mmkd.specs.unit import UnitSpec
from mmkd.store.environment import environment
from mmkd.store.record import Record, write_history
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.likes import LAST_WEIGHTS, combine
from mmkd.training.loop import TrainingResult, train
from mmkd.training.pictures import save_pictures
from mmkd.training.preparation import PreparedUnit, prepare_unit
from mmkd.training.spectra import measure_spectra, save_spectra
from mmkd.training.teacher_record import describe_data
from mmkd.training.teachers import peak_memory
from mmkd.training.testing import evaluate_on_test
from mmkd.training.variants import with_variants
from mmkd.training.workspace import Workspace
from mmkd.units.methods import CONTROL, is_ablation


def run_unit(spec: UnitSpec, data: Dataset, workspace: Workspace) -> Record:
    """Run one unit and write its record, and those of its teachers.

    Raises:
        MmkdError: the unit cannot be run.
        UnitFailed: the training failed.
    """
    unit = prepare_unit(spec, data, workspace)
    with workspace.group.training("student", key=spec.key, spec=asdict(spec), shares=unit.shares):
        result = train_student(unit, workspace)
    spectra = _try_spectra(unit)

    def write_files(folder: Path) -> Mapping[str, Any]:
        metrics, predictions, _ = evaluate_on_test(result, unit.windows, unit.split.test, spec.training)
        if predictions:
            np.savez(folder / "predictions.npz", **predictions)
            log_scores(unit, metrics["test"])
        try:
            save_pictures(folder, unit, result, predictions)
            save_spectra(folder, unit, spectra)
        except Exception as error:  # a record is written even if a picture fails
            unit.log.add(f"pictures left out: {describe_error(error)}")
        return write_student(folder, unit, result, metrics, workspace)

    return finish_unit(spec, workspace, workspace.records.write(spec.key, write_files))


def _try_spectra(unit: PreparedUnit) -> list[FilterSpectra]:
    """The spectra of the method's filters, before the student gets the weights of its best epoch."""
    try:
        return measure_spectra(unit)
    except Exception as error:  # a record is written even if a picture fails
        unit.log.add(f"spectra left out: {describe_error(error)}")
        return []


def train_student(unit: PreparedUnit, workspace: Workspace) -> TrainingResult:
    """Train the student of a unit, in step with the other processes of the group, or combine those it is made of."""
    spec = unit.spec
    training = unit.training
    if unit.method.combines:
        unit.log.add(f"combined of {len(unit.likes)} students trained alone")
        return combine(unit.method, list(unit.likes.values()))
    result = train(
        unit.student,
        unit.method,
        with_variants(unit, workspace),
        unit.source,
        training=training,
        seed=spec.own_seed,
        label=f"{spec.method} -> {spec.student_name}",
        progress=workspace.progress.of_training(f"unit/{spec.key}"),
        checkpoint=student_checkpoint(spec, workspace),
        group=workspace.group,
    )
    length = f"{training.steps} steps" if training.steps else f"{training.epochs} epochs"
    unit.log.add(f"trained {length} in {result.seconds:.1f} s, best epoch {result.best_epoch + 1}")
    return result


def student_checkpoint(spec: UnitSpec, workspace: Workspace) -> Checkpoint:
    """The checkpoint of the training of a unit's student."""
    return Checkpoint(workspace.cache.path("checkpoints", f"student-{spec.key}"))


def finish_unit(spec: UnitSpec, workspace: Workspace, record: Record) -> Record:
    """Remove the checkpoint of a unit after its record is written; returns the record."""
    student_checkpoint(spec, workspace).remove()
    return record


def log_scores(unit: PreparedUnit, scores: Mapping[str, float]) -> None:
    """Add the test scores to the log of a unit."""
    unit.log.add(f"test accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}")


def _teacher_epoch(unit: PreparedUnit) -> str | None:
    """The epoch of the teachers' weights, "best" or "last"; None without teachers."""
    epochs = {teacher.checkpoint for teacher in unit.teachers.values()}
    if not epochs:
        return None
    return epochs.pop() if len(epochs) == 1 else unit.method.checkpoint


def fold_teachers(spec: UnitSpec) -> dict[str, list[str]]:
    """Modality -> keys of the teachers without a fold, whose logits taught."""
    return {name: [inner.teacher(name).key for inner in spec.without_folds] for name in spec.network_teachers}


def write_student(
    folder: Path, unit: PreparedUnit, result: TrainingResult, metrics: Mapping[str, Any], workspace: Workspace
) -> dict[str, Any]:
    """Write the files that the record of every student has: weights, history and log; and return its `result.json`."""
    save_file(result.best, folder / "student.safetensors")
    if unit.spec.training_seed is not None and result.best is not result.last:
        save_file(result.last, folder / LAST_WEIGHTS)
    write_history(folder / "history.csv", result.history)
    (folder / "events.log").write_text(unit.log.text(), encoding="utf-8")
    spec = unit.spec
    views = {name: {"config": spec.views[name], "state": unit.views[name].modality.state()} for name in spec.student}
    return {
        "kind": "student",
        "key": spec.key,
        "status": "done",
        "spec": asdict(spec),
        "metrics": metrics,
        **checksum_field(),
        "best_epoch": result.best_epoch + 1,
        "parameters": count_parameters(result.network),
        "method_parameters": result.method_parameters,
        "method_status": CONTROL if is_ablation(spec.options, unit.method.ablations) else unit.method.status,
        "seconds": result.seconds,
        **({"training_threads": result.threads} if result.threads else {}),
        "process_peak_memory_mib": peak_memory(),
        "teachers": {name: teacher.spec.key for name, teacher in unit.teachers.items()},
        "teacher_checkpoint": _teacher_epoch(unit),
        "teacher_weights": unit.shares,
        **({"fold_teachers": fold_teachers(spec)} if spec.teacher_targets != "fitted" else {}),
        **({"replaced_outputs": dict(unit.replaced)} if unit.replaced else {}),
        **({"likes": {name: like.spec.key for name, like in unit.likes.items()}} if unit.likes else {}),
        **({"length": unit.length.as_json()} if unit.length is not None else {}),
        "deploys": "student" if result.network is unit.student else "method",
        "views": views,
        "data": describe_data(unit.data, unit.split),
        "environment": environment(str(workspace.torch_device), torch.get_num_threads(), workspace.group.world_size),
    }
