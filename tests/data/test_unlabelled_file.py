"""A file of windows without labels: what fits is added, what does not is one line."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_own
from mmkd.data.dataset import resample_dataset
from mmkd.data.unlabelled import add_unlabelled
from mmkd.units.expansion import expand
from mmkd.units.request import Request


@pytest.fixture
def data(sines):
    return load_own(sines)


def write(path, **arrays):
    np.savez(path / "more.npz", **arrays)
    return str(path / "more.npz")


def windows(count=5, channels=2, length=32, seed=1):
    return np.random.default_rng(seed).normal(size=(count, channels, length)).astype(np.float32)


def test_its_windows_are_counted_after_those_of_the_data_set(data, tmp_path):
    x = windows()
    more = add_unlabelled(data, write(tmp_path, x=x, y=np.zeros(5), subject=np.arange(5)))
    np.testing.assert_array_equal(more.unlabelled, x)
    np.testing.assert_array_equal(more.all_x[len(data.x) :], x)
    assert (more.sha256, len(more.unlabelled_sha256)) == (data.sha256, 64)
    assert more.notes[-1] == "5 unlabelled windows of more.npz (y, subject not read)"
    assert more.splits is not data.splits


def test_the_checksum_is_that_of_the_content(data, tmp_path):
    sums = {add_unlabelled(data, write(tmp_path, x=windows(seed=seed))).unlabelled_sha256 for seed in range(3)}
    assert len(sums) == 3


def test_windows_of_resampled_data_are_resampled_along(data, tmp_path):
    rated = replace(data, rate_hz=20.0)
    slow = resample_dataset(rated, 10.0)
    assert slow.window == 16
    more = add_unlabelled(slow, write(tmp_path, x=windows(), rate_hz=20.0))
    assert more.unlabelled.shape == (5, 2, 16)
    assert "resampled from 20 Hz" in more.notes[-1]
    with pytest.raises(MmkdError, match="have 20 Hz, and those of data 'sines' 40 Hz"):
        add_unlabelled(replace(data, rate_hz=40.0), write(tmp_path, x=windows(), rate_hz=20.0))


def test_windows_with_missing_values_are_refused_or_left_out(data, tmp_path):
    x = windows()
    x[2, 0, 3] = np.nan
    path = write(tmp_path, x=x)
    with pytest.raises(MmkdError, match="1 of 5 windows hold NaN or inf; --nan drop leaves them out"):
        add_unlabelled(data, path)
    more = add_unlabelled(data, path, "drop")
    assert len(more.unlabelled) == 4
    assert "1 with missing values left out" in more.notes[-1]


def test_windows_that_are_test_windows_are_told(data, tmp_path):
    x = np.concatenate([windows(), data.x[data.test][:3]])
    more = add_unlabelled(data, write(tmp_path, x=x))
    assert more.warnings[-1] == "more.npz: 3 of 8 unlabelled windows are equal to test windows"
    assert not add_unlabelled(data, write(tmp_path, x=windows())).warnings


def test_windows_that_a_fold_will_test_are_told(data, sines, tmp_path):
    trained = data.x[~data.test][:2]
    path = write(tmp_path, x=np.concatenate([windows(), trained]))
    assert not add_unlabelled(data, path).warnings
    request = Request(methods=("student",), data=str(sines), students=("sig",), unlabelled=path, folds=2)
    _, part = next(expand(request))
    assert part.warnings[-1] == (
        "more.npz: 2 of 7 unlabelled windows are equal to windows of the data set, which folds test"
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.arange(4)}, "array 'x' is missing"),
        ({"x": windows(channels=3)}, r"x has shape \(5, 3, 32\); with the 2 channels .* must be \(M, 2, 32\)$"),
        ({"x": windows().transpose(0, 2, 1)}, r"must be \(M, 2, 32\); save x.transpose\(0, 2, 1\)"),
        ({"x": windows()[:0]}, r"x has shape \(0, 2, 32\)"),
        ({"x": windows()[0]}, r"x has shape \(2, 32\)"),
        ({"x": windows(length=30)}, "have 30 samples, and those of data 'sines' 32; if they have another rate, add"),
        ({"x": windows().astype(str)}, "it must hold real numbers"),
        ({"x": windows(), "channels": ["b", "a"]}, "its channels are b, a, and those of data 'sines' channel_0"),
        ({"x": windows(), "channels": ["b"]}, "channels has 1 names, and x 2 channels"),
        ({"x": windows(), "rate_hz": -1}, "rate_hz is -1; it must be one number above 0"),
        ({"x": windows(), "z": 1}, "unknown array 'z'"),
        ({"x": 1e38 * np.ones((2, 2, 32))}, "rescale them"),
    ],
)
def test_what_does_not_fit_is_one_line(arrays, words, data, tmp_path):
    with pytest.raises(MmkdError, match=words) as error:
        add_unlabelled(data, write(tmp_path, **arrays))
    assert str(error.value).startswith(f"--unlabelled {tmp_path}")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_one_line(data, tmp_path):
    (tmp_path / "text.npz").write_text("no")
    for name, words in (("none.npz", "there is no such file"), ("text.npz", "not an .npz file"), (".", "no such file")):
        with pytest.raises(MmkdError, match=words) as error:
            add_unlabelled(data, str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_data_with_other_labels_have_no_use_for_it(data, tmp_path):
    path = write(tmp_path, x=windows())
    dense = replace(data, y=np.zeros((len(data.x), 32), np.int64))
    with pytest.raises(MmkdError, match="has no label a window"):
        add_unlabelled(dense, path)
    with pytest.raises(MmkdError, match="holds images"):
        add_unlabelled(replace(data, grid=(4, 8)), path)
