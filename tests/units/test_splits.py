"""The split of a unit: of its seed, in a role of its own, and of its fold."""

from dataclasses import replace

import numpy as np

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
