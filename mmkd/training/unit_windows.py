"""The views and training windows of a unit or teacher, with their augmentations."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmkd.data import Dataset, Split
from mmkd.specs.unit import TeacherSpec, UnitSpec, select_sources
from mmkd.training.augmented import AugmentedWindows
from mmkd.training.data import TrainingData
from mmkd.training.workspace import Workspace
from mmkd.units.splits import split_for
from mmkd.views.cached import View, get_view, view_key


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
        view_keys={name: unit_view_key(name, spec, split) for name in views},
        seed=spec.seed if isinstance(spec, TeacherSpec) else spec.own_seed,
        role=f"teacher/{spec.modality}" if isinstance(spec, TeacherSpec) else "student",
        labelled=windows.labelled,
        sources=select_sources(spec.sources, "", (), augmentations=spec.training.augmentation_names),
        cache=workspace.cache,
        progress=workspace.progress,
    )
    return replace(windows, augmented=augmented)


def unit_view_key(name: str, spec: UnitSpec | TeacherSpec, split: Split) -> str:
    """The cache key of a view of a unit or teacher."""
    config = spec.view if isinstance(spec, TeacherSpec) else spec.views[name]
    return view_key(name, config, spec.data, split, select_sources(spec.sources, spec.task, (name,)))
