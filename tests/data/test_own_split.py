"""The test part of own data: about 30 % of the windows, whole subjects, and part of the key."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file
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


def test_the_drawn_subjects_are_part_of_the_checksum(tmp_path, monkeypatch):
    """A record of another draw is not taken for one of this; without subjects the draw is as it always was."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 1, 16)).astype(np.float32)
    own = {"x": x, "y": np.arange(24) % 2}
    np.savez(tmp_path / "persons.npz", **own, subject=np.arange(24) // 6)
    np.savez(tmp_path / "windows.npz", **own)
    before = {name: load_file(tmp_path / f"{name}.npz") for name in ("persons", "windows")}
    assert (before["persons"].test_from, before["windows"].test_from) == ("drawn", "drawn")
    monkeypatch.setattr("mmkd.data.load.draw_test_windows", lambda y, subject: np.arange(24) >= 18)
    after = {name: load_file(tmp_path / f"{name}.npz") for name in ("persons", "windows")}
    assert before["persons"].sha256 != after["persons"].sha256
    assert before["windows"].sha256 == after["windows"].sha256
    np.savez(tmp_path / "named.npz", **own, subject=np.arange(24) // 6, test=np.arange(24) >= 18)
    assert load_file(tmp_path / "named.npz").test_from == "file"
