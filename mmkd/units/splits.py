"""The fold of a unit, and its split into training, validation and test windows."""

from dataclasses import replace

import numpy as np

from mmkd.core.errors import MmkdError
from mmkd.core.keys import seed_for
from mmkd.data import Dataset, Split, split_prefixes, split_windows
from mmkd.data.dataset import Fold
from mmkd.data.folds import apply_fold
from mmkd.data.inner_folds import split_inner
from mmkd.specs.data import DataSpec


def select_fold(data: Dataset, spec: DataSpec) -> Dataset:
    """The data set with the test windows of the fold in `spec`."""
    subjects = spec.test_subjects
    if subjects and not spec.by_name and counts_subjects(data):  # an older record
        names = np.unique(data.subject).tolist()  # type: ignore[arg-type]
        subjects = tuple(names[int(number)] if int(number) < len(names) else number for number in subjects)
    return apply_fold(data, Fold(spec.fold, subjects, spec.stratified_fold) if spec.tested else None)


def counts_subjects(data: Dataset) -> bool:
    """Whether older records count the subjects 0, 1, 2, ...: those of a user's file that have other names there."""
    if data.subject is None or data.test_from == "card":
        return False
    names = np.unique(data.subject).tolist()
    return bool(names != list(range(len(names))))


def split_for(data: Dataset, spec: DataSpec, seed: int) -> Split:
    """The split of a unit into training, validation and test windows; it is made once for all units that share it."""
    key = spec, seed
    if key not in data.splits:
        if spec.inner_fold:
            data.splits[key] = _make_inner_split(data, spec, seed)
        else:
            data.splits[key] = _add_file(_make_split(select_fold(data, spec), spec, seed), data, spec)
    split: Split = data.splits[key]
    return split


def _make_split(data: Dataset, spec: DataSpec, seed: int) -> Split:
    validate = spec.epoch_rule == "val-best"
    if data.series is not None:
        if spec.few_labels:
            raise MmkdError(f"data {data.name!r} has series, whose labels are for the test alone; leave few labels out")
        return split_prefixes(data, validate, spec.train_subjects, spec.train_windows)
    return split_windows(
        data,
        seed_for(seed, "split"),
        spec.validation or 0.2,
        validate,
        spec.train_subjects,
        spec.labelled_subjects,
        spec.labelled_windows,
        spec.train_windows,
    )


def _add_file(split: Split, data: Dataset, spec: DataSpec) -> Split:
    """The split with the windows of the file of unlabelled windows, which are counted after those of the data set."""
    if not spec.unlabelled_sha256 or data.unlabelled is None:
        return split
    others = len(data.x) + np.arange(len(data.unlabelled))
    return replace(split, unlabelled=np.concatenate([split.unlabelled, others]))


def _make_inner_split(data: Dataset, spec: DataSpec, seed: int) -> Split:
    """The split of a unit of the selection phase; it holds no test window of the unit without `inner_fold`."""
    number, folds = spec.inner_fold
    outer = split_for(data, replace(spec, inner_fold=(), epoch_rule="last", validation=0.0), seed)  # the same folds
    fraction = (spec.validation or 0.2) if spec.epoch_rule == "val-best" else 0.0
    return split_inner(data, outer, number, folds, seed_for(seed, "inner split"), fraction)
