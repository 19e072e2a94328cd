"""Splits: by subject or by class, drawn by the seed, the test windows left alone."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import Dataset, Split, split_windows


def dataset(y, subject=None, test=None) -> Dataset:
    y = np.asarray(y)
    if test is None:
        test = np.arange(len(y)) % 4 == 3
    x = np.arange(len(y), dtype=np.float32)[:, None, None] * np.ones((1, 1, 8), np.float32)
    names = tuple("abcdefgh"[: y.max() + 1])
    subject = None if subject is None else np.asarray(subject)
    return Dataset("own", x, y, subject, np.asarray(test), names, ("c",), None, "0" * 64)


def by_subject(subjects=10) -> Dataset:
    """12 windows a subject, 3 classes in each; every fifth subject is a test subject."""
    subject = np.repeat(np.arange(subjects), 12) + 100
    return dataset(np.arange(len(subject)) % 3, subject, subject % 5 == 0)


WINDOWS = dataset(np.arange(200) // 2 % 5)


def parts(split: Split):
    return split.train, split.validation, split.test


@pytest.mark.parametrize("data", [by_subject(), WINDOWS], ids=["subjects", "windows"])
@pytest.mark.parametrize("seed", range(5))
def test_every_window_is_in_one_part_and_the_test_windows_are_the_sets_own(data, seed):
    split = split_windows(data, seed)
    together = np.concatenate(parts(split))
    np.testing.assert_array_equal(np.sort(together), np.arange(len(data.y)))
    np.testing.assert_array_equal(split.test, np.flatnonzero(data.test))
    for part in parts(split):
        assert (np.diff(part) > 0).all()
        assert len(part) > 0
    assert set(data.y[split.train]) == set(data.y)


@pytest.mark.parametrize("data", [by_subject(), WINDOWS], ids=["subjects", "windows"])
def test_the_seed_decides(data):
    first = split_windows(data, 3)
    again = split_windows(data, 3)
    for a, b in zip(parts(first), parts(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.sha256 == again.sha256
    assert len({split_windows(data, seed).sha256 for seed in range(20)}) > 5


@pytest.mark.parametrize("data", [by_subject(), WINDOWS], ids=["subjects", "windows"])
def test_neither_the_signals_nor_the_test_labels_shape_the_cut(data):
    y = np.where(data.test, 0, data.y)
    other = replace(data, x=data.x[::-1], y=y)
    assert split_windows(data, 0).sha256 == split_windows(other, 0).sha256


@pytest.mark.parametrize(("fraction", "count"), [(0.05, 1), (0.2, 2), (0.5, 4), (0.99, 7)])
def test_whole_subjects_are_cut(fraction, count):
    data = by_subject()
    for seed in range(10):
        split = split_windows(data, seed, fraction)
        assert split.unit == "subject"
        each = [set(data.subject[part].tolist()) for part in parts(split)]
        assert [len(s) for s in each] == [8 - count, count, 2]
        assert len(set.union(*each)) == 10


def test_every_subject_has_its_turn():
    data = by_subject()
    held = {s for seed in range(40) for s in data.subject[split_windows(data, seed).validation].tolist()}
    assert held == set(data.subject[~data.test].tolist())


def test_a_class_of_one_subject_keeps_that_subject_in_training():
    data = by_subject()
    y = data.y.copy()
    y[data.subject == 103] = 3
    data = replace(data, y=y, classes=("a", "b", "c", "d"))
    for seed in range(30):
        assert 103 in data.subject[split_windows(data, seed).train]


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.2, 6), (0.5, 15), (0.99, 28)])
def test_stratified_by_class(fraction, count):
    split = split_windows(WINDOWS, 0, fraction)
    assert split.unit == "window"
    trained = np.bincount(WINDOWS.y[~WINDOWS.test])
    assert trained.tolist() == [30] * 5
    assert np.bincount(WINDOWS.y[split.validation]).tolist() == [count] * 5


def test_small_classes_keep_two_windows():
    data = dataset([0] * 40 + [1] * 4)
    for seed in range(5):
        split = split_windows(data, seed, 0.9)
        assert np.bincount(data.y[split.train]).tolist() == [3, 2]
        assert np.bincount(data.y[split.validation]).tolist() == [27, 1]


@pytest.mark.parametrize("count", [1, 2])
def test_classes_too_small_to_cut_are_refused_with_the_way_out(count):
    test = np.arange(42 + count) >= 40 + count
    data = dataset([0] * 40 + [1] * count + [0, 1], test=test)
    with pytest.raises(MmkdError, match=rf"class 'b' has {count} training windows, too few .*use --epoch-rule last"):
        split_windows(data, 0)
    assert split_windows(data, 0, validate=False).train.tolist() == list(range(40 + count))


def test_subjects_too_few_to_cut_are_refused_with_the_way_out():
    data = dataset([0, 1] * 10, [1] * 10 + [2] * 10, [False] * 10 + [True] * 10)
    with pytest.raises(MmkdError, match="1 training subject, so none can be cut off .*use --epoch-rule last"):
        split_windows(data, 0)
    assert len(split_windows(data, 0, validate=False).train) == 10


def test_subjects_that_hold_a_class_each_are_refused_with_the_way_out():
    data = dataset([0] * 10 + [1] * 10 + [0, 1], [1] * 10 + [2] * 10 + [3, 3], [False] * 20 + [True] * 2)
    with pytest.raises(MmkdError, match="a class has no training windows left; use --epoch-rule last"):
        split_windows(data, 0)


@pytest.mark.parametrize(("data", "unit"), [(by_subject(), "subject"), (WINDOWS, "window")])
def test_without_validation(data, unit):
    split = split_windows(data, 0, validate=False)
    assert len(split.validation) == 0
    assert split.unit == unit
    np.testing.assert_array_equal(split.train, np.flatnonzero(~data.test))
    np.testing.assert_array_equal(split.test, np.flatnonzero(data.test))
    assert split.sha256 == split_windows(data, 7, validate=False).sha256


def test_a_class_without_windows_is_no_obstacle():
    data = replace(WINDOWS, classes=("a", "b", "c", "d", "e", "nobody"))
    assert split_windows(data, 0).sha256 == split_windows(WINDOWS, 0).sha256


def test_checksum_changes_with_every_part():
    a, b = np.array([1, 2]), np.array([3])
    splits = [
        Split(a, b, b, "window"),
        Split(b, a, b, "window"),
        Split(a, b, a, "window"),
        Split(a, b[:0], b, "window"),
    ]
    splits.append(Split(np.array([1]), np.array([2, 3]), b, "window"))  # the same numbers, cut elsewhere
    assert len({s.sha256 for s in splits}) == len(splits)
    assert Split(a.astype(np.int32), b, b, "window").sha256 == splits[0].sha256


def test_kept_training_subjects_hold_every_class():
    """Of ten subjects two have the third class: whichever are kept, one of these two is among them."""
    data = by_subject()
    rare = np.isin(data.subject, (101, 106))
    data = replace(data, y=np.where(rare, 2, np.arange(len(data.y)) % 2))
    kept = []
    for seed in range(20):
        split = split_windows(data, seed, train_subjects=2)
        kept.append(set(data.subject[split.train].tolist()))
        assert len(kept[-1]) == 2
        assert set(data.y[split.train]) == {0, 1, 2}
        assert not kept[-1] & set(data.subject[split.validation].tolist())
    assert len({tuple(sorted(each)) for each in kept}) > 3, "they are drawn"
    with pytest.raises(MmkdError, match=r"--train-subjects 1: .*a class has no training windows left; keep more"):
        split_windows(data, 0, train_subjects=1)
    with pytest.raises(MmkdError, match="has 6 of them left for training"):
        split_windows(data, 0, train_subjects=7)


@pytest.mark.parametrize("validate", [True, False])
def test_so_many_training_windows_of_each_class_are_kept(validate):
    whole = [split_windows(WINDOWS, seed, validate=validate) for seed in range(5)]
    few = [split_windows(WINDOWS, seed, validate=validate, train_windows=4) for seed in range(5)]
    for all_windows, kept in zip(whole, few, strict=True):
        assert np.bincount(WINDOWS.y[kept.train]).tolist() == [4] * len(WINDOWS.classes)
        assert set(kept.train) < set(all_windows.train)
        np.testing.assert_array_equal(kept.validation, all_windows.validation)
        np.testing.assert_array_equal(kept.test, all_windows.test)
    assert len({split.train_digest for split in few}) == 5, "they are drawn"
    assert split_windows(WINDOWS, 3, validate=validate, train_windows=4).sha256 == few[3].sha256
    named = replace(WINDOWS, classes=(*WINDOWS.classes, "nobody"))
    assert split_windows(named, 3, validate=validate, train_windows=4).sha256 == few[3].sha256


@pytest.mark.parametrize(
    ("data", "counts", "line"),
    [
        (WINDOWS, {"train_windows": 500}, r"--train-windows 500: .* training windows of class 'a'; take at most as"),
        (WINDOWS, {"train_subjects": 2}, "--train-subjects 2: .* has no subjects; use --train-windows, a number of"),
        (by_subject(), {"train_windows": 2}, "--train-windows 2: .* has subjects, .*; use --train-subjects"),
    ],
)
def test_windows_that_cannot_be_kept_are_refused_with_the_way_out(data, counts, line):
    with pytest.raises(MmkdError, match=line):
        split_windows(data, 0, **counts)


def test_steps_have_no_number_of_windows_of_each_class():
    steps = replace(WINDOWS, y=np.tile(WINDOWS.y[:, None], (1, WINDOWS.window)))
    with pytest.raises(MmkdError, match="--train-windows 2: .* has no label a window"):
        split_windows(steps, 0, validate=False, train_windows=2)
    with pytest.raises(MmkdError, match="--train-subjects 2: .* has no subjects; leave it out"):
        split_windows(steps, 0, validate=False, train_subjects=2)
