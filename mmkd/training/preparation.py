"""Prepare a unit: its split, views, student, method, teachers and their outputs, before its student is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.data import Dataset, Split
from mmkd.methods.contract import Method
from mmkd.metrics.classes import mixture_shares
from mmkd.peers.base import softmax
from mmkd.specs.unit import TeacherSpec, UnitSpec, select_sources
from mmkd.training.augmented import AugmentedWindows
from mmkd.training.data import TrainingData
from mmkd.training.likes import Like, get_like, record_of_alone
from mmkd.training.log import UnitLog
from mmkd.training.prediction import predict
from mmkd.training.student_model import StudentModel
from mmkd.training.targets import FoldTargets, FoldTeacher, Retargeted, Targets, WindowTargets
from mmkd.training.teacher_outputs import (
    LiveTeachers,
    MovingTeachers,
    OwnViews,
    TaughtNetwork,
    TeacherSource,
    make_teacher_source,
)
from mmkd.training.teacher_record import write_teacher
from mmkd.training.teachers import Teacher, get_teacher
from mmkd.training.trial import make_method, make_student
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import student_alone
from mmkd.units.likes import likes_of, teaching_likes
from mmkd.units.selection import in_fold
from mmkd.units.sources import entries_of, load_recorded
from mmkd.units.splits import split_for
from mmkd.views.cached import View, get_view, view_key

Predictions = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Labels (n,), and the probabilities (n, K) of one teacher."""


@dataclass(frozen=True)
class PreparedUnit:
    """Everything that the training of a unit's student needs.

    Attributes:
        student: untrained, unless the unit starts from a trained student.
        method: not built yet.
        shares: the weights of the teachers if they were searched on validation windows, as text of the option
            `teacher_weights`.
        source: where the teachers' outputs for each batch come from.
        log: lines about the steps so far.
        likes: name -> a student like this one, trained alone under another seed, see `Method.likes`.
    """

    spec: UnitSpec
    data: Dataset
    split: Split
    views: Mapping[str, View]
    windows: TrainingData
    student: nn.Module
    method: Method
    teachers: Mapping[str, Teacher]
    shares: str | None
    source: TeacherSource
    log: UnitLog
    likes: Mapping[str, Like]


def prepare_unit(spec: UnitSpec, data: Dataset, workspace: Workspace, shares: str | None = None) -> PreparedUnit:
    """Compute everything that the training of a unit's student needs, or read it from the cache.

    Args:
        shares: the weights of the teachers, if another process has searched them. None: search them if the unit's
            options ask for it.

    Raises:
        MmkdError: the unit cannot be run.
        UnitFailed: the training of a teacher failed.
    """
    log = UnitLog()
    split = split_for(data, spec.data, spec.seed)
    views = {name: load_view(name, spec, data, workspace) for name in spec.views}
    labelled = training_data(data, split, {name: view.array for name, view in views.items()}, spec, workspace)
    log.add(f"views {', '.join(views)} of {len(data.x)} windows")
    method = make_method(spec, shares)
    others = split.unlabelled if method.unlabelled != "labelled" else split.unlabelled[:0]
    windows = labelled.add_unlabelled(others) if len(others) else labelled
    windows = augment_windows(windows, views, data, split, spec, workspace)
    if len(others):
        log.add(f"{len(split.train)} labelled and {len(others)} unlabelled training windows")
    student = make_student(spec, {name: view.array.shape[1:] for name, view in views.items()}, windows.classes)
    if spec.starts_trained:
        record = record_of_alone(student_alone(spec), data, workspace)
        student.load_state_dict(StudentModel.load(record).network.state_dict())
        log.add(f"student starts from {record.key}")
    student.to(workspace.torch_device)
    teachers: dict[str, Teacher] = {}
    own_windows: dict[str, TrainingData] = {}  # of teachers, all with labels
    for name in spec.teachers:
        if spec.teacher_validation:
            own_windows[name] = teacher_windows(_with_file(spec.teacher(name), spec), data, workspace)[1]
        else:
            own = labelled.select_views([name])
            own_windows[name] = augment_windows(own, {name: views[name]}, data, split, spec.teacher(name), workspace)
        own_split = split_for(data, spec.teacher(name).data, spec.seed)
        teachers[name] = get_teacher(spec.teacher(name), own_windows[name], split.test, workspace, method.checkpoint)
        if workspace.group.is_leader:
            write_teacher(teachers[name], data, own_split, own_windows[name], workspace.records)
        log.add(f"teacher {name}: {teachers[name].spec.key}, {teachers[name].checkpoint} epoch")
    likes = {name: get_like(alone, data, workspace) for name, alone in likes_of(spec).items()}
    for name, like in likes.items():
        log.add(f"{name}: {like.spec.key}, trained alone under training seed {like.spec.own_seed}")
    if spec.searches_shares and shares is None:
        if spec.selection_folds:
            shares = search_in_folds(spec, data, workspace)
            where = f"in {spec.selection_folds} folds of the training windows"
        else:
            shares = search_shares(teachers, windows)
            where = f"on {len(windows.validation)} validation windows"
        method = make_method(spec, shares)
        log.add(f"shares of the teachers, searched {where}: {shares}")
    networks = {name: teacher.network for name, teacher in teachers.items()}
    source: TeacherSource
    read_windows = windows
    if spec.teacher_validation:  # their views are fitted on their own training windows
        own_views = {name: own.views[name] for name, own in own_windows.items()}
        read_windows = replace(windows, views={**windows.views, **own_views})
        if windows.augmented is not None:
            own_specs = {name: _with_file(spec.teacher(name), spec) for name in spec.teachers}
            made = {name: teacher_view(own, data, workspace) for name, own in own_specs.items()}
            modalities = {name: view.modality for name, (_, view) in made.items()}
            keys = {name: _view_key(name, own_specs[name], part) for name, (part, _) in made.items()}
            read_windows = replace(read_windows, augmented=windows.augmented.with_views(modalities, keys))
    live: dict[str, TaughtNetwork] = {name: teacher for name, teacher in teachers.items() if teacher.logits is None}
    live |= {name: likes[name] for name in teaching_likes(spec)}
    if method.unlabelled == "teacher" and len(others):
        windows = replace(windows, y=fill_labels(teachers, read_windows, others))
    if list(method.teacher_parameters(networks)):
        source = MovingTeachers(teachers)
    else:
        source = make_teacher_source(
            live,
            method.needs,
            read_windows,
            cache=workspace.cache,
            progress=workspace.progress,
            part=_pool_digest(windows, spec) if spec.teacher_validation or len(others) else "",
        )
    log.add(f"outputs of the teachers: {type(source).__name__}")
    if isinstance(source, LiveTeachers) and spec.teacher_validation:
        source = OwnViews(source, read_windows.select_views(live))
    targets = replaced_targets(spec, data, windows, teachers, method.checkpoint, workspace)
    if not isinstance(source, LiveTeachers):
        windows = windows.select_views(spec.student)
    if targets:
        source = Retargeted(source, targets, (*teachers, *teaching_likes(spec)))
        log.add(f"targets of training windows out of fold: {', '.join(targets)}")
    if windows.augmented is not None:
        windows.augmented.prepare(windows.views)
    return PreparedUnit(
        spec=spec,
        data=data,
        split=split,
        views=views,
        windows=windows,
        student=student,
        method=method,
        teachers=teachers,
        shares=shares,
        source=source,
        log=log,
        likes=likes,
    )


def replaced_targets(
    spec: UnitSpec,
    data: Dataset,
    windows: TrainingData,
    teachers: Mapping[str, Teacher],
    checkpoint: str,
    workspace: Workspace,
) -> dict[str, Targets]:
    """Modality -> the logits that teach in place of the teacher's own: of peers, and with out-of-fold targets of all.

    The teachers without a fold are trained first if they are not in the cache.

    Args:
        windows: of the student, with its augmentations.
        checkpoint: the epoch of the weights, "best" or "last".

    Raises:
        MmkdError: the augmentations mix windows, and a peer has no logits of mixtures.
    """
    targets: dict[str, Targets] = {}
    for name, teacher in teachers.items():
        if teacher.logits is not None:
            if windows.augmented is not None and windows.augmented.mixing(np.arange(1)) is not None:
                raise MmkdError(
                    f"a peer has no logits of windows that are mixed; leave mixup out, or {name}={teacher.spec.net}"
                )
            targets[name] = WindowTargets(teacher.logits, windows.train, workspace.torch_device)
        elif spec.teacher_targets != "fitted":
            parts = [fold_teacher(name, inner, data, checkpoint, workspace) for inner in spec.without_folds]
            out_of_fold = FoldTargets(parts, windows)
            out_of_fold.store(workspace.cache, workspace.progress)
            targets[name] = out_of_fold
    return targets


def fold_teacher(name: str, inner: UnitSpec, data: Dataset, checkpoint: str, workspace: Workspace) -> FoldTeacher:
    """The teacher of a unit without one fold, with its view; its record is written, too."""
    spec = inner.teacher(name)
    split, windows = teacher_windows(spec, data, workspace)
    teacher = get_teacher(spec, windows, split.test, workspace, checkpoint)
    if workspace.group.is_leader:
        write_teacher(teacher, data, split, windows, workspace.records)
    view = load_view(name, replace(inner, data=spec.data), data, workspace)
    return FoldTeacher(
        spec.key, teacher.checkpoint, teacher.network, name, view.modality, windows.views[name], split.test
    )


def _with_file(teacher: TeacherSpec, spec: UnitSpec) -> TeacherSpec:
    """The teacher's spec with the unit's file of unlabelled windows, for views that hold these windows too."""
    sha256 = spec.data.unlabelled_sha256
    data = replace(teacher.data, unlabelled_sha256=sha256, unlabelled_file=spec.data.unlabelled_file)
    return replace(teacher, data=data)


def _pool_digest(windows: TrainingData, spec: UnitSpec) -> str:
    """Hash of the training windows, for the keys of outputs of teachers that were trained on others."""
    numbers = windows.train.tolist()
    return digest([numbers, spec.data.unlabelled_sha256] if spec.data.unlabelled_sha256 else numbers)


def load_view(name: str, spec: UnitSpec, data: Dataset, workspace: Workspace) -> View:
    """One view of a unit from the cache; it is computed first if it is not there."""
    split = split_for(data, spec.data, spec.seed)
    return get_view(
        name,
        spec.views[name],
        data,
        spec.data,
        split,
        cache=workspace.cache,
        progress=workspace.progress,
        sources=spec.view_sources(name),
    )


def make_teacher(name: str, spec: UnitSpec, data: Dataset, workspace: Workspace) -> None:
    """Train one teacher of a unit and write its record, if they do not exist yet."""
    split, windows = teacher_windows(spec.teacher(name), data, workspace)
    teacher = get_teacher(spec.teacher(name), windows, split.test, workspace)
    write_teacher(teacher, data, split, windows, workspace.records)


def complete_teacher(name: str, spec: UnitSpec, data: Dataset, workspace: Workspace) -> None:
    """Add the last epoch to the record of a unit's teacher if it is older than that and the cache has the teacher."""
    teacher = spec.teacher(name)
    record = workspace.records.get(teacher.key)
    if record is None or record.knows_last_epoch or workspace.cache.find_damage("teachers", teacher.key) is not None:
        return
    load_recorded(teacher, lambda: entries_of(teacher))
    make_teacher(name, spec, data, workspace)


def teacher_windows(spec: TeacherSpec, data: Dataset, workspace: Workspace) -> tuple[Split, TrainingData]:
    """The split of a teacher, and the windows that it is trained on, with its view alone.

    They are those of the units that it teaches, unless it alone has validation windows
    (`UnitSpec.teacher_validation`).
    """
    split, view = teacher_view(spec, data, workspace)
    windows = training_data(data, split, {spec.modality: view.array}, spec, workspace)
    return split, augment_windows(windows, {spec.modality: view}, data, split, spec, workspace)


def teacher_view(spec: TeacherSpec, data: Dataset, workspace: Workspace) -> tuple[Split, View]:
    """The split of a teacher, and its view from the cache; it is computed first if it is not there."""
    name = spec.modality
    split = split_for(data, spec.data, spec.seed)
    view = get_view(
        name,
        spec.view,
        data,
        spec.data,
        split,
        cache=workspace.cache,
        progress=workspace.progress,
        sources=select_sources(spec.sources, spec.task, (name,)),
    )
    return split, view


def training_data(
    data: Dataset,
    split: Split,
    arrays: Mapping[str, NDArray[np.float32]],
    spec: UnitSpec | TeacherSpec,
    workspace: Workspace,
) -> TrainingData:
    """The data of a unit or teacher as the training loop reads them, without the labels that are not used."""
    y = data.y
    if len(split.unlabelled):
        y = np.concatenate([y, np.full(0 if data.unlabelled is None else len(data.unlabelled), -1)])
        y[split.unlabelled] = -1
    return TrainingData(
        views=arrays,
        y=y,
        train=split.train,
        validation=split.validation,
        names=data.classes,
        device=workspace.torch_device,
        window_s=data.window_s,
        locations=None if data.recording is None or data.start is None else (data.recording, data.start),
        delineated=data.delineated,
        grid=data.grid,
        subject=data.subject,
        task_name=spec.task,
        rate_hz=data.rate_hz,
    )


def augment_windows(
    windows: TrainingData,
    views: Mapping[str, View],
    data: Dataset,
    split: Split,
    spec: UnitSpec | TeacherSpec,
    workspace: Workspace,
) -> TrainingData:
    """The data of a unit or teacher with the augmentations of its training, if there are any.

    Args:
        windows: its training windows are those that are augmented.
        views: modality -> the view, of all modalities of `windows`.
    """
    if not spec.training.augment:
        return windows
    augmented = AugmentedWindows(
        data.all_x,
        fitted_on=split.train,
        train=windows.train,
        training=spec.training,
        modalities={name: view.modality for name, view in views.items()},
        view_keys={name: _view_key(name, spec, split) for name in views},
        seed=spec.seed if isinstance(spec, TeacherSpec) else spec.own_seed,
        role=f"teacher/{spec.modality}" if isinstance(spec, TeacherSpec) else "student",
        labelled=windows.labelled,
        sources=select_sources(spec.sources, "", (), augmentations=spec.training.augmentation_names),
        cache=workspace.cache,
        progress=workspace.progress,
    )
    return replace(windows, augmented=augmented)


def _view_key(name: str, spec: UnitSpec | TeacherSpec, split: Split) -> str:
    """The cache key of a view of a unit or teacher."""
    config = spec.view if isinstance(spec, TeacherSpec) else spec.views[name]
    return view_key(name, config, spec.data, split, select_sources(spec.sources, spec.task, (name,)))


def fill_labels(
    teachers: Mapping[str, Teacher], windows: TrainingData, unlabelled: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The labels (N,) with those that the teachers predict for unlabelled windows.

    It is the class of the highest mean of the teachers' probabilities for the windows as they are, not augmented.
    """
    sums = np.zeros((len(unlabelled), windows.classes))
    for teacher in teachers.values():
        sums += _probabilities(teacher, windows, unlabelled)
    y = windows.y.copy()
    y[unlabelled] = sums.argmax(1)
    return y


def _probabilities(teacher: Teacher, windows: TrainingData, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """A teacher's class probabilities of windows, as they are and not augmented: (n, K), or (n, K, T)."""
    if teacher.logits is not None:
        return softmax(teacher.logits[indices])
    return predict(teacher.network, windows.load_views, indices, batch_size=windows.prediction_batch)


def search_shares(teachers: Mapping[str, Teacher], windows: TrainingData) -> str:
    """The weights with which the mixture of the teachers' probabilities predicts the validation windows best.

    The best mixture has the lowest negative log-likelihood.

    Returns:
        A value of the option `teacher_weights`, such as "sig=0.7000,gaf=0.3000".
    """
    predictions = [_predict_known(teacher, windows, windows.validation) for teacher in teachers.values()]
    return _best_shares(list(teachers), predictions)


def search_in_folds(spec: UnitSpec, data: Dataset, workspace: Workspace) -> str:
    """The weights of `search_shares`, on all training windows: each is predicted by teachers that did not see its fold.

    Returns:
        A value of the option `teacher_weights`.
    """
    parts: list[list[Predictions]] = []
    for number in range(1, spec.selection_folds + 1):
        inner = in_fold(spec, number, spec.selection_folds)
        parts.append([])
        for name in spec.teachers:
            split, windows = teacher_windows(inner.teacher(name), data, workspace)
            teacher = get_teacher(inner.teacher(name), windows, split.test, workspace, "last")
            if workspace.group.is_leader:
                write_teacher(teacher, data, split, windows, workspace.records)
            parts[-1].append(_predict_known(teacher, windows, split.test))
    together = [
        (np.concatenate([y for y, _ in of_teacher]), np.concatenate([p for _, p in of_teacher]))
        for of_teacher in zip(*parts, strict=True)
    ]
    return _best_shares(list(spec.teachers), together)


def _predict_known(teacher: Teacher, windows: TrainingData, rows: NDArray[np.int64]) -> Predictions:
    """The labels (n,) of these windows, or of their steps, that are known, and a teacher's probabilities (n, K)."""
    probabilities = _probabilities(teacher, windows, rows)
    y = windows.y[rows]
    if windows.per_step:
        probabilities = probabilities.transpose(0, 2, 1)[y >= 0]
        y = y[y >= 0]
    return y, probabilities


def _best_shares(names: Sequence[str], predictions: Sequence[Predictions]) -> str:
    """The shares of the mixture of the teachers' probabilities with the lowest negative log-likelihood, as text."""
    shares = mixture_shares(predictions[0][0], [probabilities for _, probabilities in predictions])
    return ",".join(f"{name}={share:.4f}" for name, share in zip(names, shares, strict=True))
