"""Prepare a unit: its split, views, student, method, teachers and their outputs, before its student is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.data import Dataset, Split
from mmkd.methods.contract import Method
from mmkd.specs.unit import TeacherSpec, Training, UnitSpec
from mmkd.training.data import TrainingData
from mmkd.training.fold_teachers import replaced_targets
from mmkd.training.length import Length, length_of
from mmkd.training.likes import Like, get_like, record_of_alone
from mmkd.training.log import UnitLog
from mmkd.training.retargeting import replace_outputs
from mmkd.training.shares import fill_labels, search_in_folds, search_shares
from mmkd.training.student_model import StudentModel
from mmkd.training.targets import Retargeted
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
from mmkd.training.unit_windows import (
    augment_windows,
    load_view,
    teacher_view,
    teacher_windows,
    training_data,
    unit_view_key,
)
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import reads_teachers, student_alone
from mmkd.units.likes import likes_of, teaching_likes
from mmkd.units.sources import entries_of, load_recorded
from mmkd.units.splits import split_for
from mmkd.views.cached import View


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
        replaced: what the method says of the outputs that it replaced, see `Method.retarget`.
        likes: name -> a student like this one, trained alone under another seed, see `Method.likes`.
        length: of the training, where the method says that it is another one than the settings say.
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
    replaced: Mapping[str, Any] = field(default_factory=dict)
    length: Length | None = None

    @property
    def training(self) -> Training:
        """The options of the training, with the epochs and steps that are really taken."""
        return self.spec.training if self.length is None else self.length.training


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
    taught_by = tuple(spec.teachers) if reads_teachers(spec.method) else ()
    names = spec.views if taught_by else spec.student
    views = {name: load_view(name, spec, data, workspace) for name in names}
    labelled = training_data(data, split, {name: view.array for name, view in views.items()}, spec, workspace)
    log.add(f"views {', '.join(views)} of {len(data.x)} windows")
    method = make_method(spec, shares)
    others = split.unlabelled if method.unlabelled != "labelled" else split.unlabelled[:0]
    windows = labelled.add_unlabelled(others) if len(others) else labelled
    windows = augment_windows(windows, views, data, split, spec, workspace)
    if len(others):
        log.add(f"{len(split.train)} labelled and {len(others)} unlabelled training windows")
    shapes = {name: view.array.shape[1:] for name, view in views.items()}
    student = make_student(spec, shapes, windows.classes, data.window)
    if spec.starts_trained:
        record = record_of_alone(student_alone(spec), data, workspace)
        student.load_state_dict(StudentModel.load(record).network.state_dict())
        log.add(f"student starts from {record.key}")
    student.to(workspace.torch_device)
    teachers: dict[str, Teacher] = {}
    own_windows: dict[str, TrainingData] = {}  # of teachers, all with labels
    for name in taught_by:
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
    if spec.teacher_validation and teachers:  # their views are fitted on their own training windows
        own_views = {name: own.views[name] for name, own in own_windows.items()}
        read_windows = replace(windows, views={**windows.views, **own_views})
        if windows.augmented is not None:
            own_specs = {name: _with_file(spec.teacher(name), spec) for name in teachers}
            made = {name: teacher_view(own, data, workspace) for name, own in own_specs.items()}
            modalities = {name: view.modality for name, (_, view) in made.items()}
            keys = {name: unit_view_key(name, own_specs[name], part) for name, (part, _) in made.items()}
            read_windows = replace(read_windows, augmented=windows.augmented.with_views(modalities, keys))
    live: dict[str, TaughtNetwork] = {name: teacher for name, teacher in teachers.items() if teacher.logits is None}
    live |= {name: likes[name] for name in teaching_likes(spec)}
    if method.unlabelled == "teacher" and len(others):
        windows = replace(windows, y=fill_labels(teachers, read_windows, others))
    part = _pool_digest(windows, spec) if spec.teacher_validation or len(others) else ""
    if list(method.teacher_parameters(networks)):
        if method.retargets:
            raise MmkdError(f"{spec.method} trains its teachers along, and cannot replace what they put out")
        source = MovingTeachers(teachers)
    else:
        source = make_teacher_source(
            live,
            method.needs,
            read_windows,
            cache=workspace.cache,
            progress=workspace.progress,
            part=part,
        )
    log.add(f"outputs of the teachers: {type(source).__name__}")
    if isinstance(source, LiveTeachers) and (spec.teacher_validation or method.retargets):
        source = OwnViews(source, read_windows.select_views(live))
    targets = replaced_targets(spec, data, windows, teachers, method.checkpoint, workspace)
    if not isinstance(source, LiveTeachers):
        windows = windows.select_views(spec.student)
    if targets:
        source = Retargeted(source, targets, (*teachers, *teaching_likes(spec)))
        log.add(f"targets of training windows out of fold: {', '.join(targets)}")
    facts: Mapping[str, Any] = {}
    if method.retargets:
        source = replace_outputs(
            method, source, teachers, read_windows, windows.y, seed=spec.own_seed, part=part, workspace=workspace
        )
        facts = source.replacement.facts
        log.add(f"the method replaced them: {', '.join(f'{name} {value}' for name, value in facts.items())}")
    if windows.augmented is not None:
        windows.augmented.prepare(windows.views)
    length = length_of(spec, data)
    if length is not None:
        log.add(f"trained for {length.text}")
        if length.is_cut:
            workspace.progress.say(f"warning: {spec.method}, seed {spec.seed}: {length.text}")
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
        replaced=facts,
        likes=likes,
        length=length,
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
