"""Few labels: which training windows keep theirs. The draw depends on the seed alone."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import Dataset, split_windows


def dataset(y, subject=None, test=None) -> Dataset:
    y = np.asarray(y)
    test = np.arange(len(y)) % 4 == 3 if test is None else np.asarray(test)
    x = np.zeros((len(y), 1, 8), np.float32)
    names = tuple("abcdefgh"[: y.max() + 1])
    return Dataset("own", x, y, None if subject is None else np.asarray(subject), test, names, ("c",), None, "0" * 64)


def by_subject(subjects=10) -> Dataset:
    """12 windows a subject, 3 classes in each; every fifth subject is a test subject."""
    subject = np.repeat(np.arange(subjects), 12) + 100
    return dataset(np.arange(len(subject)) % 3, subject, subject % 5 == 0)


WINDOWS = dataset(np.arange(200) // 2 % 5)


@pytest.mark.parametrize("seed", range(5))
def test_whole_subjects_keep_their_labels_and_all_others_of_the_training_part_lose_them(seed):
    data = by_subject()
    split = split_windows(data, seed, validate=False, labelled_subjects=3)
    labelled, unlabelled = (set(data.subject[part].tolist()) for part in (split.train, split.unlabelled))
    assert (len(labelled), len(unlabelled)) == (3, 5)
    assert not labelled & unlabelled
    np.testing.assert_array_equal(np.sort(split.pool), np.flatnonzero(~data.test))
    np.testing.assert_array_equal(split.test, np.flatnonzero(data.test))


def test_the_draw_is_the_same_with_and_without_a_validation_part_which_is_cut_from_labelled_windows():
    for data, count in ((by_subject(), {"labelled_subjects": 3}), (WINDOWS, {"labelled_windows": 10})):
        for seed in range(5):
            alone = split_windows(data, seed, validate=False, **count)
            cut = split_windows(data, seed, **count)
            assert len(cut.validation)
            assert not len(alone.validation)
            np.testing.assert_array_equal(np.sort(np.concatenate([cut.train, cut.validation])), alone.train)
            np.testing.assert_array_equal(cut.unlabelled, alone.unlabelled)


def test_seeds_draw_differently():
    drawn = {split_windows(by_subject(), seed, labelled_subjects=3).sha256 for seed in range(10)}
    assert len(drawn) > 5


def test_of_windows_without_subjects_each_class_keeps_as_many_labels():
    split = split_windows(WINDOWS, 0, validate=False, labelled_windows=10)
    assert np.bincount(WINDOWS.y[split.train]).tolist() == [10] * 5
    assert len(split.unlabelled) == 100


def test_the_training_subjects_are_chosen_first():
    data = by_subject()
    split = split_windows(data, 0, validate=False, train_subjects=5, labelled_subjects=2)
    assert len(np.unique(data.subject[split.train])) == 2
    assert len(np.unique(data.subject[split.unlabelled])) == 3


def test_of_a_number_of_training_windows_some_keep_their_labels():
    split = split_windows(WINDOWS, 0, validate=False, train_windows=20, labelled_windows=5)
    assert np.bincount(WINDOWS.y[split.train]).tolist() == [5] * 5
    assert np.bincount(WINDOWS.y[split.unlabelled]).tolist() == [15] * 5
    with pytest.raises(MmkdError, match="--labelled-windows 20: all training windows"):
        split_windows(WINDOWS, 0, validate=False, train_windows=20, labelled_windows=20)


def test_every_class_keeps_labelled_windows():
    data = by_subject()
    y = data.y.copy()
    y[data.subject == 103] = 3
    data = replace(data, y=y, classes=("a", "b", "c", "d"))
    for seed in range(20):
        assert 103 in data.subject[split_windows(data, seed, validate=False, labelled_subjects=2).train]
    with pytest.raises(MmkdError, match=r"of 8 training subjects .* no draw of 1 has windows of each of the 4 classes"):
        split_windows(data, 0, labelled_subjects=1)


def test_labels_that_are_not_drawn_shape_nothing():
    data = by_subject()
    split = split_windows(data, 0, labelled_subjects=3)
    y = data.y.copy()
    y[split.unlabelled] = 0
    assert split_windows(replace(data, y=y), 0, labelled_subjects=3).sha256 == split.sha256


@pytest.mark.parametrize(
    ("data", "count", "words"),
    [
        (by_subject(), {"labelled_subjects": 8}, "has 8 training subjects, and some must stay unlabelled"),
        (by_subject(), {"labelled_subjects": 9}, "has 8 training subjects"),
        (by_subject(), {"labelled_windows": 5}, "has subjects, of which .* use --labelled-subjects"),
        (WINDOWS, {"labelled_subjects": 2}, "has no subjects; use --labelled-windows"),
        (WINDOWS, {"labelled_windows": 31}, "has 30 training windows of class 'a'; take at most as many"),
        (WINDOWS, {"labelled_windows": 30}, "all training windows of data 'own' would have a label"),
        (replace(by_subject(), y=np.zeros((120, 8), int)), {"labelled_subjects": 2}, "has no label a window"),
        (WINDOWS, {"labelled_windows": 3, "labelled_subjects": 3}, "both choose the labels that are used; give one"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(data, count, words):
    with pytest.raises(MmkdError, match=words) as error:
        split_windows(data, 0, **count)
    assert "\n" not in str(error.value)


def test_all_labels_are_the_usual_split():
    assert split_windows(WINDOWS, 0).sha256 == split_windows(WINDOWS, 0, labelled_subjects=0, labelled_windows=0).sha256
    assert not len(split_windows(WINDOWS, 0).unlabelled)
