"""One unit from data to record: views, teachers, student, the one reading of the test windows."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from mmkd.core.errors import MmkdError, reason
from mmkd.core.progress import Progress
from mmkd.data import Dataset, Split
from mmkd.data.spec import DataSpec
from mmkd.methods.contract import Method
from mmkd.metrics.classes import mixture_shares
from mmkd.nets import count_parameters
from mmkd.store.cache import Cache
from mmkd.store.record import Record, Records, environment, write_history
from mmkd.training.checkpoint import Checkpoint
from mmkd.training.distributed import SINGLE_PROCESS, ProcessGroup
from mmkd.training.guidance import LiveTeachers, MovingTeachers, source_of
from mmkd.training.loop import TeacherSource, TrainingData, TrainingResult, train
from mmkd.training.pictures import save_pictures, save_score_pictures
from mmkd.training.prediction import predict
from mmkd.training.stored import StudentModel
from mmkd.training.teachers import Teacher, get_teacher, initial, peak_memory, test_scores, train_teacher
from mmkd.training.trial import make_method, make_student, searches, starts_trained
from mmkd.units.expansion import source_sha256, split_for, student_alone
from mmkd.units.spec import TeacherSpec, Training, UnitSpec
from mmkd.views.cached import View, get_view


@dataclass(frozen=True)
class Place:
    """Where work is done and kept. No part of a unit's key."""

    records: Records
    cache: Cache
    device: torch.device
    progress: Progress
    group: ProcessGroup = SINGLE_PROCESS


@dataclass(frozen=True)
class PreparedUnit:
    """A unit right before its student is trained."""

    split: Split
    views: Mapping[str, View]
    windows: TrainingData
    student: nn.Module
    method: Method
    teachers: Mapping[str, Teacher]
    shares: str | None  # of the teachers, where they were searched
    source: TeacherSource


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. MmkdError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise MmkdError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    return torch.device(name)


def run_unit(spec: UnitSpec, data: Dataset, place: Place) -> Record:
    """Do one unit and write its record, and those of its teachers.

    Raises:
        MmkdError: the unit is refused. UnitFailed: it broke off.
    """
    log = Log()
    ready = prepare_unit(spec, data, place, log)
    split, views, windows = ready.split, ready.views, ready.windows
    with place.group.training("student", key=spec.key, spec=asdict(spec), shares=ready.shares):
        trained = train_student(spec, ready, place)
    log.add(f"trained {spec.training.epochs} epochs in {trained.seconds:.1f} s, best epoch {trained.best_epoch + 1}")

    def fill(folder: Path) -> Mapping[str, Any]:
        metrics = test_scores(trained, windows, split.test, spec.training, folder / "predictions.npz")
        if data.subject is not None:
            add_subjects(folder / "predictions.npz", data)
        save_file(trained.best, folder / "student.safetensors")
        write_history(folder / "history.csv", trained.history)
        log.add(f"test accuracy {metrics['test']['accuracy']:.4f}, macro-F1 {metrics['test']['macro_f1']:.4f}")
        try:
            arrays = {name: view.array for name, view in views.items()}
            save_pictures(folder, spec, data, arrays, trained.history, trained.best_epoch + 1)
        except Exception as error:  # a picture never costs a record
            log.add(f"pictures left out: {reason(error)}")
        (folder / "events.log").write_text(log.text(), encoding="utf-8")
        return result_of(spec, data, ready, trained, metrics, place)

    record = place.records.write(spec.key, fill)
    checkpoint_of(spec, place).remove()
    return record


def result_of(
    spec: UnitSpec,
    data: Dataset,
    ready: PreparedUnit,
    trained: TrainingResult,
    metrics: Mapping[str, Any],
    place: Place,
) -> dict[str, Any]:
    """What the `result.json` of a trained unit holds, of every task."""
    views, teachers = ready.views, ready.teachers
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
        "teachers": {name: teacher.spec.key for name, teacher in teachers.items()},
        "teacher_checkpoint": ready.method.checkpoint if teachers else None,
        "teacher_weights": ready.shares,
        "deploys": "student" if trained.network is ready.student else "method",
        "views": {name: {"config": spec.views[name], "state": views[name].modality.state()} for name in spec.student},
        "data": describe(data, ready.split),
        "environment": environment(str(place.device), torch.get_num_threads(), place.group.world),
    }


def prepare_unit(spec: UnitSpec, data: Dataset, place: Place, log: "Log", shares: str | None = None) -> PreparedUnit:
    """Everything of a unit that comes before its student is trained, from the cache or made.

    Args:
        shares: of the teachers, as another process found them; None: they are searched where the unit asks for it.
    """
    split = split_for(data, spec.data, spec.seed)
    views = {name: view_of(name, spec, data, split, place) for name in spec.views}
    windows = make_windows(data, split, {name: view.array for name, view in views.items()}, place.device)
    log.add(f"views {', '.join(views)} of {len(data.x)} windows")
    method = make_method(spec, shares)
    student = make_student(spec, {name: view.array.shape[1:] for name, view in views.items()}, windows.classes)
    if starts_trained(spec):
        record = trained_alone(spec, data, place)
        student.load_state_dict(StudentModel.load(record).network.state_dict())
        log.add(f"student starts from {record.key}")
    student.to(place.device)
    teachers: dict[str, Teacher] = {}
    for name in spec.teachers:
        of, test, kept = spec.teacher(name), split.test, method.checkpoint
        teachers[name] = get_teacher(of, windows, test, place.cache, place.progress, kept, place.group)
        if place.group.leads:
            write_teacher(teachers[name], data, split, place)
        log.add(f"teacher {name}: {teachers[name].spec.key}, {method.checkpoint} epoch")
    if searches(spec) and shares is None:
        shares = search_shares(teachers, windows)
        method = make_method(spec, shares)
        log.add(f"shares of the teachers, searched on {len(windows.validation)} validation windows: {shares}")
    moving = list(method.teacher_parameters({name: teacher.network for name, teacher in teachers.items()}))
    source: TeacherSource = (
        MovingTeachers(teachers) if moving else source_of(teachers, method.needs, windows, place.cache, place.progress)
    )
    log.add(f"outputs of the teachers: {type(source).__name__}")
    if not isinstance(source, LiveTeachers):
        windows = windows.only(spec.student)
    return PreparedUnit(split, views, windows, student, method, teachers, shares, source)


def train_student(spec: UnitSpec, ready: PreparedUnit, place: Place) -> TrainingResult:
    """Train the student of a unit, in step with the other processes of the group."""
    label, kept = f"{spec.method} -> {spec.student_name}", checkpoint_of(spec, place)
    windows, source, training = ready.windows, ready.source, spec.training
    return train(
        ready.student, ready.method, windows, source, training, spec.seed, label, place.progress, kept, place.group
    )


def checkpoint_of(spec: UnitSpec, place: Place) -> Checkpoint:
    return Checkpoint(place.cache.path("checkpoints", f"student-{spec.key}"))


def along(
    message: Mapping[str, Any], load: Callable[[DataSpec], Dataset], place: Place
) -> Callable[[], TrainingResult]:
    """The part of a process that follows in a training that the leader announced.

    Args:
        message: of `Group.training`, as it is announced above and in `teachers`.

    Raises:
        MmkdError: what is here is not what the leader has.
    """
    values = message["spec"]
    if message["kind"] == "teacher":
        of = {"data": DataSpec(**values["data"]), "training": Training(**values["training"])}
        teacher = TeacherSpec(**{**values, **of})
        if teacher.key != message["key"]:
            raise MmkdError("mmkd is another version here than where the command leads")
        data = load(teacher.data)
        split = split_for(data, teacher.data, teacher.seed)
        name, cache, progress = teacher.modality, place.cache, place.progress
        view = get_view(name, teacher.view, data, teacher.data, split, cache, progress)
        windows = make_windows(data, split, {name: view.array}, place.device)
        return partial(train_teacher, teacher, initial(teacher, windows), windows, cache, progress, place.group)
    spec = UnitSpec.parse(values)
    if spec.key != message["key"] or source_sha256(spec.method) != spec.method_sha256:
        raise MmkdError(f"method {spec.method!r} or mmkd itself is another version here than where the command leads")
    ready = prepare_unit(spec, load(spec.data), place, Log(), message["shares"])
    return partial(train_student, spec, ready, place)


def view_of(name: str, spec: UnitSpec, data: Dataset, split: Split, place: Place) -> View:
    """One of a unit's views, from the cache."""
    return get_view(name, spec.views[name], data, spec.data, split, place.cache, place.progress)


def make_view(name: str, spec: UnitSpec, data: Dataset, place: Place) -> None:
    """One of a unit's views, made ahead of the unit."""
    view_of(name, spec, data, split_for(data, spec.data, spec.seed), place)


def make_teacher(name: str, spec: UnitSpec, data: Dataset, place: Place) -> None:
    """One of a unit's teachers and its record, made ahead of the unit."""
    split = split_for(data, spec.data, spec.seed)
    arrays = {name: view_of(name, spec, data, split, place).array}
    windows = make_windows(data, split, arrays, place.device)
    teacher = get_teacher(spec.teacher(name), windows, split.test, place.cache, place.progress)
    write_teacher(teacher, data, split, place)


def make_windows(
    data: Dataset, split: Split, arrays: Mapping[str, NDArray[np.float32]], device: torch.device
) -> TrainingData:
    """What the training loop reads of a data set."""
    return TrainingData(
        arrays,
        data.y,
        split.train,
        split.validation,
        data.classes,
        device,
        data.window_s,
        None if data.recording is None or data.start is None else (data.recording, data.start),
        data.delineated,
        data.grid,
    )


def trained_alone(spec: UnitSpec, data: Dataset, place: Place) -> Record:
    """The record of the unit's student trained alone under the same seed; the unit is done where there is none."""
    base = student_alone(spec)
    if not place.group.leads:
        record = place.records.get(base.key)
        if record is None:
            raise MmkdError(
                f"--runs {place.records.runs}: record {base.key} is not here; all processes need one --runs"
            )
        return record
    with place.records.lock(base.key):
        return place.records.get(base.key) or run_unit(base, data, place)


def search_shares(teachers: Mapping[str, Teacher], windows: TrainingData) -> str:
    """The shares under which the teachers together do best on the validation windows, as `teacher_weights` reads them.

    Best is the lowest negative log-likelihood of the teachers' probabilities mixed by their shares.
    """
    size = windows.at_once
    said = [predict(teacher.network, windows.at, windows.validation, batch_size=size) for teacher in teachers.values()]
    y = windows.y[windows.validation]
    if windows.task == "segmentation":
        said, y = [p.transpose(0, 2, 1)[y >= 0] for p in said], y[y >= 0]
    found = mixture_shares(y, said)
    return ",".join(f"{name}={share:.4f}" for name, share in zip(teachers, found, strict=True))


def write_teacher(teacher: Teacher, data: Dataset, split: Split, place: Place) -> None:
    """The teacher's own record, from its cache entry, where there is none yet."""
    spec = teacher.spec
    with place.records.lock(spec.key):
        if place.records.get(spec.key) is not None:
            return

        def fill(folder: Path) -> Mapping[str, Any]:
            shutil.copy(teacher.folder / "predictions.npz", folder / "predictions.npz")
            if data.subject is not None:
                add_subjects(folder / "predictions.npz", data)
            shutil.copy(teacher.folder / "best.safetensors", folder / "teacher.safetensors")
            history = json.loads((teacher.folder / "history.json").read_text())
            write_history(folder / "history.csv", history)
            result = json.loads((teacher.folder / "result.json").read_text())
            name = f"{spec.modality} teacher {spec.net} on {data.name}, seed {spec.seed}"
            with suppress(Exception):  # a picture never costs a record
                save_score_pictures(folder, name, data, history, result["best_epoch"])
            return {
                **result,
                "kind": "teacher",
                "key": spec.key,
                "status": "done",
                "spec": asdict(spec),
                "data": describe(data, split),
            }

        place.records.write(spec.key, fill)


def add_subjects(path: Path, data: Dataset) -> None:
    """Enter the subject of each test window into `predictions.npz`."""
    assert data.subject is not None
    with np.load(path, allow_pickle=False) as z:
        arrays = {name: z[name] for name in z.files}
    np.savez(path, **arrays, subject=data.subject[arrays["window"]])


def describe(data: Dataset, split: Split) -> dict[str, Any]:
    """What a record says about the data; of images also their rows and columns."""
    return {
        **({"grid": list(data.grid)} if data.grid else {}),
        **({} if data.subject is None else {"subjects": len(np.unique(data.subject))}),
        "classes": list(data.classes),
        "channels": list(data.channels),
        "window": data.window,
        "rate_hz": data.rate_hz,
        "windows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "split": {"unit": split.unit, "sha256": split.sha256},
    }


class Log:
    """Lines with the seconds since the unit began, kept until the record is written."""

    def __init__(self) -> None:
        self.started, self.lines = time.perf_counter(), [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) + " begun"]

    def add(self, line: str) -> None:
        self.lines.append(f"{time.perf_counter() - self.started:9.2f} s  {line}")

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"
