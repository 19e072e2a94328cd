"""The test part of own data: about 30 % of the windows, whole subjects, and part of the key."""

from hashlib import sha256

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file
from mmkd.data.checksums import file_sha256
from mmkd.data.own_split import draw_test_windows


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 40])
def test_it_leaves_every_class_training_windows(count):
    y = np.array([0] * 40 + [1] * count)
    test = draw_test_windows(y, None)
    assert test[y == 0].sum() == 12
    assert test[y == 1].sum() == (0 if count == 1 else max(1, round(0.3 * count)))


def test_it_holds_whole_subjects():
    subject = np.arange(60) // 6
    y = np.arange(60) % 3
    test = draw_test_windows(y, subject)
    assert len(set(subject[test])) == 3
    assert not set(subject[test]) & set(subject[~test])
    np.testing.assert_array_equal(test, draw_test_windows(y, subject))


@pytest.mark.parametrize("subjects", [5, 16, 30])
def test_30_percent_of_the_windows_are_test_not_of_the_persons(subjects):
    """One person has more windows than all others; 30 % of the persons were up to 80 % of the windows."""
    rng = np.random.default_rng(subjects)
    sizes = np.sort(rng.integers(10, 60, subjects))
    sizes[-1] = sizes[:-1].sum()
    subject = np.repeat(np.arange(subjects), sizes)
    test = draw_test_windows(np.arange(len(subject)) % 3, subject)
    assert abs(test.mean() - 0.3) <= 0.05


def test_classes_in_the_test_part_count_where_the_share_is_as_good():
    """Persons of 10 windows each; class 2 is that of persons 0 and 1 alone."""
    subject = np.repeat(np.arange(10), 10)
    y = np.arange(100) % 2
    y[subject <= 1] = 2
    test = draw_test_windows(y, subject)
    assert set(y[test]) == {0, 1, 2} == set(y[~test])
    assert test.sum() == 30


@pytest.mark.parametrize("subjects", [2, 3])
def test_few_persons(subjects):
    test = draw_test_windows(np.arange(10 * subjects) % 2, np.repeat(np.arange(subjects), 10))
    assert test.sum() == 10


def test_the_smaller_of_two_persons_is_for_the_test():
    test = draw_test_windows(np.arange(40) % 2, np.repeat([7, 9], [25, 15]))
    assert test.tolist() == [False] * 25 + [True] * 15


@pytest.mark.parametrize("subjects", [3, 20])
def test_persons_of_a_class_each_are_refused(subjects):
    y = np.repeat(np.arange(subjects), 5)
    with pytest.raises(MmkdError, match="no choice of test subjects leaves every class training windows"):
        draw_test_windows(y, y)


def test_unlabelled_samples_do_not_count_as_classes():
    y = np.full((6, 4), -1)
    y[:, 0] = [0, 1, 0, 1, 0, 1]
    test = draw_test_windows(y, np.array([0, 0, 1, 1, 2, 2]))
    assert test.sum() == 2


@pytest.fixture
def saved(tmp_path):
    """Saves windows of two classes by persons with so many windows each, and loads them."""

    def make(*sizes, **others):
        subject = np.repeat(np.arange(len(sizes)), sizes)
        x = np.random.default_rng(0).standard_normal((len(subject), 1, 16)).astype(np.float32)
        path = tmp_path / "own.npz"
        np.savez(path, x=x, y=np.arange(len(subject)) % 2, **({"subject": subject} | others))
        return load_file(path), sha256(file_sha256(path).encode()).hexdigest()

    return make


def test_the_checksum_is_that_of_the_file_where_30_percent_of_the_persons_are_30_percent_of_the_windows(saved):
    data, file_checksum = saved(*[6] * 10)
    assert (data.test_from, data.test.sum()) == ("drawn", 18)
    assert data.sha256 == file_checksum


def test_other_persons_make_another_checksum(saved):
    """A record of the old test part is not taken for one of this."""
    data, file_checksum = saved(4, 4, 4, 4, 64, 4, 4, 4, 4, 4)
    assert data.test.mean() == 0.28  # seven persons of four windows
    assert data.sha256 != file_checksum


def test_a_test_part_of_the_file_is_not_drawn(saved):
    data, file_checksum = saved(6, 6, test=np.arange(12) >= 6)
    assert (data.test_from, data.sha256) == ("file", file_checksum)


def test_without_persons_the_checksum_is_that_of_the_file(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((24, 1, 16)), y=np.arange(24) % 2)
    data = load_file(path)
    assert (data.test_from, data.test.mean()) == ("drawn", 1 / 3)
    assert data.sha256 == sha256(file_sha256(path).encode()).hexdigest()
