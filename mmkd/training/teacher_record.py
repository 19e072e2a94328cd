"""Write the record of a teacher from its entry in the cache."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.data import Dataset, Split
from mmkd.data.understood import how_test_was_made
from mmkd.store.record import write_history
from mmkd.store.records import Records
from mmkd.training.data import TrainingData
from mmkd.training.pictures import save_score_pictures
from mmkd.training.teachers import Teacher, last_predictions
from mmkd.units.understood import understand_split


def write_teacher(teacher: Teacher, data: Dataset, split: Split, windows: TrainingData, records: Records) -> None:
    """Write the record of a teacher, if there is none yet, or an older one that lacks its last epoch.

    Args:
        windows: that the teacher was trained on, with its view.
    """
    spec = teacher.spec
    with records.lock(spec.key):
        record = records.get_whole(spec.key)
        if record is not None and record.knows_last_epoch:
            return

        def write_files(folder: Path) -> Mapping[str, Any]:
            with np.load(teacher.folder / "predictions.npz", allow_pickle=False) as z:
                predictions = _with_subjects({name: z[name] for name in z.files}, data)
            if predictions:
                np.savez(folder / "predictions.npz", **predictions)
            if teacher.logits is None:
                shutil.copy(teacher.folder / "best.safetensors", folder / "teacher.safetensors")
            history = json.loads((teacher.folder / "history.json").read_text())
            write_history(folder / "history.csv", history)
            result = json.loads((teacher.folder / "result.json").read_text())
            of_members = bool(spec.members) and spec.data.epoch_rule != "last"
            if of_members or (history and result["best_epoch"] != len(history)):
                last = _with_subjects(last_predictions(teacher, windows, split.test), data)
                if last:
                    np.savez(folder / "predictions_last.npz", **last)
                shutil.copy(teacher.folder / "last.safetensors", folder / "teacher_last.safetensors")
            name = f"{spec.modality} teacher {spec.net} on {data.name}, seed {spec.seed}"
            with suppress(Exception):  # a record is written even if a picture fails
                save_score_pictures(folder, name, data, predictions, history, result["best_epoch"])
            return {
                **result,
                "kind": "teacher",
                "key": spec.key,
                "status": "done",
                "spec": asdict(spec),
                "data": describe_data(data, split),
            }

        records.write(spec.key, write_files)


def _with_subjects(predictions: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """Predictions of test windows with the subjects of the windows, which older cache entries lack."""
    if data.subject is None or not predictions or "subject" in predictions:
        return predictions
    return {**predictions, "subject": data.subject[predictions["window"]]}


def describe_data(data: Dataset, split: Split) -> dict[str, Any]:
    """The field "data" of a record: classes, channels, sizes and split of its data set, and what is suspicious."""
    understood = understand_split(data, split)
    return {
        **({"grid": list(data.grid)} if data.grid else {}),
        **({} if data.subject is None else {"subjects": len(np.unique(data.subject))}),
        "classes": list(data.classes),
        **({} if data.labels is None else {"labels": list(data.labels)}),
        "channels": list(data.channels),
        "window": data.window,
        "rate_hz": data.rate_hz,
        **({"offset": list(data.offset)} if data.offset else {}),
        **({"delineated": True} if data.delineated else {}),
        "windows": {name: len(part) for name, part in split.parts.items()},
        "split": {"unit": split.unit, "sha256": split.sha256},
        "test_part": how_test_was_made(data.test_from if data.fold is None else "folds", split.unit),
        "understood": understood.text,
        "warnings": list(understood.warnings),
    }
