"""Expand a request to its units, each with its data and with all defaults filled in."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from mmkd.core.errors import MmkdError
from mmkd.core.options import older_options, recorded
from mmkd.core.registry import METHODS
from mmkd.data import Dataset, load_own
from mmkd.data.arrays import finish_dataset
from mmkd.data.checksums import file_sha256
from mmkd.data.dataset import Fold
from mmkd.data.folds import UNCHECKED, apply_fold, leave_one_subject_out, make_folds, read_folds
from mmkd.data.load import load_split
from mmkd.data.split_table import is_table, split_dataset
from mmkd.data.unlabelled import add_unlabelled
from mmkd.peers import PEERS
from mmkd.specs.data import DataSpec
from mmkd.specs.teacher_nets import canonical_net, kind_of_net, target_folds
from mmkd.specs.unit import Training, UnitSpec, select_sources, student_sources
from mmkd.tasks import TASKS
from mmkd.units.augmentations import with_augmentations
from mmkd.units.checks import at_student_rate, canonical_fusions, check_modalities, check_networks, parse_modalities
from mmkd.units.choices import choices
from mmkd.units.methods import CONTROL, named_methods
from mmkd.units.request import Request
from mmkd.units.sources import checksums_of, entries
from mmkd.units.splits import counts_subjects, split_for
from mmkd.views.cached import view_configs

VALIDATION = 0.2
"""Fraction of the training windows, or subjects, that is used for validation."""


def expand(request: Request, given: Dataset | None = None) -> Iterator[tuple[UnitSpec, Dataset]]:
    """The units of a request and the data set of each, without repeats, ordered by data set, seed, student, method.

    Nothing is written.

    Args:
        given: windows in memory, in place of those that the request names.

    Raises:
        MmkdError: a part of the request is invalid.
    """
    methods = named_methods(request.methods, request.with_controls)
    for name in (*request.options, *(variant["method"] for variant in request.variants)):
        if name not in methods:
            raise MmkdError(f"options are given for method {name!r}, which is not among {', '.join(methods)}")
    if not any(distils(name) for name in methods):
        for flag in (*request.teacher_flags, *["--teacher-targets"] * (request.teacher_targets != "fitted")):
            raise MmkdError(f"{flag}: {', '.join(methods)} has no teachers; leave it out")
    options_of = {name: choices(request, name) for name in methods}
    seen = set()
    loaders = _loaders(request, given)
    if given is not None or request.own is not None:  # defaults depend on the content of the file
        file_data = loaders[0]()
        request = _with_defaults(request, file_data)
        loaders = [lambda: file_data]
    task = TASKS.get(request.task)
    nets = request.student_net or (task.preset(request.preset).student_net,)
    check_networks(request, nets)
    fusions = canonical_fusions(request)
    for load in loaders:
        data = task.accept(load())
        if request.unlabelled:
            in_folds = request.folds is not None or request.split != "card"
            data = add_unlabelled(data, request.unlabelled, request.nan, in_folds)
        own = at_student_rate(request, data)
        check_modalities(own, data)
        parts = [apply_fold(data, fold) for fold in _folds(request, data)]
        combinations = itertools.product(parts, request.seeds, own.students, nets, fusions, request.teachers)
        for part, seed, student, net, fusion, teachers in combinations:
            for method in methods:
                for options in options_of[method]:
                    spec = resolve(
                        request,
                        part,
                        seed=seed,
                        student=student,
                        teachers=teachers,
                        method=method,
                        options=options,
                        student_net=net,
                        fusion=fusion,
                    )
                    if spec.key not in seen:
                        seen.add(spec.key)
                        yield spec, part


def _folds(request: Request, data: Dataset) -> list[Fold | None]:
    """The folds of a request; None stands for the data set's own split."""
    data.splits.pop(UNCHECKED, None)  # of an earlier request
    if is_table(request.split) and request.fold:
        raise MmkdError(f"--fold: a table of parts, --split {request.split}, has no folds; leave --fold out")
    if (request.split == "card" and request.folds is None) or is_table(request.split):
        return [None]
    if request.folds is not None:
        folds = make_folds(data, request.folds)
    else:
        folds = leave_one_subject_out(data) if request.split == "loso" else read_folds(Path(request.split), data)
    if request.fold and max(request.fold) > len(folds):
        raise MmkdError(f"--fold {max(request.fold)}: data {data.name!r} has {len(folds)} folds")
    return [folds[n - 1] for n in request.fold] if request.fold else list(folds)


def _loaders(request: Request, given: Dataset | None) -> list[Callable[[], Dataset]]:
    """A function for each data set of a request that loads it."""
    nan: Any = request.nan
    rate = request.rate or 0.0
    parts = request.split if is_table(request.split) else ""
    if given is not None:
        own = finish_dataset
        return [lambda: split_dataset(own(given, nan, rate), parts) if parts else own(given, nan, rate)]
    if request.own is not None:
        form = TASKS.get(request.task).form
        unequal: Any = request.unequal
        return [lambda path=request.own: load_own(path, request.data_root, nan, form, rate, unequal, parts)]  # type: ignore[misc]
    return [lambda name=name: load_split(name, request.data_root, nan, rate, parts) for name in request.datasets]  # type: ignore[misc]


def _with_defaults(request: Request, data: Dataset) -> Request:
    """The request; for images, student and teachers become `img` unless the user named them."""
    if data.grid is None:
        return request
    task = TASKS.get(request.task)  # a field that the user did not set is the identical tuple of the task
    students = ("img",) if request.students is task.students else request.students
    teachers = ("img",) if request.teachers is task.teachers else request.teachers
    return replace(request, students=students, teachers=teachers)


def resolve(
    request: Request,
    data: Dataset,
    *,
    seed: int,
    student: str,
    teachers: str,
    method: str,
    options: Mapping[str, Any],
    student_net: str,
    fusion: str | None,
    taught: bool | None = None,
) -> UnitSpec:
    """The spec of one unit, with all defaults filled in.

    Args:
        student: modalities of its branches, such as "sig+gaf".
        teachers: modalities of the teachers, such as "sig,gaf".
        options: of the method, as `core.options.recorded` returns them.
        student_net: network of each branch.
        fusion: of the branches; for dense networks, of the stages of the decoder.
        taught: whether the unit has teachers; None: if its method distils.

    Raises:
        MmkdError: a modality does not exist, or an option does not fit the task.
    """
    task = TASKS.get(request.task)
    preset = task.preset(request.preset)
    if not task.trained_start and options.get("init_student") == "trained":
        raise MmkdError(
            f"--init-student trained: students of --task {task.name} start from random weights; leave it out"
        )
    branches = parse_modalities(student, "+", "--student")
    teacher_names = (
        parse_modalities(teachers, ",", "--teachers") if (distils(method) if taught is None else taught) else ()
    )
    method_network = getattr(METHODS.get(method), "student_network", None)
    if method_network and task.of_series:  # the student contains its teacher
        branches = teacher_names
        student_net = method_network
    views = tuple(dict.fromkeys(branches + teacher_names))
    size = request.image_size or min(preset.image_size, data.window)
    fold = data.fold or Fold("")
    epoch_rule = request.epoch_rule or preset.epoch_rule
    searches = options.get("teacher_weights") == "search"
    data_spec = DataSpec(
        name=data.name,
        sha256=data.sha256,
        nan=request.nan,
        unequal=request.unequal,
        parts_file=str(Path(request.split).absolute()) if is_table(request.split) else "",
        validation=VALIDATION if epoch_rule == "val-best" else 0.0,
        epoch_rule=epoch_rule,
        train_subjects=request.train_subjects or 0,
        train_windows=request.train_windows or 0,
        test_subjects=fold.test_subjects,
        stratified_fold=fold.stratified,
        by_name=bool(fold.test_subjects) and counts_subjects(data),
        fold=fold.name,
        rate=data.rate_hz if data.resampled and data.rate_hz else 0.0,
        labelled_subjects=request.labelled_subjects or 0,
        labelled_windows=request.labelled_windows or 0,
        unlabelled_sha256=data.unlabelled_sha256,
        unlabelled_file=data.unlabelled_file,
    )
    usual_nets = {name: preset.teacher_net(name) for name in teacher_names}
    teacher_nets = {name: canonical_net(request.teacher_nets.get(name) or net, net) for name, net in usual_nets.items()}
    used_fusion = fusion if len(branches) > 1 or task.per_step else None
    if task.per_step and len(branches) > 1:
        used_fusion = fusion or "concat"
    checkpoints = {name: path for name, path in request.teacher_checkpoints.items() if name in teacher_names}
    trained = {name for name, net in teacher_nets.items() if kind_of_net(net) != "peer"} - set(checkpoints)
    for name in set(checkpoints) & {name for name, net in teacher_nets.items() if kind_of_net(net) != "network"}:
        raise MmkdError(f"--teacher-checkpoint {name}: weights are of a network, not of {teacher_nets[name]}")
    folds = target_folds(request.teacher_targets) if teacher_names else 0
    if folds:
        _check_folds(folds, data, data_spec, seed, trained, checkpoints)
    own_validation = epoch_rule == "last" and _takes_best_epoch(method, options, trained)
    teacher_validation = VALIDATION if own_validation else 0.0

    def training(teacher: bool) -> Training:
        validated = replace(data_spec, epoch_rule="val-best", validation=VALIDATION)
        split = split_for(data, validated if teacher and own_validation else data_spec, seed)
        windows = len(split.train if teacher else split.pool)
        changes = request.training_changes(teacher)
        _check_batch(
            changes.get("batch_size", 0), windows, data.name, teacher and request.teacher_batch_size is not None
        )
        options = preset.resolve(windows, teacher, changes)
        if data_spec.few_labels and not teacher:  # passes of the labelled windows alone would be shorter
            options = options.in_steps(windows)
        return with_augmentations(options, request, data, teacher)

    height = data.grid[0] if data.grid else None
    configs = partial(view_configs, views, size, height, data, shrinks=request.image_size is None)
    own_views = configs(merge_options(preset.views, request.view))
    student_training = training(False)
    teacher_training = training(True) if teacher_names else None
    peers = [name for name, net in teacher_nets.items() if kind_of_net(net) == "peer"]
    revisions = {name: PEERS[teacher_nets[name]].revision for name in peers}
    if peers and "mixup" in student_training.augmentation_names:
        raise MmkdError(
            f"--augment mixup: {peers[0]}={teacher_nets[peers[0]]} has no logits of mixtures; leave one out"
        )
    if peers and data.unlabelled_sha256:
        raise MmkdError(
            f"--unlabelled: {peers[0]}={teacher_nets[peers[0]]} teaches the data set's own windows; leave one out"
        )
    augmented = [options for options in (student_training, teacher_training) if options is not None]
    augmentations = [name for options in augmented for name in options.augmentation_names]
    used = entries(request.task, views, (student_net, *teacher_nets.values()), used_fusion, augmentations)
    return UnitSpec(
        data=data_spec,
        seed=seed,
        method=method,
        options=dict(options),
        views=own_views,
        teachers=teacher_nets,
        teacher_training=teacher_training,
        student=branches,
        student_net=student_net,
        fusion=used_fusion,
        training=student_training,
        method_sha256=METHODS.source_sha256(method),
        task=request.task,
        plugins=tuple(str(Path(path).resolve()) for path in request.plugins),
        checkpoint_sha256={name: _checkpoint_sha256(name, path) for name, path in checkpoints.items()},
        checkpoint_files={name: str(Path(path).resolve()) for name, path in checkpoints.items()},
        sources=checksums_of(used),
        revision=METHODS.get(method).revision,
        teacher_validation=teacher_validation,
        selection_folds=(request.select or 0) if searches and epoch_rule == "last" else 0,
        teacher_targets=f"out-of-fold:{folds}" if folds else "fitted",
        peer_revisions={name: revision for name, revision in revisions.items() if revision != 1},
        given_views=_changed_options(own_views, configs(preset.views)) if request.view else (),
    )


def beside_teachers(request: Request, spec: UnitSpec, data: Dataset) -> list[UnitSpec]:
    """A unit without teachers as if it had those of the request; one for each set of teachers.

    Raises:
        MmkdError: as for `resolve`.
    """
    return [
        resolve(
            request,
            data,
            seed=spec.seed,
            student="+".join(spec.student),
            teachers=teachers,
            method=spec.method,
            options=spec.options,
            student_net=spec.student_net,
            fusion=spec.fusion,
            taught=True,
        )
        for teachers in _with_defaults(request, data).teachers
    ]


def merge_options(
    usual: Mapping[str, Mapping[str, Any]], own: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Options of views, of which `own` replaces the usual ones.

    >>> merge_options({"gaf": {"range": "train"}}, {"gaf": {"size": 16}, "pi": {"size": 8}})
    {'gaf': {'range': 'train', 'size': 16}, 'pi': {'size': 8}}
    """
    return {name: {**usual.get(name, {}), **own.get(name, {})} for name in dict.fromkeys((*usual, *own))}


def _changed_options(views: Mapping[str, Mapping[str, Any]], usual: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The options of views that have another value than usual, such as "gaf.range"."""
    options = [(view, name) for view, config in views.items() for name in config]
    return tuple(f"{view}.{name}" for view, name in options if views[view][name] != usual[view].get(name))


def _check_folds(
    folds: int, data: Dataset, spec: DataSpec, seed: int, trained: Collection[str], given: Collection[str]
) -> None:
    """Check that targets can be out of fold.

    Args:
        trained: modalities of the teachers that are trained networks; given: of those whose weights are given.
    """
    flag = f"--teacher-targets out-of-fold:{folds}"
    if given:
        raise MmkdError(
            f"{flag}: the weights of the {', '.join(sorted(given))} teacher are given; leave one of them out"
        )
    if not trained:
        raise MmkdError(f"{flag}: what peers teach is always out of fold; leave it out")
    try:
        split_for(data, replace(spec, inner_fold=(1, folds)), seed)
    except MmkdError as error:
        raise MmkdError(f"{flag}: {error}") from None


def _takes_best_epoch(method: str, options: Mapping[str, Any], trained: Collection[str]) -> bool:
    """Whether a method takes the best epoch of teachers that are trained.

    Args:
        options: as for `resolve`.
        trained: modalities of the teachers whose weights are not given.
    """
    cls = METHODS.get(method)
    return bool(trained) and cls(cls.Config(**older_options(cls.Config, options))).checkpoint == "best"


def _check_batch(size: int, windows: int, data: str, of_teachers: bool) -> None:
    """Refuse a batch that is larger than the training part: it would be smaller than what the user asked for."""
    if size > windows:
        flag = "--teacher-batch-size" if of_teachers else "--batch-size"
        raise MmkdError(f"{flag} {size}: data {data!r} has {windows} training windows; give at most as many")


def _checkpoint_sha256(modality: str, path: str) -> str:
    """Checksum of a file with the weights of a teacher; it is computed once for many units."""
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(0, "it is a folder")
        status = Path(path).stat()
        return _sha256_of(path, status.st_ino, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MmkdError(f"--teacher-checkpoint {modality}={path}: {reason}; name a .safetensors file") from None


@lru_cache(maxsize=64)
def _sha256_of(path: str, *status: int) -> str:
    """Checksum of a file; `status` changes when the file does, and then the cached value is not used."""
    return file_sha256(Path(path))


def distils(method: str) -> bool:
    """Whether a method uses teachers."""
    return bool(METHODS.get(method).distils)


def reads_teachers(method: str) -> bool:
    """Whether a method reads what teachers put out, so that they are trained for it."""
    return distils(method) and bool(METHODS.get(method).needs)


def student_alone(spec: UnitSpec) -> UnitSpec:
    """The unit of the same student trained alone: `spec` is compared with it, and may start from its weights.

    It has the options that both have, but those for which a control has a default of its own, which are what it is.
    """
    config = METHODS.get("student").Config
    names = {f.name for f in fields(config)} & set(spec.options)
    entry = METHODS.get(spec.method)
    if entry.status == CONTROL:
        own, usual = entry.Config(), config()
        names -= {name for name in names if getattr(own, name) != getattr(usual, name)}
    options = recorded(config(**older_options(config, {name: spec.options[name] for name in names})))
    return replace(
        spec,
        method="student",
        options=options,
        views={name: spec.views[name] for name in spec.student},
        teachers={},
        teacher_training=None,
        method_sha256=METHODS.source_sha256("student"),
        sources={
            **student_sources(spec),
            **select_sources(spec.sources, spec.task, (), augmentations=spec.training.augmentation_names),
        },
        checkpoint_sha256={},
        checkpoint_files={},
        revision=METHODS.get("student").revision,
        teacher_validation=0.0,
        selection_folds=0,
        teacher_targets="fitted",
        peer_revisions={},
        tuning={},
        tuned={},
        given_views=tuple(name for name in spec.given_views if name.rpartition(".")[0] in spec.student),
    )
