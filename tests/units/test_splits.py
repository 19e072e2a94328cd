"""The split of a unit: of its seed, in a role of its own, and of its fold."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd.core.errors import MmkdError
from mmkd.core.keys import seed_for
from mmkd.data import load_file, split_windows
from mmkd.specs.data import DataSpec
from mmkd.units.splits import select_fold, split_for


def test_a_split_is_of_its_seed(sines):
    data = load_file(sines)
    spec = DataSpec(data.name, data.sha256)
    splits = [split_for(data, spec, seed) for seed in (0, 1, 2, 3, 0)]
    assert splits[4].sha256 == splits[0].sha256
    assert len({split.sha256 for split in splits}) > 1
    for seed, split in enumerate(splits[:4]):
        assert split.sha256 == split_windows(data, seed_for(seed, "split"), 0.2).sha256


def test_a_split_is_of_its_fold(sines):
    data = load_file(sines)
    own = DataSpec(data.name, data.sha256)
    subjects = sorted(set(data.subject.tolist()) - set(data.subject[data.test].tolist()))[:2]
    fold = replace(own, test_subjects=tuple(subjects), fold="mine")
    split = split_for(data, fold, 0)
    np.testing.assert_array_equal(split.test, np.flatnonzero(np.isin(data.subject, subjects)))
    assert not set(data.subject[np.concatenate([split.train, split.validation])].tolist()) & set(subjects)
    assert split_for(data, own, 0).test.tolist() == np.flatnonzero(data.test).tolist()
    assert select_fold(data, own) is data


def test_the_last_epoch_needs_no_validation_windows(sines):
    data = load_file(sines)
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last")
    split = split_for(data, spec, 0)
    assert len(split.validation) == 0
    assert split.train.tolist() == np.flatnonzero(~data.test).tolist()


def inner_splits(data, spec, folds, seed=0):
    return [split_for(data, replace(spec, inner_fold=(k + 1, folds)), seed) for k in range(folds)]


def test_inner_folds_hold_out_each_training_subject_once(sines):
    data = load_file(sines)
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last")
    outer = split_for(data, spec, 0)
    splits = inner_splits(data, spec, 2)
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == outer.train.tolist()
    for split in splits:
        assert sorted([*split.train, *split.test]) == outer.train.tolist()
        assert not set(data.subject[split.train].tolist()) & set(data.subject[split.test].tolist())
        assert len(split.validation) == 0
    again = inner_splits(data, spec, 2, seed=1)
    assert [split.sha256 for split in again] == [split.sha256 for split in splits], "the same for every seed"


def test_inner_folds_may_have_a_validation_part(sines):
    data = load_file(sines)
    spec = DataSpec(data.name, data.sha256)
    outer = split_for(data, spec, 0)
    pool = sorted([*outer.train, *outer.validation])
    for split in inner_splits(data, spec, 2):
        assert sorted([*split.train, *split.validation, *split.test]) == pool
        assert len(split.validation) > 0
        parts = [set(data.subject[part].tolist()) for part in (split.train, split.validation, split.test)]
        assert not parts[0] & parts[1]
        assert not parts[2] & (parts[0] | parts[1])


def test_inner_folds_without_subjects_are_stratified(tmp_path, windows_file):
    """Classes of different sizes: each fold has a share of each class, to within one window."""
    y = np.repeat([0, 1, 2], [50, 23, 11])
    x = np.random.default_rng(0).normal(size=(len(y), 2, 32)).astype(np.float32)
    path = tmp_path / "plain.npz"
    np.savez(path, x=x, y=y)
    data = load_file(path)
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last")
    outer = split_for(data, spec, 0)
    splits = inner_splits(data, spec, 3)
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == outer.train.tolist()
    for k in range(3):
        whole = (data.y[outer.train] == k).sum() / 3
        assert all(abs((data.y[split.test] == k).sum() - whole) < 1 for split in splits)
    assert max(len(split.test) for split in splits) - min(len(split.test) for split in splits) <= 1
    assert len({tuple(np.diff(split.test)[:5]) for split in splits}) > 1, "the windows are shuffled"


def test_inner_folds_are_of_the_subjects_that_are_kept(sines):
    data = load_file(sines)
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last", train_subjects=2)
    for seed in range(3):
        outer = split_for(data, spec, seed)
        splits = inner_splits(data, spec, 2, seed)
        assert sorted(np.concatenate([split.test for split in splits]).tolist()) == outer.train.tolist()
        assert all(len(np.unique(data.subject[split.train])) == 1 for split in splits)


def test_inner_folds_are_of_the_windows_that_are_kept(tmp_path, windows_file):
    data = load_file(windows_file(tmp_path / "some.npz", subjects=0))
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last", train_windows=6, stratified_fold=(1, 3))
    outer = split_for(data, spec, 0)
    assert np.bincount(data.y[outer.train]).tolist() == [6] * len(data.classes)
    splits = inner_splits(data, spec, 2)
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == outer.train.tolist()
    assert all(np.bincount(data.y[split.train]).tolist() == [3] * len(data.classes) for split in splits)


@pytest.mark.parametrize(("subjects", "line"), [(6, r"has 4 subjects; take 2 to 4"), (0, r"windows; take 2 to")])
def test_too_many_inner_folds_are_refused(tmp_path, windows_file, subjects, line):
    data = load_file(windows_file(tmp_path / "some.npz", subjects=subjects))
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last", inner_fold=(1, 60))
    with pytest.raises(MmkdError, match=rf"60 folds of the training part of data 'some': its? .*{line}"):
        split_for(data, spec, 0)


def test_one_subject_is_not_cut(tmp_path, windows_file):
    data = load_file(windows_file(tmp_path / "some.npz", subjects=6))
    spec = DataSpec(data.name, data.sha256, validation=0.0, epoch_rule="last", train_subjects=1, inner_fold=(1, 3))
    with pytest.raises(MmkdError, match=r"3 folds of the training part of data 'some': it has one subject, which"):
        split_for(data, spec, 0)
